//! Whether a part is as it was written: by its size and its SHA-256.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::{Stream, StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};

use super::{PartStream, Repository, RepositoryError};
use crate::manifest::Part;

/// Reads a part to its end. Fails with [`RepositoryError::Differs`] where its size or SHA-256 is not that of `part`.
pub async fn verify_part(
    repository: &dyn Repository,
    name: &str,
    part: &Part,
) -> Result<(), RepositoryError> {
    let what = format!("{}/{name}/{}", repository.place(), part.name);
    let bytes = repository.read(name, &part.name, 0).await?;
    let mut bytes = checked(what, bytes, part);
    while bytes.try_next().await?.is_some() {}
    Ok(())
}

/// The bytes of a whole part as they come, and at their end [`RepositoryError::Differs`] where they were not those of
/// `part`. `what` is the part's place, for messages.
pub fn checked(what: String, bytes: PartStream, part: &Part) -> PartStream {
    Checked {
        what,
        bytes,
        expected: (part.bytes, part.sha256.clone()),
        read: 0,
        sum: Some(Sha256::new()),
    }
    .boxed()
}

/// A SHA-256 as manifests have it.
pub fn hex(sum: Sha256) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(64);
    for byte in sum.finalize() {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

struct Checked {
    what: String,
    bytes: PartStream,
    expected: (u64, String),
    read: u64,
    /// None once the end was told.
    sum: Option<Sha256>,
}

impl Checked {
    fn verdict(&self, sum: &str) -> Option<RepositoryError> {
        let (bytes, sha256) = &self.expected;
        let reason = if self.read != *bytes {
            format!("it has {} bytes, its manifest says {bytes}", self.read)
        } else if sum != sha256 {
            format!("its SHA-256 is {sum}, its manifest says {sha256}")
        } else {
            return None;
        };
        let what = self.what.clone();
        Some(RepositoryError::Differs { what, reason })
    }
}

impl Stream for Checked {
    type Item = Result<Bytes, RepositoryError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = std::task::ready!(self.bytes.poll_next_unpin(context));
        let this = &mut *self;
        Poll::Ready(match (next, &mut this.sum) {
            (Some(Ok(chunk)), Some(sum)) => {
                sum.update(&chunk);
                this.read += chunk.len() as u64;
                Some(Ok(chunk))
            }
            (None, sum) => {
                let sum = sum.take();
                sum.and_then(|sum| this.verdict(&hex(sum))).map(Err)
            }
            (failed, _) => failed,
        })
    }
}
