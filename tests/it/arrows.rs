//! Who may depend on whom: proto <- shared <- services, sandbox <- cli <- tests <- bench.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use stoker_tests::repository;

/// A crate's folder, and the folders of the workspace's crates it depends on in any way.
type Arrows = BTreeMap<String, Vec<String>>;

#[test]
fn dependencies_point_the_right_way() {
    let arrows = workspace_arrows();
    assert!(
        arrows.len() >= 8,
        "cargo metadata lists too few crates: {arrows:?}"
    );
    assert_eq!(faults(&arrows), Vec::<String>::new());
}

#[test]
fn a_service_that_needs_another_service_is_found() {
    let found = faults(&arrows_of(
        "services/loader-worker",
        &["services/bucket-scanner"],
    ));
    assert_eq!(
        found,
        ["services/loader-worker must not depend on services/bucket-scanner"]
    );
}

#[test]
fn a_sandbox_that_needs_a_service_is_found() {
    let found = faults(&arrows_of("sandbox", &["shared", "services/loader-worker"]));
    assert_eq!(found, ["sandbox must not depend on services/loader-worker"]);
}

#[test]
fn a_crate_in_an_unknown_folder_is_found() {
    let found = faults(&arrows_of("extras", &["shared"]));
    assert_eq!(found, ["extras has no place in the order of crates"]);
}

/// How far a crate stands from the contracts. An arrow must lead to a smaller number,
/// which also keeps two services, or services and sandbox, apart.
fn layer(folder: &str) -> Option<u8> {
    match folder {
        "proto" => Some(0),
        "shared" => Some(1),
        "sandbox" => Some(2),
        "cli" => Some(3),
        "tests" => Some(4),
        "bench" => Some(5),
        _ if folder.starts_with("services/") => Some(2),
        _ => None,
    }
}

fn faults(arrows: &Arrows) -> Vec<String> {
    let mut faults = Vec::new();
    for (from, targets) in arrows {
        let Some(own) = layer(from) else {
            faults.push(format!("{from} has no place in the order of crates"));
            continue;
        };
        for to in targets {
            if layer(to).is_none_or(|other| other >= own) {
                faults.push(format!("{from} must not depend on {to}"));
            }
        }
    }
    faults
}

fn workspace_arrows() -> Arrows {
    let root = repository::root();
    let output = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(&root)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let folder = |path: &Value| {
        let path = Path::new(path.as_str().unwrap());
        path.strip_prefix(&root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            let ours = dependencies
                .map(|d| &d["path"])
                .filter(|path| path.is_string());
            let manifest = folder(&package["manifest_path"]);
            let own = manifest.trim_end_matches("/Cargo.toml").to_owned();
            (own, ours.map(folder).collect())
        })
        .collect()
}

fn arrows_of(from: &str, to: &[&str]) -> Arrows {
    let to = to.iter().map(|folder| (*folder).to_owned());
    BTreeMap::from([(from.to_owned(), to.collect())])
}
