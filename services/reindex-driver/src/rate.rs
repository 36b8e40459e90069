//! Resources a second, of late.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// What counts as of late.
const SPAN: Duration = Duration::from_secs(10);

/// Things that come now and then, counted by the time when they came.
#[derive(Debug)]
pub(crate) struct Rate {
    begun: Instant,
    came: VecDeque<(Instant, u64)>,
    sum: u64,
}

impl Rate {
    pub(crate) fn new() -> Self {
        Self {
            begun: Instant::now(),
            came: VecDeque::new(),
            sum: 0,
        }
    }

    /// So many came now.
    pub(crate) fn add(&mut self, count: u64) {
        let now = Instant::now();
        self.sum += count;
        match self.came.back_mut() {
            // Few rows are enough for a rate.
            Some((at, sum)) if now - *at < SPAN / 50 => *sum += count,
            _ => self.came.push_back((now, count)),
        }
        self.forget(now);
    }

    /// How many come in a second.
    pub(crate) fn per_second(&mut self) -> f64 {
        let now = Instant::now();
        self.forget(now);
        let span = (now - self.begun).min(SPAN).as_secs_f64().max(0.1);
        let sum = u32::try_from(self.sum).unwrap_or(u32::MAX);
        f64::from(sum) / span
    }

    fn forget(&mut self, now: Instant) {
        while let Some((at, count)) = self.came.front()
            && now - *at > SPAN
        {
            self.sum -= count;
            self.came.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_the_last_seconds_count() {
        let mut rate = Rate::new();
        for _ in 0..30 {
            tokio::time::advance(Duration::from_secs(1)).await;
            rate.add(50);
        }
        let now = rate.per_second();
        assert!((50.0..=55.0).contains(&now), "{now}");
        tokio::time::advance(Duration::from_secs(11)).await;
        assert!(rate.per_second() < 0.1);
    }
}
