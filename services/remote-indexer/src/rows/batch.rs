//! The rows of many resources, table by table, made while each message is read: so its values need not be kept.

use std::collections::BTreeMap;

use super::{OF_SYSTEM, OF_TYPE, Rows, Table};
use crate::database::{DbError, Schema, Types};
use crate::message::{Head, Values};
use crate::resolve::Ids;

/// A resource to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resource<'p> {
    /// Of its message.
    pub(crate) head: &'p Head,
    /// Id of its type.
    pub(crate) type_id: i32,
    /// What its tables' names begin with.
    pub(crate) tables: &'p str,
}

/// Resources, none of them twice, and their rows.
#[derive(Debug)]
pub(crate) struct Batch<'p> {
    types: &'p Types,
    /// In the order in which they came.
    pub(crate) resources: Vec<Resource<'p>>,
    /// The texts in their rows that ids stand for.
    pub(crate) ids: Ids<'p>,
    /// Their rows.
    pub(crate) tables: Tables<'p>,
}

/// The rows of each table.
#[derive(Debug, Default)]
pub(crate) struct Tables<'p> {
    of_types: BTreeMap<&'p str, [Rows; OF_TYPE.len()]>,
    of_system: [Rows; OF_SYSTEM.len()],
}

impl<'p> Batch<'p> {
    /// Without resources.
    pub(crate) fn new(schema: &Schema, types: &'p Types) -> Self {
        Self {
            types,
            resources: Vec::new(),
            ids: Ids::new(schema),
            tables: Tables::default(),
        }
    }

    /// Adds a resource of a known type with these values, which were checked.
    pub(crate) fn add(&mut self, head: &'p Head, values: &Values<'p>) -> Result<(), DbError> {
        let Ok((type_id, tables)) = self.types.with_tables(&head.resource_type) else {
            return Err(DbError::unresolved());
        };
        self.resources.push(Resource {
            head,
            type_id,
            tables,
        });
        for (table, rows) in self.tables.of(tables) {
            let id = head.logical_resource_id;
            (table.add)(values, &mut self.ids, id, rows).ok_or_else(DbError::unresolved)?;
            rows.end_resource(id);
        }
        Ok(())
    }

    /// Leaves out resources that need what another transaction is just adding.
    pub(crate) fn leave_out_incomplete(&mut self) {
        if !self.ids.have_gaps() {
            return;
        }
        let mut lacking = Vec::new();
        for (table, rows) in self.tables.all() {
            lacking.extend(rows.lacking(table.ids, &self.ids));
        }
        lacking.sort_unstable();
        self.resources
            .retain(|r| lacking.binary_search(&r.head.logical_resource_id).is_err());
    }
}

impl<'p> Tables<'p> {
    /// Those for a resource of the type whose tables' names begin so.
    fn of(&mut self, of_type: &'p str) -> impl Iterator<Item = (&'static Table, &mut Rows)> {
        let rows = self.of_types.entry(of_type).or_default();
        OF_TYPE
            .iter()
            .zip(rows)
            .chain(OF_SYSTEM.iter().zip(&mut self.of_system))
    }

    fn all(&mut self) -> impl Iterator<Item = (&'static Table, &mut Rows)> {
        let of_types = self.of_types.values_mut();
        of_types
            .flat_map(|rows| OF_TYPE.iter().zip(rows))
            .chain(OF_SYSTEM.iter().zip(&mut self.of_system))
    }

    /// Each with its name.
    pub(crate) fn named(self) -> impl Iterator<Item = (String, &'static Table, Rows)> {
        let of_types = self.of_types.into_iter().flat_map(|(of_type, rows)| {
            let named = OF_TYPE.iter().zip(rows);
            named.map(move |(table, rows)| (format!("{of_type}_{}", table.name), table, rows))
        });
        let of_system = OF_SYSTEM.iter().zip(self.of_system);
        of_types.chain(of_system.map(|(table, rows)| (table.name.to_owned(), table, rows)))
    }
}
