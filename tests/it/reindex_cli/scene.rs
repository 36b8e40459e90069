//! A server with synthetic resources, and a user who has it reindexed.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::Value;
use stoker_sandbox::{FaultRule, Sandbox, SandboxConfig};
use stoker_tests::stoker::{Run, Stoker, isolated, stoker_bin};

/// After all that is synthetic was written.
pub(super) const TSTAMP: &str = "2021-01-01";

const LIMIT: Duration = Duration::from_mins(1);

pub(super) struct Scene {
    pub(super) sandbox: Sandbox,
    pub(super) user: Stoker,
}

impl Scene {
    pub(super) async fn new(resources: u32) -> Self {
        Self::with(SandboxConfig {
            synthetic: resources,
            ..SandboxConfig::default()
        })
        .await
    }

    /// Each request takes a while, so that there is time to do something in the middle.
    pub(super) async fn slow(resources: u32) -> Self {
        Self::with(SandboxConfig {
            synthetic: resources,
            latency: Duration::from_millis(100),
            ..SandboxConfig::default()
        })
        .await
    }

    async fn with(config: SandboxConfig) -> Self {
        Self {
            sandbox: Sandbox::start(config).await.unwrap(),
            user: Stoker::new().unwrap(),
        }
    }

    pub(super) fn fault(&self, rule: FaultRule) {
        self.sandbox.faults().set(vec![rule]).unwrap();
    }

    fn command(&self, flags: &[&str]) -> Vec<String> {
        let base = self.sandbox.base_url();
        let start = ["reindex", "--to", &base, "--tstamp", TSTAMP];
        start.iter().chain(flags).map(ToString::to_string).collect()
    }

    /// `stoker reindex --to` the server, run to its end.
    pub(super) async fn reindex(&self, flags: &[&str]) -> Run {
        self.user.args(self.command(flags)).run().await.unwrap()
    }

    /// The same, left running.
    pub(super) fn start(&self, flags: &[&str]) -> Running {
        let mut command = isolated(&stoker_bin().unwrap(), self.user.home());
        let child = command.args(self.command(flags)).spawn().unwrap();
        Running(child)
    }

    /// `stoker reindex VERB …`.
    pub(super) async fn asked(&self, words: &[&str]) -> Run {
        let args = ["reindex"].iter().chain(words);
        self.user.args(args).run().await.unwrap()
    }

    /// The answer of such a command that went well.
    pub(super) async fn json(&self, words: &[&str]) -> Value {
        let run = self.asked(&[words, &["--json"]].concat()).await;
        assert_eq!(run.code, 0, "{run:#?}");
        serde_json::from_str(&run.stdout).unwrap()
    }

    /// Waits until so many resources are reindexed.
    pub(super) async fn until_indexed(&self, count: u64) {
        let deadline = Instant::now() + LIMIT;
        while self.sandbox.reindex_stats().indexed < count {
            assert!(
                Instant::now() < deadline,
                "{:#?}",
                self.sandbox.reindex_stats()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A command under way; killed when dropped.
pub(super) struct Running(Child);

impl Running {
    /// Sends a signal such as `INT`.
    pub(super) fn signal(&self, signal: &str) {
        let pid = self.0.id().to_string();
        let mut kill = Command::new("kill");
        let sent = kill.args([&format!("-{signal}"), &pid]).status();
        assert!(sent.unwrap().success(), "it does not run any more");
    }

    /// Waits for its end; gives the exit code, none where a signal ended it.
    pub(super) async fn end(mut self) -> Option<i32> {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
