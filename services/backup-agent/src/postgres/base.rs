//! `BASE_BACKUP` in its two dialects: PostgreSQL 14 sends a copy for each archive, 15 and later one copy whose messages
//! say what they are. <https://www.postgresql.org/docs/current/protocol-replication.html#PROTOCOL-REPLICATION-BASE-BACKUP>

use std::fmt::Write as _;

use bytes::{Buf as _, Bytes};
use postgres_protocol::message::backend::{DataRowBody, Message};

use crate::tar;

use super::backup::Options;
use super::client::{Client, text};
use super::error::PostgresError;
use super::lsn::Lsn;

const DOING: &str = "making a base backup";
const LABEL: &str = "stoker base backup";
pub(super) const BASE: &str = "base.tar";

/// What comes next of a base backup.
#[derive(Debug)]
pub(super) enum Piece {
    /// The log's position at its beginning, and the timeline.
    Start(Lsn, u32),
    /// A tablespace that will come; without an oid it is the data folder.
    Tablespace(Tablespace),
    /// An archive begins; its name has what the server's compression adds to it.
    Archive(String),
    /// The manifest begins.
    Manifest,
    /// Bytes of what began last.
    Data(Bytes),
    /// The position and timeline at its end, after all else.
    End(Lsn, u32),
}

/// A tablespace as the server announces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tablespace {
    pub(super) oid: Option<String>,
    /// The server's estimate, in bytes.
    pub(super) bytes: u64,
}

impl Tablespace {
    /// The archive that holds it.
    pub(super) fn archive(&self) -> String {
        match &self.oid {
            Some(oid) => format!("{oid}.tar"),
            None => BASE.to_owned(),
        }
    }
}

/// A base backup that is under way.
#[derive(Debug)]
pub(super) struct BaseBackup {
    client: Client,
    old: bool,
    tablespaces: Vec<Tablespace>,
    results: usize,
    copies: usize,
    in_archive: bool,
}

impl BaseBackup {
    /// Asks for it.
    pub(super) async fn begin(
        mut client: Client,
        options: &Options,
    ) -> Result<Self, PostgresError> {
        let old = client.major() < 15;
        let command = if old {
            if options.server_compression.is_some() {
                return Err(PostgresError::CannotCompress {
                    place: client.place().to_owned(),
                    version: client.version().to_owned(),
                });
            }
            command_of_14(options)
        } else {
            command(options)
        };
        client.query(&command, DOING).await?;
        Ok(Self {
            client,
            old,
            tablespaces: Vec::new(),
            results: 0,
            copies: 0,
            in_archive: false,
        })
    }

    /// What comes next; none when the server is done. Nothing is lost where it is dropped before it ends.
    pub(super) async fn next(&mut self) -> Result<Option<Piece>, PostgresError> {
        loop {
            let piece = match self.client.message(DOING).await? {
                Message::RowDescription(_) => {
                    self.results += 1;
                    None
                }
                Message::DataRow(row) => Some(self.row(&row)?),
                Message::CopyOutResponse(_) if self.old => Some(self.copy()),
                Message::CopyData(body) if self.old => Some(Piece::Data(body.into_bytes())),
                Message::CopyData(body) => self.tagged(body.into_bytes())?,
                // The server of 14 leaves the end of an archive to its client.
                Message::CopyDone if self.old && self.in_archive => {
                    Some(Piece::Data(Bytes::from_static(&tar::END)))
                }
                Message::CopyOutResponse(_) | Message::CopyDone | Message::CommandComplete(_) => {
                    None
                }
                Message::ReadyForQuery(_) => return Ok(None),
                _ => return Err(self.client.odd(DOING, "an unexpected message")),
            };
            if piece.is_some() {
                return Ok(piece);
            }
        }
    }

    /// The error for what should not come here.
    pub(super) fn odd(&self, what: &str) -> PostgresError {
        self.client.odd(DOING, what)
    }

