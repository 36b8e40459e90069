//! One look at messages of one schema: those whose version is there are written, in one transaction.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Indexer, Item, State};
use tokio::time::Instant;
use tokio_postgres::error::SqlState;
use tracing::Instrument as _;

use crate::database::{DbError, Schema, Types};
use crate::message::{self, Values};
use crate::metrics::Discard;
use crate::poison::{Poison, Reason};
use crate::ready::{self, Current, Look, Verdict};
use crate::resolve;
use crate::rows::Batch;
use crate::write::{self, Written};

impl Indexer {
    /// Judges `items`, all of which are open. Where the database refuses a value, halves tell whose it is.
    pub(super) async fn round(
        &mut self,
        schema: &Arc<Schema>,
        items: &mut [&mut Item],
    ) -> Result<(), DbError> {
        if self.all_in_time {
            self.apply_unseen(schema, items).await?;
            if !items.iter().any(|item| item.is_open()) {
                return Ok(());
            }
        }
        self.judge(schema, items).await?;
        let types = schema.types();
        let mut parts = vec![newest(items)];
        while let Some(part) = parts.pop() {
            match self.apply(schema, &types, items, &part).await {
                Ok(poisons) => {
                    for (place, poison) in poisons {
                        items[place].state = State::Poison(poison);
                    }
                }
                Err(DbError::Refused(error)) => match part.as_slice() {
                    [] => {}
                    [one] => {
                        let code = error.code().map_or("none", SqlState::code);
                        let detail = format!("SQLSTATE {code}");
                        let poison = Poison::new(Reason::RefusedByDatabase, detail);
                        items[*one].state = State::Poison(poison);
                    }
                    _ => {
                        let (first, second) = part.split_at(part.len() / 2);
                        parts.extend([second.to_vec(), first.to_vec()]);
                    }
                },
                Err(error) => return Err(error),
            }
        }
        for item in items {
            if item.is_open() {
                item.state = State::Wait;
            }
        }
        Ok(())
    }

    /// Writes messages without a look at what is there before, as the look within the transaction tells too: that is
    /// cheaper while none is early or late. What is not written, for whatever reason, stays open.
    async fn apply_unseen(
        &mut self,
        schema: &Arc<Schema>,
        items: &mut [&mut Item],
    ) -> Result<(), DbError> {
        let types = self.types(schema, items).await?;
        let mut places = newest(items);
        places.retain(|place| match &items[*place].state {
            State::Open(_, head) => types.with_tables(&head.resource_type).is_ok(),
            _ => false,
        });
        match self.apply(schema, &types, items, &places).await {
            Err(DbError::Refused(_)) => Ok(()),
            done => done.map(drop),
        }
    }

    /// Leaves open only what is to be applied.
    async fn judge(
        &mut self,
        schema: &Arc<Schema>,
        items: &mut [&mut Item],
    ) -> Result<(), DbError> {
        let types = self.types(schema, items).await?;
        let mut by_type: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
        for item in &mut *items {
            let State::Open(_, head) = &item.state else {
                continue;
            };
            match types.with_tables(&head.resource_type) {
                Ok((_, tables)) => by_type
                    .entry(tables)
                    .or_default()
                    .push(head.logical_resource_id),
                Err(poison) => item.state = State::Poison(poison),
            }
        }
        let connection = self.connected().await?;
        let current = ready::current(connection, schema, &by_type, Look::Free)
            .instrument(tracing::info_span!("ready"))
            .await?;
        self.all_in_time = true;
        for item in items {
            let was_open = item.is_open();
            self.judge_one(item, &current);
            self.all_in_time &= was_open == item.is_open();
        }
        Ok(())
    }

    /// Those known; looked up anew when a message has one that is not.
    async fn types(&mut self, schema: &Schema, items: &[&mut Item]) -> Result<Arc<Types>, DbError> {
        let types = schema.types();
        let is_unknown = |item: &&mut Item| matches!(&item.state, State::Open(_, head) if types.with_tables(&head.resource_type).is_err());
        if !items.iter().any(is_unknown) {
            return Ok(types);
        }
        // The server may have been upgraded meanwhile.
        schema.load(self.connected().await?).await?;
        Ok(schema.types())
    }

