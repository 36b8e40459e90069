//! What is to be tried again, and when: a request that fails is taken apart until what fails is alone.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::ReindexSettings;
use crate::runs::SetAside;

/// Resources for one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Work {
    /// Index ids, ascending.
    pub(super) ids: Vec<i64>,
    /// A request with all of them failed before.
    pub(super) is_again: bool,
    /// How often a resource that is alone was tried.
    pub(super) attempts: u32,
}

impl Work {
    pub(super) fn fresh(ids: Vec<i64>) -> Self {
        Self {
            ids,
            is_again: false,
            attempts: 0,
        }
    }

    fn again(ids: Vec<i64>) -> Self {
        Self {
            is_again: true,
            ..Self::fresh(ids)
        }
    }
}

/// What becomes of a resource that failed by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alone {
    /// It is tried again after a pause.
    Waits,
    /// It was tried often enough.
    Failed,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Queue {
    again: Vec<Work>,
    /// By when it is tried again, and id: how often it was tried.
    waiting: BTreeMap<(Instant, i64), u32>,
    attempts: u32,
    first_pause: Duration,
    max_pause: Duration,
}

impl Queue {
    /// With what waited when the run was last left.
    pub(super) fn new(settings: &ReindexSettings, waiting: &[SetAside]) -> Self {
        let now = Instant::now();
        let waiting = waiting.iter().filter(|resource| !resource.failed);
        Self {
            again: Vec::new(),
            waiting: waiting.map(|r| ((now, r.index_id), r.attempts)).collect(),
            attempts: settings.attempts,
            first_pause: settings.first_pause,
            max_pause: settings.max_pause,
        }
    }

    /// What can be sent now, if anything.
    pub(super) fn next(&mut self) -> Option<Work> {
        if let Some(work) = self.again.pop() {
            return Some(work);
        }
        let ((due, id), attempts) = self.waiting.pop_first()?;
        if due > Instant::now() {
            self.waiting.insert((due, id), attempts);
            return None;
        }
        Some(Work {
            ids: vec![id],
            is_again: true,
            attempts,
        })
    }

    /// When the next resource that waits is tried again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.waiting.keys().next().map(|(due, _)| *due)
    }

    /// Resources that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.again.is_empty() && self.waiting.is_empty()
    }

    /// Puts something back that was not to blame.
    pub(super) fn put_back(&mut self, work: Work) {
        self.again.push(work);
    }

    /// Several resources failed together: all of them once more where it may pass, else in two halves.
    pub(super) fn take_apart(&mut self, work: Work, may_pass: bool) {
        if may_pass && !work.is_again {
            self.again.push(Work::again(work.ids));
            return;
        }
        let mut first = work.ids;
        let second = first.split_off(first.len().div_ceil(2));
        // The first is popped first.
        self.again.extend([second, first].map(Work::again));
    }

    /// A resource failed alone.
    pub(super) fn alone(&mut self, id: i64, attempts: u32) -> Alone {
        if attempts >= self.attempts {
            return Alone::Failed;
        }
        let doubled = self.first_pause * 2_u32.saturating_pow(attempts.saturating_sub(1));
        let due = Instant::now() + doubled.min(self.max_pause);
        self.waiting.insert((due, id), attempts);
        Alone::Waits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Queue {
        let settings = ReindexSettings {
            attempts: 3,
            first_pause: Duration::from_secs(1),
            max_pause: Duration::from_mins(1),
            ..ReindexSettings::default()
        };
        Queue::new(&settings, &[])
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_that_fails_is_found_in_few_requests() {
        let mut queue = queue();
        let ids: Vec<i64> = (0..1000).collect();
        queue.put_back(Work::fresh(ids));
        let (mut requests, mut done) = (0, Vec::new());
        let mut given_up = Vec::new();
        loop {
            let Some(mut work) = queue.next() else {
                match queue.due() {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => break,
                }
                continue;
            };
            requests += 1;
            if !work.ids.contains(&617) {
                done.append(&mut work.ids);
            } else if work.ids.len() > 1 {
                queue.take_apart(work, true);
            } else if queue.alone(617, work.attempts + 1) == Alone::Failed {
                given_up.push(work.attempts + 1);
            }
        }
        done.sort_unstable();
        assert_eq!(done.len(), 999);
        assert_eq!(given_up, [3]);
        assert!(requests <= 2 + 20 + 3, "{requests}");
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double() {
        let mut queue = queue();
        assert_eq!(queue.alone(7, 1), Alone::Waits);
        assert_eq!(queue.next(), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(queue.next().unwrap().attempts, 1);
        assert_eq!(queue.alone(7, 2), Alone::Waits);
        assert_eq!(queue.due(), Some(Instant::now() + Duration::from_secs(2)));
        assert_eq!(queue.alone(8, 3), Alone::Failed);
        assert_eq!(queue.waiting(), 1);
    }
}
