//! One rule: how it is written, and which requests it is about.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Subject;

/// When which fault happens. A rule counts the requests that match it; of those it lets `after` pass,
/// then strikes each one (or each `every`-th), `times` times at most.
///
/// As JSON: `{"method":"POST","path_contains":"/Patient","times":2,"fault":{"status":{"code":503,"retry_after":1}}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// Only requests with this method.
    #[serde(default)]
    pub method: Option<String>,
    /// Only requests whose path and query below the base contain this; the path of a Bundle is `/`.
    #[serde(default)]
    pub path_contains: Option<String>,
    /// Only requests whose body contains this.
    #[serde(default)]
    pub body_contains: Option<String>,
    /// Matching requests that pass before the rule begins.
    #[serde(default)]
    pub after: u64,
    /// How often it strikes before it is spent; without end if not given.
    #[serde(default)]
    pub times: Option<u64>,
    /// Strikes only each so-many-th of the matching requests.
    #[serde(default)]
    pub every: Option<u64>,
    /// What goes wrong.
    pub fault: Fault,
}

impl FaultRule {
    /// A rule that strikes every request.
    pub fn new(fault: Fault) -> Self {
        Self {
            method: None,
            path_contains: None,
            body_contains: None,
            after: 0,
            times: None,
            every: None,
            fault,
        }
    }
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The request is applied at once; its answer comes so much later. JSON: `{"delay_ms":250}`.
    #[serde(rename = "delay_ms")]
    Delay(#[serde(with = "millis")] Duration),
    /// The request is read, not applied, and answered with a status.
    Status {
        /// The HTTP status, 200 to 599.
        code: u16,
        /// `Retry-After`, in seconds.
        #[serde(default)]
        retry_after: Option<u32>,
        /// The body; an OperationOutcome if not given.
        #[serde(default)]
        body: Option<String>,
    },
    /// The connection is closed before the body is read.
    DropBeforeRead,
    /// The request is read, not applied, and the connection closed without an answer.
    DropBeforeResponse,
    /// The request is applied, then the connection closed without an answer.
    DropAfterApply,
    /// An entry of a batch is not applied and answers this status; a transaction is refused with it.
    /// Method, path and body of the rule are those of the entry.
    EntryStatus {
        /// The HTTP status, 400 to 599.
        code: u16,
    },
    /// Requests above the rate are not applied and answer 429.
    Throttle {
        /// The rate; a second's worth may come at once.
        requests_per_second: f64,
        /// `Retry-After`, in seconds.
        #[serde(default)]
        retry_after: Option<u32>,
    },
    /// The request is read, not applied, and never answered; the connection stays open.
    Hang,
    /// `$reindex` fails with 500 where it comes to one of these resources: a list with one of them as a whole; where
    /// the server picks, those before it stay reindexed. The rule counts each time one of them is come to.
    ReindexFails {
        /// By index id.
        #[serde(default)]
        index_ids: BTreeSet<u64>,
        /// By `Type/id`.
        #[serde(default)]
        resources: BTreeSet<String>,
    },
    /// A `$reindex` in which the server picks says `Reindex complete` at once, whatever there is left to do.
    ReindexComplete,
    /// `$reindex` does all that is asked for, and does not name so many of what it did. JSON: `{"reindex_untold":2}`.
    ReindexUntold(usize),
    /// `$reindex` leaves so many undone of what is asked for, and does not name them. JSON: `{"reindex_undone":2}`.
    ReindexUndone(usize),
}

/// A rule that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// The status is not one that ends a request.
    #[error("fault rule {rule}: status {code} is out of range; give {from} to 599")]
    Status {
        /// Which rule, from 0.
        rule: usize,
        /// The status given.
        code: u16,
        /// The lowest status allowed.
        from: u16,
    },
    /// `every` or the rate is zero.
    #[error("fault rule {rule}: {field} must be above 0")]
    Zero {
        /// Which rule, from 0.
        rule: usize,
        /// The field at fault.
        field: &'static str,
    },
    /// `reindex_fails` without a resource.
    #[error("fault rule {rule}: reindex_fails names no resource; give index_ids or resources")]
    NoResource {
        /// Which rule, from 0.
        rule: usize,
    },
    /// The body is asked for before it is read.
    #[error(
        "fault rule {rule}: drop_before_read cannot depend on body_contains; use drop_before_response"
    )]
    BodyUnread {
        /// Which rule, from 0.
        rule: usize,
    },
}

/// When a rule is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Before anything is done.
    Request,
    /// At each entry of a Bundle.
    Entry,
    /// When `$reindex` begins.
    Reindex,
    /// At each resource that `$reindex` comes to.
    Resource,
}

impl Fault {
    pub(super) fn stage(&self) -> Stage {
        match self {
            Self::EntryStatus { .. } => Stage::Entry,
            Self::ReindexFails { .. } => Stage::Resource,
            Self::ReindexComplete | Self::ReindexUntold(_) | Self::ReindexUndone(_) => {
                Stage::Reindex
            }
            _ => Stage::Request,
        }
    }
}

impl FaultRule {
    pub(super) fn matches(&self, subject: Subject<'_>) -> bool {
        let contains = |wanted: &Option<String>, text: &[u8]| {
            let found = |w: &String| memchr::memmem::find(text, w.as_bytes()).is_some();
            wanted.as_ref().is_none_or(found)
        };
        let method_fits = self
            .method
            .as_ref()
            .is_none_or(|m| m.eq_ignore_ascii_case(subject.method));
        method_fits
            && contains(&self.path_contains, subject.path.as_bytes())
            && contains(&self.body_contains, subject.body.unwrap_or_default())
    }

    pub(super) fn check(&self, rule: usize) -> Result<(), FaultError> {
        let status = |code: u16, from: u16| {
            if (from..=599).contains(&code) {
                Ok(())
            } else {
                Err(FaultError::Status { rule, code, from })
            }
        };
        if self.every == Some(0) {
            return Err(FaultError::Zero {
                rule,
                field: "every",
            });
        }
        match &self.fault {
            Fault::Status { code, .. } => status(*code, 200),
            Fault::EntryStatus { code } => status(*code, 400),
            Fault::ReindexFails {
                index_ids,
                resources,
            } if index_ids.is_empty() && resources.is_empty() => {
                Err(FaultError::NoResource { rule })
            }
            Fault::DropBeforeRead if self.body_contains.is_some() => {
                Err(FaultError::BodyUnread { rule })
            }
            Fault::Throttle {
                requests_per_second,
                ..
            } if *requests_per_second <= 0.0 => {
                let field = "requests_per_second";
                Err(FaultError::Zero { rule, field })
            }
            _ => Ok(()),
        }
    }
}

mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}
