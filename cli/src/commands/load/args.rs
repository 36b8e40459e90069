//! What a load is asked to do: the flags, laid over the configuration and checked.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use clap::ValueEnum;
use clap::builder::NonEmptyStringValueParser;
use stoker_proto::common::v1::{Interaction, Source, Target};
use stoker_proto::ledger::v1::{JobOptions, UnitLimit};
use stoker_shared::config::{self, Load};
use stoker_shared::grpc::GrpcClientConfig;
use stoker_shared::pace::Choice;

use super::report_file;
use crate::Global;
use crate::embedded::LedgerArgs;
use crate::fhir_args::FhirArgs;
use crate::s3_args::S3Args;
use crate::server_args::ServerArgs;
use crate::{sources, targets};

/// Load folders, files and buckets into a FHIR server
///
/// Reads .json (one resource or Bundle) and .ndjson (one resource a line), each also as .gz and .zst. What
/// was loaded before and has not changed is passed over; an interrupted load goes on where it was.
/// With --server the load is done by the services that run there, with credentials of their own.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct LoadArgs {
    /// Folders, files, or s3://bucket/prefix
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<String>,
    /// Base URL of the FHIR server; or s3://bucket/prefix or a folder, where Bundles are broken up into
    /// smaller ones
    #[arg(long, value_name = "URL")]
    to: String,
    #[command(flatten)]
    ledger: LedgerArgs,
    #[command(flatten)]
    server: ServerArgs,
    /// Name of the mount the sources lie on
    ///
    /// What was loaded is known by host name and path. Where the host name changes (containers), or
    /// where several hosts load from one mount (NFS), give the mount a name: then it is known by that
    /// name and the path, which must be the same each time.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    shared_mount: Option<String>,
    /// Load again what is loaded and unchanged
    #[arg(long)]
    reload: bool,
    /// How resources are sent
    #[arg(long, value_enum, default_value_t = Sending::Auto)]
    interaction: Sending,
    /// Resources to a batch Bundle: auto or a number; 1 sends each by itself
    #[arg(long, value_name = "N")]
    batch: Option<Choice>,
    /// Requests at a time: auto or a number
    #[arg(long, value_name = "N")]
    concurrency: Option<Choice>,
    /// Entries to a transaction or batch Bundle; a larger one is broken up into several that mean the same
    /// [default: as many as there are; 100 when written to a bucket or folder]
    #[arg(long, value_name = "N")]
    max_bundle_entries: Option<NonZeroUsize>,
    /// How long the server may be away before the load stops [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    give_up_after: Option<Duration>,
    /// Write a report of the load as JSON; not into a source, where it would be loaded
    #[arg(long, value_name = "FILE.json")]
    report: Option<PathBuf>,
    #[command(flatten)]
    fhir: FhirArgs,
    #[command(flatten)]
    s3: S3Args,
}

const EXAMPLES: &str = "Examples:
  stoker load ./synthea --to http://localhost:8080/fhir
  stoker load a.ndjson.zst b/ --to https://fhir.example.org/r4 --fhir-user me --fhir-password-file pw
  stoker load ./data --to https://fhir.example.org/r4 --report load.json --json
  stoker load /mnt/nas/data --shared-mount nas --to https://fhir.example.org/r4
  stoker load s3://bucket/in/ --server http://scanner:7701 --to https://fhir.example.org/r4
  stoker load ./large --to s3://bucket/small --max-bundle-entries 100
  stoker load s3://bucket/in/ --s3-endpoint http://minio:9000 --to https://fhir.example.org/r4

Exit codes: 0 everything is loaded · 1 could not run · 2 some inputs were rejected, in doubt or unreadable
            3 interrupted: run the same command again to go on";

/// How a resource becomes a request; see `stoker.common.v1.Interaction`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sending {
    /// PUT what has an id, POST what has none; transaction and batch Bundles as they are
    Auto,
    /// POST everything: the server assigns ids
    Create,
    /// PUT everything; what has no id is rejected
    Update,
}

impl Sending {
    pub(crate) fn interaction(self) -> Interaction {
        match self {
            Self::Auto => Interaction::Auto,
            Self::Create => Interaction::Create,
            Self::Update => Interaction::Update,
        }
    }

    pub(super) fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |v| v.get_name().to_owned())
    }
}

/// Everything a load needs, checked.
#[derive(Debug)]
pub(in crate::commands) struct Plan {
    pub(in crate::commands) sources: Vec<Source>,
    pub(in crate::commands) target: Target,
    pub(in crate::commands) sending: Sending,
    pub(in crate::commands) reload: bool,
    pub(in crate::commands) options: JobOptions,
    /// Of the worker in this process.
    pub(in crate::commands) limits: Vec<UnitLimit>,
    pub(in crate::commands) scanner: bucket_scanner::Config,
    pub(in crate::commands) worker: loader_worker::Config,
    pub(in crate::commands) report: Option<PathBuf>,
    /// The running scanner whose services do the load; this process does, when none is named.
    pub(in crate::commands) server: Option<GrpcClientConfig>,
    /// See [`LedgerArgs::again`].
    pub(in crate::commands) ledger_again: Option<String>,
}

/// Lays the flags over the configuration.
pub(super) fn plan(args: LoadArgs, global: &Global) -> anyhow::Result<Plan> {
    let section = |name| Load {
        file: global.config.clone(),
        ..Load::section(name)
    };
    let mut worker: loader_worker::Config = config::load(&section("loader-worker"))?;
    let mut scanner: bucket_scanner::Config = config::load(&section("bucket-scanner"))?;
    let load = &mut worker.load;
    load.batch = args.batch.unwrap_or(load.batch);
    load.concurrency = args.concurrency.unwrap_or(load.concurrency);
    load.max_bundle_entries = args
        .max_bundle_entries
        .map(NonZeroUsize::get)
        .or(load.max_bundle_entries);
    load.give_up_after = args.give_up_after.unwrap_or(load.give_up_after);
    let tenant = args.fhir.tenant.clone().unwrap_or_default();
    worker.fhir = args.fhir.over(worker.fhir)?;
    worker.s3 = args.s3.clone().over(worker.s3);
    scanner.s3 = args.s3.over(scanner.s3);
    let server = args.server.instead_of(&args.ledger)?;
    let ledger = args.ledger.url_or(&scanner)?;
    let ledger_again = match &server {
        Some(server) => Some(format!(" --server {}", server.url)),
        None => args.ledger.again(&ledger, global.config.as_deref()),
    };
    scanner.ledger = Some(ledger);
    scanner.sources.clear();
    scanner.shared_mounts.extend(args.shared_mount.clone());
    worker.shared_mounts.extend(args.shared_mount.clone());
    let shared_mount = args.shared_mount.as_deref();
    let parse = |text: &String| sources::parse(text, shared_mount);
    let sources: Vec<Source> = args.sources.iter().map(parse).collect::<Result<_, _>>()?;
    if let Some(path) = &args.report {
        check_report(path, &sources)?;
    }
    let base_url = targets::parse(&args.to, &sources)?;
    Ok(Plan {
        sources,
        target: Target { base_url, tenant },
        sending: args.interaction,
        reload: args.reload,
        options: JobOptions::default(),
        limits: Vec::new(),
        scanner,
        worker,
        report: args.report,
        server,
        ledger_again,
    })
}

fn check_report(path: &Path, sources: &[Source]) -> anyhow::Result<()> {
    if path.extension().is_none_or(|extension| extension != "json") {
        bail!(
            "{}: a report is written as JSON; name it FILE.json",
            path.display()
        );
    }
    report_file::ensure_no_input(path, sources)
}
