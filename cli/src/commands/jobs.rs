//! `stoker jobs`: what the ledger knows.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::DateTime;
use serde_json::{Value, json};
use stoker_proto::ledger::v1::job_service_client::JobServiceClient;
use stoker_proto::ledger::v1::{
    CancelJobRequest, GetJobRequest, Job, JobProgress, ListErrorsRequest, ListJobsRequest,
    LoadError, ReadQuarantineRequest, RetryJobRequest,
};
use stoker_shared::config::{self, Load};
use stoker_shared::grpc::{self, Channel, GrpcClientConfig};

use crate::Global;
use crate::embedded::{Embedded, LedgerArgs};
use crate::output::Output;
use crate::report::{kind_name, state_name};

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
    List,
    /// One job with its counts
    Show {
        /// The job's number
        id: i64,
    },
    /// Everything of a job that went wrong; with --json one object a line
    Errors {
        /// The job's number
        id: i64,
        /// With the rejected inputs as they were
        #[arg(long)]
        inputs: bool,
    },
    /// Take up rejected inputs and unreadable files again at the next load
    Retry {
        /// The job's number
        id: i64,
    },
    /// End a job; what is loaded stays
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

type Client = JobServiceClient<Channel>;

/// Runs the command.
pub async fn run(args: JobsArgs, global: &Global, output: &Output) -> anyhow::Result<ExitCode> {
    if let Some(url) = args.server {
        if args.ledger.ledger.is_some() {
            bail!("--ledger and --server name two ledgers; give one of them");
        }
        let config = GrpcClientConfig {
            url,
            ..GrpcClientConfig::default()
        };
        let client = JobServiceClient::new(grpc::connect(&config)?);
        return ask(client, args.command, output).await;
    }
    let section = Load {
        file: global.config.clone(),
        ..Load::section("bucket-scanner")
    };
    let mut scanner: bucket_scanner::Config = config::load(&section)?;
    scanner.ledger = args.ledger.url_or(&scanner)?;
    scanner.sources.clear();
    let embedded = Embedded::start(scanner).await?;
    let result = ask(embedded.jobs(), args.command, output).await;
    embedded.stop().await;
    result
}

