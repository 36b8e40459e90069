#![doc = include_str!("../README.md")]

mod answer;
mod args;
mod bundle;
mod capability;
mod config;
mod control;
mod error;
mod faults;
mod interactions;
mod listing;
mod outcome;
mod r4;
mod reindex;
mod resource;
mod routes;
mod search;
mod server;
mod state;
mod stats;
mod store;
mod tls;
mod validate;

pub use args::SandboxArgs;
pub use config::{Auth, DEFAULT_MAX_BODY_BYTES, SandboxConfig};
pub use error::SandboxError;
pub use faults::{Fault, FaultError, FaultRule, Faults};
pub use reindex::ReindexStats;
pub use server::Sandbox;
pub use stats::Stats;
