//! One scan of one source, from its first page to its end.

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ledger::{Ledger, LedgerError, Scan};
use crate::list::Listing;
use crate::metrics::ScannerMetrics;
use crate::signals::Signals;

/// Lists the source and registers its pages; when the listing fails, so do the jobs that wait for
/// it. On `shutdown` the scan is left to the next scanner, which repeats it.
pub(crate) async fn register(
    ledger: &dyn Ledger,
    scan: &Scan,
    signals: &Signals,
    metrics: &ScannerMetrics,
    shutdown: &CancellationToken,
) -> Result<(), LedgerError> {
    let begun = Instant::now();
    let failure = match pages(ledger, scan, signals, metrics, shutdown).await? {
        End::Listed => None,
        End::Failed(reason) => Some(reason),
        End::Stopped => return ledger.leave_scan(scan).await,
    };
    ledger.finish_scan(scan, failure.as_deref()).await?;
    signals.job_changed();
    metrics.scanned(begun.elapsed(), failure.is_none());
    match failure {
        None => tracing::info!(source.uri = scan.source.uri, "source listed"),
        Some(reason) => {
            tracing::warn!(
                source.uri = scan.source.uri,
                reason,
                "source cannot be listed"
            );
        }
    }
    Ok(())
}

enum End {
    Listed,
    Failed(String),
    Stopped,
}

async fn pages(
    ledger: &dyn Ledger,
    scan: &Scan,
    signals: &Signals,
    metrics: &ScannerMetrics,
    shutdown: &CancellationToken,
) -> Result<End, LedgerError> {
    let mut listing = match Listing::of(&scan.source) {
        Ok(listing) => listing,
        Err(e) => return Ok(End::Failed(e.to_string())),
    };
    loop {
        let Some(next) = shutdown.run_until_cancelled(listing.next()).await else {
            return Ok(End::Stopped);
        };
        let page = match next {
            Ok(Some(page)) => page,
            Ok(None) => return Ok(End::Listed),
            Err(e) => return Ok(End::Failed(e.to_string())),
        };
        let registered = ledger.register_page(scan, &page).await?;
        metrics.registered(registered);
        if registered.planned > 0 {
            signals.work_planned();
        }
        signals.job_changed();
    }
}
