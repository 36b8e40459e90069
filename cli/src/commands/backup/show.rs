//! Backups and runs as text and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};
use stoker_proto::backup::v1::{Backup, Proof, Run, RunState, Task, Verified};

use super::bar;
use super::units::{ago, between, exact, length, moment, recovery, size};

/// What to say of repositories without backups.
const NO_BACKUPS: &str = "no backups yet; `stoker backup run --help` shows how to make one";

const NO_RUNS: &str = "nothing has been done yet; `stoker backup --help` shows what can be";

pub(super) fn list(backups: &[Backup]) -> String {
    if backups.is_empty() {
        return NO_BACKUPS.to_owned();
    }
    let widest = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0).max(6);
    let names = widest(&mut backups.iter().map(|b| b.name.len()));
    let sources = widest(&mut backups.iter().map(|b| b.source.len()));
    let mut out = format!(
        "{:<names$}  {:<sources$}{:>12}{:>6}  {:<9}{:<16}place\n",
        "backup", "source", "size", "age", "verified", "proven"
    );
    for backup in backups {
        let _ = writeln!(
            out,
            "{:<names$}  {:<sources$}{:>12}{:>6}  {:<9}{:<16}{}",
            backup.name,
            backup.source,
            size(stored(backup)),
            ago(backup.started),
            verified_word(backup.verified.as_ref()),
            proven_words(backup.proof.as_ref()),
            backup.place
        );
    }
    out
}

/// Bytes of all there is, as they are stored.
pub(super) fn stored(backup: &Backup) -> u64 {
    let elsewhere = backup.elsewhere.as_ref().map_or(0, |set| set.bytes);
    backup.parts.iter().map(|part| part.bytes).sum::<u64>() + elsewhere
}

/// Bytes of all there is, before compression.
pub(super) fn raw(backup: &Backup) -> u64 {
    let elsewhere = backup.elsewhere.as_ref().map_or(0, |set| set.raw_bytes);
    backup.parts.iter().map(|part| part.raw_bytes).sum::<u64>() + elsewhere
}

fn verified_word(verified: Option<&Verified>) -> &'static str {
    match verified {
        None => "-",
        Some(verified) if !verified.good => "BAD",
        Some(verified) if verified.full => "yes",
        Some(_) => "sampled",
    }
}

fn proven_words(proof: Option<&Proof>) -> String {
    match proof {
        None => "-".to_owned(),
        Some(proof) if !proof.good => "BAD".to_owned(),
        Some(proof) => format!("in {}", length(recovery(proof.recovery))),
    }
}

pub(super) fn detail(backup: &Backup) -> String {
    let mut out = format!(
        "{} of {}, in {}\n",
        backup.name, backup.source, backup.place
    );
    let took = length(between(backup.started, backup.ended));
    let made = format!(
        "{}, by {}, in {took}",
        moment(backup.started),
        backup.engine
    );
    let _ = writeln!(out, "made        {made}");
    for (name, value) in sorted(backup) {
        let _ = writeln!(out, "about       {name} {value}");
    }
    if !backup.parent.is_empty() {
        let _ = writeln!(out, "needs       {}", backup.parent);
    }
    out.push_str(&sizes(backup));
    for part in &backup.parts {
        let _ = writeln!(
            out,
            "part        {} {}, {}, sha256 {}",
            part.name,
            size(part.bytes),
            part.compression,
            part.sha256
        );
    }
    if let Some(set) = &backup.elsewhere {
        let _ = writeln!(
            out,
            "elsewhere   set {} of pgBackRest's stanza {}, {}",
            set.label,
            set.stanza,
            size(set.bytes)
        );
    }
    out.push_str(&state(backup));
    out
}

/// How large it is, in a line.
pub(super) fn sizes(backup: &Backup) -> String {
    let (stored, raw) = (stored(backup), raw(backup));
    let before = if raw == stored {
        String::new()
    } else {
        format!(", {} before compression", size(raw))
    };
    format!("size        {}{before}\n", size(stored))
}

