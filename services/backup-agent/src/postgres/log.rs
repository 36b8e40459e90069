//! The log that a base backup needs, streamed beside it, so that it stands on its own.

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend::{self, CopyData};
use stoker_shared::clock::SharedClock;
use tokio::sync::watch;
use tokio::time::{Instant, interval, sleep, timeout_at};

use crate::compress::Encoder;
use crate::manifest::Part;
use crate::tar::{END, Header};

use super::client::{Client, Incoming, System};
use super::connect::APPLICATION;
use super::error::PostgresError;
use super::lsn::{Lsn, Segments};

const DOING: &str = "streaming the log";
const RESERVING: &str = "reserving the log";

/// The server is asked for a sign of life so often, and is gone after so long without one.
const BEAT: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_mins(1);

const ZEROS: [u8; 8192] = [0; 8192];

/// PostgreSQL counts from 2000-01-01; seconds since 1970.
const POSTGRES_EPOCH: i64 = 946_684_800;

/// A connection to which a temporary slot belongs: the server keeps its log for it, and drops the slot when the
/// connection ends, however it ends.
#[derive(Debug)]
pub(super) struct LogStream {
    client: Client,
    slot: String,
    system: System,
    segments: Segments,
    /// Whether the server is told what may be removed of its log. Where it might take that for the word of a
    /// synchronous standby it is not: commits would be taken for safe that are in no committed backup.
    confirms: bool,
    clock: SharedClock,
}

impl LogStream {
    /// Makes the slot. From here on the server keeps all that a base backup begun later needs.
    pub(super) async fn reserve(
        mut client: Client,
        slot: String,
        clock: SharedClock,
    ) -> Result<Self, PostgresError> {
        let system = client.identify().await?;
        let size = client.show("wal_segment_size").await?;
        let segments = bytes_of(&size).and_then(|bytes| Segments::new(bytes, system.timeline));
        let segments =
            segments.ok_or_else(|| client.odd(RESERVING, format!("segments of {size}")))?;
        let standbys = client.show("synchronous_standby_names").await?;
        let create = format!("CREATE_REPLICATION_SLOT \"{slot}\" TEMPORARY PHYSICAL RESERVE_WAL");
        client.row(&create, RESERVING).await?;
        Ok(Self {
            client,
            slot,
            system,
            segments,
            confirms: !standbys.contains('*') && !standbys.contains(APPLICATION),
            clock,
        })
    }

    pub(super) fn system(&self) -> &System {
        &self.system
    }

    pub(super) fn segments(&self) -> Segments {
        self.segments
    }

    /// Writes whole segments, from that of `start` to that of the position that `stop` tells once it is known.
    pub(super) async fn run(
        mut self,
        start: Lsn,
        mut stop: watch::Receiver<Option<Lsn>>,
        encoder: Encoder,
    ) -> Result<Part, PostgresError> {
        let from = self.segments.start(start);
        let modified = u64::try_from(self.clock.now().timestamp()).unwrap_or(0);
        let mut archive = Archive {
            encoder,
            segments: self.segments,
            at: from,
            modified,
        };
        self.history(&mut archive).await?;
        let (slot, timeline) = (&self.slot, self.segments.timeline);
        let start =
            format!("START_REPLICATION SLOT \"{slot}\" PHYSICAL {from} TIMELINE {timeline}");
        self.client.query(&start, DOING).await?;
        self.follow(&mut archive, &mut stop).await?;
        archive.encoder.write(&END).await?;
        let part = archive.encoder.finish().await?;
        if let Err(error) = self.release().await {
            // The server drops the slot with the connection; all of the log is here.
            tracing::debug!(%error, slot = self.slot, "the slot is left to the server");
        }
        Ok(part)
    }

