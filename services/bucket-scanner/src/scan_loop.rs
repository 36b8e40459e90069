//! Sees that every source that a job wants listed is listed.

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use stoker_shared::object_store::Stores;
use stoker_shared::retry::{Backoff, Retry};
use stoker_shared::store::StoreError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::announce::Announcer;
use crate::ledger::{Kept, Ledger, LedgerError, Scan, StartJob};
use crate::metrics::ScannerMetrics;
use crate::register::Registrar;
use crate::signals::Signals;

/// How often silent workers are looked for, and the units are counted for the metrics.
const LOOK_AT_BOOKS: Duration = Duration::from_secs(15);
/// A million units take a second to be counted: between two counts at least so many times as long as one took.
const COUNTS_APART: u32 = 60;

/// What the loops need.
#[derive(Debug)]
pub(crate) struct ScanLoop<'s> {
    pub(crate) ledger: &'s dyn Ledger,
    pub(crate) stores: &'s Stores,
    pub(crate) reaches: &'s [String],
    pub(crate) signals: &'s Signals,
    pub(crate) announcer: &'s Announcer,
    pub(crate) metrics: &'s ScannerMetrics,
    pub(crate) shutdown: &'s CancellationToken,
    /// Jobs started through this process wake the loop; those of others are seen after so long.
    pub(crate) look_again: Duration,
    /// Thrice in the length of a leave.
    pub(crate) renew_every: Duration,
    /// See [`Scanner::end_on_full_disk`](crate::Scanner::end_on_full_disk).
    pub(crate) end_on_full_disk: bool,
    /// See [`Scanner::only_known`](crate::Scanner::only_known).
    pub(crate) only_known: bool,
}

