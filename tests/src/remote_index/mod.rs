//! What a FHIR server sends to a remote indexer: messages as it makes them, recorded ones, and topics for them.

mod captured;
mod message;
mod topic;

pub use captured::Captured;
pub use message::{INSTANCE, Message, MessageBuilder};
pub use topic::{
    Committed, DeadLetter, create_topic, dead_letters, publish, publish_with, records_in,
    until_all_committed,
};
