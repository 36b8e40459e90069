//! Runs, and who has them.

use std::process::Command;

use backup_agent::catalog::{Begun, Ended, RunState, Seen, Task, Wish};
use stoker_shared::process;

use crate::world::{LEASE, PLACE, World, is_busy, is_lost, wish, yours};

pub(crate) async fn one_run_of_a_kind_is_under_way(world: &World) {
    let (lease, lost_before) = yours(world.begin(&wish(None)).await);
    assert_eq!(lost_before, 0);
    let Begun::Busy(run) = world.begin(&wish(Some(world.now()))).await else {
        panic!("two at once");
    };
    assert_eq!((run.run_id, run.agent.as_str()), (lease.run_id, "host:1"));
    let drill = Wish {
        task: Task::Drill,
        ..wish(None)
    };
    let audit = Wish {
        source: "audit".to_owned(),
        backup: "another".to_owned(),
        ..wish(None)
    };
    for other in [drill, audit] {
        yours(world.begin(&other).await);
        assert!(is_busy(&world.begin(&other).await));
    }
    world.catalog.finish(&lease, &Ended::Done).await.unwrap();
    let (next, _) = yours(world.begin(&wish(None)).await);
    assert!(next.run_id > lease.run_id);
}

pub(crate) async fn a_run_is_shown_as_it_goes(world: &World) {
    let due = world.now();
    let lease = world.begun(Some(due)).await;
    let seen = Seen {
        phase: "base backup".to_owned(),
        bytes: 7,
        total_bytes: Some(100),
    };
    world.catalog.renew(&lease, &seen).await.unwrap();
    let run = world.catalog.runs("fhir", 1).await.unwrap().remove(0);
    assert_eq!(run.state, RunState::Running);
    assert_eq!(
        (run.phase.as_str(), run.bytes, run.total_bytes),
        ("base backup", 7, Some(100))
    );
    assert_eq!(
        (run.due, run.started, run.ended),
        (Some(due), world.now(), None)
    );
    assert_eq!(
        (run.place.as_str(), run.backup.as_str()),
        (PLACE, "postgresql_1700000000")
    );
    world.clock.advance(LEASE / 2);
    world.catalog.finish(&lease, &Ended::Done).await.unwrap();
    let run = world.catalog.runs("", 10).await.unwrap().remove(0);
    assert_eq!((run.state, run.ended), (RunState::Done, Some(world.now())));
    assert_eq!(world.catalog.runs("audit", 10).await.unwrap(), []);
}

pub(crate) async fn a_silent_agent_loses_its_run_and_changes_nothing_more(world: &World) {
    let silent = world.begun(None).await;
    world.clock.advance(LEASE / 2);
    world
        .catalog
        .renew(&silent, &Seen::default())
        .await
        .unwrap();
    world.clock.advance(LEASE / 2);
    assert!(is_busy(&world.begin(&wish(None)).await));
    world.clock.advance(LEASE / 2);
    let next = world.begun(None).await;
    assert!(is_lost(
        &world.catalog.renew(&silent, &Seen::default()).await
    ));
    assert!(is_lost(&world.catalog.finish(&silent, &Ended::Done).await));
    let runs = world.catalog.runs("fhir", 10).await.unwrap();
    assert_eq!(
        (runs[0].run_id, runs[0].state),
        (next.run_id, RunState::Running)
    );
    assert_eq!(
        (runs[1].run_id, runs[1].state),
        (silent.run_id, RunState::Lost)
    );
    assert!(runs[1].reason.contains("host:1, gave no sign in time"));
    assert_eq!(runs[1].ended, Some(world.now()));
}

pub(crate) async fn an_expired_lease_holds_until_another_begins(world: &World) {
    let lease = world.begun(None).await;
    world.clock.advance(LEASE * 3);
    world.catalog.renew(&lease, &Seen::default()).await.unwrap();
    assert!(is_busy(&world.begin(&wish(None)).await));
    world.clock.advance(LEASE * 3);
    world.catalog.finish(&lease, &Ended::Done).await.unwrap();
    assert!(is_lost(&world.catalog.finish(&lease, &Ended::Done).await));
}

