//! When to try again, and how long to wait before it.

use std::time::Duration;

use rand::Rng;

/// What an error says of trying the same thing again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Never: it will fail again.
    Never,
    /// After a pause: the one given, or the next of a [`Backoff`].
    After(Option<Duration>),
}

/// Pauses that double from `first` to `max`, each shortened by up to half at random so that
/// clients which failed together do not come back together.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    next: Duration,
    max: Duration,
}

impl Backoff {
    /// Starts at `first`, never exceeds `max`.
    pub fn new(first: Duration, max: Duration) -> Self {
        let first = first.min(max);
        Self {
            first,
            next: first,
            max,
        }
    }

    /// The next pause. A pause that the other side asked for (`asked`) is kept as it is, unless it
    /// is shorter than any of ours: a clock that is ahead asks for none at all.
    pub fn pause(&mut self, asked: Option<Duration>, rng: &mut impl Rng) -> Duration {
        let full = self.next;
        self.lengthen();
        let ours = full.mul_f64(rng.random_range(0.5..=1.0));
        asked.map_or(ours, |asked| asked.max(self.first / 2))
    }

    /// Begins with the first pause again: things went well meanwhile.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// Passes over one pause.
    pub fn lengthen(&mut self) {
        self.next = (self.next * 2).min(self.max);
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn pauses_double_to_the_maximum() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350));
        for full in [100, 200, 350, 350] {
            let pause = backoff.pause(None, &mut rng);
            let full = Duration::from_millis(full);
            assert!(pause <= full && pause >= full / 2, "{pause:?} of {full:?}");
        }
    }

    #[test]
    fn a_pause_asked_for_is_kept() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let asked = Duration::from_secs(30);
        assert_eq!(backoff.pause(Some(asked), &mut rng), asked);
        let shortest = backoff.pause(Some(Duration::ZERO), &mut rng);
        assert_eq!(shortest, Duration::from_millis(50));
    }
}
