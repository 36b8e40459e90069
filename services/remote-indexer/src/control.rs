//! The service's status over gRPC, and its pauses.

use std::time::Duration;

use chrono::{DateTime, Utc};
use stoker_proto::index::v1::index_service_server::{IndexService, IndexServiceServer};
use stoker_proto::index::v1::{
    ConsumerStatus, GetStatusRequest, GetStatusResponse, IndexCounts, IndexStatus, PartitionLag,
    PauseRequest, PauseResponse, ReasonCount, ResumeRequest, ResumeResponse, WatchStatusRequest,
    WatchStatusResponse,
};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::metrics::{Counts, Lag};
use crate::status::{Board, ConsumerState, Snapshot};

/// Changes in quick succession are told together.
const PAUSE: Duration = Duration::from_millis(100);

/// After that a watcher waits so long for a change, and is told a second after the last time if there is none.
const REST: Duration = Duration::from_millis(900);

/// `IndexService` over a board. Those who watch are told that it ends at `shutdown`.
pub fn service(board: Board, shutdown: CancellationToken) -> IndexServiceServer<Control> {
    IndexServiceServer::new(Control { board, shutdown })
}

/// See [`service`].
#[derive(Debug)]
pub struct Control {
    board: Board,
    shutdown: CancellationToken,
}

#[tonic::async_trait]
impl IndexService for Control {
    type WatchStatusStream = ReceiverStream<Result<WatchStatusResponse, Status>>;

    async fn get_status(
        &self,
        _: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        let status = Some(now(&self.board));
        Ok(Response::new(GetStatusResponse { status }))
    }

    async fn watch_status(
        &self,
        _: Request<WatchStatusRequest>,
    ) -> Result<Response<Self::WatchStatusStream>, Status> {
        let (sender, answers) = mpsc::channel(1);
        let (board, shutdown) = (self.board.clone(), self.shutdown.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = watch(&board, &sender) => {}
                () = sender.closed() => {}
                () = shutdown.cancelled() => {
                    let stopping = Status::unavailable("the remote-indexer is stopping");
                    // Nobody to tell is no fault.
                    let _ = sender.send(Err(stopping)).await;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn pause(&self, _: Request<PauseRequest>) -> Result<Response<PauseResponse>, Status> {
        self.board.pause();
        let status = Some(now(&self.board));
        Ok(Response::new(PauseResponse { status }))
    }

    async fn resume(&self, _: Request<ResumeRequest>) -> Result<Response<ResumeResponse>, Status> {
        self.board.resume();
        let status = Some(now(&self.board));
        Ok(Response::new(ResumeResponse { status }))
    }
}

/// Sends the status until nobody listens.
async fn watch(board: &Board, sender: &mpsc::Sender<Result<WatchStatusResponse, Status>>) {
    let mut changes = board.changes();
    loop {
        changes.mark_unchanged();
        let status = Some(now(board));
        if sender
            .send(Ok(WatchStatusResponse { status }))
            .await
            .is_err()
        {
            return;
        }
        tokio::time::sleep(PAUSE).await;
        // The board is there as long as it is asked.
        let _ = timeout(REST, changes.changed()).await;
    }
}

fn now(board: &Board) -> IndexStatus {
    let Snapshot {
        time,
        is_paused,
        consumers,
        lags,
        counts,
    } = board.snapshot();
    let seconds = lags.iter().filter_map(|lag| lag.seconds);
    IndexStatus {
        time: Some(timestamp(time)),
        paused: is_paused,
        lag_messages: lags.iter().filter_map(|lag| lag.messages).sum(),
        lag_seconds: seconds.fold(0.0, f64::max),
        consumers: (0..).zip(consumers).map(consumer).collect(),
        partitions: lags.iter().map(partition).collect(),
        counts: Some(counted(counts)),
    }
}

fn consumer((number, told): (u32, Option<ConsumerState>)) -> ConsumerStatus {
    let started = told.is_some();
    let told = told.unwrap_or_default();
    let waited = told.oldest_waiting.map(|waited| waited.as_millis());
    ConsumerStatus {
        number,
        started,
        trouble: told.trouble.unwrap_or_default(),
        partitions: told.partitions.iter().map(|p| p.partition).collect(),
        waiting_messages: told.waiting as u64,
        waiting_bytes: told.waiting_bytes as u64,
        oldest_waiting_ms: waited.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)),
    }
}

fn partition(lag: &Lag) -> PartitionLag {
    PartitionLag {
        partition: lag.partition,
        messages: lag.messages,
        seconds: lag.seconds,
    }
}

fn counted(counts: Counts) -> IndexCounts {
    IndexCounts {
        taken: counts.taken,
        applied: counts.applied,
        discarded: by_reason(counts.discarded),
        dead_letters: by_reason(counts.dead_letters),
    }
}

fn by_reason(counts: Vec<(&'static str, u64)>) -> Vec<ReasonCount> {
    let found = counts.into_iter().filter(|(_, messages)| *messages > 0);
    let found = found.map(|(reason, messages)| ReasonCount {
        reason: reason.to_owned(),
        messages,
    });
    found.collect()
}

fn timestamp(time: DateTime<Utc>) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: time.timestamp(),
        nanos: i32::try_from(time.timestamp_subsec_nanos()).unwrap_or(0),
    }
}