impl ScanLoop<'_> {
    /// Scans one source after the other until the shutdown. Several may run at once.
    pub(crate) async fn scan(&self) -> Result<(), LedgerError> {
        let mut rng = StdRng::from_os_rng();
        let mut faults = pauses();
        while !self.shutdown.is_cancelled() {
            let wanted = self.signals.scans.notified();
            let scan = if self.only_known {
                let begin = || self.ledger.begin_known_scan(self.reaches);
                self.patiently(begin).await?
            } else {
                let begin = || self.ledger.begin_scan(self.reaches);
                self.patiently(begin).await?
            };
            let Some(scan) = scan.flatten() else {
                self.pause(self.look_again, wanted).await;
                continue;
            };
            let begun = Instant::now();
            match self.registrar().scan(&scan).await {
                Ok(()) => {
                    self.signals.scanned(begun.elapsed());
                    faults = pauses();
                }
                Err(e @ LedgerError::ScanLost { .. }) => {
                    tracing::warn!(error = %e, "scan given up");
                }
                Err(e) => {
                    self.leave(&scan).await;
                    if !self.may_pass(&e) {
                        return Err(e);
                    }
                    tracing::warn!(error = %e, "scan broken off, the source is scanned again");
                    let pause = faults.pause(None, &mut rng);
                    self.pause(pause, std::future::pending()).await;
                }
            }
        }
        Ok(())
    }

    fn registrar(&self) -> Registrar<'_> {
        Registrar {
            ledger: self.ledger,
            stores: self.stores,
            signals: self.signals,
            announcer: self.announcer,
            metrics: self.metrics,
            shutdown: self.shutdown,
            renew_every: self.renew_every,
        }
    }

    /// So that the source need not wait for the leave to expire.
    async fn leave(&self, scan: &Scan) {
        if let Err(error) = self.ledger.leave_scan(scan).await {
            tracing::debug!(%error, "the leave to scan stays until it expires");
        }
    }

    /// Starts the configured loads, and looks for new objects of each `interval` after the last
    /// listing ended; see [`Config::scan_interval`](crate::Config::scan_interval).
    pub(crate) async fn keep_configured(
        &self,
        loads: &[StartJob],
        interval: Duration,
    ) -> Result<(), LedgerError> {
        // The first look does not wait: much may have changed while no scanner ran.
        let mut rest = Duration::ZERO;
        while !loads.is_empty() && !self.shutdown.is_cancelled() {
            for load in loads {
                let kept = self.patiently(|| self.ledger.keep_loaded(load, rest));
                match kept.await? {
                    None | Some(Kept::AsItWas) => {}
                    Some(Kept::Listing) => self.signals.scan_wanted(),
                    Some(Kept::Run(job_id)) => {
                        self.announcer.job_started(job_id);
                        self.signals.scan_wanted();
                    }
                }
            }
            rest = rest_after(interval, self.signals.last_scan());
            let look_again = rest.min(self.look_again);
            self.pause(look_again, std::future::pending()).await;
        }
        Ok(())
    }

    /// Has objects loaded again whose time has come.
    pub(crate) async fn recycle(&self) -> Result<(), LedgerError> {
        while !self.shutdown.is_cancelled() {
            let planned = self.patiently(|| self.ledger.recycle()).await?;
            if planned.is_some_and(|planned| planned > 0) {
                self.signals.work_planned();
                self.signals.job_changed();
            }
            self.pause(self.look_again, std::future::pending()).await;
        }
        Ok(())
    }

    /// Keeps true what the metrics and people see of units and workers.
    pub(crate) async fn keep_books(&self) -> Result<(), LedgerError> {
        let mut count_at = Instant::now();
        while !self.shutdown.is_cancelled() {
            self.patiently(|| self.ledger.stop_silent_workers()).await?;
            self.patiently(|| self.ledger.fold_sums()).await?;
            if Instant::now() >= count_at {
                let took = self.count_units().await?;
                count_at = Instant::now() + took * COUNTS_APART;
            }
            self.pause(LOOK_AT_BOOKS, std::future::pending()).await;
        }
        Ok(())
    }

    /// Answers how long the count took.
    async fn count_units(&self) -> Result<Duration, LedgerError> {
        let count = || async {
            let begun = Instant::now();
            let counts = self.ledger.unit_counts().await?;
            Ok((counts, begun.elapsed()))
        };
        let Some((counts, took)) = self.patiently(count).await? else {
            return Ok(Duration::ZERO);
        };
        self.metrics.units(counts);
        Ok(took)
    }

    fn may_pass(&self, error: &LedgerError) -> bool {
        let disk_full = matches!(error, LedgerError::Store(StoreError::DiskFull { .. }));
        error.retry() != Retry::Never && !(disk_full && self.end_on_full_disk)
    }

    async fn pause(&self, at_most: Duration, woken: impl Future<Output = ()>) {
        tokio::select! {
            () = woken => {}
            () = tokio::time::sleep(at_most) => {}
            () = self.shutdown.cancelled() => {}
        }
    }

    /// Repeats a call while the ledger is away; none when the shutdown comes first.
    async fn patiently<T, F>(&self, call: impl Fn() -> F) -> Result<Option<T>, LedgerError>
    where
        F: Future<Output = Result<T, LedgerError>>,
    {
        let mut backoff = pauses();
        let mut rng = StdRng::from_os_rng();
        loop {
            match call().await {
                Ok(value) => return Ok(Some(value)),
                Err(e) if self.may_pass(&e) => {
                    let pause = backoff.pause(None, &mut rng);
                    tracing::warn!(error = %e, "the ledger is away, trying again");
                    self.pause(pause, std::future::pending()).await;
                }
                Err(e) => return Err(e),
            }
            if self.shutdown.is_cancelled() {
                return Ok(None);
            }
        }
    }
}

/// The interval, or what suits a listing that took so long.
fn rest_after(interval: Duration, took: Duration) -> Duration {
    if interval.is_zero() {
        (took * 10).max(Duration::from_mins(1))
    } else {
        interval
    }
}

/// Between tries while the ledger is away.
fn pauses() -> Backoff {
    Backoff::new(Duration::from_millis(200), Duration::from_secs(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_of_nothing_is_ten_times_a_listing() {
        let seconds = Duration::from_secs;
        assert_eq!(rest_after(seconds(5), seconds(100)), seconds(5));
        assert_eq!(rest_after(Duration::ZERO, seconds(1)), seconds(60));
        assert_eq!(rest_after(Duration::ZERO, seconds(100)), seconds(1000));
    }
}
