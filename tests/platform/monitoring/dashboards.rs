//! Grafana's dashboards ask for what is measured, in PromQL.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};
use stoker_tests::dashboards::{Dashboard, dashboards};
use stoker_tests::{repository, yaml};

use super::files;
use crate::catalogue::{named_in, read, unknown};
use crate::tools::must_run;

#[test]
fn every_query_asks_for_what_is_measured() {
    for Dashboard { name, queries } in dashboards() {
        for query in queries {
            assert_eq!(unknown(named_in(&query)), [""; 0], "{name}: {query}");
        }
    }
}

#[test]
fn every_query_is_promql() {
    let queries = dashboards().into_iter().flat_map(|d| d.queries);
    let rules: Vec<Value> = queries
        .map(|query| json!({"record": "checked", "expr": query}))
        .collect();
    assert!(rules.len() > 40, "only {} queries", rules.len());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("queries.yaml");
    // JSON is YAML.
    let text = json!({"groups": [{"name": "queries", "rules": rules}]}).to_string();
    fs::write(&file, text).unwrap();
    // Each has the same name, which only its lints mind.
    let args = ["check", "rules", "--lint=none", "queries.yaml"];
    must_run("STOKER_TEST_PROMTOOL", &args, folder.path());
}

#[test]
fn every_metric_is_on_some_dashboard() {
    let queries = dashboards().into_iter().flat_map(|d| d.queries);
    let shown: BTreeSet<_> = queries.flat_map(|query| named_in(&query)).collect();
    let is_shown = |name: &str| {
        let series = ["", "_bucket"].map(|end| format!("{name}{end}"));
        series.iter().any(|series| shown.contains(series))
    };
    let metrics = read();
    let missing: Vec<_> = metrics.keys().filter(|name| !is_shown(name)).collect();
    // Every service's events are heard by all: how many tells nothing.
    assert_eq!(missing, ["stoker_events_heard_total"]);
}

#[test]
fn dashboards_are_complete() {
    let list = yaml::read(&repository::root().join("monitoring/kustomization.yaml"));
    let list = list["configMapGenerator"][0]["files"].as_array().unwrap();
    let mut uids = BTreeSet::new();
    for file in files("dashboards") {
        let at = file.display();
        let dashboard: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        assert!(
            uids.insert(dashboard["uid"].as_str().unwrap().to_owned()),
            "{at}: uid"
        );
        let mut ids = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            for text in ["title", "description"] {
                assert!(
                    panel[text].as_str().is_some_and(|t| !t.is_empty()),
                    "{at}: {panel}"
                );
            }
            assert!(ids.insert(panel["id"].as_i64().unwrap()), "{at}: {panel}");
            // Whichever Prometheus the reader has.
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{at}: {panel}");
        }
        let name = file.file_name().unwrap().to_str().unwrap();
        let listed = list
            .iter()
            .any(|l| l.as_str() == Some(&format!("dashboards/{name}")));
        assert!(listed, "{name} is in no kustomization");
    }
}
