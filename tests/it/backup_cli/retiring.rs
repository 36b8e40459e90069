//! Backups that go, and those that others made taken in.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::name_of;
use super::scene::Scene;
use super::steering::{configuration, configure};

/// Names of what is listed, the newest first.
async fn listed(scene: &Scene) -> Vec<String> {
    let listed = scene.json(&["list"], 0).await;
    texts(&listed, |backup| &backup["name"])
}

fn texts(values: &Value, text: impl Fn(&Value) -> &Value) -> Vec<String> {
    let values = values.as_array().unwrap().iter();
    values
        .map(|value| text(value).as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_no_rule_wants_is_pruned() {
    let scene = Scene::on_folder().await;
    let mut config = configuration(&scene);
    config["backup_agent"]["backup"]["keep"] =
        json!({"daily": 1, "weekly": 0, "monthly": 0, "keep_within": "0s"});
    config["backup_agent"]["drill"] = json!({"scratch": scene.path("scratch")});
    configure(&scene, &config);
    let mut names = Vec::new();
    for flags in [&["--drill"][..], &[], &[]] {
        let made = scene.json(&[&["run", "fhir"], flags].concat(), 0).await;
        names.push(name_of(&made));
    }
    let [proven, older, newest] = &*names else {
        panic!("{names:?}")
    };

    let dry = scene.asked(&["prune"]).await;
    assert_eq!(dry.code, 0, "{dry:#?}");
    for line in [
        format!("stays    {proven}"),
        format!("goes     {older}"),
        format!("stays    {newest}"),
    ] {
        assert!(dry.stdout.contains(&line), "{line}: {dry:#?}");
    }
    assert!(dry.stderr.contains("nothing was deleted"), "{dry:#?}");
    let dry = &scene.json(&["prune"], 0).await[0];
    assert_eq!(dry["deleted"], json!([]), "{dry:#}");
    assert_eq!(scene.lies_there().await, names);

    let applied = &scene.json(&["prune", "--apply"], 0).await[0];
    assert_eq!(applied["decisions"], dry["decisions"], "{applied:#}");
    assert_eq!(applied["deleted"], json!([older]), "{applied:#}");
    assert_eq!(scene.lies_there().await, [&**proven, newest]);
    assert_eq!(listed(&scene).await, [&**newest, proven]);
    let gone = scene.asked(&["show", older]).await;
    assert_eq!(gone.code, 1, "{gone:#?}");

    let again = scene.asked(&["prune", "--apply"]).await;
    assert_eq!(again.code, 0, "{again:#?}");
    assert!(!again.stdout.contains("deleted"), "{again:#?}");
    assert_eq!(listed(&scene).await, [&**newest, proven]);
    assert_eq!(scene.asked(&["verify", "--all"]).await.code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_is_damaged_is_told_and_can_be_moved_away() {
    let scene = Scene::on_folder().await;
    configure(&scene, &configuration(&scene));
    let damaged = name_of(&scene.json(&["run", "fhir"], 0).await);
    let good = name_of(&scene.json(&["run", "fhir"], 0).await);
    let whole = std::cell::RefCell::new(Vec::new());
    scene
        .change(&damaged, "manifest.json", |bytes| {
            whole.borrow_mut().clone_from(bytes);
            bytes.truncate(bytes.len() / 2);
        })
        .await;

    let folder = scene.path("backups").join(&damaged);
    let told = format!("move {} out of the repository", folder.display());
    let list = scene.asked(&["list"]).await;
    assert_eq!(list.code, 2, "{list:#?}");
    assert!(
        list.stdout.contains(&good) && list.stderr.contains(&told),
        "{list:#?}"
    );
    let all = scene.json(&["verify", "--all"], 2).await;
    let backups = texts(&all["runs"], |run| &run["backup"]);
    assert_eq!(
        (&all["result"], backups),
        (&json!("found_bad"), vec![damaged.clone(), good.clone()])
    );
    for words in [&["show", &*damaged][..], &["plan"], &["prune", "--apply"]] {
        let said = scene.asked(words).await;
        let said = said.stdout + &said.stderr;
        assert!(said.contains(&told), "{words:?}: {said}");
    }
    assert_eq!(scene.lies_there().await, [&*damaged, &good]);

    // As it says.
    fs::rename(&folder, scene.path("aside")).unwrap();
    assert_eq!(scene.asked(&["prune", "--apply"]).await.code, 0);
    assert_eq!(listed(&scene).await, [&*good]);
    fs::rename(scene.path("aside"), &folder).unwrap();
    scene
        .change(&damaged, "manifest.json", |bytes| {
            *bytes = whole.into_inner();
        })
        .await;
    assert_eq!(listed(&scene).await, [&*good, &damaged]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_by_hand_is_taken_in() {
    let scene = Scene::on_folder().await;
    let made = scene.path("backups/postgresql_1769860800");
    scene.server.backed_up_by_hand(&made);
    let import = ["import", made.to_str().unwrap(), "--source", "fhir"];
    let taken = scene.json(&import, 0).await;
    let backup = &taken["backup"];
    for (field, expected) in [
        ("name", "postgresql_1769860800"),
        ("source", "fhir"),
        ("engine", "import"),
        ("started", "2026-01-31T12:00:00.000Z"),
    ] {
        assert_eq!(backup[field], expected, "{taken:#}");
    }
    assert_eq!(backup["verified"]["good"], true, "{taken:#}");
    let verify = ["verify", "postgresql_1769860800"];
    assert_eq!(scene.json(&verify, 0).await["result"], "done");
    scene.flip("postgresql_1769860800", "base.tar").await;
    assert_eq!(scene.json(&verify, 2).await["result"], "found_bad");
    scene.flip("postgresql_1769860800", "base.tar").await;
    let again = scene.asked(&import).await;
    assert_eq!(again.code, 1, "{again:#?}");
    assert!(again.stderr.contains("there is a backup"), "{again:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn so_is_an_archive_of_mongodump() {
    let scene = Scene::on_folder().await;
    scene.back_up(&[]).await;
    let file = scene.path("mongodump_1769860800.gz");
    write_mongodump(&file);
    let whole = fs::read(&file).unwrap();
    let import = ["import", file.to_str().unwrap(), "--source", "documents"];

    fs::write(&file, &whole[..whole.len() - 9]).unwrap();
    let cut = scene.asked(&import).await;
    assert_eq!(cut.code, 2, "{cut:#?}");
    assert!(cut.stderr.contains("bad: "), "{cut:#?}");
    assert_eq!(scene.lies_there().await.len(), 1, "the other backup");

    fs::write(&file, &whole).unwrap();
    let taken = scene.asked(&import).await;
    assert_eq!(taken.code, 0, "{taken:#?}");
    let words = "mongodump_1769860800 of documents, in ";
    assert!(taken.stdout.contains(words), "{taken:#?}");
    assert_eq!(fs::read(&file).unwrap(), whole, "it is copied");
    let of_it = scene.json(&["list", "--source", "documents"], 0).await;
    assert_eq!(of_it[0]["store"], "mongodb", "{of_it:#}");
    let sources = texts(&scene.json(&["list"], 0).await, |backup| &backup["source"]);
    assert_eq!(sources, ["fhir", "documents"], "the newest first");

    let unread = scene.asked(&["verify", "mongodump_1769860800"]).await;
    assert_eq!(unread.code, 1, "{unread:#?}");
    assert!(unread.stderr.contains("mongorestore"), "{unread:#?}");
    // What cannot be read keeps nothing else from being read.
    let all = scene.asked(&["verify", "--all"]).await;
    assert_eq!(all.code, 1, "{all:#?}");
    let lines: Vec<&str> = all.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{all:#?}");
    assert!(lines[0].starts_with("good        postgresql_"), "{all:#?}");
    assert!(
        lines[1].starts_with("failed      mongodump_") && lines[1].contains("mongorestore"),
        "{all:#?}"
    );
}

/// As `mongodump --archive --gzip` writes it, as far as it is looked at.
fn write_mongodump(file: &Path) {
    let mut archive = 0x8199_e26d_u32.to_le_bytes().to_vec();
    archive.extend((0..10_000_u32).flat_map(u32::to_le_bytes));
    archive.extend([0xff; 4]);
    let mut gzip = Command::new("gzip")
        .stdin(Stdio::piped())
        .stdout(fs::File::create(file).unwrap())
        .spawn()
        .unwrap();
    gzip.stdin.take().unwrap().write_all(&archive).unwrap();
    assert!(gzip.wait().unwrap().success());
}
