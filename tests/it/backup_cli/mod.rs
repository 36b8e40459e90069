//! `stoker backup` as a person uses it, on real PostgreSQL, a folder and MinIO.

use std::fs;

use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use stoker_tests::ports::free_port;

use self::scene::{ROWS, Restored, Scene, owner};

mod ends;
mod retiring;
mod scene;
mod steering;
mod trouble;

fn name_of(made: &Value) -> String {
    made["backup"]["name"].as_str().unwrap().to_owned()
}

/// A backup is made, told of, read back and kept.
async fn one_life(scene: &Scene) -> String {
    let made = scene.back_up(&["--compression", "zstd"]).await;
    assert_eq!(made["result"], "done", "{made:#}");
    let backup = &made["backup"];
    assert_eq!(backup["source"], "fhir");
    assert_eq!(backup["place"], scene.place());
    assert_eq!(backup["verified"]["good"], true, "{made:#}");
    assert_eq!(backup["verified"]["full"], true);
    let parts = backup["parts"].as_array().unwrap();
    let mut names: Vec<&str> = parts.iter().map(|p| p["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["backup_manifest", "base.tar.zst", "pg_wal.tar.zst"]);
    let name = name_of(&made);
    assert!(name.starts_with("postgresql_"), "{name}");

    let listed = scene.json(&["list"], 0).await;
    assert_eq!(listed[0], *backup, "what is listed is what was told");
    assert_eq!(scene.json(&["show", "latest"], 0).await, *backup);
    let none = scene.json(&["list", "--source", "other"], 0).await;
    assert_eq!(none, serde_json::json!([]));
    let text = scene.asked(&["show", &name]).await;
    assert!(
        text.stdout.contains("all of it is as it was written"),
        "{text:#?}"
    );

    let verified = scene.json(&["verify", "latest"], 0).await;
    assert_eq!(verified["run"]["task"], "verify");
    assert_eq!(verified["run"]["state"], "done", "{verified:#}");
    let all = scene.asked(&["verify", "--all", "--sample", "20%"]).await;
    assert_eq!(all.code, 0, "{all:#?}");
    assert!(all.stdout.starts_with("good"), "{all:#?}");

    let dry = scene.asked(&["prune"]).await;
    assert_eq!(dry.code, 0, "{dry:#?}");
    assert!(
        dry.stdout.contains("stays") && dry.stdout.contains(&name),
        "{dry:#?}"
    );
    let runs = scene.json(&["runs"], 0).await;
    let tasks: Vec<&str> = runs
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["task"].as_str().unwrap())
        .collect();
    assert!(
        tasks.ends_with(&["backup"]) && tasks.contains(&"verify"),
        "{tasks:?}"
    );
    assert_eq!(scene.server.leftovers().await, 0);
    name
}

/// Whatever is done to a part is found, and remembered.
async fn damage_is_found(scene: &Scene, name: &str) {
    for part in ["base.tar.zst", "pg_wal.tar.zst", "backup_manifest"] {
        scene.flip(name, part).await;
        let bad = scene.json(&["verify", name], 2).await;
        assert_eq!(bad["result"], "found_bad", "{part}: {bad:#}");
        let problem = bad["backup"]["verified"]["problem"].as_str().unwrap();
        assert!(problem.contains(part), "{part}: {problem}");
        let listed = scene.asked(&["list"]).await;
        assert!(listed.stdout.contains("BAD"), "{part}: {listed:#?}");
        scene.flip(name, part).await;
        scene.json(&["verify", name], 0).await;
    }
    let kept = std::cell::RefCell::new(Vec::new());
    scene
        .change(name, "base.tar.zst", |bytes| {
            kept.borrow_mut().clone_from(bytes);
            bytes.truncate(bytes.len() - 1);
        })
        .await;
    let cut = scene.asked(&["verify", "--all"]).await;
    assert_eq!(cut.code, 2, "{cut:#?}");
    assert!(cut.stdout.starts_with("BAD"), "{cut:#?}");
    scene
        .change(name, "base.tar.zst", |bytes| *bytes = kept.into_inner())
        .await;
    scene.json(&["verify", name], 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_lives_in_a_folder() {
    let scene = Scene::on_folder().await;
    let name = one_life(&scene).await;
    damage_is_found(&scene, &name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_lives_in_a_bucket() {
    let scene = Scene::on_s3().await;
    let name = one_life(&scene).await;
    damage_is_found(&scene, &name).await;
    restored_and_started(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_restored_and_proven() {
    let scene = Scene::on_folder().await;
    let made = scene.back_up(&[]).await;
    restored_and_started(&scene).await;

    let scratch = scene.path("scratch");
    let drill = ["drill", "latest", "--scratch", scratch.to_str().unwrap()];
    let proven = scene.json(&drill, 0).await;
    let proof = &proven["backup"]["proof"];
    assert_eq!(proof["good"], true, "{proven:#}");
    assert!(proof["recovery_ms"].as_u64() > Some(0), "{proof:#}");
    let checks = proof["checks"].as_array().unwrap();
    assert!(
        checks.iter().any(|c| c["name"] == "pg_amcheck"),
        "{proof:#}"
    );
    let listed = scene.asked(&["list"]).await;
    assert!(listed.stdout.contains("yes      in "), "{listed:#?}");
    assert_eq!(
        fs::read_dir(&scratch).unwrap().count(),
        0,
        "nothing is left"
    );

    scene.flip(&name_of(&made), "base.tar").await;
    let bad = scene.json(&drill, 2).await;
    assert_eq!(bad["result"], "found_bad", "{bad:#}");
    assert_eq!(bad["backup"]["proof"]["good"], false, "{bad:#}");
}

/// By one command, into a folder of its own, with the settings of this place.
async fn restored_and_started(scene: &Scene) {
    let port = free_port().unwrap();
    let conf = scene.path("conf");
    fs::create_dir(&conf).unwrap();
    let settings = format!(
        "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\nfsync = off\n"
    );
    fs::write(conf.join("postgresql.conf"), settings).unwrap();
    let into = scene.path("restored");
    let restored = Restored { data: into.clone() };
    let (into, conf) = (into.to_str().unwrap(), conf.to_str().unwrap());
    let restore = ["restore", "latest", "--into", into, "--conf", conf];
    let restore = [&restore, owner()].concat();
    let run = scene.asked(&[&restore[..], &["--start"]].concat()).await;
    assert_eq!(run.code, 0, "{run:#?}");
    for word in ["is restored into", "pg_stat_replication"] {
        assert!(run.stdout.contains(word), "{word}: {run:#?}");
    }
    let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let count = sqlx::query_scalar("SELECT count(*) FROM kept");
    let count: i64 = count.fetch_one(&mut connection).await.unwrap();
    assert_eq!(count, ROWS);

    let again = scene
        .asked(&[&restore[..], &["--overwrite"]].concat())
        .await;
    assert_eq!(again.code, 1, "a server runs there: {again:#?}");
    drop(restored);
    let again = scene.asked(&restore).await;
    assert_eq!(again.code, 1, "it is not empty: {again:#?}");
    assert!(again.stderr.contains("overwritten"), "{again:#?}");
    let over = scene
        .json(&[&restore[..], &["--overwrite"]].concat(), 0)
        .await;
    assert!(
        over["steps_on_other_nodes"].as_array().unwrap().len() > 3,
        "{over:#}"
    );
}
