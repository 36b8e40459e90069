//! Who is to blame when a request fails: what was asked for, or a server that fails everything.

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use stoker_shared::retry::Backoff;
use tokio::time::Instant;

use super::queue::Work;
use crate::config::ReindexSettings;
use crate::server::Trouble;

/// What is known of the server's health.
#[derive(Debug)]
pub(super) struct Health {
    last_good: Instant,
    /// Failed, while nothing has gone well since they were sent.
    doubted: Vec<(Work, Trouble)>,
    /// When the server is to be asked for something small.
    ask_at: Instant,
    backoff: Backoff,
    give_up_after: Duration,
    last_trouble: Option<Trouble>,
}

impl Health {
    pub(super) fn new(settings: &ReindexSettings) -> Self {
        Self {
            last_good: Instant::now(),
            doubted: Vec::new(),
            ask_at: Instant::now(),
            backoff: Backoff::new(settings.first_pause, settings.max_pause),
            give_up_after: settings.give_up_after,
            last_trouble: None,
        }
    }

    /// Something went well.
    pub(super) fn good(&mut self) {
        self.last_good = Instant::now();
        self.last_trouble = None;
    }

    /// A request failed. Gives its work back where the server has done others well since it was sent: the work
    /// is to blame. Else that is open until the server has been asked for something small.
    pub(super) fn failed(
        &mut self,
        work: Work,
        trouble: Trouble,
        sent: Instant,
    ) -> Option<(Work, Trouble)> {
        if self.last_good >= sent {
            return Some((work, trouble));
        }
        self.last_trouble = Some(trouble.clone());
        self.doubted.push((work, trouble));
        None
    }

    /// Something else than reindexing failed, or the server is busy.
    pub(super) fn troubled(&mut self, trouble: Trouble) {
        self.last_trouble = Some(trouble);
    }

    /// Nothing more is to be sent before the server has answered something small.
    pub(super) fn is_in_doubt(&self) -> bool {
        !self.doubted.is_empty()
    }

    /// When to ask it.
    pub(super) fn ask_at(&self) -> Instant {
        self.ask_at
    }

    /// It answered: what was doubted is to blame.
    pub(super) fn answered(&mut self) -> Vec<(Work, Trouble)> {
        self.good();
        self.backoff.reset();
        self.ask_at = Instant::now();
        std::mem::take(&mut self.doubted)
    }

    /// It did not: it is asked again later.
    pub(super) fn not_answered(&mut self, trouble: Trouble) {
        let asked = match &trouble {
            Trouble::Throttled { retry_after, .. } => *retry_after,
            _ => None,
        };
        let pause = self.backoff.pause(asked, &mut StdRng::from_os_rng());
        self.ask_at = Instant::now() + pause;
        self.last_trouble = Some(trouble);
    }

    /// The trouble the server is in, if it is.
    pub(super) fn trouble(&self) -> Option<&Trouble> {
        self.last_trouble.as_ref()
    }

    /// Why the run stops, once nothing has gone well for too long.
    pub(super) fn given_up(&self) -> Option<String> {
        let trouble = self.last_trouble.as_ref()?;
        let after = self.give_up_after;
        (self.last_good.elapsed() > after).then(|| {
            let after = humantime::format_duration(after);
            format!("nothing has gone well for {after}: {trouble}")
        })
    }
}
