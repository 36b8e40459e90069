//! Group commit: writes that come while a transaction runs go into the next one together. A write that
//! comes alone does not wait.

use chrono::NaiveDateTime;
use stoker_shared::store::{Store, StoreError, StoreFault};
use tokio::sync::{mpsc, oneshot};

use super::finish::{self, Finish, Over};
use super::{Conn, Db, LedgerError, outcomes, write_at_once};
use crate::ledger::Commit;

/// Most writes of one transaction.
const MOST_TOGETHER: usize = 256;
/// Commits with more bytes than this are written by themselves, so that others do not wait for them.
const LARGE_BYTES: usize = 1 << 20;

/// A write of a worker under its lease.
#[derive(Debug)]
pub(super) enum Write {
    Commit(Commit),
    Finish(Finish),
}

impl Write {
    pub(super) fn is_large(&self) -> bool {
        let Self::Commit(commit) = self else {
            return false;
        };
        let quarantined = commit.quarantine.iter().map(|(_, data)| data.len());
        let told = commit.outcomes.iter();
        let told = told.map(|o| o.operation_outcome.len() + o.error_text.len());
        quarantined.chain(told).sum::<usize>() > LARGE_BYTES
    }
}

type Answer = Result<Over, LedgerError>;

#[derive(Debug)]
struct Waiting {
    write: Write,
    answer: oneshot::Sender<Answer>,
}

/// The way to the task that writes; it ends when the ledger is dropped.
#[derive(Debug)]
pub(super) struct Group(mpsc::Sender<Waiting>);

impl Group {
    pub(super) fn start(store: Store<Db>) -> Self {
        let (sender, queue) = mpsc::channel(MOST_TOGETHER);
        tokio::spawn(run(store, queue));
        Self(sender)
    }

    /// Answers once the write is durable, or refused. A caller that goes away takes nothing back.
    pub(super) async fn write(&self, write: Write) -> Answer {
        let (answer, answered) = oneshot::channel();
        let gone = || LedgerError::from(sqlx::Error::WorkerCrashed);
        let sent = self.0.send(Waiting { write, answer }).await;
        sent.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

async fn run(store: Store<Db>, mut queue: mpsc::Receiver<Waiting>) {
    let mut group = Vec::new();
    while queue.recv_many(&mut group, MOST_TOGETHER).await > 0 {
        let (writes, senders): (Vec<_>, Vec<_>) =
            group.drain(..).map(|w| (w.write, w.answer)).unzip();
        let writes: Vec<&Write> = writes.iter().collect();
        for (sender, answer) in senders.into_iter().zip(written(&store, &writes).await) {
            // A caller that went away learns nothing.
            let _ = sender.send(answer);
        }
    }
}

/// Of each what became of it. Where a group fails as a whole, the fault is everybody's or one's: that
/// one alone is to hear of it.
async fn written(store: &Store<Db>, writes: &[&Write]) -> Vec<Answer> {
    let fault = match write_at_once(store, writes).await {
        Ok(answers) => return answers,
        Err(fault) => fault,
    };
    if let [_] = writes {
        return vec![Err(fault)];
    }
    if let Some(first) = again(&fault) {
        let others = writes.iter().skip(1).filter_map(|_| again(&fault));
        return std::iter::once(first).chain(others).map(Err).collect();
    }
    let mut answers = Vec::with_capacity(writes.len());
    for write in writes {
        answers.push(match write_at_once(store, &[*write]).await {
            Ok(answer) => answer
                .into_iter()
                .next()
                .unwrap_or_else(|| Ok(Over::default())),
            Err(fault) => Err(fault),
        });
    }
    answers
}

/// The same fault for another caller, where it is the database's and not that of a write.
fn again(fault: &LedgerError) -> Option<LedgerError> {
    let same = match fault.store()? {
        StoreError::Busy { place } => StoreError::Busy {
            place: place.clone(),
        },
        StoreError::Overloaded { place } => StoreError::Overloaded {
            place: place.clone(),
        },
        StoreError::DiskFull { place } => StoreError::DiskFull {
            place: place.clone(),
        },
        StoreError::Unreachable { place, reason } => StoreError::Unreachable {
            place: place.clone(),
            reason: reason.clone(),
        },
        StoreError::Unserved { place, reason } | StoreError::Standby { place, reason } => {
            StoreError::Unserved {
                place: place.clone(),
                reason: reason.clone(),
            }
        }
        _ => return None,
    };
    Some(same.into())
}

/// Writes under leases; of each what ended by it, or why it was refused.
pub(super) async fn write(
    conn: &mut Conn,
    now: NaiveDateTime,
    writes: &[&Write],
) -> Result<Vec<Answer>, LedgerError> {
    let (mut commits, mut finishes) = (Vec::new(), Vec::new());
    for write in writes {
        match write {
            Write::Commit(commit) => commits.push(commit),
            Write::Finish(finish) => finishes.push(finish),
        }
    }
    // Commits first: a unit whose end comes with them is held for them still.
    let mut committed = outcomes::commit(conn, now, &commits).await?.into_iter();
    let mut ends = finish::finish(conn, now, &finishes).await?.into_iter();
    let answers = writes.iter().filter_map(|write| match write {
        Write::Commit(_) => committed.next().map(|done| done.map(|()| Over::default())),
        Write::Finish(_) => ends.next(),
    });
    Ok(answers.collect())
}
