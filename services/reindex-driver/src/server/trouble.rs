//! What can come of a request but an answer to it.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use stoker_shared::fhir::{FhirError, FhirResponse, outcome};
use stoker_shared::pace::Answer;
use stoker_shared::retry::Retry;

/// A server's clock may be behind by so much.
const BEHIND: TimeDelta = TimeDelta::minutes(5);

/// Why a request brought nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Trouble {
    /// The server wants fewer requests.
    #[error("the server is busy (status {status})")]
    Throttled {
        /// 429 or 503.
        status: u16,
        /// When to come back, from now.
        retry_after: Option<Duration>,
    },
    /// No answer in time: there may have been too much to do.
    #[error("{reason}")]
    TimedOut {
        /// 408 or 504; 0 where nothing came.
        status: u16,
        /// What became of it.
        reason: String,
    },
    /// No connection, or it broke.
    #[error("{reason}")]
    Unreachable {
        /// What became of it.
        reason: String,
        /// There was no connection to send anything over.
        nothing_sent: bool,
    },
    /// The server failed, or refused what it was asked.
    #[error("status {status}: {reason}")]
    Failed {
        /// Of the answer.
        status: u16,
        /// The server's words.
        reason: String,
    },
    /// Nothing of the kind will ever succeed with this server and these settings.
    #[error("{reason}")]
    Hopeless {
        /// Why, and what to do.
        reason: String,
    },
}

impl Trouble {
    /// A success that says nothing that can be understood.
    pub(super) fn strange(reason: impl Into<String>) -> Self {
        Self::Failed {
            status: 200,
            reason: reason.into(),
        }
    }

    /// None of an answer that is good.
    pub(super) fn of(path: &str, answer: &FhirResponse) -> Option<Self> {
        let status = answer.status;
        let said = || outcome::describe(&answer.body);
        Some(match status {
            200..=299 => return None,
            401 | 403 => Self::Hopeless {
                reason: format!(
                    "the server refuses the credentials (status {status}): {}; check user, password, token and rights",
                    said()
                ),
            },
            404 | 405 | 501 => Self::Hopeless {
                reason: format!(
                    "{path} is not offered (status {status}): {}; check the address, the tenant, and what \
                     server it is",
                    said()
                ),
            },
            429 | 503 => Self::Throttled {
                status,
                retry_after: answer.retry_after,
            },
            408 | 504 => Self::TimedOut {
                status,
                reason: format!("the server gave up (status {status})"),
            },
            _ => Self::Failed {
                status,
                reason: said(),
            },
        })
    }

    /// Of a request that asked for nothing but a time: what is refused is that time. One that has just passed here
    /// lies in the future of a server whose clock is behind, and passes there too.
    pub(super) fn of_time(self, tstamp: &str, now: DateTime<Utc>) -> Self {
        match self {
            Self::Failed {
                status: 400,
                reason,
            } if !has_just_passed(tstamp, now) => Self::Hopeless {
                reason: format!("the server refuses the time {tstamp}: {reason}; give another"),
            },
            other => other,
        }
    }

