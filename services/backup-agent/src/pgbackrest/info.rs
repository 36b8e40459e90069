//! What pgBackRest tells of its sets: the JSON of `info`, which it keeps stable.
//! <https://pgbackrest.org/command.html#command-info>

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::{MARK, PgbackrestError, Program, run};
use crate::manifest::Elsewhere;

/// Codes of its status with which the list of sets is whole: all is well, no set yet, a set with an error.
const READABLE: [u32; 3] = [0, 2, 4];

/// Sets of one cluster.
#[derive(Debug, Deserialize)]
pub(super) struct Stanza {
    name: String,
    status: Status,
    #[serde(default)]
    backup: Vec<Set>,
    #[serde(default)]
    db: Vec<Database>,
}

#[derive(Debug, Deserialize)]
struct Status {
    code: u32,
    message: String,
}

#[derive(Debug, Deserialize)]
struct Database {
    id: u32,
    #[serde(rename = "system-id")]
    system_id: u64,
    version: String,
}

/// A backup of its own.
#[derive(Debug, Deserialize)]
pub(super) struct Set {
    pub(super) label: String,
    #[serde(default)]
    annotation: Option<BTreeMap<String, String>>,
    archive: Range,
    #[serde(default)]
    lsn: Range,
    info: Sizes,
    database: Owner,
    backrest: Version,
    /// Other sets that it needs.
    #[serde(default)]
    reference: Option<Vec<String>>,
    /// Pages with wrong checksums were found.
    #[serde(default)]
    error: Option<bool>,
    #[serde(default)]
    tablespace: Option<Vec<Tablespace>>,
}

#[derive(Debug, Default, Deserialize)]
struct Range {
    start: Option<String>,
    stop: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Sizes {
    size: u64,
    repository: Stored,
}

#[derive(Debug, Deserialize)]
struct Stored {
    /// All of it; not told where files of several sets are stored in one.
    size: Option<u64>,
    /// What it added.
    delta: u64,
}

#[derive(Debug, Deserialize)]
struct Owner {
    id: u32,
}

#[derive(Debug, Deserialize)]
struct Version {
    version: String,
}

#[derive(Debug, Deserialize)]
struct Tablespace {
    destination: PathBuf,
    name: String,
    oid: u32,
}

/// All sets of a stanza.
pub(super) async fn of_stanza(program: &Program, stanza: &str) -> Result<Stanza, PgbackrestError> {
    let said = ask(program, stanza, None).await?;
    readable(stanza, parse(said.as_bytes())?)
}

/// One set, with its tablespaces: as it is told, and as it is understood.
pub(super) async fn of_set(
    program: &Program,
    stanza: &str,
    label: &str,
) -> Result<(String, Stanza), PgbackrestError> {
    let said = ask(program, stanza, Some(label)).await?;
    let parsed = readable(stanza, parse(said.as_bytes())?)?;
    Ok((said, parsed))
}

/// See [`super::tablespaces`].
pub(super) fn tablespaces(said: &[u8]) -> Result<Vec<(String, String, PathBuf)>, PgbackrestError> {
    let sets = parse(said)?.backup.into_iter();
    let spaces = sets.flat_map(|set| set.tablespace.unwrap_or_default());
    let spaces = spaces.map(|space| (space.oid.to_string(), space.name, space.destination));
    Ok(spaces.collect())
}

async fn ask(
    program: &Program,
    stanza: &str,
    label: Option<&str>,
) -> Result<String, PgbackrestError> {
    let mut command = program.command(program.user, stanza, "info");
    command.args(["--output=json", "--log-level-file=off"]);
    command.args(label.map(|label| format!("--set={label}")));
    run::to_the_end(program, command, |_| ()).await
}

fn parse(said: &[u8]) -> Result<Stanza, PgbackrestError> {
    let odd = |what: String| PgbackrestError::Odd {
        command: "info",
        what,
    };
    let mut stanzas: Vec<Stanza> = serde_json::from_slice(said).map_err(|e| odd(e.to_string()))?;
    match (stanzas.pop(), stanzas.is_empty()) {
        (Some(stanza), true) => Ok(stanza),
        _ => Err(odd("it tells not of one stanza".to_owned())),
    }
}

fn readable(asked: &str, stanza: Stanza) -> Result<Stanza, PgbackrestError> {
    if stanza.name == asked && READABLE.contains(&stanza.status.code) {
        return Ok(stanza);
    }
    Err(PgbackrestError::Unreadable {
        stanza: asked.to_owned(),
        message: stanza.status.message,
    })
}

impl Stanza {
    /// The set of this label.
    pub(super) fn set(&self, label: &str) -> Result<&Set, PgbackrestError> {
        let found = self.backup.iter().find(|set| set.label == label);
        found.ok_or_else(|| PgbackrestError::Gone {
            stanza: self.name.clone(),
            label: label.to_owned(),
        })
    }

    /// The newest set that was made for the backup of this address.
    pub(super) fn marked(&self, address: &str) -> Result<&Set, PgbackrestError> {
        let of_it = self.backup.iter().filter(|set| set.mark() == Some(address));
        let newest = of_it.max_by_key(|set| &set.label);
        newest.ok_or_else(|| PgbackrestError::NotMade(self.name.clone()))
    }

