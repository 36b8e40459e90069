//! Streaming parts out of the repository, checked as they come.

use std::io;

use bytes::Bytes;
use futures::TryStreamExt as _;
use tokio::sync::{mpsc, watch};

use super::tree::Tree;
use super::{Progress, RestoreError, on_disk};
use crate::compress::Decoder;
use crate::manifest::Part;
use crate::repository::{PartStream, Repository, checked};

/// Pieces that may wait for the disk.
const AHEAD: usize = 4;

/// Extracts a part into a tree. Fails where it has another size or SHA-256 than the manifest says, when all of it is
/// extracted.
pub(super) async fn extract(
    repository: &dyn Repository,
    backup: &str,
    part: &Part,
    tree: Tree,
    progress: &watch::Sender<Progress>,
) -> Result<(), RestoreError> {
    let mut pieces = read(repository, backup, part).await?;
    let (sender, receiver) = mpsc::channel(AHEAD);
    let (name, compression) = (part.name.clone(), part.compression.clone());
    let extracting = tokio::spawn(on_disk(move || decode(receiver, &name, &compression, tree)));
    let mut read = Ok(());
    loop {
        match pieces.try_next().await {
            Ok(Some(piece)) => {
                progress.send_modify(|now| now.bytes += piece.len() as u64);
                // It is gone where it failed, which its end tells.
                if sender.send(piece).await.is_err() {
                    break;
                }
            }
            Ok(None) => break,
            Err(error) => {
                read = Err(error);
                break;
            }
        }
    }
    drop(sender);
    let extracted = extracting.await;
    // What was read wrongly makes wrong archives.
    read?;
    extracted.unwrap_or_else(|e| Err(RestoreError::Stopped(e.to_string())))
}

/// All of a part that is small.
pub(super) async fn whole(
    repository: &dyn Repository,
    backup: &str,
    part: &Part,
) -> Result<Vec<u8>, RestoreError> {
    let pieces: Vec<Bytes> = read(repository, backup, part).await?.try_collect().await?;
    let wrong = |error| of_decoder(&part.name, error);
    let mut decoder = Decoder::new(&part.compression, Vec::new()).map_err(wrong)?;
    decoder.push(&pieces.concat()).map_err(wrong)?;
    decoder.finish().map_err(wrong)
}

async fn read(
    repository: &dyn Repository,
    backup: &str,
    part: &Part,
) -> Result<PartStream, RestoreError> {
    let what = format!("{}/{backup}/{}", repository.place(), part.name);
    let pieces = repository.read(backup, &part.name, 0).await?;
    Ok(checked(what, pieces, part))
}

fn decode(
    mut pieces: mpsc::Receiver<Bytes>,
    part: &str,
    compression: &str,
    tree: Tree,
) -> Result<(), RestoreError> {
    let wrong = |error| of_decoder(part, error);
    let mut decoder = Decoder::new(compression, tree).map_err(wrong)?;
    while let Some(piece) = pieces.blocking_recv() {
        decoder.push(&piece).map_err(wrong)?;
    }
    decoder.finish().map_err(wrong)?.finish()
}

/// The error behind one that a decoder passed on, or the decoder's own.
pub(super) fn of_decoder(part: &str, error: io::Error) -> RestoreError {
    match error.downcast::<RestoreError>() {
        Ok(ours) => ours,
        Err(source) => RestoreError::Compressed {
            part: part.to_owned(),
            source,
        },
    }
}
