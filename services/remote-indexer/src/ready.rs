//! Whether the version that a message is about is in the database: `seeds/004`, `spec/fhir-remote-index.md` §6.3.

use std::collections::{BTreeMap, HashMap};

use chrono::NaiveDateTime;
use tokio_postgres::types::ToSql;

use crate::database::{Connection, DbError, Schema};
use crate::message::Head;
use crate::metrics::Discard;

/// What the database says of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is about the current version.
    Apply,
    /// The server's transaction is not committed yet, or never will be.
    Wait,
    /// It is of no use any more.
    Discard(Discard),
}

/// The current version of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Current {
    logical_id: String,
    version: i32,
    /// In microseconds since 2000.
    last_updated: Option<i64>,
    parameter_hash: Option<String>,
}

/// What follows for a message from what the database has.
pub(crate) fn verdict(head: &Head, current: Option<&Current>) -> Verdict {
    // An id that is now another resource's is as good as none.
    let Some(current) = current.filter(|c| c.logical_id == head.logical_id) else {
        return Verdict::Wait;
    };
    match current.version.cmp(&head.version) {
        std::cmp::Ordering::Less => Verdict::Wait,
        std::cmp::Ordering::Greater => Verdict::Discard(Discard::Superseded),
        std::cmp::Ordering::Equal => {
            let same = current.last_updated == Some(head.last_updated)
                && current.parameter_hash == head.parameter_hash;
            if same {
                Verdict::Apply
            } else {
                Verdict::Discard(Discard::OtherAttempt)
            }
        }
    }
}

/// How rows are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Nobody is kept from anything.
    Free,
    /// The rows stay until the transaction ends. Those that another transaction erases just now are passed over.
    Held,
}

/// The current versions of resources by `logical_resource_id`, which are asked for by what the names of their types'
/// tables begin with.
pub(crate) async fn current(
    connection: &mut Connection,
    schema: &Schema,
    ids: &BTreeMap<&str, Vec<i64>>,
    look: Look,
) -> Result<HashMap<i64, Current>, DbError> {
    let params: Vec<[&(dyn ToSql + Sync); 1]> = ids.values().map(|ids| [ids as _]).collect();
    let texts = ids.keys().map(|tables| select(schema, tables, look));
    let statements: Vec<_> = texts.zip(params.iter().map(<[_; 1]>::as_slice)).collect();
    let rows = connection.rows_each(&statements).await?;
    let mut found = HashMap::with_capacity(rows.iter().map(Vec::len).sum());
    for row in rows.into_iter().flatten() {
        let last_updated: Option<NaiveDateTime> = row.try_get(3)?;
        let current = Current {
            logical_id: row.try_get(1)?,
            version: row.try_get::<_, Option<i32>>(2)?.unwrap_or(0),
            last_updated: last_updated.map(since_2000),
            parameter_hash: row.try_get(4)?,
        };
        found.insert(row.try_get(0)?, current);
    }
    Ok(found)
}

fn select(schema: &Schema, tables: &str, look: Look) -> String {
    let of_type = schema.table(&format!("{tables}_logical_resources"));
    let all = schema.table("logical_resources");
    let hold = match look {
        Look::Free => "",
        Look::Held => " FOR KEY SHARE OF l, x SKIP LOCKED",
    };
    format!(
        "SELECT l.logical_resource_id, l.logical_id, x.version_id, l.last_updated, l.parameter_hash \
         FROM {all} l JOIN {of_type} x ON x.logical_resource_id = l.logical_resource_id \
         WHERE l.logical_resource_id = ANY($1){hold}"
    )
}

fn since_2000(time: NaiveDateTime) -> i64 {
    const EPOCH: i64 = 946_684_800_000_000;
    time.and_utc().timestamp_micros() - EPOCH
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head {
            tenant: "default".to_owned(),
            resource_type: "Patient".to_owned(),
            logical_id: "p1".to_owned(),
            logical_resource_id: 7,
            version: 3,
            last_updated: 1_000,
            parameter_hash: Some("h".to_owned()),
        }
    }

    fn row() -> Current {
        Current {
            logical_id: "p1".to_owned(),
            version: 3,
            last_updated: Some(1_000),
            parameter_hash: Some("h".to_owned()),
        }
    }

    #[test]
    fn a_message_waits_for_its_version_and_is_dropped_after_it() {
        let of = |current: Option<Current>| verdict(&head(), current.as_ref());
        assert_eq!(of(None), Verdict::Wait);
        assert_eq!(of(Some(row())), Verdict::Apply);
        assert_eq!(
            of(Some(Current {
                version: 2,
                ..row()
            })),
            Verdict::Wait
        );
        let superseded = Verdict::Discard(Discard::Superseded);
        assert_eq!(
            of(Some(Current {
                version: 4,
                ..row()
            })),
            superseded
        );
        let other = Verdict::Discard(Discard::OtherAttempt);
        assert_eq!(
            of(Some(Current {
                last_updated: Some(1_001),
                ..row()
            })),
            other
        );
        assert_eq!(
            of(Some(Current {
                last_updated: None,
                ..row()
            })),
            other
        );
        assert_eq!(
            of(Some(Current {
                parameter_hash: None,
                ..row()
            })),
            other
        );
        let hash = Some("other".to_owned());
        assert_eq!(
            of(Some(Current {
                parameter_hash: hash,
                ..row()
            })),
            other
        );
        let logical_id = "p2".to_owned();
        assert_eq!(
            of(Some(Current {
                logical_id,
                ..row()
            })),
            Verdict::Wait
        );
    }
}
