//! How running remote indexers are, and having them pause and go on.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, SecondsFormat};
use futures::StreamExt as _;
use futures::future::try_join_all;
use serde_json::{Map, Value, json};
use stoker_proto::index::v1::{
    ConsumerStatus, GetStatusRequest, IndexStatus, PauseRequest, ReasonCount, ResumeRequest,
    WatchStatusRequest,
};
use stoker_shared::grpc;
use tonic::Status;

use super::server::{Client, IndexServer, sentence};
use crate::output::Output;

/// Between two attempts to reach an indexer that is away.
const PAUSE: Duration = Duration::from_secs(1);

/// What is asked of each.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked {
    Status,
    Pause,
    Resume,
}

/// Asks each, and shows how it is after that.
pub(super) async fn ask(server: &IndexServer, asked: Asked, output: &Output) -> anyhow::Result<()> {
    let mut found = Vec::new();
    for (url, mut client) in server.clients()? {
        let status = ask_one(&mut client, asked).await;
        let status = status.map_err(|status| sentence(&url, &status))?;
        found.push((url, status.unwrap_or_default()));
    }
    let values: Vec<Value> = found.iter().map(|(url, s)| to_json(url, s)).collect();
    output.result(&values, || {
        found.iter().map(|(url, s)| text(url, s)).collect()
    })
}

async fn ask_one(client: &mut Client, asked: Asked) -> Result<Option<IndexStatus>, Status> {
    Ok(match asked {
        Asked::Status => {
            client
                .get_status(GetStatusRequest {})
                .await?
                .into_inner()
                .status
        }
        Asked::Pause => client.pause(PauseRequest {}).await?.into_inner().status,
        Asked::Resume => client.resume(ResumeRequest {}).await?.into_inner().status,
    })
}

