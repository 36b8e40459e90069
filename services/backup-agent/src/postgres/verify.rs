//! A stored backup, read back.

use futures::StreamExt as _;
use tokio::sync::watch;

use crate::compress::{Decoder, told_by_name};
use crate::import;
use crate::manifest::{Manifest, Part};
use crate::repository::{PartStream, Repository, checked};

use super::backup::{LOG, MANIFEST};
use super::contents::{Contents, decoding};
use super::error::PostgresError;
use super::inside::Inside;
use super::manifest::BackupManifest;
use super::sample::Sample;

/// How much of a backup is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HowMuch {
    /// Every byte.
    All,
    /// `backup_manifest`, and besides:
    ///
    /// - of each part, whether it is there with its size;
    /// - of an archive that is not compressed, all headers, all files up to 1 MiB, and of 100 larger ones about so many
    ///   as `percent` says;
    /// - of an archive that is compressed, and of the log, all of it, for about so many of 100 archives.
    ///
    /// A file that is missing, cut off or too many is found where archives are not compressed; a flipped bit of what is
    /// not read is not. Another `seed` chooses others: after many samples all was read.
    Sample {
        /// 0 to 100.
        percent: u32,
        /// Which of them are chosen.
        seed: u64,
    },
}

/// Reads a backup back: each part must have its size and SHA-256, each file in the archives what `backup_manifest` says,
/// and the log must be all there. What was imported without that manifest must hold what a server starts with. `read`
/// is told how many stored bytes were read. Nothing is written.
pub async fn verify(
    repository: &dyn Repository,
    backup: &Manifest,
    how_much: HowMuch,
    read: &watch::Sender<u64>,
) -> Result<(), PostgresError> {
    let reading = Reading {
        repository,
        backup,
        read,
    };
    let mut inside = Inside::new(reading.said().await?);
    for part in backup.parts.iter().filter(|part| part.name != MANIFEST) {
        let archive = told_by_name(&part.name).0;
        let mut contents = inside.contents(archive);
        if let HowMuch::Sample { percent, seed } = how_much {
            let sample = Sample { percent, seed };
            let is_plain = part.compression == "none";
            let is_in = sample.has(part.name.as_bytes());
            if is_plain && (archive != LOG || !is_in) {
                sample.walk(&reading, part, &mut contents).await?;
                inside.take(archive, contents)?;
                continue;
            }
            if !is_in {
                // It looks at the size before anything is read.
                drop(reading.from(part, 0).await?);
                inside.leave_out(archive);
                continue;
            }
        }
        inside.take(archive, reading.archive(part, contents).await?)?;
    }
    inside.check()
}

/// A backup that is being read.
pub(super) struct Reading<'a> {
    repository: &'a dyn Repository,
    backup: &'a Manifest,
    read: &'a watch::Sender<u64>,
}

impl Reading<'_> {
    /// A part's stored bytes from an offset on.
    pub(super) async fn from(&self, part: &Part, from: u64) -> Result<PartStream, PostgresError> {
        let read = self.repository.read(&self.backup.name, &part.name, from);
        Ok(read.await?)
    }

    /// Says that so many more bytes were read.
    pub(super) fn tell(&self, bytes: usize) {
        self.read.send_modify(|read| *read += bytes as u64);
    }

    /// PostgreSQL's own manifest.
    async fn said(&self) -> Result<Option<BackupManifest>, PostgresError> {
        let mut parts = self.backup.parts.iter();
        let Some(part) = parts.find(|part| part.name == MANIFEST) else {
            if self.backup.engine == import::ENGINE {
                return Ok(None);
            }
            return Err(PostgresError::Damaged {
                part: MANIFEST.to_owned(),
                file: MANIFEST.to_owned(),
                what: "the backup has no such part".to_owned(),
            });
        };
        let mut bytes = Vec::new();
        self.whole(part, |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })
        .await?;
        BackupManifest::parse(&bytes).map(Some)
    }

    /// All of an archive.
    async fn archive(&self, part: &Part, contents: Contents) -> Result<Contents, PostgresError> {
        let wrong = |error| decoding(&part.name, error);
        let mut decoder = Decoder::new(&part.compression, contents).map_err(wrong)?;
        self.whole(part, |piece| decoder.push(piece).map_err(wrong))
            .await?;
        decoder.finish().map_err(wrong)
    }

    /// All of a part as it is stored; fails where its size or SHA-256 is another.
    async fn whole(
        &self,
        part: &Part,
        mut on: impl FnMut(&[u8]) -> Result<(), PostgresError>,
    ) -> Result<(), PostgresError> {
        let what = format!(
            "{}/{}/{}",
            self.repository.place(),
            self.backup.name,
            part.name
        );
        let mut stream = checked(what, self.from(part, 0).await?, part);
        while let Some(piece) = stream.next().await {
            let piece = piece?;
            self.tell(piece.len());
            on(&piece)?;
        }
        Ok(())
    }
}
