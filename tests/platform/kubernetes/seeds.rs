//! What the roadmap of BD FHIR National says of Kubernetes: `01-phases.md` and `08-kubernetes-equivalents.md`.

use std::fs;
use std::path::Path;

use serde_json::Value;
use stoker_tests::repository;

use super::{build, kind, name};

/// The rows of a table of the roadmap, its heading left out.
fn rows(file: &str) -> Vec<Vec<String>> {
    let folder = repository::root().join("tests/seeds/bd-fhir-national");
    let text = fs::read_to_string(folder.join(file)).unwrap();
    let rows = text.lines().filter(|line| line.starts_with('|')).skip(2);
    let cells = |row: &str| {
        let cells = row.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().to_owned()).collect()
    };
    rows.map(cells).collect()
}

fn example() -> Vec<Value> {
    build(Path::new("k8s/examples/hapi")).objects
}

#[test]
fn every_service_of_the_roadmap_is_what_it_maps_to() {
    let objects = example();
    let has = |of: &str, called: &str| objects.iter().any(|o| kind(o) == of && name(o) == called);
    let rows = rows("08-kubernetes-equivalents.md");
    assert_eq!(rows.len(), 5);
    for row in rows {
        // "hapi (--scale N)"
        let service = row[0].split(' ').next().unwrap();
        // What stands in parentheses may be done otherwise.
        let wanted = row[1].split('(').next().unwrap();
        for resource in wanted.split('+').map(str::trim) {
            let (of, called) = match resource {
                "HPA" => ("HorizontalPodAutoscaler", service),
                // The controller is the cluster's own.
                "Ingress" => ("Ingress", "fhir"),
                other => (other, service),
            };
            assert!(has(of, called), "{service}: no {of}");
        }
    }
}

#[test]
fn the_last_phase_is_the_national_example() {
    let objects = example();
    let row = |named: &str| {
        let rows = rows("01-phases.md");
        rows.into_iter().find(|row| row[0] == named).unwrap()
    };
    assert_eq!(row("Orchestrator")[3], "Kubernetes");
    let replicas = row("HAPI replicas")[3].clone();
    let scaler = objects
        .iter()
        .find(|o| kind(o) == "HorizontalPodAutoscaler" && name(o) == "hapi");
    let spec = &scaler.unwrap()["spec"];
    let has = format!("{}-{}+", spec["minReplicas"], spec["maxReplicas"]);
    assert_eq!(has, replicas);
}

/// "3 replicas × 5 HikariCP connections": a pool that is too small makes replicas wait for each other.
#[test]
fn every_replica_of_the_server_has_its_connections() {
    let objects = example();
    let setting = |workload: &str, variable: &str| {
        let found = objects
            .iter()
            .find(|o| kind(o) == "Deployment" && name(o) == workload);
        let container = &found.unwrap()["spec"]["template"]["spec"]["containers"][0];
        let variables = container["env"].as_array().unwrap();
        let found = variables.iter().find(|v| v["name"] == variable).unwrap();
        found["value"].as_str().unwrap().parse::<i64>().unwrap()
    };
    let most = |of: &str, path: &str| {
        let found = objects
            .iter()
            .find(|o| kind(o) == of && name(o) == path)
            .unwrap();
        found["spec"].clone()
    };
    let servers = most("HorizontalPodAutoscaler", "hapi")["maxReplicas"]
        .as_i64()
        .unwrap();
    let wanted = servers * setting("hapi", "SPRING_DATASOURCE_HIKARI_MAXIMUMPOOLSIZE");
    let poolers = most("Deployment", "pgbouncer-fhir")["replicas"]
        .as_i64()
        .unwrap();
    let pooled = poolers * setting("pgbouncer-fhir", "DEFAULT_POOL_SIZE");
    assert!(pooled >= wanted, "{pooled} connections for {wanted}");
    let postgres = most("StatefulSet", "postgres-fhir");
    let args = postgres["template"]["spec"]["containers"][0]["args"].to_string();
    let allowed = args.split("max_connections=").nth(1).unwrap();
    let allowed: i64 = allowed.split('"').next().unwrap().parse().unwrap();
    assert!(allowed > pooled, "{allowed} connections for {pooled}");
}
