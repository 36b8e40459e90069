//! Tells the board how a consumer is.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{Consumer as _, StreamConsumer};
use tokio::time::Instant;

use super::group::Group;
use super::waiting::Waiting;
use crate::index::Trouble;
use crate::status::{Board, ConsumerState};

/// How often the board is told.
pub(super) const TELL: Duration = Duration::from_secs(1);

/// How often Kafka is asked for the ends of partitions that nothing is taken from.
const ASK: Duration = Duration::from_secs(5);

/// Kafka has so long to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Teller {
    number: usize,
    board: Board,
    trouble: Trouble,
    asked: Option<Instant>,
}

impl Teller {
    /// Of the consumer of that number, which indexes with that trouble.
    pub(super) fn new(number: usize, board: Board, trouble: Trouble) -> Self {
        Self {
            number,
            board,
            trouble,
            asked: None,
        }
    }

    /// Tells how it is now. `is_closed`: nothing is taken, so Kafka does not tell by itself where partitions end.
    pub(super) fn tell(
        &mut self,
        kafka: &Arc<StreamConsumer<Group>>,
        waiting: &Waiting,
        is_closed: bool,
    ) {
        if is_closed && self.asked.is_none_or(|asked| asked.elapsed() > ASK) {
            self.asked = Some(Instant::now());
            ask(Arc::clone(kafka));
        }
        let group = kafka.context();
        let state = ConsumerState {
            trouble: group.trouble().or_else(|| self.trouble.get()),
            awaits_topic: group.awaits_topic() && self.trouble.get().is_none(),
            partitions: group.progress().states(),
            waiting: waiting.count(),
            waiting_bytes: waiting.bytes(),
            oldest_waiting: waiting.oldest(),
        };
        self.board.set_consumer(self.number, state);
    }
}

/// Asks beside: an answer that is late is told at the next time.
fn ask(kafka: Arc<StreamConsumer<Group>>) {
    tokio::task::spawn_blocking(move || {
        let group = kafka.context();
        let partitions: Vec<i32> = group.progress().partitions().collect();
        for partition in partitions {
            let Ok((_, end)) = kafka.fetch_watermarks(&group.topic, partition, ANSWER) else {
                return;
            };
            group.progress().seen(partition, end, -1);
        }
    });
}
