//! `stoker jobs`: what the ledger knows.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use bucket_scanner::ledger::LedgerUrl;
use serde_json::{Value, json};
use stoker_proto::ledger::v1::job_service_client::JobServiceClient;
use stoker_proto::ledger::v1::{
    CancelJobRequest, GetJobRequest, Job, ListJobsRequest, RetryJobRequest,
};
use stoker_shared::config::{self, Load};
use stoker_shared::grpc::{self, Channel, GrpcClientConfig};
use tonic::Code;

use crate::Global;
use crate::embedded::{Embedded, LedgerArgs};
use crate::output::Output;

mod errors;
mod show;

use errors::errors;
use show::{NOTHING_YET, detail, list, to_json};

/// Show what has been loaded and what went wrong
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct JobsArgs {
    #[command(subcommand)]
    command: Option<JobsCommand>,
    #[command(flatten)]
    ledger: LedgerArgs,
    /// A running bucket-scanner to ask instead of opening a ledger, e.g. http://127.0.0.1:7701
    #[arg(long, value_name = "URL", global = true)]
    server: Option<String>,
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

const RETRY_EXAMPLES: &str = "Examples:
  stoker jobs retry 3 && stoker load ./data --to https://fhir.example.org/r4";

const CANCEL_EXAMPLES: &str = "Examples:
  stoker jobs cancel 3";

type Client = JobServiceClient<Channel>;

/// Runs the command.
pub async fn run(args: JobsArgs, global: &Global, output: &Output) -> anyhow::Result<ExitCode> {
    let command = args.command.unwrap_or(JobsCommand::List);
    if let Some(url) = args.server {
        if args.ledger.ledger.is_some() {
            bail!("--ledger and --server name two ledgers; give one of them");
        }
        let config = GrpcClientConfig {
            url,
            ..GrpcClientConfig::default()
        };
        let client = JobServiceClient::new(grpc::connect(&config)?);
        return ask(client, command, output).await;
    }
    let section = Load {
        file: global.config.clone(),
        ..Load::section("bucket-scanner")
    };
    let mut scanner: bucket_scanner::Config = config::load(&section)?;
    let url = args.ledger.url_or(&scanner)?;
    let is_the_users_own = args.ledger.ledger.is_none() && scanner.ledger.is_none();
    match &url {
        LedgerUrl::Memory => bail!(
            "the ledger \"none\" is gone with the load that made it; give the --ledger that a load wrote"
        ),
        // Opening it would make it.
        LedgerUrl::Sqlite(path) if path.try_exists().is_ok_and(|there| !there) => {
            return without_ledger(path, is_the_users_own, &command, output);
        }
        _ => {}
    }
    scanner.ledger = Some(url);
    scanner.sources.clear();
    let embedded = Embedded::answer(scanner).await?;
    let result = ask(embedded.jobs(), command, output).await;
    embedded.stop().await;
    result
}

fn without_ledger(
    path: &Path,
    is_the_users_own: bool,
    command: &JobsCommand,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    if !is_the_users_own {
        bail!(
            "{}: there is no ledger; check the path, or load something with it first",
            path.display()
        );
    }
    let id = match command {
        JobsCommand::List => {
            output.result(&json!([]), || NOTHING_YET.to_owned())?;
            return Ok(ExitCode::SUCCESS);
        }
        JobsCommand::Show { id }
        | JobsCommand::Errors { id, .. }
        | JobsCommand::Retry { id }
        | JobsCommand::Cancel { id } => id,
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
fn sentence(status: tonic::Status) -> anyhow::Error {
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
