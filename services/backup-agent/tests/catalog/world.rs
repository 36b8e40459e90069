//! A catalog to test, and short words for what is done to it.

use std::sync::Arc;
use std::time::Duration;

use backup_agent::catalog::{
    self, Begun, Catalog, CatalogError, CatalogOptions, Lease, Task, Wish,
};
use backup_agent::manifest::{Check, Manifest, Part, Proof, StoreKind, VERSION, Verified};
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use stoker_shared::clock::{Clock, ManualClock};
use stoker_shared::store::{PostgresOptions, StoreUrl};

pub(crate) const LEASE: Duration = Duration::from_mins(1);
pub(crate) const PLACE: &str = "/backups";

/// A fresh catalog whose clock stands until moved.
pub(crate) struct World {
    pub(crate) catalog: Arc<dyn Catalog>,
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
        let schema = format!("catalog_{}", uuid::Uuid::new_v4().simple());
        let clock = Arc::new(ManualClock::new(start()));
        Self {
            catalog: open(&url, &schema, clock.clone()).await.unwrap(),
            clock,
            url,
            schema,
            _folder: folder,
        }
    }

    /// The same catalog, as another process sees it by another clock.
    pub(crate) async fn at(&self, time: DateTime<Utc>) -> Arc<dyn Catalog> {
        let clock = Arc::new(ManualClock::new(time));
        open(&self.url, &self.schema, clock).await.unwrap()
    }

    pub(crate) async fn end(self) {
        if let StoreUrl::Postgres(url) = &self.url {
            let mut conn = PgConnection::connect(url).await.unwrap();
            let drop = format!("DROP SCHEMA {} CASCADE", self.schema);
            let dropped = sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut conn).await;
            dropped.unwrap();
        }
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    pub(crate) async fn begin(&self, wish: &Wish) -> Begun {
        self.catalog.begin(wish, "host:1").await.unwrap()
    }

    /// A backup that an agent has begun.
    pub(crate) async fn begun(&self, due: Option<DateTime<Utc>>) -> Lease {
        yours(self.begin(&wish(due)).await).0
    }

    pub(crate) async fn names(&self, source: &str) -> Vec<String> {
        let kept = self.catalog.backups(source).await.unwrap();
        kept.into_iter().map(|kept| kept.manifest.name).collect()
    }

    pub(crate) async fn rebuild(&self, place: &str, found: &[Manifest]) {
        let mark = self.catalog.mark().await.unwrap();
        self.catalog.rebuild(place, mark, found).await.unwrap();
    }
}

async fn open(
    url: &StoreUrl,
    schema: &str,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn Catalog>, CatalogError> {
    let options = CatalogOptions {
        postgres: PostgresOptions {
            schema: schema.to_owned(),
            password: None,
            password_file: None,
            connections: 4,
        },
        lease: LEASE,
    };
    catalog::open(url, &options, clock).await
}

pub(crate) fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

pub(crate) fn wish(due: Option<DateTime<Utc>>) -> Wish {
    Wish {
        source: "fhir".to_owned(),
        task: Task::Backup,
        due,
        last: None,
        place: PLACE.to_owned(),
        backup: "postgresql_1700000000".to_owned(),
    }
}

/// The lease, and how many runs were lost before.
pub(crate) fn yours(begun: Begun) -> (Lease, u32) {
    match begun {
        Begun::Yours {
            lease, lost_before, ..
        } => (lease, lost_before),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn is_busy(begun: &Begun) -> bool {
    matches!(begun, Begun::Busy(_))
}

pub(crate) fn is_lost<T>(result: &Result<T, CatalogError>) -> bool {
    matches!(result, Err(CatalogError::LeaseLost(_)))
}

/// A backup of a source, begun so many hours after the start.
pub(crate) fn backup(source: &str, hours: i64) -> Manifest {
    let started = start() + TimeDelta::hours(hours);
    Manifest {
        manifest_version: VERSION,
        name: format!("{source}_{}", started.timestamp()),
        store: StoreKind::Postgresql,
        source: source.to_owned(),
        engine: "native".to_owned(),
        started,
        ended: started + TimeDelta::minutes(5),
        parts: vec![Part {
            name: "base.tar".to_owned(),
            bytes: 10,
            sha256: "ab".to_owned(),
            compression: "none".to_owned(),
            raw_bytes: 10,
        }],
        about: [("timeline".to_owned(), "1".to_owned())].into(),
        elsewhere: None,
        parent: None,
        verified: Some(Verified {
            at: started,
            full: true,
            good: true,
            problem: String::new(),
        }),
        proof: None,
    }
}

/// The same, proven so many minutes after it was begun.
pub(crate) fn proven(manifest: Manifest, minutes: i64) -> Manifest {
    let at = manifest.started + TimeDelta::minutes(minutes);
    let proof = Proof {
        at,
        good: true,
        recovery_ms: 1900,
        checks: vec![Check {
            name: "pg_amcheck".to_owned(),
            good: true,
            saw: "nothing".to_owned(),
        }],
    };
    Manifest {
        proof: Some(proof),
        ..manifest
    }
}
