//! What the image and the release are made with.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use stoker_tests::docker::{output, script};
use stoker_tests::repository;
use stoker_tests::stoker::stoker_bin;

fn run(name: &str, args: &[&Path]) -> String {
    output(Command::new(script(name)).args(args)).unwrap()
}

/// The words after `begin` in the first line that begins so.
fn after<'a>(text: &'a str, begin: &str) -> &'a str {
    let found = text.lines().find_map(|line| line.strip_prefix(begin));
    found.unwrap_or_else(|| panic!("no line begins with {begin}"))
}

#[test]
fn the_image_is_compiled_with_the_rust_of_the_repository() {
    let read = |name| fs::read_to_string(repository::root().join(name)).unwrap();
    let (dockerfile, toolchain) = (read("Dockerfile"), read("rust-toolchain.toml"));
    let version = after(&toolchain, "channel = ").trim_matches('"');
    assert_eq!(
        after(&dockerfile, "ARG RUST_IMAGE="),
        format!("rust:{version}-bookworm")
    );
}

/// Else the layer of dependencies would not build, or be built anew with every change.
#[test]
fn the_skeleton_is_the_workspace_without_its_code() {
    let folder = tempfile::tempdir().unwrap();
    run("skeleton.sh", &[folder.path()]);
    let metadata = |folder: &Path| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["metadata", "--locked", "--offline", "--format-version=1"]);
        let text = output(cargo.current_dir(folder)).unwrap();
        let here = folder.to_str().unwrap().to_owned();
        let value: Value = serde_json::from_str(&text.replace(&here, "")).unwrap();
        value
    };
    let (whole, skeleton) = (metadata(&repository::root()), metadata(folder.path()));
    assert_eq!(skeleton["resolve"], whole["resolve"]);
    let mut sources = 0;
    for package in skeleton["packages"].as_array().unwrap() {
        let ours = package["source"].is_null();
        for target in package["targets"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|_| ours)
        {
            let source = target["src_path"].as_str().unwrap().trim_start_matches('/');
            let text = fs::read_to_string(folder.path().join(source)).unwrap();
            assert!(text.is_empty() || text == "fn main() {}\n", "{source}");
            sources += 1;
        }
    }
    assert!(sources > 10, "{sources} sources");
}

#[test]
fn the_bill_of_materials_names_what_is_linked_in_and_the_licences_of_it() {
    let folder = tempfile::tempdir().unwrap();
    run("bom.sh", &[folder.path()]);
    let file = folder.path().join("stoker.cdx.json");
    let part = repository::root().join("tests/parts/cyclonedx.sh");
    output(Command::new(part).arg("validate").arg(&file)).unwrap();

    let bom: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let licences = fs::read_to_string(folder.path().join("LICENCES.txt")).unwrap();
    let components = bom["components"].as_array().unwrap();
    let named = |name: &str| components.iter().find(|c| c["name"] == name);
    // Linked as crates, as C code that crates bring along, and as the sources of a C library.
    for name in [
        "rustls",
        "tokio",
        "rdkafka-sys",
        "libsqlite3-sys",
        "openssl-src",
        "stoker-shared",
    ] {
        assert!(named(name).is_some(), "{name} is missing");
    }
    // For tests and benchmarks alone.
    for name in ["stoker-tests", "stoker-bench", "proptest"] {
        assert!(named(name).is_none(), "{name} is not linked in");
    }
    for component in components {
        let (name, version) = (&component["name"], &component["version"]);
        let licence = component["licenses"][0]["expression"].as_str().unwrap();
        assert_ne!(licence, "NOASSERTION", "{name} {version}");
        let ours = component["hashes"].is_null();
        let line = format!(
            "\n{} {}: {licence}\n",
            name.as_str().unwrap(),
            version.as_str().unwrap()
        );
        assert!(ours || licences.contains(&line), "{line}");
    }
    assert!(licences.contains("rdkafka-sys") && licences.contains("librdkafka/LICENSE"));
}

#[test]
fn a_release_runs_on_any_system_and_can_be_checked() {
    let folder = tempfile::tempdir().unwrap();
    let dist = folder.path().join("dist");
    run("release.sh", &[&stoker_bin().unwrap(), &dist]);
    let checked = Command::new("sha256sum")
        .args(["--check", "--strict", "SHA256SUMS"])
        .current_dir(&dist)
        .output()
        .unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let names: Vec<_> = fs::read_dir(&dist)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let archive = names.iter().find(|name| name.ends_with(".tar.gz")).unwrap();
    let listed = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(listed.contains(&format!("{archive}: OK")), "{listed}");

    output(
        Command::new("tar")
            .arg("-xzf")
            .arg(dist.join(archive))
            .current_dir(folder.path()),
    )
    .unwrap();
    let unpacked = folder.path().join(archive.trim_end_matches(".tar.gz"));
    let version = output(Command::new(unpacked.join("stoker")).arg("--version")).unwrap();
    assert_eq!(version, format!("stoker {}\n", env!("CARGO_PKG_VERSION")));
    for file in [
        "LICENSE",
        "LICENCES.txt",
        "stoker.cdx.json",
        "README.md",
        "config/loader-worker.yaml",
    ] {
        assert!(unpacked.join(file).is_file(), "{file} is missing");
    }
}

/// A program that needs more than every system has is refused.
#[test]
fn a_program_that_is_not_portable_is_refused() {
    // It needs the library that gives its commands a history.
    let shell = Path::new("/bin/bash");
    let error = output(Command::new(script("portable.sh")).arg(shell)).unwrap_err();
    assert!(error.to_string().contains("libtinfo"), "{error}");
}
