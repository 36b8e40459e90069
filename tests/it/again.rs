//! Loading the same folder again, after changes, after a kill, into another server.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use stoker_sandbox::{Sandbox, SandboxConfig};
use stoker_tests::parts;
use stoker_tests::stoker::{Run, Stoker, isolated, stoker_bin};

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
    counts(&run.stdout)
}

/// Files loaded, files unchanged, resources loaded, as a report tells them.
fn counts(report: &str) -> (u64, u64, u64) {
    let report: Value = serde_json::from_str(report).unwrap();
    let number = |group: &str, name: &str| report[group][name].as_u64().unwrap();
    (
        number("files", "loaded"),
        number("files", "unchanged"),
        number("resources", "loaded"),
    )
}

/// What a load says to a person.
async fn says(user: &Stoker, base: &str) -> String {
    let run = user.args(["load", "data", "--to", base]).run().await;
    let run = run.unwrap();
    assert_eq!(run.code, 0, "{run:#?}");
    run.stderr
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
async fn a_second_load_says_why_nothing_is_sent() {
    let sandbox = sandbox().await;
    let user = Stoker::new().unwrap();
    let base = sandbox.base_url();
    for name in ["a", "b"] {
        write_patients(&user.home().join(format!("data/{name}.ndjson")), name, 1);
    }
    let hint = "all 2 files were loaded before and are unchanged; --reload loads them again";
    assert!(!says(&user, &base).await.contains(hint));
    let said = says(&user, &base).await;
    assert!(said.contains(hint), "{said}");
}

#[tokio::test]
async fn a_file_with_a_new_time_is_loaded_again() {
    let sandbox = sandbox().await;
    let user = Stoker::new().unwrap();
    let file = user.home().join("data/a.ndjson");
    write_patients(&file, "a", 3);
    let base = sandbox.base_url();
    assert_eq!(load(&user, &base, &[]).await, (1, 0, 3));
    let opened = fs::File::options().append(true).open(&file).unwrap();
    let written = opened.metadata().unwrap().modified().unwrap();
    opened
        .set_modified(written - Duration::from_hours(1))
        .unwrap();
    assert_eq!(load(&user, &base, &[]).await, (1, 0, 3));
    assert_eq!(load(&user, &base, &[]).await, (0, 1, 0));
}

#[tokio::test]
async fn a_shared_mount_is_the_same_source_on_every_host() {
    let sandbox = sandbox().await;
    let user = Stoker::new().unwrap();
    write_patients(&user.home().join("data/a.ndjson"), "a", 3);
    let base = sandbox.base_url();
    let mount = ["--shared-mount", "nas"];
    assert_eq!(load(&user, &base, &mount).await, (1, 0, 3));
    assert_eq!(
        load_on_host("another-host", &user, &base, &mount).await,
        (0, 1, 0)
    );
    assert_eq!(
        load_on_host("another-host", &user, &base, &[]).await,
        (1, 0, 3),
        "without a mount's name the folder is the host's own"
    );
}

/// Like [`load`], where the machine is called `host`.
async fn load_on_host(host: &str, user: &Stoker, base: &str, more: &[&str]) -> (u64, u64, u64) {
    let mut command = isolated(Path::new("unshare"), user.home());
    command
        .args(["--uts", "--map-root-user", "sh", "-c"])
        .arg("hostname \"$0\" && exec \"$@\"")
        .arg(host)
        .arg(stoker_bin().unwrap())
        .args(["load", "data", "--to", base, "--json"])
        .args(more);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:#?}");
    counts(&String::from_utf8_lossy(&output.stdout))
}

#[tokio::test]
async fn a_killed_load_goes_on_and_repeats_only_what_was_in_flight() {
    const LINES: usize = 3000;
    // Requests on the wire, and fewer than as many that are answered while a commit gathers and is made; 20 resources
    // each.
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

fn assert_names_what_is_rejected(run: &Run) {
    for command in ["`stoker jobs errors 1`", "`stoker jobs retry 1`"] {
        assert!(run.stderr.contains(command), "{run:#?}");
        assert!(run.stdout.contains(command), "{run:#?}");
    }
    let before = run.stdout.lines().find(|l| l.starts_with("before"));
    assert!(before.unwrap().contains("1 rejected"), "{run:#?}");
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
    assert_names_what_is_rejected(&run);
    let run = user.args(["jobs", "retry", "1"]).run().await.unwrap();
    assert_eq!(run.code, 0, "{run:#?}");
    let run = user.args(args).run().await.unwrap();
    assert_eq!(run.code, 2, "{run:#?}");
    assert_eq!(sent().get("PUT /Observation"), Some(&1), "{:#?}", sent());
    assert_eq!(puts(), before + 1, "only the rejected input was sent again");
}
