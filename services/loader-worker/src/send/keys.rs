//! What requests under way write: no two of them write the same resource at the same time, whatever units they
//! are of. Servers answer such writes with conflicts and deadlocks.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::read::KeySet;

/// Keys of what is being written; shared by cloning.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keys(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    taken: Mutex<KeySet>,
    freed: Notify,
}

/// The keys of one request; free for others when dropped.
#[derive(Debug)]
pub(crate) struct Writes {
    keys: Vec<u64>,
    shared: Arc<Shared>,
}

impl Keys {
    /// Waits until nobody writes any of these, then takes all of them at once: who waits holds none,
    /// so that no two can wait for each other.
    pub(crate) async fn take(&self, keys: Vec<u64>) -> Writes {
        loop {
            let freed = self.0.freed.notified();
            tokio::pin!(freed);
            // What is freed from here on wakes us.
            freed.as_mut().enable();
            if self.0.take(&keys) {
                let shared = Arc::clone(&self.0);
                return Writes { keys, shared };
            }
            freed.await;
        }
    }
}

impl Writes {
    /// What nobody else writes meanwhile.
    pub(crate) fn keys(&self) -> &[u64] {
        &self.keys
    }
}

impl Shared {
    fn take(&self, keys: &[u64]) -> bool {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let free = keys.iter().all(|key| !taken.contains(key));
        if free {
            taken.extend(keys);
        }
        free
    }
}

impl Drop for Writes {
    fn drop(&mut self) {
        if self.keys.is_empty() {
            return;
        }
        {
            let shared = &self.shared.taken;
            let mut taken = shared.lock().unwrap_or_else(PoisonError::into_inner);
            for key in &self.keys {
                taken.remove(key);
            }
        }
        self.shared.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn what_is_being_written_is_waited_for() {
        let keys = Keys::default();
        let first = keys.take(vec![1, 2]).await;
        assert!(keys.take(vec![3]).now_or_never().is_some());
        let waiting = tokio::spawn({
            let keys = keys.clone();
            async move { keys.take(vec![2, 4]).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        let other = keys.take(vec![4]).now_or_never();
        assert!(other.is_some(), "who waits holds nothing");
        drop(first);
        drop(other);
        let second = waiting.await.unwrap();
        assert!(keys.take(vec![4]).now_or_never().is_none());
        drop(second);
        assert!(keys.take(vec![1, 2, 3, 4]).now_or_never().is_some());
    }
}
