//! What is to be reindexed: the flags, laid over the configuration and checked.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use reindex_driver::Config;
use stoker_proto::common::v1::Target;
use stoker_proto::reindex::v1::{Method, RunSpec};
use stoker_shared::config::{self, Load};
use stoker_shared::grpc::GrpcClientConfig;
use stoker_shared::pace::Choice;
use stoker_shared::store::StoreUrl;

use super::place::PlaceArgs;
use crate::Global;
use crate::fhir_args::FhirArgs;

/// A lease outlives its driver by this much at most where the runs are this machine's own: short, since a command that
/// was killed is started again soon.
const LEASE: Duration = Duration::from_secs(1);

/// Flags of a run.
#[derive(Debug, clap::Args)]
pub(super) struct StartArgs {
    /// Base URL of the FHIR server
    #[arg(long, value_name = "URL", required = true)]
    pub(super) to: Option<String>,
    /// YYYY-MM-DD or YYYY-MM-DDThh:mm:ssZ: reindex what was marked by no later reindexing, or with --client-driven
    /// what has not changed since [default: now]
    #[arg(long, value_name = "TIME")]
    tstamp: Option<String>,
    /// Ask the server which resources there are, and name them to it; without, the server picks and marks them
    #[arg(long)]
    client_driven: bool,
    /// The server is HAPI FHIR, which reindexes by a job of its own [default: as the server says what it is;
    /// needed with --server]
    #[arg(long, conflicts_with_all = ["client_driven", "tstamp", "force", "start_with_index_id"])]
    hapi: bool,
    /// Write the parameters also where they have not changed
    #[arg(long)]
    force: bool,
    /// Only resources of this type; may be repeated [default: all]
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// HAPI FHIR: only what this search finds, such as Patient?active=true; may be repeated [default: all]
    #[arg(long, value_name = "SEARCH")]
    search: Vec<String>,
    /// Requests at a time: auto or a number, 200 at most
    #[arg(long, value_name = "N")]
    concurrency: Option<Choice>,
    /// Resources to a request: auto or a number, 1000 at most
    #[arg(long, value_name = "N")]
    batch: Option<Choice>,
    /// With --client-driven: begin with this index id
    #[arg(long, value_name = "N")]
    start_with_index_id: Option<i64>,
    /// Ease off while a read takes the server longer than this
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    max_server_latency: Option<Duration>,
    /// How long the server may be away before the run stops [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    give_up_after: Option<Duration>,
    /// Write a report of the run as JSON
    #[arg(long, value_name = "FILE.json")]
    report: Option<PathBuf>,
    #[command(flatten)]
    fhir: FhirArgs,
}

/// Everything a run needs, checked as far as it can be here.
#[derive(Debug)]
pub(in crate::commands) struct Plan {
    pub(in crate::commands) spec: RunSpec,
    /// Of the driver in this process.
    pub(in crate::commands) config: Config,
    /// Whether the server may turn out to be HAPI FHIR.
    pub(in crate::commands) may_be_hapi: bool,
    pub(in crate::commands) report: Option<PathBuf>,
    /// The running driver that does it; this process does, when none is named.
    pub(in crate::commands) server: Option<GrpcClientConfig>,
    /// See [`PlaceArgs::again`].
    pub(in crate::commands) again: Option<String>,
}

/// The configuration of the driver.
pub(super) fn configured(global: &Global) -> anyhow::Result<Config> {
    let load = Load {
        file: global.config.clone(),
        ..Load::section("reindex-driver")
    };
    Ok(config::load(&load)?)
}

/// Lays the flags over the configuration.
pub(super) fn plan(args: StartArgs, place: &PlaceArgs, global: &Global) -> anyhow::Result<Plan> {
    if let Some(path) = &args.report
        && path.extension().is_none_or(|extension| extension != "json")
    {
        bail!(
            "{}: a report is written as JSON; name it FILE.json",
            path.display()
        );
    }
    let mut config = configured(global)?;
    let url = place.url_or(&config)?;
    let again = place.again(&url, global.config.as_deref());
    keep_runs_at(&mut config, url);
    let reindex = &mut config.reindex;
    reindex.concurrency = args.concurrency.unwrap_or(reindex.concurrency);
    reindex.batch = args.batch.unwrap_or(reindex.batch);
    reindex.give_up_after = args.give_up_after.unwrap_or(reindex.give_up_after);
    let spec = spec(&args)?;
    config.fhir = args.fhir.over(config.fhir)?;
    Ok(Plan {
        may_be_hapi: spec.method() == Method::ServerDriven,
        spec,
        config,
        report: args.report,
        server: place.server()?,
        again,
    })
}

/// What is asked for; whether it makes sense is for the driver to say.
fn spec(args: &StartArgs) -> anyhow::Result<RunSpec> {
    let base_url = args.to.clone();
    let target = Target {
        base_url: base_url.context("name the FHIR server with --to URL")?,
        tenant: args.fhir.tenant.clone().unwrap_or_default(),
    };
    let method = match (args.client_driven, args.hapi || !args.search.is_empty()) {
        (true, _) => Method::ClientDriven,
        (false, true) => Method::HapiJob,
        (false, false) => Method::ServerDriven,
    };
    let given = |choice: Option<Choice>| {
        let number = choice.map_or(0, |choice| choice.or(0));
        u32::try_from(number).unwrap_or(u32::MAX)
    };
    let latency = args.max_server_latency.map(|time| time.as_millis());
    Ok(RunSpec {
        target: Some(target),
        method: method.into(),
        tstamp: args.tstamp.clone().unwrap_or_default(),
        force: args.force,
        resource_types: args.types.clone(),
        concurrency: given(args.concurrency),
        batch: given(args.batch),
        start_with_index_id: args.start_with_index_id,
        max_server_latency_ms: latency.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)),
        urls: args.search.clone(),
    })
}

/// Has the driver of this process keep its runs there.
pub(in crate::commands) fn keep_runs_at(config: &mut Config, url: StoreUrl) {
    if !matches!(&url, StoreUrl::Postgres(_)) {
        config.runs.lease = config.runs.lease.min(LEASE);
    }
    config.runs.url = Some(url);
}
