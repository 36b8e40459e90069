//! What comes from the server, on its way into the repository: written, and looked at as it passes.

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;

use crate::compress::{Compression, Decoder, Encoder};
use crate::manifest::Part;
use crate::repository::Draft;

use super::backup::{ArchiveProgress, MANIFEST, Options, Progress, encoder};
use super::base::{BaseBackup, Piece, Tablespace};
use super::contents::{Contents, decoding};
use super::error::PostgresError;
use super::lsn::Lsn;
use super::manifest::{BackupManifest, Files};

/// Progress is told after so many bytes.
const TELL: u64 = 1 << 20;

/// A base backup as far as it was received.
pub(super) struct Receiving<'a> {
    options: &'a Options,
    draft: &'a dyn Draft,
    progress: &'a watch::Sender<Progress>,
    estimates: Vec<(String, u64)>,
    archive: Option<Archive>,
    untold: u64,
    files: Files,
    archives: Vec<Part>,
    manifest: Option<BytesMut>,
    end: Option<(Lsn, u32)>,
}

/// A base backup that was received whole, and is as its manifest says.
pub(super) struct Received {
    pub(super) archives: Vec<Part>,
    pub(super) manifest: Part,
    pub(super) end: Lsn,
}

impl<'a> Receiving<'a> {
    pub(super) fn new(
        options: &'a Options,
        draft: &'a dyn Draft,
        progress: &'a watch::Sender<Progress>,
    ) -> Self {
        Self {
            options,
            draft,
            progress,
            estimates: Vec::new(),
            archive: None,
            untold: 0,
            files: Files::new(),
            archives: Vec::new(),
            manifest: None,
            end: None,
        }
    }

    /// Receives all of it.
    pub(super) async fn run(&mut self, base: &mut BaseBackup) -> Result<(), PostgresError> {
        while let Some(piece) = base.next().await? {
            match piece {
                Piece::Start(..) => return Err(base.odd("a second beginning")),
                Piece::Tablespace(tablespace) => self.estimate(&tablespace),
                Piece::Archive(name) => {
                    self.end_archive().await?;
                    self.begin_archive(&name).await?;
                }
                Piece::Manifest => {
                    self.end_archive().await?;
                    self.manifest = Some(BytesMut::new());
                }
                Piece::Data(data) => self.data(base, &data).await?,
                Piece::End(at, timeline) => self.end = Some((at, timeline)),
            }
        }
        Ok(())
    }

    /// Compares what was received with the manifest, which came last, and writes that.
    pub(super) async fn finish(
        self,
        base: &BaseBackup,
        start: Lsn,
        timeline: u32,
    ) -> Result<Received, PostgresError> {
        let (end, timeline_at_end) = self.end.ok_or_else(|| base.odd("no end"))?;
        if timeline_at_end != timeline {
            return Err(base.failed_over(timeline, timeline_at_end));
        }
        let bytes = self.manifest.ok_or_else(|| base.odd("no manifest"))?;
        let manifest = BackupManifest::parse(&bytes)?;
        manifest.compare(&self.files)?;
        let covered = manifest
            .ranges
            .iter()
            .any(|range| range.timeline == timeline && range.start <= start && range.end <= end);
        if !covered {
            return Err(base.odd("a manifest of another range of the log"));
        }
        let mut encoder = encoder(self.draft, MANIFEST, Compression::None, 1).await?;
        encoder.write(&bytes).await?;
        Ok(Received {
            archives: self.archives,
            manifest: encoder.finish().await?,
            end,
        })
    }

    fn estimate(&mut self, tablespace: &Tablespace) {
        self.estimates
            .push((tablespace.archive(), tablespace.bytes));
    }

    async fn begin_archive(&mut self, name: &str) -> Result<(), PostgresError> {
        let by_server = self.options.server_compression;
        let suffix = by_server.map_or("", Compression::suffix);
        let plain = name.strip_suffix(suffix).unwrap_or(name).to_owned();
        let compression = match by_server {
            Some(_) => Compression::None,
            None => self.options.compression,
        };
        let encoder = encoder(self.draft, name, compression, self.options.threads).await?;
        let estimated = self.estimates.iter().find(|(archive, _)| *archive == plain);
        let estimated = estimated.map_or(0, |(_, bytes)| *bytes);
        let contents = Contents::new(&plain, self.options.checksums);
        let compressed = by_server.map_or("none", Compression::name);
        let contents = Decoder::new(compressed, contents).map_err(|e| decoding(&plain, e))?;
        self.archive = Some(Archive {
            name: plain.clone(),
            encoder,
            contents,
            by_server,
        });
        self.progress.send_modify(|progress| {
            progress.archives.push(ArchiveProgress {
                name: plain,
                received: 0,
                estimated,
            });
        });
        Ok(())
    }

    async fn data(&mut self, base: &BaseBackup, data: &Bytes) -> Result<(), PostgresError> {
        if let Some(manifest) = &mut self.manifest {
            manifest.extend_from_slice(data);
            return Ok(());
        }
        let archive = self.archive.as_mut();
        let archive = archive.ok_or_else(|| base.odd("bytes of no archive"))?;
        archive.take(data).await?;
        self.untold += data.len() as u64;
        if self.untold >= TELL {
            self.tell();
        }
        Ok(())
    }

    async fn end_archive(&mut self) -> Result<(), PostgresError> {
        self.tell();
        if let Some(archive) = self.archive.take() {
            let (part, files) = archive.finish().await?;
            self.archives.push(part);
            self.files.extend(files);
        }
        Ok(())
    }

    fn tell(&mut self) {
        let untold = std::mem::take(&mut self.untold);
        self.progress.send_if_modified(|progress| {
            let Some(archive) = progress.archives.last_mut() else {
                return false;
            };
            archive.received += untold;
            untold > 0
        });
    }
}

/// The archive that is being received.
struct Archive {
    name: String,
    encoder: Encoder,
    contents: Decoder<Contents>,
    by_server: Option<Compression>,
}

impl Archive {
    async fn take(&mut self, data: &[u8]) -> Result<(), PostgresError> {
        let looked = self.contents.push(data);
        looked.map_err(|error| decoding(&self.name, error))?;
        Ok(self.encoder.write(data).await?)
    }

    async fn finish(self) -> Result<(Part, Files), PostgresError> {
        let contents = self.contents.finish();
        let contents = contents.map_err(|error| decoding(&self.name, error))?;
        let raw_bytes = contents.bytes();
        let files = contents.finish()?;
        let mut part = self.encoder.finish().await?;
        if let Some(by_server) = self.by_server {
            by_server.name().clone_into(&mut part.compression);
            part.raw_bytes = raw_bytes;
        }
        Ok((part, files))
    }
}
