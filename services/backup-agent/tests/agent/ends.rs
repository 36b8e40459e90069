//! Runs that end before their end.

use std::time::Duration;

use backup_agent::catalog::{Begun, Ended, Task, Wish};
use stoker_proto::backup::v1::{CancelRunRequest, PruneRequest, RunState};
use stoker_shared::clock::Clock as _;
use tonic::Code;

use crate::world::{
    Working, World, back_up, backups, client, over, runs, start_backup, until, until_receiving,
};

const LEASE: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cancelled_leaves_nothing() {
    let mut world = World::new().await;
    world.slow();
    let agent = world.agent().await;
    let mut client = client(&agent);
    start_backup(&mut client).await;
    let run_id = until_receiving(&mut client).await.run_id;
    let busy = client
        .start_backup(stoker_proto::backup::v1::StartBackupRequest::default())
        .await;
    assert_eq!(busy.unwrap_err().code(), Code::FailedPrecondition);
    // What it writes is not there yet: nothing may be decided over the others.
    let prune = PruneRequest {
        source: "fhir".to_owned(),
        apply: true,
    };
    let pruned = client
        .prune(prune)
        .await
        .unwrap()
        .into_inner()
        .prunings
        .remove(0);
    assert!(
        pruned.refused.contains(&format!("run {run_id} writes")),
        "{}",
        pruned.refused
    );
    let run = client
        .cancel_run(CancelRunRequest { run_id })
        .await
        .unwrap();
    let run = run.into_inner().run.unwrap();
    assert_eq!(
        (run.state(), run.reason.as_str()),
        (RunState::Failed, "it was cancelled")
    );
    assert_eq!(world.left(), [""; 0]);
    until("the end of the server's slots", async || {
        (world.server.slots().await == 0).then_some(())
    })
    .await;
    let again = client.cancel_run(CancelRunRequest { run_id }).await;
    assert_eq!(again.unwrap_err().code(), Code::FailedPrecondition);
    let none = client.cancel_run(CancelRunRequest { run_id: 77 }).await;
    assert_eq!(none.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_taken_for_lost_commits_nothing() {
    let mut world = World::new().await;
    world.slow();
    let agent = world.agent().await;
    let mut first = client(&agent);
    let run = start_backup(&mut first).await;
    until_receiving(&mut first).await;
    // Another agent, by whose clock the first gave no sign for long, has the run; it does its work.
    let later = world.catalog_at(world.clock.now() + LEASE * 3).await;
    let wish = Wish {
        source: "fhir".to_owned(),
        task: Task::Backup,
        due: None,
        last: None,
        place: world.place(),
        backup: "postgresql_1".to_owned(),
    };
    let lease = until("the other's run", async || {
        match later.begin(&wish, "other:1").await.unwrap() {
            Begun::Yours { lease, .. } => Some(lease),
            _ => None,
        }
    })
    .await;
    until("the end of what was written", async || {
        world.left().is_empty().then_some(())
    })
    .await;
    assert_eq!(over(&mut first, run.run_id).await.state(), RunState::Lost);
    later.finish(&lease, &Ended::Done).await.unwrap();
    agent.drain().await;
    assert_eq!(world.left(), [""; 0]);
    assert_eq!(backups(&mut first).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_stops_gives_its_run_back() {
    let mut world = World::new().await;
    world.fhir().schedule = Some("@daily".parse().unwrap());
    world.slow();
    let agent = world.agent().await;
    let mut first = client(&agent);
    let working = Working::start(&agent);
    let catalog = world.catalog().await;
    catalog.last_due("fhir", Task::Backup).await.unwrap();
    world.clock.advance(Duration::from_hours(24));
    let due = until_receiving(&mut first).await.due;
    working.stop().await;
    let waiting = runs(&mut first).await.remove(0);
    assert_eq!((waiting.state(), &*waiting.agent), (RunState::Running, ""));
    assert!(
        waiting.reason.contains("done by the next one"),
        "{}",
        waiting.reason
    );
    let run_id = waiting.run_id;
    let refused = first.cancel_run(CancelRunRequest { run_id }).await;
    let refused = refused.unwrap_err();
    assert!(
        refused.message().contains("waits for an agent"),
        "{refused}"
    );
    assert_eq!(world.left(), [""; 0]);
    // Time stands still: the next one begins at once, without waiting for a lease.
    world.fhir().max_rate_kb = None;
    let next = world.agent().await;
    let working = Working::start(&next);
    let mut second = client(&next);
    let run = until("the run that was given back", async || {
        let all = runs(&mut second).await;
        all.into_iter().find(|run| run.state() == RunState::Done)
    })
    .await;
    assert_eq!((run.run_id, run.due), (run_id, due));
    working.stop().await;
    assert_eq!(runs(&mut second).await.len(), 1, "it is one run");
    assert_eq!(backups(&mut second).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_still_to_be_done_with_a_backup_another_agent_does() {
    let mut world = World::new().await;
    world.fhir().schedule = Some("@daily".parse().unwrap());
    world.fhir().drill = Some(true);
    world.fhir().fast_checkpoint = Some(true);
    let agent = world.agent().await;
    let mut first = client(&agent);
    let working = Working::start(&agent);
    let catalog = world.catalog().await;
    catalog.last_due("fhir", Task::Backup).await.unwrap();
    world.clock.advance(Duration::from_hours(24));
    until("the restore for proof", async || {
        let run = runs(&mut first).await.into_iter().next()?;
        (run.phase == "waiting for the server to be consistent").then_some(())
    })
    .await;
    working.stop().await;
    let waiting = runs(&mut first).await.remove(0);
    assert_eq!((waiting.state(), &*waiting.agent), (RunState::Running, ""));
    let kept = backups(&mut first).await.remove(0);
    assert_eq!(kept.name, waiting.backup);
    assert!(kept.verified.is_some() && kept.proof.is_none(), "{kept:#?}");

    world.clock.advance(Duration::from_mins(5));
    let next = world.agent().await;
    let working = Working::start(&next);
    let mut second = client(&next);
    let run = over(&mut second, waiting.run_id).await;
    assert_eq!(run.state(), RunState::Done, "{run:#?}");
    assert_eq!((&run.backup, run.due), (&waiting.backup, waiting.due));
    working.stop().await;
    let [proven] = <[_; 1]>::try_from(backups(&mut second).await).unwrap();
    assert!(
        proven.proof.as_ref().is_some_and(|proof| proof.good),
        "{proven:#?}"
    );
    assert_eq!(runs(&mut second).await.len(), 1, "it is one run");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_began_nobody_else_does() {
    let mut world = World::new().await;
    world.slow();
    let agent = world.agent().await;
    let mut client = client(&agent);
    start_backup(&mut client).await;
    until_receiving(&mut client).await;
    agent.drain().await;
    let run = runs(&mut client).await.remove(0);
    assert_eq!(run.state(), RunState::Failed);
    assert!(run.reason.contains("begin it again"), "{}", run.reason);
    assert_eq!(world.left(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_what_hangs() {
    let mut world = World::new().await;
    world.slow();
    world.fhir().deadline = Some(Duration::from_secs(2));
    let agent = world.agent().await;
    let mut client = client(&agent);
    let run = start_backup(&mut client).await;
    let run = over(&mut client, run.run_id).await;
    assert!(run.reason.contains("its deadline of 2s"), "{}", run.reason);
    assert_eq!(world.left(), [""; 0]);
    // The next one is in nobody's way.
    world.fhir().deadline = None;
    world.fhir().max_rate_kb = None;
    let agent = world.agent().await;
    back_up(&mut crate::world::client(&agent)).await;
}
