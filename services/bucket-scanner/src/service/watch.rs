//! Streams: a job as it goes, and lists that are read in pages.

use std::sync::Arc;
use std::time::Duration;

use stoker_proto::ledger::v1::{JobState, LoadError, QuarantinePart, WatchJobResponse};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::status;
use crate::ledger::{ErrorCursor, Ledger, QuarantineCursor, is_over};
use crate::signals::Signals;

/// What a stream of answers is sent through.
pub(super) type Answers<T> = ReceiverStream<Result<T, Status>>;
type Sender<T> = mpsc::Sender<Result<T, Status>>;

/// Changes are shown this far apart at least.
const PAUSE: Duration = Duration::from_millis(200);
/// Counting takes at most this part of the time.
const COUNTING_SHARE: u32 = 20;
/// Changes made through other scanners are seen after so long.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Sends the job at once and at every change, until it is over or nobody listens.
pub(super) fn watch(
    ledger: Arc<dyn Ledger>,
    signals: Signals,
    job_id: i64,
) -> Answers<WatchJobResponse> {
    let (sender, answers) = mpsc::channel(1);
    tokio::spawn(async move {
        let stopped = || Err(Status::unavailable("the scanner is stopping"));
        let end = tokio::select! {
            end = follow(&*ledger, &signals, job_id, &sender) => end,
            () = sender.closed() => Ok(()),
            () = signals.stopping.cancelled() => stopped(),
        };
        if let Err(fault) = end {
            // Nobody to tell is no fault.
            let _ = sender.send(Err(fault)).await;
        }
    });
    ReceiverStream::new(answers)
}

async fn follow(
    ledger: &dyn Ledger,
    signals: &Signals,
    job_id: i64,
    sender: &Sender<WatchJobResponse>,
) -> Result<(), Status> {
    let (mut changes, mut ends) = (signals.jobs.subscribe(), signals.ends.subscribe());
    let mut shown = None;
    loop {
        changes.mark_unchanged();
        ends.mark_unchanged();
        let asked = Instant::now();
        let job = ledger.job(job_id).await.map_err(|e| status(&e))?;
        let took = asked.elapsed();
        let state = job.state();
        if shown.as_ref() != Some(&job) {
            shown = Some(job.clone());
            if sender
                .send(Ok(WatchJobResponse { job: Some(job) }))
                .await
                .is_err()
            {
                return Ok(());
            }
        }
        if is_over(state) {
            return Ok(());
        }
        let count_again = asked + PAUSE.max(took * COUNTING_SHARE);
        loop {
            tokio::select! {
                () = next_change(&mut changes) => {}
                // The sender is there as long as the signals are.
                _ = ends.changed() => {}
            }
            // Of a large job only the state, until it may be counted again: its end is shown soon.
            if Instant::now() >= count_again || changed(ledger, job_id, state).await? {
                break;
            }
        }
    }
}

/// Waits until it is time to look again.
async fn next_change(changes: &mut watch::Receiver<()>) {
    sleep(PAUSE).await;
    let _ = timeout(LOOK_AGAIN, changes.changed()).await;
}

/// Whether a job's state is another than the one shown.
async fn changed(ledger: &dyn Ledger, job_id: i64, shown: JobState) -> Result<bool, Status> {
    let state = ledger.job_state(job_id).await;
    Ok(state.map_err(|e| status(&e))? != shown)
}

/// Sends all errors of a job, page by page.
pub(super) fn errors(ledger: Arc<dyn Ledger>, job_id: i64, this_run: bool) -> Answers<LoadError> {
    let (sender, answers) = mpsc::channel(16);
    tokio::spawn(async move {
        let mut after = Some(ErrorCursor::START);
        while let Some(cursor) = after {
            let page = match ledger.errors(job_id, this_run, cursor).await {
                Ok(page) => page,
                Err(e) => return drop(sender.send(Err(status(&e))).await),
            };
            after = page.next;
            if !send_all(&sender, page.errors).await {
                return;
            }
        }
    });
    ReceiverStream::new(answers)
}

/// Sends quarantined bytes, page by page.
pub(super) fn quarantine(
    ledger: Arc<dyn Ledger>,
    job_id: i64,
    error_id: i64,
) -> Answers<QuarantinePart> {
    let (sender, answers) = mpsc::channel(4);
    tokio::spawn(async move {
        let mut after = Some(QuarantineCursor::START);
        while let Some(cursor) = after {
            let page = match ledger.quarantine(job_id, error_id, cursor).await {
                Ok(page) => page,
                Err(e) => return drop(sender.send(Err(status(&e))).await),
            };
            after = page.next;
            if !send_all(&sender, page.parts).await {
                return;
            }
        }
    });
    ReceiverStream::new(answers)
}

/// Whether somebody still listens.
async fn send_all<T>(sender: &Sender<T>, items: Vec<T>) -> bool {
    for item in items {
        if sender.send(Ok(item)).await.is_err() {
            return false;
        }
    }
    true
}
