//! What a load did, asked of the ledger when it has ended.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use loader_worker::stats::Stats;
use stoker_proto::ledger::v1::job_service_client::JobServiceClient;
use stoker_proto::ledger::v1::{GetJobRequest, Job, JobState, ListErrorsRequest, LoadError};
use stoker_shared::clock::{Clock, SystemClock};
use stoker_shared::grpc::Channel;

use super::args::Plan;
use super::early::Early;
use crate::report::{Ending, Facts, MAX_PROBLEMS};

/// The facts as far as the ledger tells them. One that has failed is not asked again: its last word
/// is what is known.
pub(super) async fn gather(
    client: JobServiceClient<Channel>,
    jobs: BTreeMap<i64, Job>,
    plan: &Plan,
    stats: &Stats,
    started: DateTime<Utc>,
    early: Option<Early>,
) -> Facts {
    let mut known = Known {
        jobs,
        problems: Vec::new(),
        problems_total: 0,
    };
    let ledger_works = early.as_ref().is_none_or(|early| early.ledger_works);
    let mut early = early.map(|early| (early.ending, early.reason));
    if ledger_works && let Err(status) = known.ask(client).await {
        early = Some(incomplete(early, status.message()));
    }
    Facts {
        early: early.or_else(|| known.ended_otherwise()),
        jobs: known.jobs.into_values().collect(),
        problems: known.problems,
        problems_total: known.problems_total,
        latency: stats.latency(),
        started,
        ended: SystemClock.now(),
        target: plan.target.clone(),
        interaction: plan.sending.name(),
        ledger_again: plan.ledger_again.clone(),
    }
}

struct Known {
    jobs: BTreeMap<i64, Job>,
    problems: Vec<LoadError>,
    problems_total: u64,
}

impl Known {
    async fn ask(&mut self, mut client: JobServiceClient<Channel>) -> Result<(), tonic::Status> {
        for (&job_id, job) in &mut self.jobs {
            let answer = client.get_job(GetJobRequest { job_id }).await?.into_inner();
            if let Some(now) = answer.job {
                *job = now;
            }
            let request = ListErrorsRequest {
                job_id,
                this_run: true,
            };
            let mut errors = client.list_errors(request).await?.into_inner();
            while let Some(error) = errors.message().await? {
                self.problems_total += 1;
                if self.problems.len() < MAX_PROBLEMS {
                    self.problems.push(error);
                }
            }
        }
        Ok(())
    }

    /// A job that is over, but did not come to its end.
    fn ended_otherwise(&self) -> Option<(Ending, String)> {
        self.jobs.values().find_map(|job| match job.state() {
            JobState::Failed => Some((Ending::Failed, job.reason.clone())),
            JobState::Cancelled => Some((
                Ending::Interrupted,
                format!("job {} was cancelled", job.job_id),
            )),
            _ => None,
        })
    }
}

/// The first reason counts; that the counts are not whole is to be known too.
fn incomplete(early: Option<(Ending, String)>, fault: &str) -> (Ending, String) {
    match early {
        Some((ending, reason)) => (
            ending,
            format!("{reason}; and the counts are incomplete, since the ledger failed: {fault}"),
        ),
        None => (
            Ending::Failed,
            format!(
                "the counts are incomplete, since the ledger failed: {fault}; run the same command \
                 again, what is loaded is not sent again"
            ),
        ),
    }
}
