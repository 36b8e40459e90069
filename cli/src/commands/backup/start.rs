//! What takes its time: backups, restores for proof, and taking in what others made.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use backup_agent::Config;
use backup_agent::compress::Compression;
use backup_agent::config::SourceSettings;
use serde_json::Map;
use stoker_proto::backup::v1::{
    Run, StartBackupRequest, StartDrillRequest, StartImportRequest, Task,
};
use stoker_shared::postgres::PostgresUrl;
use tonic::Status;

use super::ended::{Ended, Ending};
use super::place::{PlaceArgs, sentence};
use super::session::Session;
use super::show::{backup_to_json, raw, sizes, state};
use super::units::{between, rate};
use super::verify::of_run;
use super::{Which, ask, follow};
use crate::Global;
use crate::output::Output;

/// What is backed up, and how.
#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    /// The source, as the configuration names it [default: the only one]
    #[arg(value_name = "SOURCE", conflicts_with_all = ["source", "name"])]
    configured: Option<String>,
    /// A source that the configuration does not name: postgres://user@host:5432, or several hosts of which one is the
    /// primary; the user needs the right REPLICATION
    #[arg(long, value_name = "URL")]
    source: Option<PostgresUrl>,
    /// File that holds its user's password
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// What its backups are known by [default: the name of the host]
    #[arg(long, value_name = "NAME", requires = "source")]
    name: Option<String>,
    /// none, gzip or zstd, with a level such as zstd:3 [default: none]
    #[arg(long, value_name = "HOW")]
    compression: Option<Compression>,
    /// Kilobytes that the server sends in a second, at most [default: as it can]
    #[arg(long, value_name = "KB", value_parser = clap::value_parser!(u32).range(32..=1_048_576))]
    max_rate: Option<u32>,
    /// Have the server begin at its next checkpoint, not at once
    #[arg(long)]
    spread_checkpoint: bool,
    /// Do not read the backup back once it is made
    #[arg(long)]
    no_verify: bool,
    /// Restore it for proof once it is made
    #[arg(long)]
    drill: bool,
}

impl RunArgs {
    /// Only what an agent elsewhere can be told.
    fn check_elsewhere(&self) -> anyhow::Result<()> {
        let settles = self.source.is_some()
            || self.password_file.is_some()
            || self.compression.is_some()
            || self.max_rate.is_some();
        if settles || self.spread_checkpoint || self.no_verify || self.drill {
            bail!(
                "an agent elsewhere backs up as its configuration says; with --server name only the source"
            );
        }
        Ok(())
    }

    /// Lays the flags over the configuration; answers the source's name, which is empty for the only one.
    fn lay_over(&self, config: &mut Config) -> anyhow::Result<String> {
        let name = match (&self.source, &self.configured) {
            (Some(url), _) => self.put(url, config)?,
            (None, Some(name)) => name.clone(),
            (None, None) => match config.sources.len() {
                1 => config.sources.keys().next().cloned().unwrap_or_default(),
                _ => bail!(
                    "which source? Name one that the configuration names, or give --source postgres://user@host:5432"
                ),
            },
        };
        let source = config.sources.get_mut(&name).with_context(|| {
            format!("no source {name} is configured; check the name, or give --source URL")
        })?;
        if self.password_file.is_some() {
            source.password_file.clone_from(&self.password_file);
        }
        source.compression = self.compression.or(source.compression);
        source.max_rate_kb = self.max_rate.or(source.max_rate_kb);
        for (given, to, value) in [
            (self.spread_checkpoint, &mut source.fast_checkpoint, false),
            (self.no_verify, &mut source.verify, false),
            (self.drill, &mut source.drill, true),
        ] {
            if given {
                *to = Some(value);
            }
        }
        Ok(name)
    }

    fn put(&self, url: &PostgresUrl, config: &mut Config) -> anyhow::Result<String> {
        if config.repository.url.is_none() {
            bail!("name where the backup is to go with --repository FOLDER or s3://bucket/prefix");
        }
        let name = self.name.clone().or_else(|| host_of(url));
        let name = name.unwrap_or_else(|| "postgresql".to_owned());
        if config.sources.contains_key(&name) {
            bail!(
                "{name} is a source of the configuration; give another --name, or `stoker backup run {name}`"
            );
        }
        let source = SourceSettings {
            url: Some(url.clone()),
            ..SourceSettings::default()
        };
        config.sources.insert(name.clone(), source);
        Ok(name)
    }
}

/// The first host of an address; none for a socket.
fn host_of(url: &PostgresUrl) -> Option<String> {
    let (_, rest) = url.expose().split_once("://")?;
    let hosts = rest.split(['/', '?']).next()?;
    let first = hosts.rsplit('@').next()?.split(',').next()?;
    let name = first.rsplit_once(':').map_or(first, |(host, _)| host);
    let plain = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c));
    (plain && !name.is_empty()).then(|| name.to_owned())
}

