//! Which jobs Stoker does by itself.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::Serialize;
use stoker_shared::secret::Secret;

use super::super::BadSchedule;
use super::basebackup::{self, Asked};
use super::ini::Section;
use super::{Around, NativeJob, shell};

const EPOCH: &str = "$(date +%s)";
const SHELLS: [&str; 6] = ["sh", "/bin/sh", "bash", "/bin/bash", "ash", "dash"];

/// How the folders of backups are named: by the seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FolderName {
    /// Before the seconds, such as `postgresql_`.
    pub before: String,
    /// After them.
    pub after: String,
}

impl FolderName {
    /// The name of a backup that begins then.
    pub fn at(&self, time: DateTime<Utc>) -> String {
        format!("{}{}{}", self.before, time.timestamp(), self.after)
    }
}

/// Fails with the reason why Stoker does not.
pub(super) fn recognised(section: &Section, around: &Around) -> Result<NativeJob, String> {
    check_kind(&section.kind)?;
    let given = |key: &str| section.value(key).ok_or(format!("it has no {key}"));
    let (asked, found) = command(given("command")?, variables(section, around)?)?;
    let text = shell::expand(given("schedule")?, &around.variables)?;
    let (repository, folder) = place(&asked.folder, section, around)?;
    let of = |name: &str| found.get(name).cloned();
    let port = asked.port.or(of("PGPORT"));
    let port = port.map(|port| port.parse().map_err(|_| format!("{port} is no port")));
    Ok(NativeJob {
        name: section.name.clone(),
        line: section.line,
        schedule: text.parse().map_err(|e: BadSchedule| e.to_string())?,
        host: asked.host.or(of("PGHOST")),
        port: port.transpose()?,
        user: asked.user.or(of("PGUSER")),
        connection: asked.connection.map(Secret::from),
        password: of("PGPASSWORD").map(Secret::from),
        repository,
        folder,
        compression: asked.compression,
        max_rate_kb: asked.max_rate_kb,
        fast_checkpoint: asked.fast_checkpoint,
        notes: notes(section, &text),
    })
}

fn check_kind(kind: &str) -> Result<(), String> {
    match kind {
        "job-run" | "job-local" => Ok(()),
        "job-exec" | "job-service-run" => Err(format!(
            "it is a {kind}, of which the file does not say where its folders are on the host; make it a job-run with volume="
        )),
        "global" => {
            Err("it holds ofelia's own settings; Stoker's are in its configuration".to_owned())
        }
        kind => Err(format!("{kind} is not known")),
    }
}

/// Of the file, and of the job's own environment.
fn variables(section: &Section, around: &Around) -> Result<BTreeMap<String, String>, String> {
    let mut variables = around.variables.clone();
    for entry in section.values("environment") {
        let entry = shell::expand(entry, &around.variables)?;
        if let Some((name, value)) = entry.split_once('=') {
            variables.insert(name.to_owned(), value.to_owned());
        }
    }
    Ok(variables)
}

/// What is asked of pg_basebackup, and the variables it finds.
fn command(
    text: &str,
    mut variables: BTreeMap<String, String>,
) -> Result<(Asked, BTreeMap<String, String>), String> {
    let mut words = words(text)?;
    let assignments = words.iter().take_while(|word| is_assignment(word)).count();
    let assignments: Vec<String> = words.drain(..assignments).collect();
    let program = words.first().map(String::as_str).unwrap_or_default();
    check_program(program)?;
    for word in assignments {
        let word = shell::expand(&word, &variables)?;
        variables.extend(split(&word));
    }
    let options = words
        .iter()
        .skip(1)
        .map(|word| shell::expand(word, &variables));
    let options: Vec<String> = options.collect::<Result<_, _>>()?;
    Ok((basebackup::read(&options)?, variables))
}

/// Those of a command, also where a shell is told to run it. Variables are put in later, so that what they hold is
/// never taken for more words.
fn words(text: &str) -> Result<Vec<String>, String> {
    let several = || "it is a script of several commands, or redirects their output".to_owned();
    let words = shell::words(text).ok_or_else(several)?;
    match &words[..] {
        [shell, option, script]
            if SHELLS.contains(&shell.as_str())
                && option.starts_with('-')
                && option.ends_with('c') =>
        {
            shell::words(script).ok_or_else(several)
        }
        _ => Ok(words),
    }
}

