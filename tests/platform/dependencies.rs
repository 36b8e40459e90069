//! What `deny.toml` refuses, by a workspace of crates that are made for it.

use std::fs;
use std::path::Path;
use std::process::Command;

use stoker_tests::repository;

/// A crate of its own folder, with what stands below its `[dependencies]`.
fn write_crate(folder: &Path, name: &str, license: &str, dependencies: &str) {
    fs::create_dir_all(folder.join("src")).unwrap();
    fs::write(folder.join("src/lib.rs"), "").unwrap();
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"1.0.0\"\nedition = \"2024\"\npublish = false\n\
         license = \"{license}\"\n[dependencies]\n{dependencies}\n"
    );
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
}

fn git(folder: &Path, args: &[&str]) {
    let status = Command::new("git")
        .args(["-c", "user.name=test", "-c", "user.email=test@example.org"])
        .args(args)
        .current_dir(folder)
        .status();
    assert!(status.unwrap().success(), "git {args:?}");
}

/// Checks a crate with one dependency; answers whether it passed, and what was told. What cargo fetches stays in
/// the folder.
fn check(folder: &Path, dependency: &str) -> (bool, String) {
    write_crate(&folder.join("app"), "app", "Apache-2.0", dependency);
    let part = repository::root().join("tests/parts/cargo-deny.sh");
    let output = Command::new(part)
        .arg("check")
        .arg(folder.join("app/Cargo.toml"))
        .env("CARGO_HOME", folder.join("cargo"))
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn what_is_allowed_passes() {
    let folder = tempfile::tempdir().unwrap();
    write_crate(&folder.path().join("good"), "good", "MIT", "");
    let (passed, text) = check(folder.path(), "good = { path = \"../good\" }");
    assert!(passed, "{text}");
}

#[test]
fn a_banned_crate_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_crate(&folder.path().join("tls"), "native-tls", "MIT", "");
    let (passed, text) = check(folder.path(), "native-tls = { path = \"../tls\" }");
    assert!(!passed && text.contains("error[banned]"), "{text}");
    assert!(
        text.contains("bans FAILED, licenses ok, sources ok"),
        "{text}"
    );
}

#[test]
fn a_licence_that_is_not_listed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_crate(&folder.path().join("bad"), "bad", "GPL-3.0-only", "");
    let (passed, text) = check(folder.path(), "bad = { path = \"../bad\" }");
    assert!(!passed && text.contains("error[rejected]"), "{text}");
    assert!(
        text.contains("bans ok, licenses FAILED, sources ok"),
        "{text}"
    );
}

#[test]
fn a_source_that_is_no_registry_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = folder.path().join("elsewhere");
    write_crate(&elsewhere, "elsewhere", "MIT", "");
    git(&elsewhere, &["init", "-q"]);
    git(&elsewhere, &["add", "."]);
    git(&elsewhere, &["commit", "-q", "-m", "made"]);
    let dependency = format!(
        "elsewhere = {{ git = \"file://{}\", version = \"1\" }}",
        elsewhere.display()
    );
    let (passed, text) = check(folder.path(), &dependency);
    assert!(
        !passed && text.contains("error[source-not-allowed]"),
        "{text}"
    );
    assert!(
        text.contains("bans ok, licenses ok, sources FAILED"),
        "{text}"
    );
}
