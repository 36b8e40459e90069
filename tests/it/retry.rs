//! `stoker retry`: rejected inputs go again as they were, until the quarantine is empty.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use stoker_sandbox::{Fault, FaultRule};
use stoker_tests::stoker::{Run, Stoker};

use crate::poison::{POISON, refuses_poison, sandbox_with};

/// A create whose answer gets lost.
fn loses_the_answer() -> FaultRule {
    FaultRule {
        body_contains: Some("doubtful".to_owned()),
        times: Some(1),
        ..FaultRule::new(Fault::DropBeforeResponse)
    }
}

async fn run(user: &Stoker, args: &[&str]) -> Run {
    user.args(args).run().await.unwrap()
}

/// Writes the quarantine of job `job` as a file.
async fn export(user: &Stoker, job: &str) -> PathBuf {
    let errors = run(user, &["jobs", "errors", job, "--inputs", "--json"]).await;
    assert_eq!(errors.code, 0, "{errors:#?}");
    let path = user.home().join("rejected.ndjson");
    fs::write(&path, errors.stdout).unwrap();
    path
}

fn lines(path: &PathBuf) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect()
}

fn entry(n: usize, name: &str) -> String {
    format!(
        r#"{{"fullUrl":"urn:uuid:00000000-0000-4000-8000-{n:012}","resource":{{"resourceType":"Patient","id":"e{n}","name":[{{"text":"{name}"}}],"multipleBirthInteger":  1}},"request":{{"method":"PUT","url":"Patient/e{n}"}}}}"#
    )
}

fn bundle(kind: &str, entries: &[String]) -> String {
    let entries = entries.join(",\n ");
    format!("{{\"resourceType\":\"Bundle\",\"type\":\"{kind}\",\n\"entry\":[{entries}]}}")
}

/// What a job's ledger still lists, and counts as rejected or in doubt.
async fn listed(user: &Stoker, job: &str) -> (usize, u64) {
    let errors = run(user, &["jobs", "errors", job, "--json"]).await;
    let shown = run(user, &["jobs", "show", job, "--json"]).await;
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    let total = &shown["total"];
    let sum = ["rejected", "in_doubt"].map(|name| total[name].as_u64().unwrap());
    (errors.stdout.lines().count(), sum.iter().sum())
}

