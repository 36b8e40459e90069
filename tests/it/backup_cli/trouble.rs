//! What goes wrong is told in a sentence, and leaves nothing behind.

use std::fs;
use std::path::Path;

use stoker_tests::ports::free_port;
use stoker_tests::stoker::{Run, isolated, stoker_bin};

use super::name_of;
use super::scene::{Scene, run_words, until};

/// One sentence on standard error, exit code 1, and no backup.
async fn assert_told(scene: &Scene, run: &Run, words: &[&str]) {
    assert_eq!(run.code, 1, "{run:#?}");
    assert!(run.stderr.contains("error: "), "{run:#?}");
    for word in words {
        assert!(run.stderr.contains(word), "{word}: {run:#?}");
    }
    let listed = scene.asked(&["list"]).await;
    assert!(listed.stdout.contains("no backups yet"), "{listed:#?}");
    assert_eq!(drafts(&scene.path("backups")), 0);
}

fn drafts(repository: &Path) -> usize {
    let Ok(entries) = fs::read_dir(repository) else {
        return 0;
    };
    let names = entries.map(|entry| entry.unwrap().file_name());
    names
        .filter(|name| name.to_string_lossy().starts_with(".draft"))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_run_says_why() {
    let scene = Scene::on_folder().await;
    let away = format!("postgres://keeper@127.0.0.1:{}", free_port().unwrap());
    let run = scene.asked(&run_words(&away, &[])).await;
    assert_told(&scene, &run, &["127.0.0.1", "see that the server runs"]).await;

    fs::write(scene.user.home().join("pw"), "wrong").unwrap();
    let url = scene.server.url("keeper");
    let run = scene.asked(&run_words(&url, &[])).await;
    assert_told(&scene, &run, &["password"]).await;
    assert!(!run.stderr.contains("wrong"), "{run:#?}");

    let visitor = scene.server.url("visitor");
    let run = scene.asked(&run_words(&visitor, &[])).await;
    assert_told(&scene, &run, &["REPLICATION"]).await;

    scene.server.stop();
    let run = scene.asked(&run_words(&url, &[])).await;
    assert_told(&scene, &run, &["127.0.0.1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused() {
    let scene = Scene::on_folder().await;
    let made = scene.back_up(&["--no-verify"]).await;
    assert_eq!(
        made["backup"]["verified"],
        serde_json::Value::Null,
        "{made:#}"
    );
    let name = name_of(&made);
    for (line, expected) in [
        ("show nothing_1".to_owned(), "nothing_1"),
        ("verify".to_owned(), "give --all"),
        (format!("verify {name} --sample 0%"), "from 1% to 100%"),
        ("runs 77".to_owned(), "77"),
        ("cancel 1".to_owned(), "over"),
        ("restore latest".to_owned(), "--into"),
        (format!("restore {name} --into x --tablespace y"), "OLD=NEW"),
        ("run".to_owned(), "which source?"),
        ("run elsewhere".to_owned(), "elsewhere"),
        ("run --source mysql://db".to_owned(), "no PostgreSQL URL"),
        (
            "plan --server-token-file t".to_owned(),
            "give --server URL too",
        ),
        ("import not-there --source fhir".to_owned(), "not-there"),
        (
            "schedule --ofelia not-there.ini".to_owned(),
            "not-there.ini",
        ),
    ] {
        let words: Vec<&str> = line.split_whitespace().collect();
        let run = scene.asked(&words).await;
        assert_eq!(run.code, 1, "{line}: {run:#?}");
        assert!(run.stderr.contains(expected), "{line}: {run:#?}");
    }
    let nowhere = scene.user.args(["backup", "list"]).run().await.unwrap();
    assert_eq!(nowhere.code, 1, "{nowhere:#?}");
    assert!(nowhere.stderr.contains("--repository"), "{nowhere:#?}");
    let away = ["backup", "list", "--server", "http://127.0.0.1:9"];
    let away = scene.user.args(away).run().await.unwrap();
    assert_eq!(away.code, 1, "{away:#?}");
    assert!(
        away.stderr.contains("the backup-agent cannot be asked"),
        "{away:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_takes_nothing_is_named() {
    let scene = Scene::on_folder().await;
    // A folder that root cannot write to either.
    let url = scene.server.url("keeper");
    let words = [
        &["backup"],
        &*run_words(&url, &[]),
        &["--repository", "/proc/backups"],
    ]
    .concat();
    let run = scene.user.args(words).run().await.unwrap();
    assert_eq!(run.code, 1, "{run:#?}");
    assert!(run.stderr.contains("/proc/backups"), "{run:#?}");
    let file = scene.path("a-file");
    fs::write(&file, "").unwrap();
    let file = file.display().to_string();
    let words = [
        &["backup"],
        &*run_words(&url, &[]),
        &["--repository", &file],
    ]
    .concat();
    let run = scene.user.args(words).run().await.unwrap();
    assert_eq!(run.code, 1, "{run:#?}");
    assert!(run.stderr.contains("a-file"), "{run:#?}");
    assert_eq!(scene.server.leftovers().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_gets_full_is_told_and_left_as_it_was() {
    let scene = Scene::on_folder().await;
    let full = scene.path("full");
    fs::create_dir(&full).unwrap();
    // Its own small disk, which goes with the process.
    let mount = "full=$1; shift; mount -t tmpfs -o size=8m tmpfs \"$full\" || exit; \
                 \"$@\" --repository \"$full\"; code=$?; ls -A \"$full\"; exit $code";
    let url = scene.server.url("keeper");
    let mut command = isolated(Path::new("unshare"), scene.user.home());
    command
        .args([
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            mount,
            "sh",
        ])
        .arg(&full)
        .arg(stoker_bin().unwrap())
        .arg("backup")
        .args(run_words(&url, &[]));
    let ended = command.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("make room"), "{said}");
    assert_eq!(
        String::from_utf8_lossy(&ended.stdout),
        "",
        "nothing is left"
    );
    assert_eq!(scene.server.leftovers().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_backup_leaves_nothing() {
    let scene = Scene::on_folder().await;
    let running = scene.start(&["--max-rate", "512"]);
    let repository = scene.path("backups");
    until("a draft", async || drafts(&repository) == 1).await;
    running.signal("INT");
    let (code, said) = running.end().await;
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("interrupted: nothing half done is left"),
        "{said}"
    );
    assert_eq!(drafts(&repository), 0);
    // The server ends what was begun when it sees that nobody reads.
    until("no slot", async || scene.server.leftovers().await == 0).await;
    let listed = scene.json(&["list"], 0).await;
    assert_eq!(listed, serde_json::json!([]));
    let runs = scene.json(&["runs"], 0).await;
    assert_eq!(runs[0]["state"], "failed", "{runs:#}");
    scene.back_up(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_a_killed_backup_goes_with_the_next() {
    let scene = Scene::on_folder().await;
    let running = scene.start(&["--max-rate", "512"]);
    let repository = scene.path("backups");
    until("a draft", async || drafts(&repository) == 1).await;
    running.signal("KILL");
    running.end().await;
    let runs = scene.json(&["runs"], 0).await;
    assert_eq!(runs[0]["state"], "lost", "{runs:#}");
    scene.back_up(&[]).await;
    assert_eq!(drafts(&repository), 0);
    let listed = scene.json(&["list"], 0).await;
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed:#}");
    let runs = scene.json(&["runs"], 0).await;
    assert_eq!(runs[1]["state"], "lost", "{runs:#}");
}
