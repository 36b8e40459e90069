//! What cannot work ends within seconds, with exit code 1 and one sentence that says what to do.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use stoker_sandbox::{Auth, Fault, FaultRule, Sandbox, SandboxConfig};
use stoker_tests::stoker::{Run, Stoker, stoker_bin};

const SECONDS: Duration = Duration::from_secs(15);

fn write_patient(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    fs::write(
        folder.join("p.json"),
        r#"{"resourceType":"Patient","id":"p"}"#,
    )
    .unwrap();
}

async fn load(user: &Stoker, to: &str, more: &[&str]) -> Run {
    let args: Vec<&str> = ["load", "data", "--to", to]
        .into_iter()
        .chain(more.iter().copied())
        .collect();
    let started = Instant::now();
    let run = user.args(args).run().await.unwrap();
    assert!(started.elapsed() < SECONDS, "took {:?}", started.elapsed());
    run
}

/// One line on standard error with all of `words`; nothing on standard output.
fn assert_sentence(run: &Run, words: &[&str]) {
    assert_eq!(run.code, 1, "{run:#?}");
    let errors: Vec<&str> = run
        .stderr
        .lines()
        .filter(|l| l.starts_with("error: "))
        .collect();
    assert_eq!(errors.len(), 1, "{run:#?}");
    for word in words {
        assert!(errors[0].contains(word), "{word:?} is not in {errors:?}");
    }
}

#[tokio::test]
async fn wrong_url() {
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let user = Stoker::new().unwrap();
    write_patient(&user.home().join("data"));
    let nobody_there = load(&user, "http://127.0.0.1:9/fhir", &[]).await;
    assert_sentence(&nobody_there, &["http://127.0.0.1:9/fhir", "check"]);
    let elsewhere = format!("{}/nothing/here", sandbox.base_url());
    assert_sentence(
        &load(&user, &elsewhere, &[]).await,
        &["/nothing/here", "FHIR"],
    );
    assert_sentence(&load(&user, "not a url", &[]).await, &["not a url"]);
    assert_eq!(sandbox.stats().entries, 0);
}

#[tokio::test]
async fn a_server_that_is_slow_to_say_what_it_can_do_is_waited_for() {
    let slow = SandboxConfig {
        latency: Duration::from_secs(6),
        ..SandboxConfig::default()
    };
    let sandbox = Sandbox::start(slow).await.unwrap();
    let user = Stoker::new().unwrap();
    write_patient(&user.home().join("data"));
    let base = sandbox.base_url();
    let run = user
        .args(["load", "data", "--to", &base])
        .run()
        .await
        .unwrap();
    assert_eq!(run.code, 0, "{run:#?}");
    assert!(
        run.stderr.contains(&format!("waiting for {base}")),
        "{run:#?}"
    );
    assert_eq!(sandbox.resources("Patient").len(), 1);
}

#[tokio::test]
async fn wrong_password() {
    let auth = Auth {
        basic: Some(("loader".to_owned(), "right".into())),
        bearer: None,
    };
    let config = SandboxConfig {
        auth,
        ..SandboxConfig::default()
    };
    let sandbox = Sandbox::start(config).await.unwrap();
    let user = Stoker::new().unwrap();
    write_patient(&user.home().join("data"));
    let base = sandbox.base_url();
    let wrong = ["--fhir-user", "loader", "--fhir-password", "wrong-secret"];
    let run = load(&user, &base, &wrong).await;
    assert_sentence(&run, &["password"]);
    assert!(!run.stderr.contains("wrong-secret"), "a secret was printed");
    let right = ["--fhir-user", "loader", "--fhir-password", "right"];
    assert_eq!(load(&user, &base, &right).await.code, 0);
}

#[tokio::test]
async fn who_may_look_and_not_write() {
    let refused = FaultRule {
        method: Some("POST".to_owned()),
        ..FaultRule::new(Fault::Status {
            code: 401,
            retry_after: None,
            body: None,
        })
    };
    let config = SandboxConfig {
        faults: vec![refused],
        ..SandboxConfig::default()
    };
    let sandbox = Sandbox::start(config).await.unwrap();
    let user = Stoker::new().unwrap();
    let data = user.home().join("data");
    fs::create_dir(&data).unwrap();
    let lines = "{\"resourceType\":\"Patient\"}\n".repeat(3);
    fs::write(data.join("p.ndjson"), lines).unwrap();
    let run = load(&user, &sandbox.base_url(), &["--report", "report.json"]).await;
    assert_sentence(&run, &["credentials", "check user, password or token"]);
    let report = fs::read_to_string(user.home().join("report.json")).unwrap();
    assert!(report.contains("\"result\": \"failed\""), "{report}");
    assert!(sandbox.resources("Patient").is_empty());
}

