//! Every overlay is what these versions of Kubernetes take.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{kind, overlays};
use crate::tools::run;

/// The oldest that `docs/kubernetes.md` promises, and the newest that the tool knows.
const VERSIONS: [&str; 2] = ["1.30", "1.37"];

/// Of operators, which bring their own schemas.
const CUSTOM: [&str; 3] = ["PrometheusRule", "ServiceMonitor", "ScaledObject"];

#[test]
fn every_overlay_is_valid() {
    let objects = overlays().iter().flat_map(|overlay| &overlay.objects);
    let checked = objects.filter(|object| !CUSTOM.contains(&kind(object)));
    // Most are the same in several overlays.
    let distinct: BTreeSet<String> = checked.map(Value::to_string).collect();
    let folder = tempfile::tempdir().unwrap();
    // JSON is YAML.
    let texts: Vec<_> = distinct.iter().map(String::as_str).collect();
    let text = texts.join("\n---\n");
    fs::write(folder.path().join("built.yaml"), text).unwrap();
    for version in VERSIONS {
        let (succeeded, report) = validate(version, folder.path());
        assert!(succeeded, "{report}");
        // What it has no schema for it only warns of.
        let passed = report.lines().filter(|line| line.starts_with("INFO"));
        assert_eq!(passed.count(), distinct.len(), "{version}: {report}");
    }
}

#[test]
fn what_is_not_valid_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let broken = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {replica: 1}}";
    fs::write(folder.path().join("built.yaml"), broken).unwrap();
    for version in VERSIONS {
        assert!(!validate(version, folder.path()).0);
    }
}

fn validate(version: &str, folder: &Path) -> (bool, String) {
    let args = ["-k", version, "--strict", "built.yaml"];
    run("STOKER_TEST_KUBERNETES_VALIDATE", &args, folder)
}
