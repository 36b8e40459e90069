//! Base backups by PostgreSQL's own program `pg_basebackup`, where its way of doing it is wanted.
//!
//! It can write into files only, so it writes into a scratch folder; the files are then looked at and copied as in an
//! import. That takes room for the whole backup there, and time for writing it twice.
//!
//! Died at any time: the draft is no backup, and what is left in the scratch folder, the program included, is ended and
//! taken away by [`crate::drill::clean`] with the same folder.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use stoker_shared::clock::SharedClock;
use tokio::process::Command;
use tokio::sync::watch;

use crate::compress::Compression;
use crate::drill::DrillError;
use crate::drill::throwaway::{self, Throwaway};
use crate::import::{self, ImportError};
use crate::postgres::{ArchiveProgress, Captured, Options, PostgresError, Progress, Source};
use crate::repository::Draft;
use crate::server::Programs;

/// The program, as found in `PATH`, and what manifests name as the engine.
pub const ENGINE: &str = "pg_basebackup";

/// The folder below the scratch folder's own that it writes into.
const INTO: &str = "backup";

/// How often its files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Where the program is and writes to.
#[derive(Debug, Clone)]
pub struct Program {
    /// The folder with PostgreSQL's programs; none means that they are looked for.
    pub programs: Option<PathBuf>,
    /// Where it writes: as much room as the backup takes.
    pub scratch: PathBuf,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BasebackupError {
    /// The server cannot be used.
    #[error(transparent)]
    Server(#[from] PostgresError),
    /// The scratch folder cannot be used.
    #[error(transparent)]
    Scratch(#[from] DrillError),
    /// The program could not be run.
    #[error("{}: cannot be run: {source}; install PostgreSQL's client programs, or say where they are", program.display())]
    Run {
        /// Its path.
        program: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The program failed.
    #[error("{}: {status}: {said}", program.display())]
    Failed {
        /// Its path.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        said: String,
    },
    /// What it wrote is not whole, or could not be copied.
    #[error(transparent)]
    Copy(#[from] ImportError),
}

/// Backs up the primary. All parts are finished when this ends well; the draft is the caller's to commit or abandon.
/// `threads` are for zstd.
pub async fn capture(
    program: &Program,
    source: &Source,
    options: &Options,
    draft: &dyn Draft,
    clock: &SharedClock,
    progress: &watch::Sender<Progress>,
) -> Result<Captured, BasebackupError> {
    let primary = source.primary().await?;
    let path = program.path(primary.client.major());
    let scratch = program.scratch.clone();
    let room = throwaway::on_disk(&program.scratch, move || {
        throwaway::clean(&scratch)?;
        Throwaway::make(&scratch, None)
    })
    .await?;
    let mut command = Command::new(&path);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        // Where libpq looks for certificates.
        .env("HOME", std::env::var_os("HOME").unwrap_or_default())
        .env("LC_ALL", "C")
        .arg("-d")
        .arg(source.conninfo(&primary))
        .args(["-w", "-F", "tar", "-X", "stream", "-D"])
        .arg(room.folder().join(INTO))
        .args(arguments(options));
    if let Some(password) = source.password() {
        command.env("PGPASSWORD", OsStr::from_bytes(password));
    }
    drop(primary);
    run(&path, command, &room.folder().join(INTO), progress).await?;
    let read = watch::Sender::new(0);
    let copied = import::copy(room.folder(), INTO, draft, clock, &read).await;
    throwaway::on_disk(&program.scratch, move || room.take_away()).await?;
    let (parts, about) = copied?;
    Ok(Captured { parts, about })
}

impl Program {
    fn path(&self, major: u32) -> PathBuf {
        match (&self.programs, Programs::find(None, major)) {
            (Some(folder), _) => folder.join(ENGINE),
            (None, Ok(programs)) if programs.has(ENGINE) => programs.path(ENGINE),
            // Clients come without a server.
            (None, _) => PathBuf::from(ENGINE),
        }
    }
}

fn arguments(options: &Options) -> Vec<String> {
    let checkpoint = if options.fast_checkpoint {
        "fast"
    } else {
        "spread"
    };
    let mut arguments = vec![
        format!("--checkpoint={checkpoint}"),
        format!("--manifest-checksums={}", options.checksums),
    ];
    arguments.extend(
        options
            .max_rate_kb
            .map(|rate| format!("--max-rate={rate}k")),
    );
    arguments.extend(match (options.server_compression, options.compression) {
        (Some(way), _) => way
            .detail()
            .map(|detail| format!("--compress=server-{}:{detail}", way.name())),
        (None, Compression::None) => None,
        // The form that 14 knows too.
        (None, Compression::Gzip(level)) => Some(format!("--compress={level}")),
        (None, Compression::Zstd(level)) => {
            let threads = options.threads.max(1);
            Some(format!(
                "--compress=client-zstd:level={level},workers={threads}"
            ))
        }
    });
    arguments
}

/// Runs it to its end, and tells how large its files are meanwhile. It is ended where this is given up.
async fn run(
    program: &Path,
    mut command: Command,
    into: &Path,
    progress: &watch::Sender<Progress>,
) -> Result<(), BasebackupError> {
    let run = |source| BasebackupError::Run {
        program: program.to_owned(),
        source,
    };
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let child = command.kill_on_drop(true).spawn().map_err(run)?;
    let ended = child.wait_with_output();
    tokio::pin!(ended);
    let mut look = tokio::time::interval(LOOK);
    let ended = loop {
        tokio::select! {
            ended = &mut ended => break ended.map_err(run)?,
            _ = look.tick() => progress.send_replace(written(into)),
        };
    };
    if ended.status.success() {
        return Ok(());
    }
    Err(BasebackupError::Failed {
        program: program.to_owned(),
        status: ended.status,
        said: String::from_utf8_lossy(&ended.stderr).trim().to_owned(),
    })
}

/// What is there by now; how much it will be is not known.
fn written(into: &Path) -> Progress {
    let entries = std::fs::read_dir(into).into_iter().flatten().flatten();
    let archives = entries.map(|entry| ArchiveProgress {
        name: entry.file_name().to_string_lossy().into_owned(),
        received: entry.metadata().map_or(0, |file| file.len()),
        estimated: 0,
    });
    Progress {
        archives: archives.collect(),
    }
}
