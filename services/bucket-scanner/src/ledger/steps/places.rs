//! Of two sources whose objects may get the same names, one at most writes to a place.

use stoker_proto::common::v1::Source;
use stoker_shared::object_store::Place;

use super::{Conn, LOCK_PLACES, LedgerError, StartJob};
use crate::places::overwriting;

/// Fails where a load would write to a place that another source is written to, or was.
pub(super) async fn keep_apart(conn: &mut Conn, start: &StartJob) -> Result<(), LedgerError> {
    if !Place::is_one(&start.target.base_url) {
        return Ok(());
    }
    if let Some(lock) = LOCK_PLACES {
        sqlx::query(lock).execute(&mut *conn).await?;
    }
    let written: Vec<(String, String)> = sqlx::query_as(
        "SELECT s.uri, s.reach FROM jobs j JOIN sources s ON s.source_id = j.source_id \
         WHERE j.base_url = $1 AND (j.state IN ('scanning', 'loading') OR EXISTS \
           (SELECT 1 FROM resource_bundle_loads l WHERE l.job_id = j.job_id AND l.latest)) \
         ORDER BY j.job_id",
    )
    .bind(&start.target.base_url)
    .fetch_all(conn)
    .await?;
    let written = written.into_iter();
    let written: Vec<Source> = written.map(|(uri, reach)| Source { uri, reach }).collect();
    // What an older Stoker let two sources begin goes on.
    if written.contains(&start.source) {
        return Ok(());
    }
    match written.iter().find_map(|other| overwriting(start, other)) {
        Some(problem) => Err(LedgerError::NotNow(problem)),
        None => Ok(()),
    }
}
