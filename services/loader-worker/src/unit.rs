//! One unit of work, from its lease to its end: read → send → record.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use stoker_proto::common::v1::{Compression, FileType};
use stoker_proto::ledger::v1::{Lease, ObjectVersion, Unit};
use stoker_shared::kafka::Events;
use stoker_shared::object_store::{Chunks, ObjectStore, Place, StoreError, Stores};
use stoker_shared::ranges::RangeSet;
use stoker_shared::retry::Backoff;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::announce::Announcer;
use crate::breakup::{self, InFlight, Means, PartNames};
use crate::config::LoadSettings;
use crate::flight::Flight;
use crate::ledger::{Ledger, LedgerFault};
use crate::memory::Memory;
use crate::outcome::Settled;
use crate::read::{self, BatchSize, DecodeError, Piece, Reading, Share, ShareError};
use crate::record::{Recorder, Recording};
use crate::send::{Stop, Stops};
use crate::stats::Stats;
use crate::targets::Server;
use crate::texts::Texts;

/// How a unit's work ended without being finished.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnitEnd {
    /// The object cannot be read, now or ever.
    #[error(transparent)]
    Unreadable(#[from] StoreError),
    /// Its compressed bytes are damaged.
    #[error("{0}")]
    Damaged(DecodeError),
    /// What it is broken up into cannot be written.
    #[error(transparent)]
    Unwritable(StoreError),
    /// It is not what the scanner saw.
    #[error("the object changed after it was listed; load again to load its new version")]
    Changed,
    /// The FHIR server takes nothing more.
    #[error(transparent)]
    Stopped(#[from] Stop),
    /// The ledger does not take the outcome.
    #[error(transparent)]
    Ledger(#[from] LedgerFault),
    /// A fault of Stoker's own in reading.
    #[error("reading ended unexpectedly; this is a fault in Stoker")]
    ReaderFailed,
    /// The lease was lost, or the process is to end.
    #[error("interrupted")]
    Interrupted,
}

/// Where what a unit holds goes.
#[derive(Debug)]
pub(crate) enum To {
    /// It is sent.
    Server(Server),
    /// It is written there, large Bundles broken up.
    Place(Place),
}

/// What a unit's work needs besides the unit.
#[derive(Debug)]
pub(crate) struct UnitWork {
    pub(crate) ledger: Ledger,
    pub(crate) stores: Stores,
    pub(crate) events: Events,
    pub(crate) to: To,
    pub(crate) settings: LoadSettings,
    pub(crate) memory: Memory,
    pub(crate) texts: Texts,
    pub(crate) stats: Arc<Stats>,
    /// No new requests once stopped; those in flight are awaited and recorded.
    pub(crate) stops: Stops,
    /// The lease is gone: nothing may be written any more.
    pub(crate) lost: CancellationToken,
    /// A full ledger is waited for, as a service does.
    pub(crate) waits_for_room: bool,
    pub(crate) seed: u64,
}

impl UnitWork {
    /// Loads the unit to its end.
    pub(crate) async fn load(&self, unit: &Unit) -> Result<(), UnitEnd> {
        let loaded = self.lost.run_until_cancelled(self.load_while_held(unit));
        loaded.await.unwrap_or(Err(UnitEnd::Interrupted))
    }

    async fn load_while_held(&self, unit: &Unit) -> Result<(), UnitEnd> {
        let lease = unit.lease.clone().unwrap_or_default();
        let announcer = Announcer::new(self.events.clone(), unit);
        let object = unit.object.clone().unwrap_or_default();
        let store = self.stores.open(&unit.source.clone().unwrap_or_default())?;
        ensure_unchanged(&*store, &object).await?;
        let (lines, decoded_bytes) = match self.share(&*store, unit, &object).await? {
            Some(share) => {
                // The last line goes on beyond the range.
                let range = share.from..object.size;
                let stored = match store.get_here(&object.key, range.clone()) {
                    Some(chunks) => chunks,
                    None => read::ahead(store.get(&object.key, range).await?),
                };
                let reading = self.reading(unit, &object, share);
                self.bring(unit, reading, stored, &announcer).await?
            }
            None => (0, 0),
        };
        ensure_unchanged(&*store, &object).await?;
        // Died before this: the next lease finds everything done and only finishes. After: nothing is left.
        self.finish(&lease, lines, decoded_bytes).await?;
        announcer.unit_done();
        Ok(())
    }

    /// Brings what is read where it is to go, and records what became of it; answers how many lines and bytes there
    /// were.
    async fn bring(
        &self,
        unit: &Unit,
        reading: Reading,
        stored: Chunks,
        announcer: &Announcer,
    ) -> Result<(u64, u64), UnitEnd> {
        let read = Arc::new(AtomicU64::new(0));
        let pieces = read::start(reading, stored, Arc::clone(&read));
        let recorder = Recorder::new(
            self.ledger.clone(),
            unit.lease.clone().unwrap_or_default(),
            Arc::clone(&self.stats),
            announcer.clone(),
            self.waits_for_room,
            self.seed,
        );
        let recording = recorder.start(self.settings.window(), Arc::clone(&read));
        let sent = match &self.to {
            To::Server(server) => self.send_all(server, pieces, &recording).await,
            To::Place(place) => {
                let source = self.stores.open(&unit.source.clone().unwrap_or_default())?;
                let means = Means {
                    source: &*source,
                    settings: &self.settings,
                    memory: &self.memory,
                    stops: &self.stops,
                };
                breakup::write_all(unit, place, means, pieces, &recording).await
            }
        };
        let read_bytes = &self.stats.metrics().read_bytes;
        read_bytes.inc_by(read.load(Ordering::Relaxed));
        // A failed recording also ends the sending, so its reason comes first.
        recording.end().await?;
        sent
    }

    /// What the unit holds; none when no frame begins in its range.
    async fn share(
        &self,
        store: &dyn ObjectStore,
        unit: &Unit,
        object: &ObjectVersion,
    ) -> Result<Option<Share>, UnitEnd> {
        let read = AtomicU64::new(0);
        let found = Share::of(unit, object, store, &read);
        let found = self.stops.stop.run_until_cancelled(found).await;
        let read_bytes = &self.stats.metrics().read_bytes;
        read_bytes.inc_by(read.load(Ordering::Relaxed));
        match found.ok_or(UnitEnd::Interrupted)? {
            Ok(share) => Ok(share),
            Err(ShareError::Store(e)) => Err(UnitEnd::Unreadable(e)),
            Err(ShareError::TooMany(e)) => {
                Err(UnitEnd::Damaged(DecodeError::Damaged(io::Error::other(e))))
            }
        }
    }

    /// Ends the unit; while the ledger is away it tries again, for as long as the lease is held.
    async fn finish(&self, lease: &Lease, lines: u64, decoded_bytes: u64) -> Result<(), UnitEnd> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let mut rng = StdRng::seed_from_u64(self.seed);
        loop {
            match self
                .ledger
                .finish(lease.clone(), lines, decoded_bytes)
                .await
            {
                Err(e)
                    if (e.may_pass() || (e.is_full() && self.waits_for_room))
                        && !self.stops.stop.is_cancelled() =>
                {
                    tracing::warn!(error = %e, "the ledger is away, finishing again");
                    tokio::time::sleep(backoff.pause(None, &mut rng)).await;
                }
                end => return Ok(end?),
            }
        }
    }

    fn reading(&self, unit: &Unit, object: &ObjectVersion, share: Share) -> Reading {
        let done: RangeSet = unit.done.iter().map(|r| r.start..r.end).collect();
        Reading {
            file_type: FileType::try_from(object.file_type).unwrap_or_default(),
            compression: Compression::try_from(object.compression).unwrap_or_default(),
            interaction: unit.interaction(),
            share,
            done,
            batch: self.batch(),
            batch_bytes: self.settings.batch_bytes,
            transactions: matches!(&self.to, To::Server(server) if server.transactions),
            memory: Some(self.memory.clone()),
            stored_bytes: object.size,
            max_document_bytes: self.settings.max_document_bytes,
            in_flight: self.settings.max_entries().map(|max| InFlight {
                max,
                names: PartNames::of(unit),
            }),
            whole: matches!(self.to, To::Place(_)),
            texts: self.texts.clone(),
        }
    }

    /// Resources to a batch.
    fn batch(&self) -> BatchSize {
        match &self.to {
            To::Server(server) => server.batch(),
            To::Place(_) => BatchSize::Fixed(1),
        }
    }

    /// Sends piece by piece, several requests at a time; says how many lines and bytes there were.
    async fn send_all(
        &self,
        server: &Server,
        mut pieces: mpsc::Receiver<Piece>,
        recording: &Recording,
    ) -> Result<(u64, u64), UnitEnd> {
        let mut flight = Flight::new(Arc::clone(&server.sender), self.stops.clone());
        let result = loop {
            match self.next(&mut pieces, &mut flight, recording).await {
                Ok(None) => {}
                Ok(Some(end)) => break Ok(end),
                Err(e) => break Err(e),
            }
        };
        // What is on the wire is awaited and recorded, however the reading ended.
        let landed = flight.land_all(recording).await;
        let end = result.and_then(|end| landed.map(|()| end))?;
        flight.send_deferred(self.batch().get(), recording).await?;
        Ok(end)
    }

    /// Waits for the next thing to happen: a request's end, memory for the request that waits for it,
    /// or a piece while there is room for one.
    async fn next(
        &self,
        pieces: &mut mpsc::Receiver<Piece>,
        flight: &mut Flight,
        recording: &Recording,
    ) -> Result<Option<(u64, u64)>, UnitEnd> {
        let waiting = flight.waiting_bytes();
        let piece = async {
            let place = recording.place().await;
            (pieces.recv().await, place)
        };
        let (piece, place) = tokio::select! {
            biased;
            Some(landing) = flight.next() => {
                flight.land(landing, recording).await?;
                return Ok(None);
            }
            () = self.stops.stop.cancelled() => return Err(UnitEnd::Interrupted),
            memory = self.memory.take(waiting.unwrap_or_default()), if waiting.is_some() => {
                flight.start(memory, recording).await?;
                return Ok(None);
            }
            piece = piece, if waiting.is_none() && !flight.is_ahead() => piece,
        };
        match piece {
            Some(Piece::Request(request)) => flight.wait(request, place),
            Some(Piece::Rejected(bad)) => {
                recording.hand_over(Settled::unsent(bad), place).await?;
            }
            Some(Piece::End {
                lines,
                decoded_bytes,
            }) => return Ok(Some((lines, decoded_bytes))),
            Some(Piece::Broken(DecodeError::Store(e))) => return Err(UnitEnd::Unreadable(e)),
            Some(Piece::Broken(damage)) => return Err(UnitEnd::Damaged(damage)),
            Some(Piece::Document(_)) | None => return Err(UnitEnd::ReaderFailed),
        }
        Ok(None)
    }
}

async fn ensure_unchanged(store: &dyn ObjectStore, seen: &ObjectVersion) -> Result<(), UnitEnd> {
    let now = store.head(&seen.key).await?;
    let seen_at = seen.last_modified.unwrap_or_default();
    let same_time = now.last_modified.timestamp() == seen_at.seconds
        && now.last_modified.timestamp_subsec_micros() == (seen_at.nanos / 1000).unsigned_abs();
    if now.size == seen.size && now.etag == seen.etag && same_time {
        Ok(())
    } else {
        Err(UnitEnd::Changed)
    }
}
