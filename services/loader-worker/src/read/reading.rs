//! What to read of an object, and how.

use stoker_proto::common::v1::{Compression, FileType, Interaction};
use stoker_shared::pace::Pacer;
use stoker_shared::ranges::RangeSet;

use super::share::Share;
use crate::breakup::InFlight;
use crate::memory::Memory;
use crate::texts::Texts;

/// How a unit is to be read.
#[derive(Debug, Clone)]
pub struct Reading {
    /// JSON or NDJSON.
    pub file_type: FileType,
    /// Compression to take off.
    pub compression: Compression,
    /// How its resources are sent.
    pub interaction: Interaction,
    /// What of it is the unit's.
    pub share: Share,
    /// Decoded bytes that are settled: not to be sent again.
    pub done: RangeSet,
    /// Resources to a batch.
    pub batch: BatchSize,
    /// Body bytes to a batch, about.
    pub batch_bytes: usize,
    /// The server takes transactions: what has conditional references is sent in them, since elsewhere
    /// servers do not resolve these.
    pub transactions: bool,
    /// Where long texts find room; none to read them as they come.
    pub memory: Option<Memory>,
    /// Bytes of the object as it is stored.
    pub stored_bytes: u64,
    /// Longest line or document held in memory.
    pub max_document_bytes: usize,
    /// Documents are neither grouped nor taken apart.
    pub whole: bool,
    /// Which Bundles of the user's are broken up.
    pub in_flight: Option<InFlight>,
    /// Where Bundles of our own are written.
    pub texts: Texts,
}

/// How many resources make up a batch.
#[derive(Debug, Clone)]
pub enum BatchSize {
    /// So many.
    Fixed(usize),
    /// As many as the server does best with, which changes while it is loaded into.
    Paced(Pacer),
}

impl BatchSize {
    /// At this moment.
    pub fn get(&self) -> usize {
        match self {
            Self::Fixed(count) => *count,
            Self::Paced(pacer) => pacer.batch(),
        }
    }
}
