//! Backups, as the catalog knows them.

use crate::world::{PLACE, World, backup, proven};

pub(crate) async fn what_a_repository_holds_is_what_is_known(world: &World) {
    world.rebuild(PLACE, &[]).await;
    assert_eq!(world.names("").await, Vec::<String>::new());
    let found = [
        backup("fhir", 0),
        proven(backup("fhir", 24), 9),
        backup("audit", 1),
    ];
    world.rebuild(PLACE, &found).await;
    let kept = world.catalog.backups("fhir").await.unwrap();
    let manifests: Vec<_> = kept.iter().map(|kept| &kept.manifest).collect();
    assert_eq!(manifests, [&found[1], &found[0]]);
    assert!(kept.iter().all(|kept| kept.place == PLACE));
    assert_eq!(world.names("").await.len(), 3);
    // One is gone, one is new, one has changed.
    let changed = [
        proven(backup("fhir", 24), 99),
        backup("audit", 1),
        backup("fhir", 48),
    ];
    world.rebuild(PLACE, &changed).await;
    world.rebuild(PLACE, &changed).await;
    let kept = world.catalog.backups("fhir").await.unwrap();
    let manifests: Vec<_> = kept.iter().map(|kept| &kept.manifest).collect();
    assert_eq!(manifests, [&changed[2], &changed[0]]);
}

pub(crate) async fn repositories_are_apart(world: &World) {
    let one = backup("fhir", 0);
    world.rebuild(PLACE, std::slice::from_ref(&one)).await;
    world
        .rebuild("s3://bucket/b", &[one.clone(), backup("fhir", 1)])
        .await;
    world
        .catalog
        .forget("s3://bucket/b", &one.name)
        .await
        .unwrap();
    world.rebuild("/elsewhere", &[]).await;
    let kept = world.catalog.backups("fhir").await.unwrap();
    let places: Vec<&str> = kept.iter().map(|kept| kept.place.as_str()).collect();
    assert_eq!(places, ["s3://bucket/b", PLACE]);
}

pub(crate) async fn what_is_noted_meanwhile_stays(world: &World) {
    let found = [backup("fhir", 0), backup("fhir", 1)];
    world.rebuild(PLACE, &found).await;
    let mark = world.catalog.mark().await.unwrap();
    // Listed now; then one is made, and one is proven.
    world.catalog.note(PLACE, &backup("fhir", 2)).await.unwrap();
    let newer = proven(found[1].clone(), 3);
    world.catalog.note(PLACE, &newer).await.unwrap();
    world
        .catalog
        .rebuild(PLACE, mark, &found[1..])
        .await
        .unwrap();
    let kept = world.catalog.backups("fhir").await.unwrap();
    let manifests: Vec<_> = kept.into_iter().map(|kept| kept.manifest).collect();
    assert_eq!(manifests, [backup("fhir", 2), newer]);
}

pub(crate) async fn a_backup_is_noted_and_forgotten(world: &World) {
    let one = backup("fhir", 0);
    for manifest in [&one, &one, &proven(one.clone(), 1)] {
        world.catalog.note(PLACE, manifest).await.unwrap();
        let kept = world.catalog.backups("").await.unwrap();
        assert_eq!(kept.len(), 1);
        assert_eq!(&kept[0].manifest, manifest);
    }
    for _ in 0..2 {
        world.catalog.forget(PLACE, &one.name).await.unwrap();
        assert_eq!(world.names("").await, Vec::<String>::new());
    }
}

pub(crate) async fn proofs_are_kept_also_of_what_is_gone(world: &World) {
    let one = backup("fhir", 0);
    for minutes in [3, 1, 3, 2] {
        let manifest = proven(one.clone(), minutes);
        world.catalog.note(PLACE, &manifest).await.unwrap();
    }
    world
        .catalog
        .note(PLACE, &proven(backup("audit", 0), 1))
        .await
        .unwrap();
    world.rebuild(PLACE, &[]).await;
    let proofs = world.catalog.proofs("fhir", 10).await.unwrap();
    let expected = [3, 2, 1].map(|minutes| proven(one.clone(), minutes).proof.unwrap());
    let seen: Vec<_> = proofs.iter().map(|proven| proven.proof.clone()).collect();
    assert_eq!(seen, expected);
    assert!(
        proofs
            .iter()
            .all(|proven| proven.name == one.name && proven.place == PLACE)
    );
    assert_eq!(world.catalog.proofs("", 10).await.unwrap().len(), 4);
    assert_eq!(world.catalog.proofs("", 2).await.unwrap().len(), 2);
}

pub(crate) async fn texts_that_no_database_takes_are_kept_all_the_same(world: &World) {
    let mut odd = backup("fhir", 0);
    odd.about.insert("label".to_owned(), "a\0b'\"é".to_owned());
    world.catalog.note(PLACE, &odd).await.unwrap();
    let kept = world.catalog.backups("fhir").await.unwrap();
    assert_eq!(kept[0].manifest, odd);
}
