use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::{StoreError, StoreFault};
use crate::retry::Backoff;

/// A transaction that the database undid for another's sake is repeated so often.
const REPEATS: u32 = 5;
/// Before the first of these; each further one comes later, so that the two do not meet again.
const PAUSE: Duration = Duration::from_millis(10);

/// Repeats of one transaction.
#[derive(Debug)]
pub struct Conflicts {
    left: u32,
    pauses: Backoff,
}

impl Default for Conflicts {
    fn default() -> Self {
        Self {
            left: REPEATS,
            pauses: Backoff::new(PAUSE, PAUSE * 32),
        }
    }
}

impl Conflicts {
    /// Whether a transaction that failed so is to be run once more: after a pause, which has passed.
    pub async fn repeat(&mut self, error: &impl StoreFault) -> bool {
        if self.left == 0 || !error.store().is_some_and(StoreError::is_conflict) {
            return false;
        }
        self.left -= 1;
        let pause = self.pauses.pause(None, &mut StdRng::from_os_rng());
        tokio::time::sleep(pause).await;
        true
    }
}

/// Whether a connection is of no use any more after this.
pub fn breaks_connection<T>(done: &Result<T, impl StoreFault>) -> bool {
    let error = done.as_ref().err().and_then(StoreFault::store);
    error.is_some_and(StoreError::breaks_connection)
}

/// Runs a step, `async fn(&mut Conn, NaiveDateTime, …) -> Result<_, E>`, in a transaction of its own that begins
/// with a statement; again where it had to give way to another. E, the statement, the
/// [`Store`](crate::store::Store), the step, and what it takes besides connection and time.
///
/// Died before the commit: nothing of it happened. After: all of it did.
#[macro_export]
macro_rules! in_transaction {
    ($error:ty, $begin:expr; $store:expr, $step:path $(, $argument:expr)*) => {{
        let mut conflicts = $crate::store::Conflicts::default();
        loop {
            let attempt = async {
                let mut conn = $store.write.acquire().await?;
                let done = async {
                    let mut tx = ::sqlx::Connection::begin_with(&mut *conn, $begin).await?;
                    let value = $step(&mut tx, $store.now() $(, $argument)*).await?;
                    tx.commit().await?;
                    Ok::<_, $error>(value)
                };
                let done = done.await;
                if $crate::store::breaks_connection(&done) {
                    conn.close_on_drop();
                }
                done
            };
            match attempt.await {
                Err(e) if conflicts.repeat(&e).await => {}
                done => break done.map_err(|e| $store.place.explain(e)),
            }
        }
    }};
}

/// Runs a step that only reads, `async fn(&mut Conn, …) -> Result<_, E>`.
#[macro_export]
macro_rules! with_connection {
    ($store:expr, $step:path $(, $argument:expr)*) => {{
        let attempt = async {
            let mut conn = $store.read.acquire().await?;
            $step(&mut conn $(, $argument)*).await
        };
        attempt.await.map_err(|e| $store.place.explain(e))
    }};
}
