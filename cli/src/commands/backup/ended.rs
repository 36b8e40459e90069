//! How a command ended.

use std::process::ExitCode;

use serde::Serialize;
use serde_json::{Map, Value, json};
use stoker_proto::backup::v1::{Run, RunState};

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
        for note in self.notes(session) {
            output.say(&note);
        }
        Ok(self.ending.code())
    }

    fn time(&self) -> String {
        format!("time        {}\n", length(self.took()))
    }

    /// What a person should know besides, a sentence each.
    fn notes(&self, session: &Session) -> Vec<String> {
        let mut notes = Vec::new();
        let reason = &self.run.reason;
        match (self.ending, reason.as_str()) {
            (Ending::Interrupted, _) => notes.push(self.interrupted(session)),
            (_, "") => {}
            (Ending::Done, _) => notes.push(format!("note: {reason}")),
            (Ending::FoundBad, _) => notes.push(format!("bad: {reason}")),
            (Ending::Failed, _) => notes.push(format!("error: {reason}")),
        }
        notes
    }

    fn interrupted(&self, session: &Session) -> String {
        let run_id = self.run.run_id;
        if !session.is_here() {
            return format!(
                "interrupted: the agent goes on with it; `stoker backup watch {run_id}{0}` follows it, \
                 `stoker backup cancel {run_id}{0}` ends it",
                session.again()
            );
        }
        if super::follow::is_over(&self.run) {
            "interrupted: nothing half done is left".to_owned()
        } else {
            "interrupted at once: the next command takes away what is half done".to_owned()
        }
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
    fn of_several_the_worst_is_told() {
        use Ending::{Done, Failed, FoundBad, Interrupted};
        assert_eq!(Done.and(Done), Done);
        assert_eq!(Done.and(Failed), Failed);
        assert_eq!(Interrupted.and(Failed), Interrupted);
        assert_eq!(Failed.and(FoundBad), FoundBad);
    }
}
