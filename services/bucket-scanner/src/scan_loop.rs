//! Sees that every source that a job wants listed is listed.

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use stoker_shared::retry::{Backoff, Retry};
use tokio_util::sync::CancellationToken;

use crate::ledger::{Ledger, LedgerError, StartJob};
use crate::metrics::ScannerMetrics;
use crate::register::register;
use crate::signals::Signals;

/// Jobs started through this process wake the loop; those of others are seen after so long.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// How often the units are counted for the metrics.
const COUNT_EVERY: Duration = Duration::from_secs(15);

/// What the loops need.
#[derive(Debug)]
pub(crate) struct ScanLoop<'s> {
    pub(crate) ledger: &'s dyn Ledger,
    pub(crate) reaches: &'s [String],
    pub(crate) signals: &'s Signals,
    pub(crate) metrics: &'s ScannerMetrics,
    pub(crate) shutdown: &'s CancellationToken,
}

impl ScanLoop<'_> {
    /// Scans one source after the other until the shutdown. Several may run at once.
    pub(crate) async fn scan(&self) -> Result<(), LedgerError> {
        while !self.shutdown.is_cancelled() {
            let wanted = self.signals.scans.notified();
            let scan = self
                .patiently(|| self.ledger.begin_scan(self.reaches))
                .await?;
            let Some(scan) = scan.flatten() else {
                self.pause(LOOK_AGAIN, wanted).await;
                continue;
            };
            let done = register(
                self.ledger,
                &scan,
                self.signals,
                self.metrics,
                self.shutdown,
            )
            .await;
            match done {
                Ok(()) => {}
                Err(e @ LedgerError::ScanLost { .. }) => {
                    tracing::warn!(error = %e, "scan given up");
                }
                Err(e) if e.retry() != Retry::Never => {
                    tracing::warn!(error = %e, "scan broken off, the source is scanned again");
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Starts the configured loads, and again after each `interval`.
    pub(crate) async fn start_configured(
        &self,
        loads: &[StartJob],
        interval: Duration,
    ) -> Result<(), LedgerError> {
        while !loads.is_empty() && !self.shutdown.is_cancelled() {
            for load in loads {
                self.patiently(|| self.ledger.start_job(load)).await?;
                self.signals.scan_wanted();
            }
            self.pause(interval, std::future::pending()).await;
        }
        Ok(())
    }

    /// Keeps the gauges of units true.
    pub(crate) async fn count_units(&self) -> Result<(), LedgerError> {
        while !self.shutdown.is_cancelled() {
            if let Some(counts) = self.patiently(|| self.ledger.unit_counts()).await? {
                self.metrics.units(counts);
            }
            self.pause(COUNT_EVERY, std::future::pending()).await;
        }
        Ok(())
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
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        let mut rng = StdRng::from_os_rng();
        loop {
            match call().await {
                Ok(value) => return Ok(Some(value)),
                Err(e) if e.retry() != Retry::Never => {
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
