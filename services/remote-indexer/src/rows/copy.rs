//! Rows as `COPY … (FORMAT binary)` takes them: <https://www.postgresql.org/docs/current/sql-copy.html>.

use std::collections::HashSet;
use std::hash::BuildHasherDefault;

use bytes::Bytes;

use crate::resolve::{AsItIs, Ids, Place, Print};

/// The signature, no flags, no header extension.
const BEGIN: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// In the place of a row's number of fields.
const END: [u8; 2] = (-1_i16).to_be_bytes();
/// Rows of a resource that are compared one by one; of those behind them prints are.
const FEW: usize = 32;
/// In the place of a field's length.
const NULL: [u8; 4] = (-1_i32).to_be_bytes();

/// Rows of one table; a row that a resource has twice is there once, since the server does not tell strings apart.
/// Where ids of texts belong they hold the texts' places until the ids are known.
#[derive(Debug)]
pub(crate) struct Rows {
    bytes: Vec<u8>,
    row: usize,
    /// Where the first rows of the resource begin, and what their bytes fold to.
    first: Vec<(usize, u64)>,
    /// The others.
    of_resource: HashSet<Print, BuildHasherDefault<AsItIs>>,
    parts: Vec<Part>,
}

/// The rows of one resource.
#[derive(Debug, Clone, Copy)]
struct Part {
    resource: i64,
    /// Behind its last byte.
    end: usize,
}

impl Default for Rows {
    fn default() -> Self {
        Self {
            bytes: BEGIN.to_vec(),
            row: 0,
            first: Vec::new(),
            of_resource: HashSet::default(),
            parts: Vec::new(),
        }
    }
}

impl Rows {
    /// What came since the last one is this resource's.
    pub(super) fn end_resource(&mut self, resource: i64) {
        self.first.clear();
        self.of_resource.clear();
        let end = self.bytes.len();
        let begin = self.parts.last().map_or(BEGIN.len(), |part| part.end);
        if begin < end {
            self.parts.push(Part { resource, end });
        }
    }

    /// Resources that have texts without an id among those of `columns`.
    pub(super) fn lacking(&mut self, columns: u16, ids: &Ids<'_>) -> Vec<i64> {
        let mut begin = BEGIN.len();
        let mut lacking = Vec::new();
        for part in &self.parts {
            let known = |place: Place| ids.get(place).map(|_| None);
            if each_id(&mut self.bytes[begin..part.end], columns, known).is_none() {
                lacking.push(part.resource);
            }
            begin = part.end;
        }
        lacking
    }

    /// All rows of those of these resources (ascending) that have any, with ids for texts. None when an id is not
    /// known.
    pub(crate) fn finish(
        mut self,
        resources: &[i64],
        columns: u16,
        ids: &Ids<'_>,
    ) -> Option<Bytes> {
        self.keep(resources);
        each_id(&mut self.bytes[BEGIN.len()..], columns, |place| {
            ids.get(place).map(Some)
        })?;
        self.bytes.extend_from_slice(&END);
        Some(self.bytes.into())
    }

    /// Whether none of these resources (ascending) has rows.
    pub(crate) fn is_empty_for(&self, resources: &[i64]) -> bool {
        let is_there = |part: &Part| resources.binary_search(&part.resource).is_ok();
        !self.parts.iter().any(is_there)
    }

    fn keep(&mut self, resources: &[i64]) {
        let (mut begin, mut to) = (BEGIN.len(), BEGIN.len());
        for part in &self.parts {
            if resources.binary_search(&part.resource).is_ok() {
                if begin != to {
                    self.bytes.copy_within(begin..part.end, to);
                }
                to += part.end - begin;
            }
            begin = part.end;
        }
        self.bytes.truncate(to);
    }

    /// A row of so many fields, which follow.
    pub(super) fn begin(&mut self, fields: i16) {
        self.row = self.bytes.len();
        self.bytes.extend_from_slice(&fields.to_be_bytes());
    }

    pub(super) fn end(&mut self, ids: &Ids<'_>) {
        let (before, row) = self.bytes.split_at(self.row);
        let folded = fold(row);
        // The length of a row is part of it: no row begins as another one does.
        let is_same =
            |&(at, other): &(usize, u64)| other == folded && before[at..].starts_with(row);
        let is_there = self.first.iter().any(is_same);
        if is_there {
            self.bytes.truncate(self.row);
        } else if self.first.len() < FEW {
            self.first.push((self.row, folded));
        } else if !self.of_resource.insert(ids.print(row)) {
            self.bytes.truncate(self.row);
        }
    }

    /// INT.
    pub(super) fn int(&mut self, value: Option<i32>) {
        self.field(value.map(i32::to_be_bytes));
    }

    /// INT, the id of a text.
    pub(super) fn int_of(&mut self, Place(text): Place) {
        self.field(Some(text.to_be_bytes()));
    }

    /// BIGINT, or a TIMESTAMP in microseconds since 2000.
    pub(super) fn long(&mut self, value: Option<i64>) {
        self.field(value.map(i64::to_be_bytes));
    }

