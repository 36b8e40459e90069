//! What is measured in a process of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use backup_agent::compress::Compression;
use backup_agent::drill;
use backup_agent::manifest::{Manifest, StoreKind, VERSION};
use backup_agent::postgres::{Options, Source, capture};
use backup_agent::repository::{self, RepositoryOptions};
use clap::Subcommand;
use stoker_shared::clock::{SharedClock, SystemClock};
use tokio::sync::watch;

use crate::run::own_peak_mb;

/// The backup's name.
const NAME: &str = "postgresql_1";

/// What a process of its own does.
#[derive(Debug, Subcommand)]
pub enum Work {
    /// Backs up a server
    Capture {
        /// Its URL
        #[arg(long)]
        from: String,
        /// The repository
        #[arg(long)]
        into: String,
        /// The level of zstd; not compressed without it
        #[arg(long)]
        zstd: Option<u8>,
    },
    /// Restores the backup of a repository for proof
    Drill {
        /// The repository
        #[arg(long)]
        from: String,
        /// Where it is restored
        #[arg(long)]
        scratch: PathBuf,
    },
}

impl Work {
    /// Does it; prints the most memory, in MB, that this process held at once.
    #[expect(clippy::print_stdout, reason = "read by the process that measures")]
    pub async fn run(self) -> anyhow::Result<()> {
        let clock: SharedClock = Arc::new(SystemClock);
        match self {
            Self::Capture { from, into, zstd } => {
                let compression = zstd.map_or(Compression::None, Compression::Zstd);
                back_up(&from, &into, compression, &clock).await?;
            }
            Self::Drill { from, scratch } => prove(&from, scratch, &clock).await?,
        }
        println!("{}", own_peak_mb()?);
        Ok(())
    }
}

async fn back_up(
    from: &str,
    into: &str,
    compression: Compression,
    clock: &SharedClock,
) -> anyhow::Result<()> {
    let repository = repository::open(into, &RepositoryOptions::default(), Arc::clone(clock))?;
    let options = Options {
        compression,
        ..Options::default()
    };
    let started = clock.now();
    let draft = repository.begin(NAME).await?;
    let progress = watch::Sender::default();
    let source = Source::parse(from)?;
    let captured = capture(&source, &options, &*draft, clock, &progress).await?;
    let manifest = Manifest {
        manifest_version: VERSION,
        name: NAME.to_owned(),
        store: StoreKind::Postgresql,
        source: "bench".to_owned(),
        engine: "native".to_owned(),
        started,
        ended: clock.now(),
        parts: captured.parts,
        about: captured.about,
        elsewhere: None,
        parent: None,
        verified: None,
        proof: None,
    };
    Ok(draft.commit(&manifest).await?)
}

async fn prove(from: &str, scratch: PathBuf, clock: &SharedClock) -> anyhow::Result<()> {
    let repository = repository::open(from, &RepositoryOptions::default(), Arc::clone(clock))?;
    let order = drill::Order {
        backup: NAME.to_owned(),
        scratch,
        programs: None,
        user: None,
        role: "postgres".to_owned(),
        patience: Duration::from_mins(1),
        settings: std::collections::BTreeMap::new(),
        canaries: Vec::new(),
        pgbackrest: backup_agent::pgbackrest::Program::default(),
    };
    let progress = watch::Sender::default();
    let proof = drill::drill(&*repository, &order, clock, &progress).await?;
    ensure!(proof.good, "the backup is not proven: {:?}", proof.checks);
    Ok(())
}
