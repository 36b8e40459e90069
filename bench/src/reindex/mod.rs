//! What is measured of `stoker reindex`, and the server that it reindexes.

mod driver;
mod server;

pub use driver::{Driver, Limits};
pub use server::Target;
