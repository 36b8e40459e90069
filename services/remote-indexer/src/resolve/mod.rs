//! The ids that stand for texts in the parameter tables: `spec/fhir-remote-index.md` §7.1.
//!
//! Ids that are not remembered are looked up, all of a table at once; what is not there is added. Each statement
//! is a transaction of its own: if the process dies after it, rows are there that nobody refers to yet, as the
//! server's own do, and are found next time.
//!
//! What another transaction is just adding is not waited for: messages that need it wait, all others go on.

use std::borrow::Cow;
use std::collections::hash_map;
use std::sync::Arc;

use crate::database::{Connection, DbError, Schema, Types};
use crate::message::Text;
use crate::rows::Resource;

mod cache;
mod lookup;
mod table;

pub(crate) use cache::{AsItIs, Caches, Print};
pub(crate) use table::Table;

use cache::{ByPrint, Prints};

/// The texts of a batch that ids stand for, each once, and their ids as far as they are known.
#[derive(Debug)]
pub(crate) struct Ids<'p> {
    prints: Prints,
    types: Arc<Types>,
    places: [ByPrint<Place>; Table::ALL.len()],
    texts: Vec<Entry<'p>>,
    /// Rows added to lookup tables.
    pub(crate) added: [u64; Table::ALL.len()],
}

/// Where a text stands among those of a batch; it stands for the id until that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place(pub(crate) u32);

#[derive(Debug)]
struct Entry<'p> {
    table: Table,
    print: Print,
    text: Cow<'p, str>,
    within: Within<'p>,
    id: Option<i64>,
}

/// What a text is unique in.
#[derive(Debug)]
enum Within<'p> {
    Table,
    System(Cow<'p, str>, Place),
    Type(Cow<'p, str>, i32),
}

/// A text without a remembered id.
#[derive(Debug, Clone, Copy)]
struct Missed<'v> {
    text: &'v str,
    /// Id of the code system or resource type.
    group: i32,
    place: usize,
}

impl<'p> Ids<'p> {
    /// Without texts.
    pub(crate) fn new(schema: &Schema) -> Self {
        Self {
            prints: schema.caches().prints().clone(),
            types: schema.types(),
            places: Default::default(),
            texts: Vec::new(),
            added: Default::default(),
        }
    }

    /// Of a search parameter.
    pub(crate) fn name(&mut self, name: &Text<'p>) -> Place {
        let print = self.prints.of(0, name);
        self.put(Table::ParameterNames, print, name, Within::Table)
    }

    /// Of a code system.
    pub(crate) fn system(&mut self, name: &Text<'p>) -> Place {
        let print = self.prints.of(0, name);
        self.put(Table::CodeSystems, print, name, Within::Table)
    }

    /// Of a code of a code system.
    pub(crate) fn token(&mut self, system: &Text<'p>, code: &Text<'p>) -> Place {
        let print = self.prints.of_pair(system, code);
        if let Some(place) = self.places[Table::Tokens as usize].get(&print) {
            return *place;
        }
        let within = Within::System(system.0.clone(), self.system(system));
        self.put(Table::Tokens, print, code, within)
    }

    /// Of a canonical URL.
    pub(crate) fn canonical(&mut self, url: &Text<'p>) -> Place {
        let print = self.prints.of(0, url);
        self.put(Table::Canonicals, print, url, Within::Table)
    }

    /// Of a resource, which may not be there. None for a type that the database does not know.
    pub(crate) fn ident(&mut self, of_type: &Text<'p>, id: &Text<'p>) -> Option<Place> {
        let group = self.types.id(of_type).ok()?;
        let print = self.prints.of(group, id);
        let within = Within::Type(of_type.0.clone(), group);
        Some(self.put(Table::Idents, print, id, within))
    }

    /// A print of these bytes, for telling rows apart.
    pub(crate) fn print(&self, bytes: &[u8]) -> Print {
        self.prints.of_bytes(0, bytes)
    }

    fn put(&mut self, table: Table, print: Print, text: &Text<'p>, within: Within<'p>) -> Place {
        // So many texts do not fit into memory.
        let next = Place(u32::try_from(self.texts.len()).unwrap_or(u32::MAX));
        match self.places[table as usize].entry(print) {
            hash_map::Entry::Occupied(entry) => *entry.get(),
            hash_map::Entry::Vacant(entry) => {
                self.texts.push(Entry {
                    table,
                    print,
                    text: text.0.clone(),
                    within,
                    id: None,
                });
                *entry.insert(next)
            }
        }
    }

    /// The id of the text at this place. None where another transaction is just adding it.
    pub(crate) fn get(&self, place: Place) -> Option<i64> {
        let place = usize::try_from(place.0).ok()?;
        self.texts.get(place)?.id
    }

    /// Whether some texts have no id: another transaction is just adding them.
    pub(crate) fn have_gaps(&self) -> bool {
        self.texts.iter().any(|entry| entry.id.is_none())
    }

    /// Finds or makes the ids for these resources, whose own ids are known.
    pub(crate) async fn resolve(
        &mut self,
        connection: &mut Connection,
        schema: &Schema,
        resources: &[Resource<'_>],
    ) -> Result<(), DbError> {
        self.remember(schema, resources);
        // A token is looked up by the id of its system.
        for table in [
            Table::Idents,
            Table::ParameterNames,
            Table::CodeSystems,
            Table::Canonicals,
            Table::Tokens,
        ] {
            self.settle(connection, schema, table).await?;
        }
        Ok(())
    }

    /// Takes over what is remembered.
    fn remember(&mut self, schema: &Schema, resources: &[Resource<'_>]) {
        let mut caches = schema.caches();
        for Resource { type_id, head, .. } in resources {
            let print = self.prints.of(*type_id, &head.logical_id);
            caches.insert(Table::Idents, print, head.logical_resource_id);
        }
        for entry in &mut self.texts {
            entry.id = caches.get(entry.table, entry.print);
        }
    }

    /// Finds or makes the ids of a table that are not remembered.
    async fn settle(
        &mut self,
        connection: &mut Connection,
        schema: &Schema,
        table: Table,
    ) -> Result<(), DbError> {
        let missed = self.missed(table);
        if missed.is_empty() {
            return Ok(());
        }
        let (found, added) = lookup::find_or_add(connection, schema, table, &missed).await?;
        self.added[table as usize] += added;
        let mut caches = schema.caches();
        for (place, id) in found {
            let entry = &mut self.texts[place];
            entry.id = Some(id);
            caches.insert(table, entry.print, id);
        }
        Ok(())
    }

    /// In the order in which everybody looks them up, so that nobody waits in a circle.
    fn missed(&self, table: Table) -> Vec<Missed<'_>> {
        let texts = self.texts.iter().enumerate();
        let of_table = texts.filter(|(_, entry)| entry.table == table && entry.id.is_none());
        let ordered = of_table.filter_map(|(place, entry)| {
            let text = &*entry.text;
            let (order, group) = match &entry.within {
                Within::Table => ((text, ""), 0),
                Within::Type(name, id) => ((&**name, text), *id),
                Within::System(name, system) => {
                    ((text, &**name), self.get(*system)?.try_into().ok()?)
                }
            };
            Some((order, Missed { text, group, place }))
        });
        let mut missed: Vec<_> = ordered.collect();
        missed.sort_unstable_by_key(|(order, _)| *order);
        missed.into_iter().map(|(_, missed)| missed).collect()
    }
}
