//! What the service is doing now: told by its consumers, asked for over gRPC, and shown as metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use stoker_shared::clock::SharedClock;
use tokio::sync::watch;

use crate::metrics::{Counts, IndexMetrics, Lag};

mod lag;

use lag::{Behind, lag};

/// While partitions move, a consumer may be without one for so long and be well.
const SETTLING: TimeDelta = TimeDelta::seconds(30);

/// What a consumer tells of itself, each second at least.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsumerState {
    /// Why it cannot go on for the time being; none when all is well.
    pub trouble: Option<String>,
    /// The trouble is only that the topic is not there: nothing is left undone.
    pub awaits_topic: bool,
    /// The partitions it holds.
    pub partitions: Vec<PartitionState>,
    /// Messages taken that wait for the server's commit or for those before them.
    pub waiting: usize,
    /// Bytes of them.
    pub waiting_bytes: usize,
    /// How long the one has waited that waits longest; none when none waits.
    pub oldest_waiting: Option<Duration>,
}

/// How far a consumer is with a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionState {
    /// Which partition of the topic.
    pub partition: i32,
    /// Offset of the first message that is not committed.
    pub committed: i64,
    /// Offset that the next message to come will have; none while that is not known.
    pub end: Option<i64>,
    /// Kafka's time of the oldest message taken and not done; none when there is none.
    pub oldest_open: Option<DateTime<Utc>>,
}

/// Everything at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The moment.
    pub time: DateTime<Utc>,
    /// Whether no new messages are taken.
    pub is_paused: bool,
    /// By number; the state of one that has told nothing yet is none.
    pub consumers: Vec<Option<ConsumerState>>,
    /// Of all partitions held, ascending.
    pub lags: Vec<Lag>,
    /// Since the process started.
    pub counts: Counts,
}

/// Where consumers tell how they are, and are told to pause. Clones share it.
#[derive(Debug, Clone)]
pub struct Board(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: SharedClock,
    metrics: IndexMetrics,
    paused: watch::Sender<bool>,
    changes: watch::Sender<()>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    consumers: Vec<Option<ConsumerState>>,
    behind: BTreeMap<i32, Behind>,
    /// Partitions that the gauges show.
    shown: BTreeSet<i32>,
    idle_since: Option<DateTime<Utc>>,
    has_told_idle: bool,
}

impl Board {
    /// For so many consumers, which have told nothing yet.
    pub fn new(consumers: usize, clock: SharedClock, metrics: IndexMetrics) -> Self {
        let state = State {
            consumers: vec![None; consumers],
            behind: BTreeMap::new(),
            shown: BTreeSet::new(),
            idle_since: None,
            has_told_idle: false,
        };
        Self(Arc::new(Inner {
            clock,
            metrics,
            paused: watch::Sender::new(false),
            changes: watch::Sender::new(()),
            state: Mutex::new(state),
        }))
    }

    /// Has consumers take no new messages; what they have taken is finished. A process that is started again
    /// is not paused.
    pub fn pause(&self) {
        self.set_paused(true);
    }

    /// Has consumers take messages again.
    pub fn resume(&self) {
        self.set_paused(false);
    }

    /// Whether no new messages are to be taken.
    pub fn is_paused(&self) -> bool {
        *self.0.paused.borrow()
    }

    /// Tells a consumer of pauses as they begin and end.
    pub fn pausing(&self) -> watch::Receiver<bool> {
        self.0.paused.subscribe()
    }

    /// How the consumer of that number, counted from 0, is now.
    pub fn set_consumer(&self, number: usize, state: ConsumerState) {
        let now = self.0.clock.now();
        let mut board = self.lock();
        let Some(slot) = board.consumers.get_mut(number) else {
            return;
        };
        let is_news = slot.as_ref().is_none_or(|old| differs(old, &state));
        *slot = Some(state);
        if let Some((consumers, partitions)) = board.idle_to_tell(now) {
            tracing::warn!(
                consumers,
                partitions,
                "more consumers than partitions for them; some do nothing: set topic.consumers lower, run fewer \
                 processes, or give the topic more partitions"
            );
        }
        self.show(&mut board, now);
        drop(board);
        if is_news {
            self.0.changes.send_replace(());
        }
    }

    /// Everything now.
    pub fn snapshot(&self) -> Snapshot {
        let now = self.0.clock.now();
        let mut board = self.lock();
        let lags = self.show(&mut board, now);
        Snapshot {
            time: now,
            is_paused: self.is_paused(),
            consumers: board.consumers.clone(),
            lags,
            counts: self.0.metrics.counts(),
        }
    }

