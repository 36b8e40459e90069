//! `stoker doctor` on real parts: all well, and each thing broken.

use std::fs;

use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use stoker_sandbox::{Auth, Sandbox, SandboxConfig};
use stoker_tests::kafka::Kafka;
use stoker_tests::minio::{ACCESS_KEY, Minio, SECRET_KEY};
use stoker_tests::parts;
use stoker_tests::services::Service;
use stoker_tests::stoker::{Run, Stoker};

mod broken;

/// What the doctor says, and with which exit code.
async fn doctor(user: &Stoker, args: &[&str]) -> (i32, Vec<Value>) {
    let command = user.args([&["doctor", "--json"], args].concat());
    let run = command.env("AWS_EC2_METADATA_DISABLED", "true").run().await;
    let run = run.unwrap();
    let said: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {run:#?}"));
    let findings = said.as_array().unwrap().clone();
    let failed = findings.iter().any(|f| f["state"] == "fail");
    assert_eq!(run.code, i32::from(failed), "{run:#?}");
    (run.code, findings)
}

fn text<'v>(finding: &'v Value, key: &str) -> &'v str {
    finding[key].as_str().unwrap()
}

/// The only finding in `state`.
fn the_one(findings: &[Value], state: &str) -> Value {
    let those: Vec<_> = findings.iter().filter(|f| f["state"] == state).collect();
    assert_eq!(those.len(), 1, "{findings:#?}");
    those[0].clone()
}

/// One thing fails, told in these words, and the to-do in those; the others are looked at nevertheless.
fn assert_fails(findings: &[Value], detail: &str, to_do: &str) {
    let failed = the_one(findings, "fail");
    assert!(text(&failed, "detail").contains(detail), "{failed:#}");
    assert!(text(&failed, "to_do").contains(to_do), "{failed:#}");
    assert!(findings.len() >= 5, "{findings:#?}");
}

