//! The documents, and the pieces of them that the indexes list.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use stoker_tests::repository;

/// What a line of code begins with.
const FIRST_WORDS: &str = "java mvn git cd cp rm cat echo export source set touch exit if then else fi sudo ssh \
    ssh-keyscan docker docker-compose kubectl openssl keytool terraform ansible-galaxy ansible-playbook crontab \
    curl k6 stoker psql pg_basebackup mongodump mongorestore select SELECT update UPDATE insert INSERT SET FROM \
    WHERE AND GROUP ORDER LIMIT JOIN";

/// What else a line of code begins with.
const BEGINNINGS: [&str; 10] = ["#!", "--", "-D", "./", "$ ", "{", "}", "[", "\"", "| "];

/// What a sentence with code in it holds.
const INSIDE: [&str; 10] = [
    "`",
    "://",
    "-Djava",
    "docker ",
    " ssh ",
    "terraform ",
    "pg_ctl ",
    "k6 run",
    "package init",
    "jembi/",
];

const CAPABILITIES: &str = "capabilities.json";

pub(super) struct Document {
    pub(super) folder: String,
    pub(super) index: Value,
    pub(super) pieces: Vec<Piece>,
    pub(super) rows: Vec<Row>,
}

pub(super) struct Piece {
    /// Folder and file.
    pub(super) name: String,
    pub(super) text: String,
    pub(super) entry: Value,
}

/// A line of a document and its number.
pub(super) struct Row {
    pub(super) line: u64,
    pub(super) text: String,
}

impl Piece {
    pub(super) fn get(&self, key: &str) -> &str {
        self.entry[key].as_str().unwrap_or_default()
    }

    pub(super) fn line(&self) -> u64 {
        self.entry["line"].as_u64().unwrap()
    }
}

pub(super) fn folder() -> PathBuf {
    repository::root().join("tests/seeds")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&read(path)).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// What pieces can wait for, by name.
pub(super) fn capabilities() -> Map<String, Value> {
    let read = json(&folder().join(CAPABILITIES));
    read.as_object().unwrap().clone()
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn words(value: &Value) -> Vec<String> {
    let words = list(value).iter().filter_map(Value::as_str);
    words.map(str::to_owned).collect()
}

pub(super) fn names_in(path: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    names.collect()
}

pub(super) fn documents() -> Vec<Document> {
    let mut names = names_in(&folder());
    assert!(names.remove(CAPABILITIES));
    let documents: Vec<_> = names.iter().map(|name| document(name)).collect();
    assert_eq!(documents.len(), 5, "a folder for each document");
    documents
}

fn document(name: &str) -> Document {
    let folder = folder().join(name);
    let index = json(&folder.join("index.json"));
    let pieces = list(&index["pieces"]).iter().map(|entry| {
        let file = entry["file"].as_str().unwrap();
        let text = read(&folder.join(file));
        Piece {
            name: format!("{name}/{file}"),
            text: text.strip_suffix('\n').unwrap_or(&text).to_owned(),
            entry: entry.clone(),
        }
    });
    Document {
        folder: name.to_owned(),
        pieces: pieces.collect(),
        rows: rows(index["document"].as_str().unwrap()),
        index,
    }
}

/// A document's lines. One document is the rows of a table on a page: `|` ends a row, `||` begins one.
fn rows(document: &str) -> Vec<Row> {
    let seeds = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/seeds");
    let text = read(&seeds.join(document));
    let lines = (1..).zip(text.lines());
    let row = |(line, text): (u64, &str)| Row {
        line,
        text: text.to_owned(),
    };
    if !text.contains("\n||\n") {
        return lines.map(row).collect();
    }
    let mut rows = Vec::new();
    let mut last = (1, "");
    for (line, text) in lines {
        match text {
            "|" => rows.push(row(std::mem::replace(&mut last, (line, "")))),
            "||" => last = (line, ""),
            _ => last = (line, text),
        }
    }
    rows.push(row(last));
    rows
}

impl Document {
    /// The rows that a piece stands in; none when its document does not print it there.
    pub(super) fn place_of(&self, piece: &Piece) -> Option<&[Row]> {
        let from = self.rows.iter().position(|row| row.line == piece.line())?;
        let lines: Vec<_> = piece.text.split('\n').collect();
        let rows = self.rows.get(from..from + lines.len())?;
        let printed = match (rows, lines.as_slice()) {
            ([row], [line]) => !line.is_empty() && row.text.contains(line),
            _ => rows.iter().map(|row| &row.text).eq(&lines),
        };
        printed.then_some(rows)
    }

    /// Lines that look like code, those between ``` among them.
    pub(super) fn suspects(&self) -> Vec<&Row> {
        let mut fenced = false;
        let suspect = |row: &&Row| {
            if row.text.starts_with("```") {
                fenced = !fenced;
                return false;
            }
            (fenced && !row.text.is_empty()) || looks_like_code(&row.text)
        };
        self.rows.iter().filter(suspect).collect()
    }
}

fn looks_like_code(line: &str) -> bool {
    let line = line.trim();
    // Empty, or the rule between two chapters.
    if line.bytes().all(|b| b == b'-') {
        return false;
    }
    let first = line.split(' ').next().unwrap_or_default();
    let key_ends = line.find(|c: char| !c.is_ascii_alphanumeric() && !"_.-".contains(c));
    let (key, rest) = line.split_at(key_ends.unwrap_or(line.len()));
    let is_key = !key.is_empty();
    FIRST_WORDS.split_whitespace().any(|word| word == first)
        || BEGINNINGS
            .iter()
            .any(|beginning| line.starts_with(beginning))
        || INSIDE.iter().any(|inside| line.contains(inside))
        || line.ends_with('\\')
        || (line.len() > 2 && line.ends_with('|'))
        || (is_key && (rest.trim_start().starts_with('=') || rest == ":"))
        || is_dotted(first)
}

/// Such as `cos.api.key`.
fn is_dotted(word: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
    word.contains('.') && word.split('.').all(is_part)
}

#[test]
fn code_is_told_from_prose() {
    for code in [
        "docker-compose ps hapi",
        "  --incremental",
        "image= mongo:4.2",
        "cos.location the IBM COS or S3 location.",
        "  1. Remove it using: docker rm <id>",
        "services:",
        "Call `x`",
    ] {
        assert!(looks_like_code(code), "{code}");
    }
    for prose in [
        "",
        "Restoring Zookeeper",
        "The data should be restored.",
        "e.g. this one",
    ] {
        assert!(!looks_like_code(prose), "{prose}");
    }
}
