//! One module a command.

pub mod backup;
pub mod config;
pub mod doctor;
pub mod fhir_bucket;
pub mod fhir_remote_index;
pub mod health;
pub mod index;
pub mod jobs;
pub mod load;
pub mod reindex;
pub mod retry;
pub mod sandbox;
pub mod serve;
pub mod up;
