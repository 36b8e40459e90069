//! Objects that fhir-bucket had registered, as a job finds them: they become the job's source's, and
//! what fhir-bucket loaded of them counts for the job.

use std::collections::{BTreeMap, HashSet};

use chrono::NaiveDateTime;
use sqlx::FromRow;
use stoker_proto::ledger::v1::LoadErrorKind;
use stoker_shared::object_store::LOCAL_BUCKET;
use stoker_shared::store::rows::{Column, ints, texts};

use super::objects::{self, Place};
use super::{Conn, KEEP_STATEMENTS, LedgerError, Page, adopt, paths, plan, rows};
use crate::ledger::FoundObject;
use crate::ledger::adopt::may_be_same;
use crate::ledger::text::{Spelled, int, split_key, to_micros};

const BEGUN: &str = "fhir-bucket had begun to load this and not ended; it is loaded from its start, \
                     and where the server assigns ids it may hold parts of it twice";

/// What a job took over.
#[derive(Debug, Default)]
pub(super) struct Claimed {
    pub(super) job_id: i64,
    /// Objects whose present content fhir-bucket began to load and did not end.
    pub(super) begun: Vec<i64>,
}

/// An adopted object, and the one of a listing that it is.
#[derive(Debug, FromRow)]
struct Candidate {
    /// Where the listing has it.
    path: i64,
    name: String,
    resource_bundle_id: i64,
    object_size: i64,
    etag: String,
    last_modified: NaiveDateTime,
}

impl Candidate {
    fn is_same(&self, object: &FoundObject) -> bool {
        self.object_size == int(object.size)
            && self.etag.trim_matches('"') == object.etag
            && may_be_same(self.last_modified, object.last_modified)
    }
}

/// A candidate, the object, and whether it has not changed since fhir-bucket saw it.
type Match<'o> = (Candidate, &'o FoundObject, bool);

/// Takes over what a page shows. Costs one look at an index once nothing is left to take over.
pub(super) async fn page(
    conn: &mut Conn,
    source_id: i64,
    page: &Page,
) -> Result<Claimed, LedgerError> {
    let left = "SELECT EXISTS (SELECT 1 FROM resource_bundles WHERE zoneless)";
    if page.objects.is_empty() || !sqlx::query_scalar(left).fetch_one(&mut *conn).await? {
        return Ok(Claimed::default());
    }
    let history = adopt::history(conn).await?;
    let first = plan::running_jobs(conn, source_id).await?.first().copied();
    let (Some(history), Some(job_id)) = (history, first) else {
        return Ok(Claimed::default());
    };
    let paths = paths::path_ids(conn, &page.objects).await?;
    let found = objects::by_place(&page.objects, &paths)?;
    let places = found.keys().map(|(path, name)| (*path, *path, *name));
    let exact = candidates(conn, history.0, source_id, places.collect()).await?;
    let mut matches = matched(exact, &found);
    let relative = relative(conn, history.0, source_id, &found).await?;
    add_relative(&mut matches, matched(relative, &found));
    if matches.is_empty() {
        return Ok(Claimed::default());
    }
    let moved = move_objects(conn, (history.0, source_id), &matches).await?;
    matches.retain(|(c, _, _)| moved.contains(&c.resource_bundle_id));
    let ids = |matches: &[Match<'_>]| {
        matches
            .iter()
            .map(|(c, _, _)| c.resource_bundle_id)
            .collect()
    };
    let all: Vec<i64> = ids(&matches);
    move_loads(conn, history.1, job_id, &all).await?;
    matches.retain(|(_, _, same)| *same);
    let same: Vec<i64> = ids(&matches);
    tracing::debug!(
        job_id,
        objects = all.len(),
        unchanged = same.len(),
        "taken over"
    );
    let begun = begun(conn, &same).await?;
    Ok(Claimed { job_id, begun })
}

/// Adopted objects at the first of these paths, each with the path where a listing has it; not such as the
/// source has already. Those it has taken over without a listing are looked at again.
async fn candidates(
    conn: &mut Conn,
    adopted: i64,
    source_id: i64,
    places: Vec<(i64, i64, &str)>,
) -> Result<Vec<Candidate>, LedgerError> {
    let columns = [
        ints(places.iter().map(|(stored, _, _)| *stored)),
        ints(places.iter().map(|(_, listed, _)| *listed)),
        texts(places.iter().map(|(_, _, name)| *name)),
    ];
    let mut find = rows("stored, listed, name", &columns);
    find.push(
        "SELECT r.listed AS path, r.name, b.resource_bundle_id, b.object_size, b.etag, \
           b.last_modified FROM r JOIN resource_bundles b \
           ON b.bucket_path_id = r.stored AND b.object_name = r.name AND b.source_id IN (",
    );
    find.push_bind(source_id).push(", ").push_bind(adopted);
    find.push(
        ") LEFT JOIN resource_bundles k \
           ON k.bucket_path_id = r.listed AND k.object_name = r.name AND k.source_id = ",
    );
    find.push_bind(source_id);
    find.push(" WHERE b.zoneless AND (k.resource_bundle_id IS NULL OR b.source_id = ");
    find.push_bind(source_id).push(")");
    let found = find.build_query_as().persistent(KEEP_STATEMENTS);
    Ok(found.fetch_all(conn).await?)
}

