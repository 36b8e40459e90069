//! Many texts of one lookup table at once.

use super::{Missed, Table};
use crate::database::{Connection, DbError, Schema};
use crate::metrics::RetryCause;

/// Texts to a statement, at most.
const AT_ONCE: usize = 4096;

/// The ids of these texts by their places, and how many were added. Those that another transaction is just adding have none.
pub(super) async fn find_or_add(
    connection: &mut Connection,
    schema: &Schema,
    table: Table,
    missed: &[Missed<'_>],
) -> Result<(Vec<(usize, i64)>, u64), DbError> {
    let (mut found, mut added) = (Vec::with_capacity(missed.len()), 0);
    for missed in missed.chunks(AT_ONCE) {
        let left = find(connection, schema, table, missed, &mut found).await?;
        if left.is_empty() {
            continue;
        }
        added += add(connection, schema, table, &left).await?;
        // Others may have added some of them at the same time.
        find(connection, schema, table, &left, &mut found).await?;
    }
    Ok((found, added))
}

/// Those that are not there.
async fn find<'v>(
    connection: &mut Connection,
    schema: &Schema,
    table: Table,
    missed: &[Missed<'v>],
    found: &mut Vec<(usize, i64)>,
) -> Result<Vec<Missed<'v>>, DbError> {
    let (texts, groups) = columns(missed);
    let sql = schema.sql(&table.select());
    let rows = connection.rows(&sql, &[&texts, &groups]).await?;
    let mut there = vec![false; missed.len()];
    for row in rows {
        let (number, id): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        let place = usize::try_from(number - 1).unwrap_or(usize::MAX);
        if let (Some(missed), Some(there)) = (missed.get(place), there.get_mut(place)) {
            found.push((missed.place, id));
            *there = true;
        }
    }
    let left = missed.iter().zip(there).filter(|(_, there)| !there);
    Ok(left.map(|(missed, _)| *missed).collect())
}

/// How many were added. A text that another transaction holds is passed over: halves tell which.
async fn add(
    connection: &mut Connection,
    schema: &Schema,
    table: Table,
    missed: &[Missed<'_>],
) -> Result<u64, DbError> {
    let sql = schema.sql(&table.insert(schema.kind));
    let (mut added, mut parts) = (0, vec![missed]);
    while let Some(part) = parts.pop() {
        let (texts, groups) = columns(part);
        let done = connection.execute(&sql, &[&texts, &groups]).await;
        match done {
            Ok(rows) => added += rows,
            Err(DbError::InTheWay {
                cause: RetryCause::LockTimeout | RetryCause::Deadlock,
                ..
            }) => {
                if part.len() > 1 {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(added)
}

fn columns<'v>(missed: &[Missed<'v>]) -> (Vec<&'v str>, Vec<i32>) {
    missed.iter().map(|m| (m.text, m.group)).unzip()
}