    /// Drops the slot now, and not when the server notices that the connection is gone.
    async fn release(&mut self) -> Result<(), PostgresError> {
        frontend::copy_done(&mut self.client.output);
        self.client.flush(DOING).await?;
        self.client.answer(DOING).await?;
        let drop = format!("DROP_REPLICATION_SLOT \"{}\"", self.slot);
        self.client.command(&drop, DOING).await?;
        Ok(())
    }

    /// A timeline that is not the first needs the file that says where it branched off.
    async fn history(&mut self, archive: &mut Archive) -> Result<(), PostgresError> {
        let timeline = self.segments.timeline;
        if timeline == 1 {
            return Ok(());
        }
        let row = self
            .client
            .row(&format!("TIMELINE_HISTORY {timeline}"), DOING)
            .await?;
        let content = row.get(1).cloned().flatten();
        let content = content.ok_or_else(|| self.client.odd(DOING, "no history"))?;
        archive
            .file(&format!("{timeline:08X}.history"), &content)
            .await
    }

    async fn follow(
        &mut self,
        archive: &mut Archive,
        stop: &mut watch::Receiver<Option<Lsn>>,
    ) -> Result<(), PostgresError> {
        let mut beat = interval(BEAT);
        let mut heard = Instant::now();
        loop {
            let end = stop.borrow_and_update().map(|stop| self.segments.end(stop));
            if end.is_some_and(|end| archive.at >= end) {
                return archive.fill().await;
            }
            tokio::select! {
                biased;
                changed = stop.changed() => {
                    let given_up = |_| PostgresError::Stopped("the base backup was given up".to_owned());
                    changed.map_err(given_up)?;
                }
                _ = beat.tick() => self.beat(archive.at).await?,
                incoming = timeout_at(heard + SILENCE, self.client.next(DOING)) => {
                    let incoming = incoming.map_err(|_| self.silent())??;
                    self.take(incoming, archive, end).await?;
                    // Not before: the repository may have been slow, not the server.
                    heard = Instant::now();
                }
            }
        }
    }

    async fn take(
        &mut self,
        incoming: Incoming,
        archive: &mut Archive,
        end: Option<Lsn>,
    ) -> Result<(), PostgresError> {
        let mut data = match incoming {
            Incoming::CopyBoth => return Ok(()),
            Incoming::Message(Message::CopyData(body)) => body.into_bytes(),
            // So the server says that another timeline goes on from here.
            Incoming::Message(Message::CopyDone) => {
                return Err(PostgresError::FailedOver {
                    place: self.client.place().to_owned(),
                    what: format!(
                        "timeline {} ended at {}",
                        self.segments.timeline, archive.at
                    ),
                });
            }
            // So it says that it is shutting down, before it hangs up.
            Incoming::Message(Message::CommandComplete(_)) => {
                let ended = std::io::Error::other("the server ended the stream: it shuts down");
                return Err(self.client.broken(DOING, ended));
            }
            Incoming::Message(_) => return Err(self.client.odd(DOING, "an unexpected message")),
        };
        match data.try_get_u8() {
            Ok(b'w') if data.len() >= 24 => {
                let at = Lsn(data.get_u64());
                data.advance(16);
                if at != archive.at {
                    let what = format!("the log at {at}, not at {}", archive.at);
                    return Err(self.client.odd(DOING, what));
                }
                self.write(data, archive, end).await
            }
            Ok(b'k') if data.len() >= 17 => {
                data.advance(16);
                if data.get_u8() == 1 {
                    self.beat(archive.at).await?;
                }
                Ok(())
            }
            _ => Err(self.client.odd(DOING, "a message that is cut off")),
        }
    }

    /// Writes, and tells the server meanwhile that it is heard: a repository that is slow or away for some minutes is
    /// no reason for `wal_sender_timeout` to end the backup.
    async fn write(
        &mut self,
        data: Bytes,
        archive: &mut Archive,
        end: Option<Lsn>,
    ) -> Result<(), PostgresError> {
        let at = archive.at;
        let mut writing = std::pin::pin!(archive.log(data, end));
        loop {
            tokio::select! {
                biased;
                written = &mut writing => return written,
                () = sleep(BEAT) => self.beat(at).await?,
            }
        }
    }

