//! A FHIR server that is slow, busy, broken or gone: nothing is lost, nothing is doubled, doubt is named.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use serde_json::Value;
use stoker_sandbox::{Fault, FaultRule, Sandbox, SandboxConfig};
use stoker_tests::stoker::{Run, Stoker};

const LINES: usize = 250;

/// A user with patients to load; `id` gives each line its id, or none.
fn user_with_patients(with_ids: bool) -> Stoker {
    let user = Stoker::new().unwrap();
    let mut lines = String::new();
    for n in 0..LINES {
        let id = if with_ids {
            format!("\"id\":\"p{n}\",")
        } else {
            String::new()
        };
        writeln!(lines, "{{\"resourceType\":\"Patient\",{id}\"identifier\":[{{\"system\":\"urn:n\",\"value\":\"n{n}\"}}]}}").unwrap();
    }
    fs::write(user.home().join("patients.ndjson"), lines).unwrap();
    user
}

async fn sandbox_with(rules: Vec<FaultRule>) -> Sandbox {
    let config = SandboxConfig {
        faults: rules,
        ..SandboxConfig::default()
    };
    Sandbox::start(config).await.unwrap()
}

fn on(method: &str, times: u64, fault: Fault) -> FaultRule {
    FaultRule {
        method: Some(method.to_owned()),
        times: Some(times),
        ..FaultRule::new(fault)
    }
}

fn status(code: u16, retry_after: Option<u32>) -> Fault {
    Fault::Status {
        code,
        retry_after,
        body: None,
    }
}

async fn load(user: &Stoker, sandbox: &Sandbox, more: &[&str]) -> (Run, Value) {
    let base = sandbox.base_url();
    let mut args = vec![
        "load",
        "patients.ndjson",
        "--to",
        &base,
        "--report",
        "report.json",
    ];
    args.extend(more);
    let run = user.args(args).run().await.unwrap();
    let report = fs::read(user.home().join("report.json"));
    let report = report.unwrap_or_else(|e| panic!("no report ({e}): {run:#?}"));
    (run, serde_json::from_slice(&report).unwrap())
}

#[tokio::test]
async fn passing_faults_cost_time_only() {
    for fault in [
        status(503, None),
        status(429, Some(1)),
        status(500, None),
        Fault::DropBeforeRead,
        Fault::DropBeforeResponse,
        Fault::DropAfterApply,
    ] {
        let sandbox = sandbox_with(vec![on("POST", 2, fault.clone())]).await;
        let user = user_with_patients(true);
        let (run, report) = load(&user, &sandbox, &[]).await;
        assert_eq!(run.code, 0, "{fault:?}: {run:#?}");
        assert_eq!(report["resources"]["loaded"], LINES, "{fault:?}");
        assert_eq!(report["requests"]["retried"], 2, "{fault:?}");
        assert_eq!(sandbox.resources("Patient").len(), LINES, "{fault:?}");
    }
}

#[tokio::test]
async fn a_create_is_repeated_only_when_the_server_cannot_have_acted() {
    for fault in [status(503, None), status(429, None)] {
        let sandbox = sandbox_with(vec![on("POST", 2, fault.clone())]).await;
        let (run, report) = load(&user_with_patients(false), &sandbox, &[]).await;
        assert_eq!(run.code, 0, "{fault:?}: {run:#?}");
        assert_eq!(report["resources"]["created"], LINES);
        assert_eq!(sandbox.resources("Patient").len(), LINES);
    }
    for fault in [
        status(500, None),
        Fault::DropBeforeResponse,
        Fault::DropAfterApply,
    ] {
        let sandbox = sandbox_with(vec![on("POST", 1, fault.clone())]).await;
        let (run, report) = load(&user_with_patients(false), &sandbox, &[]).await;
        assert_eq!(run.code, 2, "{fault:?}: {run:#?}");
        let applied = fault == Fault::DropAfterApply;
        let in_doubt = report["resources"]["in_doubt"].as_u64().unwrap();
        assert!(in_doubt > 0 && in_doubt <= 100, "{report:#}");
        assert_eq!(
            report["resources"]["created"].as_u64().unwrap() + in_doubt,
            LINES as u64
        );
        let held = sandbox.resources("Patient").len() as u64;
        let expected = if applied {
            LINES as u64
        } else {
            LINES as u64 - in_doubt
        };
        assert_eq!(held, expected, "{fault:?}: nothing is there twice");
        let named = report["problems"].as_array().unwrap();
        assert_eq!(
            named.iter().filter(|p| p["kind"] == "in_doubt").count() as u64,
            in_doubt
        );
    }
}

