//! Scanners and workers as processes of their own, on PostgreSQL, S3 and a FHIR server that counts.

use std::time::Duration;

use stoker_proto::common::v1::{Interaction, Source, Target};
use stoker_proto::ledger::v1::{Job, ListErrorsRequest, StartJobRequest};
use stoker_sandbox::{Sandbox, SandboxConfig};
use stoker_tests::minio::{ACCESS_KEY, Minio, SECRET_KEY};
use stoker_tests::parts;
use stoker_tests::services::{Service, until_done};

// What each worker is told.
const BATCH: usize = 5;
const CONCURRENCY: usize = 4;
const UNITS: usize = 4;

/// Resources that a killed worker may have sent and not committed: those on the wire, and what is answered while a
/// commit gathers and is made.
pub(crate) const IN_FLIGHT: u64 = (UNITS * (CONCURRENCY + CONCURRENCY / 2) * BATCH) as u64;

const BUCKET: &str = "fhir";
const LIMIT: Duration = Duration::from_mins(4);

/// The stores, a FHIR server, and settings that name them to services.
pub(crate) struct System {
    pub(crate) minio: Minio,
    pub(crate) sandbox: Sandbox,
    settings: Vec<String>,
    pub(crate) ledger: String,
}

impl System {
    pub(crate) async fn start(latency: Duration) -> Self {
        stoker_shared::tls::install_crypto_provider();
        let minio = Minio::start().await.unwrap();
        minio.make_bucket(BUCKET).await.unwrap();
        let config = SandboxConfig {
            latency,
            ..SandboxConfig::default()
        };
        Self {
            settings: vec![
                format!("s3.endpoint={}", minio.endpoint()),
                format!("s3.access_key={ACCESS_KEY}"),
                format!("s3.secret_key={SECRET_KEY}"),
            ],
            minio,
            sandbox: Sandbox::start(config).await.unwrap(),
            ledger: parts::fresh_database().await.unwrap(),
        }
    }

    pub(crate) fn scanner(&self, more: &[&str]) -> Service {
        let own = [format!("ledger={}", self.ledger), "lease=8s".to_owned()];
        self.service("bucket-scanner", &own, more)
    }

    pub(crate) fn worker(&self, scanners: &[&Service], more: &[&str]) -> Service {
        let urls: Vec<String> = scanners.iter().map(|scanner| scanner.url()).collect();
        let own = [
            format!("ledger.url={}", urls.join(",")),
            format!("load.batch={BATCH}"),
            format!("load.concurrency={CONCURRENCY}"),
            format!("load.units={UNITS}"),
        ];
        self.service("loader-worker", &own, more)
    }

    fn service(&self, name: &str, own: &[String], more: &[&str]) -> Service {
        let more = more.iter().map(ToString::to_string);
        let settings: Vec<String> = self.settings.iter().chain(own).cloned().collect();
        let settings: Vec<String> = settings.into_iter().chain(more).collect();
        Service::start(name, &settings).unwrap()
    }

    pub(crate) async fn put(&self, name: &str, first: usize, count: usize) {
        let lines = (first..first + count).map(|n| line(name, n)).collect();
        self.put_lines(name, lines).await;
    }

    pub(crate) async fn put_lines(&self, name: &str, lines: String) {
        let object = format!("{name}.ndjson");
        self.put_object(&object, lines.into()).await;
    }

    pub(crate) async fn put_object(&self, name: &str, bytes: Vec<u8>) {
        let key = format!("in/{name}");
        self.minio.put(BUCKET, &key, bytes).await.unwrap();
    }

    pub(crate) async fn begin(&self, scanner: &Service) -> i64 {
        let request = StartJobRequest {
            source: Some(Source {
                uri: format!("s3://{BUCKET}/in/"),
                reach: String::new(),
            }),
            target: Some(Target {
                base_url: self.sandbox.base_url(),
                tenant: String::new(),
            }),
            interaction: Interaction::Auto.into(),
            reload: false,
            options: None,
        };
        let mut client = scanner.jobs().await.unwrap();
        let started = client.start_job(request).await.unwrap().into_inner();
        started.job.unwrap().job_id
    }

    pub(crate) fn written(&self) -> u64 {
        self.sandbox.stats().versions_written
    }

    pub(crate) async fn until_written(&self, versions: u64) {
        while self.written() < versions {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What went wrong with a job, for a person.
    pub(crate) async fn problems(&self, scanner: &Service, job_id: i64) -> Vec<String> {
        let request = ListErrorsRequest {
            job_id,
            this_run: false,
        };
        let mut client = scanner.jobs().await.unwrap();
        let mut errors = client.list_errors(request).await.unwrap().into_inner();
        let mut problems = Vec::new();
        while let Some(error) = errors.message().await.unwrap() {
            problems.push(format!("{}: {}", error.key, error.error_text));
        }
        problems
    }

    pub(crate) async fn done(&self, scanner: &Service, job_id: i64) -> Job {
        let mut client = scanner.jobs().await.unwrap();
        until_done(&mut client, job_id, LIMIT).await.unwrap()
    }
}

/// The line of an object that holds its `n`th resource.
pub(crate) fn line(name: &str, n: usize) -> String {
    format!("{{\"resourceType\":\"Patient\",\"id\":\"{name}-{n}\"}}\n")
}

pub(crate) fn loaded(job: &Job) -> u64 {
    let run = job.run.clone().unwrap_or_default();
    run.counts.iter().map(|c| c.created + c.updated).sum()
}
