//! What is sent as what: interactions, Bundles, single resources; and over TLS.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stoker_sandbox::{Auth, Fault, FaultRule, Sandbox, SandboxConfig};
use stoker_tests::stoker::Stoker;

async fn sandbox() -> Sandbox {
    Sandbox::start(SandboxConfig::default()).await.unwrap()
}

/// Loads one file with this content; answers exit code and report.
async fn load(sandbox: &Sandbox, name: &str, content: &str, more: &[&str]) -> (i32, Value) {
    let user = Stoker::new().unwrap();
    fs::write(user.home().join(name), content).unwrap();
    load_file(&user, sandbox, name, more).await
}

async fn load_file(user: &Stoker, sandbox: &Sandbox, name: &str, more: &[&str]) -> (i32, Value) {
    let base = sandbox.base_url();
    let args = ["load", name, "--to", &base, "--json"];
    let run = user.args(args.iter().chain(more)).run().await.unwrap();
    let report = serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {run:#?}"));
    (run.code, report)
}

const TWO: &str =
    "{\"resourceType\":\"Patient\",\"id\":\"has-id\"}\n{\"resourceType\":\"Patient\"}\n";

#[tokio::test]
async fn the_interaction_is_the_users_choice() {
    let auto = sandbox().await;
    let (code, report) = load(&auto, "p.ndjson", TWO, &[]).await;
    assert_eq!((code, &report["resources"]["created"]), (0, &json!(2)));
    assert!(auto.read("Patient", "has-id").is_some());

    let create = sandbox().await;
    let (code, _) = load(&create, "p.ndjson", TWO, &["--interaction", "create"]).await;
    assert_eq!(code, 0);
    assert!(
        create.read("Patient", "has-id").is_none(),
        "the server assigns ids"
    );
    assert_eq!(create.resources("Patient").len(), 2);

    let update = sandbox().await;
    let (code, report) = load(&update, "p.ndjson", TWO, &["--interaction", "update"]).await;
    assert_eq!((code, &report["resources"]["rejected"]), (2, &json!(1)));
    assert!(
        report["problems"][0]["reason"]
            .as_str()
            .unwrap()
            .contains("no id")
    );
    assert_eq!(update.resources("Patient").len(), 1);
}

#[tokio::test]
async fn a_request_that_takes_long_holds_up_no_other() {
    const SLOW: Duration = Duration::from_secs(30);
    let delay = FaultRule {
        body_contains: Some("\"first of b\"".to_owned()),
        ..FaultRule::new(Fault::Delay(SLOW))
    };
    let config = SandboxConfig {
        faults: vec![delay],
        latency: Duration::from_millis(10),
        ..SandboxConfig::default()
    };
    let sandbox = Sandbox::start(config).await.unwrap();
    let user = Stoker::new().unwrap();
    // The other file ends first: what follows is of the file that has the slow request.
    for (file, lines) in [("a", 200), ("b", 2000)] {
        let line = |n| match n {
            0 => format!(
                r#"{{"resourceType":"Patient","id":"{file}0","name":[{{"text":"first of {file}"}}]}}"#
            ),
            n => format!(r#"{{"resourceType":"Patient","id":"{file}{n}"}}"#),
        };
        let lines: Vec<String> = (0..lines).map(line).collect();
        fs::create_dir_all(user.home().join("in")).unwrap();
        fs::write(
            user.home().join(format!("in/{file}.ndjson")),
            lines.join("\n"),
        )
        .unwrap();
    }
    let base = sandbox.base_url();
    let args = [
        "load",
        "in",
        "--to",
        &base,
        "--batch",
        "10",
        "--concurrency",
        "4",
    ];
    let begun = Instant::now();
    let others_arrived = async {
        while sandbox.resources("Patient").len() < 2200 - 10 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        run = user.args(args).run() => panic!("ended before the slow request: {run:#?}"),
        () = others_arrived => {}
    }
    assert!(begun.elapsed() < SLOW, "they waited for it");
}

#[tokio::test]
async fn one_at_a_time_needs_no_batches() {
    let sandbox = sandbox().await;
    let (code, _) = load(&sandbox, "p.ndjson", TWO, &["--batch", "1"]).await;
    assert_eq!(code, 0);
    let stats = sandbox.stats();
    assert_eq!(stats.entries, 0, "no Bundle was sent: {stats:#?}");
    assert_eq!((stats.creates, stats.updates), (2, 0));
}

fn transaction(observation_status: &str) -> Value {
    json!({"resourceType": "Bundle", "type": "transaction", "entry": [
        {"fullUrl": "urn:uuid:11111111-1111-4111-8111-111111111111",
         "resource": {"resourceType": "Patient"}, "request": {"method": "POST", "url": "Patient"}},
        {"resource": {"resourceType": "Observation", "status": observation_status,
                      "code": {"text": "x"},
                      "subject": {"reference": "urn:uuid:11111111-1111-4111-8111-111111111111"}},
         "request": {"method": "POST", "url": "Observation"}}]})
}

#[tokio::test]
async fn a_transaction_goes_whole_and_its_references_hold() {
    let sandbox = sandbox().await;
    let content = serde_json::to_string_pretty(&transaction("final")).unwrap();
    let (code, report) = load(&sandbox, "t.json", &content, &[]).await;
    assert_eq!((code, &report["resources"]["created"]), (0, &json!(2)));
    assert_eq!(report["requests"]["sent"], 1);
    let patient = sandbox.resources("Patient")[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let observation = &sandbox.resources("Observation")[0];
    assert_eq!(
        observation["subject"]["reference"],
        format!("Patient/{patient}")
    );
}

#[tokio::test]
async fn a_refused_transaction_is_kept_whole() {
    let sandbox = sandbox().await;
    let user = Stoker::new().unwrap();
    let mut bundle = transaction("final");
    bundle["entry"][1]["resource"]
        .as_object_mut()
        .unwrap()
        .remove("status");
    let content = serde_json::to_string_pretty(&bundle).unwrap();
    fs::write(user.home().join("t.json"), &content).unwrap();
    let (code, report) = load_file(&user, &sandbox, "t.json", &[]).await;
    assert_eq!(code, 2);
    assert_eq!(
        report["resources"]["by_type"]["Bundle"]["rejected"], 1,
        "{report:#}"
    );
    assert!(sandbox.resources("Patient").is_empty(), "all or nothing");
    let run = user
        .args(["jobs", "errors", "1", "--inputs", "--json"])
        .run()
        .await
        .unwrap();
    let error: Value = serde_json::from_str(run.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(error["input"], content, "byte for byte");
}

#[tokio::test]
async fn a_batch_of_the_users_own_loses_only_its_bad_entries() {
    for batch_refused_whole in [false, true] {
        let sandbox = Sandbox::start(SandboxConfig {
            batch_refused_whole,
            ..SandboxConfig::default()
        });
        let sandbox = sandbox.await.unwrap();
        let entry = |n: usize| {
            let observation = json!({"resourceType": "Observation", "id": format!("o{n}"), "status": "final",
                                     "code": {"text": "x"}});
            let bad =
                json!({"resourceType": "Observation", "id": format!("o{n}"), "status": "final"});
            json!({"resource": if n == 5 { bad } else { observation },
                   "request": {"method": "PUT", "url": format!("Observation/o{n}")}})
        };
        let entries: Vec<Value> = (0..9).map(entry).collect();
        let bundle = json!({"resourceType": "Bundle", "type": "batch", "entry": entries});
        let (code, report) = load(&sandbox, "b.json", &bundle.to_string(), &[]).await;
        assert_eq!(code, 2, "{report:#}");
        assert_eq!(report["resources"]["created"], 8, "{report:#}");
        assert_eq!(report["problems"][0]["entry"], 5, "{report:#}");
        assert_eq!(sandbox.resources("Observation").len(), 8);
    }
}

#[tokio::test]
async fn a_whole_batch_refused_for_one_bad_line_costs_few_requests() {
    let sandbox = Sandbox::start(SandboxConfig {
        batch_refused_whole: true,
        ..SandboxConfig::default()
    });
    let sandbox = sandbox.await.unwrap();
    let line = |n: usize| match n {
        37 => "{\"resourceType\":\"Observation\",\"id\":\"bad\",\"status\":\"final\"}\n".to_owned(),
        n => format!("{{\"resourceType\":\"Patient\",\"id\":\"p{n}\"}}\n"),
    };
    let lines: String = (0..100).map(line).collect();
    let (code, report) = load(&sandbox, "p.ndjson", &lines, &[]).await;
    assert_eq!(code, 2);
    assert_eq!(report["problems"][0]["line"], 38);
    let sent = report["requests"]["sent"].as_u64().unwrap();
    assert!(sent <= 15, "1 + 2·log2(100) at most: {sent}");
}

#[tokio::test]
async fn tls_credentials_and_compressed_files() {
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    let config = SandboxConfig {
        tls: true,
        ca_file: Some(ca_file.clone()),
        auth: Auth {
            basic: None,
            bearer: Some("token-1".into()),
        },
        ..SandboxConfig::default()
    };
    let sandbox = Sandbox::start(config).await.unwrap();
    let base = sandbox.base_url();
    let user = Stoker::new().unwrap();
    let zipped = zstd::encode_all(TWO.as_bytes(), 3).unwrap();
    fs::write(user.home().join("p.ndjson.zst"), zipped).unwrap();
    fs::write(user.home().join("token"), "token-1\n").unwrap();
    let to = ["load", "p.ndjson.zst", "--to", &base];
    let run = user.args(to).run().await.unwrap();
    assert_eq!(run.code, 1, "{run:#?}");
    assert!(run.stderr.contains("certificate"), "{run:#?}");
    let ca = ["--fhir-ca-file", ca_file.to_str().unwrap()];
    let run = user.args(to.iter().chain(&ca)).run().await.unwrap();
    assert_eq!(run.code, 1, "no token: {run:#?}");
    let token = ["--fhir-token-file", "token"];
    let run = user
        .args(to.iter().chain(&ca).chain(&token))
        .run()
        .await
        .unwrap();
    assert_eq!(run.code, 0, "{run:#?}");
    assert_eq!(sandbox.resources("Patient").len(), 2);
}