    /// Tells when a pause begins or ends, and when a consumer gets into trouble or out of it, or other partitions.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changes.subscribe()
    }

    fn set_paused(&self, pause: bool) {
        let was = self.0.paused.send_replace(pause);
        self.0.metrics.set_paused(pause);
        if was != pause {
            let what = if pause { "paused" } else { "resumed" };
            tracing::info!("indexing is {what}");
            self.0.changes.send_replace(());
        }
    }

    /// Sets the gauges.
    fn show(&self, board: &mut State, now: DateTime<Utc>) -> Vec<Lag> {
        let lags = board.lags(now);
        let held: BTreeSet<i32> = lags.iter().map(|lag| lag.partition).collect();
        let gone = board.shown.difference(&held).copied();
        self.0.metrics.set_lags(&lags, gone);
        board.shown = held;
        let told = board.consumers.iter().flatten();
        let (messages, bytes) = told.fold((0, 0), |(messages, bytes), consumer| {
            (messages + consumer.waiting, bytes + consumer.waiting_bytes)
        });
        self.0.metrics.set_waiting(messages, bytes);
        lags
    }

    /// A thread that panicked holding the lock left each field whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a watcher wants to know at once.
fn differs(old: &ConsumerState, new: &ConsumerState) -> bool {
    let numbers = |state: &ConsumerState| -> BTreeSet<i32> {
        state.partitions.iter().map(|p| p.partition).collect()
    };
    old.trouble != new.trouble || numbers(old) != numbers(new)
}

impl State {
    /// Of all partitions held, ascending. While one moves from a consumer to another both may tell of it; who
    /// has committed more knows better.
    fn lags(&mut self, now: DateTime<Utc>) -> Vec<Lag> {
        let mut held: BTreeMap<i32, &PartitionState> = BTreeMap::new();
        for told in self.consumers.iter().flatten().flat_map(|c| &c.partitions) {
            let known = held.entry(told.partition).or_insert(told);
            if told.committed > known.committed {
                *known = told;
            }
        }
        self.behind
            .retain(|partition, _| held.contains_key(partition));
        let lags = held.values().map(|told| lag(told, &mut self.behind, now));
        lags.collect()
    }

    /// How many consumers there are for how many partitions, once, when some consumers have long had none.
    fn idle_to_tell(&mut self, now: DateTime<Utc>) -> Option<(usize, usize)> {
        let held: Option<Vec<usize>> = self
            .consumers
            .iter()
            .map(|told| told.as_ref().map(|c| c.partitions.len()))
            .collect();
        let held = held.unwrap_or_default();
        let partitions = held.iter().sum();
        // Without any, the brokers are away or the topic is.
        if partitions == 0 || !held.contains(&0) {
            self.idle_since = None;
            return None;
        }
        let since = *self.idle_since.get_or_insert(now);
        if self.has_told_idle || now - since < SETTLING {
            return None;
        }
        self.has_told_idle = true;
        Some((held.len(), partitions))
    }
}

#[cfg(test)]
mod tests {
    use stoker_shared::clock::{Clock as _, ManualClock};
    use stoker_shared::health::Metrics;

    use super::*;

    fn board(consumers: usize) -> (Board, Arc<ManualClock>, Metrics) {
        let clock = Arc::new(ManualClock::new(DateTime::UNIX_EPOCH));
        let (shown, metrics) = (Metrics::default(), IndexMetrics::default());
        metrics.register(&shown);
        (Board::new(consumers, clock.clone(), metrics), clock, shown)
    }

    fn holding(partitions: &[(i32, i64, i64)]) -> ConsumerState {
        let partitions = partitions.iter();
        ConsumerState {
            partitions: partitions
                .map(|&(partition, committed, end)| PartitionState {
                    partition,
                    committed,
                    end: Some(end),
                    oldest_open: None,
                })
                .collect(),
            ..ConsumerState::default()
        }
    }

    fn shows(metrics: &Metrics, sample: &str) -> bool {
        let name = format!("stoker_remote_indexer_{sample}\n");
        metrics.to_text().unwrap().contains(&name)
    }

