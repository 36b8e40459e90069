//! Whether what is asked for can be done.

use std::path::PathBuf;

use stoker_proto::backup::v1::StartRestoreRequest;
use tonic::Status;

use crate::config::DrillSettings;
use crate::pgbackrest;
use crate::restore::{Order, Places, Start};
use crate::server::User;

/// Percent to read; none for all.
pub(super) fn sample(percent: u32) -> Result<Option<u32>, Status> {
    match percent {
        0 | 100 => Ok(None),
        1..100 => Ok(Some(percent)),
        _ => Err(Status::invalid_argument(format!(
            "{percent} is no percentage; give 1 to 100, or none to read all"
        ))),
    }
}

/// What to restore, but for the backup's name.
pub(super) fn order(
    request: &StartRestoreRequest,
    defaults: &DrillSettings,
) -> Result<Order, Status> {
    let into = full("the data folder", &request.into)?;
    let pairs = request.tablespaces.iter();
    let pairs =
        pairs.map(|(old, new)| Ok((PathBuf::from(old), full("a tablespace's folder", new)?)));
    let conf = Some(&request.conf).filter(|conf| !conf.is_empty());
    let programs = Some(&request.programs).filter(|programs| !programs.is_empty());
    let programs = programs.map(|path| full("the folder with the programs", path));
    let patience = request
        .patience
        .map_or(Ok(defaults.patience), TryInto::try_into);
    let start = Start {
        programs: programs.transpose()?.or_else(|| defaults.programs.clone()),
        patience: patience
            .map_err(|_| Status::invalid_argument("the time to wait must not be negative"))?,
    };
    Ok(Order {
        backup: String::new(),
        into,
        tablespaces: Places::Mapped(pairs.collect::<Result<_, Status>>()?),
        owner: owner(request)?,
        conf: conf.map(|conf| full("the conf folder", conf)).transpose()?,
        overwrite: request.overwrite,
        durable: true,
        start: request.start.then_some(start),
        // The source's store knows better.
        pgbackrest: pgbackrest::Program::default(),
    })
}

fn owner(request: &StartRestoreRequest) -> Result<Option<User>, Status> {
    match (request.uid, request.gid) {
        (Some(uid), gid) => Ok(Some(User {
            uid,
            gid: gid.unwrap_or(uid),
        })),
        (None, Some(_)) => Err(Status::invalid_argument("a group is given and no user")),
        (None, None) => Ok(None),
    }
}

fn full(what: &str, path: &str) -> Result<PathBuf, Status> {
    if path.starts_with('/') {
        return Ok(path.into());
    }
    Err(Status::invalid_argument(format!(
        "{what} {path:?} is no full path; give one that begins with /"
    )))
}
