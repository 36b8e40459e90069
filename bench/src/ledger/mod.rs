//! Parts of `bench-ledger`: a bucket that is made up, a scanner over it, workers that do nothing but
//! talk to the ledger.

mod bucket;
mod database;
mod scanner;
mod workers;

pub use bucket::Bucket;
pub use database::Database;
pub use scanner::Scanning;
pub use workers::Workers;
