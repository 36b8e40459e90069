//! Rules of the repository that a machine can see.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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
    let root = repository::root();
    let mut files = tracked_files(&root).unwrap_or_else(|| files_below(&root));
    files.retain(|file| !is_passed_over(file.strip_prefix(&root).unwrap()) && wanted(file));
    files.sort();
    files
}

fn is_passed_over(file: &Path) -> bool {
    file.iter()
        .any(|part| PASSED_OVER.iter().any(|name| part == *name))
}

/// The files under version control, as they are now; nothing where the sources are no git checkout, or git is missing.
fn tracked_files(root: &Path) -> Option<Vec<PathBuf>> {
    if !root.join(".git").exists() {
        return None;
    }
    // A checkout may belong to another user than the one who runs the tests.
    let listing = ["-c", "safe.directory=*", "ls-files", "-z"];
    let mut git = Command::new("git");
    let listed = git.args(listing).current_dir(root).output().ok()?;
    let error = String::from_utf8_lossy(&listed.stderr);
    assert!(listed.status.success(), "git ls-files: {error}");
    let names = String::from_utf8(listed.stdout).unwrap();
    let files = names.split_terminator('\0').map(|name| root.join(name));
    // One that was deleted is listed until that is committed.
    Some(files.filter(|file| file.is_file()).collect())
}

fn files_below(root: &Path) -> Vec<PathBuf> {
    let mut folders = vec![root.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            if !entry.file_type().unwrap().is_dir() {
                files.push(entry.path());
            } else if !is_passed_over(entry.file_name().as_ref()) {
                folders.push(entry.path());
            }
        }
    }
    files
}
