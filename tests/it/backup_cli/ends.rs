//! Backups that are ended before their end.

use serde_json::Value;
use stoker_tests::services::Service;

use super::scene::{Scene, until};
use super::steering::settings;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_an_agent_elsewhere_is_cancelled() {
    let scene = Scene::on_folder().await;
    let slow = "backup.max_rate_kb=512".to_owned();
    let settings = [settings(&scene), vec![slow]].concat();
    let agent = Service::serve("backup-agent", &settings).unwrap();
    agent.listening().await.unwrap();
    let url = agent.url();
    let ask = async |words: &[&str]| {
        let words = [&["backup"], words, &["--server", &url]].concat();
        scene.user.args(words).run().await.unwrap()
    };
    let follows = scene.spawn(&["run", "fhir", "--server", &url]);
    until("something is received", async || {
        let runs = ask(&["runs", "--json"]).await.stdout;
        let runs: Vec<Value> = serde_json::from_str(&runs).unwrap();
        runs.first().and_then(|run| run["bytes"].as_u64()) > Some(0)
    })
    .await;
    let cancelled = ask(&["cancel", "1"]).await;
    assert_eq!(cancelled.code, 0, "{cancelled:#?}");
    for line in [
        "run 1: backup of fhir, failed",
        "reason      it was cancelled",
    ] {
        assert!(cancelled.stdout.contains(line), "{line}: {cancelled:#?}");
    }
    assert_eq!(scene.lies_there().await, [""; 0]);
    let (code, said) = follows.end().await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("error: it was cancelled"), "{said}");
    let watched = ask(&["watch", "1"]).await;
    assert_eq!(watched.code, 1, "{watched:#?}");
    until("no slot or session is left", async || {
        scene.server.leftovers().await + scene.server.sessions().await == 0
    })
    .await;
    let again = ask(&["cancel", "1"]).await;
    assert_eq!(again.code, 1, "{again:#?}");
    assert!(again.stderr.contains("is over already"), "{again:#?}");
    let listed = ask(&["list"]).await;
    assert!(listed.stdout.contains("no backups yet"), "{listed:#?}");
    assert_eq!(agent.terminate().await.unwrap(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_waits_for_nothing() {
    let scene = Scene::on_s3().await;
    let running = scene.start(&["--max-rate", "512"]);
    until("a draft", async || !scene.lies_there().await.is_empty()).await;
    // What is half done cannot be taken away for now.
    scene.minio().signal("STOP").unwrap();
    running.signal("INT");
    until("it is told how to stop at once", async || {
        running.said().contains("press Ctrl-C again")
    })
    .await;
    running.signal("INT");
    let (code, said) = running.end().await;
    scene.minio().signal("CONT").unwrap();
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("interrupted at once: the next `stoker backup run` takes away"),
        "{said}"
    );
    assert!(
        !scene.lies_there().await.is_empty(),
        "the next has something to do"
    );
    let made = scene.back_up(&[]).await;
    let name = super::name_of(&made);
    let others = scene.lies_there().await.into_iter();
    let others: Vec<_> = others.filter(|path| !path.contains(&name)).collect();
    assert_eq!(others, [""; 0]);
    let runs = scene.json(&["runs"], 0).await;
    assert_eq!(runs[1]["state"], "lost", "{runs:#}");
    assert_eq!(scene.json(&["list"], 0).await.as_array().unwrap().len(), 1);
}
