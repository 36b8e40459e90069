//! What all services announce on Kafka, as it happens.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use chrono::{DateTime, SecondsFormat};
use futures::StreamExt as _;
use serde_json::{Value, json};
use stoker_proto::events::v1::event::Kind;
use stoker_proto::events::v1::{
    BackupChanged, Event, InputRejected, LoadFinished, ObjectRef, ReindexChanged,
};
use stoker_proto::ledger::v1::JobState;
use stoker_shared::clock::SystemClock;
use stoker_shared::config::{self, Load};
use stoker_shared::kafka::{self, Events, KafkaConfig};

use crate::Global;
use crate::embedded::unexpected;
use crate::output::Output;
use crate::report::state_name;

/// How soon it is seen that Kafka has gone or come back.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Kafka has so long to answer at the start.
const LIMIT: Duration = Duration::from_secs(10);

/// Writes a line for each event until a signal comes, or nobody reads them any more.
pub(super) async fn watch(
    brokers: Vec<String>,
    global: &Global,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let config = kafka_config(brokers, global)?;
    let mut signals = stoker_shared::service::signals()
        .context("signals cannot be received, so it could not be stopped; try again")?;
    let asked = config.clone();
    // What connects in the background tells nobody here why it cannot.
    let look = tokio::task::spawn_blocking(move || kafka::look(&asked, LIMIT));
    tokio::select! {
        looked = look => { looked.map_err(unexpected)??; }
        _ = signals.next() => return Ok(ExitCode::SUCCESS),
    }
    let events = Events::connect(&config, "stoker", Arc::new(SystemClock))?;
    let mut listener = events.listen();
    let mut seen = Seen::default();
    let mut looks = tokio::time::interval(LOOK_AGAIN);
    loop {
        tokio::select! {
            heard = listener.next() => {
                let line = heard.map(|heard| shown(&heard.event, output));
                let written = match line {
                    Some(Some(line)) => Output::line(&line)?,
                    // Of a kind that a later version of Stoker announces.
                    Some(None) => true,
                    None => {
                        output.say("some events came too fast to be shown");
                        true
                    }
                };
                if !written {
                    return Ok(ExitCode::SUCCESS);
                }
            }
            _ = looks.tick() => seen.look(&events, &config, output),
            _ = signals.next() => return Ok(ExitCode::SUCCESS),
        }
    }
}

/// What the person was told of the connection.
#[derive(Debug, Default)]
struct Seen {
    hearing: bool,
}

impl Seen {
    fn look(&mut self, events: &Events, config: &KafkaConfig, output: &Output) {
        let hearing = events.are_heard();
        if hearing == self.hearing {
            return;
        }
        self.hearing = hearing;
        if hearing {
            let topic = &config.events_topic;
            output.say(&format!(
                "watching {topic} at {}; Ctrl-C ends it",
                config.brokers()
            ));
        } else {
            output.say("Kafka is away; what is announced meanwhile may not be shown");
        }
    }
}

fn kafka_config(brokers: Vec<String>, global: &Global) -> anyhow::Result<KafkaConfig> {
    let section = |name| Load {
        file: global.config.clone(),
        ..Load::section(name)
    };
    let worker: loader_worker::Config = config::load(&section("loader-worker"))?;
    let scanner: bucket_scanner::Config = config::load(&section("bucket-scanner"))?;
    let mut configs = [worker.kafka, scanner.kafka].into_iter();
    let mut config = configs.find(KafkaConfig::is_configured).unwrap_or_default();
    if !brokers.is_empty() {
        for broker in &brokers {
            let port = broker.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
            if !matches!(port, Some(Ok(_))) {
                bail!("--kafka-brokers: {broker:?} is no broker; give host:port");
            }
        }
        config.brokers = brokers;
    }
    if !config.is_configured() {
        bail!(
            "no Kafka brokers are configured, through which services announce what they do; give --kafka-brokers \
             HOST:PORT, set loader_worker.kafka.brokers, or watch one job with `stoker jobs watch ID`"
        );
    }
    Ok(config)
}

/// None for a kind that is not known here.
fn shown(event: &Event, output: &Output) -> Option<String> {
    let time = event.time.unwrap_or_default();
    let time = DateTime::from_timestamp(time.seconds, time.nanos.unsigned_abs());
    let time = time.unwrap_or_default();
    let time = time.to_rfc3339_opts(SecondsFormat::Millis, true);
    let (kind, about, details) = told(event.kind.as_ref()?);
    if !output.is_json() {
        let (service, instance) = (&event.service, &event.instance);
        return Some(format!(
            "{time}  {service:<14}  {instance}  {kind:<17}  {about}"
        ));
    }
    let mut value = json!({
        "time": time, "event_id": event.event_id, "service": event.service, "instance": event.instance,
        "kind": kind,
    });
    if let (Value::Object(value), Value::Object(details)) = (&mut value, details) {
        value.extend(details);
    }
    Some(value.to_string())
}

