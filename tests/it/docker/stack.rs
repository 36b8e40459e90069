//! `compose/` comes up healthy with the peers that can be had, loads the sample data, heeds its limits, and keeps its
//! secrets. Those that cannot be had (MongoDB, LinuxForHealth's server) are read by compose alone.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;
use stoker_tests::fhir_database::{FhirDatabase, SchemaType};
use stoker_tests::{docker, parts, repository};

use super::stack_peers;
use super::stack_seeds;
use super::stack_user::Stack;

/// `service.shutdown_deadline` of each service; they stop at the same time.
const DEADLINE: Duration = Duration::from_secs(30);

const GIB: u64 = 1 << 30;

#[tokio::test]
async fn the_stack_comes_up_loads_the_sample_and_goes_down() {
    let _turn = parts::turn().await;
    let profiles = "replica,audit,pgbouncer,redis,nginx,zookeeper,opensearch,remote-indexer";
    let mut stack = Stack::new(profiles).unwrap();
    stack.set("LOADER_WORKER_CPU_LIMIT", "1.5");
    stack.set("LOADER_WORKER_MEMORY_LIMIT", "768M");
    stack.set("OPENSEARCH_HEAP", "-Xms512m -Xmx512m");
    // The engine of the tests may not be allowed to give more than it has itself.
    stack.set("OPENSEARCH_OPEN_FILES", "4096");
    let with_postgres = stack.engine.stoker_postgres_image().unwrap();
    stack.set("BACKUP_AGENT_IMAGE", with_postgres);
    stack.set("BACKUP_DRILL", "true");
    make_fhir_database(&mut stack).await;

    stack.compose(&["up"]).unwrap();
    stack_seeds::work(&stack);
    limits_hold(&stack);
    the_sample_is_loaded(&stack);
    a_backup_is_made_and_proven(&stack);
    nginx_and_pgbouncer_pass_on(&stack);
    the_replica_survives_a_restart(&stack);
    stack_peers::work(&stack);
    every_service_is_watched(&mut stack).await;
    secrets_are_kept(&stack);
    services_stop_in_time(&stack);
}

/// The tables of LinuxForHealth's server, which cannot be had itself: the remote-indexer does not start without.
async fn make_fhir_database(stack: &mut Stack) {
    stack.compose(&["up", "postgres"]).unwrap();
    stack
        .sql("postgres", "postgres", "ALTER ROLE fhir CREATEDB")
        .unwrap();
    let (password, address) = (stack.secret("fhir-password"), stack.address("postgres"));
    let server = format!(
        "postgres://fhir:{}@{}:5432/fhir",
        password.unwrap(),
        address.unwrap()
    );
    let database = FhirDatabase::fresh_on(&server, SchemaType::Plain)
        .await
        .unwrap();
    let (_, name) = database.url.rsplit_once('/').unwrap();
    stack.set(
        "FHIR_DATABASE_URL",
        &format!("postgres://fhir@postgres:5432/{name}"),
    );
}

fn limits_hold(stack: &Stack) {
    let limits = |known: &Value| {
        let host = &known["HostConfig"];
        (
            host["Memory"].as_u64().unwrap(),
            host["NanoCpus"].as_u64().unwrap(),
        )
    };
    let workers = stack.containers(Some("loader-worker")).unwrap();
    assert_eq!(workers.len(), 3);
    for worker in workers {
        let known = stack.engine.inspect(&worker).unwrap();
        assert_eq!(limits(&known), (768 << 20, 1_500_000_000));
    }
    // What the guide says of everything that is not told otherwise: 3 GB, and all CPUs.
    for service in [
        "bucket-scanner",
        "reindex-driver",
        "remote-indexer",
        "backup-agent",
        "postgres",
        "kafka",
        "minio",
        "redis",
        "zookeeper",
        "opensearch",
    ] {
        assert_eq!(
            limits(&stack.inspect(service).unwrap()),
            (3 * GIB, 0),
            "{service}"
        );
    }
    for service in [
        "bucket-scanner",
        "loader-worker",
        "reindex-driver",
        "remote-indexer",
        "backup-agent",
        "sandbox",
    ] {
        let known = stack.inspect(service).unwrap();
        assert_eq!(known["HostConfig"]["ReadonlyRootfs"], true, "{service}");
        assert_eq!(known["State"]["Health"]["Status"], "healthy", "{service}");
        assert_eq!(known["Config"]["User"], "10001:10001", "{service}");
    }
}