/// What was learnt of it since it was made.
pub(super) fn state(backup: &Backup) -> String {
    let mut out = String::new();
    match &backup.verified {
        None => out.push_str("verified    never\n"),
        Some(seen) => {
            let how = match (seen.good, seen.full) {
                (false, _) => format!("BAD: {}", seen.problem),
                (true, true) => "all of it is as it was written".to_owned(),
                (true, false) => "samples of it are as they were written".to_owned(),
            };
            let _ = writeln!(out, "verified    {}, {how}", moment(seen.at));
        }
    }
    match &backup.proof {
        None => out.push_str("proven      never\n"),
        Some(proof) => {
            let how = if proof.good { "restored" } else { "BAD" };
            let took = length(recovery(proof.recovery));
            let _ = writeln!(out, "proven      {}, {how} in {took}", moment(proof.at));
            for check in &proof.checks {
                let how = if check.good { "ok" } else { "BAD" };
                let _ = writeln!(out, "  {how:<5}{:<16}{}", check.name, check.saw);
            }
        }
    }
    out
}

fn sorted(backup: &Backup) -> Vec<(&String, &String)> {
    let mut about: Vec<_> = backup.about.iter().collect();
    about.sort();
    about
}

pub(super) fn backup_to_json(backup: &Backup) -> Value {
    let parts: Vec<Value> = backup
        .parts
        .iter()
        .map(|part| {
            json!({
                "name": part.name, "bytes": part.bytes, "sha256": part.sha256,
                "compression": part.compression, "raw_bytes": part.raw_bytes,
            })
        })
        .collect();
    json!({
        "place": backup.place, "name": backup.name, "store": backup.store, "source": backup.source,
        "engine": backup.engine, "started": exact(backup.started), "ended": exact(backup.ended),
        "bytes": stored(backup), "raw_bytes": raw(backup), "parts": parts,
        "about": sorted(backup).into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        "parent": backup.parent,
        "elsewhere": backup.elsewhere.as_ref().map(|set| {
            json!({
                "stanza": set.stanza, "label": set.label, "bytes": set.bytes, "raw_bytes": set.raw_bytes,
            })
        }),
        "verified": backup.verified.as_ref().map(verified_to_json),
        "proof": backup.proof.as_ref().map(proof_to_json),
    })
}

fn verified_to_json(verified: &Verified) -> Value {
    json!({
        "at": exact(verified.at), "full": verified.full, "good": verified.good,
        "problem": verified.problem,
    })
}

fn proof_to_json(proof: &Proof) -> Value {
    let checks = proof.checks.iter();
    let checks = checks.map(|c| json!({"name": c.name, "good": c.good, "saw": c.saw}));
    json!({
        "at": exact(proof.at), "good": proof.good,
        "recovery_ms": recovery(proof.recovery).num_milliseconds(),
        "checks": checks.collect::<Vec<_>>(),
    })
}

pub(super) fn runs(runs: &[Run]) -> String {
    if runs.is_empty() {
        return NO_RUNS.to_owned();
    }
    let mut out = format!(
        "{:>5}  {:<8}{:<16}{:<9}{:<21}{:>9}  backup\n",
        "run", "task", "source", "state", "started", "took"
    );
    for run in runs {
        let reason = match run.reason.as_str() {
            "" => String::new(),
            reason => format!("  {reason}"),
        };
        let _ = writeln!(
            out,
            "{:>5}  {:<8}{:<16}{:<9}{:<21}{:>9}  {}{reason}",
            run.run_id,
            task_name(run.task()),
            run.source,
            stands(run),
            moment(run.started),
            length(between(run.started, run.ended)),
            run.backup
        );
    }
    out
}

pub(super) fn run_detail(run: &Run) -> String {
    let task = task_name(run.task());
    let state = stands(run);
    let mut out = format!("run {}: {task} of {}, {state}\n", run.run_id, run.source);
    let mut line = |name: &str, text: &str| {
        if !text.is_empty() {
            let _ = writeln!(out, "{name:<12}{text}");
        }
    };
    line("reason", &run.reason);
    line("backup", &run.backup);
    line("place", &run.place);
    line("due", &exact(run.due).unwrap_or_default());
    line("started", &exact(run.started).unwrap_or_default());
    line("ended", &exact(run.ended).unwrap_or_default());
    line("agent", &run.agent);
    line("at", &bar::at(run));
    out
}

pub(super) fn run_to_json(run: &Run) -> Value {
    // What was refused has no number.
    let run_id = Some(run.run_id).filter(|id| *id > 0);
    json!({
        "run_id": run_id, "source": run.source, "task": task_name(run.task()),
        "due": exact(run.due), "place": run.place, "backup": run.backup, "agent": run.agent,
        "state": state_name(run.state()), "reason": run.reason,
        "started": exact(run.started), "ended": exact(run.ended),
        "phase": run.phase, "bytes": run.bytes, "total_bytes": run.total_bytes,
        "found_bad": run.found_bad,
    })
}

