#![doc = include_str!("../README.md")]

pub mod fhir;
pub mod parts;
pub mod repository;
pub mod stoker;
