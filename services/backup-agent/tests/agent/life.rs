//! A backup from its beginning to its end.

use std::time::Duration;

use stoker_proto::backup::v1::{
    GetBackupRequest, GetPlanRequest, PruneRequest, PruneResponse, RunState, StartDrillRequest,
    StartImportRequest, StartRestoreRequest, StartVerifyRequest, Task,
};

use crate::server::give_away;
use crate::world::{
    Client, World, back_up, backups, client, done, named, over, runs, start, start_backup,
};

const DAY: Duration = Duration::from_hours(24);

async fn prune(client: &mut Client, apply: bool) -> PruneResponse {
    let request = PruneRequest {
        source: "fhir".to_owned(),
        apply,
    };
    client.prune(request).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_made_verified_proven_restored_and_retired() {
    let mut world = World::new().await;
    world.fhir().keep = Some(
        serde_json::from_str(r#"{"daily": 1, "weekly": 0, "monthly": 0, "keep_within": "1s"}"#)
            .unwrap(),
    );
    let agent = world.agent().await;
    let mut client = client(&agent);
    let first = back_up(&mut client).await;
    assert_eq!(first.name, format!("postgresql_{}", start().timestamp()));
    assert!(first.verified.unwrap().full);
    let drill = StartDrillRequest {
        backup: Some(named("latest")),
    };
    let drill = client.start_drill(drill).await.unwrap().into_inner();
    done(&mut client, drill.run.unwrap().run_id).await;
    let get = GetBackupRequest {
        backup: Some(named(&first.name)),
    };
    let got = client.get_backup(get).await.unwrap().into_inner();
    let proof = got.backup.unwrap().proof.unwrap();
    assert!(proof.good, "{proof:?}");
    restore(&world, &mut client).await;

    let mut names = vec![first.name];
    for _ in 0..2 {
        world.clock.advance(DAY);
        names.push(back_up(&mut client).await.name);
    }
    let dry = prune(&mut client, false).await.prunings.remove(0);
    let going: Vec<_> = dry.decisions.iter().filter(|d| !d.stays).collect();
    assert_eq!(
        (going.len(), going[0].name.as_str()),
        (1, names[1].as_str())
    );
    assert_eq!(
        (dry.deleted.len(), backups(&mut client).await.len()),
        (0, 3)
    );
    let applied = prune(&mut client, true).await.prunings.remove(0);
    assert_eq!(applied.deleted, [names[1].as_str()], "{}", applied.refused);
    // The proven one stays, however old.
    assert_eq!(world.left(), [names[0].as_str(), names[2].as_str()]);
    let left = backups(&mut client).await;
    assert_eq!(left.len(), 2);
    let plan = client
        .get_plan(GetPlanRequest {})
        .await
        .unwrap()
        .into_inner();
    let fhir = &plan.sources[0];
    assert_eq!((fhir.backups, fhir.last_backup), (2, left[0].started));
    assert!(fhir.last_proof.is_some() && !fhir.address.is_empty());
}

async fn restore(world: &World, client: &mut Client) {
    let into = world.folder.path().join("data");
    std::fs::create_dir(&into).unwrap();
    give_away(&into);
    let request = StartRestoreRequest {
        backup: Some(named("latest")),
        into: into.display().to_string(),
        ..StartRestoreRequest::default()
    };
    let run = client.start_restore(request.clone()).await.unwrap();
    let run = done(client, run.into_inner().run.unwrap().run_id).await;
    assert!(run.reason.contains("PostgreSQL"), "{}", run.reason);
    assert!(into.join("global/pg_control").is_file());
    let again = client.start_restore(request).await.unwrap();
    let again = over(client, again.into_inner().run.unwrap().run_id).await;
    assert_eq!((again.state(), again.found_bad), (RunState::Failed, false));
    assert!(again.reason.contains("is not empty"), "{}", again.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_is_found_and_noted() {
    let world = World::new().await;
    let agent = world.agent().await;
    let mut client = client(&agent);
    let name = back_up(&mut client).await.name;
    world.damage(&name, "base.tar");
    let verify = StartVerifyRequest {
        backup: Some(named(&name)),
        sample_percent: 0,
    };
    let run = client.start_verify(verify).await.unwrap().into_inner();
    let run = over(&mut client, run.run.unwrap().run_id).await;
    assert_eq!((run.state(), run.found_bad), (RunState::Failed, true));
    let verified = backups(&mut client).await.remove(0).verified.unwrap();
    assert!(!verified.good && run.reason.contains(&verified.problem));
    let drill = StartDrillRequest {
        backup: Some(named(&name)),
    };
    let drill = client.start_drill(drill).await.unwrap().into_inner();
    let drill = over(&mut client, drill.run.unwrap().run_id).await;
    assert!(drill.found_bad, "{}", drill.reason);
    assert!(!backups(&mut client).await.remove(0).proof.unwrap().good);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_was_lost_is_made_anew() {
    let mut world = World::new().await;
    let agent = world.agent().await;
    let mut first = client(&agent);
    let mut made = vec![back_up(&mut first).await, back_up(&mut first).await];
    // Both of the same second, by a clock that stands.
    assert_ne!(made[0].name, made[1].name);
    made.sort_by(|a, b| b.name.cmp(&a.name));
    world.config.catalog.url = Some("none".parse().unwrap());
    // Backups of a source that is not configured are there all the same.
    world.config.sources.clear();
    let agent = world.agent().await;
    let mut anew = client(&agent);
    assert_eq!(backups(&mut anew).await, made);
    let verify = StartVerifyRequest {
        backup: Some(named("latest")),
        sample_percent: 0,
    };
    let run = anew.start_verify(verify).await.unwrap().into_inner();
    let run = done(&mut anew, run.run.unwrap().run_id).await;
    assert_eq!(
        (run.task(), run.backup),
        (Task::Verify, made[0].name.clone())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_without_a_manifest_is_taken_in() {
    let world = World::new().await;
    let agent = world.agent().await;
    let mut client = client(&agent);
    let name = back_up(&mut client).await.name;
    let folder = format!("{}/{name}", world.place());
    std::fs::remove_file(format!("{folder}/manifest.json")).unwrap();
    let request = StartImportRequest {
        path: folder,
        source: "old".to_owned(),
    };
    let run = client.start_import(request.clone()).await.unwrap();
    let run = done(&mut client, run.into_inner().run.unwrap().run_id).await;
    assert_eq!(
        (run.task(), run.backup.as_str()),
        (Task::Import, name.as_str())
    );
    let taken = backups(&mut client).await;
    let taken: Vec<_> = taken.iter().filter(|b| b.source == "old").collect();
    assert_eq!((taken.len(), taken[0].engine.as_str()), (1, "import"));
    assert!(taken[0].verified.as_ref().unwrap().good);
    let again = client.start_import(request).await.unwrap();
    let again = over(&mut client, again.into_inner().run.unwrap().run_id).await;
    assert!(
        again.reason.contains("there is a backup"),
        "{}",
        again.reason
    );
    let nowhere = StartImportRequest {
        path: "here".to_owned(),
        source: String::new(),
    };
    let refused = client.start_import(nowhere).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_away_fails_the_run_and_leaves_nothing() {
    let world = World::new().await;
    let agent = world.agent().await;
    let mut client = client(&agent);
    world.server.stop();
    let run = start_backup(&mut client).await;
    let run = over(&mut client, run.run_id).await;
    assert_eq!(run.state(), RunState::Failed);
    assert!(run.reason.contains("127.0.0.1"), "{}", run.reason);
    assert_eq!(world.left(), [""; 0]);
    assert_eq!(runs(&mut client).await.len(), 1);
}
