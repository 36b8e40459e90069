//! Objects of a source, as a listing shows them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::NaiveDateTime;
use sqlx::FromRow;
use stoker_proto::common::v1::Compression;
use stoker_shared::store::rows::{Column, ints, texts};

use super::paths::{Path, known_paths, path_ids};
use super::{Conn, KEEP_STATEMENTS, LedgerError, Page, Registered, damaged, rows};
use crate::ledger::cut::can_be_cut;
use crate::ledger::text::{Spelled, all_or_has, int, nat32, split_key, to_micros};
use crate::ledger::{FoundObject, ObjectNews};

/// A registered object in its current version.
#[derive(Debug, Clone, FromRow)]
pub(super) struct Known {
    pub(super) resource_bundle_id: i64,
    pub(super) bucket_path_id: i64,
    pub(super) object_name: String,
    pub(super) object_size: i64,
    pub(super) file_type: String,
    pub(super) compression: String,
    pub(super) several_frames: bool,
    pub(super) version: i64,
    /// A load of this version or a later one is a load of the present content.
    pub(super) content_version: i64,
    /// Added just now: nobody has a load of it.
    #[sqlx(skip)]
    pub(super) is_new: bool,
}

/// The columns of [`Known`].
macro_rules! known_columns {
    () => {
        "resource_bundle_id, bucket_path_id, object_name, object_size, file_type, compression, \
         several_frames, version, content_version"
    };
}
pub(super) use known_columns;

/// Objects of a source after the one of this id, in the order of their ids.
pub(super) async fn known_after(
    conn: &mut Conn,
    source_id: i64,
    after: i64,
) -> Result<Vec<Known>, LedgerError> {
    let known = sqlx::query_as(concat!(
        "SELECT ",
        known_columns!(),
        " FROM resource_bundles WHERE source_id = $1 AND resource_bundle_id > $2 \
         ORDER BY resource_bundle_id LIMIT $3"
    ));
    let most = int(Page::MAX_OBJECTS as u64);
    let known = known.bind(source_id).bind(after).bind(most);
    Ok(known.fetch_all(conn).await?)
}

/// Where an object lies: its `bucket_path_id` and name.
pub(super) type Place<'p> = (i64, &'p str);

/// Objects that are not known yet become so only where they are of one of these lists of types.
pub(super) async fn register(
    conn: &mut Conn,
    now: NaiveDateTime,
    source_id: i64,
    types: &[String],
    page: &Page,
) -> Result<(Vec<Known>, Registered), LedgerError> {
    if page.objects.is_empty() {
        return Ok((Vec::new(), Registered::default()));
    }
    let paths = path_ids(conn, &page.objects).await?;
    let found = by_place(&page.objects, &paths)?;
    let mut known = existing(conn, source_id, &found).await?;
    let (mut objects, mut new, mut changed) = (Vec::new(), Vec::new(), Vec::new());
    for (place, object) in found {
        match known.remove(&(place.0, place.1.to_owned())) {
            None if is_of(types, object)? => new.push((place, object)),
            None => {}
            Some(row) if row.shows(object) => objects.push(row.known),
            Some(row) => changed.push((row, object)),
        }
    }
    let versions = changed
        .iter()
        .map(|(row, object)| (*object, row.known.version + 1));
    let versions = versions.chain(new.iter().map(|(_, object)| (*object, 1)));
    let registered = Registered {
        new: new.len() as u64,
        changed: changed.len() as u64,
        planned: 0,
        news: versions.map(|(o, version)| news(o, version)).collect(),
    };
    objects.extend(change(conn, now, &changed).await?);
    objects.extend(insert(conn, now, source_id, &new).await?);
    Ok((objects, registered))
}

fn is_of(types: &[String], object: &FoundObject) -> Result<bool, LedgerError> {
    let file_type = object.file_type.spell()?;
    Ok(types.iter().any(|types| all_or_has(types, file_type)))
}

/// Places in a page of the objects that become several units if they are of several zstd frames.
pub(super) fn large_zstd(page: &Page, unit_bytes: u64) -> Vec<usize> {
    let is_one = |o: &FoundObject| {
        o.compression == Compression::Zstd
            && can_be_cut(o.file_type, o.compression, true)
            && o.size > unit_bytes
    };
    let objects = page.objects.iter().enumerate();
    objects.filter(|(_, o)| is_one(o)).map(|(n, _)| n).collect()
}

