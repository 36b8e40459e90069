//! What is backed up, and when.

use std::fmt::Write as _;

use serde_json::{Value, json};
use stoker_proto::backup::v1::Source;

use super::units::{ago, exact, moment, size};

/// What to say where nothing is to be backed up.
const NO_SOURCES: &str = "no source is configured; `stoker backup run --source postgres://…` backs one up all the \
                          same, and config/backup-agent.yaml shows how to configure one";

pub(super) fn plan(sources: &[Source]) -> String {
    if sources.is_empty() {
        return NO_SOURCES.to_owned();
    }
    let mut out = String::new();
    for source in sources {
        let _ = writeln!(out, "{}: {}, {}", source.name, source.store, source.address);
        let place = format!("{} ({})", source.place, source.engine);
        let kept = format!("{}, {}", source.backups, size(source.bytes));
        for (name, text) in [
            ("place", place.as_str()),
            ("schedule", when(source)),
            ("next due", &moment(source.next_due)),
            ("last backup", &past(source.last_backup)),
            ("last proof", &past(source.last_proof)),
            ("backups", &kept),
        ] {
            let _ = writeln!(out, "  {name:<12}{text}");
        }
        if !source.drill_schedule.is_empty() {
            let next = moment(source.next_drill);
            let _ = writeln!(
                out,
                "  {:<12}{}, next due {next}",
                "drills", source.drill_schedule
            );
        }
        for trouble in &source.troubles {
            let _ = writeln!(out, "  TROUBLE     {trouble}");
        }
    }
    out
}

fn when(source: &Source) -> &str {
    match source.schedule.as_str() {
        "" => "none: made when somebody asks",
        schedule => schedule,
    }
}

fn past(at: Option<prost_types::Timestamp>) -> String {
    match at {
        None => "never".to_owned(),
        Some(_) => format!("{}, {} ago", moment(at), ago(at)),
    }
}

/// In the order in which they are due.
pub(super) fn schedule(sources: &[Source]) -> String {
    if sources.is_empty() {
        return NO_SOURCES.to_owned();
    }
    let backups = sources
        .iter()
        .map(|source| (source, source.next_due, "backup", when(source)));
    let drills = sources
        .iter()
        .filter(|source| !source.drill_schedule.is_empty())
        .map(|source| (source, source.next_drill, "drill", &*source.drill_schedule));
    let mut all: Vec<_> = backups.chain(drills).collect();
    all.sort_by_key(|(_, due, ..)| {
        let due = due.map(|due| (due.seconds, due.nanos));
        (due.is_none(), due)
    });
    let mut out = format!(
        "{:<21}{:>8}  {:<16}{:<8}schedule\n",
        "next due", "", "source", "task"
    );
    for (source, due, task, text) in all {
        let _ = writeln!(
            out,
            "{:<21}{:>8}  {:<16}{task:<8}{text}",
            moment(due),
            ago(due),
            source.name
        );
    }
    out
}

pub(super) fn to_json(source: &Source) -> Value {
    json!({
        "name": source.name, "store": source.store, "address": source.address,
        "place": source.place, "engine": source.engine, "schedule": source.schedule,
        "next_due": exact(source.next_due), "last_backup": exact(source.last_backup),
        "last_proof": exact(source.last_proof), "backups": source.backups, "bytes": source.bytes,
        "troubles": source.troubles, "drill_schedule": source.drill_schedule,
        "next_drill": exact(source.next_drill),
    })
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    fn source(name: &str, due: Option<i64>) -> Source {
        Source {
            name: name.to_owned(),
            next_due: due.map(|seconds| Timestamp { seconds, nanos: 0 }),
            ..Source::default()
        }
    }

    #[test]
    fn what_is_due_first_stands_first() {
        let mut proven = source("late", Some(1_769_860_900));
        proven.drill_schedule = "@weekly".to_owned();
        proven.next_drill = source("", Some(1_769_860_850)).next_due;
        let text = schedule(&[
            source("never", None),
            proven,
            source("first", Some(1_769_860_800)),
        ]);
        let at = |name: &str| text.find(name).unwrap_or_else(|| panic!("{name}: {text}"));
        let places = [
            at("first           backup  none"),
            at("late            drill   @weekly"),
            at("late            backup  "),
            at("never           backup  "),
        ];
        assert!(places.is_sorted(), "{text}");
        assert!(text.contains("none: made when somebody asks"), "{text}");
        assert_eq!(schedule(&[]), NO_SOURCES);
    }

    #[test]
    fn trouble_is_told() {
        let mut source = source("fhir", None);
        source.troubles = vec!["late: nothing for 3 days".to_owned()];
        let text = plan(&[source]);
        assert!(text.contains("last backup never"), "{text}");
        assert!(
            text.contains("TROUBLE     late: nothing for 3 days"),
            "{text}"
        );
    }
}
