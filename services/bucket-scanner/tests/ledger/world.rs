//! A ledger to test, and short words for what is done to it.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bucket_scanner::ledger::{
    self, Commit, ErrorCursor, FoundObject, Issue, Ledger, LedgerError, LedgerOptions, LedgerUrl,
    Page, Registered, Scan, StartJob,
};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use stoker_proto::common::v1::{ByteRange, Compression, FileType, Interaction, Source, Target};
use stoker_proto::ledger::v1::{
    CommitHeader, EntryOutcome, Job, JobOptions, JobProgress, JobState, Lease, LeaseUnitsRequest,
    LoadError, OutcomeKind, Position, RegisterWorkerRequest, TypeCount, Unit,
};
use stoker_shared::clock::{Clock, ManualClock};

pub(crate) use crate::database::Database;

/// A fresh ledger whose clock stands until moved.
pub(crate) struct World {
    pub(crate) ledger: Arc<dyn Ledger>,
    clock: Arc<ManualClock>,
    pub(crate) url: LedgerUrl,
    _home: Home,
}

/// What is to be gone with the test.
enum Home {
    Nothing,
    Folder { _folder: tempfile::TempDir },
    Database { _database: Database },
}

impl World {
    pub(crate) async fn sqlite_memory() -> Self {
        Self::open(LedgerUrl::Memory, Home::Nothing).await
    }

    pub(crate) async fn sqlite_file() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file: PathBuf = folder.path().join("made/by/stoker.sqlite");
        Self::open(LedgerUrl::Sqlite(file), Home::Folder { _folder: folder }).await
    }

    pub(crate) async fn postgres() -> Self {
        let database = Database::create().await;
        let url = LedgerUrl::Postgres(database.url.clone());
        Self::open(
            url,
            Home::Database {
                _database: database,
            },
        )
        .await
    }

    /// A ledger in a database that the test looks into itself.
    pub(crate) async fn on(database: &Database) -> Self {
        Self::open(LedgerUrl::Postgres(database.url.clone()), Home::Nothing).await
    }

    async fn open(url: LedgerUrl, home: Home) -> Self {
        let start = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let clock = Arc::new(ManualClock::new(start));
        let options = LedgerOptions::default();
        let ledger = ledger::open(&url, &options, clock.clone()).await.unwrap();
        Self {
            ledger,
            clock,
            url,
            _home: home,
        }
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub(crate) fn clock_seconds(&self) -> i64 {
        self.clock.now().timestamp()
    }

    pub(crate) async fn start(&self, start: &StartJob) -> i64 {
        self.ledger.start_job(start).await.unwrap()
    }

    /// A whole scan that shows just these objects.
    pub(crate) async fn scan(&self, objects: &[FoundObject]) -> Registered {
        let scan = self.begin_scan().await;
        let registered = self.register(&scan, objects).await.unwrap();
        self.ledger.finish_scan(&scan, None).await.unwrap();
        registered
    }

    pub(crate) async fn begin_scan(&self) -> Scan {
        self.ledger.begin_scan(&[]).await.unwrap().unwrap()
    }

    pub(crate) async fn register(
        &self,
        scan: &Scan,
        objects: &[FoundObject],
    ) -> Result<Registered, LedgerError> {
        let page = Page {
            objects: objects.to_vec(),
            ..Page::default()
        };
        let registered = self.ledger.register_page(scan, &page).await?;
        assert_eq!(
            registered.news.len() as u64,
            registered.new + registered.changed
        );
        // What a test compares are the counts.
        Ok(Registered {
            news: Vec::new(),
            ..registered
        })
    }

    /// A job over some objects, scanned.
    pub(crate) async fn job_over(&self, objects: &[FoundObject]) -> i64 {
        let job = self.start(&start()).await;
        self.scan(objects).await;
        job
    }

    pub(crate) async fn worker(&self) -> i64 {
        let request = RegisterWorkerRequest {
            hostname: "host".to_owned(),
            pid: 1,
            version: "0".to_owned(),
        };
        self.ledger.register_worker(&request).await.unwrap()
    }

    pub(crate) async fn lease(&self, worker: i64, max: u32) -> Vec<Unit> {
        let request = LeaseUnitsRequest {
            worker_id: worker,
            max_units: max,
            ..LeaseUnitsRequest::default()
        };
        self.ledger.lease_units(&request).await.unwrap().units
    }

    pub(crate) async fn lease_one(&self, worker: i64) -> Unit {
        let mut units = self.lease(worker, 1).await;
        units.pop().unwrap()
    }

    pub(crate) async fn finish(&self, unit: &Unit) -> Result<(), LedgerError> {
        self.ledger
            .finish_unit(lease_of(unit), 1, 10)
            .await
            .map(drop)
    }

    /// Leases and finishes everything there is.
    pub(crate) async fn load_all(&self) {
        let worker = self.worker().await;
        loop {
            let units = self.lease(worker, 10).await;
            if units.is_empty() {
                return;
            }
            for unit in units {
                self.finish(&unit).await.unwrap();
            }
        }
    }

    pub(crate) async fn job(&self, job_id: i64) -> Job {
        self.ledger.job(job_id).await.unwrap()
    }

    pub(crate) async fn state(&self, job_id: i64) -> JobState {
        self.job(job_id).await.state()
    }

    pub(crate) async fn run(&self, job_id: i64) -> JobProgress {
        self.job(job_id).await.run.unwrap()
    }

    pub(crate) async fn total(&self, job_id: i64) -> JobProgress {
        self.job(job_id).await.total.unwrap()
    }

    pub(crate) async fn errors(&self, job_id: i64, this_run: bool) -> Vec<LoadError> {
        let mut all = Vec::new();
        let mut after = Some(ErrorCursor::START);
        while let Some(cursor) = after {
            let page = self.ledger.errors(job_id, this_run, cursor).await.unwrap();
            all.extend(page.errors);
            after = page.next;
        }
        all
    }
}

