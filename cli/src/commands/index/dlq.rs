//! `stoker index dlq`: messages that could not be indexed.

use std::fmt::Write as _;

use anyhow::bail;
use remote_indexer::Reason;
use remote_indexer::config::{Config, Draft};
use remote_indexer::dead_letters::{self, Replay, Replayed};
use serde_json::json;
use stoker_shared::config::{self, Load};
use tokio::task::spawn_blocking;

use super::list;
use crate::Global;
use crate::embedded::unexpected;
use crate::output::Output;
use crate::progress::Count;

#[derive(Debug, clap::Subcommand)]
pub(super) enum DlqCommand {
    /// Each message once, with what is wrong with it; with --json one object a line
    #[command(after_help = LIST_EXAMPLES)]
    List(Which),
    /// Send messages to the topic they came from once more, each that has not been sent again yet
    ///
    /// For when the reason is gone: a resource type has its tables, a tenant its schema, a fault of Stoker is mended.
    /// What is faulty still comes back as a new dead letter. A replay that was interrupted may send a few again, which
    /// does no harm.
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay {
        #[command(flatten)]
        which: Which,
        /// Say how many would be sent, and send none
        #[arg(long)]
        dry_run: bool,
    },
}

/// Which letters, of which topic.
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// Brokers, with commas between [default: remote_indexer.kafka.brokers]
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    brokers: Vec<String>,
    /// The topic that the FHIR server sends to [default: remote_indexer.topic.name]; its dead letters are in
    /// remote_indexer.topic.dead_letters, else in NAME.dlq
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
    /// Only those with this code
    #[arg(long, value_name = "CODE", value_parser = codes())]
    reason: Option<String>,
}

const LIST_EXAMPLES: &str = "Examples:
  stoker index dlq list --config remote-indexer.yaml
  stoker index dlq list --brokers kafka-1:9092 --reason value_too_long
  stoker index dlq list --json | jq -r .key";

const REPLAY_EXAMPLES: &str = "Examples:
  stoker index dlq replay --dry-run
  stoker index dlq replay --config remote-indexer.yaml
  stoker index dlq replay --brokers kafka-1:9092 --reason unknown_tenant";

fn codes() -> clap::builder::PossibleValuesParser {
    Reason::ALL.map(Reason::code).into()
}

/// Runs the command.
pub(super) async fn run(
    command: DlqCommand,
    load: Load,
    global: &Global,
    output: &Output,
) -> anyhow::Result<()> {
    let output = output.clone();
    match command {
        DlqCommand::List(which) => {
            let config = which.config(&load)?;
            let listed =
                spawn_blocking(move || list::list(&config, which.reason.as_deref(), &output));
            listed.await.map_err(unexpected)?
        }
        DlqCommand::Replay { which, dry_run } => {
            let config = which.config(&load)?;
            let reason = which.reason;
            let how = Replay { reason, dry_run };
            let mut count = Count::start(global.quiet || global.json, "dead letters");
            let replayed = spawn_blocking(move || {
                let replayed =
                    dead_letters::replay(&config, &how, |done, all| count.show(done, all));
                count.end();
                replayed
            });
            let replayed = replayed.await.map_err(unexpected)??;
            show(&replayed, dry_run, &output)
        }
    }
}

impl Which {
    /// What is configured, and the flags laid over it.
    fn config(&self, load: &Load) -> anyhow::Result<Config> {
        let Draft(mut config) = config::load(load)?;
        if !self.brokers.is_empty() {
            config.kafka.brokers.clone_from(&self.brokers);
        }
        if let Some(topic) = &self.topic {
            config.topic.name.clone_from(topic);
        }
        for broker in &config.kafka.brokers {
            let port = broker.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
            if !matches!(port, Some(Ok(_))) {
                bail!("--brokers: {broker:?} is no broker; give host:port");
            }
        }
        if !config.kafka.is_configured() {
            bail!(
                "no Kafka brokers are configured; give --brokers HOST:PORT or set remote_indexer.kafka.brokers"
            );
        }
        Ok(config)
    }
}

fn show(replayed: &Replayed, dry_run: bool, output: &Output) -> anyhow::Result<()> {
    let Replayed {
        sent,
        left,
        again,
        foreign,
    } = *replayed;
    let value = json!({
        "dry_run": dry_run, "sent": sent, "left": left, "again": again, "foreign": foreign,
    });
    output.result(&value, || {
        let mut text = match (sent, dry_run) {
            (0, _) => "no dead letters to send again".to_owned(),
            (n, true) => format!("{n} dead letters would be sent again"),
            (n, false) => format!("{n} dead letters sent again"),
        };
        for (number, what) in [
            (left, "of other reasons left"),
            (again, "more of the same messages"),
            (foreign, "messages there are no dead letters"),
        ] {
            if number > 0 {
                let _ = write!(text, "; {number} {what}");
            }
        }
        text
    })
}