/// Those of some objects of a page that are new or have changed.
pub(super) async fn not_as_known(
    conn: &mut Conn,
    source_id: i64,
    page: &Page,
    places: Vec<usize>,
) -> Result<Vec<usize>, LedgerError> {
    let object = |place: usize| &page.objects[place];
    let path = |place: usize| {
        let object = object(place);
        (object.bucket_name.as_str(), split_key(&object.key).0)
    };
    let paths: BTreeSet<Path<'_>> = places.iter().map(|&place| path(place)).collect();
    let paths = known_paths(conn, &paths).await?;
    let found_at = |place: usize| {
        let id = *paths.get(&path(place))?;
        Some(((id, split_key(&object(place).key).1), object(place)))
    };
    let found = places.iter().filter_map(|&place| found_at(place)).collect();
    let known = existing(conn, source_id, &found).await?;
    let is_known = |place: usize| {
        let row = found_at(place).and_then(|((id, name), _)| known.get(&(id, name.to_owned())));
        row.is_some_and(|row| row.shows(object(place)))
    };
    Ok(places
        .into_iter()
        .filter(|&place| !is_known(place))
        .collect())
}

fn news(object: &FoundObject, version: i64) -> ObjectNews {
    ObjectNews {
        bucket_name: object.bucket_name.clone(),
        key: object.key.clone(),
        size: object.size,
        version: nat32(version),
    }
}

/// An object listed twice counts once, as last listed.
pub(super) fn by_place<'o>(
    objects: &'o [FoundObject],
    paths: &HashMap<(&'o str, &'o str), i64>,
) -> Result<BTreeMap<Place<'o>, &'o FoundObject>, LedgerError> {
    let place = |object: &'o FoundObject| {
        let (path, name) = split_key(&object.key);
        let id = paths.get(&(object.bucket_name.as_str(), path));
        let missing = || damaged("a bucket path vanished");
        Ok(((*id.ok_or_else(missing)?, name), object))
    };
    objects.iter().map(place).collect()
}

#[derive(Debug, FromRow)]
struct ObjectRow {
    #[sqlx(flatten)]
    known: Known,
    etag: String,
    last_modified: NaiveDateTime,
}

impl ObjectRow {
    fn shows(&self, object: &FoundObject) -> bool {
        self.known.object_size == int(object.size)
            && self.etag == object.etag
            && self.last_modified == to_micros(object.last_modified)
    }
}

async fn existing(
    conn: &mut Conn,
    source_id: i64,
    found: &BTreeMap<Place<'_>, &FoundObject>,
) -> Result<HashMap<(i64, String), ObjectRow>, LedgerError> {
    let columns = [
        ints(found.keys().map(|(path, _)| *path)),
        texts(found.keys().map(|(_, name)| *name)),
    ];
    let mut find = rows("path, name", &columns);
    find.push(
        "SELECT b.resource_bundle_id, b.bucket_path_id, b.object_name, b.object_size, \
           b.file_type, b.compression, b.several_frames, b.version, b.content_version, b.etag, \
           b.last_modified FROM r JOIN resource_bundles b ON b.resource_bundle_id = \
           (SELECT x.resource_bundle_id FROM resource_bundles x \
            WHERE x.bucket_path_id = r.path AND x.object_name = r.name AND x.source_id = ",
    );
    // Each by its key: of a join PostgreSQL believes, while the table grows, that a source has few rows.
    find.push_bind(source_id).push(")");
    let known: Vec<ObjectRow> = find
        .build_query_as()
        .persistent(false)
        .fetch_all(conn)
        .await?;
    let keyed = known.into_iter().map(|row| {
        (
            (row.known.bucket_path_id, row.known.object_name.clone()),
            row,
        )
    });
    Ok(keyed.collect())
}

