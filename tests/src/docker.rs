//! The Docker engine that tests run on, and Stoker's image on it; see `tests/parts/docker.sh`.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::parts::required;
use crate::repository;
use crate::stoker::stoker_bin;

/// Longest wait for a container to become what it should.
const LIMIT: Duration = Duration::from_mins(2);

/// The image that [`Engine::stoker_image`] makes.
const STOKER: &str = "stoker-parts/stoker:latest";

/// The image that [`Engine::stoker_postgres_image`] makes.
const STOKER_POSTGRES: &str = "stoker-parts/stoker-postgres:latest";

/// See the [module](self).
#[derive(Debug, Clone)]
pub struct Engine {
    host: String,
}

impl Engine {
    /// The one that `make test` started.
    ///
    /// # Panics
    /// When `STOKER_TEST_DOCKER` is not set.
    pub fn new() -> Self {
        Self {
            host: required("STOKER_TEST_DOCKER"),
        }
    }

    /// A program that talks to this engine. Its folder is the repository.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(repository::root())
            .env("DOCKER_HOST", &self.host)
            // The builder that needs nothing but the engine.
            .env("DOCKER_BUILDKIT", "0");
        command
    }

    /// What `docker` says to these words; fails where it fails.
    pub fn docker<A: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = A>,
    ) -> anyhow::Result<String> {
        output(self.command("docker").args(args))
    }

    /// What the engine knows of a container or an image.
    pub fn inspect(&self, name: &str) -> anyhow::Result<Value> {
        let known: Value = serde_json::from_str(&self.docker(["inspect", name])?)?;
        known.get(0).cloned().context("nothing is known of it")
    }

    /// The image of the `stoker` that was built with the tests, on a base that holds glibc and libgcc alone.
    /// Made once.
    ///
    /// # Panics
    /// When `STOKER_TEST_BASE_IMAGE` is not set.
    pub fn stoker_image(&self) -> anyhow::Result<&'static str> {
        static MADE: Mutex<bool> = Mutex::new(false);
        self.pack(&MADE, STOKER, "STOKER_TEST_BASE_IMAGE")
    }

    /// The same on a base with PostgreSQL's programs, as the backup-agent's drills need it. Made once.
    ///
    /// # Panics
    /// When `STOKER_TEST_PEERS_IMAGE` is not set.
    pub fn stoker_postgres_image(&self) -> anyhow::Result<&'static str> {
        static MADE: Mutex<bool> = Mutex::new(false);
        self.pack(&MADE, STOKER_POSTGRES, "STOKER_TEST_PEERS_IMAGE")
    }

    fn pack(
        &self,
        made: &Mutex<bool>,
        tag: &'static str,
        base: &str,
    ) -> anyhow::Result<&'static str> {
        let mut made = made
            .lock()
            .ok()
            .context("the image could not be made before")?;
        if !*made {
            let mut script = self.command(script("image.sh"));
            script.arg(stoker_bin()?).arg(tag);
            output(script.env("BASE_IMAGE", required(base)))?;
            *made = true;
        }
        Ok(tag)
    }

    /// Starts a container in the background.
    pub fn run<A: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = A>,
    ) -> anyhow::Result<Container> {
        let mut command = self.command("docker");
        command.args(["run", "--detach"]).args(args);
        Ok(Container {
            engine: self.clone(),
            id: output(&mut command)?.trim().to_owned(),
        })
    }
}

impl Default for Engine {
    fn default() -> Self {
        Self::new()
    }
}

/// A container; removed with its volumes when dropped.
#[derive(Debug)]
pub struct Container {
    engine: Engine,
    /// Its name to the engine.
    pub id: String,
}

impl Container {
    /// What the engine knows of it.
    pub fn inspect(&self) -> anyhow::Result<Value> {
        self.engine.inspect(&self.id)
    }

    /// All that it wrote.
    pub fn logs(&self) -> anyhow::Result<String> {
        output(
            self.engine
                .command("sh")
                .args(["-c", "docker logs \"$0\" 2>&1", &self.id]),
        )
    }

    /// Waits until its health check says so.
    pub fn until_healthy(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let known = self.inspect()?;
            if known["State"]["Health"]["Status"] == "healthy" {
                return Ok(());
            }
            if Instant::now() > deadline || known["State"]["Running"] == false {
                bail!("not healthy: {}\n{}", known["State"], self.logs()?);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// A command in it.
    pub fn exec(&self, args: &[&str]) -> anyhow::Result<String> {
        self.engine
            .docker(["exec", &self.id].into_iter().chain(args.iter().copied()))
    }

    /// Tells it to stop, with so much time for it; its exit code.
    pub fn stop(&self, patience: Duration) -> anyhow::Result<i64> {
        let patience = patience.as_secs().to_string();
        self.engine
            .docker(["stop", "--time", &patience, &self.id])?;
        let code = self.inspect()?["State"]["ExitCode"].as_i64();
        code.context("no exit code")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let removed = self.engine.docker(["rm", "--force", "--volumes", &self.id]);
        if !std::thread::panicking() {
            assert!(removed.is_ok(), "{removed:?}");
        }
    }
}

/// A script of the repository.
pub fn script(name: &str) -> PathBuf {
    repository::root().join("scripts").join(name)
}

/// What a command writes to standard output; fails where it fails, with all that it wrote.
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    let done = command
        .output()
        .with_context(|| format!("{} does not start", command.get_program().display()))?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    if !done.status.success() {
        let error = String::from_utf8_lossy(&done.stderr);
        bail!("{command:?}: {}\n{text}\n{error}", done.status);
    }
    Ok(text)
}
