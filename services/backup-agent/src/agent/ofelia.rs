//! Jobs of the scheduler ofelia as sources.

use std::sync::Arc;

use stoker_shared::clock::SharedClock;

use super::source::{Made, Source};
use crate::Error;
use crate::compress::Compression;
use crate::config::{BackupSettings, Config, Engine};
use crate::schedule::ofelia::{self, Around, Method, NativeJob, Read, Rest};
use crate::store::{Origin, Postgres};

/// What is to become of the file's jobs; none where no file is configured.
pub fn ofelia_jobs(config: &Config) -> Result<Option<Read>, Error> {
    let Some(file) = &config.ofelia.file else {
        return Ok(None);
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
    let read = ofelia::read(&text, &around);
    read.map(Some).map_err(|e| unusable(e.to_string()))
}

/// Adds what of the file can be done; what cannot is told in the log, with the reason.
pub(super) fn add(config: &Config, clock: &SharedClock, made: &mut Made) -> Result<(), Error> {
    let Some(read) = ofelia_jobs(config)? else {
        return Ok(());
    };
    let mut not_done = read.rest;
    for job in read.native {
        match source(config, clock, made, &job) {
            Ok(source) => {
                for note in &job.notes {
                    tracing::info!(job = job.name, "{note}");
                }
                made.sources.insert(job.name.clone(), source);
            }
            Err(reason) => not_done.push(Rest {
                name: job.name,
                line: job.line,
                reason,
            }),
        }
    }
    for rest in &not_done {
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
        address: job.address()?,
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
