//! Clients against real servers on the loopback interface and within the process.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answers;
mod authority;
mod broken;
mod certificates;
mod grpc;
mod reload;
mod server;
mod service;
