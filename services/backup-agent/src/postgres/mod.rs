//! PostgreSQL: base backups by its replication protocol, laid out as `pg_basebackup -Ft` lays them out, and their
//! verification.
//!
//! A backup has `base.tar`, `<oid>.tar` for each tablespace, `pg_wal.tar` and `backup_manifest`; `.gz` or `.zst` is added
//! to the name of what is compressed. It is restored with `tar` alone.

mod backup;
mod base;
mod checksum;
mod client;
mod connect;
mod contents;
mod error;
mod inside;
mod log;
mod lsn;
mod manifest;
mod receive;
mod sample;
mod source;
mod verify;

pub use backup::{ArchiveProgress, BASE, Captured, LOG, MANIFEST, Options, Progress, capture};
pub use checksum::{Algorithm, NoAlgorithm};
pub use client::{Client, System};
pub use error::PostgresError;
pub use lsn::{Lsn, NoLsn, Segments};
pub use manifest::{BackupManifest, File, Files, Range};
pub use source::{Primary, Source};
pub use verify::{HowMuch, verify};

pub(crate) use contents::decoding;
pub(crate) use inside::Inside;
