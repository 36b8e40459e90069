//! What the ledger is told of a retry: which of the errors it lists are none any more.
//!
//! It is told once what was taken is in the journal, and before the quarantine is written anew. Died before: the
//! next retry finds the journal, sends nothing of it again, and tells. Died after: it tells again, which changes
//! nothing.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use prost_types::Timestamp;
use stoker_proto::common::v1::Target;
use stoker_proto::ledger::v1::job_service_client::JobServiceClient;
use stoker_proto::ledger::v1::{SettleErrorsRequest, SettledError};
use stoker_shared::grpc::{self, Channel};
use tonic::{Code, Status};

use super::quarantine::Name;
use crate::Global;
use crate::commands::jobs::sentence;
use crate::embedded::{Embedded, Existing, LedgerArgs};
use crate::server_args::ServerArgs;

const AT_ONCE: usize = 1000;

/// The ledger that lists what is retried, if there is one.
#[derive(Debug)]
pub(super) struct Ledger {
    client: Option<JobServiceClient<Channel>>,
    embedded: Option<Embedded>,
    target: Target,
}

/// What the ledger made of it.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Errors that it lists no longer.
    pub(super) settled: u64,
    /// Inputs that were taken and that it did not strike: it may list them still.
    pub(super) untold: u64,
    /// Why, for a person.
    pub(super) notes: BTreeSet<String>,
}

impl Ledger {
    /// Opened before anything is sent, so that a ledger that is away is noticed while nothing has happened.
    pub(super) async fn open(
        ledger: &LedgerArgs,
        server: &ServerArgs,
        global: &Global,
        target: &Target,
    ) -> anyhow::Result<Self> {
        let (client, embedded) = if let Some(config) = server.instead_of(ledger)? {
            (Some(JobServiceClient::new(grpc::connect(&config)?)), None)
        } else {
            match Existing::of(ledger, global).await? {
                Existing::Open(embedded) => (Some(embedded.jobs()), Some(embedded)),
                Existing::NoneKept | Existing::NotYet => (None, None),
            }
        };
        Ok(Self {
            client,
            embedded,
            target: target.clone(),
        })
    }

    /// Has the errors struck whose inputs were taken. May be repeated.
    pub(super) async fn settle(
        &self,
        taken: impl Iterator<Item = Name>,
        told: &mut Told,
    ) -> anyhow::Result<()> {
        let mut jobs: BTreeMap<i64, Vec<SettledError>> = BTreeMap::new();
        for name in taken {
            jobs.entry(name.job_id).or_default().push(settled(&name));
        }
        for (job_id, errors) in jobs {
            for errors in errors.chunks(AT_ONCE) {
                self.settle_some(job_id, errors, told).await?;
            }
        }
        Ok(())
    }

    async fn settle_some(
        &self,
        job_id: i64,
        errors: &[SettledError],
        told: &mut Told,
    ) -> anyhow::Result<()> {
        let asked = errors.len() as u64;
        let Some(client) = &self.client else {
            told.not(
                asked,
                "there is no ledger to tell; name it with --ledger or --server",
            );
            return Ok(());
        };
        let request = SettleErrorsRequest {
            job_id,
            target: Some(self.target.clone()),
            errors: errors.to_vec(),
        };
        match client.clone().settle_errors(request).await {
            Ok(answer) => {
                let settled = answer.into_inner().settled;
                told.settled += settled;
                if settled < asked {
                    told.not(asked - settled, "they are of another ledger, or struck already");
                }
            }
            Err(status) if is_of_another(&status) => told.not(asked, status.message()),
            Err(status) => return Err(sentence(status)).context(
                "the ledger was not told what was taken; run the same command again, which sends nothing of it again",
            ),
        }
        Ok(())
    }

    pub(super) async fn close(self) {
        if let Some(embedded) = self.embedded {
            embedded.stop().await;
        }
    }
}

impl Told {
    /// The ledger was not told of some, or did not know them.
    pub(super) fn not(&mut self, some: u64, why: &str) {
        if some > 0 {
            self.untold += some;
            self.notes.insert(why.to_owned());
        }
    }
}

/// Whether the ledger answers, but the inputs are no business of it.
fn is_of_another(status: &Status) -> bool {
    matches!(status.code(), Code::NotFound | Code::FailedPrecondition)
}

fn settled(name: &Name) -> SettledError {
    SettledError {
        error_id: name.error_id,
        time: Some(Timestamp {
            seconds: name.time.timestamp(),
            nanos: i32::try_from(name.time.timestamp_subsec_nanos()).unwrap_or(0),
        }),
    }
}