    #[test]
    fn lag_is_counted_and_goes_with_its_partition() {
        let (board, clock, metrics) = board(2);
        let mut first = holding(&[(0, 10, 15), (3, 7, 7)]);
        first.waiting = 2;
        first.waiting_bytes = 300;
        clock.advance(Duration::from_secs(10));
        first.partitions[0].oldest_open = Some(clock.now() - TimeDelta::milliseconds(2500));
        board.set_consumer(0, first);
        board.set_consumer(1, holding(&[(1, 0, 4)]));
        for sample in [
            "lag_messages{partition=\"0\"} 5",
            "lag_seconds{partition=\"0\"} 2.5",
            "lag_messages{partition=\"1\"} 4",
            "lag_seconds{partition=\"3\"} 0.0",
            "lag_messages_max 5",
            "lag_seconds_max 2.5",
            "waiting_messages 2",
            "waiting_bytes 300",
        ] {
            assert!(
                shows(&metrics, sample),
                "{sample}: {}",
                metrics.to_text().unwrap()
            );
        }
        board.set_consumer(0, holding(&[(3, 7, 7)]));
        let text = metrics.to_text().unwrap();
        assert!(!text.contains("partition=\"0\""), "{text}");
        assert!(shows(&metrics, "lag_messages_max 4"), "{text}");
        board.set_consumer(1, ConsumerState::default());
        board.set_consumer(0, ConsumerState::default());
        assert!(shows(&metrics, "lag_messages_max 0"));
    }

    #[test]
    fn what_is_not_taken_grows_older_too() {
        let (board, clock, _) = board(1);
        let seconds = || board.snapshot().lags[0].seconds.unwrap();
        board.set_consumer(0, holding(&[(0, 10, 12)]));
        clock.advance(Duration::from_secs(7));
        board.set_consumer(0, holding(&[(0, 10, 90)]));
        assert!((seconds() - 7.0).abs() < 0.01, "as old as seen");
        clock.advance(Duration::from_secs(2));
        assert!((seconds() - 9.0).abs() < 0.01, "also when nobody tells");
        board.set_consumer(0, holding(&[(0, 11, 90)]));
        assert!(seconds() < 0.01, "the next one may be new");
        board.set_consumer(0, holding(&[(0, 90, 90)]));
        clock.advance(Duration::from_secs(2));
        assert!(seconds() < 0.01, "nothing is left");
    }

    #[test]
    fn a_partition_that_moves_is_counted_once() {
        let (board, ..) = board(2);
        board.set_consumer(0, holding(&[(5, 10, 20)]));
        board.set_consumer(1, holding(&[(5, 18, 20)]));
        let lags = board.snapshot().lags;
        assert_eq!(lags.len(), 1);
        assert_eq!(lags[0].messages, Some(2));
    }

    #[test]
    fn idle_consumers_are_told_of_once_and_not_at_once() {
        let (board, clock, _) = board(2);
        let tell = || board.lock().idle_to_tell(clock.now());
        board.set_consumer(0, holding(&[(0, 0, 0)]));
        clock.advance(Duration::from_mins(1));
        assert_eq!(tell(), None, "the other has not told yet");
        board.set_consumer(1, ConsumerState::default());
        clock.advance(Duration::from_secs(20));
        assert_eq!(tell(), None, "partitions may be on their way");
        clock.advance(Duration::from_secs(20));
        assert_eq!(tell(), Some((2, 1)));
        clock.advance(Duration::from_mins(9));
        assert_eq!(tell(), None, "known");
    }

    #[test]
    fn a_pause_is_told_to_consumers_and_watchers() {
        let (board, _, metrics) = board(1);
        let (mut consumer, mut watcher) = (board.pausing(), board.changes());
        board.pause();
        assert!(board.is_paused() && consumer.has_changed().unwrap());
        assert!(*consumer.borrow_and_update() && watcher.has_changed().unwrap());
        assert!(shows(&metrics, "paused 1"));
        watcher.mark_unchanged();
        board.pause();
        assert!(!watcher.has_changed().unwrap(), "it is paused already");
        board.resume();
        assert!(!*consumer.borrow_and_update() && watcher.has_changed().unwrap());
        assert!(shows(&metrics, "paused 0"));
    }

    #[test]
    fn trouble_and_other_partitions_are_news_and_progress_is_not() {
        let (board, ..) = board(1);
        let mut watcher = board.changes();
        let mut news = |state: ConsumerState| {
            board.set_consumer(0, state);
            let is_news = watcher.has_changed().unwrap();
            watcher.mark_unchanged();
            is_news
        };
        assert!(news(holding(&[(0, 1, 2)])));
        assert!(!news(holding(&[(0, 2, 2)])));
        assert!(news(holding(&[(0, 2, 2), (1, 0, 0)])));
        let mut troubled = holding(&[(0, 2, 2), (1, 0, 0)]);
        troubled.trouble = Some("the database is away".to_owned());
        assert!(news(troubled.clone()));
        assert!(!news(troubled));
    }
}
