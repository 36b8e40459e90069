//! Loading the same folder again, after changes, after a kill, into another server.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use stoker_sandbox::{Sandbox, SandboxConfig};
use stoker_tests::parts;
use stoker_tests::stoker::{Stoker, stoker_bin};

fn write_patients(file: &Path, prefix: &str, count: usize) {
    let mut lines = String::new();
    for n in 0..count {
        writeln!(
            lines,
            "{{\"resourceType\":\"Patient\",\"id\":\"{prefix}{n}\"}}"
        )
        .unwrap();
    }
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, lines).unwrap();
}

/// Loads `data`; answers files loaded, files unchanged, resources loaded.
async fn load(user: &Stoker, base: &str, more: &[&str]) -> (u64, u64, u64) {
    let args = ["load", "data", "--to", base, "--json"]
        .into_iter()
        .chain(more.iter().copied());
    let run = user.args(args).run().await.unwrap();
    assert_eq!(run.code, 0, "{run:#?}");
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    let number = |group: &str, name: &str| report[group][name].as_u64().unwrap();
    (
        number("files", "loaded"),
        number("files", "unchanged"),
        number("resources", "loaded"),
    )
}

async fn sandbox() -> Sandbox {
    Sandbox::start(SandboxConfig::default()).await.unwrap()
}

async fn only_new_and_changed_files_are_sent(ledger: &[&str]) {
    let (first, second) = (sandbox().await, sandbox().await);
    let user = Stoker::new().unwrap();
    let data = user.home().join("data");
    write_patients(&data.join("a.ndjson"), "a", 10);
    write_patients(&data.join("b.ndjson"), "b", 20);
    let base = first.base_url();
    assert_eq!(load(&user, &base, ledger).await, (2, 0, 30));
    assert_eq!(load(&user, &base, ledger).await, (0, 2, 0));
    write_patients(&data.join("b.ndjson"), "b", 21);
    write_patients(&data.join("sub/c.ndjson"), "c", 5);
    assert_eq!(load(&user, &base, ledger).await, (2, 1, 26));
    assert_eq!(first.resources("Patient").len(), 36);
    let reload = [ledger, &["--reload"]].concat();
    assert_eq!(load(&user, &base, &reload).await, (3, 0, 36));
    assert_eq!(load(&user, &second.base_url(), ledger).await, (3, 0, 36));
    assert_eq!(second.resources("Patient").len(), 36);
}

#[tokio::test]
async fn with_the_users_own_ledger() {
    only_new_and_changed_files_are_sent(&[]).await;
}

#[tokio::test]
async fn with_a_ledger_on_postgresql() {
    let database = parts::fresh_database().await.unwrap();
    only_new_and_changed_files_are_sent(&["--ledger", &database]).await;
}

#[tokio::test]
async fn without_a_ledger_everything_is_sent_each_time() {
    let sandbox = sandbox().await;
    let user = Stoker::new().unwrap();
    write_patients(&user.home().join("data/a.ndjson"), "a", 10);
    for _ in 0..2 {
        let loaded = load(&user, &sandbox.base_url(), &["--ledger", "none"]).await;
        assert_eq!(loaded, (1, 0, 10));
    }
    assert!(!user.home().join("data/stoker").exists() && !user.home().join(".local").exists());
}

#[tokio::test]
async fn a_killed_load_goes_on_and_repeats_only_what_was_in_flight() {
    const LINES: usize = 3000;
    // Requests sent and not yet committed: twice the concurrency, 20 resources each.
    const IN_FLIGHT: u64 = 2 * 8 * 20;
    let config = SandboxConfig {
        latency: Duration::from_millis(20),
        ..SandboxConfig::default()
    };
    let sandbox = Sandbox::start(config).await.unwrap();
    let base = sandbox.base_url();
    let user = Stoker::new().unwrap();
    write_patients(&user.home().join("data/a.ndjson"), "a", LINES);
    let mut kills = 0;
    for _ in 0..3 {
        let before = sandbox.stats().versions_written;
        let mut child = Command::new(stoker_bin().unwrap())
            .args([
                "load",
                "data",
                "--to",
                &base,
                "--batch",
                "20",
                "--concurrency",
                "8",
            ])
            .current_dir(user.home())
            .env("HOME", user.home())
            .env("XDG_DATA_HOME", user.home().join("data-home"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // A lease of the run before has to run out first, so wait for progress, not for time.
        while sandbox.stats().versions_written < before + 300 {
            assert!(
                child.try_wait().unwrap().is_none(),
                "ended before it was killed"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    let run = user
        .args(["load", "data", "--to", &base])
        .env("XDG_DATA_HOME", user.home().join("data-home"));
    let run = run.run().await.unwrap();
    assert_eq!(run.code, 0, "{run:#?}");
    assert_eq!(
        sandbox.resources("Patient").len(),
        LINES,
        "nothing is missing"
    );
    let written = sandbox.stats().versions_written;
    let most = LINES as u64 + kills * IN_FLIGHT;
    assert!(written <= most, "{written} written, {most} at most");
}

#[tokio::test]
async fn rejected_inputs_can_be_retried() {
    let sandbox = sandbox().await;
    let user = Stoker::new().unwrap();
    let data = user.home().join("data");
    fs::create_dir(&data).unwrap();
    let observation = r#"{"resourceType":"Observation","id":"o","status":"final"}"#;
    let patient = r#"{"resourceType":"Patient","id":"p"}"#;
    fs::write(
        data.join("x.ndjson"),
        format!("{patient}\n{observation}\n{patient}\n"),
    )
    .unwrap();
    let base = sandbox.base_url();
    let args = ["load", "data", "--to", &base];
    assert_eq!(user.args(args).run().await.unwrap().code, 2);
    let sent = || sandbox.stats().by_method_path;
    let puts = || -> u64 {
        let of_kind = sent()
            .into_iter()
            .filter(|(path, _)| !path.starts_with("GET"));
        of_kind.map(|(_, count)| count).sum()
    };
    let before = puts();
    let run = user.args(args).run().await.unwrap();
    assert_eq!(puts(), before, "a rejected input is not sent again unasked");
    assert_eq!(run.code, 0, "this run had nothing to do: {run:#?}");
    let run = user.args(["jobs", "retry", "1"]).run().await.unwrap();
    assert_eq!(run.code, 0, "{run:#?}");
    let run = user.args(args).run().await.unwrap();
    assert_eq!(run.code, 2, "{run:#?}");
    assert_eq!(sent().get("PUT /Observation"), Some(&1), "{:#?}", sent());
    assert_eq!(puts(), before + 1, "only the rejected input was sent again");
}
