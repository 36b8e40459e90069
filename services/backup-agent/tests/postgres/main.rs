//! Base backups of real PostgreSQL servers: made, compared with `pg_verifybackup`, restored by hand, started.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails where it stands"
)]

mod backups;
mod by_program;
mod faults;
mod folder;
mod formats;
mod imports;
#[path = "../repository/minio.rs"]
mod minio;
mod restored;
mod samples;
mod server;
