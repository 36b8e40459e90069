//! Several at once.

use std::io::Write;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use backup_agent::repository::RepositoryError;
use stoker_shared::clock::{Clock, ManualClock, SystemClock};

use crate::kills::Child;
use crate::world::{World, back_up, content, manifest, verify_all, write_part};

const BYTES: usize = 9 << 20;

pub(crate) async fn of_two_writers_of_a_name_one_wins(world: &World, _: &str) {
    let writers = [1, 2].map(|seed| {
        let repository = world.open();
        async move {
            let draft = repository.begin("x").await.unwrap();
            let part = write_part(&*draft, "base.tar", content(seed, BYTES)).await;
            let manifest = manifest("x", vec![part.unwrap()]);
            draft.commit(&manifest).await.map(|()| manifest)
        }
    });
    let [first, second] = writers.map(tokio::spawn);
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    let (won, lost) = match (first, second) {
        (Ok(won), Err(lost)) | (Err(lost), Ok(won)) => (won, lost),
        both => panic!("{both:?}"),
    };
    assert!(matches!(lost, RepositoryError::Exists { .. }), "{lost}");
    let repository = world.open();
    assert_eq!(repository.manifest("x").await.unwrap(), won);
    assert_eq!(verify_all(&*repository).await.unwrap(), ["x"]);
    assert_eq!(world.left_behind().await, Vec::<String>::new());
    let late = repository.begin("x").await.map(drop);
    assert!(
        matches!(late, Err(RepositoryError::Exists { .. })),
        "{late:?}"
    );
}

pub(crate) async fn changes_at_once_do_not_undo_each_other(world: &World, _: &str) {
    back_up(&*world.open(), "x", 100).await.unwrap();
    let changes = (0..8).map(|number| {
        let repository = world.open();
        tokio::spawn(async move {
            let key = number.to_string();
            let change = move |m: &mut backup_agent::manifest::Manifest| {
                m.about.insert(key.clone(), "seen".to_owned());
            };
            repository.amend("x", &change).await.unwrap();
        })
    });
    for change in changes.collect::<Vec<_>>() {
        change.await.unwrap();
    }
    let manifest = world.open().manifest("x").await.unwrap();
    assert_eq!(manifest.about.len(), 8, "{:?}", manifest.about);
    assert_eq!(world.left_behind().await, Vec::<String>::new());
}

/// A writer on another host lies still for more than a day, is cleaned up after, and wakes.
pub(crate) async fn who_is_held_for_dead_commits_nothing(world: &World, test: &str) {
    let mut child = Child::start(world, test, "wait", Stdio::piped());
    child.says("written");
    let owner = world.paths().await.into_iter();
    let owner: Vec<_> = owner
        .filter(|path| path.ends_with("/owner") || path.starts_with(".drafts/"))
        .collect();
    let said = String::from_utf8(world.bytes_at(&owner[0]).await).unwrap();
    let own = said
        .rsplit_once("\"owner\":\"")
        .map_or(&*said, |(_, rest)| rest.split_once('"').unwrap().0);
    let elsewhere = said.replace(own, "elsewhere:1 boot 1");
    world.put_at(&owner[0], elsewhere.into_bytes()).await;

    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let repository = world.open_at(clock.clone());
    assert!(
        repository.clean(&[]).await.unwrap().is_empty(),
        "it is young"
    );
    clock.advance(Duration::from_hours(25));
    let cleaned = repository.clean(&[]).await.unwrap();
    assert_eq!(cleaned, ["x, of elsewhere:1"]);
    assert_eq!(world.left_behind().await, Vec::<String>::new());

    child
        .process
        .stdin
        .take()
        .unwrap()
        .write_all(b"on\n")
        .unwrap();
    child.says("failed: Lost");
    assert!(child.process.wait().unwrap().success());
    assert!(repository.names().await.unwrap().is_empty());
    assert_eq!(world.left_behind().await, Vec::<String>::new());
}
