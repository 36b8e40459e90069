//! A run that a running reindex-driver does: begun from here, and followed.

use std::process::ExitCode;

use anyhow::Context as _;
use futures::StreamExt;
use stoker_proto::reindex::v1::reindex_service_client::ReindexServiceClient;
use stoker_shared::clock::{Clock as _, SystemClock};
use stoker_shared::grpc::{self, GrpcClientConfig};

use super::args::Plan;
use super::bar::Bar;
use super::follow::{Change, changes};
use super::here::{begin_report, now, start, tell};
use super::place::sentence;
use super::report::{Ending, Facts, Report};
use crate::output::{Output, one_sentence};

/// Starts the run at the driver, follows it to its end, and tells what became of it.
pub(super) async fn run(
    plan: Plan,
    driver: &GrpcClientConfig,
    mut bar: Bar,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let started = SystemClock.now();
    let mut client = ReindexServiceClient::new(grpc::connect(driver)?);
    let mut signals = stoker_shared::service::signals()
        .context("signals cannot be received, so following could not be stopped; try again")?;
    let file = begin_report(plan.report.as_deref())?;
    let first = start(&mut client, &plan, output).await?;
    let mut news = changes(client.clone(), first.run_id);
    let mut last = first.clone();
    let early = loop {
        tokio::select! {
            change = news.recv() => match change {
                Some(Change::Now(run)) => {
                    bar.show(&run);
                    last = *run;
                }
                Some(Change::Away) => {
                    output.say("the reindex-driver is away; the run is followed once it is back");
                }
                Some(Change::Lost(status)) => {
                    break Some((Ending::Failed, one_sentence(&sentence(status))));
                }
                None => break None,
            },
            Some(_) = signals.next() => {
                let left = "no longer followed; the driver goes on with it (stoker reindex watch --server)";
                break Some((Ending::Interrupted, left.to_owned()));
            }
        }
    };
    bar.end();
    let facts = Facts {
        started,
        run: now(&mut client, &last).await,
        first,
        early,
        again: plan.again,
    };
    tell(&Report::new(facts, client).await, file, output)
}
