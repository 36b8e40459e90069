//! What is to be told of troubles, once and by one.

use std::time::Duration;

use backup_agent::catalog::{Catalog, Notice, Stage, Task};
use backup_agent::troubles::{Kind, Trouble};
use chrono::TimeDelta;

use crate::world::World;

const HOLD: Duration = Duration::from_secs(45);
const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

fn failed(task: Task, reason: &str) -> Trouble {
    Trouble::FailedRun {
        task,
        run_id: 7,
        lost: false,
        reason: reason.to_owned(),
    }
}

fn damaged(world: &World, backup: &str) -> Trouble {
    Trouble::FailedVerification {
        backup: backup.to_owned(),
        at: world.now(),
        problem: "base.tar differs".to_owned(),
    }
}

async fn note(world: &World, troubles: &[Trouble]) {
    world.catalog.note_troubles("fhir", troubles).await.unwrap();
}

async fn claim(catalog: &dyn Catalog, repeat_after: Option<Duration>) -> Option<Notice> {
    let claimed = catalog.claim_notice("fhir", repeat_after, HOLD).await;
    claimed.unwrap()
}

/// Tells all there is to be told; answers what it was.
async fn tell(world: &World) -> Vec<(Stage, Kind, String)> {
    let mut all = Vec::new();
    while let Some(notice) = claim(&*world.catalog, Some(DAY)).await {
        assert_eq!(notice.source, "fhir");
        world.catalog.told(&notice).await.unwrap();
        all.push((notice.stage, notice.kind, notice.subject));
    }
    all
}

fn one(stage: Stage, kind: Kind, subject: &str) -> Vec<(Stage, Kind, String)> {
    vec![(stage, kind, subject.to_owned())]
}

pub(crate) async fn a_trouble_is_told_when_it_begins_and_when_it_ends(world: &World) {
    let trouble = failed(Task::Backup, "no room");
    for _ in 0..3 {
        note(world, std::slice::from_ref(&trouble)).await;
    }
    let began = one(Stage::Began, Kind::FailedRun, "backup");
    assert_eq!(tell(world).await, began);
    // Other words for the same are no other trouble.
    note(world, &[failed(Task::Backup, "still no room")]).await;
    assert_eq!(tell(world).await, []);
    note(world, &[]).await;
    assert_eq!(tell(world).await, [], "not before it is settled");
    world.clock.advance(MINUTE);
    let ended = one(Stage::Ended, Kind::FailedRun, "backup");
    assert_eq!(tell(world).await, ended);
    world.clock.advance(DAY * 2);
    assert_eq!(tell(world).await, []);
    note(world, &[trouble]).await;
    assert_eq!(tell(world).await, began, "again");
}

pub(crate) async fn each_trouble_is_told_by_itself(world: &World) {
    let (a, b) = (damaged(world, "a"), damaged(world, "b"));
    note(world, &[a, b.clone(), failed(Task::Verify, "away")]).await;
    let mut told = tell(world).await;
    told.sort_by_key(|(_, kind, subject)| (*kind, subject.clone()));
    let subjects: Vec<&str> = told.iter().map(|(.., subject)| subject.as_str()).collect();
    assert_eq!(subjects, ["verify", "a", "b"]);
    note(world, &[b]).await;
    world.clock.advance(MINUTE);
    assert_eq!(tell(world).await.len(), 2);
    // Another source's are its own.
    world.catalog.note_troubles("audit", &[]).await.unwrap();
    world.clock.advance(MINUTE);
    assert_eq!(tell(world).await, []);
}

pub(crate) async fn what_came_and_went_unheard_is_told_all_the_same(world: &World) {
    note(world, &[failed(Task::Backup, "no room")]).await;
    note(world, &[]).await;
    world.clock.advance(MINUTE);
    let stages: Vec<Stage> = tell(world).await.iter().map(|(stage, ..)| *stage).collect();
    assert_eq!(stages, [Stage::Began, Stage::Ended]);
}

