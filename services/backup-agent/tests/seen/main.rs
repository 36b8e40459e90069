//! What is seen of backups from outside: metrics, and what a webhook gets.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails where it stands"
)]

mod metrics;
mod webhook;
mod world;
