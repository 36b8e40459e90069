//! `stoker reindex` as a person uses it: one process, on a sandbox server.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};
use stoker_sandbox::{Fault, FaultRule};

use self::scene::{Scene, TSTAMP};

mod scene;
mod steering;

#[tokio::test]
async fn each_resource_is_reindexed_once_and_the_report_says_so() {
    for how in [&[][..], &["--client-driven"]] {
        let scene = Scene::new(3000).await;
        let run = scene
            .reindex(&[how, &["--report", "r.json"]].concat())
            .await;
        assert_eq!(run.code, 0, "{run:#?}");
        assert!(run.stdout.contains("reindexed  3000"), "{run:#?}");
        let stats = scene.sandbox.reindex_stats();
        assert_eq!((stats.distinct, stats.repeats), (3000, 0), "{stats:#?}");
        assert_eq!(stats.forced, 0, "force is not asked for");

        let report = fs::read(scene.user.home().join("r.json")).unwrap();
        let report: Value = serde_json::from_slice(&report).unwrap();
        assert_eq!(report["result"], "reindexed", "{report:#}");
        assert_eq!(report["exit_code"], 0);
        assert_eq!(report["reindexed"], 3000);
        assert_eq!(report["failures"], json!([]));
        assert_eq!(report["run"]["state"], "done");
        assert_eq!(report["run"]["spec"]["tstamp"], TSTAMP);
        assert!(report["run"]["progress"]["requests"].as_u64() > Some(2));

        let list = scene.json(&["list"]).await;
        assert_eq!(list[0], report["run"], "what is kept is what was told");
        let again = scene.reindex(how).await;
        assert_eq!(again.code, 0, "{again:#?}");
        let list = scene.json(&["list"]).await;
        assert_eq!(list[0]["run_id"], 2, "one that is done is not gone on with");
    }
}

#[tokio::test]
async fn types_and_force_are_as_asked_for() {
    let scene = Scene::new(1024).await;
    let flags = ["--client-driven", "--type", "Patient", "--force", "--json"];
    let run = scene.reindex(&flags).await;
    assert_eq!(run.code, 0, "{run:#?}");
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    // A sixteenth of the synthetic resources are Patients.
    assert_eq!(report["reindexed"], 64, "{report:#}");
    assert_eq!(report["run"]["spec"]["resource_types"], json!(["Patient"]));
    let stats = scene.sandbox.reindex_stats();
    assert_eq!((stats.distinct, stats.forced), (64, 64), "{stats:#?}");
}

#[tokio::test]
async fn what_can_never_be_reindexed_is_listed_with_exit_code_2() {
    let scene = Scene::new(500).await;
    let bad = [20, 400, 402];
    scene.fault(FaultRule::new(Fault::ReindexFails {
        index_ids: BTreeSet::from(bad),
        resources: BTreeSet::new(),
    }));
    let run = scene
        .reindex(&["--client-driven", "--report", "r.json"])
        .await;
    assert_eq!(run.code, 2, "{run:#?}");
    assert!(run.stdout.contains("failed     3"), "{run:#?}");
    assert!(run.stdout.contains("index id 400 (status 500"), "{run:#?}");
    let report = fs::read(scene.user.home().join("r.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["result"], "some_failed");
    let ids = |failures: &[Value]| -> Vec<u64> {
        let ids = failures.iter().map(|f| f["index_id"].as_u64().unwrap());
        ids.collect()
    };
    assert_eq!(ids(report["failures"].as_array().unwrap()), bad);

    let listed = scene.asked(&["failures", "1", "--json"]).await;
    let lines = listed.stdout.lines();
    let lines: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(ids(&lines), bad);
    assert!(lines[0]["attempts"].as_u64() >= Some(2), "{lines:#?}");
    let watched = scene.asked(&["watch", "1"]).await;
    assert_eq!(watched.code, 2, "as the run itself: {watched:#?}");
    let stats = scene.sandbox.reindex_stats();
    assert_eq!(stats.distinct, 497, "{stats:#?}");
}

#[tokio::test]
async fn what_cannot_run_says_why_and_what_to_do() {
    let scene = Scene::new(10).await;
    let base = scene.sandbox.base_url();
    for (line, expected) in [
        (
            format!("--to {base} --tstamp 2020-13-01"),
            "give YYYY-MM-DD",
        ),
        (
            format!("--to {base} --start-with-index-id 5"),
            "for client-driven runs",
        ),
        (
            format!("--to {base} --client-driven --concurrency 201"),
            "give 200 or fewer",
        ),
        (format!("--to {base} --batch many"), "neither auto nor"),
        (format!("--to {base} --type patient"), "no resource type"),
        (
            format!("--to {base} --client-driven --search Patient?"),
            "are for HAPI FHIR",
        ),
        (format!("--to {base} --report r.txt"), "name it FILE.json"),
        (format!("--to {base} --runs x.sqlite"), "x.sqlite"),
        (format!("--to {base} list"), "give one of them"),
        (
            "--to http://127.0.0.1:9/fhir".to_owned(),
            "http://127.0.0.1:9/fhir",
        ),
        (
            format!("--to {base} --server-token-file t"),
            "give --server URL too",
        ),
        (
            format!("--to {base} --server http://127.0.0.1:9"),
            "the reindex-driver cannot be asked",
        ),
        ("--tstamp 2020-01-01".to_owned(), "--to"),
        ("show 7".to_owned(), "there is no run 7"),
        (
            "list --runs sqlite:not-there.sqlite".to_owned(),
            "there are no runs",
        ),
    ] {
        let args = ["reindex"].into_iter().chain(line.split_whitespace());
        let run = scene.user.args(args).run().await.unwrap();
        assert_eq!(run.code, 1, "{line}: {run:#?}");
        assert!(run.stderr.contains(expected), "{line}: {run:#?}");
    }
    let none = scene.asked(&["list"]).await;
    assert_eq!(none.code, 0, "{none:#?}");
    assert!(
        none.stdout.contains("nothing has been reindexed yet"),
        "{none:#?}"
    );
    assert_eq!(scene.sandbox.reindex_stats().indexed, 0);
}

#[tokio::test]
async fn a_time_in_the_future_is_refused_by_the_server_and_told() {
    let scene = Scene::new(10).await;
    let base = scene.sandbox.base_url();
    let args = ["reindex", "--to", &base, "--tstamp", "2999-01-01"];
    let run = scene.user.args(args).run().await.unwrap();
    assert_eq!(run.code, 1, "{run:#?}");
    assert!(run.stderr.contains("future"), "{run:#?}");
    assert_eq!(scene.json(&["show", "1"]).await["state"], "stopped");
}

#[tokio::test]
async fn nothing_is_kept_where_it_is_asked_for() {
    let scene = Scene::new(100).await;
    let run = scene.reindex(&["--runs", "none"]).await;
    assert_eq!(run.code, 0, "{run:#?}");
    assert!(
        !scene
            .user
            .home()
            .join("data/stoker/reindex.sqlite")
            .exists()
    );
    let list = scene.asked(&["list", "--runs", "none"]).await;
    assert_eq!(list.code, 1, "{list:#?}");
    assert!(list.stderr.contains("gone with the command"), "{list:#?}");
}