pub(crate) fn start() -> StartJob {
    StartJob {
        source: Source {
            uri: "file:///data".to_owned(),
            reach: String::new(),
        },
        target: Target {
            base_url: "http://fhir/a".to_owned(),
            tenant: String::new(),
        },
        interaction: Interaction::Auto,
        reload: false,
        options: JobOptions::default(),
    }
}

/// The same source into another target.
pub(crate) fn other() -> StartJob {
    StartJob {
        target: Target {
            tenant: "b".to_owned(),
            ..start().target
        },
        ..start()
    }
}

pub(crate) fn reload() -> StartJob {
    StartJob {
        reload: true,
        ..start()
    }
}

pub(crate) fn object(key: &str, size: u64) -> FoundObject {
    FoundObject {
        bucket_name: ":local".to_owned(),
        key: key.to_owned(),
        size,
        etag: String::new(),
        last_modified: modified(0),
        file_type: FileType::Ndjson,
        compression: Compression::Gzip,
        several_frames: false,
    }
}

pub(crate) fn uncompressed(key: &str, size: u64) -> FoundObject {
    FoundObject {
        compression: Compression::None,
        ..object(key, size)
    }
}

pub(crate) fn modified(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_600_000_000_000_000 + micros).unwrap()
}

pub(crate) fn issue(name: &str, reason: &str) -> Issue {
    Issue {
        name: name.to_owned(),
        reason: reason.to_owned(),
        unreadable: false,
    }
}

pub(crate) fn unreadable(name: &str) -> Issue {
    Issue {
        unreadable: true,
        ..issue(name, "permission denied")
    }
}

pub(crate) fn lease_of(unit: &Unit) -> &Lease {
    unit.lease.as_ref().unwrap()
}

pub(crate) fn key_of(unit: &Unit) -> &str {
    &unit.object.as_ref().unwrap().key
}

/// A commit of one range.
pub(crate) fn commit(unit: &Unit, range: Range<u64>) -> Commit {
    let header = CommitHeader {
        lease: unit.lease.clone(),
        done: vec![ByteRange {
            start: range.start,
            end: range.end,
        }],
        counts: Vec::new(),
        requests: 1,
        retries: 0,
        source_bytes: range.end,
        begun: Vec::new(),
    };
    Commit {
        header,
        ..Commit::default()
    }
}

pub(crate) fn count(resource_type: &str, numbers: [u64; 4]) -> TypeCount {
    let [created, updated, rejected, in_doubt] = numbers;
    let resource_type = resource_type.to_owned();
    TypeCount {
        resource_type,
        created,
        updated,
        rejected,
        in_doubt,
    }
}

pub(crate) fn outcome(kind: OutcomeKind, offset: u64, entry: Option<u32>) -> EntryOutcome {
    EntryOutcome {
        position: Some(Position {
            offset,
            length: 10,
            line: offset / 10,
            entry,
        }),
        kind: kind.into(),
        resource_type: "Patient".to_owned(),
        logical_id: format!("id-{offset}"),
        response_ms: 5,
        http_status: 422,
        error_text: "no\0good".to_owned(),
        operation_outcome: Bytes::from_static(b"{}"),
    }
}

/// A commit of `range` whose inputs of 10 bytes at `rejected` were refused and quarantined.
pub(crate) fn rejecting(unit: &Unit, range: Range<u64>, rejected: &[u64]) -> Commit {
    let mut commit = commit(unit, range.clone());
    let all = (range.end - range.start) / 10;
    let refused = rejected.len() as u64;
    commit.header.counts = vec![count("Patient", [0, all - refused, refused, 0])];
    for (index, offset) in rejected.iter().enumerate() {
        commit
            .outcomes
            .push(outcome(OutcomeKind::Rejected, *offset, None));
        commit
            .quarantine
            .push((index, Bytes::from(format!("input {offset}"))));
    }
    commit
}
