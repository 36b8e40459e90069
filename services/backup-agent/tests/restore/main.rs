//! Restores and drills of what `pg_basebackup` made of real servers.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on fails where it stands"
)]

mod drills;
mod kills;
mod refusals;
mod restores;
mod world;
