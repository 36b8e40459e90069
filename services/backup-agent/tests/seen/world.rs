//! A catalog, agents that watch over it, and a webhook.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use backup_agent::catalog::{self, Begun, Catalog, CatalogOptions, Ended, Task, Wish};
use backup_agent::manifest::{Manifest, Part, Proof, StoreKind, VERSION, Verified};
use backup_agent::metrics::BackupMetrics;
use backup_agent::notify::{Notifier, NotifyConfig};
use backup_agent::troubles::Rules;
use backup_agent::watch::{Watch, Watched};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use stoker_shared::clock::{Clock, ManualClock};
use stoker_shared::health::Metrics;
use stoker_shared::store::{PostgresOptions, StoreUrl};
use tokio::net::TcpListener;

pub(crate) const PLACE: &str = "/backups";
pub(crate) const TOKEN: &str = "s3cr3t-t0ken";

/// A catalog that several agents share, and their clock.
pub(crate) struct World {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) catalog: Arc<dyn Catalog>,
    url: StoreUrl,
    _folder: tempfile::TempDir,
}

/// An agent's eyes.
pub(crate) struct Agent {
    pub(crate) watch: Watch,
    metrics: Metrics,
}

impl Agent {
    /// A metric as it is shown, such as `stoker_backup_held{source="fhir"}`.
    pub(crate) fn shown(&self, sample: &str) -> Option<String> {
        let text = self.metrics.to_text().unwrap();
        let mut lines = text.lines().filter_map(|line| line.rsplit_once(' '));
        lines
            .find(|(name, _)| *name == sample)
            .map(|(_, value)| value.to_owned())
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = StoreUrl::Sqlite(folder.path().join("catalog.sqlite"));
        let start = DateTime::from_timestamp(1_767_268_800, 0).unwrap();
        let clock = Arc::new(ManualClock::new(start));
        Self {
            catalog: open(&url, clock.clone()).await,
            clock,
            url,
            _folder: folder,
        }
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// An agent of a process of its own, that watches the source `fhir`.
    pub(crate) async fn agent(&self, notify: &NotifyConfig) -> Agent {
        let metrics = Metrics::default();
        let backups = BackupMetrics::default();
        backups.register(&metrics);
        let timing = serde_json::json!({"schedule": "0 12 * * *", "deadline": "2h"});
        let source = Watched {
            name: "fhir".to_owned(),
            timing: Some(serde_json::from_value(timing).unwrap()),
            is_proven: true,
            drill_timing: None,
        };
        let watch = Watch::new(
            open(&self.url, self.clock.clone()).await,
            vec![source],
            Rules::default(),
            Notifier::new(notify, "host:1").unwrap(),
            backups,
            self.clock.clone(),
        );
        Agent { watch, metrics }
    }

    /// A backup of now, with so many bytes of data.
    pub(crate) async fn keep(&self, name: &str, bytes: u64) -> Manifest {
        let manifest = Manifest {
            manifest_version: VERSION,
            name: name.to_owned(),
            store: StoreKind::Postgresql,
            source: "fhir".to_owned(),
            engine: "native".to_owned(),
            started: self.now(),
            ended: self.now() + TimeDelta::seconds(90),
            parts: vec![Part {
                name: "base.tar.zst".to_owned(),
                bytes: bytes / 5,
                sha256: "ab".to_owned(),
                compression: "zstd".to_owned(),
                raw_bytes: bytes,
            }],
            about: std::collections::BTreeMap::new(),
            elsewhere: None,
            parent: None,
            verified: None,
            proof: None,
        };
        self.catalog.note(PLACE, &manifest).await.unwrap();
        manifest
    }

    /// Notes what was learnt of it.
    pub(crate) async fn look_at(&self, mut backup: Manifest, good: bool) {
        let at = self.now();
        backup.verified = Some(Verified {
            at,
            full: true,
            good: true,
            problem: String::new(),
        });
        backup.proof = Some(Proof {
            at,
            good,
            recovery_ms: 1900,
            checks: Vec::new(),
        });
        self.catalog.note(PLACE, &backup).await.unwrap();
    }

    /// A run of a task, by hand.
    pub(crate) async fn run(&self, task: Task, ended: &Ended) {
        let lease = match self.begin(task).await {
            Begun::Yours { lease, .. } => lease,
            other => panic!("{other:?}"),
        };
        self.catalog.finish(&lease, ended).await.unwrap();
    }

    pub(crate) async fn begin(&self, task: Task) -> Begun {
        let wish = Wish {
            source: "fhir".to_owned(),
            task,
            due: None,
            last: None,
            place: PLACE.to_owned(),
            backup: String::new(),
        };
        self.catalog.begin(&wish, "host:1").await.unwrap()
    }

    /// The last backup failed.
    pub(crate) async fn fail(&self) {
        let ended = Ended::Failed("the password is wrong".to_owned());
        self.run(Task::Backup, &ended).await;
    }
}

async fn open(url: &StoreUrl, clock: Arc<dyn Clock>) -> Arc<dyn Catalog> {
    let options = CatalogOptions {
        postgres: PostgresOptions {
            schema: "unused".to_owned(),
            password: None,
            password_file: None,
            connections: 2,
        },
        lease: Duration::from_mins(1),
    };
    catalog::open(url, &options, clock).await.unwrap()
}

/// An HTTP server that takes notices.
pub(crate) struct Webhook {
    url: String,
    state: Arc<Mutex<Taken>>,
    server: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Taken {
    /// What is answered next; 204 when there is nothing left.
    answers: Vec<StatusCode>,
    asked: Vec<(HeaderMap, Value)>,
}

impl Webhook {
    /// Answers with these first, then takes all.
    pub(crate) async fn start(answers: &[u16]) -> Self {
        let answers = answers
            .iter()
            .rev()
            .map(|status| StatusCode::from_u16(*status));
        let state = Arc::new(Mutex::new(Taken {
            answers: answers.collect::<Result<_, _>>().unwrap(),
            asked: Vec::new(),
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook/p4th", listener.local_addr().unwrap());
        let app = Router::new()
            .route("/hook/p4th", post(take))
            .with_state(state.clone());
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, state, server }
    }

    pub(crate) fn config(&self) -> NotifyConfig {
        NotifyConfig {
            url: Some(self.url.as_str().into()),
            token: Some(TOKEN.into()),
            headers: [("X-Team".to_owned(), "platform".into())].into(),
            ..NotifyConfig::default()
        }
    }

    /// What was posted since the last time.
    pub(crate) fn posted(&self) -> Vec<(HeaderMap, Value)> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }

    /// State and kind of what was posted since the last time.
    pub(crate) fn told(&self) -> Vec<String> {
        let told = |(_, body): (HeaderMap, Value)| {
            let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
            format!("{} {}", text("state"), text("kind"))
        };
        self.posted().into_iter().map(told).collect()
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn take(
    State(state): State<Arc<Mutex<Taken>>>,
    headers: HeaderMap,
    body: String,
) -> StatusCode {
    let mut state = state.lock().unwrap();
    state
        .asked
        .push((headers, serde_json::from_str(&body).unwrap()));
    state.answers.pop().unwrap_or(StatusCode::NO_CONTENT)
}
