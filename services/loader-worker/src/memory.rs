//! The memory that all units of a worker share for what is on its way to servers.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes to one permit.
const GRAIN: usize = 1 << 10;

/// Shared by cloning. Half of it is for what is on the wire, half for long texts that are being read: as long as
/// those have a part of their own, what is on the wire can always get to its end and make room for them.
#[derive(Debug, Clone)]
pub struct Memory {
    wire: Pool,
    reading: Pool,
}

#[derive(Debug, Clone)]
struct Pool {
    grains: Arc<Semaphore>,
    all: u32,
}

impl Memory {
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            wire: Pool::new(bytes / 2),
            reading: Pool::new(bytes / 2),
        }
    }

    /// Waits for so many bytes on the wire; for all there are, when there are not so many.
    pub(crate) async fn take(&self, bytes: usize) -> OwnedSemaphorePermit {
        self.wire.take(bytes).await
    }

    /// The same, for reading.
    pub(crate) async fn take_to_read(&self, bytes: usize) -> OwnedSemaphorePermit {
        self.reading.take(bytes).await
    }
}

impl Pool {
    fn new(bytes: usize) -> Self {
        let all = u32::try_from(bytes / GRAIN).unwrap_or(u32::MAX).max(1);
        Self {
            grains: Arc::new(Semaphore::new(all as usize)),
            all,
        }
    }

    async fn take(&self, bytes: usize) -> OwnedSemaphorePermit {
        let grains = u32::try_from(bytes.div_ceil(GRAIN)).unwrap_or(u32::MAX);
        let taken = Arc::clone(&self.grains).acquire_many_owned(grains.min(self.all));
        match taken.await {
            Ok(memory) => memory,
            Err(_) => unreachable!("the semaphore is never closed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_document_larger_than_all_goes_alone() {
        let memory = Memory::new(20 << 10);
        let small = memory.take(1).await;
        assert!(
            memory.take(1 << 30).now_or_never().is_none(),
            "something is under way"
        );
        drop(small);
        let all = memory.take(1 << 30).await;
        assert!(memory.take(1).now_or_never().is_none());
        assert!(memory.take_to_read(1 << 30).now_or_never().is_some());
        drop(all);
        assert!(memory.take(1).now_or_never().is_some());
    }
}
