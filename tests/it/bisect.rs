//! A transaction that is refused as a whole: what is to blame is found in few requests, the rest is loaded.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use stoker_sandbox::{Fault, FaultRule, Sandbox};
use stoker_tests::stoker::Stoker;

use crate::poison::{POISON, refuses_poison, sandbox_with};

const ENTRIES: usize = 500;
const BAD: usize = 321;

fn urn(n: usize) -> String {
    format!("urn:uuid:00000000-0000-4000-8000-{n:012}")
}

fn post(n: usize, resource: &Value) -> Value {
    json!({"fullUrl": urn(n), "resource": resource,
           "request": {"method": "POST", "url": resource["resourceType"]}})
}

fn patient(n: usize, name: &str) -> Value {
    post(
        n,
        &json!({"resourceType": "Patient", "name": [{"text": name}]}),
    )
}

fn independent(bad: &[usize]) -> Vec<Value> {
    let name = |n: usize| if bad.contains(&n) { POISON } else { "fine" };
    (0..ENTRIES).map(|n| patient(n, name(n))).collect()
}

/// Each entry on a line of its own.
fn transaction(entries: &[Value]) -> String {
    let entries: Vec<String> = entries.iter().map(Value::to_string).collect();
    let entries = entries.join(",\n");
    format!("{{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":[\n{entries}]}}")
}

async fn load(user: &Stoker, sandbox: &Sandbox) -> (i32, Value) {
    let base = sandbox.base_url();
    let run = user.args(["load", "t.json", "--to", &base, "--json"]);
    let run = run.run().await.unwrap();
    let report = serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {run:#?}"));
    (run.code, report)
}

fn user_with(content: &str) -> Stoker {
    let user = Stoker::new().unwrap();
    fs::write(user.home().join("t.json"), content).unwrap();
    user
}

async fn quarantine(user: &Stoker) -> Vec<Value> {
    let args = ["jobs", "errors", "1", "--inputs", "--json"];
    let run = user.args(args).run().await.unwrap();
    let lines = run.stdout.lines();
    lines.map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[tokio::test]
async fn one_bad_entry_of_500_is_found_in_few_requests_and_the_rest_is_loaded() {
    let sandbox = sandbox_with(vec![refuses_poison()]).await;
    let entries = independent(&[BAD]);
    let user = user_with(&transaction(&entries));
    let (code, report) = load(&user, &sandbox).await;
    assert_eq!(code, 2, "{report:#}");
    assert_eq!(report["resources"]["created"], 499, "{report:#}");
    assert_eq!(report["resources"]["rejected"], 1, "{report:#}");
    assert_eq!(sandbox.resources("Patient").len(), 499);
    let sent = report["requests"]["sent"].as_u64().unwrap();
    assert!(sent <= 18, "{sent} requests");
    let kept = quarantine(&user).await;
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0]["entry"], BAD);
    assert_eq!(kept[0]["input"], entries[BAD].to_string(), "byte for byte");
    let reason = kept[0]["reason"].as_str().unwrap();
    assert!(reason.contains("of a transaction of 500"), "{reason}");
}

#[tokio::test]
async fn an_entry_that_the_server_names_takes_three_requests() {
    let sandbox = sandbox_with(Vec::new()).await;
    let mut entries = independent(&[]);
    entries[BAD] = post(
        BAD,
        &json!({"resourceType": "Observation", "code": {"text": "x"}}),
    );
    let (code, report) = load(&user_with(&transaction(&entries)), &sandbox).await;
    assert_eq!(code, 2, "{report:#}");
    assert_eq!(report["resources"]["created"], 499, "{report:#}");
    assert_eq!(report["requests"]["sent"], 3, "{report:#}");
    assert_eq!(report["problems"][0]["entry"], BAD);
}

