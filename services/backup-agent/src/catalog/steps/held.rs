//! What repositories hold.

use chrono::NaiveDateTime;
use stoker_shared::store::columns::{clean, to_micros};
use stoker_shared::store::rows::{Column, texts};

use super::{CatalogError, Conn, rows};
use crate::catalog::text::{json, read};
use crate::catalog::{Kept, Mark, Proven};
use crate::manifest::Manifest;

/// Rows of one statement: SQLite takes 32 766 values in all.
const ROWS: usize = 1000;

pub(super) async fn mark(conn: &mut Conn) -> Result<Mark, CatalogError> {
    let find = sqlx::query_scalar("SELECT changes FROM backup_changes");
    Ok(Mark(find.fetch_one(conn).await?))
}

pub(super) async fn rebuild(
    conn: &mut Conn,
    _now: NaiveDateTime,
    place: &str,
    since: Mark,
    found: &[Manifest],
) -> Result<(), CatalogError> {
    let change = next_change(conn).await?;
    sqlx::query("DELETE FROM backup_held WHERE place = $1 AND change_id <= $2")
        .bind(clean(place))
        .bind(since.0)
        .execute(&mut *conn)
        .await?;
    for some in found.chunks(ROWS) {
        hold(conn, place, change, some).await?;
        keep_proofs(conn, place, some).await?;
    }
    Ok(())
}

pub(super) async fn note(
    conn: &mut Conn,
    _now: NaiveDateTime,
    place: &str,
    manifest: &Manifest,
) -> Result<(), CatalogError> {
    let change = next_change(conn).await?;
    let one = std::slice::from_ref(manifest);
    remove(conn, place, &manifest.name).await?;
    hold(conn, place, change, one).await?;
    keep_proofs(conn, place, one).await
}

pub(super) async fn forget(
    conn: &mut Conn,
    _now: NaiveDateTime,
    place: &str,
    name: &str,
) -> Result<(), CatalogError> {
    remove(conn, place, name).await
}

async fn remove(conn: &mut Conn, place: &str, name: &str) -> Result<(), CatalogError> {
    sqlx::query("DELETE FROM backup_held WHERE place = $1 AND name = $2")
        .bind(clean(place))
        .bind(clean(name))
        .execute(conn)
        .await?;
    Ok(())
}

/// Its row also makes those who change what is held take turns.
async fn next_change(conn: &mut Conn) -> Result<i64, CatalogError> {
    let count =
        sqlx::query_scalar("UPDATE backup_changes SET changes = changes + 1 RETURNING changes");
    Ok(count.fetch_one(conn).await?)
}

/// Adds those that are not there.
async fn hold(
    conn: &mut Conn,
    place: &str,
    change: i64,
    some: &[Manifest],
) -> Result<(), CatalogError> {
    let manifests: Vec<String> = some.iter().map(json).collect::<Result<_, _>>()?;
    let started = some.iter().map(|manifest| to_micros(manifest.started));
    let mut insert = rows(
        "name, source, started, manifest",
        &[
            texts(some.iter().map(|manifest| clean(&manifest.name))),
            texts(some.iter().map(|manifest| clean(&manifest.source))),
            Column::Times(started.collect()),
            texts(manifests),
        ],
    );
    insert.push(
        "INSERT INTO backup_held (place, name, source, started, manifest, change_id) SELECT ",
    );
    insert.push_bind(clean(place));
    insert.push(", name, source, started, manifest, CAST(");
    insert.push_bind(change);
    insert.push(" AS BIGINT) FROM r WHERE TRUE ON CONFLICT (place, name) DO NOTHING");
    insert.build().persistent(false).execute(conn).await?;
    Ok(())
}

async fn keep_proofs(conn: &mut Conn, place: &str, some: &[Manifest]) -> Result<(), CatalogError> {
    let proven = some
        .iter()
        .filter_map(|manifest| Some((manifest, manifest.proof.as_ref()?)));
    let proven: Vec<_> = proven.collect();
    let proofs = proven.iter().map(|(_, proof)| json(proof));
    let proofs: Vec<String> = proofs.collect::<Result<_, _>>()?;
    let at = proven.iter().map(|(_, proof)| to_micros(proof.at));
    let mut insert = rows(
        "name, proven_at, source, proof",
        &[
            texts(proven.iter().map(|(manifest, _)| clean(&manifest.name))),
            Column::Times(at.collect()),
            texts(proven.iter().map(|(manifest, _)| clean(&manifest.source))),
            texts(proofs),
        ],
    );
    insert.push("INSERT INTO backup_proofs (place, name, proven_at, source, proof) SELECT ");
    insert.push_bind(clean(place));
    insert.push(
        ", name, proven_at, source, proof FROM r WHERE TRUE \
         ON CONFLICT (place, name, proven_at) DO NOTHING",
    );
    insert.build().persistent(false).execute(conn).await?;
    Ok(())
}

pub(super) async fn backups(conn: &mut Conn, source: &str) -> Result<Vec<Kept>, CatalogError> {
    let find = sqlx::query_as(
        "SELECT place, name, manifest FROM backup_held WHERE $1 = '' OR source = $1 \
         ORDER BY started DESC, name DESC, place",
    );
    let found: Vec<(String, String, String)> = find.bind(clean(source)).fetch_all(conn).await?;
    let kept = |(place, name, manifest): (String, String, String)| {
        let manifest = read(&manifest, &name)?;
        Ok(Kept { place, manifest })
    };
    found.into_iter().map(kept).collect()
}

pub(super) async fn proofs(
    conn: &mut Conn,
    source: &str,
    limit: u32,
) -> Result<Vec<Proven>, CatalogError> {
    let find = sqlx::query_as(
        "SELECT place, name, proof FROM backup_proofs WHERE $1 = '' OR source = $1 \
         ORDER BY proven_at DESC, name DESC, place LIMIT $2",
    );
    let find = find.bind(clean(source)).bind(i64::from(limit));
    let found: Vec<(String, String, String)> = find.fetch_all(conn).await?;
    let proven = |(place, name, proof): (String, String, String)| {
        let proof = read(&proof, &name)?;
        Ok(Proven { place, name, proof })
    };
    found.into_iter().map(proven).collect()
}
