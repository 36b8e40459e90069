//! Workers that lease, commit and finish, and load nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bucket_scanner::ledger::{Commit, Ledger};
use futures::future::try_join_all;
use stoker_proto::common::v1::ByteRange;
use stoker_proto::ledger::v1::{
    CommitHeader, EntryOutcome, Lease, LeaseUnitsRequest, OutcomeKind, Position,
    RegisterWorkerRequest, TypeCount, Unit,
};
use tokio::task::JoinSet;

/// Units of one lease call.
const UNITS_PER_CALL: u32 = 8;

/// Workers of one job.
#[derive(Debug, Clone)]
pub struct Workers {
    ledger: Arc<dyn Ledger>,
    worker_id: i64,
    job_id: i64,
}

impl Workers {
    /// Registers them.
    pub async fn of(ledger: Arc<dyn Ledger>, job_id: i64) -> anyhow::Result<Self> {
        let request = RegisterWorkerRequest {
            hostname: "bench".to_owned(),
            pid: std::process::id(),
            version: String::new(),
        };
        let worker_id = ledger.register_worker(&request).await?;
        Ok(Self {
            ledger,
            worker_id,
            job_id,
        })
    }

    async fn lease(&self, max_units: u32) -> anyhow::Result<Vec<Unit>> {
        let request = LeaseUnitsRequest {
            worker_id: self.worker_id,
            max_units,
            job_ids: vec![self.job_id],
            ..LeaseUnitsRequest::default()
        };
        let units = self.ledger.lease_units(&request).await?.units;
        if units.len() < max_units as usize {
            bail!("{} of {max_units} units were leased", units.len());
        }
        Ok(units)
    }

    /// Several callers lease units and end them, until `units` are; answers how long each lease call took.
    pub async fn turn_over(&self, callers: u32, units: u32) -> anyhow::Result<Vec<Duration>> {
        let calls = units / UNITS_PER_CALL / callers;
        let mut tasks = JoinSet::new();
        for _ in 0..callers {
            let workers = self.clone();
            tasks.spawn(async move {
                let mut took = Vec::new();
                for _ in 0..calls {
                    let asked = Instant::now();
                    let units = workers.lease(UNITS_PER_CALL).await?;
                    took.push(asked.elapsed());
                    try_join_all(units.iter().map(|unit| workers.end(unit))).await?;
                }
                anyhow::Ok(took)
            });
        }
        let mut took = Vec::new();
        while let Some(caller) = tasks.join_next().await {
            took.extend(caller??);
        }
        took.sort_unstable();
        Ok(took)
    }

    async fn end(&self, unit: &Unit) -> anyhow::Result<()> {
        self.ledger.commit_outcomes(&commit(unit, 0, 0)).await?;
        let lease = lease_of(unit)?;
        self.ledger.finish_unit(lease, 100, 200_000).await?;
        Ok(())
    }

    /// Commits ranges of as many units as there are callers at once, `commits` in all, each with rows for
    /// `created` resources; answers how many a second.
    pub async fn commit(&self, callers: u32, commits: u32, created: u64) -> anyhow::Result<f64> {
        let units = self.lease(callers).await?;
        let begun = Instant::now();
        let mut tasks = JoinSet::new();
        for unit in units {
            let ledger = Arc::clone(&self.ledger);
            tasks.spawn(async move {
                for number in 0..u64::from(commits / callers) {
                    let commit = commit(&unit, number, created);
                    ledger.commit_outcomes(&commit).await?;
                }
                anyhow::Ok(unit)
            });
        }
        let mut units = Vec::new();
        while let Some(unit) = tasks.join_next().await {
            units.push(unit??);
        }
        let seconds = begun.elapsed().as_secs_f64();
        for unit in &units {
            self.ledger.finish_unit(lease_of(unit)?, 1, 1).await?;
        }
        Ok(f64::from(commits) / seconds)
    }
}

fn lease_of(unit: &Unit) -> anyhow::Result<&Lease> {
    unit.lease.as_ref().context("a unit without a lease")
}

/// The `number`th batch of a unit.
fn commit(unit: &Unit, number: u64, created: u64) -> Commit {
    let range = ByteRange {
        start: number * 1000,
        end: (number + 1) * 1000,
    };
    let count = |resource_type: &str, created, updated| TypeCount {
        resource_type: resource_type.to_owned(),
        created,
        updated,
        ..TypeCount::default()
    };
    let outcome = |n| EntryOutcome {
        position: Some(Position {
            offset: range.start + n,
            length: 1,
            line: number * created + n,
            entry: None,
        }),
        kind: OutcomeKind::Created.into(),
        resource_type: "Observation".to_owned(),
        logical_id: format!("{number:016x}-{n:016x}"),
        response_ms: 5,
        ..EntryOutcome::default()
    };
    Commit {
        header: CommitHeader {
            lease: unit.lease.clone(),
            done: vec![range],
            counts: vec![count("Patient", 0, 10), count("Observation", created, 90)],
            requests: 1,
            source_bytes: range.end,
            ..CommitHeader::default()
        },
        outcomes: (0..created).map(outcome).collect(),
        quarantine: Vec::new(),
    }
}