#[tokio::test]
async fn a_failing_entry_is_sent_again_alone() {
    let rule = FaultRule {
        body_contains: Some("\"n7\"".to_owned()),
        times: Some(2),
        ..FaultRule::new(Fault::EntryStatus { code: 503 })
    };
    let sandbox = sandbox_with(vec![rule]).await;
    let (run, report) = load(&user_with_patients(true), &sandbox, &[]).await;
    assert_eq!(run.code, 0, "{run:#?}");
    assert_eq!(report["resources"]["loaded"], LINES);
    assert_eq!(
        sandbox.stats().versions_written,
        LINES as u64,
        "no other entry was sent twice"
    );
}

#[tokio::test]
async fn a_request_that_always_fails_is_found_and_named() {
    let rule = FaultRule {
        body_contains: Some("\"n7\"".to_owned()),
        ..FaultRule::new(status(500, None))
    };
    let sandbox = sandbox_with(vec![rule]).await;
    let (run, report) = load(&user_with_patients(true), &sandbox, &[]).await;
    assert_eq!(run.code, 2, "{run:#?}");
    assert_eq!(report["resources"]["rejected"], 1, "{report:#}");
    assert_eq!(report["problems"][0]["line"], 8);
    assert_eq!(sandbox.resources("Patient").len(), LINES - 1);
}

#[tokio::test]
async fn a_server_lost_in_the_middle_is_exit_3_and_the_next_run_goes_on() {
    let rule = FaultRule {
        method: Some("POST".to_owned()),
        after: 2,
        ..FaultRule::new(status(503, None))
    };
    let sandbox = sandbox_with(vec![rule]).await;
    let user = user_with_patients(true);
    let patient = [
        "--give-up-after",
        "2s",
        "--batch",
        "10",
        "--concurrency",
        "1",
    ];
    let (run, report) = load(&user, &sandbox, &patient).await;
    assert_eq!(run.code, 3, "{run:#?}");
    assert!(run.stderr.contains("not been available"), "{run:#?}");
    assert!(
        report["resources"]["loaded"].as_u64().unwrap() >= 10,
        "{report:#}"
    );
    let before = report["resources"]["loaded"].as_u64().unwrap();
    sandbox.faults().clear();
    let (run, report) = load(&user, &sandbox, &[]).await;
    assert_eq!(run.code, 0, "{run:#?}");
    assert_eq!(sandbox.resources("Patient").len(), LINES);
    assert_eq!(
        sandbox.stats().versions_written,
        LINES as u64,
        "nothing was sent twice"
    );
    assert!(report["resources"]["loaded"].as_u64().unwrap() >= LINES as u64 - before);
}

#[tokio::test]
async fn the_later_of_two_lines_with_one_id_wins() {
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let user = Stoker::new().unwrap();
    let line = |n: usize| {
        format!(
            "{{\"resourceType\":\"Patient\",\"id\":\"same\",\"name\":[{{\"text\":\"v{n}\"}}]}}\n"
        )
    };
    let lines: String = (0..20).map(line).collect();
    fs::write(user.home().join("patients.ndjson"), lines).unwrap();
    let (run, _) = load(&user, &sandbox, &["--batch", "5"]).await;
    assert_eq!(run.code, 0, "{run:#?}");
    assert_eq!(
        sandbox.read("Patient", "same").unwrap()["name"][0]["text"],
        "v19"
    );
}

/// Loads while the server, after its first answers, breaks every connection for 4 s.
async fn load_through_an_outage(with_ids: bool, more: &[&str]) -> (Run, Value, Sandbox) {
    let config = SandboxConfig {
        latency: Duration::from_millis(20),
        ..SandboxConfig::default()
    };
    let sandbox = Sandbox::start(config).await.unwrap();
    let user = user_with_patients(with_ids);
    let outage = async {
        while sandbox.stats().versions_written < 20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let broken = FaultRule::new(Fault::DropBeforeResponse);
        sandbox.faults().set(vec![broken]).unwrap();
        tokio::time::sleep(Duration::from_secs(4)).await;
        sandbox.faults().clear();
    };
    let ((run, report), ()) = tokio::join!(load(&user, &sandbox, more), outage);
    (run, report, sandbox)
}

#[tokio::test]
async fn an_outage_rejects_nothing() {
    for batch in ["1", "10"] {
        let more = ["--batch", batch, "--concurrency", "4"];
        let (run, report, sandbox) = load_through_an_outage(true, &more).await;
        assert_eq!(run.code, 0, "batch {batch}: {run:#?}");
        assert_eq!(report["resources"]["loaded"], LINES);
        assert_eq!(sandbox.resources("Patient").len(), LINES);
    }
}

