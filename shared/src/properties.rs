//! Java's properties files, as `java.util.Properties` reads them.
//!
//! Files are read as UTF-8, and as ISO-8859-1, Java's older habit, when they are not UTF-8.

use std::fmt;
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::str::Chars;

/// Keys and values in the order of the file. A key given twice has its last value, at the place of
/// its first.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(Vec<(String, String)>);

/// Shows the keys only: values can be passwords.
impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(key, _)| key))
            .finish()
    }
}

/// Why a properties file is not read.
#[derive(Debug, thiserror::Error)]
pub enum PropertiesError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A line of the file is wrong.
    #[error("{}: {fault}", file.display())]
    Wrong {
        /// The file.
        file: PathBuf,
        /// Where and what.
        fault: LineFault,
    },
}

/// A line that Java would refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {sequence:?} is not a character; write \\u and four hexadecimal digits")]
pub struct LineFault {
    /// The line, from 1.
    pub line: usize,
    /// The faulty escape.
    pub sequence: String,
}

impl Properties {
    /// Reads a file.
    pub fn read(file: &Path) -> Result<Self, PropertiesError> {
        let bytes = std::fs::read(file).map_err(|source| PropertiesError::Unreadable {
            file: file.to_owned(),
            source,
        })?;
        Self::parse(&bytes).map_err(|fault| PropertiesError::Wrong {
            file: file.to_owned(),
            fault,
        })
    }

    /// Reads a file's bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, LineFault> {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text).to_owned(),
            Err(_) => bytes.iter().copied().map(char::from).collect(),
        };
        let mut properties = Self::default();
        for (line, logical) in logical_lines(&text) {
            let mut chars = logical.chars().peekable();
            let key = read_key(&mut chars, line)?;
            skip_separator(&mut chars);
            let value = read_rest(&mut chars, line)?;
            properties.set(key, value);
        }
        Ok(properties)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, value)| value.as_str())
    }

    /// Sets a key, at its old place if it has one.
    pub fn set(&mut self, key: String, value: String) {
        match self.0.iter_mut().find(|(k, _)| *k == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key, value)),
        }
    }

    /// All keys and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

/// As a properties file that Java reads in any encoding.
impl fmt::Display for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, value) in self.iter() {
            writeln!(f, "{}={}", escape(key, true), escape(value, false))?;
        }
        Ok(())
    }
}

/// Lines that are neither blank nor comments, with their number, continuations joined to them.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut logical: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (number, line) in natural_lines(text).into_iter().enumerate() {
        let line = line.trim_start_matches(BLANKS);
        if !goes_on && (line.is_empty() || line.starts_with(['#', '!'])) {
            continue;
        }
        let backslashes = line.chars().rev().take_while(|&c| c == '\\').count();
        let ends_open = backslashes % 2 == 1;
        let content = if ends_open {
            &line[..line.len() - 1]
        } else {
            line
        };
        match logical.last_mut() {
            Some((_, open)) if goes_on => open.push_str(content),
            _ => logical.push((number + 1, content.to_owned())),
        }
        goes_on = ends_open;
    }
    // A continuation of nothing by nothing is not a key.
    logical.retain(|(_, line)| !line.is_empty());
    logical
}

const BLANKS: [char; 3] = [' ', '\t', '\u{c}'];

/// Lines end with `\n`, `\r` or both.
fn natural_lines(text: &str) -> Vec<&str> {
    text.split('\n')
        .flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
        .collect()
}

fn read_key(chars: &mut Peekable<Chars<'_>>, line: usize) -> Result<String, LineFault> {
    let mut key = Utf16Text::default();
    while let Some(c) = chars.next_if(|c| !BLANKS.contains(c) && !matches!(c, '=' | ':')) {
        key.push(c, chars, line)?;
    }
    key.finish(line)
}

/// Blanks, then at most one `=` or `:`, then blanks.
fn skip_separator(chars: &mut Peekable<Chars<'_>>) {
    while chars.next_if(|c| BLANKS.contains(c)).is_some() {}
    if chars.next_if(|c| matches!(c, '=' | ':')).is_some() {
        while chars.next_if(|c| BLANKS.contains(c)).is_some() {}
    }
}

fn read_rest(chars: &mut Peekable<Chars<'_>>, line: usize) -> Result<String, LineFault> {
    let mut value = Utf16Text::default();
    while let Some(c) = chars.next() {
        value.push(c, chars, line)?;
    }
    value.finish(line)
}

/// Text that is being unescaped. `\uXXXX` is half of a character beyond U+FFFF.
#[derive(Default)]
struct Utf16Text {
    text: String,
    high_half: Option<u16>,
}

impl Utf16Text {
    fn push(
        &mut self,
        c: char,
        rest: &mut Peekable<Chars<'_>>,
        line: usize,
    ) -> Result<(), LineFault> {
        let plain = match c {
            '\\' => match rest.next() {
                Some('u') => return self.push_unit(rest, line),
                Some('t') => Some('\t'),
                Some('n') => Some('\n'),
                Some('r') => Some('\r'),
                Some('f') => Some('\u{c}'),
                other => other,
            },
            other => Some(other),
        };
        self.no_half(line)?;
        self.text.extend(plain);
        Ok(())
    }

