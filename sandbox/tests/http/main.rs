//! The sandbox over HTTP, one file a group of behaviours.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bundles;
mod common;
mod faults;
mod interactions;
mod recorded;
mod recording;
mod reindex;
mod reindex_faults;
mod reindex_recorded;
mod search;
mod server;
