//! A unit whose worker is gone waits for no other to be done: a worker that is busy takes it up beside its own.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use stoker_tests::parts;
use tokio::time::{Instant, sleep};

use crate::system::System;

/// Until another has taken it up, at most; what each works at takes longer than twice of that.
const LIMIT: Duration = Duration::from_secs(30);

/// Units of each of two workers, by their processes.
async fn held(ledger: &mut PgConnection, pids: [u32; 2]) -> [i64; 2] {
    let mut counts = [0; 2];
    for (count, pid) in counts.iter_mut().zip(pids) {
        *count = sqlx::query_scalar(
            "SELECT COUNT(*) FROM fhirbucket.load_units \
             JOIN fhirbucket.loader_instances USING (loader_instance_id) \
             WHERE pid = $1 AND state = 'leased'",
        )
        .bind(i64::from(pid))
        .fetch_one(&mut *ledger)
        .await
        .unwrap();
    }
    counts
}

async fn until_held(ledger: &mut PgConnection, pids: [u32; 2], expected: [i64; 2]) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let held = held(ledger, pids).await;
        if held == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{held:?}, not {expected:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_worker_takes_up_what_one_that_is_gone_left() {
    let _turn = parts::turn().await;
    let system = System::start(Duration::from_millis(500)).await;
    for name in ["a", "b"] {
        system.put(name, 0, 4000).await;
    }
    let scanner = system.scanner(&["lease=2s"]);
    let one_at_a_time = ["load.units=1"];
    let busy = system.worker(&[&scanner], &one_at_a_time);
    let mut gone = system.worker(&[&scanner], &one_at_a_time);
    system.begin(&scanner).await;
    let mut ledger = PgConnection::connect(&system.ledger).await.unwrap();
    let pids = [busy.pid(), gone.pid()];
    until_held(&mut ledger, pids, [1, 1]).await;
    gone.kill().unwrap();
    until_held(&mut ledger, pids, [2, 0]).await;
}
