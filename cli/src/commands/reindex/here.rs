//! A run that this process drives.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use futures::{Stream, StreamExt};
use reindex_driver::Driver;
use reindex_driver::control::is_over;
use stoker_proto::reindex::v1::reindex_service_client::ReindexServiceClient;
use stoker_proto::reindex::v1::{GetRunRequest, Method, Run, StartRunRequest};
use stoker_shared::clock::{Clock as _, SystemClock};
use stoker_shared::fhir::FhirClient;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::args::Plan;
use super::bar::Bar;
use super::follow::{Change, changes};
use super::place::{Client, sentence};
use super::report::{Ending, Facts, Report};
use crate::capabilities::capabilities;
use crate::commands::load::ReportFile;
use crate::embedded::{Embedded, unexpected};
use crate::output::{Output, one_sentence};

/// Said at the first signal: what is on the wire is awaited for up to `reindex.drain`.
const STOPPING: &str =
    "stopping: waiting for requests under way; press Ctrl-C again to stop at once";

/// Why a run is left before its end.
type Early = Option<(Ending, String)>;

/// Does a run to its end.
pub(super) async fn run(mut plan: Plan, bar: Bar, output: &Output) -> anyhow::Result<ExitCode> {
    look_at_target(&mut plan, output).await?;
    let started = SystemClock.now();
    // From here on a signal does not end the process, which has something to write down.
    let mut signals = stoker_shared::service::signals()
        .context("signals cannot be received, so a run could not be stopped; try again")?;
    let file = begin_report(plan.report.as_deref())?;
    let driver = Driver::open(&plan.config, Arc::new(SystemClock)).await?;
    let served = Embedded::of(driver.routes());
    let mut client = ReindexServiceClient::new(served.channel());
    let first = start(&mut client, &plan, output).await?;
    let mut driving = Driving {
        driver,
        run: first.clone(),
        bar,
    };
    let news = changes(client.clone(), first.run_id);
    let early = driving.work(news, &mut signals, output).await;
    driving.bar.end();
    let run = now(&mut client, &driving.run).await;
    let facts = Facts {
        started,
        first,
        // It may have come to its end while it was waited for.
        early: early.filter(|_| !is_over(run.state())),
        run,
        again: plan.again,
    };
    let report = Report::new(facts, client).await;
    served.stop().await;
    report.log();
    tell(&report, file, output)
}

/// Whether it is a FHIR server, and which.
async fn look_at_target(plan: &mut Plan, output: &Output) -> anyhow::Result<()> {
    let target = plan.spec.target.clone().unwrap_or_default();
    let client = FhirClient::new(&plan.config.fhir, &target, Arc::new(SystemClock))?;
    let found = capabilities(&client, &target.base_url, output).await?;
    if plan.may_be_hapi && found.software.starts_with("HAPI FHIR") {
        plan.spec.set_method(Method::HapiJob);
    }
    Ok(())
}

pub(super) fn begin_report(path: Option<&Path>) -> anyhow::Result<Option<ReportFile>> {
    path.map(ReportFile::begin).transpose()
}

/// Starts the run, or takes up the one that was left unfinished.
pub(super) async fn start(
    client: &mut Client,
    plan: &Plan,
    output: &Output,
) -> anyhow::Result<Run> {
    let request = StartRunRequest {
        spec: Some(plan.spec.clone()),
    };
    let answer = client.start_run(request).await.map_err(sentence)?;
    let answer = answer.into_inner();
    let run = answer
        .run
        .context("the driver did not name the run; use the same version of stoker as the driver")?;
    if answer.goes_on {
        let done = run.progress.as_ref().map_or(0, |p| p.reindexed);
        output.say(&format!(
            "going on with run {}, which has reindexed {done} so far",
            run.run_id
        ));
    }
    Ok(run)
}

/// As it stands now; as last heard of, where that cannot be told any more.
pub(super) async fn now(client: &mut Client, last: &Run) -> Run {
    let request = GetRunRequest {
        run_id: last.run_id,
    };
    let answer = client.get_run(request).await;
    let run = answer.ok().and_then(|answer| answer.into_inner().run);
    run.unwrap_or_else(|| last.clone())
}

/// The file comes first: standard output may be a pipe that nobody reads any more.
pub(super) fn tell(
    report: &Report,
    file: Option<ReportFile>,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let written = file.map_or(Ok(()), |file| file.write(report));
    output.result(report, || report.text())?;
    for note in report.notes() {
        output.say(&note);
    }
    written?;
    Ok(ExitCode::from(report.ending().code()))
}

/// A run under way.
struct Driving {
    driver: Driver,
    /// As last heard of.
    run: Run,
    bar: Bar,
}

impl Driving {
    /// Drives the run to its end, or until something ends it early.
    async fn work(
        &mut self,
        mut news: mpsc::Receiver<Change>,
        mut signals: impl Stream<Item = &'static str> + Unpin,
        output: &Output,
    ) -> Early {
        let stop = CancellationToken::new();
        let (driver, stopped) = (self.driver.clone(), stop.clone());
        let only = [self.run.run_id];
        let mut work = tokio::spawn(async move { driver.work(&only, stopped).await });
        let early = loop {
            if is_over(self.run.state()) {
                break None;
            }
            tokio::select! {
                change = news.recv() => match change {
                    Some(Change::Now(run)) => self.run = *run,
                    // The driver finds out whether its store stays away.
                    Some(Change::Away) => {}
                    Some(Change::Lost(status)) => {
                        let reason = one_sentence(&sentence(status));
                        break Some((self.left(), reason));
                    }
                    None => break None,
                },
                end = &mut work => {
                    let reason = match end {
                        Ok(Ok(())) => "the driver stopped".to_owned(),
                        Ok(Err(error)) => error.to_string(),
                        Err(panic) => one_sentence(&unexpected(panic)),
                    };
                    break Some((self.left(), reason));
                }
                Some(_) = signals.next() => {
                    self.bar.end();
                    output.say(STOPPING);
                    break Some((Ending::Interrupted, "stopped by a signal".to_owned()));
                }
            }
            self.bar.show(&self.run);
        };
        stop.cancel();
        if !work.is_finished() {
            tokio::select! {
                _ = &mut work => {}
                Some(_) = signals.next() => {}
            }
        }
        early
    }

    /// What never worked is a failure; the rest can be gone on with.
    fn left(&self) -> Ending {
        match self.run.progress.as_ref().map_or(0, |p| p.reindexed) {
            0 => Ending::Failed,
            _ => Ending::Interrupted,
        }
    }
}
