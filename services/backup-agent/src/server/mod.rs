//! PostgreSQL servers of this machine: their programs and user, starting one, and finding those that run.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

mod processes;
mod programs;
mod user;

pub use processes::{end_all, is_running_in};
pub use programs::Programs;
pub use user::User;

/// Lines of a server's log that an error shows.
const LINES: usize = 12;

/// Starts the server of a data folder and waits until it answers, which it does once its data is consistent. Answers
/// the log's position where it became so, if its log tells. Whatever its configuration says, it archives nothing until
/// it is stopped and started by others: a restored server writes segments of the same names as the one that was backed
/// up, and would spoil its archive.
///
/// Died before it ends: a server may run in the folder, and goes on.
pub async fn start(
    programs: &Programs,
    data: &Path,
    user: Option<User>,
    log: &Path,
    patience: Duration,
) -> Result<Option<String>, ServerError> {
    let mut command = program(programs, "pg_ctl", user);
    let seconds = patience.as_secs().max(1).to_string();
    command.args(["start", "-s", "-w", "-t", &seconds, "-D"]);
    command.arg(data).arg("-l").arg(log);
    command.args(["-o", "-c archive_mode=off"]);
    let ended = command.output().await.map_err(|source| ServerError::Run {
        program: programs.path("pg_ctl"),
        source,
    })?;
    let text = std::fs::read_to_string(log).unwrap_or_default();
    if ended.status.success() {
        return Ok(consistent_at(&text));
    }
    let said = String::from_utf8_lossy(&ended.stderr);
    Err(ServerError::NotStarted {
        data: data.to_owned(),
        said: format!("{}{}", said.trim_end(), last_lines(&text)),
    })
}

/// Whether the configuration of a data folder has its server archive its log; not where it cannot be read.
pub async fn is_archiving(programs: &Programs, data: &Path, user: Option<User>) -> bool {
    let mut command = program(programs, "postgres", user);
    command.arg("-D").arg(data).args(["-C", "archive_mode"]);
    let said = command.output().await.map(|ended| ended.stdout);
    said.is_ok_and(|mode| [&b"on"[..], b"always"].contains(&mode.trim_ascii()))
}

/// A program of the server's, to be run by its user, who may not be able to enter this process's folder.
pub(crate) fn program(programs: &Programs, name: &str, user: Option<User>) -> Command {
    let mut command = Command::new(programs.path(name));
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
    command
}

fn consistent_at(log: &str) -> Option<String> {
    let (_, rest) = log.split_once("consistent recovery state reached at ")?;
    rest.split_whitespace().next().map(str::to_owned)
}

fn last_lines(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    let last = &lines[lines.len().saturating_sub(LINES)..];
    last.iter().flat_map(|line| ["\n  ", line]).collect()
}

/// Why a server of this machine could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The programs are not there.
    #[error(
        "PostgreSQL {major}: its programs are not found ({looked}); install that version, or say where they are"
    )]
    NoPrograms {
        /// The version needed.
        major: u32,
        /// Where they were looked for, and what was found.
        looked: String,
    },
    /// There is no such user.
    #[error(
        "{0:?}: no such user is in /etc/passwd; give a name of it, or numbers as 1001 or 1001:1001"
    )]
    NoUser(String),
    /// A server does not run as root.
    #[error("PostgreSQL refuses to run as root; say which user is to run it, such as postgres")]
    Root,
    /// A program could not be run.
    #[error("{program}: cannot be run: {source}; check that it is there and may be run")]
    Run {
        /// Its path.
        program: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It did not start.
    #[error("{data}: the server did not become consistent and answer: {said}")]
    NotStarted {
        /// The data folder.
        data: PathBuf,
        /// What it said.
        said: String,
    },
    /// Processes could not be ended.
    #[error("{0}: processes of the throwaway server do not end; end them by hand")]
    Endless(PathBuf),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_tells_where_data_became_consistent() {
        let log = "LOG:  redo starts at 0/2000028\nLOG:  consistent recovery state reached at 0/2000100\nLOG:  x";
        assert_eq!(consistent_at(log).as_deref(), Some("0/2000100"));
        assert_eq!(consistent_at("LOG:  x"), None);
        assert_eq!(last_lines("a\nb"), "\n  a\n  b");
    }
}
