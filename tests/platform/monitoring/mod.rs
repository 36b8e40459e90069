//! Rules and dashboards in `monitoring/`.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use stoker_tests::{repository, yaml};

mod dashboards;
mod rules;
mod runbooks;

/// The files of a folder below `monitoring/`, by name.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = repository::root().join("monitoring").join(folder);
    let entries = fs::read_dir(&folder).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 3, "too few files in {}", folder.display());
    files
}

fn stem(file: &std::path::Path) -> String {
    file.file_stem().unwrap().to_str().unwrap().to_owned()
}

/// Every alert, with the file that it stands in.
fn alerts() -> Vec<(String, Value)> {
    let mut alerts = Vec::new();
    for file in files("rules") {
        for group in yaml::read(&file)["groups"].as_array().unwrap() {
            for rule in group["rules"].as_array().unwrap() {
                alerts.push((stem(&file), rule.clone()));
            }
        }
    }
    assert!(alerts.len() > 20, "only {} alerts", alerts.len());
    alerts
}
