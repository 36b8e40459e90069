//! What is due is done, once.

use std::time::Duration;

use backup_agent::Agent;
use backup_agent::catalog::{Begun, Task, Wish};
use chrono::{DateTime, Utc};
use stoker_proto::backup::v1::{Run, RunState, Task as Does};
use stoker_shared::clock::Clock as _;

use crate::world::{Client, Working, World, backups, client, runs, until};

const HOUR: Duration = Duration::from_hours(1);

/// Time in which an agent looks several times.
const A_WHILE: Duration = Duration::from_secs(5);

fn due(run: &Run) -> DateTime<Utc> {
    DateTime::from_timestamp(run.due.unwrap().seconds, 0).unwrap()
}

/// Waits until so many runs are over.
async fn until_over(client: &mut Client, count: usize) -> Vec<Run> {
    until("the end of a run", async || {
        let runs = runs(client).await;
        let is_over = |run: &Run| run.state() != RunState::Running;
        (runs.len() >= count && runs.iter().all(is_over)).then_some(runs)
    })
    .await
}

/// An agent whose schedules count from now.
async fn working(world: &World) -> (Agent, Working) {
    let agent = world.agent().await;
    let catalog = world.catalog().await;
    for task in [Task::Backup, Task::Drill] {
        catalog.last_due("fhir", task).await.unwrap();
    }
    let working = Working::start(&agent);
    (agent, working)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_is_caught_up_once() {
    let mut world = World::new().await;
    world.fhir().schedule = Some("@daily".parse().unwrap());
    world.fhir().verify = Some(false);
    let (agent, working) = working(&world).await;
    let mut client = client(&agent);
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(runs(&mut client).await, [], "nothing is due yet");
    world.clock.advance(HOUR * 24 * 10);
    let all = until_over(&mut client, 1).await;
    assert_eq!(all[0].state(), RunState::Done, "{}", all[0].reason);
    let midnight = "2026-03-11T00:00:00Z".parse::<DateTime<Utc>>().unwrap();
    assert_eq!(due(&all[0]), midnight);
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(runs(&mut client).await.len(), 1, "once");
    world.clock.advance(HOUR * 24);
    let all = until_over(&mut client, 2).await;
    assert_eq!(due(&all[0]), midnight + HOUR * 24);
    working.stop().await;
    assert_eq!(backups(&mut client).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_agents_one_does_what_is_due() {
    let mut world = World::new().await;
    world.fhir().schedule = Some("@hourly".parse().unwrap());
    world.fhir().verify = Some(false);
    let (one, first) = working(&world).await;
    let (_two, second) = working(&world).await;
    let mut client = client(&one);
    for round in 1..=3 {
        world.clock.advance(HOUR);
        let all = until_over(&mut client, round).await;
        assert_eq!(all.len(), round);
        tokio::time::sleep(A_WHILE).await;
        assert_eq!(runs(&mut client).await.len(), round, "one of them");
    }
    first.stop().await;
    second.stop().await;
    let all = runs(&mut client).await;
    assert!(all.iter().all(|run| run.state() == RunState::Done));
    assert_eq!(backups(&mut client).await.len(), 3);
    assert_eq!(world.left().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_leaps_keeps_no_backup_from_being_made() {
    let mut world = World::new().await;
    world.fhir().schedule = Some("@daily".parse().unwrap());
    world.fhir().verify = Some(false);
    let (agent, working) = working(&world).await;
    let mut client = client(&agent);
    world.clock.advance(HOUR * 24 * 42);
    until_over(&mut client, 1).await;
    working.stop().await;
    // Set right again.
    let world = World {
        clock: std::sync::Arc::new(stoker_shared::clock::ManualClock::new(crate::world::start())),
        ..world
    };
    let agent = world.agent().await;
    let working = Working::start(&agent);
    let mut client = crate::world::client(&agent);
    let all = until_over(&mut client, 2).await;
    assert_eq!(due(&all[0]), world.clock.now());
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(runs(&mut client).await.len(), 2);
    working.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_agents_keep_dying_waits_for_the_next_due() {
    let mut world = World::new().await;
    world.fhir().schedule = Some("@daily".parse().unwrap());
    world.fhir().attempts = Some(2);
    let catalog = world.catalog().await;
    let last = catalog.last_due("fhir", Task::Backup).await.unwrap();
    world.clock.advance(HOUR * 24);
    let at = "2026-03-02T00:00:00Z".parse().unwrap();
    for lost in 0..2 {
        let catalog = world.catalog().await;
        let wish = Wish {
            source: "fhir".to_owned(),
            task: Task::Backup,
            due: Some(at),
            last: Some(last),
            place: world.place(),
            backup: format!("lost_{lost}"),
        };
        let begun = catalog.begin(&wish, "elsewhere:1").await.unwrap();
        assert!(matches!(begun, Begun::Yours { .. }), "{begun:?}");
        // Nobody hears of it any more.
        world.clock.advance(HOUR / 60);
    }
    let agent = world.agent().await;
    let working = Working::start(&agent);
    let mut client = client(&agent);
    let all = until_over(&mut client, 3).await;
    assert_eq!(all[0].state(), RunState::Failed);
    assert!(
        all[0].reason.starts_with("2 agents that had it"),
        "{}",
        all[0].reason
    );
    assert_eq!(due(&all[0]), at);
    world.clock.advance(HOUR * 24);
    let all = until_over(&mut client, 4).await;
    assert_eq!(all[0].state(), RunState::Done, "{}", all[0].reason);
    working.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drills_have_a_schedule_of_their_own() {
    let mut world = World::new().await;
    world.fhir().drill_schedule = Some("@weekly".parse().unwrap());
    let (agent, working) = working(&world).await;
    let mut client = client(&agent);
    world.clock.advance(HOUR * 24 * 7);
    let all = until_over(&mut client, 1).await;
    assert_eq!(
        (all[0].task(), all[0].state()),
        (Does::Drill, RunState::Failed)
    );
    assert!(
        all[0].reason.contains("there is no backup"),
        "{}",
        all[0].reason
    );
    crate::world::back_up(&mut client).await;
    world.clock.advance(HOUR * 24 * 7);
    let all = until_over(&mut client, 3).await;
    assert_eq!(
        (all[0].task(), all[0].state()),
        (Does::Drill, RunState::Done),
        "{}",
        all[0].reason
    );
    working.stop().await;
    assert!(backups(&mut client).await.remove(0).proof.unwrap().good);
}
