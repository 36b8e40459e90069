//! What was due last.

use std::time::Duration;

use backup_agent::catalog::{Begun, Ended, Task, Wish};
use chrono::{DateTime, TimeDelta, Utc};

use crate::world::{LEASE, World, wish, yours};

const HOUR: Duration = Duration::from_hours(1);

async fn last_due(world: &World) -> DateTime<Utc> {
    world.catalog.last_due("fhir", Task::Backup).await.unwrap()
}

pub(crate) async fn a_new_schedule_counts_from_now(world: &World) {
    let first = world.now();
    assert_eq!(last_due(world).await, first);
    world.clock.advance(HOUR);
    assert_eq!(last_due(world).await, first);
    let drill = world.catalog.last_due("fhir", Task::Drill).await.unwrap();
    assert_eq!(drill, world.now());
}

pub(crate) async fn what_is_over_is_not_due_again(world: &World) {
    let first = last_due(world).await;
    for ended in [Ended::Done, Ended::Failed("no".to_owned())] {
        world.clock.advance(HOUR);
        let due = world.now() - TimeDelta::minutes(5);
        let before = last_due(world).await;
        let lease = world.begun(Some(due)).await;
        assert_eq!(last_due(world).await, before, "while it is under way");
        world.catalog.finish(&lease, &ended).await.unwrap();
        assert_eq!(last_due(world).await, due);
    }
    assert!(last_due(world).await > first);
}

pub(crate) async fn what_was_lost_is_still_due(world: &World) {
    let first = last_due(world).await;
    world.clock.advance(HOUR);
    let due = world.now();
    let lost = world.begun(Some(due)).await;
    world.clock.advance(LEASE);
    let again = world.begun(Some(due)).await;
    let refused = world.catalog.finish(&lost, &Ended::Done).await;
    assert!(crate::world::is_lost(&refused));
    assert_eq!(last_due(world).await, first);
    world.catalog.finish(&again, &Ended::Done).await.unwrap();
    assert_eq!(last_due(world).await, due);
}

pub(crate) async fn what_a_person_does_moves_no_schedule(world: &World) {
    let first = last_due(world).await;
    world.clock.advance(HOUR);
    let lease = world.begun(None).await;
    world.catalog.finish(&lease, &Ended::Done).await.unwrap();
    assert_eq!(last_due(world).await, first);
}

pub(crate) async fn a_clock_that_was_set_back_moves_it_back(world: &World) {
    for days in [42, 0] {
        let due = world.now() + TimeDelta::days(days);
        let lease = world.begun(Some(due)).await;
        world.catalog.finish(&lease, &Ended::Done).await.unwrap();
        assert_eq!(last_due(world).await, due);
    }
}

pub(crate) async fn what_another_has_done_meanwhile_is_not_begun(world: &World) {
    let last = last_due(world).await;
    world.clock.advance(HOUR);
    let due = Wish {
        last: Some(last),
        ..wish(Some(world.now()))
    };
    // It has looked, and is slow to begin.
    let (lease, _) = yours(world.begin(&due).await);
    world.catalog.finish(&lease, &Ended::Done).await.unwrap();
    assert_eq!(world.begin(&due).await, Begun::Over);
}
