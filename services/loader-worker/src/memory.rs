//! The memory that all units of a worker share for what is on its way to servers.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes to one permit.
const GRAIN: usize = 1 << 10;

/// Shared by cloning.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    grains: Arc<Semaphore>,
    all: u32,
}

impl Memory {
    pub(crate) fn new(bytes: usize) -> Self {
        let all = u32::try_from(bytes / GRAIN).unwrap_or(u32::MAX).max(1);
        Self {
            grains: Arc::new(Semaphore::new(all as usize)),
            all,
        }
    }

    /// Waits for so many bytes; for all there are, when there are not so many.
    pub(crate) async fn take(&self, bytes: usize) -> OwnedSemaphorePermit {
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
        let memory = Memory::new(10 << 10);
        let small = memory.take(1).await;
        assert!(
            memory.take(1 << 30).now_or_never().is_none(),
            "something is under way"
        );
        drop(small);
        let all = memory.take(1 << 30).await;
        assert!(memory.take(1).now_or_never().is_none());
        drop(all);
        assert!(memory.take(1).now_or_never().is_some());
    }
}