#[tokio::test]
async fn several_bad_entries_and_what_refers_to_them_are_kept_the_others_stay_linked() {
    let sandbox = sandbox_with(vec![refuses_poison()]).await;
    let observation = |n: usize, of: usize| {
        let subject = json!({"reference": urn(of)});
        let code = json!({"text": "x"});
        post(
            n,
            &json!({"resourceType": "Observation", "status": "final", "code": code, "subject": subject}),
        )
    };
    let mut entries = independent(&[3, 4, 77, 400]);
    entries.push(observation(500, 3));
    entries.push(observation(501, 5));
    let user = user_with(&transaction(&entries));
    let (code, report) = load(&user, &sandbox).await;
    assert_eq!(code, 2, "{report:#}");
    assert_eq!(report["resources"]["created"], 497, "{report:#}");
    let kept = quarantine(&user).await;
    let mut of_entries: Vec<_> = kept.iter().map(|e| e["entry"].as_u64().unwrap()).collect();
    of_entries.sort_unstable();
    assert_eq!(of_entries, [3, 4, 77, 400, 500]);
    let loaded = sandbox.resources("Observation");
    let subject = loaded[0]["subject"]["reference"].as_str().unwrap();
    let (_, id) = subject.split_once("Patient/").unwrap();
    assert!(sandbox.read("Patient", id).is_some(), "{subject}");
}

#[tokio::test]
async fn a_transaction_all_of_a_piece_is_kept_whole_with_the_reason() {
    let sandbox = sandbox_with(vec![refuses_poison()]).await;
    let of = |n: usize| {
        let (code, subject) = (json!({"text": POISON}), json!({"reference": urn(0)}));
        post(
            n,
            &json!({"resourceType": "Observation", "status": "final", "code": code, "subject": subject}),
        )
    };
    let entries = [patient(0, "fine"), of(1), of(2)];
    let content = transaction(&entries);
    let user = user_with(&content);
    let (code, report) = load(&user, &sandbox).await;
    assert_eq!(code, 2, "{report:#}");
    assert_eq!(report["requests"]["sent"], 1, "{report:#}");
    assert!(sandbox.resources("Patient").is_empty());
    let kept = quarantine(&user).await;
    assert_eq!(kept[0]["input"], content);
    let reason = kept[0]["reason"].as_str().unwrap();
    assert!(reason.contains("refer to each other"), "{reason}");
}

#[tokio::test]
async fn a_part_that_ends_in_doubt_is_named_and_the_rest_goes_on() {
    let lost = FaultRule {
        after: 1,
        times: Some(1),
        path_contains: Some("/".to_owned()),
        method: Some("POST".to_owned()),
        ..FaultRule::new(Fault::DropAfterApply)
    };
    let sandbox = sandbox_with(vec![refuses_poison(), lost]).await;
    let user = user_with(&transaction(&independent(&[499])));
    let (code, report) = load(&user, &sandbox).await;
    assert_eq!(code, 2, "{report:#}");
    assert_eq!(report["resources"]["in_doubt"], 250, "{report:#}");
    assert_eq!(report["resources"]["created"], 249, "{report:#}");
    assert_eq!(report["resources"]["rejected"], 1, "{report:#}");
    assert_eq!(sandbox.resources("Patient").len(), 499, "none is doubled");
}

#[tokio::test]
async fn who_dies_in_the_middle_of_the_search_repeats_nothing_that_was_taken() {
    let hangs = FaultRule {
        after: 6,
        times: Some(1),
        method: Some("POST".to_owned()),
        ..FaultRule::new(Fault::Hang)
    };
    let sandbox = sandbox_with(vec![hangs, refuses_poison()]).await;
    let user = user_with(&transaction(&independent(&[BAD])));
    let base = sandbox.base_url();
    let run = user.args(["load", "t.json", "--to", &base, "--json"]).run();
    let killed = async {
        while sandbox.faults().strikes().first() != Some(&1) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // What came before is committed by then.
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    tokio::select! {
        run = run => panic!("it has ended: {run:#?}"),
        () = killed => {}
    }
    let taken = sandbox.resources("Patient").len();
    assert!((1..499).contains(&taken), "{taken} in the middle of it");
    sandbox.faults().set(vec![refuses_poison()]).unwrap();

    let (code, report) = load(&user, &sandbox).await;
    assert_eq!(code, 2, "{report:#}");
    assert_eq!(sandbox.resources("Patient").len(), 499, "{report:#}");
    let mut kept = quarantine(&user).await;
    // What hung when it died is named too: it might have arrived.
    kept.retain(|error| error["kind"] != "repeated");
    assert_eq!((kept.len(), &kept[0]["entry"]), (1, &json!(BAD)));
}
