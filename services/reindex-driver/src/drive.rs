//! One run, driven to its end: what all ways of reindexing share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use stoker_proto::reindex::v1::{Method, RunSpec, RunState};
use stoker_shared::clock::SharedClock;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::config::{HapiSettings, LAST_WORDS, ReindexSettings};
use crate::hold::Hold;
use crate::limits::Limits;
use crate::metrics::ReindexMetrics;
use crate::runs::{RunsError, Seen, Taken};
use crate::server::{Server, Trouble};
use crate::unsaved::Unsaved;
use crate::{client, hapi, picked};

/// What a run needs of its driver.
#[derive(Debug)]
pub(crate) struct Drive {
    pub(crate) server: Server,
    pub(crate) settings: ReindexSettings,
    pub(crate) hapi: HapiSettings,
    /// After so long a request of ours is given up.
    pub(crate) request_timeout: Duration,
    pub(crate) clock: SharedClock,
    pub(crate) metrics: ReindexMetrics,
    /// Notified when something may be wished of the run.
    pub(crate) wake: Arc<Notify>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) total: Total,
}

/// How driving a run ends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// All is done that can be.
    Done,
    /// The same, with something a person should know.
    DoneBut(String),
    /// It cannot go on, for this reason.
    Stopped(String),
    /// Another driver, or this one later, goes on with it where it is to go on.
    GivenBack,
}

/// Why nothing more is sent.
#[derive(Debug)]
pub(crate) enum Stop {
    /// A person wants it.
    Wished,
    /// The driver ends; what is on the wire has until then.
    Shutdown(Instant),
    /// The run cannot go on.
    Cannot(String),
}

impl Drive {
    /// Drives a run until it is over, cannot go on, or is to be given back.
    pub(crate) async fn run(&self, hold: Hold, taken: &Taken) -> Result<End, RunsError> {
        match method(taken) {
            Method::ServerDriven => picked::drive(self, hold, taken).await,
            Method::ClientDriven => client::drive(self, hold, taken).await,
            Method::HapiJob => hapi::drive(self, hold, taken).await,
            Method::Unspecified => {
                let reason = "this driver does not know how to reindex so".to_owned();
                Ok(End::Stopped(reason))
            }
        }
    }

    /// What can be seen of the run.
    pub(crate) fn seen(
        &self,
        limits: &Limits,
        unsaved: &mut Unsaved,
        trouble: Option<&Trouble>,
    ) -> Seen {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let trouble = trouble.map(Trouble::to_string);
        let seen = Seen {
            total: self.total.get(),
            concurrency: number(limits.concurrency()),
            batch: number(limits.batch()),
            per_second: unsaved.per_second(),
            trouble: trouble.or_else(|| limits.trouble()).unwrap_or_default(),
        };
        self.metrics.seen(&seen);
        seen
    }

    /// Waits for a word to the run, or to the driver; for ever once it is `stopping`.
    pub(crate) async fn told(&self, stopping: bool) {
        if stopping {
            return std::future::pending().await;
        }
        tokio::select! {
            () = self.wake.notified() => {}
            () = self.shutdown.cancelled() => {}
        }
    }
}

fn method(taken: &Taken) -> Method {
    taken
        .run
        .spec
        .as_ref()
        .map(RunSpec::method)
        .unwrap_or_default()
}

impl Stop {
    /// Whether a run is to stop now: a person or the driver wants it, or it cannot go on for the reason given.
    pub(crate) fn now(
        drive: &Drive,
        hold: &Hold,
        cannot: impl FnOnce() -> Option<String>,
    ) -> Option<Self> {
        match hold.wish() {
            RunState::Running if drive.shutdown.is_cancelled() => {
                Some(Self::Shutdown(Instant::now() + drive.settings.drain))
            }
            RunState::Running => cannot().map(Self::Cannot),
            _ => Some(Self::Wished),
        }
    }

    /// The next time at which less is waited for; none when there is no such time any more.
    pub(crate) fn due(&self) -> Option<Instant> {
        let until = self.overdue_at()?;
        let times = [until, until + LAST_WORDS];
        times.into_iter().find(|time| *time > Instant::now())
    }

    /// When what is on the wire is waited for no longer.
    fn overdue_at(&self) -> Option<Instant> {
        match self {
            Self::Shutdown(until) => Some(*until),
            Self::Wished | Self::Cannot(_) => None,
        }
    }

    /// When nothing is waited for any longer, not even that what is done is written down.
    pub(crate) fn is_overdue(&self, waits_for_answers: bool) -> bool {
        let grace = if waits_for_answers {
            Duration::ZERO
        } else {
            LAST_WORDS
        };
        self.overdue_at()
            .is_some_and(|until| Instant::now() >= until + grace)
    }

    /// What it means for the run.
    pub(crate) fn end(self) -> End {
        match self {
            Self::Wished | Self::Shutdown(_) => End::GivenBack,
            Self::Cannot(reason) => End::Stopped(reason),
        }
    }
}

/// The types of a run, each by its name; one without a name for all of them.
pub(crate) fn of_types(spec: &RunSpec) -> Vec<Option<String>> {
    if spec.resource_types.is_empty() {
        return vec![None];
    }
    spec.resource_types.iter().cloned().map(Some).collect()
}

/// How many resources there are, once the server has told.
#[derive(Debug)]
pub(crate) struct Total {
    count: Arc<AtomicU64>,
    _counting: AbortOnDropHandle<()>,
}

/// No server has so many.
const UNKNOWN: u64 = u64::MAX;

impl Total {
    /// Asks in the background: counting takes a large server long.
    pub(crate) fn ask(server: &Server, spec: &RunSpec) -> Self {
        let count = Arc::new(AtomicU64::new(UNKNOWN));
        let (server, spec, told) = (server.clone(), spec.clone(), Arc::clone(&count));
        let counting = tokio::spawn(async move {
            if spec.method() == Method::HapiJob {
                return;
            }
            let types = of_types(&spec);
            let mut sum = Some(0);
            for of in &types {
                let count = server.count(of.as_deref(), &spec.tstamp).await;
                sum = sum.and_then(|sum: u64| sum.checked_add(count?));
            }
            told.store(sum.unwrap_or(UNKNOWN), Ordering::Relaxed);
        });
        Self {
            count,
            _counting: AbortOnDropHandle::new(counting),
        }
    }

    /// None while it is not known.
    pub(crate) fn get(&self) -> Option<u64> {
        let count = self.count.load(Ordering::Relaxed);
        (count != UNKNOWN).then_some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_drain_and_of_the_last_words_are_both_seen() {
        let stop = Stop::Shutdown(Instant::now() + Duration::from_secs(20));
        tokio::time::sleep_until(stop.due().unwrap()).await;
        assert!(stop.is_overdue(true) && !stop.is_overdue(false));
        tokio::time::sleep_until(stop.due().unwrap()).await;
        assert!(stop.is_overdue(false));
        assert_eq!(stop.due(), None);
        assert_eq!(Stop::Wished.due(), None);
    }
}
