//! Two sources that are written to one place.

use bucket_scanner::ledger::{LedgerError, StartJob};
use stoker_proto::common::v1::Source;
use stoker_proto::ledger::v1::JobState;

use crate::world::{World, object, start};

fn load(source: &str, place: &str) -> StartJob {
    let mut load = start();
    load.source = Source {
        uri: source.to_owned(),
        reach: String::new(),
    };
    place.clone_into(&mut load.target.base_url);
    load
}

async fn refusal(world: &World, load: &StartJob) -> String {
    match world.ledger.start_job(load).await {
        Err(LedgerError::NotNow(why)) => why,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn one_source_at_most_is_written_to_a_place(world: World) {
    let first = load("s3://a/x", "s3://out/p");
    let job = world.start(&first).await;
    let why = refusal(&world, &load("s3://b", "s3://out/p")).await;
    for named in ["s3://a/x", "s3://b", "s3://out/p"] {
        assert!(why.contains(named), "{named}: {why}");
    }
    world.scan(&[object("x/1.ndjson", 100)]).await;
    world.ledger.cancel_job(job).await.unwrap();
    // What is there stays in danger when its job is over.
    let kept = load("s3://b", "s3://out/p");
    let interval = std::time::Duration::ZERO;
    let again = world.ledger.keep_loaded(&kept, interval).await;
    assert!(matches!(again, Err(LedgerError::NotNow(_))), "{again:?}");
    assert_eq!(world.start(&first).await, job, "it goes on itself");
    for other in [
        load("s3://a/y", "s3://out/p"),
        load("s3://b", "s3://out/p/b"),
        load("s3://b", "http://fhir"),
    ] {
        world.start(&other).await;
    }
}

pub(crate) async fn a_source_that_nothing_was_read_from_is_in_nobodys_way(world: World) {
    let wrong = world.start(&load("s3://typo", "s3://out")).await;
    let scan = world.begin_scan().await;
    let failed = world
        .ledger
        .finish_scan(&scan, Some("there is no such bucket"));
    failed.await.unwrap();
    assert_eq!(world.state(wrong).await, JobState::Failed);
    world.start(&load("s3://b", "s3://out")).await;
    refusal(&world, &load("s3://typo", "s3://out")).await;
}