    /// Labels of sets that are nobody's; see [`super::tidy`]. Labels are in the order of time.
    pub(super) fn orphans(&self, place: &str, known: &[&str]) -> Vec<&str> {
        let is_here = |label: &&str| self.backup.iter().any(|set| set.label == *label);
        let Some(newest) = known.iter().copied().filter(is_here).max() else {
            return Vec::new();
        };
        let is_of_place = |set: &&Set| {
            let name = set.mark().and_then(|mark| mark.strip_prefix(place));
            name.is_some_and(|name| name.starts_with('/') && !name[1..].contains('/'))
        };
        let is_needed = |label: &String| {
            let needed = self.backup.iter().filter_map(|set| set.reference.as_ref());
            needed.flatten().any(|other| other == label)
        };
        let sets = self.backup.iter().filter(is_of_place);
        sets.filter(|set| set.label.as_str() < newest && !known.contains(&set.label.as_str()))
            .filter(|set| !is_needed(&set.label))
            .map(|set| set.label.as_str())
            .collect()
    }

    /// As of a backup of our own; see [`crate::postgres::Captured::about`].
    pub(super) fn about(&self, set: &Set) -> BTreeMap<String, String> {
        let database = self.db.iter().find(|db| db.id == set.database.id);
        // A segment's name begins with its timeline.
        let timeline = set.archive.start.as_deref().and_then(|name| name.get(..8));
        let timeline = timeline.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let known = [
            ("pgbackrest_version", Some(set.backrest.version.clone())),
            ("server_version", database.map(|db| db.version.clone())),
            (
                "system_identifier",
                database.map(|db| db.system_id.to_string()),
            ),
            ("timeline", timeline.map(|number| number.to_string())),
            ("start_lsn", set.lsn.start.clone()),
            ("stop_lsn", set.lsn.stop.clone()),
        ];
        let known = known.into_iter();
        known
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect()
    }
}

impl Set {
    fn mark(&self) -> Option<&str> {
        self.annotation.as_ref()?.get(MARK).map(String::as_str)
    }

    /// Fails where it holds pages with wrong checksums.
    pub(super) fn check_pages(&self, stanza: &str) -> Result<(), PgbackrestError> {
        if self.error == Some(true) {
            return Err(PgbackrestError::Pages(stanza.to_owned()));
        }
        Ok(())
    }

    pub(super) fn elsewhere(&self, stanza: &str) -> Elsewhere {
        let stored = &self.info.repository;
        Elsewhere {
            stanza: stanza.to_owned(),
            label: self.label.clone(),
            bytes: stored.size.unwrap_or(stored.delta),
            raw_bytes: self.info.size,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As version 2.45 said it.
    const SAID: &str = include_str!("info.json");

    fn with(marks: &[(&str, &str)]) -> Stanza {
        let mut stanza = parse(SAID.as_bytes()).unwrap();
        let one = |(label, mark): &(&str, &str)| {
            let mut set = parse(SAID.as_bytes()).unwrap().backup.remove(0);
            set.label = (*label).to_owned();
            set.annotation = Some(BTreeMap::from([(MARK.to_owned(), (*mark).to_owned())]));
            set
        };
        stanza.backup = marks.iter().map(one).collect();
        stanza
    }

    #[test]
    fn what_it_says_is_understood() {
        let stanza = readable("main", parse(SAID.as_bytes()).unwrap()).unwrap();
        let set = stanza.marked("/tmp/repo/pg_3").unwrap();
        assert_eq!(
            set.elsewhere("main"),
            Elsewhere {
                stanza: "main".to_owned(),
                label: "20261129-041132F".to_owned(),
                bytes: 3_532_354,
                raw_bytes: 43_513_526,
            }
        );
        let about = stanza.about(set);
        assert_eq!(about["timeline"], "1");
        assert_eq!(about["stop_lsn"], "0/7020498");
        assert_eq!(about["system_identifier"], "7713440614388083045");
        assert_eq!(
            tablespaces(SAID.as_bytes()).unwrap(),
            [(
                "16391".to_owned(),
                "tsx".to_owned(),
                PathBuf::from("/srv/ts1")
            )]
        );
        let away = SAID.replace(
            r#""status":{"code":0,"lock""#,
            r#""status":{"code":1,"lock""#,
        );
        let away = readable("main", parse(away.as_bytes()).unwrap());
        assert!(matches!(away, Err(PgbackrestError::Unreadable { .. })));
    }

    #[test]
    fn a_set_is_an_orphan_only_where_a_later_one_is_known() {
        let stanza = with(&[
            ("1F", "/r/a"),
            ("2F", "/r/b"),
            ("3F", "/r/c"),
            ("4F", "/q/d"),
        ]);
        assert_eq!(stanza.orphans("/r", &["2F"]), ["1F"]);
        assert_eq!(stanza.orphans("/r", &["1F", "3F"]), ["2F"]);
        // An empty repository may be one that is not mounted.
        assert!(stanza.orphans("/r", &[]).is_empty());
        assert!(stanza.orphans("/r", &["9F"]).is_empty());
        assert!(stanza.orphans("/", &["4F"]).is_empty());
        assert!(stanza.orphans("/q", &["4F"]).is_empty());
    }

    #[test]
    fn a_set_that_another_needs_is_no_orphan() {
        let mut stanza = with(&[("1F", "/r/a"), ("1F_2D", ""), ("3F", "/r/c")]);
        stanza.backup[1].reference = Some(vec!["1F".to_owned()]);
        assert!(stanza.orphans("/r", &["3F"]).is_empty());
    }
}