/// Restoring one for proof.
#[derive(Debug, clap::Args)]
pub(super) struct DrillArgs {
    #[command(flatten)]
    pub(super) which: Which,
    /// The folder with the server's programs [default: where the system has them]
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
    /// Where the throwaway server lies, which takes as much room as the database [default: /var/tmp/stoker-drills]
    #[arg(long, value_name = "FOLDER")]
    scratch: Option<PathBuf>,
}

/// What is taken in.
#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// The folder or file; one in the repository stays where it is
    path: PathBuf,
    /// What it is of, as the configuration names it or as it is to be known by
    #[arg(long, value_name = "NAME")]
    source: String,
}

pub(super) async fn backup(
    args: RunArgs,
    place: &PlaceArgs,
    global: &Global,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    if place.is_elsewhere() {
        args.check_elsewhere()?;
    }
    let mut source = args.configured.clone().unwrap_or_default();
    let lay = |config: &mut Config| {
        source = args.lay_over(config)?;
        Ok(())
    };
    let session = Session::open(place, global, lay).await?;
    let code = back_up(&session, source, global, output).await;
    session.close().await;
    code
}

async fn back_up(
    session: &Session,
    source: String,
    global: &Global,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let answer = session
        .client()
        .start_backup(StartBackupRequest { source })
        .await;
    let run = answer.map(|answer| answer.into_inner().run);
    about_one(session, run, global, output).await
}

pub(super) async fn drill(
    args: DrillArgs,
    place: &PlaceArgs,
    global: &Global,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    if place.is_elsewhere() && (args.programs.is_some() || args.scratch.is_some()) {
        bail!(
            "an agent elsewhere has programs and room as its configuration says; leave out --programs and --scratch"
        );
    }
    let backup = args.which.to_ref();
    let lay = |config: &mut Config| {
        if let Some(folder) = &args.programs {
            config.drill.programs = Some(std::path::absolute(folder)?);
        }
        if let Some(folder) = &args.scratch {
            config.drill.scratch = std::path::absolute(folder)?;
        }
        Ok(())
    };
    let session = Session::open(place, global, lay).await?;
    let request = StartDrillRequest {
        backup: Some(backup),
    };
    let answer = session.client().start_drill(request).await;
    let run = answer.map(|answer| answer.into_inner().run);
    let code = about_one(&session, run, global, output).await;
    session.close().await;
    code
}

pub(super) async fn import(
    session: &Session,
    args: ImportArgs,
    global: &Global,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let request = StartImportRequest {
        path: full_path(&args.path, session)?,
        source: args.source,
    };
    let answer = session.client().start_import(request).await;
    let run = answer.map(|answer| answer.into_inner().run);
    about_one(session, run, global, output).await
}

/// As the agent's machine knows it.
pub(super) fn full_path(path: &std::path::Path, session: &Session) -> anyhow::Result<String> {
    if !session.is_here() && !path.is_absolute() {
        bail!(
            "{}: with --server give the full path, as it is on the agent's machine",
            path.display()
        );
    }
    let path = std::path::absolute(path).with_context(|| path.display().to_string())?;
    let text = path.to_str().with_context(|| {
        format!(
            "{}: its name is no Unicode; give it another",
            path.display()
        )
    })?;
    Ok(text.to_owned())
}

/// Follows a run to its end, and tells of the backup that it was about.
async fn about_one(
    session: &Session,
    run: Result<Option<Run>, Status>,
    global: &Global,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let ended = follow::to_end(session, run.map_err(sentence)?, global, output).await?;
    let is_there = match ended.ending {
        Ending::Done => true,
        // What is bad is not taken in.
        Ending::FoundBad => ended.run.task() != Task::Import,
        Ending::Failed | Ending::Interrupted => false,
    };
    if !is_there {
        return ended.tell(session, Map::new(), String::new, output);
    }
    let backup = ask::backup(session, of_run(&ended)).await?;
    let more = Map::from_iter([("backup".to_owned(), backup_to_json(&backup))]);
    let text = || {
        let speed = rate(raw(&backup), between(backup.started, backup.ended));
        let head = format!(
            "{} of {}, in {}\n",
            backup.name, backup.source, backup.place
        );
        let made = if is_made_now(&ended) {
            format!("rate        {speed}\n")
        } else {
            String::new()
        };
        [head, sizes(&backup), made, state(&backup)].concat()
    };
    ended.tell(session, more, text, output)
}

fn is_made_now(ended: &Ended) -> bool {
    ended.run.task() == Task::Backup
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_known_by_its_host() {
        for (url, expected) in [
            ("postgres://me:se@cret@db:5432/x", Some("db")),
            (
                "postgres://me@db1.example.org,db2:5432",
                Some("db1.example.org"),
            ),
            ("postgres:///x?host=/run/postgresql", None),
            ("postgres://[::1]:5432", None),
        ] {
            let found = host_of(&url.parse().unwrap());
            assert_eq!(found.as_deref(), expected, "{url}");
        }
    }
}