    /// Tells what has been received, and asks for an answer.
    async fn beat(&mut self, at: Lsn) -> Result<(), PostgresError> {
        let since_epoch = self.clock.now().timestamp_micros() - POSTGRES_EPOCH * 1_000_000;
        let mut status = BytesMut::with_capacity(34);
        status.put_u8(b'r');
        status.put_u64(at.0);
        status.put_u64(if self.confirms { at.0 } else { 0 });
        status.put_u64(0);
        status.put_i64(since_epoch);
        status.put_u8(1);
        let message = CopyData::new(status.freeze());
        let message = message.map_err(|source| self.client.broken(DOING, source))?;
        message.write(&mut self.client.output);
        self.client.flush(DOING).await
    }

    fn silent(&self) -> PostgresError {
        PostgresError::Silent {
            place: self.client.place().to_owned(),
            doing: DOING,
            seconds: SILENCE.as_secs(),
        }
    }
}

/// `pg_wal.tar`: whole segments by their bare names, as `pg_basebackup` makes it.
struct Archive {
    encoder: Encoder,
    segments: Segments,
    at: Lsn,
    modified: u64,
}

impl Archive {
    /// Takes log that goes on where the last ended, as far as `end` if that is known.
    async fn log(&mut self, mut data: Bytes, end: Option<Lsn>) -> Result<(), PostgresError> {
        while !data.is_empty() && end.is_none_or(|end| self.at < end) {
            let begin = self.segments.start(self.at);
            if self.at == begin {
                let name = self.segments.name(begin);
                self.header(&name, self.segments.bytes).await?;
            }
            let left = begin.0 + self.segments.bytes - self.at.0;
            let taken = usize::try_from(left).unwrap_or(usize::MAX).min(data.len());
            let piece = data.split_to(taken);
            self.encoder.write(&piece).await?;
            self.at.0 += taken as u64;
        }
        Ok(())
    }

    /// Fills up the segment that was begun after the last that is needed: the server may end it hours later. Zeros
    /// are where a server that recovers finds the end of its log.
    async fn fill(&mut self) -> Result<(), PostgresError> {
        let end = self.segments.end(self.at);
        while self.at < end {
            let left = usize::try_from(end.0 - self.at.0).unwrap_or(usize::MAX);
            let zeros = &ZEROS[..left.min(ZEROS.len())];
            self.encoder.write(zeros).await?;
            self.at.0 += zeros.len() as u64;
        }
        Ok(())
    }

    async fn file(&mut self, name: &str, content: &[u8]) -> Result<(), PostgresError> {
        self.header(name, content.len() as u64).await?;
        self.encoder.write(content).await?;
        let padding = crate::tar::padding(content.len() as u64);
        let zeros = &END[..usize::try_from(padding).unwrap_or(0)];
        Ok(self.encoder.write(zeros).await?)
    }

    async fn header(&mut self, name: &str, size: u64) -> Result<(), PostgresError> {
        let block = Header::file(name, size, 0o600, self.modified).to_block();
        let block = block.map_err(|e| PostgresError::Stopped(e.to_string()))?;
        Ok(self.encoder.write(&block).await?)
    }
}

/// `16MB` as PostgreSQL shows it.
fn bytes_of(shown: &str) -> Option<u64> {
    let units = [("kB", 10), ("MB", 20), ("GB", 30), ("B", 0)];
    let (digits, shift) = units
        .into_iter()
        .find_map(|(unit, shift)| Some((shown.strip_suffix(unit)?, shift)))?;
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_the_server_shows_them() {
        assert_eq!(bytes_of("16MB"), Some(16 << 20));
        assert_eq!(bytes_of("1GB"), Some(1 << 30));
        assert_eq!(bytes_of("8192kB"), Some(8 << 20));
        assert_eq!(bytes_of("many"), None);
    }
}