    /// BIGINT, the id of a text.
    pub(super) fn long_of(&mut self, Place(text): Place) {
        self.field(Some(u64::from(text).to_be_bytes()));
    }

    /// DOUBLE PRECISION.
    pub(super) fn double(&mut self, value: Option<f64>) {
        self.field(value.map(f64::to_be_bytes));
    }

    /// VARCHAR.
    pub(super) fn text(&mut self, value: Option<&str>) {
        self.field(value.map(str::as_bytes));
    }

    fn field(&mut self, value: Option<impl AsRef<[u8]>>) {
        match value {
            Some(value) => {
                let value = value.as_ref();
                let length = i32::try_from(value.len()).unwrap_or(i32::MAX);
                self.bytes.extend_from_slice(&length.to_be_bytes());
                self.bytes.extend_from_slice(value);
            }
            None => self.bytes.extend_from_slice(&NULL),
        }
    }
}

/// A number that tells most rows apart.
fn fold(row: &[u8]) -> u64 {
    let (words, rest) = row.as_chunks();
    let fold = |folded: u64, word: &[u8; 8]| folded.rotate_left(9) ^ u64::from_le_bytes(*word);
    let folded = words.iter().fold(0, fold);
    rest.iter().fold(folded, |folded, byte| {
        folded.rotate_left(9) ^ u64::from(*byte)
    })
}

/// Asks for each text of these columns in these rows, and puts the id that is answered in its place. None as soon as
/// the answer is none, or where an id does not fit its column.
fn each_id(
    mut rows: &mut [u8],
    columns: u16,
    ask: impl Fn(Place) -> Option<Option<i64>>,
) -> Option<()> {
    while !rows.is_empty() {
        let (fields, mut rest) = rows.split_first_chunk_mut::<2>()?;
        for column in 0..i16::from_be_bytes(*fields) {
            let (length, behind) = rest.split_first_chunk_mut::<4>()?;
            let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
            let (field, next) = behind.split_at_mut_checked(length)?;
            if (columns >> column) & 1 == 1 {
                put_id(field, &ask)?;
            }
            rest = next;
        }
        rows = rest;
    }
    Some(())
}

fn put_id(field: &mut [u8], ask: impl Fn(Place) -> Option<Option<i64>>) -> Option<()> {
    if let Ok(int) = <&mut [u8; 4]>::try_from(&mut *field) {
        if let Some(id) = ask(Place(u32::from_be_bytes(*int)))? {
            *int = i32::try_from(id).ok()?.to_be_bytes();
        }
    } else if let Ok(long) = <&mut [u8; 8]>::try_from(field) {
        let place = u32::try_from(u64::from_be_bytes(*long)).ok()?;
        if let Some(id) = ask(Place(place))? {
            *long = id.to_be_bytes();
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::config::SchemaType;
    use crate::database::Schema;
    use crate::resolve::Caches;

    fn row(resource: i64, id: i32) -> Vec<u8> {
        let mut row = vec![0, 3, 0, 0, 0, 4];
        row.extend(id.to_be_bytes());
        row.extend([0, 0, 0, 8]);
        row.extend(i64::from(id).to_be_bytes());
        row.extend([0, 0, 0, 8]);
        row.extend(resource.to_be_bytes());
        row
    }

    #[test]
    fn rows_are_told_apart_left_out_and_get_their_ids() {
        let caches = Caches::new(DateTime::UNIX_EPOCH);
        let ids = Ids::new(&Schema::new("s", SchemaType::Plain, caches));
        let mut rows = Rows::default();
        for (resource, places) in [(1, [5, 6]), (2, [5, 5]), (3, [9, 9]), (4, [7, 7])] {
            for place in places.map(Place) {
                rows.begin(3);
                rows.int_of(place);
                rows.long_of(place);
                rows.long(Some(resource));
                rows.end(&ids);
            }
            rows.end_resource(resource);
        }
        assert!(rows.is_empty_for(&[0, 5]) && !rows.is_empty_for(&[0, 4]));
        assert_eq!(rows.lacking(0b11, &ids), [1, 2, 3, 4]);
        assert!(rows.lacking(0, &ids).is_empty(), "no column holds ids");
        rows.keep(&[1, 2, 4]);
        let known = |Place(place)| Some(Some(i64::from(place) * 10));
        each_id(&mut rows.bytes[BEGIN.len()..], 0b11, known).unwrap();
        let expected = [row(1, 50), row(1, 60), row(2, 50), row(4, 70)].concat();
        assert_eq!(rows.bytes[BEGIN.len()..], expected);
    }

    #[test]
    fn a_row_is_there_once_however_many_there_are() {
        let caches = Caches::new(DateTime::UNIX_EPOCH);
        let ids = Ids::new(&Schema::new("s", SchemaType::Plain, caches));
        let mut rows = Rows::default();
        for number in [0..100, 0..100].into_iter().flatten() {
            rows.begin(1);
            rows.long(Some(number));
            rows.end(&ids);
        }
        let row = 2 + 4 + 8;
        assert_eq!(rows.bytes.len(), BEGIN.len() + 100 * row);
    }
}
