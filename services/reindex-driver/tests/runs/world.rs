//! A store of runs to test, and short words for what is done to it.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use reindex_driver::runs::{
    self, Counts, Position, Runs, RunsError, RunsOptions, Save, Seen, SetAside, Taken,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use stoker_proto::common::v1::Target;
use stoker_proto::reindex::v1::{Method, RunSpec};
use stoker_shared::clock::{Clock, ManualClock};
use stoker_shared::store::{PostgresOptions, StoreUrl};

pub(crate) const LEASE: Duration = Duration::from_secs(15);

/// A fresh store whose clock stands until moved.
pub(crate) struct World {
    pub(crate) runs: Arc<dyn Runs>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) url: StoreUrl,
    pub(crate) schema: String,
    _folder: Option<tempfile::TempDir>,
}

impl World {
    pub(crate) async fn sqlite_memory() -> Self {
        Self::on(StoreUrl::Memory, None).await
    }

    pub(crate) async fn sqlite_file() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("made/by/stoker.sqlite");
        Self::on(StoreUrl::Sqlite(file), Some(folder)).await
    }

    /// In a schema of its own on the server that `STOKER_TEST_POSTGRES` names.
    pub(crate) async fn postgres() -> Self {
        let server = std::env::var("STOKER_TEST_POSTGRES").unwrap_or_else(|_| {
            panic!(
                "STOKER_TEST_POSTGRES is not set: run `make test`, or set it to the URL of a \
                 PostgreSQL server on which the user may create schemas"
            )
        });
        Self::on(StoreUrl::Postgres(server), None).await
    }

    async fn on(url: StoreUrl, folder: Option<tempfile::TempDir>) -> Self {
        let schema = format!("runs_{}", uuid::Uuid::new_v4().simple());
        let start = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let clock = Arc::new(ManualClock::new(start));
        Self {
            runs: open(&url, &schema, clock.clone()).await.unwrap(),
            clock,
            url,
            schema,
            _folder: folder,
        }
    }

    /// The same store, as another process sees it.
    pub(crate) async fn again(&self) -> Arc<dyn Runs> {
        open(&self.url, &self.schema, self.clock.clone())
            .await
            .unwrap()
    }

    pub(crate) async fn end(self) {
        if let StoreUrl::Postgres(url) = &self.url {
            let mut conn = PgConnection::connect(url).await.unwrap();
            let drop = format!("DROP SCHEMA {} CASCADE", self.schema);
            let dropped = sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut conn).await;
            dropped.unwrap();
        }
    }

    pub(crate) async fn start(&self, spec: &RunSpec) -> i64 {
        let (run, goes_on) = self.runs.start(spec).await.unwrap();
        assert!(!goes_on, "{run:?}");
        run.run_id
    }

    pub(crate) async fn take(&self) -> Option<Taken> {
        self.runs.take("host:1", &[]).await.unwrap()
    }

    /// A run that has just been started and taken.
    pub(crate) async fn driven(&self) -> Taken {
        let run_id = self.start(&spec()).await;
        self.runs.take("host:1", &[run_id]).await.unwrap().unwrap()
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }
}

pub(crate) async fn open(
    url: &StoreUrl,
    schema: &str,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn Runs>, RunsError> {
    let options = RunsOptions {
        postgres: PostgresOptions {
            schema: schema.to_owned(),
            password: None,
            password_file: None,
            connections: 4,
        },
        lease: LEASE,
    };
    runs::open(url, &options, clock).await
}

pub(crate) fn spec() -> RunSpec {
    RunSpec {
        target: Some(Target {
            base_url: "http://fhir/a".to_owned(),
            tenant: "t".to_owned(),
        }),
        method: Method::ClientDriven.into(),
        tstamp: String::new(),
        force: false,
        resource_types: vec!["Patient".to_owned(), "Account".to_owned()],
        concurrency: 3,
        batch: 100,
        start_with_index_id: Some(5),
        max_server_latency_ms: Some(70),
        urls: Vec::new(),
    }
}

pub(crate) fn aside(world: &World, index_id: i64, failed: bool) -> SetAside {
    SetAside {
        index_id,
        failed,
        attempts: 2,
        http_status: 500,
        reason: format!("no {index_id}"),
        time: world.now(),
    }
}

pub(crate) fn save(frontier: i64, open: &[(i64, i64)]) -> Save {
    Save {
        position: Position {
            frontier: Some(frontier),
            open: open.to_vec(),
        },
        counts: Counts {
            reindexed: 40,
            gone: 3,
            requests: 7,
            failed_requests: 1,
        },
        seen: Seen {
            total: Some(1000),
            concurrency: 8,
            batch: 500,
            per_second: 12.5,
            trouble: "busy".to_owned(),
        },
        ..Save::default()
    }
}

pub(crate) fn is_lost<T>(result: &Result<T, RunsError>) -> bool {
    matches!(result, Err(RunsError::LeaseLost(_)))
}
