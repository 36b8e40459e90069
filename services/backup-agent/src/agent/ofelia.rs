//! Jobs of the scheduler ofelia as sources.

use std::sync::Arc;

use stoker_shared::clock::SharedClock;
use stoker_shared::postgres::address::{self, Address, Security};
use tokio_postgres::Config as PostgresConfig;

use super::source::{Made, Source};
use crate::Error;
use crate::compress::Compression;
use crate::config::{BackupSettings, Config, Engine};
use crate::schedule::ofelia::{self, Around, Method, NativeJob, Rest};
use crate::store::{Origin, Postgres};

/// Adds what of the file can be done; what cannot is listed with the reason.
pub(super) fn add(config: &Config, clock: &SharedClock, made: &mut Made) -> Result<(), Error> {
    let Some(file) = &config.ofelia.file else {
        return Ok(());
    };
    let unusable = |problem: String| Error::Ofelia {
        file: file.clone(),
        problem,
    };
    let text = std::fs::read_to_string(file).map_err(|e| unusable(e.to_string()))?;
    let values = config.ofelia.variables.iter();
    let around = Around {
        variables: values
            .map(|(name, value)| (name.clone(), value.expose().to_owned()))
            .collect(),
        paths: config.ofelia.paths.clone(),
    };
    let read = ofelia::read(&text, &around).map_err(|e| unusable(e.to_string()))?;
    made.rest = read.rest;
    for job in read.native {
        match source(config, clock, made, &job) {
            Ok(source) => {
                for note in &job.notes {
                    tracing::info!(job = job.name, "{note}");
                }
                made.sources.insert(job.name.clone(), source);
            }
            Err(reason) => made.rest.push(Rest {
                name: job.name,
                line: job.line,
                reason,
            }),
        }
    }
    for rest in &made.rest {
        let reason = &rest.reason;
        tracing::warn!(
            job = rest.name,
            line = rest.line,
            "not done by Stoker: {reason}"
        );
    }
    Ok(())
}

fn source(
    config: &Config,
    clock: &SharedClock,
    made: &mut Made,
    job: &NativeJob,
) -> Result<Source, String> {
    if made.sources.contains_key(&job.name) {
        return Err("another source has its name; give one of them another".to_owned());
    }
    let settings = settings(&config.backup, job);
    let origin = Origin {
        address: address(job)?,
        password_file: None,
        engine: settings.engine,
        stanza: job.name.clone(),
        options: settings.options(),
    };
    let place = job.repository.display().to_string();
    let repository = made.repository(config, &place, clock);
    Ok(Source {
        name: job.name.clone(),
        store: Arc::new(Postgres::new(origin, config, Vec::new(), Arc::clone(clock))),
        repository: repository.map_err(|e| e.to_string())?,
        folder: job.folder.clone(),
        settings,
        schedule: Some(job.schedule.clone()),
        drill_schedule: None,
    })
}

fn settings(defaults: &BackupSettings, job: &NativeJob) -> BackupSettings {
    let level = |usual: u8| {
        let given = job
            .compression
            .level
            .and_then(|level| u8::try_from(level).ok());
        given.unwrap_or(usual)
    };
    BackupSettings {
        engine: Engine::Native,
        compression: match job.compression.method {
            Method::None => Compression::None,
            Method::Gzip => Compression::Gzip(level(6).clamp(1, 9)),
            Method::Zstd => Compression::Zstd(level(3).clamp(1, 19)),
        },
        server_compression: false,
        max_rate_kb: job.max_rate_kb,
        fast_checkpoint: job.fast_checkpoint,
        ..defaults.clone()
    }
}

/// The server, as libpq would find it.
fn address(job: &NativeJob) -> Result<Address, String> {
    let text = job.connection.as_ref().map_or("", |text| text.expose());
    let mut address = if text.contains("://") {
        address::parse(text).map_err(|e| e.to_string())?
    } else {
        // The library's error may show what it could not read.
        let config: Result<PostgresConfig, _> = text.parse();
        let unusable = |_| {
            "its connection string (-d) has a parameter that is not known here; \
                            write it as a postgres:// URL"
                .to_owned()
        };
        Address {
            config: config.map_err(unusable)?,
            security: Security::default(),
        }
    };
    // What the connection string says goes before the other options, as pg_basebackup has it.
    let config = &mut address.config;
    if let Some(host) = job.host.as_ref().filter(|_| config.get_hosts().is_empty()) {
        config.host(host);
    }
    if let Some(port) = job.port.filter(|_| config.get_ports().is_empty()) {
        config.port(port);
    }
    if let Some(user) = job.user.as_ref().filter(|_| config.get_user().is_none()) {
        config.user(user);
    }
    let password = job.password.as_ref();
    if let Some(password) = password.filter(|_| config.get_password().is_none()) {
        config.password(password.expose());
    }
    Ok(address)
}