#[tokio::test]
async fn a_report_that_would_be_an_input() {
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let user = Stoker::new().unwrap();
    write_patient(&user.home().join("data"));
    let base = sandbox.base_url();
    let inside = load(&user, &base, &["--report", "data/report.json"]).await;
    assert_sentence(&inside, &["data/report.json", "outside of"]);
    let instead = [
        "load",
        "data/p.json",
        "--to",
        &base,
        "--report",
        "data/p.json",
    ];
    let instead = user.args(instead).run().await.unwrap();
    assert_sentence(&instead, &["take the place of an input"]);
    assert_eq!(fs::read_dir(user.home().join("data")).unwrap().count(), 1);
    assert_eq!(sandbox.stats().entries, 0);
}

#[tokio::test]
async fn what_cannot_run_leaves_no_report_half_written() {
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let user = Stoker::new().unwrap();
    write_patient(&user.home().join("data"));
    let no_ledger = ["--report", "report.json", "--ledger", "sqlite:data/p.json"];
    let run = load(&user, &sandbox.base_url(), &no_ledger).await;
    assert_sentence(&run, &["data/p.json", "not an SQLite database"]);
    let left = fs::read_dir(user.home()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["data"], "only the input is there");
}

#[tokio::test]
async fn missing_folder() {
    let user = Stoker::new().unwrap();
    assert_sentence(
        &load(&user, "http://127.0.0.1:9/fhir", &[]).await,
        &["data", "check the path"],
    );
}

/// The program in a folder that every user may enter, since root may read everything.
fn as_nobody(folder: &Path) -> Command {
    let program = folder.join("stoker");
    fs::copy(stoker_bin().unwrap(), &program).unwrap();
    open_to_all(folder);
    let is_root =
        fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
    if !is_root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(program);
    command
}

fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
}

#[tokio::test]
async fn unreadable_folder() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_patient(&data);
    fs::set_permissions(&data, fs::Permissions::from_mode(0o000)).unwrap();
    let mut command = as_nobody(folder.path());
    command
        .args(["load", "data", "--to", &sandbox.base_url()])
        .env("HOME", folder.path())
        .env_remove("XDG_DATA_HOME")
        .current_dir(folder.path());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("data") && stderr.contains("right to read"),
        "{stderr}"
    );
}

#[tokio::test]
async fn full_disk_under_the_ledger() {
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let user = Stoker::new().unwrap();
    let data = user.home().join("data");
    fs::create_dir(&data).unwrap();
    // Rejected inputs are kept in the ledger, so these fill it soon.
    let line = format!("no JSON {}\n", "x".repeat(20_000));
    fs::write(data.join("big.ndjson"), line.repeat(500)).unwrap();
    let script = format!(
        "mkdir full && mount -t tmpfs -o size=1m tmpfs full && exec {} load data --to {} --ledger sqlite:full/ledger.sqlite",
        stoker_bin().unwrap().display(),
        sandbox.base_url()
    );
    let home = user.home().to_owned();
    let started = Instant::now();
    let output = tokio::task::spawn_blocking(move || {
        let unshare = ["--mount", "--map-root-user"];
        Command::new("unshare")
            .args(unshare)
            .args(["sh", "-c", &script])
            .current_dir(home)
            .output()
            .unwrap()
    });
    let output = output.await.unwrap();
    assert!(
        started.elapsed() < SECONDS * 2,
        "took {:?}",
        started.elapsed()
    );
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("disk") && stderr.contains("full"),
        "{stderr}"
    );
}

#[tokio::test]
async fn a_scanner_that_is_not_there() {
    let user = Stoker::new().unwrap();
    let jobs = user.args(["jobs", "--server", "http://127.0.0.1:9"]);
    let words = ["bucket-scanner", "check the address"];
    assert_sentence(&jobs.run().await.unwrap(), &words);
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let base = sandbox.base_url();
    let other = user.args(["jobs", "--server", base.trim_end_matches("/fhir")]);
    let words = ["serves no ledger", "bucket-scanner"];
    assert_sentence(&other.run().await.unwrap(), &words);
}

#[tokio::test]
async fn a_service_with_a_fault_in_its_settings() {
    let user = Stoker::new().unwrap();
    let serve = user.args(["serve", "bucket-scanner", "--set", "leese=3s"]);
    let run = serve.run().await.unwrap();
    assert_sentence(&run, &["configuration"]);
    assert!(run.stderr.contains("bucket_scanner.leese"), "{run:#?}");
}

#[tokio::test]
async fn usage_errors_exit_1() {
    let user = Stoker::new().unwrap();
    for args in [
        vec!["load"],
        vec!["load", "x"],
        vec!["no-such-command"],
        vec!["load", "x", "--to"],
    ] {
        let run = user.args(&args).run().await.unwrap();
        assert_eq!(run.code, 1, "{args:?}: {run:#?}");
    }
    for args in [
        vec!["--help"],
        vec!["load", "--help"],
        vec!["jobs", "--help"],
        vec!["--version"],
    ] {
        let run = user.args(&args).run().await.unwrap();
        assert_eq!(run.code, 0, "{args:?}: {run:#?}");
    }
    let help = user.args(["load", "--help"]).run().await.unwrap().stdout;
    assert!(
        help.contains("Examples:") && help.contains("Exit codes"),
        "{help}"
    );
}
