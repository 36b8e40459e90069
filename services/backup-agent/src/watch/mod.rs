//! Looks at how the sources stand, again and again: shows it in metrics, and has others told of what is wrong.
//!
//! Every agent over a catalog does so. What is to be told is in the catalog, so that one of them tells it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use stoker_shared::clock::SharedClock;
use tokio::sync::Notify;
use tracing::warn;

mod standing;

use crate::catalog::{Catalog, CatalogError};
use crate::metrics::BackupMetrics;
use crate::notify::Notifier;
use crate::troubles::Rules;

pub use standing::{Standing, Watched};

/// How often is looked.
const EVERY: Duration = Duration::from_secs(15);

/// Looks at how the sources stand; see the [module](self).
#[derive(Debug)]
pub struct Watch {
    catalog: Arc<dyn Catalog>,
    sources: Vec<Watched>,
    rules: Rules,
    notifier: Option<Notifier>,
    metrics: BackupMetrics,
    clock: SharedClock,
    nudged: Notify,
}

impl Watch {
    /// Of these sources. Does nothing before [`Self::work`].
    pub fn new(
        catalog: Arc<dyn Catalog>,
        sources: Vec<Watched>,
        rules: Rules,
        notifier: Option<Notifier>,
        metrics: BackupMetrics,
        clock: SharedClock,
    ) -> Self {
        // So that a first one is an increase.
        for source in &sources {
            metrics.pruned(&source.name, 0);
        }
        Self {
            catalog,
            sources,
            rules,
            notifier,
            metrics,
            clock,
            nudged: Notify::new(),
        }
    }

    /// Looks soon: something has changed.
    pub fn nudge(&self) {
        self.nudged.notify_one();
    }

    /// How a source stands.
    pub async fn standing(&self, source: &Watched) -> Result<Standing, CatalogError> {
        Standing::read(&*self.catalog, source, &self.rules, self.clock.now()).await
    }

    /// Looks for ever. A webhook that is slow keeps nobody from looking.
    ///
    /// Dropped or died at any time: what is to be told is told by the next one that looks.
    pub async fn work(&self) -> Infallible {
        let telling = Notify::new();
        let looking = async {
            loop {
                self.look().await;
                telling.notify_one();
                let _ = tokio::time::timeout(EVERY, self.nudged.notified()).await;
            }
        };
        let telling = async {
            loop {
                telling.notified().await;
                self.tell().await;
            }
        };
        tokio::select! {
            never = looking => never,
            never = telling => never,
        }
    }

    /// Looks once.
    pub async fn look(&self) {
        let mut seen_all = true;
        for source in &self.sources {
            if let Err(error) = self.look_at(source).await {
                warn!(source = source.name, "cannot tell how it stands: {error}");
                seen_all = false;
            }
        }
        if seen_all {
            self.metrics.looked(self.clock.now());
        }
    }

    async fn look_at(&self, source: &Watched) -> Result<(), CatalogError> {
        let standing = self.standing(source).await?;
        self.metrics
            .stands(&source.name, &standing, self.clock.now());
        if self.notifier.is_some() {
            let troubles = &standing.troubles;
            self.catalog.note_troubles(&source.name, troubles).await?;
        }
        Ok(())
    }

    /// Tells all that is to be told; stops at what is not taken, until the next time.
    pub async fn tell(&self) {
        let Some(notifier) = &self.notifier else {
            return;
        };
        for source in &self.sources {
            match self.tell_of(notifier, &source.name).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => warn!(
                    source = source.name,
                    "what is to be told is not known: {error}"
                ),
            }
        }
    }

    /// Whether all was taken.
    async fn tell_of(&self, notifier: &Notifier, source: &str) -> Result<bool, CatalogError> {
        let (repeat_after, hold) = (notifier.repeat_after(), notifier.longest());
        while let Some(notice) = self
            .catalog
            .claim_notice(source, repeat_after, hold)
            .await?
        {
            let sent = notifier.send(&notice, self.clock.now()).await;
            self.metrics.sent(sent.is_ok());
            if let Err(error) = sent {
                warn!(
                    source,
                    notice = notice.notice_id,
                    "{error}; it is tried again"
                );
                return Ok(false);
            }
            self.catalog.told(&notice).await?;
        }
        Ok(true)
    }
}