/// How it stands: one that was given back is not running.
pub(super) fn stands(run: &Run) -> &'static str {
    match run.state() {
        RunState::Running if run.agent.is_empty() => "waiting",
        state => state_name(state),
    }
}

fn state_name(state: RunState) -> &'static str {
    match state {
        RunState::Unspecified => "unknown",
        RunState::Running => "running",
        RunState::Done => "done",
        RunState::Failed => "failed",
        RunState::Lost => "lost",
    }
}

pub(super) fn task_name(task: Task) -> &'static str {
    match task {
        Task::Unspecified => "unknown",
        Task::Backup => "backup",
        Task::Verify => "verify",
        Task::Drill => "drill",
        Task::Prune => "prune",
        Task::Restore => "restore",
        Task::Import => "import",
    }
}

#[cfg(test)]
mod tests {
    use stoker_proto::backup::v1::{Check, Part};

    use super::*;

    fn backup() -> Backup {
        Backup {
            place: "/backups".to_owned(),
            name: "postgresql_1769860800".to_owned(),
            source: "fhir".to_owned(),
            engine: "native".to_owned(),
            parts: vec![Part {
                name: "base.tar".to_owned(),
                bytes: 1 << 20,
                raw_bytes: 3 << 20,
                compression: "zstd".to_owned(),
                ..Part::default()
            }],
            about: [("version".to_owned(), "15.4".to_owned())].into(),
            ..Backup::default()
        }
    }

    #[test]
    fn a_list_says_what_is_known_of_each() {
        assert_eq!(list(&[]), NO_BACKUPS);
        let mut backup = backup();
        let text = list(std::slice::from_ref(&backup));
        assert!(
            text.contains("postgresql_1769860800  fhir      1.00 MiB     -  -        -  "),
            "{text}"
        );
        backup.verified = Some(Verified {
            full: true,
            good: true,
            ..Verified::default()
        });
        backup.proof = Some(Proof {
            good: true,
            recovery: Some(prost_types::Duration {
                seconds: 3,
                nanos: 500_000_000,
            }),
            ..Proof::default()
        });
        let text = list(std::slice::from_ref(&backup));
        assert!(text.contains("yes      in 3.5s"), "{text}");
        let value = backup_to_json(&backup);
        assert_eq!(value["proof"]["recovery_ms"], 3500);
        assert_eq!(value["about"]["version"], "15.4");
    }

    #[test]
    fn what_is_bad_stands_out() {
        let mut backup = backup();
        backup.verified = Some(Verified {
            problem: "base.tar: its SHA-256 is another".to_owned(),
            ..Verified::default()
        });
        backup.proof = Some(Proof {
            checks: vec![Check {
                name: "pg_amcheck".to_owned(),
                good: false,
                saw: "a broken index".to_owned(),
            }],
            ..Proof::default()
        });
        let text = detail(&backup);
        for part in [
            "size        1.00 MiB, 3.00 MiB before compression",
            "BAD: base.tar: its SHA-256 is another",
            "BAD  pg_amcheck      a broken index",
            "about       version 15.4",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(list(&[backup]).contains("BAD      BAD"));
    }

    #[test]
    fn a_run_says_why_it_failed() {
        assert_eq!(runs(&[]), NO_RUNS);
        let run = Run {
            run_id: 3,
            source: "fhir".to_owned(),
            task: Task::Backup.into(),
            state: RunState::Failed.into(),
            reason: "db: away".to_owned(),
            ..Run::default()
        };
        assert!(
            runs(std::slice::from_ref(&run)).contains("    3  backup  fhir            failed   ")
        );
        let text = run_detail(&run);
        assert!(
            text.starts_with("run 3: backup of fhir, failed\nreason      db: away\n"),
            "{text}"
        );
        assert!(!text.contains("due"), "{text}");
        assert_eq!(run_to_json(&run)["total_bytes"], Value::Null);
        let mut waiting = Run {
            state: RunState::Running.into(),
            ..run
        };
        assert_eq!(stands(&waiting), "waiting");
        waiting.agent = "host:1".to_owned();
        assert_eq!(stands(&waiting), "running");
    }
}