/// The kind's name, what it is about in words, and all it says.
type Told = (&'static str, String, Value);

fn told(kind: &Kind) -> Told {
    match kind {
        Kind::ObjectDiscovered(e) => found("object_discovered", e.object.as_ref(), e.size),
        Kind::ObjectChanged(e) => found("object_changed", e.object.as_ref(), e.size),
        Kind::UnitDone(e) => {
            let (name, object) = named(e.object.as_ref());
            let details = json!({"object": object, "job_id": e.job_id, "unit_id": e.unit_id});
            ("unit_done", format!("{name}, job {}", e.job_id), details)
        }
        Kind::LoadFinished(e) => finished(e),
        Kind::InputRejected(e) => rejected(e),
        Kind::JobStarted(e) => {
            let details = json!({"job_id": e.job_id});
            ("job_started", format!("job {}", e.job_id), details)
        }
        Kind::WaveEnded(e) => {
            let details = json!({"job_id": e.job_id});
            let about = format!("job {}, those of the next can be loaded", e.job_id);
            ("wave_ended", about, details)
        }
        Kind::JobEnded(e) => {
            let state = JobState::from_str_name(&e.state).unwrap_or_default();
            let state = state_name(state);
            let details = json!({"job_id": e.job_id, "state": state});
            ("job_ended", format!("job {} is {state}", e.job_id), details)
        }
        Kind::ReindexChanged(e) => reindexing(e),
        Kind::BackupChanged(e) => backing_up(e),
    }
}

fn reindexing(event: &ReindexChanged) -> Told {
    let state = event.state.trim_start_matches("RUN_STATE_").to_lowercase();
    let ReindexChanged {
        run_id,
        reindexed,
        failed,
        ..
    } = event;
    let about = format!("run {run_id} is {state}, {reindexed} reindexed, {failed} failed");
    let details = json!({
        "run_id": run_id, "state": state, "reindexed": reindexed, "failed": failed
    });
    ("reindex_changed", about, details)
}

fn backing_up(event: &BackupChanged) -> Told {
    let state = event.state.trim_start_matches("RUN_STATE_").to_lowercase();
    let task = event.task.trim_start_matches("TASK_").to_lowercase();
    let BackupChanged {
        run_id,
        source,
        backup,
        bytes,
        ..
    } = event;
    let about = format!("{task} of {source} is {state}, run {run_id}, {backup}");
    let details = json!({
        "run_id": run_id, "source": source, "task": task, "state": state, "backup": backup, "bytes": bytes
    });
    ("backup_changed", about, details)
}

fn found(kind: &'static str, object: Option<&ObjectRef>, bytes: u64) -> Told {
    let (name, object) = named(object);
    let details = json!({"object": object, "bytes": bytes});
    (kind, format!("{name}, {bytes} bytes"), details)
}

fn finished(event: &LoadFinished) -> Told {
    let (name, object) = named(event.object.as_ref());
    let LoadFinished {
        job_id,
        loaded,
        rejected,
        ..
    } = event;
    let about = format!("{name}, job {job_id}, {loaded} loaded, {rejected} rejected");
    let details = json!({
        "object": object, "job_id": job_id, "loaded": loaded, "rejected": rejected
    });
    ("load_finished", about, details)
}

fn rejected(event: &InputRejected) -> Told {
    let (name, object) = named(event.object.as_ref());
    let (job_id, status) = (event.job_id, event.http_status);
    // People count lines from 1.
    let line = event.line.map(|line| line + 1);
    let at = match (line, event.offset) {
        (Some(line), _) => format!(":{line}"),
        (None, Some(offset)) => format!(" byte {offset}"),
        (None, None) => String::new(),
    };
    let details = json!({
        "object": object, "job_id": job_id, "line": line, "offset": event.offset, "http_status": status
    });
    let about = format!("{name}{at}, job {job_id}, status {status}");
    ("input_rejected", about, details)
}

fn named(object: Option<&ObjectRef>) -> (String, Value) {
    let Some(object) = object else {
        return ("an object".to_owned(), Value::Null);
    };
    let is_file = object.key.starts_with('/');
    let name = if is_file {
        object.key.clone()
    } else {
        format!("s3://{}/{}", object.bucket_name, object.key)
    };
    let name = match object.version {
        0 | 1 => name,
        version => format!("{name} (version {version})"),
    };
    let value = json!({
        "bucket": object.bucket_name, "key": object.key, "version": object.version,
    });
    (name, value)
}
