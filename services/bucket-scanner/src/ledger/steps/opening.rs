//! What opening a ledger does to its tables, and what a look at them finds.

use chrono::NaiveDateTime;

use super::{BEGIN, Conn, JavaTool, LedgerError, Place, SqlLedger, adopt, migrate};

impl SqlLedger {
    /// Makes or updates the tables, after `prepare` in the same transaction.
    pub(in super::super) async fn migrate(
        &self,
        prepare: impl AsyncFnOnce(&mut Conn) -> Result<(), LedgerError>,
    ) -> Result<(), LedgerError> {
        let place = &self.store.place;
        let now = self.store.now();
        let done = async {
            let mut tx = self.store.write.begin_with(BEGIN).await?;
            prepare(&mut tx).await?;
            let adopted = migrate::run(&mut tx, now, place).await?;
            let running = adopt::still_running(&mut tx, now).await?;
            tx.commit().await?;
            Ok::<_, LedgerError>((adopted, running))
        };
        let (adopted, running) = done.await.map_err(|e| place.explain(e))?;
        if adopted {
            tracing::info!(
                place = place.show(),
                "the tables of fhir-bucket are the ledger's own from now on"
            );
        }
        if !running.is_empty() {
            tracing::warn!(
                place = place.show(),
                instances = running.join(", "),
                "fhir-bucket still runs on this ledger's tables; stop it"
            );
        }
        Ok(())
    }
}

/// Tables, without making any: the version of the ledger's own, and what is fhir-bucket's.
pub(in super::super) async fn look_at_tables(
    conn: &mut Conn,
    now: NaiveDateTime,
    place: &Place,
) -> Result<(Option<i64>, JavaTool), LedgerError> {
    match migrate::look(conn, place).await? {
        migrate::Found::Nothing => Ok((None, JavaTool::Nothing)),
        migrate::Found::Java => adopt::can_be(conn, now, place).await,
        migrate::Found::Ours(version) => {
            Ok((Some(version), adopt::left(conn, now, version).await?))
        }
    }
}