fn the_sample_is_loaded(stack: &Stack) {
    let load = [
        "stoker",
        "load",
        "/inbox",
        "--to",
        "http://sandbox:7780/fhir",
        "--shared-mount",
        "inbox",
        "--server",
        "http://bucket-scanner:7701",
        "--server-token-file",
        "/run/secrets/grpc-token",
    ];
    let told = stack.exec("bucket-scanner", &load).unwrap();
    let expected = fs::read_to_string(repository::root().join("sample/counts.tsv")).unwrap();
    let expected: u64 = expected
        .lines()
        .map(|line| {
            line.split_whitespace()
                .nth(1)
                .unwrap()
                .parse::<u64>()
                .unwrap()
        })
        .sum();
    let stats = page(&format!(
        "http://127.0.0.1:{}/sandbox/stats",
        stack.variable("SANDBOX_PORT")
    ));
    let stats: Value = serde_json::from_str(&stats).unwrap();
    assert_eq!(stats["creates"], expected, "{told}");
    assert_eq!(stats["versions_written"], expected, "{told}");
}

/// Read back, and restored by a server that is nobody's root and starts in the agent's own folder.
fn a_backup_is_made_and_proven(stack: &Stack) {
    let run = [
        "stoker",
        "backup",
        "run",
        "fhir",
        "--server",
        "http://127.0.0.1:7705",
        "--server-token-file",
        "/run/secrets/grpc-token",
        "--json",
    ];
    let told = stack.exec("backup-agent", &run).unwrap();
    let told: Value = serde_json::from_str(&told).unwrap();
    let checks = told["backup"]["proof"]["checks"].as_array().unwrap();
    for name in ["restore", "start", "pg_amcheck", "rows"] {
        let check = checks.iter().find(|check| check["name"] == name);
        assert_eq!(check.unwrap()["good"], true, "{told:#}");
    }
    assert_eq!(told["backup"]["verified"]["good"], true, "{told:#}");
}

fn nginx_and_pgbouncer_pass_on(stack: &Stack) {
    let port = stack.variable("NGINX_PORT");
    let patient = page(&format!("http://127.0.0.1:{port}/fhir/Patient?_count=1"));
    assert!(
        patient.contains("\"resourceType\":\"Patient\""),
        "{patient}"
    );
    let password = stack.secret("stoker-password").unwrap();
    let url = format!("postgres://stoker:{password}@pgbouncer:6432/stoker");
    let sql = "SELECT count(*) > 0 FROM fhirbucket.resource_bundles";
    assert_eq!(
        stack
            .exec("postgres", &["psql", &url, "-qAtc", sql])
            .unwrap()
            .trim(),
        "t"
    );
}

/// The snippet that people use (`05-postgres-replica.yaml`) copies all anew at each start, and fails because it is there already.
fn the_replica_survives_a_restart(stack: &Stack) {
    let replica = stack
        .containers(Some("postgres-replica"))
        .unwrap()
        .remove(0);
    let write = |n: u32| {
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS followed (n int); INSERT INTO followed VALUES ({n})"
        );
        stack.sql("postgres", "postgres", &sql).unwrap();
    };
    let followed = || {
        stack.sql(
            "postgres-replica",
            "postgres",
            "SELECT max(n) FROM followed",
        )
    };
    let until = |n: &str| {
        let deadline = Instant::now() + Duration::from_mins(1);
        while followed().ok().as_deref() != Some(n) {
            assert!(Instant::now() < deadline, "{:?}, not {n}", followed());
            std::thread::sleep(Duration::from_millis(300));
        }
    };
    write(1);
    until("1");
    let copied = stack.exec(
        "postgres-replica",
        &[
            "find",
            "/var/lib/postgresql/data/replica/copy-is-whole",
            "-printf",
            "%T@",
        ],
    );
    stack.engine.docker(["stop", &replica]).unwrap();
    write(2);
    stack.engine.docker(["start", &replica]).unwrap();
    until("2");
    let now = stack.exec(
        "postgres-replica",
        &[
            "find",
            "/var/lib/postgresql/data/replica/copy-is-whole",
            "-printf",
            "%T@",
        ],
    );
    assert_eq!(now.unwrap(), copied.unwrap(), "it was copied anew");
    assert_eq!(
        stack
            .sql("postgres-replica", "postgres", "SELECT pg_is_in_recovery()")
            .unwrap(),
        "t"
    );
}

