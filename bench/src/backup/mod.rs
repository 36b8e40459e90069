//! The backup-agent's library beside `pg_basebackup` of the same server.

mod database;
mod runs;
mod work;

pub use database::Database;
pub use runs::{Run, drill, ours, pg_basebackup, ready};
pub use work::Work;
