//! The transactions of the catalog, in SQL that both databases understand. Compiled once for each; what differs (`Db`,
//! `TAKE_TURNS`, …) is in the module around this one.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use stoker_shared::store::Store;
use stoker_shared::{in_transaction, with_connection};

use super::{BEGIN, Conn, Db, TAKE_TURNS, rows};
use crate::catalog::{
    Begun, Catalog, CatalogError, Ended, Kept, Lease, Mark, Notice, Proven, Run, Seen, Task, Wish,
};
use crate::manifest::Manifest;
use crate::troubles::Trouble;

mod begin;
mod held;
mod notices;
mod runs;
mod schedule;
mod waiting;

/// The catalog over one database.
#[derive(Debug)]
pub(super) struct SqlCatalog {
    store: Store<Db>,
    lease: TimeDelta,
}

impl SqlCatalog {
    pub(super) fn new(store: Store<Db>, lease: Duration) -> Self {
        let lease = TimeDelta::from_std(lease).unwrap_or(TimeDelta::MAX);
        Self { store, lease }
    }
}

/// Runs a step in a transaction of its own.
macro_rules! transaction {
    ($catalog:ident, $($step:tt)*) => {
        in_transaction!(CatalogError, BEGIN; $catalog.store, $($step)*)
    };
}

#[async_trait]
impl Catalog for SqlCatalog {
    async fn mark(&self) -> Result<Mark, CatalogError> {
        with_connection!(self.store, held::mark)
    }

    async fn rebuild(
        &self,
        place: &str,
        since: Mark,
        found: &[Manifest],
    ) -> Result<(), CatalogError> {
        transaction!(self, held::rebuild, place, since, found)
    }

    async fn note(&self, place: &str, manifest: &Manifest) -> Result<(), CatalogError> {
        transaction!(self, held::note, place, manifest)
    }

    async fn forget(&self, place: &str, name: &str) -> Result<(), CatalogError> {
        transaction!(self, held::forget, place, name)
    }

    async fn backups(&self, source: &str) -> Result<Vec<Kept>, CatalogError> {
        with_connection!(self.store, held::backups, source)
    }

    async fn proofs(&self, source: &str, limit: u32) -> Result<Vec<Proven>, CatalogError> {
        with_connection!(self.store, held::proofs, source, limit)
    }

    async fn begin(&self, wish: &Wish, agent: &str) -> Result<Begun, CatalogError> {
        transaction!(self, begin::begin, self.lease, wish, agent)
    }

    async fn renew(&self, lease: &Lease, seen: &Seen) -> Result<(), CatalogError> {
        transaction!(self, runs::renew, self.lease, lease, seen)
    }

    async fn finish(&self, lease: &Lease, ended: &Ended) -> Result<(), CatalogError> {
        transaction!(self, runs::finish, lease, ended)
    }

    async fn sweep(&self) -> Result<Vec<Run>, CatalogError> {
        transaction!(self, begin::sweep, self.lease)
    }

    async fn run(&self, run_id: i64) -> Result<Option<Run>, CatalogError> {
        with_connection!(self.store, runs::run, run_id)
    }

    async fn runs(&self, source: &str, limit: u32) -> Result<Vec<Run>, CatalogError> {
        with_connection!(self.store, runs::runs, source, limit)
    }

    async fn under_way(&self, place: &str) -> Result<Vec<String>, CatalogError> {
        with_connection!(self.store, runs::under_way, place)
    }

    async fn last_due(&self, source: &str, task: Task) -> Result<DateTime<Utc>, CatalogError> {
        transaction!(self, schedule::last_due, source, task)
    }

    async fn note_troubles(&self, source: &str, troubles: &[Trouble]) -> Result<(), CatalogError> {
        transaction!(self, notices::note, source, troubles)
    }

    async fn claim_notice(
        &self,
        source: &str,
        repeat_after: Option<Duration>,
        hold: Duration,
    ) -> Result<Option<Notice>, CatalogError> {
        transaction!(self, notices::claim, source, repeat_after, hold)
    }

    async fn told(&self, notice: &Notice) -> Result<(), CatalogError> {
        transaction!(self, notices::told, notice)
    }
}
