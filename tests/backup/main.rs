//! Backups of real servers under faults: what is kept can be had back, and nothing else passes for a backup.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that meets an error has failed"
)]

mod agents;
mod commands;
mod forms;
mod frozen;
mod full;
mod kills;
mod load;
mod pgbackrest;
#[path = "../../services/backup-agent/tests/repository/proxy.rs"]
mod proxy;
mod s3;
mod seed;
mod server;
mod troubled;
mod world;
