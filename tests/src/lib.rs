#![doc = include_str!("../README.md")]

pub mod certificates;
pub mod cos;
pub mod dashboards;
pub mod docker;
pub mod fhir;
pub mod fhir_database;
pub mod gate;
pub mod kafka;
pub mod keytool;
pub mod locked_user;
pub mod minio;
pub mod otlp;
pub mod parts;
pub mod picture;
pub mod ports;
pub mod prometheus;
pub mod remote_index;
pub mod repository;
mod secrets;
pub mod services;
pub mod stoker;
pub mod tls_postgres;
pub mod tool;
pub mod yaml;
