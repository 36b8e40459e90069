//! All tests across services, one module for each behaviour.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that meets an error has failed"
)]

mod again;
mod arrows;
mod backup_cli;
mod backup_seen;
mod begun;
mod bisect;
mod breakup;
mod cannot_run;
mod certificates;
mod commands;
mod cos;
mod dashboards;
mod docker;
mod doctor;
mod events;
mod fhir_bucket;
mod fhir_remote_index;
mod frames;
mod hapi_load;
mod house;
mod index_control;
mod index_dlq;
mod index_kafka_auth;
mod indexing;
mod kills;
mod messy_folder;
mod metrics;
mod object_stores;
mod per_entry;
mod pictures;
mod poison;
mod reference_order;
mod reflection;
mod reindex_cli;
mod reindex_control;
mod reindex_hapi;
mod reindexing;
mod retry;
mod rolling;
mod s3_load;
mod seeds;
mod services;
mod struck;
mod survival;
mod system;
mod taken_up;
mod tracing;
mod troubled_parts;
mod troubled_server;
mod up;
mod waking;
mod watching;
mod ways_of_sending;
