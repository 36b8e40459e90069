//! `stoker backup verify`: backups read back.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::{Map, Value, json};
use stoker_proto::backup::v1::{
    BackupRef, ListBackupsResponse, Run, RunState, StartVerifyRequest, Task, Unusable,
};

use super::ended::{Ended, Ending};
use super::place::sentence;
use super::session::Session;
use super::show::{backup_to_json, run_to_json, sizes, state};
use super::units::{length, read};
use super::{OfSource, ask, follow};
use crate::Global;
use crate::output::{Output, one_sentence};

/// Which backups are read back, and how much of them.
#[derive(Debug, clap::Args)]
pub(super) struct VerifyArgs {
    /// The backup's name, or latest
    name: Option<String>,
    /// All of them
    #[arg(long, conflicts_with = "name")]
    all: bool,
    #[command(flatten)]
    of: OfSource,
    /// Read so much of it as samples, such as 10% [default: all of it]
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    sample: Option<u32>,
}

fn percent(text: &str) -> Result<u32, String> {
    let number = text.trim_end_matches('%').parse().ok();
    let within = number.filter(|percent| (1..=100).contains(percent));
    within.ok_or_else(|| "give a percentage from 1% to 100%".to_owned())
}

impl VerifyArgs {
    fn sample_percent(&self) -> u32 {
        // The contract has 0 for all of it.
        self.sample.filter(|percent| *percent < 100).unwrap_or(0)
    }
}

pub(super) async fn run(
    session: &Session,
    args: VerifyArgs,
    global: &Global,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let percent = args.sample_percent();
    if args.all {
        return all(session, args.of, percent, global, output).await;
    }
    let name = args.name.context("name a backup, or give --all")?;
    let which = BackupRef {
        name,
        source: args.of.source.unwrap_or_default(),
        place: String::new(),
    };
    let ended = one(session, which, percent, global, output).await?;
    if ended.run.backup.is_empty() || !matches!(ended.ending, Ending::Done | Ending::FoundBad) {
        return ended.tell(session, Map::new(), String::new, output);
    }
    let backup = ask::backup(session, of_run(&ended)).await?;
    let more = Map::from_iter([("backup".to_owned(), backup_to_json(&backup))]);
    let text = || {
        let head = format!("{} in {}\n", backup.name, backup.place);
        let read = read(ended.run.bytes, ended.took());
        [head, sizes(&backup), state(&backup), read].concat()
    };
    ended.tell(session, more, text, output)
}

/// The backup that a run was about.
pub(super) fn of_run(ended: &Ended) -> BackupRef {
    BackupRef {
        name: ended.run.backup.clone(),
        source: ended.run.source.clone(),
        place: ended.run.place.clone(),
    }
}

async fn one(
    session: &Session,
    which: BackupRef,
    sample_percent: u32,
    global: &Global,
    output: &Output,
) -> anyhow::Result<Ended> {
    let request = StartVerifyRequest {
        backup: Some(which),
        sample_percent,
    };
    let answer = session.client().start_verify(request).await;
    let run = answer.map_err(sentence)?.into_inner().run;
    follow::to_end(session, run, global, output).await
}

/// One after the other; one that is bad or cannot be read does not keep the others from being read.
async fn all(
    session: &Session,
    of: OfSource,
    percent: u32,
    global: &Global,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let ListBackupsResponse { backups, unusable } = ask::backups(session, of).await?;
    if backups.is_empty() && unusable.is_empty() {
        bail!("there is no backup to verify; check --repository and --source");
    }
    let mut read: Vec<Ended> = unusable.into_iter().map(without_manifest).collect();
    for backup in backups {
        let which = BackupRef {
            name: backup.name,
            source: backup.source,
            place: backup.place,
        };
        let ended = one(session, which.clone(), percent, global, output).await;
        read.push(ended.unwrap_or_else(|error| not_begun(which, &error)));
        if read
            .last()
            .is_some_and(|ended| ended.ending == Ending::Interrupted)
        {
            break;
        }
    }
    let ending = read.iter().map(|ended| ended.ending);
    let ending = ending.fold(Ending::Done, Ending::and);
    let runs: Vec<Value> = read.iter().map(|ended| run_to_json(&ended.run)).collect();
    let lines = || read.iter().map(line).collect();
    output.result(&json!({"result": ending, "runs": runs}), lines)?;
    Ok(ending.code())
}

fn line(ended: &Ended) -> String {
    let word = match ended.ending {
        Ending::Done => "good",
        Ending::FoundBad => "BAD",
        Ending::Failed => "failed",
        Ending::Interrupted => "interrupted",
    };
    let Run { backup, reason, .. } = &ended.run;
    let took = length(ended.took());
    let line = format!("{word:<12}{backup}  {took}  {reason}");
    format!("{}\n", line.trim_end())
}

/// What nothing is known of, in the form of a run that found it bad.
fn without_manifest(unusable: Unusable) -> Ended {
    let run = Run {
        task: Task::Verify.into(),
        place: unusable.place,
        backup: unusable.name,
        state: RunState::Failed.into(),
        reason: unusable.reason,
        found_bad: true,
        ..Run::default()
    };
    Ended {
        ending: Ending::FoundBad,
        run,
    }
}

/// What cannot be read, in the form of a run that failed.
fn not_begun(which: BackupRef, why: &anyhow::Error) -> Ended {
    let run = Run {
        source: which.source,
        task: Task::Verify.into(),
        place: which.place,
        backup: which.name,
        state: RunState::Failed.into(),
        reason: one_sentence(why),
        ..Run::default()
    };
    Ended {
        ending: Ending::Failed,
        run,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_has_bounds() {
        assert_eq!(percent("10%").unwrap(), 10);
        assert_eq!(percent("100").unwrap(), 100);
        for wrong in ["0%", "101%", "ten", "-1", "%"] {
            assert!(percent(wrong).is_err(), "{wrong}");
        }
    }
}
