//! What Stoker is built from, run and watched with: crates, manifests for Kubernetes, rules, dashboards. Tools of the field check
//! them; these tests see what those cannot: that they agree with each other, with the services and with the documents.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that meets an error has failed"
)]

mod catalogue;
mod dependencies;
mod kubernetes;
mod monitoring;
mod tools;
