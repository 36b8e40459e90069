//! Where in its file an input lies.

use std::fmt;

use stoker_proto::ledger::v1::{LoadError, LoadErrorKind};

/// As far as it is known: of a part of a large file nobody knows which line is its first before the parts before it are
/// done, nor, where the file is compressed, which byte.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InFile {
    /// From 1, as editors count.
    pub line: Option<u64>,
    /// The same from the start of the part, where the line is not known yet.
    pub line_in_part: Option<u64>,
    /// Decoded bytes before it.
    pub offset: Option<u64>,
    /// Decoded bytes of it.
    pub length: Option<u64>,
}

impl InFile {
    /// Of what went wrong with an input.
    pub fn of(error: &LoadError) -> Self {
        let Some(place) = error.position else {
            return Self::default();
        };
        // Of what was sent again only the bytes are known.
        let has_line = error.kind() != LoadErrorKind::Repeated;
        let line = |wanted: bool| (has_line && wanted).then_some(place.line + 1);
        let is_packed = [".zst", ".gz"].iter().any(|end| {
            let (key, at) = (
                error.key.as_bytes(),
                error.key.len().saturating_sub(end.len()),
            );
            key[at..].eq_ignore_ascii_case(end.as_bytes())
        });
        Self {
            line: line(!error.position_in_unit),
            line_in_part: line(error.position_in_unit),
            offset: (!error.position_in_unit || !is_packed).then_some(place.offset),
            length: Some(place.length),
        }
    }
}

/// What follows the file's name.
impl fmt::Display for InFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.offset, self.length) {
            (Some(line), ..) => write!(f, ":{line}"),
            (None, Some(offset), Some(length)) => write!(f, " bytes {offset}+{length}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use stoker_proto::ledger::v1::Position;

    use super::*;

    fn shown(key: &str, position_in_unit: bool, kind: LoadErrorKind) -> String {
        let error = LoadError {
            kind: kind.into(),
            key: key.to_owned(),
            position: Some(Position {
                offset: 100,
                length: 9,
                line: 6,
                entry: None,
            }),
            position_in_unit,
            ..LoadError::default()
        };
        let place = InFile::of(&error);
        let in_part = place.line_in_part;
        assert_eq!(
            in_part.is_some(),
            position_in_unit && kind == LoadErrorKind::Rejected
        );
        place.to_string()
    }

    #[test]
    fn no_line_is_shown_that_is_not_the_files() {
        let (rejected, repeated) = (LoadErrorKind::Rejected, LoadErrorKind::Repeated);
        for (key, in_unit, kind, expected) in [
            ("a.ndjson", false, rejected, ":7"),
            ("a.ndjson.zst", false, rejected, ":7"),
            ("a.ndjson", true, rejected, " bytes 100+9"),
            ("a.ndjson.ZST", true, rejected, ""),
            ("a.ndjson", false, repeated, " bytes 100+9"),
            ("é", true, rejected, " bytes 100+9"),
        ] {
            assert_eq!(shown(key, in_unit, kind), expected, "{key} {in_unit}");
        }
        assert_eq!(InFile::of(&LoadError::default()).to_string(), "");
    }
}
