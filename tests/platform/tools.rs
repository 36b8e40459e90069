//! Programs that check for us, installed by `tests/parts/`.

use std::path::Path;
use std::process::{Command, Output};

use stoker_tests::parts;

/// Runs the program that a variable names; answers how it ended and all that it printed.
pub(crate) fn run(variable: &str, args: &[&str], folder: &Path) -> (bool, String) {
    let program = parts::required(variable);
    let output = Command::new(&program)
        .args(args)
        .current_dir(folder)
        .output();
    let Output {
        status,
        stdout,
        stderr,
    } = output.unwrap_or_else(|e| panic!("{program}: {e}"));
    let text = [stdout, stderr].concat();
    (status.success(), String::from_utf8(text).unwrap())
}

/// Runs it and answers what it printed on its standard output.
pub(crate) fn must_run(variable: &str, args: &[&str], folder: &Path) -> String {
    let (succeeded, text) = run(variable, args, folder);
    assert!(succeeded, "{args:?}: {text}");
    text
}
