//! What Grafana's dashboards in `monitoring/dashboards/` ask Prometheus.

use std::fs;

use serde_json::Value;

use crate::repository;

/// A dashboard's file name and its queries, as Prometheus gets them.
#[derive(Debug)]
pub struct Dashboard {
    /// Without `.json`.
    pub name: String,
    /// Of all panels, in their order.
    pub queries: Vec<String>,
}

/// All of them.
///
/// # Panics
/// When one cannot be read, or a panel has no query.
#[expect(
    clippy::unwrap_used,
    reason = "a dashboard that cannot be read is the failure of the test"
)]
pub fn dashboards() -> Vec<Dashboard> {
    let folder = repository::root().join("monitoring/dashboards");
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let dashboards = files.map(|file| {
        let text = fs::read_to_string(&file).unwrap();
        let dashboard: Value = serde_json::from_str(&text).unwrap();
        let panels = dashboard["panels"].as_array().unwrap();
        Dashboard {
            name: file.file_stem().unwrap().to_string_lossy().into_owned(),
            queries: panels.iter().flat_map(queries).collect(),
        }
    });
    dashboards.collect()
}

#[expect(
    clippy::unwrap_used,
    reason = "a panel without a query is the failure of the test"
)]
fn queries(panel: &Value) -> Vec<String> {
    let targets = panel["targets"].as_array().unwrap();
    assert!(!targets.is_empty(), "{panel}");
    let expressions = targets
        .iter()
        .map(|target| target["expr"].as_str().unwrap());
    // Grafana's variable: four scrape intervals at least.
    expressions
        .map(|text| text.replace("$__rate_interval", "1m"))
        .collect()
}
