//! What each part of Stoker tells of its progress, as a run shows it.

use tokio::sync::watch;

use crate::catalog::Seen;
use crate::postgres;
use crate::restore::{self, Step};

/// Does the work, and passes on what is heard of it meanwhile.
pub(crate) async fn passed_on<P, T>(
    seen: &watch::Sender<Seen>,
    mut heard: watch::Receiver<P>,
    show: impl Fn(&P) -> Seen,
    work: impl Future<Output = T>,
) -> T {
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            // Who tells it outlives the work.
            _ = heard.changed() => {
                let now = show(&heard.borrow_and_update());
                seen.send_replace(now);
            }
        }
    }
}

/// Of a backup that is made.
pub(super) fn of_backup(progress: &postgres::Progress) -> Seen {
    let archives = &progress.archives;
    let current = archives.iter().rfind(|archive| archive.received > 0);
    let phase = match current {
        Some(archive) => format!("receiving {}", archive.name),
        None => "waiting for the server's checkpoint".to_owned(),
    };
    let estimated: u64 = archives.iter().map(|a| a.estimated.max(a.received)).sum();
    Seen {
        phase,
        bytes: archives.iter().map(|archive| archive.received).sum(),
        total_bytes: Some(estimated).filter(|bytes| *bytes > 0),
    }
}

/// Of a backup that is read back: stored bytes, and how many will be, where that is known.
pub(super) fn of_reading(bytes: u64, total_bytes: Option<u64>) -> Seen {
    Seen {
        phase: "reading it back".to_owned(),
        bytes,
        total_bytes,
    }
}

/// Of a restore, be it for proof or not.
pub(super) fn of_restore(progress: &restore::Progress) -> Seen {
    let phase = match &progress.step {
        Step::Checking => "checking".to_owned(),
        Step::Extracting(part) => format!("extracting {part}"),
        Step::Finishing => "making it durable".to_owned(),
        Step::Starting => "waiting for the server to be consistent".to_owned(),
        Step::Done => "done".to_owned(),
    };
    Seen {
        phase,
        bytes: progress.bytes,
        total_bytes: Some(progress.of).filter(|bytes| *bytes > 0),
    }
}
