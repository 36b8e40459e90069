//! Backups by pgBackRest (2.41 or later), for those who have it: each is a set in pgBackRest's own repository, and stands
//! in the same catalog, schedules, retention and proofs as every other. <https://pgbackrest.org/command.html>
//!
//! What Stoker keeps of it is a manifest that names the set, and what pgBackRest says of the set. Sets are full, and hold
//! the log that they need, so that each stands on its own. pgBackRest is never asked for its own retention: a set goes
//! when its manifest is gone.
//!
//! Died while a set is made: there is no backup, [`crate::drill::clean`] ends the program, and pgBackRest's next backup
//! resumes or takes away what it began. After the set is whole and before the manifest is committed, or after a manifest
//! was deleted and before the set was expired: the set is nobody's, and [`tidy`] expires it once a later one is known.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::sync::watch;

mod error;
mod info;
mod run;
mod verify;

pub use error::PgbackrestError;
pub use verify::verify;

use crate::catalog::Seen;
use crate::compress::Compression;
use crate::drill::throwaway::{self, Throwaway};
use crate::manifest::{Elsewhere, Manifest};
use crate::repository::Draft;
use crate::server::{self, User};
use crate::store::Captured;

/// What manifests name as the engine.
pub const ENGINE: &str = "pgbackrest";

/// The part that says what pgBackRest says of a set: the answer to `info --set=… --output=json`.
pub const PART: &str = "pgbackrest.json";

/// The annotation of sets that Stoker has made: whose backup each is.
const MARK: &str = "stoker";

/// How pgBackRest is run on this machine. What else it needs to know is in its own configuration, or in the variables
/// `PGBACKREST_…`, which it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its path, or a name to be found in `PATH`.
    pub path: PathBuf,
    /// Its configuration file; its own default unless given.
    pub config: Option<PathBuf>,
    /// Who runs it; none means whom this process runs as.
    pub user: Option<User>,
}

impl Default for Program {
    fn default() -> Self {
        Self {
            path: PathBuf::from("pgbackrest"),
            config: None,
            user: None,
        }
    }
}

/// What to back up, and how.
#[derive(Debug, Clone)]
pub struct Order<'a> {
    /// pgBackRest's name of the cluster.
    pub stanza: &'a str,
    /// Whose set it is to be: the repository's place, a slash, and the backup's name.
    pub address: &'a str,
    /// The server writes its checkpoint at once.
    pub fast_checkpoint: bool,
    /// Where an empty folder is made by whose name the program is known: see [`crate::drill::clean`].
    pub scratch: &'a Path,
}

/// Has a set made. The part is finished when this ends well; the draft is the caller's to commit or abandon.
pub async fn capture(
    program: &Program,
    order: &Order<'_>,
    draft: &dyn Draft,
    seen: &watch::Sender<Seen>,
) -> Result<Captured, PgbackrestError> {
    let (scratch, user) = (order.scratch.to_owned(), program.user);
    let room = throwaway::on_disk(order.scratch, move || {
        throwaway::clean(&scratch)?;
        Throwaway::make(&scratch, user)
    })
    .await?;
    let mut command = program.command(program.user, order.stanza, "backup");
    command
        .args(["--type=full", "--no-expire-auto", "--archive-copy"])
        .args(order.fast_checkpoint.then_some("--start-fast"))
        .arg(format!("--annotation={MARK}={}", order.address))
        .args(["--log-level-console=detail", "--log-level-file=off"])
        .arg(run::option("--log-path", room.folder()));
    let show = |line: &str| {
        if let Some(percent) = percent(line) {
            let phase = format!("pgBackRest has copied {percent} %");
            seen.send_modify(|now| now.phase = phase);
        }
    };
    run::to_the_end(program, command, show).await?;
    throwaway::on_disk(order.scratch, move || room.take_away()).await?;
    let made = info::of_stanza(program, order.stanza).await?;
    let made = made.marked(order.address)?;
    let (said, stanza) = info::of_set(program, order.stanza, &made.label).await?;
    let set = stanza.set(&made.label)?;
    set.check_pages(order.stanza)?;
    let mut part = draft.part(PART).await?;
    let raw_bytes = said.len() as u64;
    part.write(Bytes::from(said)).await?;
    let mut part = part.finish().await?;
    Compression::None.name().clone_into(&mut part.compression);
    part.raw_bytes = raw_bytes;
    Ok(Captured {
        parts: vec![part],
        about: stanza.about(set),
        elsewhere: Some(set.elsewhere(order.stanza)),
    })
}