async fn sandbox(auth: Auth) -> Sandbox {
    let config = SandboxConfig {
        auth,
        ..SandboxConfig::default()
    };
    Sandbox::start(config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_well_is_said_to_be() {
    let _turn = parts::turn().await;
    let kafka = Kafka::start().unwrap();
    let minio = Minio::start().await.unwrap();
    minio.make_bucket("fhir").await.unwrap();
    let object = b"{\"resourceType\":\"Patient\",\"id\":\"a\"}\n".to_vec();
    minio.put("fhir", "in/a.ndjson", object).await.unwrap();
    let database = parts::fresh_database().await.unwrap();
    let sandbox = sandbox(Auth::default()).await;
    let user = Stoker::new().unwrap();
    fs::create_dir(user.home().join("data")).unwrap();
    fs::write(user.home().join("data/b.ndjson"), "{}\n").unwrap();
    let settings = format!(
        "kafka: {{brokers: ['{}']}}, s3: {{endpoint: '{}', access_key: {ACCESS_KEY}, secret_key: {SECRET_KEY}}}",
        kafka.broker(),
        minio.endpoint()
    );
    let source = |uri: &str| format!("{{uri: '{uri}', base_url: '{}'}}", sandbox.base_url());
    let folder = format!("file://{}/data", user.home().display());
    let yaml = format!(
        "bucket_scanner: {{ledger: '{database}', {settings}, sources: [{}, {}]}}\n\
         loader_worker: {{{settings}}}\n",
        source("s3://fhir/in/"),
        source(&folder)
    );
    fs::write(user.home().join("stoker.yaml"), yaml).unwrap();

    let (code, before) = doctor(&user, &[]).await;
    assert_eq!(code, 0, "{before:#?}");
    let topic = the_one(&before, "warn");
    assert!(text(&topic, "detail").contains("no topic stoker.events.v1 yet"));
    let ledger = before.iter().find(|f| f["what"] == "ledger").unwrap();
    assert!(text(ledger, "detail").contains("no tables yet"));
    let mut connection = PgConnection::connect(&database).await.unwrap();
    let schemas = "SELECT COUNT(*) FROM pg_namespace WHERE nspname = 'fhirbucket'";
    let made: i64 = sqlx::query_scalar(schemas)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(made, 0, "looking makes no schema");

    let brokers = format!("kafka.brokers={}", kafka.broker());
    let settings = [format!("ledger={database}"), brokers];
    let scanner = Service::start("bucket-scanner", &settings).unwrap();
    scanner.jobs().await.unwrap();
    until_the_topic_is_there(&user).await;
    let (code, after) = doctor(&user, &["--server", &scanner.url()]).await;
    assert_eq!(code, 0, "{after:#?}");
    // Not configured here.
    let skipped = ["remote-indexer", "backup-agent"];
    let (left_out, looked_at): (Vec<_>, Vec<_>) = after
        .iter()
        .partition(|f| skipped.contains(&text(f, "what")));
    assert!(left_out.iter().all(|f| f["state"] == "skip"), "{after:#?}");
    let mut looked_at = looked_at.into_iter();
    assert!(looked_at.all(|f| f["state"] == "ok"), "{after:#?}");
    let details: Vec<&str> = after.iter().map(|f| text(f, "detail")).collect();
    for expected in [
        "PostgreSQL",
        "tables of version",
        "topic stoker.events.v1 of 6 partitions",
        "in/a.ndjson",
        "b.ndjson",
        "takes batches and transactions",
        "offered, also client-driven",
        "none yet; the first reindexing makes it",
        "we are let in",
        "shows the same time",
        "bucket-scanner, healthy",
    ] {
        let told = details.iter().any(|d| d.contains(expected));
        assert!(told, "{expected}: {details:#?}");
    }
}

/// The service makes it beside its start.
async fn until_the_topic_is_there(user: &Stoker) {
    for _ in 0..60 {
        let (_, findings) = doctor(user, &[]).await;
        if findings.iter().all(|f| f["state"] != "warn") {
            return;
        }
    }
    panic!("no topic");
}

#[tokio::test]
async fn a_person_gets_a_line_a_thing_and_nothing_is_made() {
    let user = Stoker::new().unwrap();
    let run = user.args(["doctor"]).run().await.unwrap();
    assert_eq!(run.code, 0, "{run:#?}");
    for (state, what) in [
        ("ok", "configuration"),
        ("ok", "ledger"),
        ("skip", "Kafka"),
        ("skip", "sources"),
        ("skip", "FHIR server"),
        ("skip", "bucket-scanner"),
        ("ok", "reindex runs"),
        ("skip", "remote-indexer"),
        ("skip", "backup-agent"),
    ] {
        assert!(line_of(&run, what).starts_with(state), "{what}: {run:#?}");
    }
    assert!(line_of(&run, "FHIR server").contains("-> --to URL"));
    let made: Vec<_> = fs::read_dir(user.home()).unwrap().collect();
    assert!(made.is_empty(), "{made:?}");
}

fn line_of<'r>(run: &'r Run, what: &str) -> &'r str {
    let mut lines = run.stdout.lines();
    let line = lines.find(|line| line.split_once(' ').unwrap().1.trim().starts_with(what));
    line.unwrap_or_else(|| panic!("no line {what}: {run:#?}"))
}

#[tokio::test]
async fn every_fault_of_the_configuration_is_a_line_and_the_rest_is_looked_at() {
    let user = Stoker::new().unwrap();
    let faulty = "{bucket_scanner: {lease: 0s, laese: 1}, loader_worker: {load: {batch: 0}}}";
    fs::write(user.home().join("stoker.yaml"), faulty).unwrap();
    let sandbox = sandbox(Auth::default()).await;
    let (code, findings) = doctor(&user, &["--to", &sandbox.base_url()]).await;
    assert_eq!(code, 1);
    for key in ["bucket_scanner.laese", "loader_worker.load.batch"] {
        let told = findings.iter().any(|f| {
            f["what"] == "configuration" && text(f, "detail").contains(key) && f["state"] == "fail"
        });
        assert!(told, "{key}: {findings:#?}");
    }
    let kafka = findings.iter().find(|f| f["what"] == "Kafka").unwrap();
    assert!(text(kafka, "detail").contains("faulty"), "{kafka:#}");
    let read = format!("{} read", sandbox.base_url());
    assert!(
        findings
            .iter()
            .any(|f| f["what"] == read.as_str() && f["state"] == "ok")
    );
}
