//! `stoker up`: the whole system in one process.

use std::fs;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stoker_sandbox::{Sandbox, SandboxConfig};
use stoker_tests::fhir_database::{FhirDatabase, SchemaType};
use stoker_tests::kafka;
use stoker_tests::ports::free_port;
use stoker_tests::remote_index::{INSTANCE, create_topic};
use stoker_tests::stoker::{Stoker, isolated, stoker_bin};

const LIMIT: Duration = Duration::from_mins(1);

/// Killed when dropped.
struct Up(Child);

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Up {
    async fn terminate(mut self) -> Option<i32> {
        let pid = self.0.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it does not stop");
    }
}

async fn until_ready(http_port: u16) {
    let url = format!("http://127.0.0.1:{http_port}/readyz");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let deadline = Instant::now() + LIMIT;
    while !client
        .get(&url)
        .send()
        .await
        .is_ok_and(|a| a.status() == 200)
    {
        assert!(Instant::now() < deadline, "{url} is not ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn one_process_scans_loads_and_answers() {
    stoker_shared::tls::install_crypto_provider();
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let user = Stoker::new().unwrap();
    let data = user.home().join("incoming");
    fs::create_dir(&data).unwrap();
    let line = |n: usize| format!("{{\"resourceType\":\"Patient\",\"id\":\"p{n}\"}}\n");
    let lines: String = (0..500).map(line).collect();
    fs::write(data.join("patients.ndjson"), lines).unwrap();
    let [
        scanner,
        worker,
        driver,
        scanner_http,
        worker_http,
        driver_http,
    ] = [(); 6].map(|()| free_port().unwrap());
    let service = |grpc: u16, http: u16| json!({"grpc": {"listen": format!("127.0.0.1:{grpc}")}, "http_listen": format!("127.0.0.1:{http}")});
    let config = json!({
        "bucket_scanner": {
            "service": service(scanner, scanner_http),
            "sources": [{"uri": format!("file://{}", data.display()), "base_url": sandbox.base_url()}],
        },
        "loader_worker": {
            "service": service(worker, worker_http),
            "ledger": {"url": format!("http://127.0.0.1:{scanner}")},
        },
        "reindex_driver": {"service": service(driver, driver_http)},
    });
    // JSON is YAML.
    fs::write(user.home().join("stoker.yaml"), config.to_string()).unwrap();
    let mut command = isolated(&stoker_bin().unwrap(), user.home());
    let up = Up(command.arg("up").spawn().unwrap());
    until_ready(scanner_http).await;
    until_ready(worker_http).await;
    until_ready(driver_http).await;

    let server = format!("http://127.0.0.1:{scanner}");
    let deadline = Instant::now() + LIMIT;
    let done = loop {
        let asked = user.args(["jobs", "list", "--server", &server, "--json"]);
        let jobs: Value = serde_json::from_str(&asked.run().await.unwrap().stdout).unwrap();
        if jobs[0]["state"] == "done" {
            break jobs;
        }
        assert!(Instant::now() < deadline, "{jobs:#}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(done[0]["total"]["loaded"], 500, "{done:#}");
    assert_eq!(sandbox.resources("Patient").len(), 500);
    assert!(
        user.home().join("data/stoker/ledger.sqlite").is_file(),
        "the user's own ledger"
    );
    let more = user.home().join("more.ndjson");
    let one = r#"{"resourceType":"Patient","id":"one-more"}"#;
    fs::write(&more, one).unwrap();
    let (more, base) = (more.to_str().unwrap(), sandbox.base_url());
    let load = [
        "load", more, "--to", &base, "--server", &server, "--report", "r.json",
    ];
    let run = user.args(load).run().await.unwrap();
    assert_eq!(run.code, 0, "{run:#?}");
    let report: Value =
        serde_json::from_slice(&fs::read(user.home().join("r.json")).unwrap()).unwrap();
    assert_eq!(report["resources"]["created"], 1, "{report:#}");
    assert!(sandbox.read("Patient", "one-more").is_some());
    reindexes(&user, &sandbox, driver).await;
    assert_eq!(up.terminate().await, Some(0));
    let run = user.args(load).run().await.unwrap();
    assert_eq!(run.code, 1, "{run:#?}");
    assert!(run.stderr.contains("cannot be asked"), "{run:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_indexer_runs_too_where_it_is_configured() {
    stoker_shared::tls::install_crypto_provider();
    let user = Stoker::new().unwrap();
    let kafka = kafka::shared().await.unwrap();
    let database = FhirDatabase::fresh(SchemaType::Plain).await.unwrap();
    create_topic(&kafka.broker(), "up").await.unwrap();
    let ports = [(); 8].map(|()| free_port().unwrap());
    let service = |n: usize| json!({"grpc": {"listen": format!("127.0.0.1:{}", ports[n])}, "http_listen": format!("127.0.0.1:{}", ports[n + 1])});
    let mut config = json!({
        "bucket_scanner": {"service": service(0)},
        "loader_worker": {
            "service": service(2), "ledger": {"url": format!("http://127.0.0.1:{}", ports[0])},
        },
        "reindex_driver": {"service": service(6)},
        "remote_indexer": {
            "service": service(4), "kafka": {"brokers": [kafka.broker()]}, "topic": {"name": "up", "group": "up"},
            "database": {"url": database.url},
        },
    });
    let file = user.home().join("stoker.yaml");
    fs::write(&file, config.to_string()).unwrap();
    let half = user.args(["up"]).run().await.unwrap();
    assert_eq!(half.code, 1, "{half:#?}");
    assert!(
        half.stderr.contains("remote_indexer.instance_identifier"),
        "{half:#?}"
    );

    config["remote_indexer"]["instance_identifier"] = json!(INSTANCE);
    fs::write(&file, config.to_string()).unwrap();
    let mut command = isolated(&stoker_bin().unwrap(), user.home());
    let up = Up(command.arg("up").spawn().unwrap());
    until_ready(ports[1]).await;
    let server = format!("http://127.0.0.1:{}", ports[4]);
    let deadline = Instant::now() + LIMIT;
    loop {
        let asked = user.args(["index", "status", "--server", &server, "--json"]);
        let status: Value =
            serde_json::from_str(&asked.run().await.unwrap().stdout).unwrap_or_default();
        if status[0]["partitions"]
            .as_array()
            .is_some_and(|p| p.len() == 8)
        {
            break;
        }
        assert!(Instant::now() < deadline, "{status:#}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(up.terminate().await, Some(0));
}

/// What is not changed since a time before the load is nothing: the driver asked, and is done.
async fn reindexes(user: &Stoker, sandbox: &Sandbox, driver: u16) {
    let driver = format!("http://127.0.0.1:{driver}");
    let reindex = [
        "reindex",
        "--to",
        &sandbox.base_url(),
        "--client-driven",
        "--tstamp",
        "2020-01-01",
        "--server",
        &driver,
        "--json",
    ];
    let run = user.args(reindex).run().await.unwrap();
    assert_eq!(run.code, 0, "{run:#?}");
    assert_eq!(
        sandbox.reindex_stats().retrieve_calls,
        2,
        "an end is asked for twice"
    );
    assert!(
        user.home().join("data/stoker/reindex.sqlite").is_file(),
        "the user's own runs"
    );
}