fn matched<'o>(
    candidates: Vec<Candidate>,
    found: &BTreeMap<Place<'o>, &'o FoundObject>,
) -> Vec<Match<'o>> {
    let object = |c: &Candidate| found.get(&(c.path, c.name.as_str())).copied();
    let matched = candidates.into_iter().filter_map(|candidate| {
        let object = object(&candidate)?;
        let same = candidate.is_same(object);
        Some((candidate, object, same))
    });
    matched.collect()
}

/// fhir-bucket keeps the path of a local file as it was given: one that began in its working folder is
/// known by its end, when the file itself is the same.
async fn relative(
    conn: &mut Conn,
    adopted: i64,
    source_id: i64,
    found: &BTreeMap<Place<'_>, &FoundObject>,
) -> Result<Vec<Candidate>, LedgerError> {
    let local = found.iter().filter(|(_, o)| o.bucket_name == LOCAL_BUCKET);
    let local: Vec<_> = local
        .map(|((path, name), o)| (*path, *name, split_key(&o.key).0))
        .collect();
    if local.is_empty() {
        return Ok(Vec::new());
    }
    let stored: Vec<(i64, String)> = sqlx::query_as(
        "SELECT p.bucket_path_id, p.bucket_path FROM bucket_paths p \
         WHERE p.bucket_name = $1 AND (p.bucket_path = '/' OR p.bucket_path NOT LIKE '/%') \
           AND EXISTS (SELECT 1 FROM resource_bundles b WHERE b.source_id = $2 AND b.zoneless \
             AND b.bucket_path_id = p.bucket_path_id)",
    )
    .bind(LOCAL_BUCKET)
    .bind(adopted)
    .fetch_all(&mut *conn)
    .await?;
    let mut places = Vec::new();
    for (id, stored) in &stored {
        let ends = local.iter().filter(|(_, _, path)| ends_in(path, stored));
        places.extend(ends.map(|(path, name, _)| (*id, *path, *name)));
    }
    if places.is_empty() {
        return Ok(Vec::new());
    }
    candidates(conn, adopted, source_id, places).await
}

/// Whether a folder's path ends in one that was given from a working folder.
fn ends_in(path: &str, stored: &str) -> bool {
    let mut stored = if stored == "/" { "" } else { stored };
    while let Some(rest) = stored.strip_prefix("./") {
        stored = rest;
    }
    let before = path.strip_suffix(stored);
    before.is_some_and(|before| before.ends_with('/'))
}

/// One adopted object for each that is listed, and the other way round.
fn add_relative<'o>(matches: &mut Vec<Match<'o>>, relative: Vec<Match<'o>>) {
    let place = |c: &Candidate| (c.path, c.name.clone());
    let mut listed: HashSet<_> = matches.iter().map(|(c, _, _)| place(c)).collect();
    let mut adopted = HashSet::new();
    for found in relative {
        if found.2 && adopted.insert(found.0.resource_bundle_id) && listed.insert(place(&found.0)) {
            matches.push(found);
        }
    }
}

/// What has not changed gets the time of the listing; what has keeps what it was, and so is seen to
/// have changed. Answers which were still there to be moved.
async fn move_objects(
    conn: &mut Conn,
    (adopted, source_id): (i64, i64),
    matches: &[Match<'_>],
) -> Result<HashSet<i64>, LedgerError> {
    let (mut file_types, mut compressions) = (Vec::new(), Vec::new());
    for (_, object, _) in matches {
        file_types.push(object.file_type.spell()?);
        compressions.push(object.compression.spell()?);
    }
    let etag = |(c, o, same): &Match<'_>| {
        if *same {
            o.etag.clone()
        } else {
            c.etag.clone()
        }
    };
    let modified = |(c, o, same): &Match<'_>| {
        if *same {
            to_micros(o.last_modified)
        } else {
            c.last_modified
        }
    };
    let columns = [
        ints(matches.iter().map(|(c, _, _)| c.resource_bundle_id)),
        ints(matches.iter().map(|(c, _, _)| c.path)),
        texts(matches.iter().map(etag)),
        Column::Times(matches.iter().map(modified).collect()),
        texts(file_types),
        texts(compressions),
    ];
    let mut change = rows("id, path, tag, modified, type, packed", &columns);
    change.push(
        "UPDATE resource_bundles AS b SET bucket_path_id = r.path, etag = r.tag, \
           last_modified = r.modified, file_type = r.type, compression = r.packed, \
           zoneless = FALSE, source_id = ",
    );
    change.push_bind(source_id);
    // Not what another source's scanner has taken over meanwhile.
    change.push(" FROM r WHERE b.resource_bundle_id = r.id AND b.zoneless AND b.source_id IN (");
    change.push_bind(source_id).push(", ").push_bind(adopted);
    change.push(") RETURNING b.resource_bundle_id");
    let change = change.build_query_scalar().persistent(KEEP_STATEMENTS);
    Ok(change.fetch_all(conn).await?.into_iter().collect())
}

