//! The form of the file: sections with keys, as <https://pkg.go.dev/gopkg.in/gcfg.v1> reads them.

use super::BadIni;

/// A section: `[kind "name"]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    /// In lower case.
    pub(super) kind: String,
    pub(super) name: String,
    /// From 1.
    pub(super) line: usize,
    /// Keys in lower case, with their values, in order; some more than once.
    pub(super) entries: Vec<(String, String)>,
}

impl Section {
    /// The last value of a key, which is the one that holds.
    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.values(key).last()
    }

    pub(super) fn values<'s>(&'s self, key: &str) -> impl Iterator<Item = &'s str> {
        let entries = self.entries.iter().filter(move |(known, _)| known == key);
        entries.map(|(_, value)| value.as_str())
    }
}

pub(super) fn read(text: &str) -> Result<Vec<Section>, BadIni> {
    let mut sections: Vec<Section> = Vec::new();
    let mut lines = (1..).zip(text.trim_start_matches('\u{feff}').lines());
    while let Some((line, first)) = lines.next() {
        let bad = |problem: &'static str| BadIni { line, problem };
        let mut entry = first.trim().to_owned();
        while goes_on(&entry) {
            entry.pop();
            let (_, more) = lines.next().ok_or(bad("nothing follows the \\"))?;
            entry.push_str(more.trim());
        }
        let entry = entry.as_str();
        if entry.is_empty() || entry.starts_with(['#', ';']) {
            continue;
        }
        if let Some(header) = entry.strip_prefix('[') {
            sections.push(section(header, line)?);
            continue;
        }
        let section = sections
            .last_mut()
            .ok_or(bad("no section comes before it"))?;
        let (key, value) = entry.split_once('=').unwrap_or((entry, "true"));
        let key = key.trim().to_ascii_lowercase();
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(bad("it is no `key = value`"));
        }
        let value = value_of(value).ok_or(bad("a quotation mark is not closed"))?;
        section.entries.push((key, value));
    }
    Ok(sections)
}

fn goes_on(entry: &str) -> bool {
    entry.ends_with('\\') && !entry.ends_with("\\\\") && !entry.starts_with(['#', ';'])
}

fn section(header: &str, line: usize) -> Result<Section, BadIni> {
    let problem = "it is no `[kind \"name\"]`";
    let bad = || BadIni { line, problem };
    let (inner, rest) = header.split_once(']').ok_or_else(bad)?;
    let rest = rest.trim();
    if !rest.is_empty() && !rest.starts_with(['#', ';']) {
        return Err(bad());
    }
    let (kind, name) = match inner.trim().split_once(char::is_whitespace) {
        Some((kind, name)) => (kind, quoted(name.trim()).ok_or_else(bad)?),
        None => (inner.trim(), ""),
    };
    Ok(Section {
        kind: kind.to_ascii_lowercase(),
        name: name.to_owned(),
        line,
        entries: Vec::new(),
    })
}

fn quoted(name: &str) -> Option<&str> {
    name.strip_prefix('"')?.strip_suffix('"')
}

/// Without comments, quotation marks and blanks around it; none where a mark is not closed.
fn value_of(text: &str) -> Option<String> {
    let mut value = String::new();
    // Blanks at the end count where they are quoted.
    let mut kept = 0;
    let mut is_quoted = false;
    let mut letters = text.trim_start().chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => is_quoted = !is_quoted,
            '\\' => value.push(escaped(letters.next()?)),
            '#' | ';' if !is_quoted => break,
            _ => value.push(letter),
        }
        if is_quoted || !letter.is_whitespace() {
            kept = value.len();
        }
    }
    value.truncate(kept);
    (!is_quoted).then_some(value)
}

fn escaped(letter: char) -> char {
    match letter {
        'n' => '\n',
        't' => '\t',
        other => other,
    }
}
