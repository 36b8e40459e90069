//! The same without a listing, for jobs that load what is known of their source.

use stoker_proto::common::v1::Source;
use stoker_shared::object_store::LOCAL_BUCKET;
use stoker_shared::store::rows::ints;

use super::claim::{self, Claimed};
use super::{Conn, KEEP_STATEMENTS, LedgerError, Page, Scan, adopt, plan, rows};
use crate::ledger::text::int;

/// Takes over some adopted objects below a scan's source, after the one of this id. Their times stay those
/// of a zone that is not known, until a listing shows the objects.
pub(super) async fn some(conn: &mut Conn, scan: &Scan, after: i64) -> Result<Claimed, LedgerError> {
    let history = adopt::history(conn).await?;
    let first = plan::jobs_for_known(conn, scan.source_id)
        .await?
        .first()
        .copied();
    let (Some(history), Some(job_id), Some(below)) = (history, first, below(&scan.source)) else {
        return Ok(Claimed::default());
    };
    let ids = waiting(conn, history.0, scan.source_id, &below, after).await?;
    if ids.is_empty() {
        return Ok(Claimed::default());
    }
    let mut change = rows("id", &[ints(ids)]);
    change
        .push("UPDATE resource_bundles SET source_id = ")
        .push_bind(scan.source_id);
    // Not what another source's scanner has taken over meanwhile.
    change.push(" WHERE resource_bundle_id IN (SELECT r.id FROM r) AND source_id = ");
    change
        .push_bind(history.0)
        .push(" RETURNING resource_bundle_id");
    let change = change.build_query_scalar().persistent(KEEP_STATEMENTS);
    let ids: Vec<i64> = change.fetch_all(&mut *conn).await?;
    claim::move_loads(conn, history.1, job_id, &ids).await?;
    let begun = claim::begun(conn, &ids).await?;
    Ok(Claimed { job_id, begun })
}

/// A bucket, and what keys in it begin with; or the key.
struct Below {
    bucket: String,
    start: String,
    key: String,
}

fn below(source: &Source) -> Option<Below> {
    if let Some(path) = source.uri.strip_prefix("file://") {
        let key = path.to_owned();
        let start = format!("{}/", path.trim_end_matches('/'));
        let bucket = LOCAL_BUCKET.to_owned();
        return Some(Below { bucket, start, key });
    }
    let rest = source.uri.strip_prefix("s3://")?;
    let (bucket, start) = rest.split_once('/').unwrap_or((rest, ""));
    Some(Below {
        bucket: bucket.to_owned(),
        start: start.to_owned(),
        key: start.to_owned(),
    })
}

async fn waiting(
    conn: &mut Conn,
    adopted: i64,
    source_id: i64,
    below: &Below,
    after: i64,
) -> Result<Vec<i64>, LedgerError> {
    let find = sqlx::query_scalar(
        "SELECT b.resource_bundle_id FROM resource_bundles b \
         JOIN bucket_paths p ON p.bucket_path_id = b.bucket_path_id \
         WHERE b.zoneless AND b.source_id = $1 AND b.resource_bundle_id > $2 \
           AND b.file_type IN ('JSON', 'NDJSON') \
           AND NOT EXISTS (SELECT 1 FROM resource_bundles k WHERE k.source_id = $3 \
             AND k.bucket_path_id = b.bucket_path_id AND k.object_name = b.object_name) \
           AND p.bucket_name = $4 \
           AND (SUBSTR(CASE p.bucket_path WHEN '/' THEN '' ELSE p.bucket_path END \
               || b.object_name, 1, LENGTH($5)) = $5 \
             OR p.bucket_path || b.object_name = $6) \
         ORDER BY b.resource_bundle_id LIMIT $7",
    );
    let find = find.bind(adopted).bind(after).bind(source_id);
    let find = find.bind(&below.bucket).bind(&below.start).bind(&below.key);
    let most = int(Page::MAX_OBJECTS as u64);
    Ok(find.bind(most).fetch_all(conn).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_say_what_lies_below() {
        let of = |uri: &str| {
            let (uri, reach) = (uri.to_owned(), String::new());
            below(&Source { uri, reach }).map(|b| (b.bucket, b.start, b.key))
        };
        let expect = |bucket: &str, start: &str, key: &str| {
            Some((bucket.to_owned(), start.to_owned(), key.to_owned()))
        };
        assert_eq!(of("file:///in/x"), expect(":local", "/in/x/", "/in/x"));
        assert_eq!(of("file:///"), expect(":local", "/", "/"));
        assert_eq!(of("s3://b"), expect("b", "", ""));
        assert_eq!(of("s3://b/in/2"), expect("b", "in/2", "in/2"));
        assert_eq!(of("https://x/y"), None);
    }
}
