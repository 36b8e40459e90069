//! Backups and drills as processes of their own, timed from their start to their end.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use backup_agent::server::Programs;

/// What one process took.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// From its start to its end.
    pub seconds: f64,
    /// The most memory it held at once; 0 where it does not tell.
    pub rss_peak_mb: f64,
    /// Bytes of what it wrote.
    pub bytes: u64,
}

/// Waits until the disk has nothing left to write from before.
pub fn ready() -> anyhow::Result<()> {
    ensure!(Command::new("sync").status()?.success(), "sync failed");
    Ok(())
}

/// Backs up into a folder that is not there yet; `zstd` is the level, without which nothing is compressed.
pub fn ours(url: &str, into: &Path, zstd: Option<u8>) -> anyhow::Result<Run> {
    let mut command = own("capture")?;
    command.args(["--from", url, "--into"]).arg(into);
    command.args(zstd.map(|level| format!("--zstd={level}")));
    timed(&mut command, into)
}

/// The same by `pg_basebackup` of the server's version, with its defaults: gzip of this level or nothing compressed, the
/// log streamed beside it, all durable at its end.
pub fn pg_basebackup(url: &str, major: u32, into: &Path, gzip: Option<u8>) -> anyhow::Result<Run> {
    let programs = Programs::find(None, major)?;
    let mut command = Command::new(programs.path("pg_basebackup"));
    command.args(["--format=tar", "--checkpoint=fast", "--dbname", url]);
    command.arg("--pgdata").arg(into);
    command.args(gzip.map(|level| format!("--compress=client-gzip:{level}")));
    timed(&mut command, into)
}

/// Restores what [`ours`] has written for proof.
pub fn drill(from: &Path, scratch: &Path) -> anyhow::Result<Run> {
    let mut command = own("drill")?;
    command
        .arg("--from")
        .arg(from)
        .arg("--scratch")
        .arg(scratch);
    timed(&mut command, from)
}

fn own(work: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(work);
    Ok(command)
}

fn timed(command: &mut Command, writes: &Path) -> anyhow::Result<Run> {
    let begun = Instant::now();
    let output = command.stderr(Stdio::inherit()).output()?;
    let seconds = begun.elapsed().as_secs_f64();
    ensure!(output.status.success(), "{command:?}: {}", output.status);
    let told = String::from_utf8(output.stdout)?;
    Ok(Run {
        seconds,
        rss_peak_mb: told.trim().parse().unwrap_or(0.0),
        bytes: bytes_in(writes)?,
    })
}

fn bytes_in(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let there = path.symlink_metadata().context("a file went away")?;
        bytes += if there.is_dir() {
            bytes_in(&path)?
        } else {
            there.len()
        };
    }
    Ok(bytes)
}
