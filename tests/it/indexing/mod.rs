//! The remote indexer beside a FHIR server: real Kafka, a real database with the server's tables.

mod again;
mod beside;
mod fixture;
mod poison;
mod recorded;
mod rolling;
mod scene;
mod statements;
mod traced;
mod trouble;
mod values;
mod versions;