    /// The error for another timeline than that on which it was begun.
    pub(super) fn failed_over(&self, was: u32, is: u32) -> PostgresError {
        PostgresError::FailedOver {
            place: self.client.place().to_owned(),
            what: format!("timeline {was} became {is}"),
        }
    }

    fn row(&mut self, row: &DataRowBody) -> Result<Piece, PostgresError> {
        let row = self.client.values(row, DOING)?;
        let odd = || self.client.odd(DOING, "a row that says nothing");
        if self.results == 2 {
            let kilobytes: u64 = text(&row, 2).and_then(|n| n.parse().ok()).unwrap_or(0);
            let tablespace = Tablespace {
                oid: text(&row, 0),
                bytes: kilobytes.saturating_mul(1024),
            };
            self.tablespaces.push(tablespace.clone());
            return Ok(Piece::Tablespace(tablespace));
        }
        let at = text(&row, 0)
            .and_then(|at| at.parse().ok())
            .ok_or_else(odd)?;
        let timeline = text(&row, 1).and_then(|n| n.parse().ok()).ok_or_else(odd)?;
        Ok(if self.results == 1 {
            Piece::Start(at, timeline)
        } else {
            Piece::End(at, timeline)
        })
    }

    /// In the old dialect, archives come in the order of the tablespaces, then the manifest.
    fn copy(&mut self) -> Piece {
        let tablespace = self.tablespaces.get(self.copies);
        self.copies += 1;
        self.in_archive = tablespace.is_some();
        tablespace.map_or(Piece::Manifest, |t| Piece::Archive(t.archive()))
    }

    fn tagged(&self, mut data: Bytes) -> Result<Option<Piece>, PostgresError> {
        if data.is_empty() {
            return Err(self.client.odd(DOING, "an empty message"));
        }
        match data.get_u8() {
            b'd' => Ok(Some(Piece::Data(data))),
            b'm' => Ok(Some(Piece::Manifest)),
            b'p' => Ok(None),
            b'n' => {
                let name = data.split(|byte| *byte == 0).next().unwrap_or_default();
                let name = String::from_utf8_lossy(name).into_owned();
                // It becomes the name of a file.
                let plain = |c: char| c.is_ascii_alphanumeric() || c == '.';
                if name.starts_with('.') || !name.contains(".tar") || !name.chars().all(plain) {
                    return Err(self.client.odd(DOING, "an archive of a strange name"));
                }
                Ok(Some(Piece::Archive(name)))
            }
            tag => Err(self.client.odd(DOING, format!("a message {tag:#x}"))),
        }
    }
}

fn command(options: &Options) -> String {
    let checkpoint = if options.fast_checkpoint {
        "fast"
    } else {
        "spread"
    };
    let mut command = format!(
        "BASE_BACKUP (LABEL '{LABEL}', PROGRESS true, CHECKPOINT '{checkpoint}', WAIT false, TABLESPACE_MAP true, \
         MANIFEST 'yes', MANIFEST_CHECKSUMS '{}', TARGET 'client'",
        options.checksums
    );
    if let Some(rate) = options.max_rate_kb {
        let _ = write!(command, ", MAX_RATE {rate}");
    }
    if let Some(compression) = &options.server_compression {
        let _ = write!(command, ", COMPRESSION '{}'", compression.name());
        if let Some(detail) = compression.detail() {
            let _ = write!(command, ", COMPRESSION_DETAIL '{detail}'");
        }
    }
    command + ")"
}

fn command_of_14(options: &Options) -> String {
    let fast = if options.fast_checkpoint { " FAST" } else { "" };
    let rate = options.max_rate_kb;
    let rate = rate.map_or_else(String::new, |rate| format!(" MAX_RATE {rate}"));
    format!(
        "BASE_BACKUP LABEL '{LABEL}' PROGRESS{fast} NOWAIT{rate} TABLESPACE_MAP MANIFEST 'yes' MANIFEST_CHECKSUMS '{}'",
        options.checksums
    )
}