/// Restores a set into a folder that is there and empty; tablespaces, by their names, into others. The files are this
/// process's user's.
///
/// Died meanwhile: the program goes on; the next that restores into that folder ends it first.
pub(crate) async fn restore(
    program: &Program,
    set: &Elsewhere,
    into: &Path,
    tablespaces: &BTreeMap<String, PathBuf>,
) -> Result<(), PgbackrestError> {
    // What is away or unreadable as a whole says nothing of the set.
    info::of_stanza(program, &set.stanza)
        .await?
        .set(&set.label)?;
    let mut command = program.command(None, &set.stanza, "restore");
    command
        .arg(format!("--set={}", set.label))
        // The log that it needs is in the set, and where to get more is for who starts the server to say.
        .args(["--type=preserve", "--archive-mode=off"])
        .args(["--log-level-console=off", "--log-level-file=off"])
        .arg(run::option("--pg1-path", into));
    for (name, folder) in tablespaces {
        let name = format!("--tablespace-map={name}");
        command.arg(run::option(&name, folder));
    }
    run::to_the_end(program, command, |_| ()).await?;
    Ok(())
}

/// Ends what a restore of a process that died still writes into a folder.
pub(crate) fn end_restore(into: &Path) -> Result<(), PgbackrestError> {
    Ok(server::end_all(into)?)
}

/// Where the tablespaces of a set were, by their oid, with their names, out of [`PART`].
pub(crate) fn tablespaces(said: &[u8]) -> Result<Vec<(String, String, PathBuf)>, PgbackrestError> {
    info::tablespaces(said)
}

/// Expires sets that were made for backups of a repository and are none of the known ones: those that were made before
/// one that is known, and that no other set needs. Where nothing is known, be it that the repository is away, nothing
/// goes. Answers what went, for people.
pub async fn tidy(
    program: &Program,
    stanza: &str,
    place: &str,
    known: &[Manifest],
) -> Result<Vec<String>, PgbackrestError> {
    let known: Vec<&str> = known
        .iter()
        .filter_map(|manifest| manifest.elsewhere.as_ref())
        .filter(|set| set.stanza == stanza)
        .map(|set| set.label.as_str())
        .collect();
    let sets = info::of_stanza(program, stanza).await?;
    let mut gone = Vec::new();
    for label in sets.orphans(place, &known) {
        let mut command = program.command(program.user, stanza, "expire");
        command
            .arg(format!("--set={label}"))
            .args(["--log-level-console=off", "--log-level-file=off"]);
        run::to_the_end(program, command, |_| ()).await?;
        gone.push(format!("set {label} of pgBackRest's stanza {stanza}"));
    }
    Ok(gone)
}

/// How far it says it is: `… backup file /data/base/1/1255 (784KB, 25.32%) checksum …`.
fn percent(line: &str) -> Option<&str> {
    let (before, _) = line.rsplit_once("%)")?;
    let (_, percent) = before.rsplit_once(", ")?;
    percent.parse::<f64>().is_ok().then_some(percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_how_far_it_is() {
        let line = "P01 DETAIL: backup file /a, b (1%)/base/1/1255 (784KB, 25.32%) checksum 0af";
        assert_eq!(percent(line), Some("25.32"));
        assert_eq!(
            percent("P00   INFO: new backup label = 20261129-040906F"),
            None
        );
    }
}
