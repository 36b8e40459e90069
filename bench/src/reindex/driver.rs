//! `stoker reindex` as a process of its own.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::Target;
use crate::run::{peak_mb, program};

/// Between two looks at a process.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What is asked of the server at a time: requests, and resources to each; `None` lets Stoker find it.
pub type Limits = Option<(usize, usize)>;

/// A driver under way; it is killed with this value.
#[derive(Debug)]
pub struct Driver {
    process: Child,
    started: Instant,
}

impl Driver {
    /// Starts to reindex a server, or goes on with it. Runs are kept in `home`.
    pub fn start(target: &Target, limits: Limits, home: &Path) -> anyhow::Result<Self> {
        let number = |n: Option<usize>| n.map_or("auto".to_owned(), |n| n.to_string());
        let runs = format!("sqlite:{}", home.join("runs.sqlite").display());
        let started = Instant::now();
        let process = Command::new(program("stoker")?)
            .args(["reindex", "--client-driven", "--json", "--quiet"])
            .args(["--to", &target.base, "--runs", &runs])
            .args(["--concurrency", &number(limits.map(|l| l.0))])
            .args(["--batch", &number(limits.map(|l| l.1))])
            .env("HOME", home)
            .env("XDG_CONFIG_HOME", home)
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Self { process, started })
    }

    /// How long after its start the server got the first `$reindex`.
    pub async fn first_call(&mut self, target: &Target) -> anyhow::Result<Duration> {
        loop {
            if let Some(first) = target.take_first_call() {
                return Ok(first - self.started);
            }
            if let Some(status) = self.process.try_wait()? {
                bail!("stoker ended before it asked for anything: {status}");
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Waits for its end; fails unless it says that it reindexed all. Answers the most memory it held, in MB, and
    /// its report.
    pub async fn end(mut self, resources: u64) -> anyhow::Result<(f64, Value)> {
        let files = format!("/proc/{}", self.process.id());
        let mut peak = 0.0;
        while self.process.try_wait()?.is_none() {
            // What a process that is just ending no longer tells stays as it was.
            peak = peak_mb(Path::new(&files)).unwrap_or(peak);
            sleep(LOOK_EVERY).await;
        }
        let output = self.process.stdout.take().context("no output")?;
        let report: Value = serde_json::from_reader(output).context("stoker wrote no report")?;
        if report["result"] != "reindexed" || report["reindexed"] != resources {
            let (result, reindexed) = (&report["result"], &report["reindexed"]);
            bail!(
                "{result}: {reindexed} of {resources} are reindexed: {}",
                report["reason"]
            );
        }
        Ok((peak, report))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
