//! What a `stoker reindex` did: as JSON for machines (`docs/reindex-driver.md`) and as text for people.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};
use stoker_proto::reindex::v1::{Failure, ListFailuresRequest, Run, RunState};
use stoker_shared::clock::{Clock as _, SystemClock};
use tonic::Status;

use super::place::Client;
use super::show::{about, counts, failure_text, failure_to_json, to_json};

/// Failures kept in a report; `failures_total` has the true number.
const MOST_FAILURES: usize = 10_000;

/// Failures that are shown to a person at the end.
const SHOWN_FAILURES: usize = 20;

/// How a command ended; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ending {
    /// Everything is reindexed: exit code 0.
    Reindexed,
    /// It could not run, or somebody cancelled it: exit code 1.
    Failed,
    /// Some resources could not be reindexed: exit code 2.
    SomeFailed,
    /// It stopped before its end and can be gone on with: exit code 3.
    Interrupted,
}

impl Ending {
    /// How a run stands, as the end of a command. What stopped after it had done something can be gone on with;
    /// what never worked is a failure.
    pub(super) fn of(run: &Run) -> Self {
        let progress = run.progress.clone().unwrap_or_default();
        match run.state() {
            RunState::Done if progress.failed > 0 => Self::SomeFailed,
            RunState::Done => Self::Reindexed,
            RunState::Running | RunState::Paused => Self::Interrupted,
            RunState::Stopped if progress.reindexed > 0 => Self::Interrupted,
            RunState::Stopped | RunState::Cancelled | RunState::Unspecified => Self::Failed,
        }
    }

    /// The process's exit code.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Reindexed => 0,
            Self::Failed => 1,
            Self::SomeFailed => 2,
            Self::Interrupted => 3,
        }
    }
}

/// See the [module](self).
#[derive(Debug, Serialize)]
pub(super) struct Report {
    #[serde(rename = "report_version")]
    version: u32,
    stoker_version: &'static str,
    result: Ending,
    exit_code: u8,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    started: DateTime<Utc>,
    ended: DateTime<Utc>,
    seconds: f64,
    #[serde(serialize_with = "run_as_json")]
    run: Run,
    /// Reindexed by this command; the run's own count is since its start.
    reindexed: u64,
    failures_total: u64,
    #[serde(serialize_with = "failures_as_json")]
    failures: Vec<Failure>,
    /// See [`super::place::PlaceArgs::again`].
    #[serde(skip)]
    again: Option<String>,
}

/// What a command knows at its end.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) started: DateTime<Utc>,
    /// As it stood when the command began.
    pub(super) first: Run,
    /// As it stands now.
    pub(super) run: Run,
    /// Why it ended before the run did.
    pub(super) early: Option<(Ending, String)>,
    pub(super) again: Option<String>,
}

impl Report {
    pub(super) async fn new(facts: Facts, client: Client) -> Self {
        let run = facts.run;
        let cancelled = "the run was cancelled; starting it again begins a new one";
        let of_run = match run.state() {
            RunState::Cancelled => (Ending::Failed, cancelled.to_owned()),
            _ => (Ending::of(&run), run.reason.clone()),
        };
        let (result, mut reason) = facts.early.unwrap_or(of_run);
        let failures_total = run.progress.as_ref().map_or(0, |p| p.failed);
        let failures = match failures_total {
            0 => Ok(Vec::new()),
            _ => failures(client, run.run_id).await,
        };
        if let Err(status) = &failures {
            let _ = write!(
                reason,
                "; the failures are not listed: {}",
                status.message()
            );
        }
        let ended = SystemClock.now();
        let done = |run: &Run| run.progress.as_ref().map_or(0, |p| p.reindexed);
        Self {
            version: 1,
            stoker_version: env!("CARGO_PKG_VERSION"),
            result,
            exit_code: result.code(),
            reason: reason.trim_start_matches("; ").to_owned(),
            started: facts.started,
            ended,
            seconds: (ended - facts.started).as_seconds_f64(),
            reindexed: done(&run).saturating_sub(done(&facts.first)),
            run,
            failures_total,
            failures: failures.unwrap_or_default(),
            again: facts.again,
        }
    }

    pub(super) fn ending(&self) -> Ending {
        self.result
    }

