//! Objects of a source, as a listing shows them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::NaiveDateTime;
use sqlx::{FromRow, QueryBuilder};

use super::{Conn, Db, LedgerError, Page, Registered, one_row};
use crate::ledger::text::{Spelled, int, nat32, split_key, to_micros};
use crate::ledger::{FoundObject, ObjectNews};

/// A registered object in its current version.
#[derive(Debug, Clone, Copy, FromRow)]
pub(super) struct Known {
    pub(super) resource_bundle_id: i64,
    pub(super) version: i64,
    pub(super) object_size: i64,
}

/// Where an object lies: its `bucket_path_id` and name.
type Place<'p> = (i64, &'p str);

pub(super) async fn register(
    conn: &mut Conn,
    now: NaiveDateTime,
    source_id: i64,
    page: &Page,
) -> Result<(Vec<Known>, Registered), LedgerError> {
    if page.objects.is_empty() {
        return Ok((Vec::new(), Registered::default()));
    }
    let paths = path_ids(conn, &page.objects).await?;
    let found = by_place(&page.objects, &paths)?;
    let (mut objects, mut registered) = (Vec::new(), Registered::default());
    let mut rows = existing(conn, source_id, &found).await?;
    let mut new = Vec::new();
    for (place, object) in found {
        match rows.remove(&(place.0, place.1.to_owned())) {
            None => new.push((place, object)),
            Some(row) if row.shows(object) => objects.push(row.known()),
            Some(row) => {
                let changed = change(conn, now, &row, object).await?;
                registered.news.push(news(object, changed.version));
                registered.changed += 1;
                objects.push(changed);
            }
        }
    }
    registered.new = new.len() as u64;
    let added = new.iter().map(|(_, object)| news(object, 1));
    registered.news.extend(added);
    objects.extend(insert(conn, now, source_id, &new).await?);
    Ok((objects, registered))
}

fn news(object: &FoundObject, version: i64) -> ObjectNews {
    ObjectNews {
        bucket_name: object.bucket_name.clone(),
        key: object.key.clone(),
        size: object.size,
        version: nat32(version),
    }
}

/// Ids of the paths of some objects; unknown paths are added.
async fn path_ids<'o>(
    conn: &mut Conn,
    objects: &'o [FoundObject],
) -> Result<HashMap<(&'o str, &'o str), i64>, LedgerError> {
    // Sorted, so that scanners that add the same paths never wait for each other in a circle.
    let wanted: BTreeSet<(&str, &str)> = objects
        .iter()
        .map(|o| (o.bucket_name.as_str(), split_key(&o.key).0))
        .collect();
    let mut add = QueryBuilder::<Db>::new("INSERT INTO bucket_paths (bucket_name, bucket_path) ");
    add.push_values(&wanted, |mut row, (bucket, path)| {
        row.push_bind(*bucket).push_bind(*path);
    });
    add.push(" ON CONFLICT DO NOTHING");
    add.build().persistent(false).execute(&mut *conn).await?;
    let mut find = QueryBuilder::<Db>::new(
        "SELECT bucket_path_id, bucket_name, bucket_path FROM bucket_paths \
         WHERE (bucket_name, bucket_path) IN (",
    );
    find.push_values(&wanted, |mut row, (bucket, path)| {
        row.push_bind(*bucket).push_bind(*path);
    });
    find.push(")");
    let rows: Vec<(i64, String, String)> = find
        .build_query_as()
        .persistent(false)
        .fetch_all(conn)
        .await?;
    let id_of = |(bucket, path): (&'o str, &'o str)| {
        let row = rows.iter().find(|(_, b, p)| b == bucket && p == path)?;
        Some(((bucket, path), row.0))
    };
    Ok(wanted.into_iter().filter_map(id_of).collect())
}

/// An object listed twice counts once, as last listed.
fn by_place<'o>(
    objects: &'o [FoundObject],
    paths: &HashMap<(&'o str, &'o str), i64>,
) -> Result<BTreeMap<Place<'o>, &'o FoundObject>, LedgerError> {
    let place = |object: &'o FoundObject| {
        let (path, name) = split_key(&object.key);
        let id = paths.get(&(object.bucket_name.as_str(), path));
        let missing = || LedgerError::Damaged("a bucket path vanished".to_owned());
        Ok(((*id.ok_or_else(missing)?, name), object))
    };
    objects.iter().map(place).collect()
}

