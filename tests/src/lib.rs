#![doc = include_str!("../README.md")]

pub mod cos;
pub mod fhir;
pub mod gate;
pub mod kafka;
pub mod minio;
pub mod otlp;
pub mod parts;
pub mod ports;
pub mod repository;
pub mod services;
pub mod stoker;
