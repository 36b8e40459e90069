//! Rejected inputs as `stoker jobs errors --inputs --json` writes them, and what becomes of them.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use loader_worker::outcome::{Fate, Refusal};
use loader_worker::resend::Resent;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};
use stoker_proto::common::v1::Interaction;

use super::journal::Journal;

/// One line: an error with its input.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line(pub(super) Map<String, Value>);

/// See [`Line::name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Name {
    pub(super) job_id: i64,
    pub(super) error_id: i64,
    pub(super) time: DateTime<Utc>,
}

/// Lines that are sent together: one, or entries of one Bundle, which may refer to each other.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) lines: Vec<Line>,
    /// Its one text; none where nothing was kept that could be sent.
    pub(super) text: Option<Bytes>,
    /// The text is a Bundle made of the lines' entries.
    of_entries: bool,
}

impl Line {
    fn number(&self, name: &str) -> u64 {
        self.0.get(name).and_then(Value::as_u64).unwrap_or_default()
    }

    fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// What tells it from all others.
    pub(super) fn key(&self) -> String {
        let names = ["error_id", "version", "offset", "length", "entry"];
        let numbers = names.map(|name| self.0.get(name).unwrap_or(&Value::Null).to_string());
        format!("{} {}", numbers.join(" "), self.text("file"))
    }

    /// What a ledger knows the error by, where the line says so.
    pub(super) fn name(&self) -> Option<Name> {
        let number = |name| self.0.get(name).and_then(Value::as_i64).filter(|n| *n > 0);
        let time = DateTime::parse_from_rfc3339(self.text("time")).ok()?;
        Some(Name {
            job_id: number("job_id")?,
            error_id: number("error_id")?,
            time: time.to_utc(),
        })
    }

    /// How it was to be sent, where the line says so.
    pub(super) fn interaction(&self) -> Interaction {
        match self.text("interaction") {
            "create" => Interaction::Create,
            "update" => Interaction::Update,
            _ => Interaction::Auto,
        }
    }

    fn input(&self) -> anyhow::Result<Option<Bytes>> {
        if let Some(encoded) = self.0.get("input_base64").and_then(Value::as_str) {
            let bytes = STANDARD
                .decode(encoded)
                .context("input_base64 is no base64")?;
            return Ok(Some(bytes.into()));
        }
        let text = self.0.get("input").and_then(Value::as_str);
        Ok(text.map(|text| Bytes::copy_from_slice(text.as_bytes())))
    }

    /// Something that went wrong with an object, not with an input.
    fn is_a_note(&self) -> bool {
        matches!(self.text("kind"), "warning" | "repeated")
    }

    /// The entry of a Bundle of the user's that it is, with its request.
    fn entry(&self, input: &Bytes) -> bool {
        #[derive(Deserialize)]
        struct Shape {
            #[serde(rename = "resourceType")]
            resource_type: Option<IgnoredAny>,
            request: Option<IgnoredAny>,
        }
        self.0.get("entry").is_some_and(Value::is_u64)
            && serde_json::from_slice::<Shape>(input)
                .is_ok_and(|shape| shape.request.is_some() && shape.resource_type.is_none())
    }

    fn is_beside(&self, other: &Self) -> bool {
        let same = |name| self.0.get(name) == other.0.get(name);
        let names = ["job_id", "file", "version", "line", "line_in_part"];
        names.into_iter().all(same)
    }

    fn refused(mut self, kind: &str, why: &Refusal) -> Self {
        let outcome: Value = serde_json::from_slice(&why.operation_outcome).unwrap_or_default();
        for (name, value) in [
            ("kind", json!(kind)),
            ("reason", json!(why.text)),
            ("http_status", json!(why.status)),
            ("operation_outcome", outcome),
        ] {
            self.0.insert(name.to_owned(), value);
        }
        self
    }

    /// An entry of the Bundle that this is.
    fn part(&self, entry: u32, start: u64, json: &Bytes, resource_type: &str) -> Self {
        let mut part = self.clone();
        for (name, value) in [
            ("entry", json!(entry)),
            ("offset", json!(self.number("offset") + start)),
            ("length", json!(json.len())),
            ("resource_type", json!(resource_type)),
        ] {
            part.0.insert(name.to_owned(), value);
        }
        part.0.remove("input_base64");
        let text = String::from_utf8_lossy(json).into_owned();
        part.0.insert("input".to_owned(), text.into());
        part
    }
}

impl Case {
    fn of_one(line: Line, input: Option<Bytes>) -> Self {
        Self {
            lines: vec![line],
            text: input,
            of_entries: false,
        }
    }

