//! What the server refuses: a few of the checks that real servers make, in LinuxForHealth's words.

use serde_json::value::RawValue;

use crate::outcome::Refusal;
use crate::r4;
use crate::resource::Member;

/// Where a resource stood in what was sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// It is the body.
    Root,
    /// It is the resource of this entry of a Bundle.
    Entry(usize),
}

impl Place {
    /// Refuses for a fault of the resource as a whole.
    pub(crate) fn refuse_here(self, text: &str) -> Refusal {
        match self {
            Self::Root => Refusal::invalid(text),
            Self::Entry(n) => Refusal::invalid(format!("{text} [Bundle.entry[{n}]]")).at_entry(n),
        }
    }

    /// The path of the resource.
    fn resource(self, kind: &str) -> String {
        match self {
            Self::Root => kind.to_owned(),
            Self::Entry(n) => format!("Bundle.entry[{n}].resource"),
        }
    }

    /// The path of one of its elements.
    pub(crate) fn element(self, kind: &str, name: &str) -> String {
        format!("{}.{name}", self.resource(kind))
    }
}

/// Checks the top-level members of a resource.
pub(crate) fn check(kind: &str, members: &[Member], place: Place) -> Result<(), Refusal> {
    known_elements(kind, members, place)?;
    for required in r4::required_elements(kind) {
        if !members
            .iter()
            .any(|(name, value)| r4::names(required, name) && value.get() != "null")
        {
            let name = required.trim_end_matches("[x]");
            let text = format!("FHIRProvider: Missing required element: &#39;{name}&#39;");
            return Err(place.refuse_here(&text));
        }
    }
    for (name, value) in members {
        let refused = match name.as_str() {
            "status" => status_is_a_code(kind) && text_of(value).is_none_or(str::is_empty),
            "gender" => !text_of(value).is_some_and(is_gender),
            "birthDate" => !text_of(value).is_some_and(is_date),
            _ => false,
        };
        if refused {
            let path = place.element(kind, name);
            let shown = text_of(value).unwrap_or(value.get());
            let text = format!("FHIRProvider: {shown} [{path}]");
            return Err(Refusal::invalid(text).at(path));
        }
    }
    Ok(())
}

fn known_elements(kind: &str, members: &[Member], place: Place) -> Result<(), Refusal> {
    let Some(own) = r4::known_elements(kind) else {
        return Ok(());
    };
    for (name, _) in members {
        // A name with an underscore holds the id and extensions of a primitive value.
        let element = name.strip_prefix('_').unwrap_or(name);
        if !own
            .iter()
            .chain(r4::COMMON)
            .any(|known| r4::names(known, element))
        {
            let path = place.resource(kind);
            let text = format!("FHIRProvider: Unrecognized element: &#39;{name}&#39; [{path}]");
            return Err(Refusal::invalid(text).at(path));
        }
    }
    Ok(())
}

/// In a few types it is a concept and may be left out.
fn status_is_a_code(kind: &str) -> bool {
    r4::required_elements(kind).contains(&"status")
}

/// The content of a JSON string without escapes; codes and dates never have any.
fn text_of(value: &RawValue) -> Option<&str> {
    serde_json::from_str(value.get()).ok()
}

fn is_gender(text: &str) -> bool {
    matches!(text, "male" | "female" | "other" | "unknown")
}

/// A FHIR date: `YYYY`, `YYYY-MM` or `YYYY-MM-DD`.
fn is_date(text: &str) -> bool {
    let digits = |part: &str, n: usize| part.len() == n && part.bytes().all(|b| b.is_ascii_digit());
    let padded = match text.len() {
        4 => format!("{text}-01-01"),
        7 => format!("{text}-01"),
        _ => text.to_owned(),
    };
    let mut parts = padded.split('-');
    let lengths_fit = [4, 2, 2]
        .iter()
        .all(|&n| parts.next().is_some_and(|part| digits(part, n)));
    lengths_fit && padded.parse::<chrono::NaiveDate>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_real_ones() {
        for date in ["1980", "1980-02", "1980-02-29"] {
            assert!(is_date(date), "{date}");
        }
        for wrong in [
            "",
            "80",
            "1980-2",
            "1980-13",
            "1981-02-29",
            "1980-02-29T00:00",
            "+980-01-01",
        ] {
            assert!(!is_date(wrong), "{wrong}");
        }
    }
}