    /// The HTTP status; 0 where there was none.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Throttled { status, .. }
            | Self::TimedOut { status, .. }
            | Self::Failed { status, .. } => *status,
            Self::Unreachable { .. } | Self::Hopeless { .. } => 0,
        }
    }

    /// The server has not done, and does not do, what it was asked for: another such request does no harm.
    pub(crate) fn cannot_have_acted(&self) -> bool {
        match self {
            Self::Unreachable { nothing_sent, .. } => *nothing_sent,
            Self::Throttled { .. } | Self::Hopeless { .. } => true,
            Self::TimedOut { .. } | Self::Failed { .. } => self.is_refusal(),
        }
    }

    /// The server finds fault with the request.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Failed {
                status: 400..=499,
                ..
            }
        )
    }

    /// When to come back, if the server says.
    pub(crate) fn pause(&self) -> Option<Duration> {
        match self {
            Self::Throttled { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// What it says of the server's pace.
    pub(crate) fn answer(&self) -> Answer {
        match self {
            Self::Throttled { retry_after, .. } => Answer::Throttled {
                retry_after: *retry_after,
            },
            _ => Answer::Failed,
        }
    }

    /// What may be logged: servers' own words may hold patient data.
    pub(crate) fn for_log(&self) -> String {
        match self {
            Self::Failed { status, .. } => format!("status {status}"),
            Self::Hopeless { .. } => "the server refuses the request as such".to_owned(),
            other => other.to_string(),
        }
    }
}

fn has_just_passed(tstamp: &str, now: DateTime<Utc>) -> bool {
    DateTime::parse_from_rfc3339(tstamp).is_ok_and(|time| (now - time.to_utc()).abs() < BEHIND)
}

impl From<FhirError> for Trouble {
    fn from(error: FhirError) -> Self {
        let reason = error.to_string();
        match error {
            FhirError::Timeout { .. } => Self::TimedOut { status: 0, reason },
            _ if error.retry() == Retry::Never => Self::Hopeless { reason },
            _ => Self::Unreachable {
                reason,
                nothing_sent: error.cannot_have_acted(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16) -> Option<Trouble> {
        let answer = FhirResponse {
            status,
            retry_after: Some(Duration::from_secs(3)),
            location: None,
            body: bytes::Bytes::from_static(b"no"),
            elapsed: Duration::ZERO,
        };
        Trouble::of("$reindex", &answer)
    }

    #[test]
    fn what_may_have_been_done_is_known() {
        for status in [401, 404, 400, 429, 503] {
            assert!(of(status).unwrap().cannot_have_acted(), "{status}");
        }
        for status in [500, 502, 504, 408] {
            assert!(!of(status).unwrap().cannot_have_acted(), "{status}");
        }
        let connect = FhirError::Connect {
            url: "http://x".to_owned(),
            reason: "refused".to_owned(),
        };
        assert!(Trouble::from(connect).cannot_have_acted());
        let lost = FhirError::Lost {
            url: "http://x".to_owned(),
            reason: "reset".to_owned(),
        };
        assert!(!Trouble::from(lost).cannot_have_acted());
        assert!(of(422).unwrap().is_refusal() && !of(500).unwrap().is_refusal());
    }

    #[test]
    fn statuses_say_what_to_do() {
        assert!(of(200).is_none());
        assert!(matches!(of(401), Some(Trouble::Hopeless { .. })));
        let missing = of(404).unwrap().to_string();
        assert!(missing.contains("$reindex is not offered"), "{missing}");
        let wait = Some(Duration::from_secs(3));
        for status in [429, 503] {
            let answer = of(status).unwrap().answer();
            assert_eq!(answer, Answer::Throttled { retry_after: wait });
        }
        assert!(matches!(of(504), Some(Trouble::TimedOut { .. })));
        for status in [400, 409, 500, 502] {
            assert!(matches!(of(status), Some(Trouble::Failed { .. })));
            assert_eq!(of(status).unwrap().status(), status);
        }
    }

    #[test]
    fn a_time_that_is_refused_is_refused_for_good() {
        let now = DateTime::parse_from_rfc3339("2026-01-31T12:00:00Z").unwrap();
        let of_time = |status, time| of(status).unwrap().of_time(time, now.to_utc());
        for time in ["2999-01-01", "2026-02-01T00:00:00Z", "x"] {
            let refused = of_time(400, time);
            assert!(matches!(&refused, Trouble::Hopeless { .. }), "{refused}");
            assert!(refused.to_string().contains(time), "{refused}");
        }
        let just_now = of_time(400, "2026-01-31T11:59:58Z");
        assert!(matches!(just_now, Trouble::Failed { .. }), "{just_now}");
        assert!(matches!(of_time(500, "x"), Trouble::Failed { .. }));
    }
}