    /// Writes how it ended to the log, in the words of the Java tool.
    pub(super) fn log(&self) {
        let run_id = self.run.run_id;
        let progress = self.run.progress.clone().unwrap_or_default();
        let (reindexed, failed) = (progress.reindexed, progress.failed);
        match (self.result, progress.checkpoint) {
            (Ending::Reindexed | Ending::SomeFailed, _) => {
                tracing::info!(run_id, reindexed, failed, "Reindexing was completed");
            }
            _ if reindexed == 0 => tracing::warn!(run_id, "No reindexing was completed"),
            (_, Some(id)) => tracing::warn!(
                run_id,
                reindexed,
                "Reindexing was not fully completed, restart reindex from index ID '{id}' to resume; the same \
                 command again does so by itself"
            ),
            (_, None) => tracing::warn!(
                run_id,
                reindexed,
                "Reindexing was not fully completed, the same command again resumes it"
            ),
        }
    }

    /// For a person.
    pub(super) fn text(&self) -> String {
        let progress = self.run.progress.clone().unwrap_or_default();
        let mut out = format!("run {}: {}\n\n", self.run.run_id, about(&self.run));
        out.push_str(&counts(&progress));
        let this_time = u32::try_from(self.reindexed).unwrap_or(u32::MAX);
        let _ = writeln!(
            out,
            "time       {:.1} s, {} resources, {:.0}/s",
            self.seconds,
            self.reindexed,
            f64::from(this_time) / self.seconds.max(0.001)
        );
        if !self.failures.is_empty() {
            out.push('\n');
        }
        for failure in self.failures.iter().take(SHOWN_FAILURES) {
            let _ = writeln!(out, "{}", failure_text(failure));
        }
        out
    }

    /// What a person should know besides, a sentence each.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        match (self.result, self.reason.as_str()) {
            (_, "") => {}
            (Ending::Reindexed | Ending::SomeFailed, reason) => {
                notes.push(format!("note: {reason}"));
            }
            (_, reason) => notes.push(format!("error: {reason}")),
        }
        if self.failures_total > SHOWN_FAILURES as u64
            && let Some(again) = &self.again
        {
            notes.push(format!(
                "note: {} could not be reindexed; `stoker reindex failures {}{again}` lists all",
                self.failures_total, self.run.run_id
            ));
        }
        if self.result == Ending::Interrupted {
            notes.push(if self.again.is_some() {
                "interrupted: run the same command again to go on where it stopped".to_owned()
            } else {
                "interrupted: with --runs none nothing is kept; the same command begins anew"
                    .to_owned()
            });
        }
        notes
    }
}

async fn failures(mut client: Client, run_id: i64) -> Result<Vec<Failure>, Status> {
    let mut all: Vec<Failure> = Vec::new();
    while all.len() < MOST_FAILURES {
        let request = ListFailuresRequest {
            run_id,
            after_index_id: all.last().map_or(0, |last| last.index_id),
            limit: 0,
        };
        let page = client.list_failures(request).await?.into_inner().failures;
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    all.truncate(MOST_FAILURES);
    Ok(all)
}

fn run_as_json<S: Serializer>(run: &Run, to: S) -> Result<S::Ok, S::Error> {
    to_json(run).serialize(to)
}

fn failures_as_json<S: Serializer>(failures: &[Failure], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(failures.iter().map(failure_to_json))
}

#[cfg(test)]
mod tests {
    use stoker_proto::reindex::v1::RunProgress;

    use super::*;

    fn ended(state: RunState, reindexed: u64, failed: u64) -> (Ending, u8) {
        let progress = RunProgress {
            reindexed,
            failed,
            ..RunProgress::default()
        };
        let ending = Ending::of(&Run {
            state: state.into(),
            progress: Some(progress),
            ..Run::default()
        });
        (ending, ending.code())
    }

    #[test]
    fn the_exit_code_says_how_it_ended() {
        for (found, expected) in [
            (ended(RunState::Done, 5, 0), (Ending::Reindexed, 0)),
            (ended(RunState::Done, 5, 1), (Ending::SomeFailed, 2)),
            (ended(RunState::Stopped, 5, 0), (Ending::Interrupted, 3)),
            (ended(RunState::Stopped, 0, 0), (Ending::Failed, 1)),
            (ended(RunState::Cancelled, 5, 0), (Ending::Failed, 1)),
            (ended(RunState::Running, 0, 0), (Ending::Interrupted, 3)),
        ] {
            assert_eq!(found, expected);
        }
    }
}
