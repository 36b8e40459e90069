//! All tests across services, one module for each behaviour.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that meets an error has failed"
)]

mod again;
mod arrows;
mod cannot_run;
mod commands;
mod events;
mod hapi_load;
mod house;
mod messy_folder;
mod s3_load;
mod seeds;
mod services;
mod troubled_server;
mod ways_of_sending;
