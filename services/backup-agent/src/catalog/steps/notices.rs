//! What is to be told of troubles, and to whom it falls.

use std::time::Duration;

use chrono::{NaiveDateTime, TimeDelta};
use stoker_shared::store::columns::{clean, read, spell};
use uuid::Uuid;

use super::{CatalogError, Conn};
use crate::catalog::{Notice, Stage};
use crate::troubles::{KINDS, Trouble};

/// A trouble is over when nobody saw it for so long: who read the catalog just before it began must not end it.
const SETTLED: TimeDelta = TimeDelta::minutes(1);
/// A claim that ends so much later than claims do is of a clock that was wrong.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::hours(1);

pub(super) async fn note(
    conn: &mut Conn,
    now: NaiveDateTime,
    source: &str,
    troubles: &[Trouble],
) -> Result<(), CatalogError> {
    for trouble in troubles {
        see(conn, now, source, trouble).await?;
    }
    let find = sqlx::query_as(
        "SELECT kind, subject FROM backup_troubles WHERE source = $1 AND ended IS NULL",
    );
    let open: Vec<(String, String)> = find.bind(clean(source)).fetch_all(&mut *conn).await?;
    for (kind, subject) in open {
        let of_kind = read(&KINDS, &kind)?;
        let is_it = |trouble: &Trouble| {
            trouble.kind() == of_kind && clean(trouble.subject()) == subject.as_str()
        };
        if !troubles.iter().any(is_it) {
            end(conn, now, source, &kind, &subject).await?;
        }
    }
    Ok(())
}

async fn see(
    conn: &mut Conn,
    now: NaiveDateTime,
    source: &str,
    trouble: &Trouble,
) -> Result<(), CatalogError> {
    sqlx::query(
        "INSERT INTO backup_troubles (source, kind, subject, trouble_id, backup, sentence, since) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) \
         ON CONFLICT (source, kind, subject) DO UPDATE \
         SET backup = excluded.backup, sentence = excluded.sentence, ended = NULL",
    )
    .bind(clean(source))
    .bind(spell(&KINDS, trouble.kind())?)
    .bind(clean(trouble.subject()))
    .bind(new_id())
    .bind(clean(trouble.backup()))
    .bind(clean(&trouble.to_string()))
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

async fn end(
    conn: &mut Conn,
    now: NaiveDateTime,
    source: &str,
    kind: &str,
    subject: &str,
) -> Result<(), CatalogError> {
    sqlx::query(
        "UPDATE backup_troubles SET ended = $4 \
         WHERE source = $1 AND kind = $2 AND subject = $3 AND ended IS NULL",
    )
    .bind(clean(source))
    .bind(kind)
    .bind(subject)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

#[derive(Debug, sqlx::FromRow)]
struct Row {
    source: String,
    kind: String,
    subject: String,
    trouble_id: String,
    backup: String,
    sentence: String,
    since: NaiveDateTime,
    ended: Option<NaiveDateTime>,
    told: i64,
}

/// Nobody is telling it, and it was not told yet, or its end was not, or it lasts since long.
macro_rules! to_be_told {
    () => {
        "(claim_expiry IS NULL OR claim_expiry <= $2 OR claim_expiry > $3) \
         AND (told = 0 OR ended <= $4 OR (ended IS NULL AND told_at <= $5))"
    };
}

pub(super) async fn claim(
    conn: &mut Conn,
    now: NaiveDateTime,
    source: &str,
    repeat_after: Option<Duration>,
    hold: Duration,
) -> Result<Option<Notice>, CatalogError> {
    let hold = TimeDelta::from_std(hold).unwrap_or(CLOCKS_DIFFER);
    let repeat_after = repeat_after.and_then(|after| TimeDelta::from_std(after).ok());
    let told_before = repeat_after.and_then(|after| now.checked_sub_signed(after));
    let token = new_id();
    // What another has told between the search and the change is looked at again, not taken for what lasts.
    let find = sqlx::query_as(concat!(
        "UPDATE backup_troubles SET claim_token = $6, claim_expiry = $7 \
         WHERE source = $1 AND (kind, subject) IN ( \
           SELECT kind, subject FROM backup_troubles WHERE source = $1 AND ",
        to_be_told!(),
        " ORDER BY since, kind, subject LIMIT 1) AND ",
        to_be_told!(),
        " RETURNING source, kind, subject, trouble_id, backup, sentence, since, ended, told",
    ))
    .bind(clean(source))
    .bind(now)
    .bind(now + hold + CLOCKS_DIFFER)
    .bind(now - SETTLED)
    .bind(told_before)
    .bind(&token)
    .bind(now + hold);
    let row: Option<Row> = find.fetch_optional(conn).await?;
    row.map(|row| row.notice(token)).transpose()
}

impl Row {
    fn notice(self, token: String) -> Result<Notice, CatalogError> {
        let stage = match (self.told, self.ended) {
            (0, _) => Stage::Began,
            (_, Some(_)) => Stage::Ended,
            (_, None) => Stage::Lasts,
        };
        Ok(Notice {
            notice_id: format!("{}.{}", self.trouble_id, self.told),
            trouble_id: self.trouble_id,
            stage,
            source: self.source,
            kind: read(&KINDS, &self.kind)?,
            subject: self.subject,
            backup: self.backup,
            sentence: self.sentence,
            since: self.since.and_utc(),
            ended: self.ended.map(|time| time.and_utc()),
            token,
        })
    }
}

pub(super) async fn told(
    conn: &mut Conn,
    now: NaiveDateTime,
    notice: &Notice,
) -> Result<(), CatalogError> {
    if notice.stage != Stage::Ended {
        sqlx::query(
            "UPDATE backup_troubles \
             SET told = told + 1, told_at = $2, claim_token = NULL, claim_expiry = NULL \
             WHERE claim_token = $1",
        )
        .bind(&notice.token)
        .bind(now)
        .execute(conn)
        .await?;
        return Ok(());
    }
    // One that has begun again meanwhile is another trouble.
    sqlx::query(
        "UPDATE backup_troubles SET trouble_id = $2, told = 0, told_at = NULL, since = $3, \
           claim_token = NULL, claim_expiry = NULL \
         WHERE claim_token = $1 AND ended IS NULL",
    )
    .bind(&notice.token)
    .bind(new_id())
    .bind(now)
    .execute(&mut *conn)
    .await?;
    let gone = sqlx::query("DELETE FROM backup_troubles WHERE claim_token = $1");
    gone.bind(&notice.token).execute(conn).await?;
    Ok(())
}

fn new_id() -> String {
    Uuid::new_v4().simple().to_string()
}
