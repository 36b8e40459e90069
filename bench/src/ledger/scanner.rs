//! The scanner as it is, over a made-up bucket.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use bucket_scanner::config::ConfiguredLoad;
use bucket_scanner::ledger::Ledger;
use bucket_scanner::{Config, Scanner};
use serde_json::json;
use stoker_proto::ledger::v1::JobState;
use stoker_shared::clock::SystemClock;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Bucket, Database};

/// A scanner at work in this process.
#[derive(Debug)]
pub struct Scanning {
    /// Its ledger.
    pub ledger: Arc<dyn Ledger>,
    shutdown: CancellationToken,
    running: JoinHandle<Result<(), bucket_scanner::Error>>,
}

impl Scanning {
    /// Opens the ledger and begins.
    pub async fn start(database: &Database, bucket: &Bucket) -> anyhow::Result<Self> {
        let config: Config = serde_json::from_value(json!({
            "ledger": database.url(),
            "s3": {"endpoint": bucket.endpoint, "access_key": "bench", "secret_key": "bench"},
        }))?;
        let scanner = Scanner::open(&config, Arc::new(SystemClock)).await?;
        let scanner = scanner.look_again_every(Duration::from_millis(500));
        let ledger = scanner.ledger();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { scanner.run(shutdown).await }
        });
        Ok(Self {
            ledger,
            shutdown,
            running,
        })
    }

    /// Has so many objects listed and registered; answers the job and the seconds it took.
    pub async fn register(&self, objects: u64) -> anyhow::Result<(i64, f64)> {
        let load: ConfiguredLoad = serde_json::from_value(json!({
            "uri": Bucket::uri(objects),
            "base_url": "http://fhir.invalid/r4",
        }))?;
        let begun = Instant::now();
        let job_id = self.ledger.start_job(&load.to_start()).await?;
        while self.ledger.job_state(job_id).await? == JobState::Scanning {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let seconds = begun.elapsed().as_secs_f64();
        let job = self.ledger.job(job_id).await?;
        let registered = job.run.clone().unwrap_or_default().objects;
        if job.state() != JobState::Loading || registered != objects {
            bail!(
                "{registered} of {objects} objects were registered: {}",
                job.reason
            );
        }
        Ok((job_id, seconds))
    }

    /// Ends it.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        Ok(self.running.await??)
    }
}
