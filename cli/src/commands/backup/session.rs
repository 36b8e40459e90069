//! Who does what a command asks for: an agent of this process, or one that runs elsewhere.

use std::sync::Arc;

use backup_agent::{Agent, Config};
use stoker_proto::backup::v1::backup_service_client::BackupServiceClient;
use stoker_shared::clock::SystemClock;
use stoker_shared::grpc;
use tokio_util::sync::CancellationToken;

use super::place::{Client, PlaceArgs};
use crate::Global;
use crate::embedded::Embedded;

/// An agent to ask.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    /// The agent of this process, and what serves it.
    here: Option<(Agent, Embedded)>,
    again: String,
    at_once: CancellationToken,
}

impl Session {
    /// Reaches the agent named, else opens one as configured, with what `lay` lays over it.
    pub(super) async fn open(
        place: &PlaceArgs,
        global: &Global,
        lay: impl FnOnce(&mut Config) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let again = place.again(global.config.as_deref());
        if let Some(server) = place.server()? {
            return Ok(Self {
                client: BackupServiceClient::new(grpc::connect(&server)?),
                here: None,
                again,
                at_once: CancellationToken::new(),
            });
        }
        let mut config = place.config(global)?;
        lay(&mut config)?;
        let agent = Agent::open(&config, Arc::new(SystemClock)).await?;
        // Where no agent runs, nobody else finds the runs of commands that were killed.
        agent.sweep().await?;
        let served = Embedded::of(agent.routes());
        Ok(Self {
            client: BackupServiceClient::new(served.channel()),
            here: Some((agent, served)),
            again,
            at_once: CancellationToken::new(),
        })
    }

    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Whether it is this process that does it.
    pub(super) fn is_here(&self) -> bool {
        self.here.is_some()
    }

    /// What to append to a later command so that it is about the same backups.
    pub(super) fn again(&self) -> &str {
        &self.again
    }

    /// Has [`Session::close`] wait for nothing.
    pub(super) fn end_at_once(&self) {
        self.at_once.cancel();
    }

    /// Ends what is under way in this process.
    pub(super) async fn close(self) {
        if let Some((agent, served)) = self.here {
            tokio::select! {
                () = agent.drain() => {}
                () = self.at_once.cancelled() => {}
            }
            served.stop().await;
        }
    }
}
