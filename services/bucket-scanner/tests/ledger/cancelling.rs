//! What a cancelled job leaves behind.

use sqlx::Executor as _;

use crate::world::{Database, World, object, start};

/// Whoever leases a unit waits half-way for who holds the advisory lock.
const LEASES_WAIT: &str = "CREATE FUNCTION wait_for_the_test() RETURNS trigger LANGUAGE plpgsql AS \
       $$ BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END $$; \
     CREATE TRIGGER waits BEFORE UPDATE ON fhirbucket.load_units \
       FOR EACH STATEMENT EXECUTE FUNCTION wait_for_the_test()";
const WAITING: &str = "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = \
     (SELECT oid FROM pg_database WHERE datname = current_database())";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_leased_while_a_job_is_cancelled_is_not_at_work_after() {
    let database = Database::create().await;
    let world = World::on(&database).await;
    let job = world.job_over(&[object("/data/a.ndjson", 100)]).await;
    let worker = world.worker().await;
    let mut conn = database.connect().await;
    conn.execute(LEASES_WAIT).await.unwrap();
    conn.execute("SELECT pg_advisory_lock(1)").await.unwrap();
    let waiting = async |conn: &mut sqlx::PgConnection, processes: i64| {
        loop {
            let found: i64 = sqlx::query_scalar(WAITING)
                .fetch_one(&mut *conn)
                .await
                .unwrap();
            if found >= processes {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let letting_go = async {
        waiting(&mut conn, 2).await;
        conn.execute("SELECT pg_advisory_unlock(1)").await.unwrap();
    };
    let leasing = world.lease(worker, 1);
    let cancelling = async {
        let mut conn = database.connect().await;
        waiting(&mut conn, 1).await;
        world.ledger.cancel_job(job).await.unwrap();
    };
    let (units, (), ()) = tokio::join!(leasing, cancelling, letting_go);
    assert_eq!(units.len(), 1);
    assert!(world.finish(&units[0]).await.is_err(), "it was rescinded");
    let left = sqlx::query_scalar("SELECT state FROM fhirbucket.load_units");
    let left: String = left.fetch_one(&mut conn).await.unwrap();
    assert_eq!(left, "cancelled");
}

#[tokio::test]
async fn what_nobody_has_begun_is_not_written_to() {
    let database = Database::create().await;
    let world = World::on(&database).await;
    let objects: Vec<_> = (0..500)
        .map(|n| object(&format!("/data/{n}.ndjson"), 100))
        .collect();
    let job = world.job_over(&objects).await;
    let worker = world.worker().await;
    assert_eq!(world.lease(worker, 3).await.len(), 3);
    world.ledger.cancel_job(job).await.unwrap();
    let written = "SELECT COUNT(*) FROM fhirbucket.load_units WHERE state = 'cancelled'";
    let mut conn = database.connect().await;
    let written: i64 = sqlx::query_scalar(written)
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!(written, 3, "what was at work");
    world.start(&start()).await;
    world.scan(&objects).await;
    assert_eq!(world.lease(worker, 500).await.len(), 500);
}
