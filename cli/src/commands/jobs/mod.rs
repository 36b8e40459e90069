//! `stoker jobs`: what the ledger knows.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use stoker_proto::ledger::v1::job_service_client::JobServiceClient;
use stoker_proto::ledger::v1::{
    CancelJobRequest, GetJobRequest, Job, ListJobsRequest, RetryJobRequest,
};
use stoker_shared::grpc::{self, Channel};
use tonic::Code;

use crate::Global;
use crate::embedded::{Existing, LedgerArgs};
use crate::output::Output;
use crate::server_args::ServerArgs;

mod errors;
mod events;
mod show;
mod stats;
mod watch;

use errors::errors;
use show::{NOTHING_YET, detail, list, to_json};
use stats::stats;
use watch::{watch, watch_all};

/// Show what has been loaded and what went wrong
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct JobsArgs {
    #[command(subcommand)]
    command: Option<JobsCommand>,
    #[command(flatten)]
    ledger: LedgerArgs,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Subcommand)]
enum JobsCommand {
    /// All jobs, the newest first (the default)
    #[command(after_help = LIST_EXAMPLES)]
    List,
    /// One job with its counts
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// The job's number
        id: i64,
    },
    /// Everything of a job that went wrong; with --json one object a line
    #[command(after_help = ERRORS_EXAMPLES)]
    Errors {
        /// The job's number
        id: i64,
        /// With the rejected inputs as they were
        #[arg(long)]
        inputs: bool,
    },
    /// Follow a job until it is over, or what all services do
    ///
    /// With a number: a line at each change of that job, until it has ended. Without: a line for each event that any
    /// service announces on Kafka, from now on; or, with --server, a line at each change of any of its jobs; until
    /// Ctrl-C. With --json one object a line.
    #[command(after_help = WATCH_EXAMPLES)]
    Watch {
        /// The job's number
        id: Option<i64>,
        /// Brokers, with commas between [default: loader_worker.kafka.brokers or bucket_scanner's]
        #[arg(
            long,
            value_name = "HOST:PORT",
            value_delimiter = ',',
            conflicts_with = "id"
        )]
        kafka_brokers: Vec<String>,
    },
    /// Objects, bytes, resources and rate of one job or of all
    #[command(after_help = STATS_EXAMPLES)]
    Stats {
        /// The job's number
        id: Option<i64>,
    },
    /// Take up rejected inputs and unreadable files again at the next load
    #[command(after_help = RETRY_EXAMPLES)]
    Retry {
        /// The job's number
        id: i64,
    },
    /// End a job; what is loaded stays
    #[command(after_help = CANCEL_EXAMPLES)]
    Cancel {
        /// The job's number
        id: i64,
    },
}

impl JobsCommand {
    /// The job it is about; none where it is about all.
    fn id(&self) -> Option<i64> {
        match self {
            Self::List => None,
            Self::Watch { id, .. } | Self::Stats { id } => *id,
            Self::Show { id }
            | Self::Errors { id, .. }
            | Self::Retry { id }
            | Self::Cancel { id } => Some(*id),
        }
    }
}

const EXAMPLES: &str = "Examples:
  stoker jobs
  stoker jobs errors 3
  stoker jobs errors 3 --inputs --json > rejected.ndjson
  stoker jobs retry 3 && stoker load ./data --to https://fhir.example.org/r4";

const LIST_EXAMPLES: &str = "Examples:
  stoker jobs list
  stoker jobs list --ledger sqlite:load.sqlite --json
  stoker jobs list --server http://127.0.0.1:7701";

const SHOW_EXAMPLES: &str = "Examples:
  stoker jobs show 3
  stoker jobs show 3 --json";

const ERRORS_EXAMPLES: &str = "Examples:
  stoker jobs errors 3
  stoker jobs errors 3 --inputs --json > rejected.ndjson";

const WATCH_EXAMPLES: &str = "Examples:
  stoker jobs watch 3
  stoker jobs watch 3 --server http://127.0.0.1:7701 --json
  stoker jobs watch --server http://127.0.0.1:7701
  stoker jobs watch --kafka-brokers kafka-1:9092,kafka-2:9092

Exit codes: 0 the job is done · 1 it failed or was cancelled · 2 some inputs were rejected, in doubt or unreadable";

const STATS_EXAMPLES: &str = "Examples:
  stoker jobs stats
  stoker jobs stats 3 --json";

const RETRY_EXAMPLES: &str = "Examples:
  stoker jobs retry 3 && stoker load ./data --to https://fhir.example.org/r4";

const CANCEL_EXAMPLES: &str = "Examples:
  stoker jobs cancel 3";