    fn of_entries(entries: Vec<(Line, Bytes)>) -> Self {
        let mut text = br#"{"resourceType":"Bundle","type":"transaction","entry":["#.to_vec();
        for (n, (_, entry)) in entries.iter().enumerate() {
            if n > 0 {
                text.push(b',');
            }
            text.extend_from_slice(entry);
        }
        text.extend_from_slice(b"]}");
        Self {
            lines: entries.into_iter().map(|(line, _)| line).collect(),
            text: Some(text.into()),
            of_entries: true,
        }
    }

    /// The lines that stay, with what was answered now.
    pub(super) fn left(&self, resent: &Resent) -> Vec<Line> {
        let mut left = Vec::new();
        for outcome in &resent.outcomes {
            let (kind, why) = match &outcome.fate {
                Fate::Created(_) | Fate::Updated => continue,
                Fate::Rejected(why) => ("rejected", why),
                Fate::InDoubt(why) => ("in_doubt", why),
            };
            let place = &outcome.place;
            match (place.entry, self.lines.first()) {
                (Some(n), Some(whole)) if !self.of_entries => {
                    let part = whole.part(n, place.bytes.start, &why.json, &outcome.resource_type);
                    left.push(part.refused(kind, why));
                }
                (Some(n), _) => {
                    let line = self.lines.get(n as usize).cloned();
                    left.extend(line.map(|line| line.refused(kind, why)));
                }
                (None, _) => {
                    let lines = self.lines.iter().cloned();
                    left.extend(lines.map(|line| line.refused(kind, why)));
                }
            }
        }
        for input in &resent.unsent {
            let place = &input.place;
            match (place.entry, self.lines.first()) {
                (Some(n), Some(whole)) if !self.of_entries => {
                    left.push(whole.part(n, place.bytes.start, &input.json, &input.resource_type));
                }
                (Some(n), _) => left.extend(self.lines.get(n as usize).cloned()),
                (None, _) => left.extend(self.lines.iter().cloned()),
            }
        }
        left
    }
}

/// The cases of a file, in its order, less what a retry that was interrupted has got through.
pub(super) struct Cases<'j> {
    path: PathBuf,
    lines: std::io::Split<BufReader<File>>,
    journal: &'j Journal,
    /// Of every line that names its error, also of those that were got through.
    names: &'j Mutex<HashSet<Name>>,
    number: usize,
    /// Lines that come first: read already, or left of one that was got through in part.
    waiting: Vec<Line>,
}

impl<'j> Cases<'j> {
    pub(super) fn open(
        path: &Path,
        journal: &'j Journal,
        names: &'j Mutex<HashSet<Name>>,
    ) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("{}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            lines: BufReader::new(file).split(b'\n'),
            journal,
            names,
            number: 0,
            waiting: Vec::new(),
        })
    }

    fn line(&mut self) -> anyhow::Result<Option<Line>> {
        loop {
            if let Some(line) = self.waiting.pop() {
                return Ok(Some(line));
            }
            let Some(text) = self.lines.next().transpose()? else {
                return Ok(None);
            };
            self.number += 1;
            if text.trim_ascii().is_empty() {
                continue;
            }
            let line = Line(serde_json::from_slice(&text).with_context(|| {
                let (path, number) = (self.path.display(), self.number);
                format!("{path}:{number}: not a line of `stoker jobs errors N --inputs --json`")
            })?);
            if !line.0.contains_key("kind") {
                let (path, number) = (self.path.display(), self.number);
                bail!("{path}:{number}: not a line of `stoker jobs errors N --inputs --json`");
            }
            if !line.is_a_note() {
                let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
                names.extend(line.name());
            }
            match self.journal.left_of(&line) {
                Some(left) => self.waiting.extend(left.iter().rev().cloned()),
                None => return Ok(Some(line)),
            }
        }
    }

    fn case(&mut self) -> anyhow::Result<Option<Case>> {
        let mut entries: Vec<(Line, Bytes)> = Vec::new();
        while let Some(line) = self.line()? {
            if line.is_a_note() {
                continue;
            }
            let input = line.input()?;
            let entry = input.as_ref().is_some_and(|input| line.entry(input));
            let fits = entries.last().is_none_or(|(last, _)| last.is_beside(&line));
            match input {
                Some(input) if entry && fits => entries.push((line, input)),
                input if entries.is_empty() => return Ok(Some(Case::of_one(line, input))),
                _ => {
                    self.waiting.push(line);
                    break;
                }
            }
        }
        Ok((!entries.is_empty()).then(|| Case::of_entries(entries)))
    }
}

impl Iterator for Cases<'_> {
    type Item = anyhow::Result<Case>;

    fn next(&mut self) -> Option<Self::Item> {
        self.case().transpose()
    }
}
