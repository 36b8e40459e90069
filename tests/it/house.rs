//! Rules of the repository that a machine can see.

use std::fs;
use std::path::{Path, PathBuf};

use stoker_tests::repository;

/// Longer source files are to be taken apart.
const MOST_LINES: usize = 500;

/// A service's `main.rs` only delegates.
const MOST_LINES_OF_A_SERVICE_MAIN: usize = 20;

const SOURCES: [&str; 6] = ["rs", "proto", "sql", "sh", "java", "toml"];

/// Not written by people: build output, generated code, data.
const PASSED_OVER: [&str; 6] = [".git", "target", "gen", "ndjson", "bundles", "results"];

#[test]
fn every_crate_has_a_readme() {
    let manifests = files_where(|file| file.ends_with("Cargo.toml"));
    let crates = manifests.iter().map(|file| file.parent().unwrap());
    let crates: Vec<_> = crates
        .filter(|folder| *folder != repository::root())
        .collect();
    assert!(crates.len() >= 8, "too few crates found: {crates:?}");
    let without: Vec<_> = crates
        .iter()
        .filter(|c| !c.join("README.md").is_file())
        .collect();
    assert!(without.is_empty(), "crates without README.md: {without:?}");
}

#[test]
fn source_files_are_short() {
    let sources = files_where(|file| extension_is_one_of(file, &SOURCES));
    assert!(sources.len() >= 50, "too few sources found");
    let long: Vec<_> = sources
        .iter()
        .filter(|file| lines(file) > MOST_LINES)
        .collect();
    assert!(
        long.is_empty(),
        "files of more than {MOST_LINES} lines: {long:?}"
    );
}

#[test]
fn service_mains_only_delegate() {
    let services = repository::root().join("services");
    let mains = files_where(|file| file.starts_with(&services) && file.ends_with("src/main.rs"));
    assert!(!mains.is_empty(), "no service has a main.rs");
    let long: Vec<_> = mains
        .iter()
        .filter(|file| lines(file) > MOST_LINES_OF_A_SERVICE_MAIN)
        .collect();
    assert!(
        long.is_empty(),
        "more than {MOST_LINES_OF_A_SERVICE_MAIN} lines: {long:?}"
    );
}

#[test]
fn nothing_is_left_for_later_or_tied_to_one_machine() {
    let mut found = Vec::new();
    for file in files_where(|_| true) {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        for (number, line) in (1..).zip(text.lines()) {
            found.extend(
                forbidden_in(line).map(|word| format!("{}:{number}: {word}", file.display())),
            );
        }
    }
    assert!(found.is_empty(), "forbidden words:\n{}", found.join("\n"));
}

#[test]
fn forbidden_words_are_seen_where_they_are_and_nowhere_else() {
    for word in forbidden() {
        let line = format!("    // so far: {word} and so on");
        assert!(
            forbidden_in(&line).any(|found| found == word),
            "{word} is not seen"
        );
    }
    assert_eq!(
        forbidden_in("let todos = list_all_of(\"homework/\");").next(),
        None
    );
}

/// Put together here so that this file does not hold them.
fn forbidden() -> [String; 9] {
    [
        ["/wo", "rk/"],
        ["/fa", "rm/"],
        ["/ro", "ot/"],
        ["TO", "DO"],
        ["FIX", "ME"],
        ["to", "do!("],
        ["unimple", "mented!("],
        ["#[al", "low("],
        ["for ", "now,"],
    ]
    .map(|halves| halves.concat())
}

fn forbidden_in(line: &str) -> impl Iterator<Item = String> {
    forbidden()
        .into_iter()
        .filter(move |word| line.contains(word))
}

fn lines(file: &Path) -> usize {
    fs::read_to_string(file).unwrap().lines().count()
}

fn extension_is_one_of(file: &Path, extensions: &[&str]) -> bool {
    file.extension()
        .is_some_and(|e| extensions.iter().any(|wanted| e == *wanted))
}

fn files_where(wanted: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut folders = vec![repository::root()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            if PASSED_OVER.iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if wanted(&path) {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}
