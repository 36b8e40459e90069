//! The Java tool's README on reindexing, as printed, against a FHIR server with TLS.

use std::collections::BTreeSet;
use std::fs;

use stoker_sandbox::{Fault, FaultRule};
use stoker_tests::repository;

use super::world::{World, printed};

/// The world of `01-reindex.sh` and `02-reindex-force.sh`.
async fn world(resources: u32) -> World {
    let world = World::with_resources(resources).await;
    let server = world.read("fhir.properties");
    world.write("your-fhir-server.properties", &server);
    world
}

#[tokio::test]
async fn what_the_readme_prints_reindexes_every_resource_once() {
    let world = world(2000).await;
    let (code, said) = world.run("01-reindex.sh").await;
    assert_eq!(code, 0, "{said}");
    let stats = world.sandbox.reindex_stats();
    assert_eq!((stats.distinct, stats.repeats), (2000, 0), "{stats:#?}");
    assert_eq!(stats.forced, 0, "without --reindex-force nothing is forced");
    assert_eq!(stats.pick_calls, 0, "Stoker picks");
    assert!(stats.most_ids_in_a_call <= 50, "{stats:#?}");
    assert!(stats.calls_peak <= 20, "{stats:#?}");
    let log = world.read("fhirbucket-0-0.log");
    assert!(log.contains("Reindexing was completed"), "{log}");
    for text in [&log, &said] {
        assert!(!text.contains("geheim-1"), "a secret: {text}");
    }

    let (code, said) = world.run("02-reindex-force.sh").await;
    assert_eq!(code, 0, "{said}");
    let stats = world.sandbox.reindex_stats();
    assert_eq!((stats.indexed, stats.forced), (4000, 2000), "{stats:#?}");
}

#[tokio::test]
async fn without_client_driven_the_server_picks() {
    let world = world(300).await;
    let line = "fhir-bucket --fhir-properties fhir.properties --no-scan --reindex-tstamp 2020-12-01 \
                --reindex-client-side-driven false --reindex-resource-count 5000 --reindex-force";
    let run = world
        .user
        .args(line.split_whitespace())
        .run()
        .await
        .unwrap();
    assert_eq!(run.code, 0, "{run:#?}");
    assert!(run.stderr.contains("clamped to 1000"), "{run:#?}");
    let stats = world.sandbox.reindex_stats();
    assert_eq!((stats.distinct, stats.forced), (300, 300), "{stats:#?}");
    assert_eq!(
        (stats.list_calls, stats.retrieve_calls),
        (0, 0),
        "{stats:#?}"
    );
}

#[tokio::test]
async fn what_cannot_be_reindexed_holds_up_nothing_and_is_listed() {
    let world = world(200).await;
    let fails = Fault::ReindexFails {
        index_ids: BTreeSet::from([42]),
        resources: BTreeSet::new(),
    };
    world
        .sandbox
        .faults()
        .set(vec![FaultRule::new(fails)])
        .unwrap();
    let (code, said) = world.run("01-reindex.sh").await;
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("index id 42 (status 500"), "{said}");
    assert_eq!(world.sandbox.reindex_stats().distinct, 199);
    let list = world
        .user
        .args(["reindex", "failures", "1"])
        .run()
        .await
        .unwrap();
    assert!(list.stdout.contains("index id 42"), "{list:#?}");
}

#[tokio::test]
async fn it_begins_with_the_index_id_that_is_given() {
    let world = world(100).await;
    let from = ["--reindex-start-with-index-id".to_owned(), "101".to_owned()];
    let args = [world.args("01-reindex.sh"), from.into()].concat();
    let run = world.user.args(args).run().await.unwrap();
    assert_eq!(run.code, 0, "{run:#?}");
    // Index ids are even: 2 to 200.
    assert_eq!(world.sandbox.reindex_stats().distinct, 50);
    assert_eq!(world.sandbox.reindexed(100), Some(0));
    assert_eq!(world.sandbox.reindexed(102), Some(1));
}

#[test]
fn every_option_of_the_readme_is_described() {
    let page = fs::read_to_string(repository::root().join("docs/fhir-bucket.md")).unwrap();
    let options = printed("03-reindex-options.txt");
    let options = options
        .lines()
        .skip(1)
        .filter_map(|row| row.split(' ').next());
    let options: Vec<_> = options.collect();
    assert_eq!(options.len(), 7, "{options:?}");
    for option in options {
        assert!(page.contains(&format!("`{option}`")), "{option}");
    }
}