fn is_assignment(word: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let name = word.split_once('=').map(|(name, _)| name);
    name.is_some_and(|name| !name.is_empty() && name.bytes().all(is_part))
}

fn check_program(program: &str) -> Result<(), String> {
    match program.rsplit('/').next() {
        Some("pg_basebackup") => Ok(()),
        Some("mongodump") => {
            Err("it is a backup of MongoDB, which Stoker does not make yet".to_owned())
        }
        Some("pg_dump" | "pg_dumpall") => Err(format!(
            "{program} writes what a database holds as statements; a base backup (pg_basebackup -Ft) is of the whole \
             server"
        )),
        _ => Err(format!("{program:?} is no command that Stoker knows")),
    }
}

fn split(word: &str) -> Option<(String, String)> {
    let (name, value) = word.split_once('=')?;
    Some((name.to_owned(), value.to_owned()))
}

/// The repository as Stoker sees it, and how backups in it are named.
fn place(
    folder: &str,
    section: &Section,
    around: &Around,
) -> Result<(PathBuf, FolderName), String> {
    let path = folder.trim_end_matches('/');
    let (parent, name) = path
        .rsplit_once('/')
        .ok_or(format!("{folder} is no absolute path"))?;
    let (before, after) = name.split_once(EPOCH).ok_or(format!(
        "{folder} is not named by {EPOCH}, so that one backup would be written over the other or cannot be told from it"
    ))?;
    if parent.contains('$') || before.contains('$') || after.contains('$') || !path.starts_with('/')
    {
        return Err(format!(
            "of {folder} only {EPOCH} in its last part is understood"
        ));
    }
    let host = if section.kind == "job-local" {
        parent.to_owned()
    } else {
        on_host(parent, section, around)?
    };
    let name = FolderName {
        before: before.to_owned(),
        after: after.to_owned(),
    };
    Ok((here(&host, around)?, name))
}

/// The host's folder for one of the job's container, by the volume that is nearest.
fn on_host(inside: &str, section: &Section, around: &Around) -> Result<String, String> {
    let mut nearest: Option<(usize, String)> = None;
    for volume in section.values("volume") {
        let volume = shell::expand(volume, &around.variables)?;
        let mut parts = volume.split(':');
        let (Some(host), Some(mounted)) = (parts.next(), parts.next()) else {
            continue;
        };
        let mounted = mounted.trim_end_matches('/');
        if let Some(below) = below(inside, mounted)
            && nearest
                .as_ref()
                .is_none_or(|(length, _)| *length < mounted.len())
        {
            nearest = Some((
                mounted.len(),
                format!("{}{below}", host.trim_end_matches('/')),
            ));
        }
    }
    let host = nearest.map(|(_, host)| host);
    host.ok_or(format!(
        "no volume= holds {inside}, so that its backups go when its container does"
    ))
}

/// What of a path is below a folder: nothing, or beginning with `/`.
fn below<'p>(path: &'p str, folder: &str) -> Option<&'p str> {
    let below = path.strip_prefix(folder)?;
    (below.is_empty() || below.starts_with('/')).then_some(below)
}

/// Where Stoker sees a folder of the host, or of a named volume.
fn here(host: &str, around: &Around) -> Result<PathBuf, String> {
    let known = around.paths.iter().filter_map(|(name, path)| {
        let name = name.trim_end_matches('/');
        Some((name.len(), path, below(host, name)?))
    });
    match known.max_by_key(|(length, ..)| *length) {
        Some((_, path, below)) => {
            let below = below.trim_start_matches('/');
            Ok(if below.is_empty() {
                path.clone()
            } else {
                path.join(below)
            })
        }
        None if host.starts_with('/') => Ok(host.into()),
        None => Err(format!(
            "{host} is a named volume; say by which path Stoker sees it"
        )),
    }
}

fn notes(section: &Section, schedule: &str) -> Vec<String> {
    let mut notes = Vec::new();
    if !schedule.contains('@') && schedule.split_whitespace().count() == 5 {
        notes.push(
            "five fields are read from the minute on; ofelia before 0.4 reads them from the second on, and runs the job more often"
                .to_owned(),
        );
    }
    if let Some(network) = section.value("network") {
        notes.push(format!(
            "the job's container was in the network {network}; Stoker must be in it to reach the server by the same name"
        ));
    }
    notes
}
