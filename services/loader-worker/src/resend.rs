//! Sends single texts again that were refused before, outside of any unit.

use std::sync::Arc;

use bytes::Bytes;
use stoker_proto::common::v1::{Compression, FileType, Interaction, Target};
use stoker_shared::clock::SharedClock;
use stoker_shared::fhir::FhirConfig;
use stoker_shared::ranges::RangeSet;
use tokio::sync::mpsc;

use crate::config::LoadSettings;
use crate::input::{Input, Request};
use crate::outcome::{Outcome, Settled};
use crate::read::{self, Piece, Reading, Share};
use crate::send::{Stop, Stops};
use crate::stats::Stats;
use crate::targets::{Server, TargetError, Targets};
use crate::texts::Texts;

/// Sends to one FHIR server.
#[derive(Debug)]
pub struct Resender {
    server: Server,
    settings: LoadSettings,
}

/// What became of one text.
#[derive(Debug, Default)]
pub struct Resent {
    /// What became of its parts: one of a resource, several of a Bundle that was taken apart. Places
    /// count from the start of the text.
    pub outcomes: Vec<Outcome>,
    /// What was not sent to its end: the load was to stop.
    pub unsent: Vec<Input>,
    /// Something that it refers to is not there: another try may fare better once more is loaded.
    pub misses_others: bool,
    /// Why nothing more can be sent.
    pub stop: Option<Stop>,
}

impl Resender {
    /// Asks the server what it can do.
    pub async fn connect(
        fhir: FhirConfig,
        settings: LoadSettings,
        clock: SharedClock,
        stats: Arc<Stats>,
        target: &Target,
    ) -> Result<Self, TargetError> {
        let targets = Targets::new(fhir, settings.clone(), clock, stats);
        let server = targets.server(target).await?;
        Ok(Self { server, settings })
    }

    /// Sends one resource or Bundle, as one in a file of its own would be.
    pub async fn send(&self, text: Bytes, interaction: Interaction, stops: &Stops) -> Resent {
        let reading = Reading {
            file_type: FileType::Json,
            compression: Compression::None,
            interaction,
            share: Share::WHOLE,
            done: RangeSet::new(),
            batch: self.server.batch(),
            batch_bytes: self.settings.batch_bytes,
            transactions: self.server.transactions,
            memory: None,
            stored_bytes: u64::MAX,
            max_document_bytes: usize::MAX,
            whole: false,
            in_flight: None,
            texts: Texts::new(self.settings.batch_bytes),
        };
        let stored = Box::new(std::iter::once(Ok(text)));
        let mut pieces = read::start(reading, stored, Arc::default());
        let mut resent = Resent::default();
        while let Some(piece) = pieces.recv().await {
            match piece {
                Piece::Request(request) if resent.stop.is_none() => {
                    self.settle(request, stops, &mut resent).await;
                }
                Piece::Request(request) => resent.unsent.extend(request.inputs),
                Piece::Rejected(bad) => resent.outcomes.extend(Settled::unsent(bad).outcomes),
                // Memory is read without an error, and nothing is asked for as a document.
                Piece::Document(_) | Piece::Broken(_) | Piece::End { .. } => {}
            }
        }
        resent
    }

    async fn settle(&self, request: Request, stops: &Stops, resent: &mut Resent) {
        let all = request.inputs.clone();
        let (parts, mut settled_parts) = mpsc::channel(1);
        let settling = async {
            let end = self.server.sender.settle(request, stops, &parts).await;
            drop(parts);
            end
        };
        let mut settled = Vec::new();
        let gathering = async {
            while let Some(part) = settled_parts.recv().await {
                settled.push(part);
            }
        };
        let ((last, stop), ()) = tokio::join!(settling, gathering);
        settled.push(last);
        let mut done = RangeSet::new();
        for mut part in settled {
            for deferred in std::mem::take(&mut part.deferred) {
                resent.misses_others = true;
                part.give_up(deferred);
            }
            part.done.into_iter().for_each(|range| done.insert(range));
            resent.outcomes.extend(part.outcomes);
        }
        let unsent = all
            .into_iter()
            .filter(|i| !done.covers(i.place.covers.clone()));
        resent.unsent.extend(unsent);
        resent.stop = stop;
    }
}
