//! The indexer as a process of its own, from its start to the last offset committed.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use stoker_tests::fhir_database::FhirDatabase;
use stoker_tests::remote_index::{Committed, INSTANCE};

use super::{Bulk, TOPIC};
use crate::run::{children_cpu_seconds, peak_mb, program};

/// Longest drain.
const LIMIT: Duration = Duration::from_mins(5);

/// Between looks at what is committed: for the first commit, and for the last. Each costs the broker some of the
/// processors that all share.
const LOOK_FOR_FIRST: Duration = Duration::from_millis(5);
const LOOK_FOR_LAST: Duration = Duration::from_millis(50);

/// What one drain of the topic took.
#[derive(Debug, Clone, Copy)]
pub struct Indexed {
    /// From the start of the process until all was committed.
    pub seconds: f64,
    /// From the start of the process until something was.
    pub first_commit_s: f64,
    /// User and system time of the process.
    pub cpu_s: f64,
    /// Most memory it held at once.
    pub rss_peak_mb: f64,
}

/// Drains the topic by a process with two consumers; `group` is one that has read nothing yet.
pub async fn index(bulk: &Bulk, database: &FhirDatabase, group: &str) -> anyhow::Result<Indexed> {
    let committed = Committed::by(&bulk.kafka.broker(), TOPIC, group)?;
    let committed = tokio::task::spawn_blocking(move || known(committed)).await??;
    let cpu_before = children_cpu_seconds()?;
    let begun = Instant::now();
    let mut child = Command::new(program("stoker")?)
        .args(["serve", "remote-indexer"])
        .args(settings(bulk, database, group))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let drained = tokio::task::spawn_blocking(move || drain(&committed, begun)).await;
    let process = format!("/proc/{}", child.id());
    let rss_peak_mb = peak_mb(process.as_ref()).context("the indexer has ended")?;
    let stopped = Command::new("kill").arg(child.id().to_string()).status()?;
    ensure!(stopped.success(), "the indexer has ended");
    child.wait()?;
    let cpu_s = children_cpu_seconds()? - cpu_before;
    let (first_commit_s, seconds) = drained??;
    Ok(Indexed {
        seconds,
        first_commit_s,
        cpu_s,
        rss_peak_mb,
    })
}

fn settings(bulk: &Bulk, database: &FhirDatabase, group: &str) -> Vec<String> {
    let settings = [
        format!("kafka.brokers={}", bulk.kafka.broker()),
        format!("topic.name={TOPIC}"),
        format!("topic.group={group}"),
        "topic.consumers=2".to_owned(),
        format!("instance_identifier={INSTANCE}"),
        format!("database.url={}", database.url),
        format!("database.schema={}", database.schema),
        "service.grpc.listen=127.0.0.1:0".to_owned(),
        "service.http_listen=127.0.0.1:0".to_owned(),
    ];
    let settings = settings.into_iter();
    settings
        .flat_map(|setting| ["--set".to_owned(), setting])
        .collect()
}

/// Waits until the broker has found out who coordinates the group, which takes seconds for the first.
fn known(committed: Committed) -> anyhow::Result<Committed> {
    let begun = Instant::now();
    loop {
        match committed.behind() {
            Ok(_) => return Ok(committed),
            Err(error) if begun.elapsed() > LIMIT => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// Seconds until the first and until the last commit.
fn drain(committed: &Committed, begun: Instant) -> anyhow::Result<(f64, f64)> {
    let all = committed.behind()?;
    let mut first = None;
    loop {
        let left = committed.behind()?;
        let now = begun.elapsed();
        if left < all {
            first.get_or_insert(now);
        }
        if left == 0 {
            let first = first.unwrap_or(now);
            return Ok((first.as_secs_f64(), now.as_secs_f64()));
        }
        ensure!(
            now < LIMIT,
            "{left} of {all} messages are not committed after {LIMIT:?}"
        );
        std::thread::sleep(if first.is_none() {
            LOOK_FOR_FIRST
        } else {
            LOOK_FOR_LAST
        });
    }
}