    fn judge_one(&self, item: &mut Item, current: &HashMap<i64, Current>) {
        let State::Open(_, head) = &item.state else {
            return;
        };
        match ready::verdict(head, current.get(&head.logical_resource_id)) {
            Verdict::Apply => {}
            Verdict::Discard(why) => item.state = self.discard(why),
            Verdict::Wait if item.record.since.elapsed() < self.max_ready_time => {
                item.state = State::Wait;
            }
            Verdict::Wait => {
                let (resource, version) = (
                    format!("{}/{}", head.resource_type, head.logical_id),
                    head.version,
                );
                tracing::warn!(
                    // Ids are in no span.
                    parent: None,
                    resource,
                    version,
                    "the server's transaction was not committed within max_ready_time; the message is discarded"
                );
                item.state = self.discard(Discard::TimedOut);
            }
        }
    }

    /// Writes the messages at these places, of which no two are about the same resource; answers those that can never
    /// be.
    async fn apply(
        &mut self,
        schema: &Schema,
        types: &Types,
        items: &mut [&mut Item],
        places: &[usize],
    ) -> Result<Vec<(usize, Poison)>, DbError> {
        let mut poisons = Vec::new();
        let written = {
            let mut batch = Batch::new(schema, types);
            for &place in places {
                let item = &*items[place];
                let State::Open(_, head) = &item.state else {
                    continue;
                };
                let payload = item.record.payload.as_deref().unwrap_or_default();
                match values(payload, types) {
                    Ok(values) => batch.add(head, &values)?,
                    Err(poison) => poisons.push((place, poison)),
                }
            }
            self.write(schema, batch).await?
        };
        let done = done_with(items, places, &written.resources);
        self.metrics.applied(done.len() as u64);
        for place in done {
            items[place].state = State::Done;
        }
        Ok(poisons)
    }

    /// Resources that need what another transaction is just adding are left out, as those that another is changing.
    async fn write(&mut self, schema: &Schema, mut batch: Batch<'_>) -> Result<Written, DbError> {
        if batch.resources.is_empty() {
            return Ok(Written::default());
        }
        let began = Instant::now();
        schema.caches().grow_old(self.clock.now());
        let connection = self.connected().await?;
        let Batch { ids, resources, .. } = &mut batch;
        ids.resolve(connection, schema, resources)
            .instrument(tracing::info_span!("resolve"))
            .await?;
        for (table, added) in resolve::Table::ALL.into_iter().zip(ids.added) {
            self.metrics.lookups_added(table.name(), added);
        }
        batch.leave_out_incomplete();
        let resources = i64::try_from(batch.resources.len()).unwrap_or(i64::MAX);
        let span = tracing::info_span!("write", resources);
        let written = write::write(self.connected().await?, schema, batch)
            .instrument(span)
            .await;
        if matches!(written, Err(DbError::RowGone(_))) {
            schema.caches().clear();
        }
        let written = written?;
        self.metrics.batch(written.resources.len(), began.elapsed());
        for (kind, rows) in &written.rows {
            self.metrics.rows(kind, *rows);
        }
        Ok(written)
    }
}

impl Item {
    fn is_open(&self) -> bool {
        matches!(self.state, State::Open(..))
    }
}

/// The places of open messages; of several about the same version of a resource, that of the last.
fn newest(items: &[&mut Item]) -> Vec<usize> {
    let mut last: BTreeMap<i64, usize> = BTreeMap::new();
    for (place, item) in items.iter().enumerate() {
        if let State::Open(_, head) = &item.state {
            last.insert(head.logical_resource_id, place);
        }
    }
    last.into_values().collect()
}

/// The places of messages that are done when of those at `places` these resources (ascending) were written: those, and
/// what says the same once more.
fn done_with(items: &[&mut Item], places: &[usize], written: &[i64]) -> Vec<usize> {
    let mut heads = HashMap::with_capacity(written.len());
    for place in places {
        if let State::Open(_, head) = &items[*place].state
            && written.binary_search(&head.logical_resource_id).is_ok()
        {
            heads.insert(head.logical_resource_id, head);
        }
    }
    let is_done = |item: &Item| match &item.state {
        State::Open(_, head) => heads.get(&head.logical_resource_id) == Some(&head),
        _ => false,
    };
    let items = items.iter().enumerate();
    let done = items.filter(|(_, item)| is_done(item));
    done.map(|(place, _)| place).collect()
}

fn values<'p>(payload: &'p [u8], types: &Types) -> Result<Values<'p>, Poison> {
    let values = message::values(payload)?;
    for value in &values.ref_values {
        types.id(value.resource_type.as_deref().unwrap_or_default())?;
    }
    Ok(values)
}
