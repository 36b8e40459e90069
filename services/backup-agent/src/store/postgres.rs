//! PostgreSQL as a store.

use std::fmt::Write as _;
use std::path::PathBuf;

use async_trait::async_trait;
use stoker_shared::clock::SharedClock;
use stoker_shared::postgres::address::Address;
use stoker_shared::secret::{self, SecretError};
use tokio::sync::watch;
use tokio_postgres::config::Host;

use super::progress::{of_backup, of_reading, of_restore, passed_on};
use super::{Captured, Store, StoreError};
use crate::basebackup::{self, Program};
use crate::catalog::Seen;
use crate::config::{Config, DrillSettings, Engine, PgbackrestSettings};
use crate::drill::{self, Canary, DrillError};
use crate::manifest::{Manifest, Proof, StoreKind};
use crate::pgbackrest::{self, PgbackrestError};
use crate::postgres::{self, HowMuch, Options, PostgresError, Source};
use crate::repository::{Draft, Repository, verify_part};
use crate::restore::{self, Order, RestoreError};
use crate::server::{ServerError, User};

/// A PostgreSQL server, or only its backups.
#[derive(Debug)]
pub struct Postgres {
    origin: Option<Origin>,
    drill: DrillSettings,
    pgbackrest: PgbackrestSettings,
    canaries: Vec<Canary>,
    clock: SharedClock,
}

/// A server, and how it is backed up.
#[derive(Debug)]
pub struct Origin {
    /// Its hosts, with user and, where it is known by now, password.
    pub address: Address,
    /// File that holds the password: it may be another for each backup.
    pub password_file: Option<PathBuf>,
    /// What makes its backups.
    pub engine: Engine,
    /// pgBackRest's name of it.
    pub stanza: String,
    /// How.
    pub options: Options,
}

impl Origin {
    fn source(&self) -> Result<Source, SecretError> {
        let source = Source::of(self.address.clone());
        let password = secret::resolve("password", None, self.password_file.as_deref())?;
        Ok(match password {
            Some(password) => source.with_password(password.expose()),
            None => source,
        })
    }
}

impl Postgres {
    /// One that is backed up; `canaries` must hold of its backups.
    pub fn new(origin: Origin, config: &Config, canaries: Vec<Canary>, clock: SharedClock) -> Self {
        Self {
            origin: Some(origin),
            canaries,
            ..Self::of_backups_only(config, clock)
        }
    }

    /// One that is no longer backed up.
    pub fn of_backups_only(config: &Config, clock: SharedClock) -> Self {
        Self {
            origin: None,
            drill: config.drill.clone(),
            pgbackrest: config.pgbackrest.clone(),
            canaries: Vec::new(),
            clock,
        }
    }

    /// By way of the server's own protocol, or of its own program.
    async fn streamed(
        &self,
        origin: &Origin,
        source: &Source,
        draft: &dyn Draft,
        progress: &watch::Sender<postgres::Progress>,
    ) -> Result<postgres::Captured, StoreError> {
        let (options, clock) = (&origin.options, &self.clock);
        if origin.engine == Engine::Native {
            let captured = postgres::capture(source, options, draft, clock, progress);
            return captured.await.map_err(|e| failed(&e));
        }
        let program = Program {
            programs: self.drill.programs.clone(),
            scratch: self.drill.scratch.clone(),
        };
        let captured = basebackup::capture(&program, source, options, draft, clock, progress);
        captured.await.map_err(|e| failed(&e))
    }

    /// By pgBackRest.
    async fn set_made(
        &self,
        origin: &Origin,
        address: &str,
        draft: &dyn Draft,
        seen: &watch::Sender<Seen>,
    ) -> Result<Captured, StoreError> {
        let program = self.pgbackrest.writing().map_err(|e| failed(&e))?;
        let order = pgbackrest::Order {
            stanza: &origin.stanza,
            address,
            fast_checkpoint: origin.options.fast_checkpoint,
            scratch: &self.drill.scratch,
        };
        let captured = pgbackrest::capture(&program, &order, draft, seen).await;
        captured.map_err(|e| failed(&e))
    }

    fn drill_order(&self, backup: &str) -> Result<drill::Order, ServerError> {
        let settings = &self.drill;
        let user = settings.user.as_deref().map(User::parse).transpose()?;
        Ok(drill::Order {
            backup: backup.to_owned(),
            scratch: settings.scratch.clone(),
            programs: settings.programs.clone(),
            user,
            role: settings.role.clone(),
            patience: settings.patience,
            settings: settings.settings.clone(),
            canaries: self.canaries.clone(),
            pgbackrest: self.pgbackrest.reading(),
        })
    }
}

#[async_trait]
impl Store for Postgres {
    fn kind(&self) -> StoreKind {
        StoreKind::Postgresql
    }

    fn address(&self) -> String {
        let origin = self.origin.as_ref();
        origin.map_or_else(String::new, |origin| shown(&origin.address))
    }

