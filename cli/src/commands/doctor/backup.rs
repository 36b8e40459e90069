//! What the backup-agent uses: its catalog, repositories, the servers that it backs up, and programs for drills.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use backup_agent::Config;
use backup_agent::agent::ofelia_jobs;
use backup_agent::config::{CatalogSettings, SourceSettings};
use backup_agent::postgres::Source;
use backup_agent::repository::{self, Repository, RepositoryError};
use backup_agent::schedule::ofelia::NativeJob;
use backup_agent::server::Programs;
use bytes::Bytes;
use stoker_shared::clock::SystemClock;
use stoker_shared::store::PostgresOptions;

use super::Check;
use super::finding::{Finding, in_time};
use super::runs::look;
use crate::commands::backup::keep_catalog;
use crate::output::one_sentence;

const WHAT: &str = "backup-agent";
const CATALOG: &str = "backup catalog";
const SOURCE: &str = "backup source";
const OFELIA: &str = "ofelia's file";

/// Of what the doctor writes to see whether it may. No backup has such a name, and it is never committed.
const PROBE: &str = "doctor_0";

/// None where the configuration has faults.
pub(super) fn checks(config: Option<Config>) -> Vec<Check> {
    let Some(mut config) = config else {
        return vec![Check::known(Finding::none(WHAT, false, "", ""))];
    };
    if config.is_blank() {
        let to_do = "to back up PostgreSQL, set repository.url and sources of backup_agent";
        let finding = Finding::none(WHAT, true, "not configured", to_do);
        return vec![Check::known(finding)];
    }
    if let Err(error) = keep_catalog(&mut config) {
        return vec![Check::known(Finding::error(CATALOG, one_sentence(&error)))];
    }
    let mut checks = vec![Check::new(CATALOG, catalog(config.catalog.clone()))];
    let jobs = jobs(&config, &mut checks);
    for place in places(&config, &jobs) {
        let what = format!("backup repository {place}");
        let options = config.repository.options();
        let opened = repository::open(&place, &options, Arc::new(SystemClock));
        checks.push(match opened {
            Ok(repository) => Check::new(&what, is_usable(what.clone(), repository)),
            Err(error) => Check::known(Finding::error(&what, error)),
        });
    }
    let programs = config.drill.programs.as_deref();
    let named = config.sources.iter();
    let named = named.map(|(name, settings)| (name, of_settings(name, settings)));
    let of_jobs = jobs.iter().map(|job| (&job.name, of_job(job)));
    for (name, source) in named.chain(of_jobs) {
        let what = format!("{SOURCE} {name}");
        let looking = server(what.clone(), source, programs.map(Path::to_owned));
        checks.push(Check::new(&what, looking));
    }
    checks
}

/// What of ofelia's file the agent does; what it does not is told.
fn jobs(config: &Config, checks: &mut Vec<Check>) -> Vec<NativeJob> {
    let read = match ofelia_jobs(config) {
        Ok(read) => read,
        Err(error) => {
            checks.push(Check::known(Finding::error(OFELIA, error)));
            None
        }
    };
    let Some(read) = read else {
        return Vec::new();
    };
    for rest in read.rest {
        let what = format!("{OFELIA}, {} (line {})", rest.name, rest.line);
        let to_do = "have ofelia go on with it, or change it";
        checks.push(Check::known(Finding::warn(&what, rest.reason, to_do)));
    }
    read.native
}

fn of_settings(name: &str, settings: &SourceSettings) -> anyhow::Result<Source> {
    let url = settings.url.as_ref().map_or("", |url| url.expose());
    let source = Source::parse(url)?;
    Ok(match settings.password(name)? {
        Some(password) => source.with_password(password.expose()),
        None => source,
    })
}

fn of_job(job: &NativeJob) -> anyhow::Result<Source> {
    Ok(Source::of(job.address().map_err(anyhow::Error::msg)?))
}

async fn catalog(settings: CatalogSettings) -> Vec<Finding> {
    let options = PostgresOptions {
        schema: settings.schema.clone(),
        // Found to be readable when the configuration was read.
        password: settings.password().ok().flatten(),
        password_file: None,
        connections: settings.connections,
    };
    let none_yet = "none yet; the first backup makes it";
    let finding = match in_time(CATALOG, look(settings.url, &options, none_yet)).await {
        Err(late) => return late,
        Ok(Ok(detail)) => Finding::ok(CATALOG, detail),
        Ok(Err(error)) => Finding::error(CATALOG, error),
    };
    vec![finding]
}

/// All repositories, each once.
fn places(config: &Config, jobs: &[NativeJob]) -> BTreeSet<String> {
    let own = config.sources.values();
    let own = own.filter_map(|source| source.repository.clone());
    let of_jobs = jobs.iter().map(|job| job.repository.display().to_string());
    own.chain(of_jobs)
        .chain(config.repository.url.clone())
        .collect()
}

async fn is_usable(what: String, repository: Arc<dyn Repository>) -> Vec<Finding> {
    let place = repository.place();
    if place.starts_with('/') && !Path::new(&place).exists() {
        let detail = "the folder is not there yet; the first backup makes it";
        let to_do = "check the name, and that what it lies on is mounted";
        return vec![Finding::warn(&what, detail, to_do)];
    }
    let finding = match in_time(&what, write_a_little(&*repository)).await {
        Err(late) => return late,
        Ok(Err(error)) => Finding::error(&what, error),
        Ok(Ok(backups)) => Finding::ok(
            &what,
            format!("can be read and written, holds {backups} backups"),
        ),
    };
    vec![finding]
}

/// Answers how many backups there are.
async fn write_a_little(repository: &dyn Repository) -> Result<usize, RepositoryError> {
    let names = repository.names().await?;
    let draft = repository.begin(PROBE).await?;
    let written = async {
        let mut part = draft.part("probe").await?;
        part.write(Bytes::from_static(b"probe")).await?;
        part.finish().await
    };
    let written = written.await;
    draft.abandon().await?;
    written?;
    Ok(names.len())
}

/// The primary, with the right to replicate; and whether its backups can be restored for proof here.
async fn server(
    what: String,
    source: anyhow::Result<Source>,
    programs: Option<PathBuf>,
) -> Vec<Finding> {
    let found = match in_time(&what, primary(source)).await {
        Err(late) => return late,
        Ok(found) => found,
    };
    let (place, version, major) = match found {
        Err(error) => return vec![Finding::error(&what, one_sentence(&error))],
        Ok(found) => found,
    };
    let detail = format!("{place}, PostgreSQL {version}, the primary, and it lets us replicate");
    let mut findings = vec![Finding::ok(&what, detail)];
    let proof = format!("{what}, drills");
    findings.push(match Programs::find(programs.as_deref(), major) {
        Ok(found) if found.has("pg_amcheck") => {
            Finding::ok(&proof, format!("programs of PostgreSQL {major} are here"))
        }
        Ok(_) => Finding::warn(
            &proof,
            "pg_amcheck is not here",
            "install PostgreSQL's client programs",
        ),
        Err(error) => Finding::warn(&proof, error, "without them backups are not proven here"),
    });
    findings
}

async fn primary(source: anyhow::Result<Source>) -> anyhow::Result<(String, String, u32)> {
    let primary = source?.primary().await?;
    let client = &primary.client;
    Ok((
        client.place().to_owned(),
        client.version().to_owned(),
        client.major(),
    ))
}