pub(crate) async fn what_lasts_is_told_again_after_a_while(world: &World) {
    note(world, &[failed(Task::Backup, "no room")]).await;
    tell(world).await;
    world.clock.advance(DAY);
    note(world, &[failed(Task::Backup, "no room at all")]).await;
    assert_eq!(claim(&*world.catalog, None).await, None, "not asked for");
    let again = claim(&*world.catalog, Some(DAY)).await.unwrap();
    assert_eq!(again.stage, Stage::Lasts);
    assert_eq!(
        again.sentence,
        "the last backup (run 7) failed: no room at all"
    );
    assert_eq!(again.since, world.now() - TimeDelta::days(1));
    world.catalog.told(&again).await.unwrap();
    assert_eq!(claim(&*world.catalog, Some(DAY)).await, None);
}

pub(crate) async fn what_flickers_is_one_trouble(world: &World) {
    let trouble = failed(Task::Backup, "no room");
    note(world, std::slice::from_ref(&trouble)).await;
    tell(world).await;
    for _ in 0..3 {
        note(world, &[]).await;
        world.clock.advance(MINUTE / 2);
        note(world, std::slice::from_ref(&trouble)).await;
        assert_eq!(tell(world).await, []);
    }
}

pub(crate) async fn what_begins_again_while_its_end_is_told_is_another_trouble(world: &World) {
    let trouble = failed(Task::Backup, "no room");
    note(world, std::slice::from_ref(&trouble)).await;
    tell(world).await;
    note(world, &[]).await;
    world.clock.advance(MINUTE);
    let ended = claim(&*world.catalog, None).await.unwrap();
    note(world, &[trouble]).await;
    world.catalog.told(&ended).await.unwrap();
    let began = claim(&*world.catalog, None).await.unwrap();
    assert_eq!((ended.stage, began.stage), (Stage::Ended, Stage::Began));
    assert_ne!(began.trouble_id, ended.trouble_id);
}

/// Of two agents, one tells it; where it dies, the other does, by the same name.
pub(crate) async fn a_notice_is_one_agents_until_its_claim_is_over(world: &World) {
    note(world, &[failed(Task::Backup, "no room")]).await;
    let first = claim(&*world.catalog, None).await.unwrap();
    assert_eq!(claim(&*world.catalog, None).await, None);
    world.clock.advance(HOLD);
    let second = claim(&*world.catalog, None).await.unwrap();
    assert_eq!(first.notice_id, second.notice_id);
    // The first one was only slow.
    world.catalog.told(&first).await.unwrap();
    assert_eq!(claim(&*world.catalog, None).await, None);
    world.catalog.told(&second).await.unwrap();
    world.catalog.told(&second).await.unwrap();
    world.clock.advance(HOLD);
    assert_eq!(claim(&*world.catalog, None).await, None);
}

pub(crate) async fn of_many_that_tell_at_once_one_does(world: &World) {
    let mut expected: Vec<String> = (0..40).map(|n| format!("b{n}")).collect();
    let troubles: Vec<Trouble> = expected.iter().map(|name| damaged(world, name)).collect();
    note(world, &troubles).await;
    let mut agents = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let catalog = world.at(world.now()).await;
        let troubles = troubles.clone();
        agents.spawn(async move {
            let mut told = Vec::new();
            for round in 0..40 {
                if round % 8 == 0 {
                    catalog.note_troubles("fhir", &troubles).await.unwrap();
                }
                if let Some(notice) = claim(&*catalog, None).await {
                    catalog.told(&notice).await.unwrap();
                    told.push(notice.subject);
                }
            }
            told
        });
    }
    let mut told: Vec<String> = agents.join_all().await.concat();
    told.sort();
    expected.sort();
    assert_eq!(told, expected);
}

pub(crate) async fn what_is_to_be_told_outlives_the_process(world: &World) {
    note(world, &[failed(Task::Backup, "no room")]).await;
    let other = world.at(world.now()).await;
    let notice = claim(&*other, None).await.unwrap();
    other.told(&notice).await.unwrap();
    let third = world.at(world.now()).await;
    let same = [failed(Task::Backup, "no room")];
    third.note_troubles("fhir", &same).await.unwrap();
    assert_eq!(
        claim(&*third, None).await,
        None,
        "a restart repeats nothing"
    );
}

/// A claim of a clock that was wrong keeps nobody from telling.
pub(crate) async fn a_claim_of_the_future_is_none(world: &World) {
    note(world, &[failed(Task::Backup, "no room")]).await;
    let ahead = world.at(world.now() + TimeDelta::days(42)).await;
    assert!(claim(&*ahead, None).await.is_some());
    assert!(claim(&*world.catalog, None).await.is_some());
}
