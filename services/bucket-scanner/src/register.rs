//! One scan of one source, from its first page to its end.

use stoker_shared::object_store::Stores;
use stoker_shared::retry::Retry;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::announce::Announcer;
use crate::ledger::{Ledger, LedgerError, Scan};
use crate::list::Listing;
use crate::metrics::ScannerMetrics;
use crate::signals::Signals;

/// What a scan needs besides the source.
#[derive(Debug)]
pub(crate) struct Registrar<'s> {
    pub(crate) ledger: &'s dyn Ledger,
    pub(crate) stores: &'s Stores,
    pub(crate) signals: &'s Signals,
    pub(crate) announcer: &'s Announcer,
    pub(crate) metrics: &'s ScannerMetrics,
    pub(crate) shutdown: &'s CancellationToken,
}

enum End {
    Listed,
    Failed(String),
    Stopped,
}

impl Registrar<'_> {
    /// Lists the source and registers its pages; when the listing fails, so do the jobs that wait
    /// for it. On `shutdown` the scan is left to the next scanner, which repeats it.
    pub(crate) async fn scan(&self, scan: &Scan) -> Result<(), LedgerError> {
        let begun = Instant::now();
        let failure = match self.pages(scan).await? {
            End::Listed => None,
            End::Failed(reason) => Some(reason),
            End::Stopped => return self.ledger.leave_scan(scan).await,
        };
        self.ledger.finish_scan(scan, failure.as_deref()).await?;
        self.signals.job_changed();
        self.metrics.scanned(begun.elapsed(), failure.is_none());
        let uri = &scan.source.uri;
        match failure {
            None => tracing::info!(source.uri = uri, "source listed"),
            Some(reason) => {
                tracing::warn!(source.uri = uri, reason, "source cannot be listed");
            }
        }
        Ok(())
    }

    async fn pages(&self, scan: &Scan) -> Result<End, LedgerError> {
        let mut listing = match Listing::of(self.stores, &scan.source) {
            Ok(listing) => listing,
            Err(e) => return Ok(End::Failed(e.to_string())),
        };
        loop {
            let Some(next) = self.shutdown.run_until_cancelled(listing.next()).await else {
                return Ok(End::Stopped);
            };
            let page = match next {
                Ok(Some(page)) => page,
                Ok(None) => return Ok(End::Listed),
                Err(e) => return Ok(End::Failed(e.to_string())),
            };
            let registered = match self.ledger.register_page(scan, &page).await {
                Ok(registered) => registered,
                Err(e) if ends_the_jobs(&e) => {
                    let uri = &scan.source.uri;
                    tracing::error!(source.uri = uri, error = %e, "a page cannot be kept");
                    return Ok(End::Failed(format!("what was listed cannot be kept: {e}")));
                }
                Err(e) => return Err(e),
            };
            self.metrics.registered(&registered);
            self.announcer.registered(&scan.source, &registered.news);
            if registered.planned > 0 {
                self.signals.work_planned();
            }
            self.signals.job_changed();
        }
    }
}

/// A fault that listing again will not get past: it is these jobs' alone, others go on.
fn ends_the_jobs(error: &LedgerError) -> bool {
    error.retry() == Retry::Never && !matches!(error, LedgerError::ScanLost { .. })
}
