//! `stoker backup restore`: a backup back into a data folder.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use backup_agent::restore::steps_on_other_nodes;
use backup_agent::server::User;
use serde_json::{Map, json};
use stoker_proto::backup::v1::StartRestoreRequest;

use super::place::sentence;
use super::session::Session;
use super::start::full_path;
use super::units::read;
use super::{Which, follow};
use crate::Global;
use crate::output::Output;

/// What is restored, and where to.
#[derive(Debug, clap::Args)]
pub(super) struct RestoreArgs {
    #[command(flatten)]
    which: Which,
    /// The data folder; made where it is not there
    #[arg(long, value_name = "FOLDER")]
    into: PathBuf,
    /// Where a tablespace goes, by its oid or its old folder; may be repeated [default: where it was]
    #[arg(long, value_name = "OID|OLD=NEW", value_parser = mapping)]
    tablespace: Vec<(String, PathBuf)>,
    /// Who is to own the files: postgres, 1001, or 1001:1001; takes root [default: whoever runs this; postgres for root]
    #[arg(long, value_name = "USER[:GROUP]", value_parser = User::parse)]
    owner: Option<User>,
    /// A folder whose content is copied over the data folder's, such as Bitnami's conf
    #[arg(long, value_name = "FOLDER")]
    conf: Option<PathBuf>,
    /// Clear a folder that is not empty; one in which a server runs is refused all the same
    #[arg(long)]
    overwrite: bool,
    /// Start the server, and wait until it is consistent and answers
    #[arg(long)]
    start: bool,
    /// The folder with the server's programs [default: where the system has them]
    #[arg(long, value_name = "FOLDER", requires = "start")]
    programs: Option<PathBuf>,
    /// How long the server may take to become consistent
    #[arg(long, value_name = "TIME", requires = "start", value_parser = humantime::parse_duration)]
    patience: Option<Duration>,
}

fn mapping(text: &str) -> Result<(String, PathBuf), String> {
    let parted = text.split_once('=');
    let whole = parted.filter(|(old, new)| !old.is_empty() && !new.is_empty());
    whole
        .map(|(old, new)| (old.to_owned(), PathBuf::from(new)))
        .ok_or_else(|| "give OID=FOLDER or OLD=NEW".to_owned())
}

pub(super) async fn run(
    session: &Session,
    args: RestoreArgs,
    global: &Global,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let request = request(&args, session)?;
    let into = PathBuf::from(&request.into);
    let answer = session.client().start_restore(request).await;
    let run = answer.map_err(sentence)?.into_inner().run;
    let ended = follow::to_end(session, run, global, output).await?;
    let steps = steps_on_other_nodes(&into);
    let more = Map::from_iter([
        ("into".to_owned(), json!(into)),
        ("steps_on_other_nodes".to_owned(), json!(steps)),
    ]);
    let text = || {
        let head = format!("{} is restored into {}\n", ended.run.backup, into.display());
        let read = read(ended.run.bytes, ended.took());
        [head, told(&steps), read].concat()
    };
    ended.tell(session, more, text, output)
}

fn request(args: &RestoreArgs, session: &Session) -> anyhow::Result<StartRestoreRequest> {
    let path = |path: &Path| full_path(path, session);
    let or_none = |given: Option<&PathBuf>| given.map_or_else(|| Ok(String::new()), |p| path(p));
    let mut tablespaces = HashMap::new();
    for (old, new) in &args.tablespace {
        tablespaces.insert(old.clone(), path(new)?);
    }
    let patience = args.patience.map(prost_types::Duration::try_from);
    Ok(StartRestoreRequest {
        backup: Some(args.which.to_ref()),
        into: path(&args.into)?,
        tablespaces,
        uid: args.owner.map(|owner| owner.uid),
        gid: args.owner.map(|owner| owner.gid),
        conf: or_none(args.conf.as_ref())?,
        overwrite: args.overwrite,
        start: args.start,
        programs: or_none(args.programs.as_ref())?,
        patience: patience.transpose().context("--patience is too long")?,
    })
}

fn told(steps: &[String]) -> String {
    let mut out = "\nWhere it is the primary of a cluster:\n".to_owned();
    for (n, step) in steps.iter().enumerate() {
        let _ = writeln!(out, "  {}. {step}", n + 1);
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tablespace_has_an_old_place_and_a_new_one() {
        let found = mapping("16385=/mnt/new").unwrap();
        assert_eq!(found, ("16385".to_owned(), PathBuf::from("/mnt/new")));
        for wrong in ["/mnt/new", "=/mnt/new", "16385="] {
            assert!(mapping(wrong).is_err(), "{wrong}");
        }
    }
}
