//! What is due, when it starts and when it must be over.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Schedule;

/// A last run that is further ahead of the clock is of a clock that was wrong; less is how clocks are set right.
const AHEAD: TimeDelta = TimeDelta::hours(1);

/// When the runs of a source are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// When they are due.
    pub schedule: Schedule,
    /// They start up to so much later, each source at its own time, so that not all begin at once.
    #[serde(default, with = "humantime_serde")]
    pub jitter: Duration,
    /// A run is given up when it takes longer, so that it does not keep the next from starting; none: it may take as
    /// long as it wants.
    #[serde(default, with = "humantime_serde")]
    pub deadline: Option<Duration>,
}

/// What there is to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// A run is to start. Once it is over, whatever came of it, `due` is what was due last.
    Start {
        /// When it was due.
        due: DateTime<Utc>,
    },
    /// Nothing, until then.
    Wait {
        /// Look again then.
        until: DateTime<Utc>,
    },
    /// Nothing any more.
    Never,
}

impl Timing {
    /// What there is to do for a source, of which a run was due at `last` that is over; before the first, `last` is when
    /// the schedule was set. Runs that were missed since are one run, due when the last of them was.
    ///
    /// Where `last` lies well ahead, the clock was wrong then, or is now: a run is due at once, since otherwise none
    /// would be for as long as the clock was set back.
    pub fn next(&self, source: &str, last: DateTime<Utc>, now: DateTime<Utc>) -> Next {
        if last.signed_duration_since(now) > AHEAD {
            return Next::Start { due: now };
        }
        let late = self.late(source);
        let reached = now.checked_sub_signed(late).unwrap_or(now);
        if let Some(due) = self.schedule.last_between(last, reached) {
            return Next::Start { due };
        }
        let next = self.schedule.next_after(last);
        match next.and_then(|next| next.checked_add_signed(late)) {
            Some(until) => Next::Wait { until },
            None => Next::Never,
        }
    }

    /// How much later than due a source's runs start: always the same, so that a process that starts anew waits for the
    /// same time.
    fn late(&self, source: &str) -> TimeDelta {
        let hash = Sha256::digest(source.as_bytes());
        let first = hash.first_chunk().copied().unwrap_or_default();
        let share = u128::from(u64::from_be_bytes(first));
        let nanos = (self.jitter.as_nanos().saturating_mul(share)) >> 64;
        let seconds = nanos / 1_000_000_000;
        TimeDelta::seconds(i64::try_from(seconds).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::at;
    use super::*;

    fn timing(text: &str) -> Timing {
        serde_json::from_value(serde_json::json!({ "schedule": text })).unwrap()
    }

    fn due(text: &str, last: &str, now: &str) -> Next {
        timing(text).next("fhir", at(last), at(now))
    }

    /// A schedule, a time, and what there is to do then, when the run before was due at half past two on New Year's day.
    const MISSED: &str = "
        30 2 * * * | 2026-01-02T02:29:59Z | wait | 2026-01-02T02:30:00Z
        30 2 * * * | 2026-01-02T02:30:00Z | start | 2026-01-02T02:30:00Z
        30 2 * * * | 2026-01-09T17:00:00Z | start | 2026-01-09T02:30:00Z
        * * * * * * | 2028-01-01T00:00:00.5Z | start | 2028-01-01T00:00:00Z
        0 * * * * | 2026-03-01T00:59:59Z | start | 2026-03-01T00:00:00Z
        @monthly | 2026-12-31T00:00:00Z | start | 2026-12-01T00:00:00Z
        0 0 29 2 * | 2035-01-01T00:00:00Z | start | 2032-02-29T00:00:00Z
        @every 24h | 2026-01-02T02:29:59Z | wait | 2026-01-02T02:30:00Z
        @every 24h | 2026-01-04T12:00:00Z | start | 2026-01-04T02:30:00Z
    ";

    #[test]
    fn what_was_missed_is_caught_up_once() {
        for line in MISSED.trim().lines().map(str::trim) {
            let [text, now, what, time] = line.split(" | ").collect::<Vec<_>>()[..] else {
                panic!("{line}");
            };
            let expected = match what {
                "start" => Next::Start { due: at(time) },
                _ => Next::Wait { until: at(time) },
            };
            assert_eq!(due(text, "2026-01-01T02:30:00Z", now), expected, "{line}");
        }
        // Once it is over, the next one is waited for.
        let next = due("30 2 * * *", "2026-01-09T02:30:00Z", "2026-01-09T17:10:00Z");
        let until = at("2026-01-10T02:30:00Z");
        assert_eq!(next, Next::Wait { until });
    }

    #[test]
    fn a_clock_that_was_set_back_keeps_no_run_from_starting() {
        let now = "2026-01-01T12:00:00Z";
        let next = due("@daily", "2026-02-12T00:00:00Z", now);
        assert_eq!(next, Next::Start { due: at(now) });
        let a_little = due("@daily", "2026-01-02T00:00:00Z", "2026-01-01T23:59:58Z");
        let until = at("2026-01-03T00:00:00Z");
        assert_eq!(a_little, Next::Wait { until });
    }

    #[test]
    fn runs_start_up_to_the_jitter_later_and_always_as_much() {
        let hour = Duration::from_hours(1);
        let timing = Timing {
            jitter: hour,
            ..timing("@daily")
        };
        let last = at("2026-01-01T00:00:00Z");
        let mut lates = Vec::new();
        for source in ["fhir", "audit", "a", "b", "c", "d"] {
            let Next::Wait { until } = timing.next(source, last, at("2026-01-01T05:00:00Z")) else {
                panic!("nothing is due yet");
            };
            let due = at("2026-01-02T00:00:00Z");
            assert!(until >= due && until < due + TimeDelta::hours(1), "{until}");
            assert_eq!(timing.next(source, last, until), Next::Start { due });
            let before = until - TimeDelta::seconds(1);
            assert_eq!(timing.next(source, last, before), Next::Wait { until });
            lates.push(until);
        }
        lates.sort();
        lates.dedup();
        assert!(lates.len() > 3, "not all at once: {lates:?}");
    }
}