/// Puts inputs of every kind into a folder, ten of which will not be taken.
fn write_inputs(folder: &std::path::Path) {
    let line = |id: &str, name: &str| {
        format!(r#"{{"resourceType":"Patient","id":"{id}","name":[{{"text":"{name}"}}],"x":1.10}}"#)
            .replace(r#","x":1.10"#, r#","multipleBirthInteger":2"#)
    };
    let ndjson = [
        line("l0", "fine"),
        line("l1", POISON),
        r#"{"resourceType":"Patient","id":"broken","name":["#.to_owned(),
        line("l3", "poison \\u00e9"),
        line("l4", "fine"),
    ];
    fs::write(folder.join("lines.ndjson"), ndjson.join("\n")).unwrap();
    let doubtful = r#"{"resourceType":"Basic","code":{"text":"doubtful"}}"#;
    fs::write(folder.join("doubtful.json"), doubtful).unwrap();
    let batch = [entry(10, "fine"), entry(11, POISON), entry(12, POISON)];
    fs::write(folder.join("batch.json"), bundle("batch", &batch)).unwrap();
    let apart = [entry(20, "fine"), entry(21, POISON), entry(22, "fine")];
    fs::write(folder.join("apart.json"), bundle("transaction", &apart)).unwrap();
    let linked = r#"{"resource":{"resourceType":"Observation","id":"o1","status":"final","code":{"text":"poison"},"subject":{"reference":"Patient/e30"}},"request":{"method":"PUT","url":"Observation/o1"}}"#;
    let whole = [entry(30, "fine"), linked.to_owned()];
    fs::write(folder.join("whole.json"), bundle("transaction", &whole)).unwrap();
    let group = r#"{"resource":{"resourceType":"Observation","id":"o2","status":"final","code":{"text":"poison"},"subject":{"reference":"urn:uuid:00000000-0000-4000-8000-000000000040"}},"request":{"method":"PUT","url":"Observation/o2"}}"#;
    let group = [entry(40, "fine"), group.to_owned(), entry(41, "fine")];
    fs::write(folder.join("group.json"), bundle("transaction", &group)).unwrap();
}

#[tokio::test]
async fn what_was_refused_arrives_byte_for_byte_once_the_fault_is_gone() {
    let sandbox = sandbox_with(vec![refuses_poison(), loses_the_answer()]).await;
    let user = Stoker::new().unwrap();
    let data = user.home().join("data");
    fs::create_dir(&data).unwrap();
    write_inputs(&data);
    let base = sandbox.base_url();
    let load = run(&user, &["load", "data", "--to", &base, "--json"]).await;
    assert_eq!(load.code, 2, "{load:#?}");
    let path = export(&user, "1").await;
    let before = lines(&path);
    assert_eq!(before.len(), 10, "{before:#?}");

    // The server refuses the same again: nothing is lost, and the reasons are told anew.
    let retry = ["retry", "rejected.ndjson", "--to", &base, "--json"];
    let again = run(&user, &retry).await;
    assert_eq!(again.code, 2, "{again:#?}");
    let said: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(
        (&said["taken"], &said["left"]),
        (&json!(1), &json!(9)),
        "{said:#}"
    );
    let inputs = |lines: &[Value]| -> BTreeSet<String> {
        let doubtful = |line: &&Value| line["kind"] != "in_doubt";
        let inputs = lines.iter().filter(doubtful);
        inputs.map(|l| l["input"].to_string()).collect()
    };
    assert_eq!(inputs(&lines(&path)), inputs(&before));
    assert_eq!(said["settled"], 1, "{said:#}");
    assert_eq!(listed(&user, "1").await, (9, 9));

    // The fault is gone, and the person has mended the line that was no JSON.
    sandbox.faults().clear();
    let mut mended = lines(&path);
    for line in &mut mended {
        if line["input"].as_str().unwrap().ends_with('[') {
            line["input"] = json!(r#"{"resourceType":"Patient","id":"broken"}"#);
        }
    }
    let text: Vec<String> = mended.iter().map(Value::to_string).collect();
    fs::write(&path, text.join("\n")).unwrap();
    let last = run(&user, &retry).await;
    assert_eq!(last.code, 0, "{last:#?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "");
    let beside = fs::read_dir(user.home())
        .unwrap()
        .map(|e| e.unwrap().file_name());
    let beside: Vec<_> = beside
        .filter(|n| n.to_string_lossy().starts_with("rejected."))
        .collect();
    assert_eq!(beside, ["rejected.ndjson"], "no journal is left");
    assert_eq!(listed(&user, "1").await, (0, 0));
    let nothing = run(&user, &["jobs", "retry", "1", "--json"]).await;
    let nothing: Value = serde_json::from_str(&nothing.stdout).unwrap();
    assert_eq!(nothing["inputs"], 0, "{nothing:#}");

    assert_eq!(sandbox.resources("Basic").len(), 1);
    assert_eq!(sandbox.resources("Observation").len(), 2);
    for id in [
        "l0", "l1", "l3", "l4", "broken", "e10", "e11", "e12", "e20", "e21", "e22", "e30", "e40",
        "e41",
    ] {
        assert!(sandbox.read("Patient", id).is_some(), "{id}");
    }
    let text = sandbox.text("Patient", "l3").unwrap();
    assert!(text.contains("poison \\u00e9"), "as it was written: {text}");
    let linked = sandbox.read("Observation", "o2").unwrap();
    assert_eq!(linked["subject"]["reference"], "Patient/e40");
}

#[tokio::test]
async fn a_retry_that_is_killed_goes_on_without_doubling() {
    let post = |n| format!("{{\"resourceType\":\"Basic\",\"code\":{{\"text\":\"poison {n}\"}}}}\n");
    let posts = (0..40).map(post).collect::<Vec<String>>().concat();
    let sandbox = sandbox_with(vec![refuses_poison()]).await;
    let user = Stoker::new().unwrap();
    fs::write(user.home().join("b.ndjson"), posts).unwrap();
    let base = sandbox.base_url();
    let load = run(&user, &["load", "b.ndjson", "--to", &base]).await;
    assert_eq!(load.code, 2, "{load:#?}");
    let path = export(&user, "1").await;

    let hangs = FaultRule {
        after: 20,
        method: Some("POST".to_owned()),
        ..FaultRule::new(Fault::Hang)
    };
    sandbox.faults().set(vec![hangs]).unwrap();
    let retry = ["retry", "rejected.ndjson", "--to", &base, "--json"];
    let killed = async {
        while sandbox.faults().strikes().first() < Some(&1) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    tokio::select! {
        run = user.args(retry).run() => panic!("it has ended: {run:#?}"),
        () = killed => {}
    }
    assert_eq!(sandbox.resources("Basic").len(), 20);
    assert_eq!(lines(&path).len(), 40, "the file is whole until the end");
    assert_eq!(listed(&user, "1").await, (40, 40));
    sandbox.faults().clear();
    let last = run(&user, &retry).await;
    assert_eq!(last.code, 0, "{last:#?}");
    assert_eq!(sandbox.resources("Basic").len(), 40);
    assert_eq!(fs::read_to_string(&path).unwrap(), "");
    assert_eq!(
        listed(&user, "1").await,
        (0, 0),
        "of those before the kill too"
    );
}

#[tokio::test]
async fn a_ledger_that_does_not_know_the_inputs_is_not_told() {
    let (sandbox, other) = (
        sandbox_with(vec![refuses_poison()]).await,
        sandbox_with(vec![]).await,
    );
    let user = Stoker::new().unwrap();
    let patient = |n| {
        format!(
            "{{\"resourceType\":\"Patient\",\"id\":\"p{n}\",\"name\":[{{\"text\":\"poison\"}}]}}\n"
        )
    };
    fs::write(
        user.home().join("p.ndjson"),
        (0..3).map(patient).collect::<String>(),
    )
    .unwrap();
    let base = sandbox.base_url();
    let load = run(&user, &["load", "p.ndjson", "--to", &base]).await;
    assert_eq!(load.code, 2, "{load:#?}");
    let path = export(&user, "1").await;
    let whole = fs::read_to_string(&path).unwrap();

    // Another server has them now; this one, which the job loads into, still lacks them.
    let elsewhere = ["retry", "rejected.ndjson", "--to", &other.base_url()];
    let sent = run(&user, &elsewhere).await;
    assert_eq!(sent.code, 0, "{sent:#?}");
    assert!(
        sent.stderr.contains("3 that were taken are not struck"),
        "{sent:#?}"
    );
    assert!(sent.stderr.contains(&base), "{sent:#?}");
    assert_eq!(listed(&user, "1").await, (3, 3));

    // A line of an older file names no time, one of another ledger another.
    sandbox.faults().clear();
    let mut old: Vec<Value> = whole
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    old[0].as_object_mut().unwrap().remove("time");
    old[1]["time"] = json!("2001-02-03T04:05:06Z");
    let text: Vec<String> = old.iter().map(Value::to_string).collect();
    fs::write(&path, text.join("\n")).unwrap();
    let sent = run(
        &user,
        &["retry", "rejected.ndjson", "--to", &base, "--json"],
    )
    .await;
    assert_eq!(sent.code, 0, "{sent:#?}");
    let said: Value = serde_json::from_str(&sent.stdout).unwrap();
    let numbers = ["taken", "settled", "untold"].map(|name| said[name].as_u64().unwrap());
    assert_eq!(numbers, [3, 1, 2], "{said:#}");
    assert_eq!(said["notes"].as_array().unwrap().len(), 2, "{said:#}");
    assert_eq!(listed(&user, "1").await, (2, 2));

    // A ledger that is away is noticed before anything is sent; without one a retry works too.
    fs::write(&path, &whole).unwrap();
    let before = sandbox.stats().requests;
    let away = [
        "retry",
        "rejected.ndjson",
        "--to",
        &base,
        "--ledger",
        "sqlite:no.sqlite",
    ];
    let away = run(&user, &away).await;
    assert_eq!(
        (away.code, away.stderr.contains("no.sqlite")),
        (1, true),
        "{away:#?}"
    );
    assert_eq!(sandbox.stats().requests, before);
    let without = [
        "retry",
        "rejected.ndjson",
        "--to",
        &base,
        "--ledger",
        "none",
    ];
    let without = run(&user, &without).await;
    assert_eq!(without.code, 0, "{without:#?}");
    assert!(without.stderr.contains("no ledger to tell"), "{without:#?}");
}

#[tokio::test]
async fn what_is_no_quarantine_is_refused_by_name() {
    let sandbox = sandbox_with(Vec::new()).await;
    let user = Stoker::new().unwrap();
    let base = sandbox.base_url();
    let nothing = run(&user, &["retry", "none.ndjson", "--to", &base]).await;
    assert_eq!(nothing.code, 1, "{nothing:#?}");
    assert!(nothing.stderr.contains("none.ndjson"), "{nothing:#?}");
    let what_to_do = "stoker jobs errors N --inputs --json";
    assert!(nothing.stderr.contains(what_to_do), "{nothing:#?}");
    fs::write(
        user.home().join("p.ndjson"),
        "{\"resourceType\":\"Patient\"}\n",
    )
    .unwrap();
    let resources = run(&user, &["retry", "p.ndjson", "--to", &base]).await;
    assert_eq!(resources.code, 1, "{resources:#?}");
    assert!(resources.stderr.contains("p.ndjson:1"), "{resources:#?}");
    assert!(sandbox.resources("Patient").is_empty());
}