type Client = JobServiceClient<Channel>;

/// Runs the command.
pub async fn run(args: JobsArgs, global: &Global, output: &Output) -> anyhow::Result<ExitCode> {
    let command = args.command.unwrap_or(JobsCommand::List);
    if let JobsCommand::Watch {
        id: None,
        kafka_brokers,
    } = &command
        && (args.server.server.is_none() || !kafka_brokers.is_empty())
    {
        return events::watch(kafka_brokers.clone(), global, output).await;
    }
    if let Some(config) = args.server.instead_of(&args.ledger)? {
        let client = JobServiceClient::new(grpc::connect(&config)?);
        return ask(client, command, output).await;
    }
    open_and_ask(&args.ledger, command, global, output).await
}

async fn open_and_ask(
    ledger: &LedgerArgs,
    command: JobsCommand,
    global: &Global,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let embedded = match Existing::of(ledger, global).await? {
        Existing::Open(embedded) => embedded,
        Existing::NoneKept => bail!(
            "the ledger \"none\" is gone with the load that made it; give the --ledger that a load wrote"
        ),
        Existing::NotYet => return without_ledger(&command, output),
    };
    let result = ask(embedded.jobs(), command, output).await;
    embedded.stop().await;
    result
}

fn without_ledger(command: &JobsCommand, output: &Output) -> anyhow::Result<ExitCode> {
    let Some(id) = command.id() else {
        output.result(&json!([]), || NOTHING_YET.to_owned())?;
        return Ok(ExitCode::SUCCESS);
    };
    bail!("there is no job {id}: {NOTHING_YET}");
}

async fn ask(
    mut client: Client,
    command: JobsCommand,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    match command {
        JobsCommand::List => {
            let jobs = client
                .list_jobs(ListJobsRequest {})
                .await
                .map_err(sentence)?;
            let jobs = jobs.into_inner().jobs;
            let values: Vec<Value> = jobs.iter().map(to_json).collect();
            output.result(&values, || list(&jobs))?;
        }
        JobsCommand::Show { id } => {
            let request = GetJobRequest { job_id: id };
            let job = client.get_job(request).await.map_err(sentence)?;
            show(job.into_inner().job, output)?;
        }
        JobsCommand::Watch { id: Some(id), .. } => return watch(client, id, output).await,
        JobsCommand::Watch { id: None, .. } => return watch_all(client, output).await,
        JobsCommand::Stats { id } => stats(client, id, output).await?,
        JobsCommand::Errors { id, inputs } => errors(client, id, inputs, output).await?,
        JobsCommand::Retry { id } => retry(client, id, output).await?,
        JobsCommand::Cancel { id } => {
            let request = CancelJobRequest { job_id: id };
            let job = client.cancel_job(request).await.map_err(sentence)?;
            show(job.into_inner().job, output)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn retry(mut client: Client, job_id: i64, output: &Output) -> anyhow::Result<()> {
    let request = RetryJobRequest { job_id };
    let retried = client.retry_job(request).await.map_err(sentence)?;
    let retried = retried.into_inner();
    let value = json!({"job_id": job_id, "inputs": retried.inputs, "units": retried.units});
    output.result(&value, || {
        format!(
            "{} inputs and {} files will be sent again by the next load of this source",
            retried.inputs, retried.units
        )
    })
}

fn show(job: Option<Job>, output: &Output) -> anyhow::Result<()> {
    let job = job.context(
        "the ledger answers without the job; use the same version of stoker as the scanner",
    )?;
    output.result(&to_json(&job), || detail(&job))
}

/// What the ledger says, for a person; or why nothing came of asking it.
#[expect(
    clippy::needless_pass_by_value,
    reason = "used as a function of map_err"
)]
pub(super) fn sentence(status: tonic::Status) -> anyhow::Error {
    // Only what was made here has a cause; what the ledger says is a sentence already.
    let causes = std::iter::successors(std::error::Error::source(&status), |cause| cause.source());
    let message = status.message();
    match (causes.last(), status.code()) {
        (Some(cause), _) => anyhow::anyhow!(
            "the bucket-scanner cannot be asked: {cause}; check the address and that it runs"
        ),
        // No scanner says so, but what is made of the answer of another server.
        (None, code)
            if matches!(code, Code::Unimplemented | Code::Unknown)
                || message.starts_with("protocol error") =>
        {
            anyhow::anyhow!(
                "what answers there serves no ledger; give the address of a bucket-scanner"
            )
        }
        (None, _) => anyhow::anyhow!(message.to_owned()),
    }
}
