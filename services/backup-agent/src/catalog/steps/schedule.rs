//! What was due last.

use chrono::{DateTime, NaiveDateTime, Utc};
use stoker_shared::store::columns::{clean, spell, to_micros};

use super::{CatalogError, Conn};
use crate::catalog::Task;
use crate::catalog::text::TASKS;

pub(super) async fn last_due(
    conn: &mut Conn,
    now: NaiveDateTime,
    source: &str,
    task: Task,
) -> Result<DateTime<Utc>, CatalogError> {
    let task = spell(&TASKS, task)?;
    sqlx::query(
        "INSERT INTO backup_schedule (source, task, last_due) VALUES ($1, $2, $3) \
         ON CONFLICT (source, task) DO NOTHING",
    )
    .bind(clean(source))
    .bind(task)
    .bind(now)
    .execute(&mut *conn)
    .await?;
    let find =
        sqlx::query_scalar("SELECT last_due FROM backup_schedule WHERE source = $1 AND task = $2");
    let found: NaiveDateTime = find.bind(clean(source)).bind(task).fetch_one(conn).await?;
    Ok(found.and_utc())
}

/// Whether what was due last is another than it was when somebody looked.
pub(super) async fn has_moved(
    conn: &mut Conn,
    source: &str,
    task: Task,
    last: DateTime<Utc>,
) -> Result<bool, CatalogError> {
    let find =
        sqlx::query_scalar("SELECT last_due FROM backup_schedule WHERE source = $1 AND task = $2");
    let find = find.bind(clean(source)).bind(spell(&TASKS, task)?);
    let found: Option<NaiveDateTime> = find.fetch_optional(conn).await?;
    Ok(found.is_some_and(|found| found != to_micros(last)))
}

/// A run that was due then is over. Also where a later one was before: the clock was wrong then.
pub(super) async fn is_over(
    conn: &mut Conn,
    source: &str,
    task: &str,
    due: NaiveDateTime,
) -> Result<(), CatalogError> {
    sqlx::query(
        "INSERT INTO backup_schedule (source, task, last_due) VALUES ($1, $2, $3) \
         ON CONFLICT (source, task) DO UPDATE SET last_due = excluded.last_due",
    )
    .bind(source)
    .bind(task)
    .bind(due)
    .execute(conn)
    .await?;
    Ok(())
}
