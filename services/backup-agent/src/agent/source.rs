//! What is backed up, and where to, as configured.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use stoker_shared::clock::SharedClock;
use stoker_shared::postgres::address;

use super::ofelia;
use crate::Error;
use crate::catalog::Task;
use crate::config::{BackupSettings, Config, SourceSettings};
use crate::manifest::StoreKind;
use crate::repository::{self, Repository, RepositoryError};
use crate::schedule::ofelia::FolderName;
use crate::schedule::{Schedule, Timing};
use crate::store::{Origin, Postgres, Store};
use crate::watch::Watched;

/// A database server that is backed up.
#[derive(Debug, Clone)]
pub struct Source {
    /// As backups name it.
    pub name: String,
    /// The server.
    pub store: Arc<dyn Store>,
    /// Where its backups go.
    pub repository: Arc<dyn Repository>,
    /// How they are named.
    pub folder: FolderName,
    /// How they are made and kept.
    pub settings: BackupSettings,
    /// When they are made.
    pub schedule: Option<Schedule>,
    /// When the newest is restored for proof.
    pub drill_schedule: Option<Schedule>,
}

impl Source {
    /// When runs of a task are; none where only a person has them.
    pub fn timing(&self, task: Task) -> Option<Timing> {
        let schedule = match task {
            Task::Backup => self.schedule.as_ref(),
            Task::Drill => self.drill_schedule.as_ref(),
            _ => None,
        };
        schedule.map(|schedule| self.settings.timing(schedule))
    }

    /// What is looked at to tell how it stands.
    pub(super) fn watched(&self) -> Watched {
        Watched {
            name: self.name.clone(),
            timing: self.timing(Task::Backup),
            is_proven: self.settings.drill || self.drill_schedule.is_some(),
            drill_timing: self.timing(Task::Drill),
        }
    }
}

/// All that is configured.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) sources: BTreeMap<String, Source>,
    pub(super) repositories: BTreeMap<String, Arc<dyn Repository>>,
}

/// Makes what the configuration says. Does no I/O but to read ofelia's file.
pub(super) fn all(config: &Config, clock: &SharedClock) -> Result<Made, Error> {
    let mut made = Made::default();
    if let Some(url) = &config.repository.url {
        made.repository(config, url, clock)?;
    }
    for (name, settings) in &config.sources {
        let source = made.source(config, name, settings, clock)?;
        made.sources.insert(name.clone(), source);
    }
    ofelia::add(config, clock, &mut made)?;
    Ok(made)
}

impl Made {
    fn source(
        &mut self,
        config: &Config,
        name: &str,
        given: &SourceSettings,
        clock: &SharedClock,
    ) -> Result<Source, Error> {
        let missing = |key| Error::Source {
            name: name.to_owned(),
            problem: format!("{key} is not given"),
        };
        let url = given.url.as_ref().ok_or_else(|| missing("url"))?;
        let place = given.repository.as_ref().or(config.repository.url.as_ref());
        let settings = config.backup.of(given);
        let mut address = address::parse(url.expose()).map_err(|e| Error::Source {
            name: name.to_owned(),
            problem: e.to_string(),
        })?;
        if let Some(password) = &given.password {
            address.config.password(password.expose());
        }
        let origin = Origin {
            address,
            password_file: given.password_file.clone(),
            engine: settings.engine,
            stanza: given.stanza.clone().unwrap_or_else(|| name.to_owned()),
            options: settings.options(),
        };
        let canaries = given.canaries.clone();
        let place = place.ok_or_else(|| missing("repository"))?;
        Ok(Source {
            name: name.to_owned(),
            store: Arc::new(Postgres::new(origin, config, canaries, Arc::clone(clock))),
            repository: self.repository(config, place, clock)?,
            folder: usual_name(StoreKind::Postgresql),
            settings,
            schedule: given.schedule.clone(),
            drill_schedule: given.drill_schedule.clone(),
        })
    }

    /// The repository at a place: one for all who use it.
    pub(super) fn repository(
        &mut self,
        config: &Config,
        url: &str,
        clock: &SharedClock,
    ) -> Result<Arc<dyn Repository>, RepositoryError> {
        let opened = repository::open(url, &config.repository.options(), Arc::clone(clock))?;
        Ok(match self.repositories.entry(opened.place()) {
            Entry::Occupied(there) => Arc::clone(there.get()),
            Entry::Vacant(free) => Arc::clone(free.insert(opened)),
        })
    }
}

/// As the seeds name backups: `postgresql_1769860800`.
fn usual_name(kind: StoreKind) -> FolderName {
    FolderName {
        before: format!("{}_", kind.name()),
        after: String::new(),
    }
}
