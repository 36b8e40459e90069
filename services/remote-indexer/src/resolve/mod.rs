//! The ids that stand for texts in the parameter tables: `spec/fhir-remote-index.md` §7.1.
//!
//! Ids that are not remembered are looked up, all of a table at once; what is not there is added. Each statement
//! is a transaction of its own: if the process dies after it, rows are there that nobody refers to yet, as the
//! server's own do, and are found next time.
//!
//! What another transaction is just adding is not waited for: messages that need it wait, all others go on.

use std::collections::BTreeMap;

use crate::database::{Connection, DbError, Schema};
use crate::message::{Head, Values};

mod cache;
mod lookup;
mod table;

pub(crate) use cache::{AsItIs, ByPrint, Caches, Print, Prints};
pub(crate) use table::Table;

/// Ids of a batch.
#[derive(Debug)]
pub(crate) struct Ids {
    prints: Prints,
    known: [ByPrint<i64>; Table::ALL.len()],
    types: std::sync::Arc<crate::database::Types>,
    /// Whether some texts have no id: another transaction is just adding them.
    has_gaps: bool,
    /// Rows added to lookup tables.
    pub(crate) added: [u64; Table::ALL.len()],
}

/// A text that an id stands for.
#[derive(Debug, Clone, Copy)]
enum Need<'v> {
    Name(&'v str),
    System(&'v str),
    Token { system: &'v str, code: &'v str },
    Canonical(&'v str),
    Ident { of_type: &'v str, id: &'v str },
}

/// What is not remembered, in the order in which everybody looks it up, so that nobody waits in a circle.
type Missing<'v> = BTreeMap<(&'v str, &'v str), Missed<'v>>;

#[derive(Debug, Clone, Copy)]
struct Missed<'v> {
    text: &'v str,
    group: i32,
    print: Print,
}

/// Finds or makes the ids for all values of these resources, whose own ids are known.
pub(crate) async fn resolve(
    connection: &mut Connection,
    schema: &Schema,
    resources: &[(&Head, Values<'_>)],
) -> Result<Ids, DbError> {
    let mut ids = Ids::new(schema, resources);
    let mut missing: [Missing<'_>; Table::ALL.len()] = Default::default();
    let without_tokens = |need: &Need<'_>| !matches!(need, Need::Token { .. });
    ids.remember(schema, resources, &mut missing, without_tokens);
    for table in [
        Table::Idents,
        Table::ParameterNames,
        Table::CodeSystems,
        Table::Canonicals,
    ] {
        let missed = &missing[table as usize];
        ids.settle(connection, schema, table, missed).await?;
    }
    // A token is known by the id of its system.
    let only_tokens = |need: &Need<'_>| matches!(need, Need::Token { .. });
    ids.remember(schema, resources, &mut missing, only_tokens);
    let missed = &missing[Table::Tokens as usize];
    ids.settle(connection, schema, Table::Tokens, missed)
        .await?;
    Ok(ids)
}

impl Ids {
    fn new(schema: &Schema, resources: &[(&Head, Values<'_>)]) -> Self {
        let mut ids = Self {
            prints: schema.caches().prints().clone(),
            known: Default::default(),
            types: schema.types(),
            has_gaps: false,
            added: Default::default(),
        };
        for (head, _) in resources {
            if let Ok(of_type) = ids.types.id(&head.resource_type) {
                let print = ids.prints.of(of_type, &head.logical_id);
                ids.known[Table::Idents as usize].insert(print, head.logical_resource_id);
                schema
                    .caches()
                    .insert(Table::Idents, print, head.logical_resource_id);
            }
        }
        ids
    }

    /// Takes over what is remembered, and gathers what is not.
    fn remember<'v>(
        &mut self,
        schema: &Schema,
        resources: &'v [(&Head, Values<'_>)],
        missing: &mut [Missing<'v>; Table::ALL.len()],
        wanted: impl Fn(&Need<'v>) -> bool,
    ) {
        let mut caches = schema.caches();
        for (_, values) in resources {
            each_need(values, |need| {
                if !wanted(&need) {
                    return;
                }
                let Some((table, order, missed)) = self.missed(need) else {
                    return;
                };
                let known = &mut self.known[table as usize];
                if known.contains_key(&missed.print) {
                    return;
                }
                match caches.get(table, missed.print) {
                    Some(id) => drop(known.insert(missed.print, id)),
                    None => drop(missing[table as usize].insert(order, missed)),
                }
            });
        }
    }

    /// None for a token whose system has no id yet.
    fn missed<'v>(&self, need: Need<'v>) -> Option<(Table, (&'v str, &'v str), Missed<'v>)> {
        let (table, order, group, text) = match need {
            Need::Name(name) => (Table::ParameterNames, (name, ""), 0, name),
            Need::System(name) => (Table::CodeSystems, (name, ""), 0, name),
            Need::Canonical(url) => (Table::Canonicals, (url, ""), 0, url),
            Need::Ident { of_type, id } => {
                let group = self.types.id(of_type).ok()?;
                (Table::Idents, (of_type, id), group, id)
            }
            Need::Token { system, code } => {
                (Table::Tokens, (code, system), self.system(system)?, code)
            }
        };
        let print = self.prints.of(group, text);
        Some((table, order, Missed { text, group, print }))
    }

    async fn settle(
        &mut self,
        connection: &mut Connection,
        schema: &Schema,
        table: Table,
        missing: &Missing<'_>,
    ) -> Result<(), DbError> {
        let missed: Vec<Missed<'_>> = missing.values().copied().collect();
        let (found, added) = lookup::find_or_add(connection, schema, table, &missed).await?;
        self.added[table as usize] += added;
        self.has_gaps |= found.len() < missed.len();
        let mut caches = schema.caches();
        for (print, id) in found {
            self.known[table as usize].insert(print, id);
            caches.insert(table, print, id);
        }
        Ok(())
    }

    /// Whether every text of these values has its id. It has not where another transaction is just adding it.
    pub(crate) fn are_complete(&self, values: &Values<'_>) -> bool {
        let mut complete = true;
        if !self.has_gaps {
            return complete;
        }
        each_need(values, |need| {
            let known = self.missed(need).is_some_and(|(table, _, missed)| {
                self.known[table as usize].contains_key(&missed.print)
            });
            complete &= known;
        });
        complete
    }

    fn get(&self, table: Table, group: i32, text: &str) -> Option<i64> {
        let print = self.prints.of(group, text);
        self.known[table as usize].get(&print).copied()
    }

    /// Of a search parameter.
    pub(crate) fn name(&self, name: &str) -> Option<i32> {
        self.get(Table::ParameterNames, 0, name)?.try_into().ok()
    }

    /// Of a code system.
    pub(crate) fn system(&self, name: &str) -> Option<i32> {
        self.get(Table::CodeSystems, 0, name)?.try_into().ok()
    }

    /// Of a code of a code system.
    pub(crate) fn token(&self, system: &str, code: &str) -> Option<i64> {
        self.get(Table::Tokens, self.system(system)?, code)
    }

    /// Of a canonical URL.
    pub(crate) fn canonical(&self, url: &str) -> Option<i64> {
        self.get(Table::Canonicals, 0, url)
    }

    /// Of a resource, which may not be there.
    pub(crate) fn ident(&self, of_type: &str, id: &str) -> Option<i64> {
        self.get(Table::Idents, self.types.id(of_type).ok()?, id)
    }

    /// A print of these bytes, for telling rows apart.
    pub(crate) fn print(&self, bytes: &[u8]) -> Print {
        self.prints.of_bytes(0, bytes)
    }
}

/// Every text of these values that an id stands for.
fn each_need<'v>(values: &'v Values<'_>, mut need: impl FnMut(Need<'v>)) {
    let names = values.string_values.iter().map(|v| &v.name);
    let names = names
        .chain(values.number_values.iter().map(|v| &v.name))
        .chain(values.quantity_values.iter().map(|v| &v.name))
        .chain(values.token_values.iter().map(|v| &v.name))
        .chain(values.date_values.iter().map(|v| &v.name))
        .chain(values.location_values.iter().map(|v| &v.name))
        .chain(values.ref_values.iter().map(|v| &v.name));
    names.for_each(|name| need(Need::Name(name)));
    for value in &values.quantity_values {
        value
            .value_system
            .iter()
            .for_each(|system| need(Need::System(system)));
    }
    let tokens = values.token_values.iter().chain(&values.tag_values);
    for value in tokens.chain(&values.security_values) {
        if let (Some(system), Some(code)) = (&value.value_system, &value.value_code) {
            need(Need::System(system));
            need(Need::Token { system, code });
        }
    }
    for value in &values.profile_values {
        value.url.iter().for_each(|url| need(Need::Canonical(url)));
    }
    for value in &values.ref_values {
        if let (Some(of_type), Some(id)) = (&value.resource_type, &value.logical_id) {
            need(Need::Ident { of_type, id });
        }
    }
}