pub(crate) async fn an_agent_that_has_ended_is_not_waited_for(world: &World) {
    let own = process::own();
    let parts: Vec<&str> = own.split(' ').collect();
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    // No process that is there was started with the boot's first tick.
    let ended = format!("host:{} {} 1", child.id(), parts[1]);
    yours(world.catalog.begin(&wish(None), &ended).await.unwrap());
    yours(world.catalog.begin(&wish(None), &own).await.unwrap());
    assert!(
        is_busy(&world.begin(&wish(None)).await),
        "this one is there"
    );
    let runs = world.catalog.runs("fhir", 2).await.unwrap();
    assert!(runs[1].reason.contains("has ended"), "{}", runs[1].reason);
}

pub(crate) async fn lost_runs_of_the_same_time_are_counted(world: &World) {
    let due = world.now();
    for lost in 0..3 {
        let (_, lost_before) = yours(world.begin(&wish(Some(due))).await);
        assert_eq!(lost_before, lost);
        world.clock.advance(LEASE);
    }
    let (_, lost_before) = yours(world.begin(&wish(Some(world.now()))).await);
    assert_eq!(lost_before, 0);
    world.clock.advance(LEASE);
    let (_, lost_before) = yours(world.begin(&wish(None)).await);
    assert_eq!(lost_before, 0);
}

pub(crate) async fn a_failure_says_why_and_is_over(world: &World) {
    let lease = world.begun(None).await;
    let failed = Ended::Failed("no room\0left".to_owned());
    world.catalog.finish(&lease, &failed).await.unwrap();
    let run = world.catalog.runs("fhir", 1).await.unwrap().remove(0);
    assert_eq!(run.state, RunState::Failed);
    assert_eq!(run.reason, "no room\u{fffd}left");
    world.begun(None).await;
}

pub(crate) async fn what_runs_write_or_read_is_told(world: &World) {
    let lease = world.begun(None).await;
    let drill = Wish {
        task: Task::Drill,
        backup: "a".to_owned(),
        ..wish(None)
    };
    let prune = Wish {
        task: Task::Prune,
        backup: String::new(),
        ..wish(None)
    };
    for wish in [drill, prune] {
        yours(world.begin(&wish).await);
    }
    let under_way = world.catalog.under_way(PLACE).await.unwrap();
    assert_eq!(under_way, ["a", "postgresql_1700000000"]);
    assert_eq!(
        world.catalog.under_way("/other").await.unwrap(),
        Vec::<String>::new()
    );
    world.catalog.finish(&lease, &Ended::Done).await.unwrap();
    assert_eq!(world.catalog.under_way(PLACE).await.unwrap(), ["a"]);
}

pub(crate) async fn two_runs_write_no_backup_of_one_name(world: &World) {
    let first = world.begun(None).await;
    let audit = Wish {
        source: "audit".to_owned(),
        ..wish(None)
    };
    assert_eq!(world.begin(&audit).await, Begun::NameTaken);
    let elsewhere = Wish {
        place: "/elsewhere".to_owned(),
        ..audit.clone()
    };
    let (lease, _) = yours(world.begin(&elsewhere).await);
    world.catalog.finish(&lease, &Ended::Done).await.unwrap();
    world.catalog.finish(&first, &Ended::Done).await.unwrap();
    yours(world.begin(&audit).await);
}

pub(crate) async fn what_was_found_bad_is_told_apart(world: &World) {
    let lease = world.begun(None).await;
    let bad = Ended::FoundBad("a bit".to_owned());
    world.catalog.finish(&lease, &bad).await.unwrap();
    let run = world.catalog.run(lease.run_id).await.unwrap().unwrap();
    assert_eq!((run.state, run.found_bad), (RunState::Failed, true));
    assert_eq!(run.reason, "a bit");
    assert_eq!(world.catalog.run(lease.run_id + 1).await.unwrap(), None);
}

pub(crate) async fn runs_of_agents_that_are_silent_for_long_are_swept(world: &World) {
    let lease = world.begun(None).await;
    world.clock.advance(LEASE);
    assert_eq!(world.catalog.sweep().await.unwrap(), [], "it may come back");
    world.catalog.renew(&lease, &Seen::default()).await.unwrap();
    world.clock.advance(LEASE * 2);
    let swept = world.catalog.sweep().await.unwrap();
    assert_eq!((swept.len(), swept[0].run_id), (1, lease.run_id));
    assert_eq!(swept[0].state, RunState::Lost);
    assert!(is_lost(
        &world.catalog.renew(&lease, &Seen::default()).await
    ));
    assert_eq!(world.catalog.sweep().await.unwrap(), []);
}
