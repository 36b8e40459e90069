//! Several agents over one catalog.

use std::time::{Duration, Instant};

use backup_agent::catalog::{Begun, Ended, RunState, Seen};
use backup_agent::manifest::Manifest;
use chrono::TimeDelta;

use crate::world::{LEASE, PLACE, World, backup, is_busy, is_lost, start, wish, yours};

pub(crate) async fn of_many_that_begin_at_once_one_does(world: &World) {
    for round in 0..10 {
        let mut beginning = Vec::new();
        for agent in 0..4 {
            let catalog = world.at(world.now()).await;
            let agent = format!("host:{agent}");
            beginning.push(tokio::spawn(async move {
                catalog.begin(&wish(None), &agent).await.unwrap()
            }));
        }
        let mut leases = Vec::new();
        for begun in beginning {
            if let Begun::Yours { lease, .. } = begun.await.unwrap() {
                leases.push(lease);
            }
        }
        assert_eq!(leases.len(), 1, "round {round}");
        world
            .catalog
            .finish(&leases[0], &Ended::Done)
            .await
            .unwrap();
    }
}

pub(crate) async fn what_is_noted_outlives_the_process(world: &World) {
    let lease = world.begun(Some(world.now())).await;
    world.catalog.note(PLACE, &backup("fhir", 0)).await.unwrap();
    let other = world.at(world.now()).await;
    assert!(is_busy(&other.begin(&wish(None), "other:2").await.unwrap()));
    assert_eq!(
        other.backups("").await.unwrap(),
        world.catalog.backups("").await.unwrap()
    );
    let later = world
        .at(world.now() + TimeDelta::from_std(LEASE).unwrap())
        .await;
    yours(later.begin(&wish(None), "other:2").await.unwrap());
    assert!(is_lost(
        &world.catalog.renew(&lease, &Seen::default()).await
    ));
}

pub(crate) async fn a_lease_of_a_clock_that_was_wrong_keeps_nobody_out(world: &World) {
    let ahead = world.at(start() + TimeDelta::days(42)).await;
    yours(ahead.begin(&wish(None), "other:2").await.unwrap());
    world.begun(None).await;
    let lost = world.catalog.runs("", 2).await.unwrap().remove(1);
    assert_eq!(lost.state, RunState::Lost);
    assert!(lost.reason.contains("clock"), "{}", lost.reason);
    // Clocks that differ by a little are usual.
    let a_little = world.at(start() - TimeDelta::minutes(1)).await;
    assert!(is_busy(
        &a_little.begin(&wish(None), "other:2").await.unwrap()
    ));
    assert!(is_busy(&world.begin(&wish(None)).await));
}

pub(crate) async fn ten_thousand_backups_are_noted_in_a_minute(world: &World) {
    let found: Vec<Manifest> = (0..10_000).map(|hours| backup("fhir", hours)).collect();
    let began = Instant::now();
    world.rebuild(PLACE, &found).await;
    let took = began.elapsed();
    assert_eq!(world.names("fhir").await.len(), 10_000);
    assert!(took < Duration::from_mins(5), "{took:?}");
}
