//! What reading a unit brings.

use std::sync::Arc;

use bytes::Bytes;

use super::{DecodeError, Held, Rejected};
use crate::input::{Place, Request};

/// What a unit holds, piece by piece.
#[derive(Debug)]
pub enum Piece {
    /// To be sent.
    Request(Request),
    /// Not to be sent.
    Rejected(Vec<Rejected>),
    /// A document as it is, to be written elsewhere.
    Document(WholeDocument),
    /// The end, and what was seen on the way.
    End {
        /// Lines, blank ones included.
        lines: u64,
        /// Decoded bytes.
        decoded_bytes: u64,
    },
    /// The bytes ended early; what came before is whole.
    Broken(DecodeError),
}

/// A line or a file that is one resource, often a Bundle.
#[derive(Debug, Clone)]
pub struct WholeDocument {
    /// Its bytes, without white space around them.
    pub json: Bytes,
    /// Where it lies.
    pub place: Place,
    /// Its type.
    pub resource_type: Arc<str>,
    /// Memory that it takes until it is dropped.
    pub(crate) _held: Option<Held>,
}
