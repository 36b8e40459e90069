//! Rows as `COPY … (FORMAT binary)` takes them: <https://www.postgresql.org/docs/current/sql-copy.html>.

use std::collections::HashSet;
use std::hash::BuildHasherDefault;

use bytes::Bytes;

use crate::resolve::{AsItIs, Ids, Print};

/// The signature, no flags, no header extension.
const BEGIN: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// In the place of a row's number of fields.
const END: [u8; 2] = (-1_i16).to_be_bytes();
/// In the place of a field's length.
const NULL: [u8; 4] = (-1_i32).to_be_bytes();

/// Rows of one table; a row that a resource has twice is there once, since the server does not tell strings apart.
#[derive(Debug)]
pub(crate) struct Rows {
    bytes: Vec<u8>,
    row: usize,
    count: u64,
    of_resource: HashSet<Print, BuildHasherDefault<AsItIs>>,
}

impl Default for Rows {
    fn default() -> Self {
        Self {
            bytes: BEGIN.to_vec(),
            row: 0,
            count: 0,
            of_resource: HashSet::default(),
        }
    }
}

impl Rows {
    /// What follows belongs to another resource.
    pub(crate) fn next_resource(&mut self) {
        self.of_resource.clear();
    }

    /// How many rows there are.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// All of it.
    pub(crate) fn finish(mut self) -> Bytes {
        self.bytes.extend_from_slice(&END);
        self.bytes.into()
    }

    /// A row of so many fields, which follow.
    pub(super) fn begin(&mut self, fields: i16) {
        self.row = self.bytes.len();
        self.bytes.extend_from_slice(&fields.to_be_bytes());
    }

    pub(super) fn end(&mut self, ids: &Ids) {
        if self.of_resource.insert(ids.print(&self.bytes[self.row..])) {
            self.count += 1;
        } else {
            self.bytes.truncate(self.row);
        }
    }

    /// INT.
    pub(super) fn int(&mut self, value: Option<i32>) {
        self.field(value.map(i32::to_be_bytes));
    }

    /// BIGINT, or a TIMESTAMP in microseconds since 2000.
    pub(super) fn long(&mut self, value: Option<i64>) {
        self.field(value.map(i64::to_be_bytes));
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
