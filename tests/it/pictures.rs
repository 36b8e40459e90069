//! Draws the dashboards of services under load, for `docs/dashboards.md`.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;
use stoker_proto::backup::v1::RunState;
use stoker_sandbox::{Sandbox, SandboxConfig};
use stoker_tests::picture::{Span, picture};
use stoker_tests::prometheus::Prometheus;
use stoker_tests::remote_index::publish;
use stoker_tests::repository;
use stoker_tests::services::of_folder;
use stoker_tests::stoker::Stoker;

use crate::metrics::{Running, TOPIC};

const LOAD: Duration = Duration::from_mins(2);

/// Draws every dashboard.
pub(crate) async fn draw(running: &mut Running, prometheus: &Prometheus) {
    let end = Instant::now() + LOAD;
    let messages = running.captured.messages().unwrap();
    let broker = running.kafka.broker();
    let indexing = async {
        for part in messages.chunks(200).cycle() {
            if Instant::now() > end {
                break;
            }
            publish(part, &broker, TOPIC).await.unwrap();
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
    };
    let (scanner, driver, backups) = (&running.scanner, &running.driver, &mut running.backups);
    let backing_up = async {
        while Instant::now() < end {
            assert_eq!(backups.back_up().await, RunState::Done);
            tokio::time::sleep(Duration::from_secs(15)).await;
        }
    };
    let loading = async {
        let sandbox = sandbox(0).await;
        let data = tempfile::tempdir().unwrap();
        let mut jobs = scanner.jobs().await.unwrap();
        for file in 0.. {
            if Instant::now() > end {
                break;
            }
            let lines = (0..200 * (1 + file % 7))
                .map(|n| format!("{{\"resourceType\":\"Patient\",\"id\":\"p{file}-{n}\"}}"));
            let lines: Vec<_> = lines.collect();
            let name = format!("{file}.ndjson");
            fs::write(data.path().join(name), lines.join("\n")).unwrap();
            let request = of_folder(data.path(), sandbox.base_url());
            jobs.start_job(request).await.unwrap();
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    };
    let reindexing = async {
        let sandbox = sandbox(20_000).await;
        let (base, server) = (sandbox.base_url(), driver.url());
        while Instant::now() < end {
            let run = ["reindex", "--to", &base, "--server", &server, "--force"];
            let run = Stoker::new().unwrap().args(run).run().await.unwrap();
            assert_eq!(run.code, 0, "{run:#?}");
        }
    };
    tokio::join!(indexing, backing_up, loading, reindexing);
    write(prometheus).await;
}

async fn sandbox(synthetic: u32) -> Sandbox {
    let config = SandboxConfig {
        synthetic,
        latency: Duration::from_millis(20),
        ..SandboxConfig::default()
    };
    Sandbox::start(config).await.unwrap()
}

async fn write(prometheus: &Prometheus) {
    let now = prometheus.query("vector(time())").await.unwrap();
    let now: f64 = now[0]["value"][1].as_str().unwrap().parse().unwrap();
    let span = Span {
        from: now - LOAD.as_secs_f64(),
        to: now,
        step: 2.0,
    };
    let pictures = repository::root().join("docs/dashboards");
    fs::create_dir_all(&pictures).unwrap();
    let folder = repository::root().join("monitoring/dashboards");
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        let dashboard: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let drawn = picture(&dashboard, prometheus, span).await.unwrap();
        let name = file.with_extension("svg");
        fs::write(pictures.join(name.file_name().unwrap()), drawn).unwrap();
    }
}