#[tokio::test]
async fn an_outage_leaves_only_posts_in_flight_in_doubt() {
    let more = ["--batch", "5", "--concurrency", "4"];
    let (run, report, sandbox) = load_through_an_outage(false, &more).await;
    assert_eq!(run.code, 2, "{run:#?}");
    let in_doubt = report["resources"]["in_doubt"].as_u64().unwrap();
    assert!(in_doubt > 0 && in_doubt <= 4 * 5, "{report:#}");
    let held = sandbox.resources("Patient").len() as u64;
    assert_eq!(held + in_doubt, LINES as u64, "nothing is lost or doubled");
}

#[tokio::test]
async fn a_store_that_fails_behind_a_well_server_leaves_few_creates_in_doubt() {
    let rule = FaultRule {
        after: 3,
        ..on("POST", u64::MAX, status(500, None))
    };
    let sandbox = sandbox_with(vec![rule]).await;
    let user = user_with_patients(false);
    let more = [
        "--batch",
        "5",
        "--concurrency",
        "4",
        "--give-up-after",
        "3s",
    ];
    let (run, report) = load(&user, &sandbox, &more).await;
    assert_eq!(run.code, 3, "{run:#?}");
    assert!(run.stderr.contains("not been available"), "{run:#?}");
    let count = |what: &str| report["resources"][what].as_u64().unwrap();
    assert_eq!(count("created"), 15, "{report:#}");
    // What was under way, then one request after each pause.
    assert!(count("in_doubt") <= (4 + 6) * 5, "{report:#}");
    sandbox.faults().clear();
    let (run, _) = load(&user, &sandbox, &[]).await;
    assert_eq!(run.code, 2, "what is in doubt stays so: {run:#?}");
    let held = sandbox.resources("Patient").len() as u64;
    assert_eq!(held + count("in_doubt"), LINES as u64);
}

#[tokio::test]
async fn a_server_that_fails_at_everything_is_lost_and_rejects_nothing() {
    for more in [vec!["--batch", "10"], vec!["--batch", "250"]] {
        let fails = |method| on(method, u64::MAX, status(500, None));
        let sandbox = sandbox_with(vec![fails("POST"), fails("PUT")]).await;
        let user = user_with_patients(true);
        let more = [more, vec!["--give-up-after", "3s"]].concat();
        let (run, report) = load(&user, &sandbox, &more).await;
        assert_eq!(run.code, 3, "{more:?}: {run:#?}");
        assert_eq!(report["resources"]["rejected"], 0, "{more:?}: {report:#}");
    }
}

#[tokio::test]
async fn a_server_that_asks_to_come_back_next_century_is_lost() {
    let next_century = status(429, Some(u32::MAX));
    let sandbox = sandbox_with(vec![on("POST", u64::MAX, next_century)]).await;
    let user = user_with_patients(true);
    let (run, report) = load(&user, &sandbox, &["--give-up-after", "2s"]).await;
    assert_eq!(run.code, 3, "{run:#?}");
    assert_eq!(report["resources"]["rejected"], 0, "{report:#}");
}

#[tokio::test]
async fn the_last_request_outlives_a_failover_of_the_servers_store() {
    let store_gone = FaultRule {
        path_contains: Some("Patient".to_owned()),
        ..FaultRule::new(status(500, None))
    };
    let sandbox = sandbox_with(vec![store_gone]).await;
    let user = Stoker::new().unwrap();
    let one = r#"{"resourceType":"Patient","id":"only"}"#;
    fs::write(user.home().join("patients.ndjson"), one).unwrap();
    let failover = async {
        while sandbox.stats().requests < 8 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        sandbox.faults().clear();
    };
    let ((run, report), ()) = tokio::join!(load(&user, &sandbox, &[]), failover);
    assert_eq!(run.code, 0, "{run:#?}");
    assert_eq!(report["resources"]["loaded"], 1, "{report:#}");
}

#[tokio::test]
async fn a_stop_records_the_posts_it_does_not_wait_for() {
    let hang = FaultRule {
        method: Some("POST".to_owned()),
        after: 1,
        ..FaultRule::new(Fault::Hang)
    };
    let sandbox = sandbox_with(vec![hang]).await;
    let user = user_with_patients(false);
    fs::write(
        user.home().join("stoker.yaml"),
        "loader_worker: {load: {drain: 1s, batch: 10, concurrency: 2}}",
    )
    .unwrap();
    let interrupted = async {
        while sandbox.stats().in_flight < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let pkill = ["-INT", "-f", user.home().to_str().unwrap()];
        tokio::process::Command::new("pkill")
            .args(pkill)
            .status()
            .await
            .unwrap();
    };
    let config = user.home().join("stoker.yaml");
    let config = ["--config", config.to_str().unwrap()];
    let ((run, report), ()) = tokio::join!(load(&user, &sandbox, &config), interrupted);
    assert_eq!(run.code, 3, "{run:#?}");
    assert_eq!(report["resources"]["in_doubt"], 20, "{report:#}");
    assert_eq!(report["resources"]["created"], 10, "{report:#}");
}