    fn engine(&self) -> &'static str {
        self.origin
            .as_ref()
            .map_or("", |origin| origin.engine.name())
    }

    async fn capture(
        &self,
        address: &str,
        draft: &dyn Draft,
        seen: &watch::Sender<Seen>,
    ) -> Result<Captured, StoreError> {
        let Some(origin) = &self.origin else {
            let what = "the configuration names no server of this source";
            return Err(StoreError::Failed(what.to_owned()));
        };
        if origin.engine == Engine::Pgbackrest {
            return self.set_made(origin, address, draft, seen).await;
        }
        let source = origin.source();
        let source = source.map_err(|e| StoreError::Failed(e.to_string()))?;
        let (progress, heard) = watch::channel(postgres::Progress::default());
        let captured = passed_on(
            seen,
            heard,
            of_backup,
            self.streamed(origin, &source, draft, &progress),
        );
        let postgres::Captured { parts, about } = captured.await?;
        Ok(Captured {
            parts,
            about,
            elsewhere: None,
        })
    }

    async fn verify(
        &self,
        repository: &dyn Repository,
        backup: &Manifest,
        sample_percent: Option<u32>,
        seen: &watch::Sender<Seen>,
    ) -> Result<(), StoreError> {
        if let Some(set) = &backup.elsewhere {
            for part in &backup.parts {
                verify_part(repository, &backup.name, part).await?;
            }
            let program = self.pgbackrest.reading();
            let verified = pgbackrest::verify(&program, set).await;
            return verified.map_err(|e| of_set(&e));
        }
        // Another share each time.
        let now = self.clock.now().timestamp_micros().unsigned_abs();
        let how_much = sample_percent.map_or(HowMuch::All, |percent| HowMuch::Sample {
            percent,
            seed: now,
        });
        let (read, heard) = watch::channel(0);
        let reading = postgres::verify(repository, backup, how_much, &read);
        let total = sample_percent.is_none().then(|| backup.stored_bytes());
        let show = |read: &u64| of_reading(*read, total);
        let verified = passed_on(seen, heard, show, reading).await;
        verified.map_err(|e| of_backup_read(&e))
    }

    async fn restore(
        &self,
        repository: &dyn Repository,
        order: &Order,
        seen: &watch::Sender<Seen>,
    ) -> Result<String, StoreError> {
        let order = &Order {
            pgbackrest: self.pgbackrest.reading(),
            ..order.clone()
        };
        let (progress, heard) = watch::channel(restore::Progress::default());
        let restoring = restore::restore(repository, order, &progress);
        let restored = passed_on(seen, heard, of_restore, restoring);
        let restored = restored.await.map_err(|e| of_restoring(&e))?;
        let mut text = format!("PostgreSQL {} in {}", restored.major, order.into.display());
        // Writing to a text cannot fail.
        for (oid, path) in &restored.tablespaces {
            let _ = write!(text, "; tablespace {oid} in {}", path.display());
        }
        if let Some(started) = restored.started {
            let _ = write!(text, "; it answers");
            if let Some(at) = started.consistent_at {
                let _ = write!(text, ", consistent at {at}");
            }
            if started.archives_later {
                let _ = write!(
                    text,
                    "; it archives nothing until it is started anew: give it another archive_command first"
                );
            }
        }
        Ok(text)
    }

    async fn drill(
        &self,
        repository: &dyn Repository,
        backup: &str,
        seen: &watch::Sender<Seen>,
    ) -> Result<Proof, StoreError> {
        let order = self.drill_order(backup);
        let order = order.map_err(|e| StoreError::Failed(e.to_string()))?;
        let (progress, heard) = watch::channel(restore::Progress::default());
        let drilling = drill::drill(repository, &order, &self.clock, &progress);
        let proof = passed_on(seen, heard, of_restore, drilling);
        proof.await.map_err(|error| match error {
            DrillError::Restore(error) => of_restoring(&error),
            other => StoreError::Failed(other.to_string()),
        })
    }

    fn keeps_elsewhere(&self) -> bool {
        let engine = self.origin.as_ref().map(|origin| origin.engine);
        engine == Some(Engine::Pgbackrest)
    }

    async fn tidy(&self, place: &str, known: &[Manifest]) -> Result<Vec<String>, StoreError> {
        let Some(origin) = self.origin.as_ref().filter(|_| self.keeps_elsewhere()) else {
            return Ok(Vec::new());
        };
        let program = self.pgbackrest.writing().map_err(|e| failed(&e))?;
        let tidied = pgbackrest::tidy(&program, &origin.stanza, place, known).await;
        tidied.map_err(|e| failed(&e))
    }
}

/// What goes wrong while a backup is made says nothing of one that is there.
fn failed(error: &dyn std::error::Error) -> StoreError {
    StoreError::Failed(error.to_string())
}

fn of_set(error: &PgbackrestError) -> StoreError {
    if error.is_of_backup() {
        StoreError::Bad(error.to_string())
    } else {
        StoreError::Failed(error.to_string())
    }
}

/// An address as people read it.
fn shown(address: &Address) -> String {
    let config = &address.config;
    let (hosts, ports) = (config.get_hosts(), config.get_ports());
    let host = |(number, host): (usize, &Host)| {
        let name = match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(folder) => folder.display().to_string(),
        };
        let port = ports.get(number).or_else(|| ports.first());
        port.map_or_else(|| name.clone(), |port| format!("{name}:{port}"))
    };
    let mut hosts: Vec<String> = hosts.iter().enumerate().map(host).collect();
    if hosts.is_empty() {
        hosts.push("localhost".to_owned());
    }
    let user = config.get_user().unwrap_or("postgres");
    format!("postgres://{user}@{}", hosts.join(","))
}

fn of_backup_read(error: &PostgresError) -> StoreError {
    if error.is_of_backup() {
        StoreError::Bad(error.to_string())
    } else {
        StoreError::Failed(error.to_string())
    }
}

fn of_restoring(error: &RestoreError) -> StoreError {
    if error.is_of_backup() {
        StoreError::Bad(error.to_string())
    } else {
        StoreError::Failed(error.to_string())
    }
}