/// Grafana and the collector of traces cannot be had.
async fn every_service_is_watched(stack: &mut Stack) {
    stack.set(
        "COMPOSE_FILE",
        "compose.yaml:order.yaml:peers.yaml:monitoring.yaml",
    );
    stack
        .compose(&[
            "up",
            "--no-recreate",
            "--no-deps",
            "prometheus",
            "alertmanager",
        ])
        .unwrap();
    let api = format!(
        "http://127.0.0.1:{}/api/v1",
        stack.variable("PROMETHEUS_PORT")
    );
    let targets = || {
        let told: Value = serde_json::from_str(&page(&format!("{api}/query?query=up"))).unwrap();
        let mut up: Vec<_> = told["data"]["result"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|found| found["value"][1] == "1")
            .map(|found| found["metric"]["job"].as_str().unwrap().to_owned())
            .collect();
        up.sort();
        up
    };
    let expected = [
        "backup-agent",
        "bucket-scanner",
        "loader-worker",
        "loader-worker",
        "loader-worker",
        "prometheus",
        "reindex-driver",
        "remote-indexer",
    ];
    let deadline = Instant::now() + Duration::from_mins(1);
    while targets() != expected {
        assert!(Instant::now() < deadline, "{:?}", targets());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let alertmanagers = page(&format!("{api}/alertmanagers"));
    assert!(
        alertmanagers.contains("http://alertmanager:9093"),
        "{alertmanagers}"
    );
    let rules = page(&format!("{api}/rules"));
    assert!(rules.contains("\"type\":\"alerting\""), "{rules}");
}

fn secrets_are_kept(stack: &Stack) {
    let secrets = stack.secrets().unwrap();
    assert!(secrets.len() >= 10 && secrets.iter().all(|(_, secret)| secret.len() >= 40));
    let mut told = stack.compose(&["logs", "--no-color"]).unwrap();
    for container in stack.containers(None).unwrap() {
        told += &stack.engine.docker(["inspect", &container]).unwrap();
        told += &stack.engine.docker(["top", &container]).unwrap();
    }
    assert!(told.len() > 10_000);
    for (name, secret) in secrets {
        assert!(
            !told.contains(&secret),
            "{name} is in a log, in docker inspect or in a command line"
        );
    }
}

fn services_stop_in_time(stack: &Stack) {
    let services = [
        "bucket-scanner",
        "loader-worker",
        "reindex-driver",
        "remote-indexer",
        "backup-agent",
    ];
    let begun = Instant::now();
    stack
        .compose(&[&["stop"], services.as_slice()].concat())
        .unwrap();
    assert!(begun.elapsed() < DEADLINE, "{:?}", begun.elapsed());
    for service in services {
        for container in stack.containers(Some(service)).unwrap() {
            let known = stack.engine.inspect(&container).unwrap();
            assert_eq!(known["State"]["ExitCode"], 0, "{service}");
            assert_eq!(
                known["RestartCount"], 0,
                "{service} ended before it was told to"
            );
        }
    }
}

fn page(url: &str) -> String {
    let mut curl = std::process::Command::new("curl");
    docker::output(curl.args(["-fsS", "--max-time", "20", url])).unwrap()
}
