//! One scan of one source, from its first page to its end.

use std::time::Duration;

use stoker_shared::object_store::{StoreError, Stores};
use stoker_shared::retry::Retry;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument as _, Span, field};

use crate::announce::Announcer;
use crate::frames;
use crate::ledger::{Ledger, LedgerError, Page, Registered, Scan};
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
    /// How often the leave to scan is renewed while a look into objects takes its time.
    pub(crate) renew_every: Duration,
}

enum End {
    Listed,
    Failed(String),
    Stopped,
}

impl Registrar<'_> {
    /// Lists the source and registers its pages, or plans what is known of it; when the listing fails, so do the jobs that wait
    /// for it. On `shutdown` the scan is left to the next scanner, which repeats it.
    pub(crate) async fn scan(&self, scan: &Scan) -> Result<(), LedgerError> {
        let begun = Instant::now();
        // What is logged in a span goes to collectors: the source's address is told outside of it.
        let traced = tracing::info_span!("scan", source_id = scan.source_id, end = field::Empty);
        let end = self.to_the_end(scan).instrument(traced).await?;
        let uri = &scan.source.uri;
        match end {
            End::Stopped => {}
            End::Listed if scan.known_only => {
                tracing::info!(source.uri = uri, "what is known of the source is planned");
            }
            End::Listed => {
                self.metrics.scanned(begun.elapsed(), true);
                tracing::info!(source.uri = uri, "source listed");
            }
            End::Failed(reason) => {
                self.metrics.scanned(begun.elapsed(), false);
                tracing::warn!(source.uri = uri, reason, "source cannot be listed");
            }
        }
        Ok(())
    }

    async fn to_the_end(&self, scan: &Scan) -> Result<End, LedgerError> {
        let end = if scan.known_only {
            self.known(scan).await?
        } else {
            self.pages(scan).await?
        };
        let (shown, failure) = match &end {
            End::Listed => ("listed", None),
            End::Failed(reason) => ("failed", Some(reason.as_str())),
            End::Stopped => ("stopped", None),
        };
        Span::current().record("end", shown);
        if matches!(end, End::Stopped) {
            self.ledger.leave_scan(scan).await?;
            return Ok(end);
        }
        let ended = self.ledger.finish_scan(scan, failure).await?;
        self.announcer.ended(ended);
        self.signals.job_changed();
        // Units that had to wait for the end of the listing.
        self.signals.work_planned();
        Ok(end)
    }

    /// Plans what is known of the source.
    async fn known(&self, scan: &Scan) -> Result<End, LedgerError> {
        let mut after = Some(0);
        while let Some(object) = after {
            if self.shutdown.is_cancelled() {
                return Ok(End::Stopped);
            }
            match self.ledger.register_known(scan, object).await {
                Ok((registered, next)) => {
                    self.planned(&registered);
                    after = next;
                }
                Err(e) => return cannot_keep(e),
            }
        }
        Ok(End::Listed)
    }

    async fn pages(&self, scan: &Scan) -> Result<End, LedgerError> {
        let listing = match Listing::of(self.stores, &scan.source) {
            Ok(listing) => listing,
            Err(e) => return Ok(End::Failed(e.to_string())),
        };
        let mut next = list_on(listing);
        loop {
            let (listing, page) = match self.shutdown.run_until_cancelled(&mut next).await {
                None => return Ok(End::Stopped),
                Some(Ok(listed)) => listed,
                Some(Err(e)) => return Ok(End::Failed(e.to_string())),
            };
            let mut page = match page {
                Ok(Some(page)) => page,
                Ok(None) => return Ok(End::Listed),
                Err(e) => return Ok(End::Failed(e.to_string())),
            };
            next = list_on(listing);
            // Unsigned numbers are told to collectors as texts.
            let objects = i64::try_from(page.objects.len()).unwrap_or(i64::MAX);
            let traced = tracing::info_span!("register", objects);
            let registered = self.register(scan, &mut page).instrument(traced).await;
            let registered = match registered {
                Ok(Some(registered)) => registered,
                Ok(None) => return Ok(End::Stopped),
                Err(e) => return cannot_keep(e),
            };
            self.metrics.registered(&registered);
            self.announcer.registered(&scan.source, &registered.news);
            self.planned(&registered);
        }
    }

    /// Looks into what may be shared, and registers the page; none when stopped before.
    ///
    /// Died before the page is registered: what was looked into is looked into again. After: it is known.
    async fn register(
        &self,
        scan: &Scan,
        page: &mut Page,
    ) -> Result<Option<Registered>, LedgerError> {
        let places = self.ledger.worth_a_look(scan, page).await?;
        if !places.is_empty()
            && let Ok(store) = self.stores.open(&scan.source)
        {
            let look = frames::look(&*store, page, &places);
            let look = self.shutdown.run_until_cancelled(look);
            let renew = || self.ledger.renew_scan(scan);
            if renewing(renew, self.renew_every, look).await?.is_none() {
                return Ok(None);
            }
        }
        self.ledger.register_page(scan, page).await.map(Some)
    }

    fn planned(&self, registered: &Registered) {
        if registered.planned > 0 {
            self.signals.work_planned();
        }
        self.signals.job_changed();
    }
}

/// A listing, and the page that came next.
type Listed = (Listing, Result<Option<Page>, StoreError>);

/// Lists the next page on another processor, while the one before is registered.
fn list_on(mut listing: Listing) -> AbortOnDropHandle<Listed> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let page = listing.next().await;
        (listing, page)
    }))
}

/// Does the work, and renews a leave meanwhile; gives the work up when the leave is lost.
async fn renewing<T, R>(
    renew: impl Fn() -> R,
    every: Duration,
    work: impl Future<Output = T>,
) -> Result<T, LedgerError>
where
    R: Future<Output = Result<(), LedgerError>>,
{
    let renewals = async {
        loop {
            tokio::time::sleep(every).await;
            if let Err(error) = renew().await {
                return error;
            }
        }
    };
    tokio::select! {
        biased;
        done = work => Ok(done),
        error = renewals => Err(error),
    }
}

/// The jobs that wait for the scan fail, or the scan is repeated.
fn cannot_keep(error: LedgerError) -> Result<End, LedgerError> {
    if !ends_the_jobs(&error) {
        return Err(error);
    }
    tracing::error!(%error, "a page cannot be kept");
    Ok(End::Failed(format!(
        "what was listed cannot be kept: {error}"
    )))
}

/// A fault that scanning again will not get past: it is these jobs' alone, others go on.
fn ends_the_jobs(error: &LedgerError) -> bool {
    error.retry() == Retry::Never && !matches!(error, LedgerError::ScanLost { .. })
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    const OFTEN: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn a_leave_is_renewed_as_long_as_the_work_takes() {
        let renewed = Semaphore::new(0);
        let renew = || async {
            renewed.add_permits(1);
            Ok(())
        };
        let work = async { renewed.acquire_many(5).await.is_ok() };
        assert!(renewing(renew, OFTEN, work).await.unwrap());
    }

    #[tokio::test]
    async fn the_work_ends_when_the_leave_is_lost() {
        let renew = || async { Err(LedgerError::ScanLost { source_id: 7 }) };
        let work = std::future::pending::<()>();
        let lost = renewing(renew, OFTEN, work).await.unwrap_err();
        assert!(matches!(lost, LedgerError::ScanLost { source_id: 7 }));
    }
}
