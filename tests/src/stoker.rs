//! The `stoker` program, run as a user runs it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use crate::secrets;

/// A command that has not ended by then hangs.
const TIME_LIMIT: Duration = Duration::from_mins(10);

/// Where cargo has put the `stoker` program: beside the folder of the running test.
pub fn stoker_bin() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test
        .parent()
        .and_then(Path::parent)
        .context("the test lies in no target folder")?;
    let program = folder.join(format!("stoker{}", std::env::consts::EXE_SUFFIX));
    if !program.is_file() {
        bail!(
            "{} is not there; build it with `cargo build --bin stoker`, or run `make test`",
            program.display()
        );
    }
    Ok(program)
}

/// A program that sees the given home and nothing of the environment of whoever runs the tests. It
/// runs in that home, with no input.
pub fn isolated(program: &Path, home: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(program);
    command
        .current_dir(home)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .env("XDG_CONFIG_HOME", home.join("config"))
        .env("XDG_DATA_HOME", home.join("data"))
        .stdin(Stdio::null());
    command
}

/// A user with an empty home. Several commands of one user see what the earlier ones left there.
#[derive(Debug)]
pub struct Stoker {
    program: PathBuf,
    home: TempDir,
}

impl Stoker {
    /// A new user; fails when the program has not been built.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self {
            program: stoker_bin()?,
            home: TempDir::new()?,
        })
    }

    /// The user's home, in which the commands run.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A command, to be run.
    pub fn args<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Invocation {
        let mut command = Command::from(isolated(&self.program, self.home()));
        command.args(args).kill_on_drop(true);
        Invocation { command }
    }
}

/// A command of the `stoker` program that has not run yet.
#[derive(Debug)]
pub struct Invocation {
    command: Command,
}

impl Invocation {
    /// Sets an environment variable; all others but PATH, HOME and XDG's are unset.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it to its end; fails when it does not start, dies by a signal, takes 10 minutes or shows a secret that it
    /// was given.
    pub async fn run(mut self) -> anyhow::Result<Run> {
        let output = timeout(TIME_LIMIT, self.command.output())
            .await
            .with_context(|| format!("{:?} has not ended in {TIME_LIMIT:?}", self.command))?
            .with_context(|| format!("cannot start {:?}", self.command))?;
        let code = output.status.code();
        let run = Run {
            code: code.with_context(|| format!("{:?}: {}", self.command, output.status))?,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        let secrets = secrets::given_to(self.command.as_std());
        for text in [&run.stdout, &run.stderr] {
            if let Some(leak) = secrets::shown_in(text, &secrets) {
                bail!("{leak}");
            }
        }
        Ok(run)
    }
}

/// How a command ended and what it said.
#[derive(Debug)]
pub struct Run {
    /// The exit code.
    pub code: i32,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}
