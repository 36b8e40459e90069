use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use stoker_shared::retry::Backoff;
use tokio::time::Instant;

use crate::config::ReindexSettings;

/// Tries of one thing that fails, with growing pauses.
pub(super) struct Tries {
    first_pause: Duration,
    max_pause: Duration,
    give_up_after: Duration,
    /// Since when it fails, and the pauses before the next try.
    failing: Option<(Instant, Backoff)>,
}

impl Tries {
    pub(super) fn new(settings: &ReindexSettings) -> Self {
        Self {
            first_pause: settings.first_pause,
            max_pause: settings.max_pause,
            give_up_after: settings.give_up_after,
            failing: None,
        }
    }

    /// It has failed once more: how long to wait before the next try, at least as long as `asked` for; none when there
    /// were enough.
    pub(super) fn failed(&mut self, asked: Option<Duration>) -> Option<Duration> {
        let pauses = Backoff::new(self.first_pause, self.max_pause);
        let (since, pauses) = self.failing.get_or_insert((Instant::now(), pauses));
        let may_go_on = since.elapsed() < self.give_up_after;
        may_go_on.then(|| pauses.pause(asked, &mut StdRng::from_os_rng()))
    }

    pub(super) fn succeeded(&mut self) {
        self.failing = None;
    }

    pub(super) fn are_failing(&self) -> bool {
        self.failing.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_fails_for_long_is_given_up() {
        let settings = ReindexSettings {
            first_pause: Duration::from_secs(1),
            max_pause: Duration::from_secs(4),
            give_up_after: Duration::from_mins(1),
            ..ReindexSettings::default()
        };
        let mut tries = Tries::new(&settings);
        for most in [1, 2, 4, 4] {
            let pause = tries.failed(None).unwrap();
            assert!(pause <= Duration::from_secs(most), "{pause:?}");
        }
        let asked = Some(Duration::from_secs(30));
        assert_eq!(tries.failed(asked), asked);
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(tries.failed(None).is_some() && tries.are_failing());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(tries.failed(None), None);
        tries.succeeded();
        assert!(!tries.are_failing());
        assert!(tries.failed(None).is_some(), "that is over");
    }
}
