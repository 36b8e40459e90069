//! A command of `stoker` that goes on until it is told to stop.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::stoker::{Stoker, isolated, stoker_bin};

/// Longest wait for what is to happen.
const LIMIT: Duration = Duration::from_mins(1);

/// See the [module](self); killed when dropped. A test that fails shows what it wrote.
#[derive(Debug)]
pub struct Tool {
    child: Child,
    log: PathBuf,
}

impl Tool {
    /// Starts it in the user's home; all that it writes goes to `NAME.out` there.
    pub fn start<A: AsRef<OsStr>>(
        user: &Stoker,
        args: impl IntoIterator<Item = A>,
        name: &str,
    ) -> anyhow::Result<Self> {
        let log = user.home().join(format!("{name}.out"));
        let out = File::create(&log)?;
        let mut command = isolated(&stoker_bin()?, user.home());
        command.args(args).stdout(out.try_clone()?).stderr(out);
        let child = command.spawn().context("stoker does not start")?;
        Ok(Self { child, log })
    }

    /// What it has written.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until something holds.
    ///
    /// # Panics
    /// When that takes too long, or the command ends before.
    #[expect(
        clippy::panic,
        reason = "what never happens is the failure of the test"
    )]
    pub async fn until(&mut self, what: &str, holds: impl AsyncFn(&Self) -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !holds(self).await {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("{what}: it ended: {status}: {}", self.log());
            }
            assert!(
                Instant::now() < deadline,
                "{what}: not in {LIMIT:?}: {}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Sends a signal such as `STOP`.
    pub fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), &pid])
            .status()?;
        if !sent.success() {
            bail!("SIG{signal} cannot be sent");
        }
        Ok(())
    }

    /// Asks it to stop by SIGTERM, and waits; gives what it wrote.
    ///
    /// # Panics
    /// When it does not end with 0.
    #[expect(
        clippy::panic,
        reason = "that it does not end is the failure of the test"
    )]
    pub async fn terminate(mut self) -> String {
        match self.end().await {
            Ok(status) => assert_eq!(status.code(), Some(0), "{}", self.log()),
            Err(error) => panic!("{error:#}: {}", self.log()),
        }
        self.log()
    }

    async fn end(&mut self) -> anyhow::Result<ExitStatus> {
        self.signal("TERM")?;
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("still running {LIMIT:?} after SIGTERM")
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
