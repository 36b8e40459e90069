//! Paths that objects lie in.

use std::collections::{BTreeSet, HashMap};

use stoker_shared::store::rows::{Column, texts};

use super::{Conn, KEEP_STATEMENTS, LedgerError, rows};
use crate::ledger::FoundObject;
use crate::ledger::text::split_key;

/// A bucket and a path in it.
pub(super) type Path<'o> = (&'o str, &'o str);

/// Ids of the paths of some objects; unknown paths are added.
pub(super) async fn path_ids<'o>(
    conn: &mut Conn,
    objects: &'o [FoundObject],
) -> Result<HashMap<Path<'o>, i64>, LedgerError> {
    let wanted: BTreeSet<Path<'o>> = objects
        .iter()
        .map(|o| (o.bucket_name.as_str(), split_key(&o.key).0))
        .collect();
    let mut known = known_paths(conn, &wanted).await?;
    if known.len() < wanted.len() {
        // Sorted, so that scanners that add the same paths never wait for each other in a circle.
        let mut add = rows("bucket, path", &path_columns(&wanted));
        add.push(
            "INSERT INTO bucket_paths (bucket_name, bucket_path) \
             SELECT r.bucket, r.path FROM r WHERE TRUE ORDER BY r.bucket, r.path \
             ON CONFLICT DO NOTHING",
        );
        let add = add.build().persistent(KEEP_STATEMENTS);
        add.execute(&mut *conn).await?;
        known = known_paths(conn, &wanted).await?;
    }
    Ok(known)
}

fn path_columns<'o>(paths: &BTreeSet<Path<'o>>) -> [Column<'o>; 2] {
    [
        texts(paths.iter().map(|(bucket, _)| *bucket)),
        texts(paths.iter().map(|(_, path)| *path)),
    ]
}

pub(super) async fn known_paths<'o>(
    conn: &mut Conn,
    wanted: &BTreeSet<Path<'o>>,
) -> Result<HashMap<Path<'o>, i64>, LedgerError> {
    let mut find = rows("bucket, path", &path_columns(wanted));
    find.push(
        "SELECT p.bucket_path_id, p.bucket_name, p.bucket_path FROM r JOIN bucket_paths p \
         ON p.bucket_name = r.bucket AND p.bucket_path = r.path",
    );
    let found: Vec<(i64, String, String)> = find
        .build_query_as()
        .persistent(false)
        .fetch_all(conn)
        .await?;
    let ids: HashMap<Path<'_>, i64> = found
        .iter()
        .map(|(id, bucket, path)| ((bucket.as_str(), path.as_str()), *id))
        .collect();
    let known = wanted
        .iter()
        .filter_map(|path| Some((*path, *ids.get(path)?)));
    Ok(known.collect())
}
