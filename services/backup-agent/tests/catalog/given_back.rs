//! Runs whose agent was stopped, which wait for another.

use std::sync::Arc;
use std::time::Duration;

use backup_agent::catalog::{Begun, Ended, Lease, Run, RunState, Seen, Task, Wish};
use chrono::{DateTime, Utc};
use futures::future::join_all;

use crate::world::{LEASE, PLACE, World, is_busy, is_lost, wish, yours};

const HOUR: Duration = Duration::from_hours(1);

fn back(is_committed: bool) -> Ended {
    Ended::GivenBack {
        why: "stopped".to_owned(),
        is_committed,
    }
}

/// A scheduled backup that is given back, and what was due last.
async fn given_back(world: &World, is_committed: bool) -> (Lease, Wish, DateTime<Utc>) {
    let last = last_due(world).await;
    world.clock.advance(HOUR);
    let due = Wish {
        last: Some(last),
        ..wish(Some(world.now()))
    };
    let (lease, _) = yours(world.begin(&due).await);
    let seen = Seen {
        phase: "base backup".to_owned(),
        bytes: 7,
        total_bytes: Some(100),
    };
    world.catalog.renew(&lease, &seen).await.unwrap();
    let returned = back(is_committed);
    world.catalog.finish(&lease, &returned).await.unwrap();
    (lease, due, last)
}

async fn last_due(world: &World) -> DateTime<Utc> {
    world.catalog.last_due("fhir", Task::Backup).await.unwrap()
}