async fn ask(
    mut client: Client,
    command: Option<JobsCommand>,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    match command.unwrap_or(JobsCommand::List) {
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
        JobsCommand::Retry { id } => {
            let request = RetryJobRequest { job_id: id };
            let retried = client
                .retry_job(request)
                .await
                .map_err(sentence)?
                .into_inner();
            let value = json!({"job_id": id, "inputs": retried.inputs, "units": retried.units});
            output.result(&value, || {
                format!(
                    "{} inputs and {} files will be sent again by the next load of this source",
                    retried.inputs, retried.units
                )
            })?;
        }
        JobsCommand::Cancel { id } => {
            let request = CancelJobRequest { job_id: id };
            let job = client.cancel_job(request).await.map_err(sentence)?;
            show(job.into_inner().job, output)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(job: Option<Job>, output: &Output) -> anyhow::Result<()> {
    let job = job.context("the ledger did not answer with the job")?;
    output.result(&to_json(&job), || detail(&job))
}

fn list(jobs: &[Job]) -> String {
    if jobs.is_empty() {
        return "nothing has been loaded yet; `stoker load --help` shows how".to_owned();
    }
    let mut out = format!(
        "{:>5}  {:<10}{:>12}{:>10}{:>9}  source -> target\n",
        "job", "state", "loaded", "rejected", "files"
    );
    for job in jobs {
        let total = job.total.clone().unwrap_or_default();
        let sums = Sums::of(&total);
        let _ = writeln!(
            out,
            "{:>5}  {:<10}{:>12}{:>10}{:>9}  {}",
            job.job_id,
            state_name(job.state()),
            sums.loaded,
            sums.rejected + sums.in_doubt,
            total.objects_done,
            between(job)
        );
    }
    out
}

fn between(job: &Job) -> String {
    let source = job.source.clone().unwrap_or_default().uri;
    let target = job.target.clone().unwrap_or_default();
    let tenant = match target.tenant.as_str() {
        "" => String::new(),
        tenant => format!(" (tenant {tenant})"),
    };
    format!("{source} -> {}{tenant}", target.base_url)
}

fn detail(job: &Job) -> String {
    let total = job.total.clone().unwrap_or_default();
    let sums = Sums::of(&total);
    let mut out = format!(
        "job {}: {}\n{}\n",
        job.job_id,
        state_name(job.state()),
        between(job)
    );
    if !job.reason.is_empty() {
        let _ = writeln!(out, "reason: {}", job.reason);
    }
    for (name, time) in [
        ("created", job.created),
        ("started", job.started),
        ("ended", job.ended),
    ] {
        if let Some(time) = time.and_then(|t| DateTime::from_timestamp(t.seconds, 0)) {
            let _ = writeln!(out, "{name:<8}{}", time.to_rfc3339());
        }
    }
    let _ = writeln!(
        out,
        "files   {} loaded, {} unreadable, {} in all\nloaded  {} resources, {} rejected, {} in doubt",
        total.objects_done,
        total.objects_parked,
        total.objects,
        sums.loaded,
        sums.rejected,
        sums.in_doubt
    );
    for count in &total.counts {
        let name = if count.resource_type.is_empty() {
            "(no resource)"
        } else {
            &count.resource_type
        };
        let _ = writeln!(
            out,
            "  {name:<28}{:>10} created{:>10} updated{:>8} rejected",
            count.created, count.updated, count.rejected
        );
    }
    out
}

#[derive(Debug, Default)]
struct Sums {
    loaded: u64,
    rejected: u64,
    in_doubt: u64,
}

impl Sums {
    fn of(progress: &JobProgress) -> Self {
        progress
            .counts
            .iter()
            .fold(Self::default(), |mut sums, count| {
                sums.loaded += count.created + count.updated;
                sums.rejected += count.rejected;
                sums.in_doubt += count.in_doubt;
                sums
            })
    }
}

fn to_json(job: &Job) -> Value {
    let time = |t: Option<prost_types::Timestamp>| {
        let t = t.and_then(|t| DateTime::from_timestamp(t.seconds, t.nanos.unsigned_abs()));
        t.map(|t| t.to_rfc3339())
    };
    let target = job.target.clone().unwrap_or_default();
    json!({
        "job_id": job.job_id,
        "state": state_name(job.state()),
        "reason": job.reason,
        "source": job.source.clone().unwrap_or_default().uri,
        "target": {"base_url": target.base_url, "tenant": target.tenant},
        "created": time(job.created),
        "started": time(job.started),
        "ended": time(job.ended),
        "run": job.run.as_ref().map(progress_to_json),
        "total": job.total.as_ref().map(progress_to_json),
    })
}

fn progress_to_json(progress: &JobProgress) -> Value {
    let sums = Sums::of(progress);
    let counts = progress.counts.iter().map(|c| {
        let counts = json!({
            "created": c.created, "updated": c.updated, "rejected": c.rejected, "in_doubt": c.in_doubt
        });
        (c.resource_type.clone(), counts)
    });
    json!({
        "files": progress.objects, "files_loaded": progress.objects_done,
        "files_unreadable": progress.objects_parked, "files_unchanged": progress.objects_unchanged,
        "bytes": progress.bytes, "bytes_read": progress.bytes_done,
        "requests": progress.requests, "retries": progress.retries,
        "loaded": sums.loaded, "rejected": sums.rejected, "in_doubt": sums.in_doubt,
        "by_type": counts.collect::<serde_json::Map<_, _>>(),
    })
}

/// Writes errors as they come, so that a million of them need no memory.
async fn errors(
    mut client: Client,
    job_id: i64,
    inputs: bool,
    output: &Output,
) -> anyhow::Result<()> {
    let request = ListErrorsRequest {
        job_id,
        this_run: false,
    };
    let mut stream = client
        .list_errors(request)
        .await
        .map_err(sentence)?
        .into_inner();
    while let Some(error) = stream.message().await.map_err(sentence)? {
        let input = if inputs && error.quarantined_bytes > 0 {
            Some(input(&mut client, job_id, error.error_id).await?)
        } else {
            None
        };
        let line = if output.is_json() {
            error_to_json(&error, input.as_deref()).to_string()
        } else {
            error_text(&error, input.as_deref())
        };
        if !Output::line(&line)? {
            break;
        }
    }
    Ok(())
}

async fn input(client: &mut Client, job_id: i64, error_id: i64) -> anyhow::Result<Vec<u8>> {
    let request = ReadQuarantineRequest { job_id, error_id };
    let mut parts = client
        .read_quarantine(request)
        .await
        .map_err(sentence)?
        .into_inner();
    let mut bytes = Vec::new();
    while let Some(part) = parts.message().await.map_err(sentence)? {
        bytes.extend_from_slice(&part.data);
    }
    Ok(bytes)
}

fn error_text(error: &LoadError, input: Option<&[u8]>) -> String {
    let place = error.position.map(|p| {
        let entry = p.entry.map(|e| format!(" entry {e}")).unwrap_or_default();
        format!(":{}{entry}", p.line + 1)
    });
    let status = match error.http_status {
        0 => String::new(),
        status => format!(" ({status})"),
    };
    let input = input
        .map(|i| format!("\n    {}", String::from_utf8_lossy(i)))
        .unwrap_or_default();
    format!(
        "{}: {}{}{status}: {}{input}",
        kind_name(error.kind()),
        error.key,
        place.unwrap_or_default(),
        error.error_text
    )
}

fn error_to_json(error: &LoadError, input: Option<&[u8]>) -> Value {
    let place = error.position.unwrap_or_default();
    let mut value = json!({
        "error_id": error.error_id, "kind": kind_name(error.kind()),
        "file": error.key, "version": error.version,
        "resource_type": error.resource_type, "http_status": error.http_status,
        "reason": error.error_text,
        "operation_outcome": serde_json::from_slice::<Value>(&error.operation_outcome).ok(),
    });
    if error.position.is_some() {
        value["line"] = json!(place.line + 1);
        value["entry"] = json!(place.entry);
        value["offset"] = json!(place.offset);
        value["length"] = json!(place.length);
    }
    // A text stays readable; bytes that are no text are kept as they are too.
    match input.map(std::str::from_utf8) {
        Some(Ok(text)) => value["input"] = json!(text),
        Some(Err(_)) => value["input_base64"] = json!(STANDARD.encode(input.unwrap_or_default())),
        None => {}
    }
    value
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "used as a function of map_err"
)]
fn sentence(status: tonic::Status) -> anyhow::Error {
    anyhow::anyhow!(status.message().to_owned())
}
