//! A real Prometheus scrapes real services: it takes the rules, and every query of a rule or a dashboard finds what it asks for.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;
use stoker_tests::dashboards::dashboards;
use stoker_tests::prometheus::Prometheus;
use stoker_tests::{parts, repository};

use crate::metrics::Running;

/// A rate needs two scrapes of a counter that has moved.
const LIMIT: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn every_query_finds_what_running_services_show() {
    let _turn = parts::turn().await;
    let running = Running::start().await;
    let prometheus = Prometheus::start(&running.services(), &rules()).unwrap();
    let mut waiting: BTreeSet<String> = dashboards()
        .into_iter()
        .flat_map(|dashboard| dashboard.queries)
        // Alerts fire when something is wrong.
        .filter(|query| !query.contains("ALERTS"))
        .collect();
    let asked = waiting.len();
    assert!(asked > 40, "only {asked} queries");
    let deadline = Instant::now() + LIMIT;
    while !waiting.is_empty() {
        let mut empty = BTreeSet::new();
        for query in waiting {
            let answer = prometheus.query(&query).await.unwrap();
            if answer.is_empty() {
                empty.insert(query);
            }
        }
        waiting = empty;
        let in_time = Instant::now() < deadline;
        assert!(
            in_time || waiting.is_empty(),
            "nothing found by {waiting:#?}"
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    rules_are_healthy(&prometheus).await;
}

fn rules() -> Vec<PathBuf> {
    let folder = repository::root().join("monitoring/rules");
    let files = fs::read_dir(folder).unwrap();
    files.map(|file| file.unwrap().path()).collect()
}

/// Each was evaluated, and says for itself that nothing is wrong with it.
async fn rules_are_healthy(prometheus: &Prometheus) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let answer = prometheus.get("/api/v1/rules").await.unwrap();
        let groups = answer["data"]["groups"].as_array().unwrap();
        let rules: Vec<&Value> = groups
            .iter()
            .flat_map(|group| group["rules"].as_array().unwrap())
            .collect();
        assert!(rules.len() > 20, "{answer}");
        let sick: Vec<_> = rules.iter().filter(|rule| rule["health"] != "ok").collect();
        if sick.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "{sick:#?}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