#[derive(Debug, FromRow)]
struct ObjectRow {
    resource_bundle_id: i64,
    bucket_path_id: i64,
    object_name: String,
    object_size: i64,
    etag: String,
    last_modified: NaiveDateTime,
    version: i64,
}

impl ObjectRow {
    fn shows(&self, object: &FoundObject) -> bool {
        self.object_size == int(object.size)
            && self.etag == object.etag
            && self.last_modified == to_micros(object.last_modified)
    }

    fn known(&self) -> Known {
        Known {
            resource_bundle_id: self.resource_bundle_id,
            version: self.version,
            object_size: self.object_size,
        }
    }
}

async fn existing(
    conn: &mut Conn,
    source_id: i64,
    found: &BTreeMap<Place<'_>, &FoundObject>,
) -> Result<HashMap<(i64, String), ObjectRow>, LedgerError> {
    let mut find = QueryBuilder::<Db>::new(
        "SELECT resource_bundle_id, bucket_path_id, object_name, object_size, etag, \
           last_modified, version FROM resource_bundles WHERE source_id = ",
    );
    find.push_bind(source_id)
        .push(" AND (bucket_path_id, object_name) IN (");
    find.push_values(found.keys(), |mut row, (path, name)| {
        row.push_bind(*path).push_bind(*name);
    });
    find.push(")");
    let rows: Vec<ObjectRow> = find
        .build_query_as()
        .persistent(false)
        .fetch_all(conn)
        .await?;
    let keyed = rows
        .into_iter()
        .map(|row| ((row.bucket_path_id, row.object_name.clone()), row));
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
    let mut rows = Vec::with_capacity(objects.len());
    for (place, object) in objects {
        rows.push((
            place,
            object,
            object.file_type.spell()?,
            object.compression.spell()?,
        ));
    }
    let mut add = QueryBuilder::<Db>::new(
        "INSERT INTO resource_bundles (source_id, bucket_path_id, object_name, object_size, \
           file_type, compression, etag, last_modified, scan_tstamp, version) ",
    );
    add.push_values(
        rows,
        |mut row, ((path, name), object, file_type, compression)| {
            row.push_bind(source_id)
                .push_bind(*path)
                .push_bind(*name)
                .push_bind(int(object.size))
                .push_bind(file_type)
                .push_bind(compression)
                .push_bind(object.etag.as_str())
                .push_bind(to_micros(object.last_modified))
                .push_bind(now)
                .push("1");
        },
    );
    add.push(" RETURNING resource_bundle_id, version, object_size");
    Ok(add
        .build_query_as()
        .persistent(false)
        .fetch_all(conn)
        .await?)
}

/// The object has its next version; what is unfinished of older ones will never be. Units first: so
/// do workers, who go from a unit to its object.
async fn change(
    conn: &mut Conn,
    now: NaiveDateTime,
    row: &ObjectRow,
    object: &FoundObject,
) -> Result<Known, LedgerError> {
    rescind(conn, row.resource_bundle_id).await?;
    let changed = sqlx::query(
        "UPDATE resource_bundles SET version = version + 1, object_size = $3, etag = $4, \
           last_modified = $5, scan_tstamp = $6, allocation_id = NULL, \
           loader_instance_id = NULL, load_started = NULL, load_completed = NULL \
         WHERE resource_bundle_id = $1 AND version = $2",
    )
    .bind(row.resource_bundle_id)
    .bind(row.version)
    .bind(int(object.size))
    .bind(&object.etag)
    .bind(to_micros(object.last_modified))
    .bind(now)
    .execute(&mut *conn)
    .await?;
    one_row(changed.rows_affected(), || {
        LedgerError::NotNow("another scan changed an object meanwhile; scan again".to_owned())
    })?;
    Ok(Known {
        version: row.version + 1,
        object_size: int(object.size),
        ..row.known()
    })
}

/// Ends what is unfinished of an object, for every job. The loads go on to count for their jobs
/// until those plan the new version: a job that is over keeps its numbers, errors and quarantine.
async fn rescind(conn: &mut Conn, resource_bundle_id: i64) -> Result<(), LedgerError> {
    sqlx::query(
        "UPDATE load_units SET state = 'rescinded', reason = 'the object has changed', \
           lease_token = NULL, lease_expiry = NULL \
         WHERE state <> 'done' AND state <> 'rescinded' AND resource_bundle_load_id IN \
           (SELECT resource_bundle_load_id FROM resource_bundle_loads \
            WHERE resource_bundle_id = $1)",
    )
    .bind(resource_bundle_id)
    .execute(conn)
    .await?;
    Ok(())
}
