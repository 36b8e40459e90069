//! The agent on a real PostgreSQL server and a folder.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails where it stands"
)]

mod ends;
mod life;
mod schedules;
#[path = "../postgres/server.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod server;
mod world;