    fn push_unit(&mut self, rest: &mut Peekable<Chars<'_>>, line: usize) -> Result<(), LineFault> {
        let digits: String = rest.by_ref().take(4).collect();
        let hex = digits.len() == 4 && digits.chars().all(|c| c.is_ascii_hexdigit());
        let unit = u16::from_str_radix(&digits, 16).ok().filter(|_| hex);
        let wrong = || fault(line, format!("\\u{digits}"));
        let unit = unit.ok_or_else(wrong)?;
        let units = self.high_half.take().into_iter().chain([unit]);
        match char::decode_utf16(units).collect::<Result<String, _>>() {
            Ok(text) => self.text.push_str(&text),
            Err(half) if half.unpaired_surrogate() == unit && is_high(unit) => {
                self.high_half = Some(unit);
            }
            Err(_) => return Err(wrong()),
        }
        Ok(())
    }

    fn no_half(&self, line: usize) -> Result<(), LineFault> {
        self.high_half
            .map_or(Ok(()), |half| Err(fault(line, format!("\\u{half:04x}"))))
    }

    fn finish(self, line: usize) -> Result<String, LineFault> {
        self.no_half(line)?;
        Ok(self.text)
    }
}

fn is_high(unit: u16) -> bool {
    (0xd800..0xdc00).contains(&unit)
}

fn fault(line: usize, sequence: String) -> LineFault {
    LineFault { line, sequence }
}

fn escape(text: &str, is_key: bool) -> String {
    let mut escaped = String::new();
    let mut units = [0; 2];
    for (i, c) in text.chars().enumerate() {
        match c {
            '\t' => escaped.push_str("\\t"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\u{c}' => escaped.push_str("\\f"),
            '\\' | '=' | ':' | '#' | '!' => escaped.extend(['\\', c]),
            ' ' if is_key || i == 0 => escaped.push_str("\\ "),
            ' '..='~' => escaped.push(c),
            other => {
                let units = other.encode_utf16(&mut units).iter();
                escaped.extend(units.map(|unit| format!("\\u{unit:04x}")));
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        Properties::parse(text.as_bytes()).unwrap().0
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn separators_are_equals_colon_or_blanks() {
        let text = "a=1\nb : 2\nc 3\nd\t=\t4 \ne\nf==5\n g = : 6\n=7\nh:=8";
        let expected = [
            pair("a", "1"),
            pair("b", "2"),
            pair("c", "3"),
            pair("d", "4 "),
            pair("e", ""),
            pair("f", "=5"),
            pair("g", ": 6"),
            pair("", "7"),
            pair("h", "=8"),
        ];
        assert_eq!(pairs(text), expected);
    }

    #[test]
    fn comments_and_blank_lines_are_left_out() {
        let text = "# a=1\n  ! b=2\n\n \t\r\n#open\\\nc=3 # not a comment";
        assert_eq!(pairs(text), [pair("c", "3 # not a comment")]);
    }

    #[test]
    fn lines_are_continued_by_an_odd_number_of_backslashes() {
        let text = "a=1,\\\n   2,\\\r\n\t3\nb=x\\\\\nc=\\\n# no comment\nd=end\\";
        let expected = [
            pair("a", "1,2,3"),
            pair("b", "x\\"),
            pair("c", "# no comment"),
            pair("d", "end"),
        ];
        assert_eq!(pairs(text), expected);
    }

    #[test]
    fn escapes_are_undone() {
        let text = r"k\=e\:y\ x=\t\n\q\u00e9\uD83D\uDE00\#";
        assert_eq!(pairs(text), [pair("k=e:y x", "\t\nqé😀#")]);
    }

    #[test]
    fn the_last_value_of_a_key_stands() {
        let properties = Properties::parse(b"a=1\nb=2\na=3").unwrap();
        assert_eq!(
            properties.iter().collect::<Vec<_>>(),
            [("a", "3"), ("b", "2")]
        );
        assert_eq!(
            (properties.get("b"), properties.get("x")),
            (Some("2"), None)
        );
    }

    #[test]
    fn both_encodings_are_read() {
        assert_eq!(pairs("\u{feff}name=Núñez"), [pair("name", "Núñez")]);
        let latin1 = Properties::parse(b"name=N\xfa\xf1ez").unwrap();
        assert_eq!(latin1.get("name"), Some("Núñez"));
    }

    #[test]
    fn faults_name_the_line() {
        for (text, line, sequence) in [
            ("a=1\n\nb=\\u12", 3, "\\u12"),
            ("a=\\uzzzz", 1, "\\uzzzz"),
            ("#\na=\\\n\\u+123", 2, "\\u+123"),
            ("a=\\ud83dx", 1, "\\ud83d"),
            ("a=\\ude00", 1, "\\ude00"),
            ("a\\ud83d=x", 1, "\\ud83d"),
        ] {
            let found = Properties::parse(text.as_bytes()).unwrap_err();
            assert_eq!(found, fault(line, sequence.to_owned()), "{text}");
        }
        let file = Path::new("/no/such.properties");
        let error = Properties::read(file).unwrap_err().to_string();
        assert!(
            error.starts_with("/no/such.properties: cannot be read"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Properties::parse(&bytes);
        }

        #[test]
        fn near_misses_are_read_or_refused(text in r"[ \t\r\n\\=:#!auD8E0-9f]{0,60}") {
            let _ = Properties::parse(text.as_bytes());
        }

        #[test]
        fn what_is_written_reads_the_same(
            written in prop::collection::vec((any::<String>(), any::<String>()), 0..8)
        ) {
            let mut properties = Properties::default();
            for (key, value) in written {
                properties.set(key, value);
            }
            let text = properties.to_string();
            prop_assert!(text.is_ascii());
            prop_assert_eq!(Properties::parse(text.as_bytes()).unwrap(), properties);
        }
    }
}