async fn insert(
    conn: &mut Conn,
    now: NaiveDateTime,
    source_id: i64,
    objects: &[(Place<'_>, &FoundObject)],
) -> Result<Vec<Known>, LedgerError> {
    if objects.is_empty() {
        return Ok(Vec::new());
    }
    let (mut file_types, mut compressions) = (Vec::new(), Vec::new());
    for (_, object) in objects {
        file_types.push(object.file_type.spell()?);
        compressions.push(object.compression.spell()?);
    }
    let [size, frames, etag, modified] = listed(objects.iter().map(|(_, o)| *o));
    let columns = [
        ints(objects.iter().map(|((path, _), _)| *path)),
        texts(objects.iter().map(|((_, name), _)| *name)),
        size,
        texts(file_types),
        texts(compressions),
        frames,
        etag,
        modified,
    ];
    let names = "path, name, size, file_type, compression, frames, etag, modified";
    let mut add = rows(names, &columns);
    add.push(
        "INSERT INTO resource_bundles (bucket_path_id, object_name, object_size, file_type, \
           compression, several_frames, etag, last_modified, version, source_id, scan_tstamp) \
         SELECT r.path, r.name, r.size, r.file_type, r.compression, r.frames, r.etag, \
           r.modified, 1, ",
    );
    add.push_bind(source_id).push(", ").push_bind(now);
    add.push(" FROM r RETURNING resource_bundle_id, bucket_path_id, object_name");
    let added: Vec<(i64, i64, String)> = add
        .build_query_as()
        .persistent(KEEP_STATEMENTS)
        .fetch_all(conn)
        .await?;
    let places = added.iter();
    let ids: HashMap<Place<'_>, i64> = places
        .map(|(id, path, name)| ((*path, name.as_str()), *id))
        .collect();
    let known = objects.iter().filter_map(|(place, object)| {
        let id = ids.get(place)?;
        Some(first_version(*id, *place, object))
    });
    known.collect()
}

fn first_version(
    resource_bundle_id: i64,
    (bucket_path_id, name): Place<'_>,
    object: &FoundObject,
) -> Result<Known, LedgerError> {
    Ok(Known {
        resource_bundle_id,
        bucket_path_id,
        object_name: name.to_owned(),
        object_size: int(object.size),
        file_type: object.file_type.spell()?.to_owned(),
        compression: object.compression.spell()?.to_owned(),
        several_frames: object.several_frames,
        version: 1,
        content_version: 1,
        is_new: true,
    })
}

/// Size, frames, etag and time of objects, as a listing shows them.
fn listed<'o>(objects: impl Iterator<Item = &'o FoundObject> + Clone) -> [Column<'o>; 4] {
    [
        ints(objects.clone().map(|o| int(o.size))),
        Column::Flags(objects.clone().map(|o| o.several_frames).collect()),
        texts(objects.clone().map(|o| o.etag.as_str())),
        Column::Times(objects.map(|o| to_micros(o.last_modified)).collect()),
    ]
}

/// The objects have their next versions; what is unfinished of older ones will never be. Units first:
/// so do workers, who go from a unit to its object.
async fn change(
    conn: &mut Conn,
    now: NaiveDateTime,
    objects: &[(ObjectRow, &FoundObject)],
) -> Result<Vec<Known>, LedgerError> {
    if objects.is_empty() {
        return Ok(Vec::new());
    }
    let ids = || ints(objects.iter().map(|(row, _)| row.known.resource_bundle_id));
    rescind(conn, ids()).await?;
    let [size, frames, etag, modified] = listed(objects.iter().map(|(_, o)| *o));
    let columns = [
        ids(),
        ints(objects.iter().map(|(row, _)| row.known.version)),
        size,
        frames,
        etag,
        modified,
    ];
    let mut change = rows("id, seen, size, frames, tag, modified", &columns);
    change.push(
        "UPDATE resource_bundles AS b SET version = b.version + 1, \
           content_version = b.version + 1, object_size = r.size, several_frames = r.frames, \
           etag = r.tag, last_modified = r.modified, allocation_id = NULL, \
           loader_instance_id = NULL, load_started = NULL, load_completed = NULL, \
           scan_tstamp = ",
    );
    change.push_bind(now);
    change.push(" FROM r WHERE b.resource_bundle_id = r.id AND b.version = r.seen");
    let change = change.build().persistent(false);
    let changed = change.execute(conn).await?.rows_affected();
    if changed != objects.len() as u64 {
        let reason = "another scan changed an object meanwhile; scan again";
        return Err(LedgerError::NotNow(reason.to_owned()));
    }
    let known = objects.iter().map(|(row, object)| Known {
        version: row.known.version + 1,
        content_version: row.known.version + 1,
        object_size: int(object.size),
        several_frames: object.several_frames,
        ..row.known.clone()
    });
    Ok(known.collect())
}

/// Ends what is unfinished of some objects, for every job. The loads go on to count for their jobs
/// until those plan the new version: a job that is over keeps its numbers, errors and quarantine.
async fn rescind(conn: &mut Conn, resource_bundle_ids: Column<'_>) -> Result<(), LedgerError> {
    let mut rescind = rows("id", &[resource_bundle_ids]);
    rescind.push(
        "UPDATE load_units SET state = 'rescinded', reason = 'the object has changed', \
           lease_token = NULL, lease_expiry = NULL \
         WHERE state <> 'done' AND state <> 'rescinded' AND resource_bundle_load_id IN \
           (SELECT l.resource_bundle_load_id FROM r JOIN resource_bundle_loads l \
            ON l.resource_bundle_id = r.id)",
    );
    let rescind = rescind.build().persistent(false);
    rescind.execute(conn).await?;
    Ok(())
}
