//! Units of a job come in waves: of what is open or leased only the lowest may be taken.

use std::collections::BTreeSet;

use stoker_shared::store::rows::ints;

use super::{Conn, KEEP_STATEMENTS, LedgerError, rows};

/// The next wave with an open unit.
pub(super) async fn next(
    conn: &mut Conn,
    job_id: i64,
    after: i64,
) -> Result<Option<i64>, LedgerError> {
    let find = sqlx::query_scalar(
        "SELECT MIN(wave) FROM load_units WHERE job_id = $1 AND state = 'open' AND wave > $2",
    );
    Ok(find.bind(job_id).bind(after).fetch_one(conn).await?)
}

/// Of some jobs those whose lowest wave with open units is not the first, and waits for nothing below it.
pub(super) async fn begun(conn: &mut Conn, job_ids: &[i64]) -> Result<Vec<i64>, LedgerError> {
    let mut find = rows("job", &[ints(job_ids.iter().copied())]);
    find.push(
        "SELECT o.job FROM (SELECT r.job, \
             (SELECT MIN(u.wave) FROM load_units u WHERE u.job_id = r.job AND u.state = 'open') AS first_open, \
             (SELECT MIN(u.wave) FROM load_units u WHERE u.job_id = r.job AND u.state = 'leased') AS first_leased \
           FROM r) o \
         WHERE o.first_open > 0 AND (o.first_leased >= o.first_open) IS NOT FALSE",
    );
    let begun = find.build_query_scalar().persistent(KEEP_STATEMENTS);
    Ok(begun.fetch_all(conn).await?)
}

/// Of some jobs and waves those that are over, while units of a higher wave wait.
pub(super) async fn over(
    conn: &mut Conn,
    waves: &BTreeSet<(i64, i64)>,
) -> Result<BTreeSet<(i64, i64)>, LedgerError> {
    if waves.is_empty() {
        return Ok(BTreeSet::new());
    }
    let columns = [
        ints(waves.iter().map(|(job, _)| *job)),
        ints(waves.iter().map(|(_, wave)| *wave)),
    ];
    let mut find = rows("job, wave", &columns);
    // MIN and not EXISTS: PostgreSQL looks for the lowest in the index, and for any in all rows.
    find.push(
        "SELECT r.job, r.wave FROM r \
         WHERE (SELECT MIN(u.wave) FROM load_units u \
             WHERE u.job_id = r.job AND u.state = 'open') > r.wave \
           AND ((SELECT MIN(u.wave) FROM load_units u \
             WHERE u.job_id = r.job AND u.state = 'leased') > r.wave) IS NOT FALSE",
    );
    let over: Vec<(i64, i64)> = find
        .build_query_as()
        .persistent(KEEP_STATEMENTS)
        .fetch_all(conn)
        .await?;
    Ok(over.into_iter().collect())
}