/// Begins by another agent: the lease, the run, and whether its backup is there.
async fn by_another(world: &World, wish: &Wish) -> (Lease, Run, bool) {
    match world.catalog.begin(wish, "host:2").await.unwrap() {
        Begun::Yours {
            lease,
            run,
            is_committed,
            lost_before,
        } => {
            assert_eq!(lost_before, 0, "nobody died");
            (lease, *run, is_committed)
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn what_is_given_back_waits_and_is_gone_on_with(world: &World) {
    let (lease, due, last) = given_back(world, false).await;
    assert_eq!(last_due(world).await, last);
    let waiting = world.catalog.run(lease.run_id).await.unwrap().unwrap();
    assert!(waiting.is_waiting());
    assert_eq!((waiting.state, &*waiting.agent), (RunState::Running, ""));
    assert_eq!((&*waiting.reason, &*waiting.backup), ("stopped", ""));
    assert_eq!(
        (&*waiting.phase, waiting.bytes, waiting.ended),
        ("", 0, None)
    );
    assert!(is_lost(&world.catalog.finish(&lease, &Ended::Done).await));
    assert!(is_lost(
        &world.catalog.renew(&lease, &Seen::default()).await
    ));
    // It waits for long, is nobody's loss, and keeps no name from others.
    world.clock.advance(LEASE * 9);
    assert_eq!(world.catalog.sweep().await.unwrap(), []);
    let under_way = world.catalog.under_way(PLACE).await.unwrap();
    assert_eq!(under_way, [""; 0]);

    let due = Wish {
        backup: "postgresql_1700009999".to_owned(),
        ..due
    };
    let (next, run, is_committed) = by_another(world, &due).await;
    assert_eq!((run.run_id, is_committed), (lease.run_id, false));
    assert_eq!((&*run.agent, &*run.backup), ("host:2", &*due.backup));
    assert_eq!((run.due, run.started), (waiting.due, waiting.started));
    assert_eq!(run.reason, "");
    assert!(is_busy(&world.begin(&due).await));
    world.catalog.finish(&next, &Ended::Done).await.unwrap();
    assert_eq!(Some(last_due(world).await), due.due);
    assert_eq!(world.catalog.runs("fhir", 9).await.unwrap().len(), 1);
    assert_eq!(world.begin(&due).await, Begun::Over);
}

pub(crate) async fn what_comes_due_meanwhile_is_done_in_its_place(world: &World) {
    let (lease, due, _) = given_back(world, false).await;
    world.clock.advance(HOUR);
    let later = Wish {
        due: Some(world.now()),
        ..due
    };
    let (next, run, _) = by_another(world, &later).await;
    assert_eq!((run.run_id, run.due), (lease.run_id, later.due));
    world.catalog.finish(&next, &Ended::Done).await.unwrap();
    assert_eq!(Some(last_due(world).await), later.due);
}

pub(crate) async fn a_backup_that_is_there_is_not_begun_again(world: &World) {
    let (lease, due, _) = given_back(world, true).await;
    let name = due.backup.clone();
    let under_way = world.catalog.under_way(PLACE).await.unwrap();
    assert_eq!(under_way, [name.as_str()], "nobody deletes it");
    world.clock.advance(HOUR);
    let later = Wish {
        due: Some(world.now()),
        backup: "postgresql_1700009999".to_owned(),
        ..due.clone()
    };
    let (next, run, is_committed) = by_another(world, &later).await;
    assert_eq!((run.run_id, is_committed), (lease.run_id, true));
    assert_eq!((run.due, run.backup), (due.due, name.clone()));
    // Given back again, it is there still.
    world.catalog.finish(&next, &back(true)).await.unwrap();
    let (next, run, is_committed) = by_another(world, &later).await;
    assert_eq!((run.backup, is_committed), (name, true));
    world.catalog.finish(&next, &Ended::Done).await.unwrap();
    // What came due later was not done with it.
    assert_eq!(Some(last_due(world).await), due.due);
    let later = Wish {
        last: due.due,
        ..later
    };
    let (_, run, is_committed) = by_another(world, &later).await;
    assert!(run.run_id > lease.run_id && !is_committed);
}

pub(crate) async fn a_person_begins_anew(world: &World) {
    for is_committed in [false, true] {
        let (lease, due, last) = given_back(world, is_committed).await;
        let wish = Wish {
            backup: "postgresql_1700009999".to_owned(),
            ..wish(None)
        };
        let (next, run, goes_on) = by_another(world, &wish).await;
        assert!(run.run_id > lease.run_id && !goes_on);
        let before = world.catalog.run(lease.run_id).await.unwrap().unwrap();
        assert_eq!(
            (before.state, before.ended),
            (RunState::Failed, Some(world.now()))
        );
        let name = format!("stoker backup verify {}", due.backup);
        assert_eq!(before.reason.contains(&name), is_committed);
        world.catalog.finish(&next, &Ended::Done).await.unwrap();
        let over = if is_committed { due.due } else { Some(last) };
        assert_eq!(Some(last_due(world).await), over);
    }
}

pub(crate) async fn one_that_lies_elsewhere_is_not_looked_for_here(world: &World) {
    let (lease, due, _) = given_back(world, true).await;
    let elsewhere = Wish {
        place: "/elsewhere".to_owned(),
        ..due.clone()
    };
    let (_, run, is_committed) = by_another(world, &elsewhere).await;
    assert!(run.run_id > lease.run_id && !is_committed);
    let before = world.catalog.run(lease.run_id).await.unwrap().unwrap();
    assert_eq!(before.state, RunState::Failed);
}

pub(crate) async fn of_many_that_would_go_on_one_does(world: &World) {
    let (lease, due, _) = given_back(world, true).await;
    let begin = |n: usize| {
        let (catalog, due) = (Arc::clone(&world.catalog), due.clone());
        async move { catalog.begin(&due, &format!("host:{n}")).await.unwrap() }
    };
    let answers = join_all((0..8).map(begin)).await;
    let busy = answers.iter().filter(|answer| is_busy(answer)).count();
    assert_eq!(busy, 7, "{answers:?}");
    let runs = world.catalog.runs("fhir", 9).await.unwrap();
    assert_eq!((runs.len(), runs[0].run_id), (1, lease.run_id));
    assert!(!runs[0].is_waiting());
}
