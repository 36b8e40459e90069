//! What the end of a request means: for its resources, for the run, and for what is known of the server.

use super::Client;
use super::queue::{Alone, Work};
use super::send::{Landing, Took};
use crate::drive::Stop;
use crate::server::Trouble;

/// So many resources given up one after the other, with none reindexed between them, are no accident.
const HOPELESS: u32 = 1000;

impl Client<'_> {
    pub(super) fn landed(&mut self, landing: Landing) {
        let Landing { work, sent, took } = landing;
        let trouble = match took {
            Took::All { gone } => {
                self.health.good();
                self.given_up_in_a_row = 0;
                self.limits.went_well(work.ids.len());
                self.settled(&work, &gone);
                return self.answered(None);
            }
            Took::Some { gone } => {
                self.health.good();
                self.answered(None);
                return self.did_some(work, &gone);
            }
            Took::Nothing(trouble) => trouble,
        };
        self.answered(Some(&trouble));
        match trouble {
            Trouble::Hopeless { reason } => {
                self.queue.put_back(work);
                self.stop.get_or_insert(Stop::Cannot(reason));
            }
            trouble @ Trouble::Throttled { .. } => {
                self.queue.put_back(work);
                self.health.troubled(trouble);
            }
            trouble => {
                if matches!(trouble, Trouble::TimedOut { .. }) {
                    self.limits.timed_out(work.ids.len());
                }
                if let Some((work, trouble)) = self.health.failed(work, trouble, sent) {
                    self.blame(work, &trouble);
                }
            }
        }
    }

    fn answered(&mut self, trouble: Option<&Trouble>) {
        self.unsaved.answered(trouble.is_some());
        self.drive.metrics.answered(trouble.map(Trouble::status));
    }

    fn settled(&mut self, work: &Work, gone: &[i64]) {
        for id in &work.ids {
            self.window.settle(*id);
        }
        let waited = work.attempts > 0;
        self.unsaved.settled(&work.ids, gone.len(), waited);
        self.drive.metrics.reindexed(work.ids.len() - gone.len());
    }

    /// Less was done than was asked for, and it is not known what.
    fn did_some(&mut self, mut work: Work, gone: &[i64]) {
        if !gone.is_empty() {
            let lost = Work {
                ids: gone.to_vec(),
                ..work.clone()
            };
            self.settled(&lost, gone);
            work.ids.retain(|id| gone.binary_search(id).is_err());
        }
        let trouble = Trouble::Failed {
            status: 200,
            reason: "the server answered without having reindexed it".to_owned(),
        };
        work.is_again = true;
        self.blame(work, &trouble);
    }

    /// What failed is taken apart; alone, it waits or is given up.
    pub(super) fn blame(&mut self, work: Work, trouble: &Trouble) {
        let [id] = work.ids[..] else {
            let may_pass = !matches!(trouble, Trouble::TimedOut { .. });
            return self.queue.take_apart(work, may_pass);
        };
        let attempts = work.attempts + 1;
        let failed = self.queue.alone(id, attempts) == Alone::Failed;
        self.window.settle(id);
        let time = self.drive.clock.now();
        self.unsaved.set_aside(id, attempts, failed, trouble, time);
        if failed {
            self.drive.metrics.failed();
            self.given_up_in_a_row += 1;
            if self.given_up_in_a_row >= HOPELESS {
                self.stop = Some(Stop::Cannot(format!(
                    "the last {HOPELESS} resources all failed, the last of them so: {trouble}; see to the server, \
                     then resume the run"
                )));
            }
        }
    }
}
