//! A batch is answered entry by entry: only what failed for a reason that may pass is sent again.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;
use stoker_sandbox::{Fault, FaultRule, Sandbox, SandboxConfig};
use stoker_tests::stoker::Stoker;

const LINES: usize = 40;

/// Answers this status for entries that hold this word, so often.
fn answers(code: u16, word: &str, times: u64) -> FaultRule {
    FaultRule {
        body_contains: Some(format!("\"{word}\"")),
        times: Some(times),
        ..FaultRule::new(Fault::EntryStatus { code })
    }
}

async fn sandbox_with(faults: Vec<FaultRule>) -> Sandbox {
    let config = SandboxConfig {
        faults,
        ..SandboxConfig::default()
    };
    Sandbox::start(config).await.unwrap()
}

/// Loads patients, with ids or without, whose names are `n0`, `n1` …
async fn load(sandbox: &Sandbox, with_ids: bool) -> (i32, Value) {
    load_as(&Stoker::new().unwrap(), sandbox, with_ids).await
}

async fn load_as(user: &Stoker, sandbox: &Sandbox, with_ids: bool) -> (i32, Value) {
    let mut lines = String::new();
    for n in 0..LINES {
        let id = if with_ids {
            format!(r#""id":"p{n}","#)
        } else {
            String::new()
        };
        writeln!(
            lines,
            r#"{{"resourceType":"Patient",{id}"name":[{{"text":"n{n}"}}]}}"#
        )
        .unwrap();
    }
    fs::write(user.home().join("p.ndjson"), lines).unwrap();
    let base = sandbox.base_url();
    let args = ["load", "p.ndjson", "--to", &base, "--json", "--batch", "40"];
    let run = user.args(args).run().await.unwrap();
    let report = serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {run:#?}"));
    (run.code, report)
}

#[tokio::test]
async fn only_entries_that_failed_in_passing_are_sent_again() {
    let passing = [
        (429, "n3"),
        (503, "n5"),
        (409, "n7"),
        (500, "n11"),
        (502, "n13"),
    ];
    let faults = passing.iter().map(|(code, word)| answers(*code, word, 1));
    let sandbox = sandbox_with(faults.collect()).await;
    let (code, report) = load(&sandbox, true).await;
    assert_eq!(code, 0, "{report:#}");
    let stats = sandbox.stats();
    assert_eq!(stats.entries, 45, "40 and the 5 that failed: {stats:#?}");
    assert_eq!(
        report["requests"],
        json!({"sent": 2, "retried": 1, "latency": report["requests"]["latency"]})
    );
    assert_eq!(sandbox.resources("Patient").len(), LINES);
}

#[tokio::test]
async fn what_fails_for_good_is_rejected_at_once_with_its_own_status() {
    let refused = [
        (400, "n3"),
        (412, "n5"),
        (422, "n7"),
        (404, "n9"),
        (405, "n11"),
    ];
    let faults = refused.iter().map(|(code, word)| answers(*code, word, 9));
    let sandbox = sandbox_with(faults.collect()).await;
    let (code, report) = load(&sandbox, true).await;
    assert_eq!(code, 2, "{report:#}");
    assert_eq!(report["requests"]["sent"], 1, "{report:#}");
    let problems = report["problems"].as_array().unwrap();
    let found: Vec<_> = problems
        .iter()
        .map(|p| (p["http_status"].clone(), p["line"].clone()))
        .collect();
    let expected =
        refused.map(|(code, word)| (json!(code), json!(word[1..].parse::<u64>().unwrap() + 1)));
    assert_eq!(found, expected);
}

#[tokio::test]
async fn of_what_is_refused_it_is_noted_how_long_the_server_took() {
    let config = SandboxConfig {
        faults: vec![answers(422, "n7", 9)],
        latency: Duration::from_millis(150),
        ..SandboxConfig::default()
    };
    let sandbox = Sandbox::start(config).await.unwrap();
    let user = Stoker::new().unwrap();
    let begun = Instant::now();
    let (code, report) = load_as(&user, &sandbox, true).await;
    assert_eq!(code, 2, "{report:#}");
    let at_most = i64::try_from(begun.elapsed().as_millis()).unwrap();
    let ledger = user.home().join("data/stoker/ledger.sqlite");
    let options = SqliteConnectOptions::new().filename(ledger);
    let mut ledger = options.connect().await.unwrap();
    let times: Vec<i64> = sqlx::query_scalar("SELECT response_time_ms FROM resource_bundle_errors")
        .fetch_all(&mut ledger)
        .await
        .unwrap();
    let took = matches!(times[..], [ms] if (150..=at_most).contains(&ms));
    assert!(took, "{times:?} in {at_most} ms");
}

#[tokio::test]
async fn a_create_is_sent_again_only_where_the_server_cannot_have_acted() {
    let faults = vec![
        answers(429, "n3", 1),
        answers(503, "n5", 1),
        answers(500, "n7", 1),
    ];
    let sandbox = sandbox_with(faults).await;
    let (code, report) = load(&sandbox, false).await;
    assert_eq!(code, 2, "{report:#}");
    assert_eq!(report["resources"]["in_doubt"], 1, "{report:#}");
    assert_eq!(report["problems"][0]["line"], 8);
    assert_eq!(sandbox.stats().entries, 42);
    assert_eq!(sandbox.resources("Patient").len(), LINES - 1);
}

#[tokio::test]
async fn an_answer_that_does_not_fit_the_batch_is_no_success() {
    let odd = |entries: &str| FaultRule {
        method: Some("POST".to_owned()),
        times: Some(1),
        ..FaultRule::new(Fault::Status {
            code: 200,
            retry_after: None,
            body: Some(format!(
                r#"{{"resourceType":"Bundle","type":"batch-response","entry":[{entries}]}}"#
            )),
        })
    };
    let too_few = odd(r#"{"response":{"status":"201"}}"#);
    let sandbox = sandbox_with(vec![too_few.clone()]).await;
    let (code, report) = load(&sandbox, true).await;
    assert_eq!(
        (code, sandbox.resources("Patient").len()),
        (0, LINES),
        "{report:#}"
    );
    let sandbox = sandbox_with(vec![too_few]).await;
    let (code, report) = load(&sandbox, false).await;
    assert_eq!(
        (code, &report["resources"]["in_doubt"]),
        (2, &json!(LINES)),
        "{report:#}"
    );
    let without_status = vec![r#"{"response":{}}"#; LINES].join(",");
    let sandbox = sandbox_with(vec![odd(&without_status)]).await;
    let (code, report) = load(&sandbox, false).await;
    assert_eq!(
        (code, &report["resources"]["in_doubt"]),
        (2, &json!(LINES)),
        "{report:#}"
    );
}
