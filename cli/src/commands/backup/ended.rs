//! How a command ended.

use std::process::ExitCode;

use serde::Serialize;
use serde_json::{Map, Value, json};
use stoker_proto::backup::v1::{Run, RunState, Task};

use super::follow::is_over;
use super::session::Session;
use super::show::run_to_json;
use super::units::{between, length};
use crate::output::Output;

/// How a command ended; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ending {
    /// It did what it was to do, and what it looked at is good: exit code 0.
    Done,
    /// It did not: exit code 1.
    Failed,
    /// A backup is bad: exit code 2.
    FoundBad,
    /// A signal ended it: exit code 3.
    Interrupted,
}

impl Ending {
    /// How a run stands, as the end of a command.
    pub(super) fn of(run: &Run, interrupted: bool) -> Self {
        match run.state() {
            _ if run.found_bad => Self::FoundBad,
            RunState::Done => Self::Done,
            _ if interrupted => Self::Interrupted,
            RunState::Unspecified | RunState::Running | RunState::Failed | RunState::Lost => {
                Self::Failed
            }
        }
    }

    /// Of several, the one to be told: a bad backup is what matters most.
    pub(super) fn and(self, other: Self) -> Self {
        let order = [Self::FoundBad, Self::Interrupted, Self::Failed];
        let told = order.into_iter().find(|told| [self, other].contains(told));
        told.unwrap_or(Self::Done)
    }

    fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::FoundBad => 2,
            Self::Interrupted => 3,
        }
    }

    /// The process's exit code.
    pub(super) fn code(self) -> ExitCode {
        ExitCode::from(self.number())
    }
}

/// A run that was followed, and what became of it.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) ending: Ending,
    pub(super) run: Run,
}

impl Ended {
    /// How long the run took, or has taken so far.
    pub(super) fn took(&self) -> chrono::TimeDelta {
        between(self.run.started, self.run.ended)
    }

    /// Tells it: `text` to a person, `more` to machines beside the run.
    pub(super) fn tell(
        &self,
        session: &Session,
        more: Map<String, Value>,
        text: impl FnOnce() -> String,
        output: &Output,
    ) -> anyhow::Result<ExitCode> {
        let mut value = json!({
            "result": self.ending,
            "exit_code": self.ending.number(),
            "run": run_to_json(&self.run),
        });
        if let Some(fields) = value.as_object_mut() {
            fields.extend(more);
        }
        // Of what came to nothing there is only the reason to tell.
        if output.is_json() || matches!(self.ending, Ending::Done | Ending::FoundBad) {
            output.result(&value, || format!("{}{}", text(), self.time()))?;
        }
        if let Some(note) = self.note(session) {
            output.say(&note);
        }
        Ok(self.ending.code())
    }

    fn time(&self) -> String {
        format!("time        {}\n", length(self.took()))
    }

    /// What a person should know besides.
    fn note(&self, session: &Session) -> Option<String> {
        let reason = &self.run.reason;
        match (self.ending, reason.as_str()) {
            (Ending::Interrupted, _) if session.is_here() => Some(self.interrupted()),
            (Ending::Interrupted, _) => Some(format!(
                "interrupted: the agent goes on with it; `stoker backup watch {run_id}{again}` follows it, \
                 `stoker backup cancel {run_id}{again}` ends it",
                run_id = self.run.run_id,
                again = session.again()
            )),
            (_, "") => None,
            (Ending::Done, _) => Some(format!("note: {reason}")),
            (Ending::FoundBad, _) => Some(format!("bad: {reason}")),
            (Ending::Failed, _) => Some(format!("error: {reason}")),
        }
    }

    /// What is left where this process was told to stop.
    fn interrupted(&self) -> String {
        let left = match (self.run.task(), is_over(&self.run)) {
            (Task::Restore, _) => {
                ": no server starts on the folder; the same command again clears and fills it"
            }
            (_, true) => ": nothing half done is left",
            (Task::Drill, false) => " at once: the next drill takes away what is half done",
            (_, false) => " at once: the next `stoker backup run` takes away what is half done",
        };
        format!("interrupted{left}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_says_how_it_ended() {
        let ended = |state: RunState, found_bad, interrupted| {
            let run = Run {
                state: state.into(),
                found_bad,
                ..Run::default()
            };
            Ending::of(&run, interrupted).number()
        };
        for (found, expected) in [
            (ended(RunState::Done, false, false), 0),
            (ended(RunState::Done, false, true), 0),
            (ended(RunState::Failed, false, false), 1),
            (ended(RunState::Lost, false, false), 1),
            (ended(RunState::Running, false, false), 1),
            (ended(RunState::Failed, true, false), 2),
            (ended(RunState::Done, true, false), 2),
            (ended(RunState::Failed, false, true), 3),
            (ended(RunState::Running, false, true), 3),
        ] {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_an_interruption_leaves_is_told() {
        let told = |task: Task, state: RunState| {
            let run = Run {
                task: task.into(),
                state: state.into(),
                ..Run::default()
            };
            let ending = Ending::Interrupted;
            Ended { ending, run }.interrupted()
        };
        for (task, state, expected) in [
            (Task::Backup, RunState::Failed, "nothing half done is left"),
            (
                Task::Backup,
                RunState::Running,
                "the next `stoker backup run`",
            ),
            (Task::Drill, RunState::Running, "the next drill"),
            (
                Task::Restore,
                RunState::Failed,
                "no server starts on the folder",
            ),
            (Task::Restore, RunState::Running, "the same command again"),
        ] {
            let told = told(task, state);
            assert!(told.contains(expected), "{told}");
        }
    }

    #[test]
    fn of_several_the_worst_is_told() {
        use Ending::{Done, Failed, FoundBad, Interrupted};
        assert_eq!(Done.and(Done), Done);
        assert_eq!(Done.and(Failed), Failed);
        assert_eq!(Interrupted.and(Failed), Interrupted);
        assert_eq!(Failed.and(FoundBad), FoundBad);
    }
}
