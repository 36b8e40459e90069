//! What `grpcurl`, which knows nothing of our contracts, finds out about the services and calls.

use std::process::Command;

use serde_json::{Value, json};
use stoker_tests::parts;
use stoker_tests::services::Service;

const HEALTH: &str = "grpc.health.v1.Health";
const REFLECTION: &str = "grpc.reflection.v1.ServerReflection";
const JOBS: &str = "stoker.ledger.v1.JobService";
const REINDEX: &str = "stoker.reindex.v1.ReindexService";
const INDEX: &str = "stoker.index.v1.IndexService";
const WORK: &str = "stoker.ledger.v1.WorkService";

/// What it prints; `before` the address go options, `after` it what is asked.
fn grpcurl(service: &Service, before: &[&str], after: &[&str]) -> String {
    let variable = "STOKER_TEST_GRPCURL";
    let program = std::env::var(variable);
    let program = program.unwrap_or_else(|_| panic!("{variable} is not set; run `make test`"));
    let output = Command::new(program)
        .args(["-plaintext", "-max-time", "30"])
        .args(before)
        .arg(format!("127.0.0.1:{}", service.grpc_port))
        .args(after)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{after:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

fn call(service: &Service, method: &str, request: &Value) -> Value {
    // Defaults are shown too: an empty list is an answer.
    let options = ["-emit-defaults", "-d", &request.to_string()];
    let answer = grpcurl(service, &options, &[method]);
    serde_json::from_str(&answer).unwrap()
}

/// It lists exactly these, describes them, and says that it is healthy.
fn serves(service: &Service, services: &[&str]) {
    let listed = grpcurl(service, &[], &["list"]);
    assert_eq!(listed.lines().collect::<Vec<_>>(), services);
    for name in services {
        let described = grpcurl(service, &[], &["describe", name]);
        assert!(described.contains("rpc "), "{name}: {described}");
    }
    let health = call(service, "grpc.health.v1.Health/Check", &json!({}));
    assert_eq!(health["status"], "SERVING");
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcurl_lists_describes_and_calls_every_service() {
    stoker_shared::tls::install_crypto_provider();
    let ledger = format!("ledger={}", parts::fresh_database().await.unwrap());
    let scanner = Service::start("bucket-scanner", &[ledger]).unwrap();
    let url = format!("ledger.url={}", scanner.url());
    let worker = Service::start("loader-worker", &[url]).unwrap();

    // It serves gRPC without its parts, too: that is when it is asked what is the matter.
    let away = [
        "kafka.brokers=127.0.0.1:9".to_owned(),
        "database.url=postgres://nobody@127.0.0.1:9/none".to_owned(),
        "instance_identifier=any".to_owned(),
    ];
    let indexer = Service::start("remote-indexer", &away).unwrap();

    let of_scanner = [HEALTH, REFLECTION, JOBS, WORK].as_slice();
    let of_worker = [HEALTH, REFLECTION].as_slice();
    for (service, services) in [(&scanner, of_scanner), (&worker, of_worker)] {
        service.page("/readyz").await.unwrap();
        serves(service, services);
    }
    indexer.listening().await.unwrap();
    serves(&indexer, &[HEALTH, REFLECTION, INDEX]);
    let status = call(
        &indexer,
        "stoker.index.v1.IndexService/GetStatus",
        &json!({}),
    );
    assert_eq!(status["status"]["paused"], false, "{status:#}");

    let driver = Service::start("reindex-driver", &["runs.url=none".to_owned()]).unwrap();
    driver.page("/readyz").await.unwrap();
    serves(&driver, &[HEALTH, REFLECTION, REINDEX]);
    let runs = call(
        &driver,
        "stoker.reindex.v1.ReindexService/ListRuns",
        &json!({}),
    );
    assert_eq!(runs["runs"], json!([]));

    for name in [JOBS, WORK] {
        let asked = json!({ "service": name });
        let health = call(&scanner, "grpc.health.v1.Health/Check", &asked);
        assert_eq!(health["status"], "SERVING", "{name}");
    }
    let jobs = call(&scanner, "stoker.ledger.v1.JobService/ListJobs", &json!({}));
    assert_eq!(jobs["jobs"], json!([]));
    let someone = json!({ "hostname": "by-hand", "pid": 1, "version": "0" });
    let known = call(
        &scanner,
        "stoker.ledger.v1.WorkService/RegisterWorker",
        &someone,
    );
    assert!(known["leaseMs"].as_u64().unwrap() > 0, "{known}");
}