/// Writes a line at each change and each second, until a signal comes or nobody reads them any more.
pub(super) async fn watch(server: &IndexServer, output: &Output) -> anyhow::Result<ExitCode> {
    let mut signals = stoker_shared::service::signals()
        .context("signals cannot be received, so it could not be stopped; try again")?;
    let all = server.clients()?.into_iter();
    let all = all.map(|(url, client)| follow(url, client, output));
    tokio::select! {
        ended = try_join_all(all) => ended.map(|_| ())?,
        _ = signals.next() => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Once it was there it may come back: it is restarted, or moves.
async fn follow(url: String, mut client: Client, output: &Output) -> anyhow::Result<()> {
    let (mut was_there, mut is_away) = (false, false);
    loop {
        let broken = match client.watch_status(WatchStatusRequest {}).await {
            Ok(answer) => {
                let mut answers = answer.into_inner();
                loop {
                    let status = match answers.message().await {
                        Ok(Some(answer)) => answer.status.unwrap_or_default(),
                        Ok(None) => break Status::unavailable("the remote indexer tells no more"),
                        Err(status) => break status,
                    };
                    (was_there, is_away) = (true, false);
                    let line = if output.is_json() {
                        to_json(&url, &status).to_string()
                    } else {
                        line(&url, &status)
                    };
                    if !Output::line(&line)? {
                        return Ok(());
                    }
                }
            }
            Err(status) => status,
        };
        if !was_there || !grpc::is_gone(&broken) {
            return Err(sentence(&url, &broken));
        }
        if !is_away {
            output.say(&format!("{url}: away; followed once it is back"));
        }
        is_away = true;
        tokio::time::sleep(PAUSE).await;
    }
}

fn line(url: &str, status: &IndexStatus) -> String {
    let counts = status.counts.clone().unwrap_or_default();
    let mut line = format!(
        "{}  {url}  {}, behind {} messages and {:.1} s; {} applied, {} discarded, {} dead letters",
        time(status),
        state(status),
        status.lag_messages,
        status.lag_seconds,
        counts.applied,
        sum(&counts.discarded),
        sum(&counts.dead_letters),
    );
    for consumer in status.consumers.iter().filter(|c| !c.trouble.is_empty()) {
        let _ = write!(line, "; consumer {}: {}", consumer.number, consumer.trouble);
    }
    line
}

fn text(url: &str, status: &IndexStatus) -> String {
    let counts = status.counts.clone().unwrap_or_default();
    let mut text = format!("{url}  {}\n", state(status));
    let waiting: u64 = status.consumers.iter().map(|c| c.waiting_messages).sum();
    let _ = writeln!(
        text,
        "behind        {} messages, {:.1} s",
        status.lag_messages, status.lag_seconds
    );
    let _ = writeln!(text, "waiting       {waiting}");
    let _ = writeln!(text, "taken         {}", counts.taken);
    let _ = writeln!(text, "applied       {}", counts.applied);
    let _ = writeln!(text, "discarded     {}", told(&counts.discarded));
    let _ = writeln!(text, "dead letters  {}", told(&counts.dead_letters));
    for consumer in &status.consumers {
        let _ = writeln!(text, "consumer {:<4} {}", consumer.number, how(consumer));
    }
    text
}

fn state(status: &IndexStatus) -> &'static str {
    if status.paused { "paused" } else { "running" }
}

fn how(consumer: &ConsumerStatus) -> String {
    let numbers = |of: &[i32]| {
        let numbers: Vec<String> = of.iter().map(ToString::to_string).collect();
        numbers.join(" ")
    };
    let holds = match consumer.partitions.len() {
        0 if !consumer.started => "starting".to_owned(),
        0 => "no partitions".to_owned(),
        1 => format!("partition {}", numbers(&consumer.partitions)),
        _ => format!("partitions {}", numbers(&consumer.partitions)),
    };
    let waits = match consumer.oldest_waiting_ms {
        Some(ms) => {
            let longest = humantime::format_duration(Duration::from_millis(ms));
            format!(
                ", {} waiting, the longest for {longest}",
                consumer.waiting_messages
            )
        }
        None => String::new(),
    };
    match consumer.trouble.as_str() {
        "" => format!("{holds}{waits}"),
        trouble => format!("{holds}{waits}; {trouble}"),
    }
}

fn told(counts: &[ReasonCount]) -> String {
    let each: Vec<String> = counts
        .iter()
        .map(|count| format!("{} {}", count.messages, count.reason))
        .collect();
    match each.len() {
        0 => "0".to_owned(),
        _ => format!("{} ({})", sum(counts), each.join(", ")),
    }
}

fn sum(counts: &[ReasonCount]) -> u64 {
    counts.iter().map(|count| count.messages).sum()
}

fn time(status: &IndexStatus) -> String {
    let time = status.time.unwrap_or_default();
    let time = DateTime::from_timestamp(time.seconds, time.nanos.unsigned_abs());
    time.unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn to_json(url: &str, status: &IndexStatus) -> Value {
    let counts = status.counts.clone().unwrap_or_default();
    let by_reason = |counts: &[ReasonCount]| -> Map<String, Value> {
        let each = counts.iter();
        each.map(|count| (count.reason.clone(), json!(count.messages)))
            .collect()
    };
    let consumers = status.consumers.iter().map(|consumer| {
        json!({
            "number": consumer.number, "started": consumer.started,
            "trouble": Some(&consumer.trouble).filter(|t| !t.is_empty()),
            "partitions": consumer.partitions, "waiting_messages": consumer.waiting_messages,
            "waiting_bytes": consumer.waiting_bytes, "oldest_waiting_ms": consumer.oldest_waiting_ms,
        })
    });
    let partitions = status.partitions.iter().map(|lag| {
        json!({"partition": lag.partition, "lag_messages": lag.messages, "lag_seconds": lag.seconds})
    });
    json!({
        "server": url, "time": time(status), "paused": status.paused,
        "lag_messages": status.lag_messages, "lag_seconds": status.lag_seconds,
        "consumers": consumers.collect::<Vec<_>>(), "partitions": partitions.collect::<Vec<_>>(),
        "taken": counts.taken, "applied": counts.applied,
        "discarded": by_reason(&counts.discarded), "dead_letters": by_reason(&counts.dead_letters),
    })
}