/// The loads of some objects, and their units, are the job's.
pub(super) async fn move_loads(
    conn: &mut Conn,
    history: i64,
    job_id: i64,
    objects: &[i64],
) -> Result<(), LedgerError> {
    let ids = || ints(objects.iter().copied());
    let mut units = rows("id", &[ids()]);
    units
        .push("UPDATE load_units SET job_id = ")
        .push_bind(job_id);
    units.push(" WHERE job_id = ").push_bind(history);
    units.push(
        " AND resource_bundle_load_id IN (SELECT l.resource_bundle_load_id \
           FROM r JOIN resource_bundle_loads l ON l.resource_bundle_id = r.id)",
    );
    let units = units.build().persistent(KEEP_STATEMENTS);
    units.execute(&mut *conn).await?;
    let mut loads = rows("id", &[ids()]);
    loads
        .push("UPDATE resource_bundle_loads SET job_id = ")
        .push_bind(job_id);
    loads.push(" WHERE job_id = ").push_bind(history);
    loads.push(" AND resource_bundle_id IN (SELECT r.id FROM r)");
    let loads = loads.build().persistent(KEEP_STATEMENTS);
    loads.execute(conn).await?;
    Ok(())
}

/// Those of some objects whose present content fhir-bucket began to load and did not end.
pub(super) async fn begun(conn: &mut Conn, objects: &[i64]) -> Result<Vec<i64>, LedgerError> {
    if objects.is_empty() {
        return Ok(Vec::new());
    }
    let mut find = rows("id", &[ints(objects.iter().copied())]);
    find.push(
        "SELECT DISTINCT b.resource_bundle_id FROM r \
         JOIN resource_bundles b ON b.resource_bundle_id = r.id \
         JOIN resource_bundle_loads l ON l.resource_bundle_id = r.id \
           AND l.load_completed IS NULL AND l.version >= b.content_version AND NOT l.latest \
         WHERE NOT EXISTS (SELECT 1 FROM resource_bundle_loads c WHERE c.latest \
           AND c.resource_bundle_id = r.id AND c.version >= b.content_version)",
    );
    let begun = find.build_query_scalar().persistent(KEEP_STATEMENTS);
    Ok(begun.fetch_all(conn).await?)
}

/// Notes of the loads planned now which of them fhir-bucket had begun.
pub(super) async fn tell(
    conn: &mut Conn,
    now: NaiveDateTime,
    claimed: &Claimed,
) -> Result<(), LedgerError> {
    if claimed.begun.is_empty() {
        return Ok(());
    }
    let mut add = rows("id", &[ints(claimed.begun.iter().copied())]);
    add.push(
        "INSERT INTO resource_bundle_errors (resource_bundle_load_id, unit_id, input_offset, \
           input_length, line_number, resource_type, quarantined_bytes, quarantine_parts, kind, \
           error_text, error_tstamp, operation_outcome) \
         SELECT l.resource_bundle_load_id, MIN(u.unit_id), 0, b.object_size, 0, '', 0, 0, ",
    );
    add.push_bind(LoadErrorKind::Repeated.spell()?);
    add.push(", ").push_bind(BEGUN);
    add.push(", ").push_bind(now);
    add.push(", ").push_bind(&b""[..]);
    add.push(
        " FROM r JOIN resource_bundles b ON b.resource_bundle_id = r.id \
         JOIN resource_bundle_loads l ON l.resource_bundle_id = r.id AND l.latest \
           AND l.load_completed IS NULL \
         JOIN load_units u ON u.resource_bundle_load_id = l.resource_bundle_load_id \
         WHERE l.job_id = ",
    );
    add.push_bind(claimed.job_id);
    add.push(" GROUP BY l.resource_bundle_load_id, b.object_size");
    let add = add.build().persistent(KEEP_STATEMENTS);
    add.execute(conn).await?;
    Ok(())
}
