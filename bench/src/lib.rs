#![doc = include_str!("../README.md")]

pub mod backup;
pub mod bare;
pub mod data;
pub mod figures;
pub mod index;
pub mod ledger;
pub mod parts;
pub mod reindex;
pub mod run;
pub mod scale;
pub mod simulated;
pub mod sink;
