#![doc = include_str!("../README.md")]

pub mod buffers;
pub mod clock;
pub mod config;
pub mod fhir;
pub mod frames;
pub mod grpc;
pub mod health;
pub mod kafka;
pub mod keystore;
pub mod mounted;
pub mod object_store;
pub mod pace;
pub mod postgres;
pub mod process;
pub mod properties;
pub mod ranges;
pub mod retry;
pub mod secret;
pub mod service;
pub mod store;
pub mod telemetry;
pub mod tls;
mod trace;
