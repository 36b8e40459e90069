//! Running pgBackRest.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Command;

use super::{PgbackrestError, Program};
use crate::server::User;

impl Program {
    /// A command of it, to be run by a user or by this process's own.
    pub(super) fn command(&self, user: Option<User>, stanza: &str, command: &str) -> Command {
        let own = std::env::vars_os().filter(|(name, _)| {
            let name = name.to_string_lossy();
            name.starts_with("PGBACKREST_") || ["PATH", "HOME", "TZ"].contains(&&*name)
        });
        let mut running = Command::new(&self.path);
        running
            .env_clear()
            .envs(own)
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .arg(format!("--stanza={stanza}"))
            .args(["--log-level-stderr=warn", "--no-log-timestamp"]);
        if let Some(config) = &self.config {
            running.arg(option("--config", config));
        }
        if let Some(user) = user {
            running.uid(user.uid).gid(user.gid);
        }
        running.arg(command);
        running
    }
}

/// An option with a path.
pub(super) fn option(name: &str, path: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push("=");
    option.push(path);
    option
}

/// Runs it; each line that it says is told. Answers all of them. It is ended where this is given up.
pub(super) async fn to_the_end(
    program: &Program,
    mut command: Command,
    told: impl Fn(&str),
) -> Result<String, PgbackrestError> {
    let failed = |source| PgbackrestError::Run {
        program: program.path.clone(),
        source,
    };
    let mut child = command.spawn().map_err(failed)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (said, complained) = tokio::try_join!(
        async {
            let mut said = String::new();
            let mut lines = BufReader::new(stdout.ok_or_else(gone)?).lines();
            while let Some(line) = lines.next_line().await? {
                told(&line);
                said.push_str(&line);
                said.push('\n');
            }
            Ok(said)
        },
        async {
            let mut complained = Vec::new();
            stderr
                .ok_or_else(gone)?
                .read_to_end(&mut complained)
                .await?;
            Ok(String::from_utf8_lossy(&complained).trim().to_owned())
        }
    )
    .map_err(failed)?;
    let status = child.wait().await.map_err(failed)?;
    if !status.success() {
        return Err(PgbackrestError::Failed {
            program: program.path.clone(),
            status,
            said: complained,
        });
    }
    Ok(said)
}

fn gone() -> std::io::Error {
    std::io::Error::other("what it says cannot be heard")
}
