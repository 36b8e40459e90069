//! What fhir-bucket did counts for the first job that finds the same objects.

use bucket_scanner::ledger::{FoundObject, JavaTool, LedgerError, StartJob};
use stoker_proto::common::v1::{FileType, Source};
use stoker_proto::ledger::v1::{JobOptions, JobState, LoadErrorKind};

use crate::adopting::{SCHEMA, adopted, database, look, number};
use crate::postgres::rates;
use crate::world::{World, key_of, modified, start, uncompressed};

/// As a listing shows it now: in UTC, to the microsecond.
fn shown(key: &str, size: u64) -> FoundObject {
    let is_json = key.rsplit_once('.').is_some_and(|(_, of)| of == "json");
    FoundObject {
        last_modified: modified(123_456),
        file_type: if is_json {
            FileType::Json
        } else {
            FileType::Ndjson
        },
        ..uncompressed(key, size)
    }
}

fn folder() -> Vec<FoundObject> {
    let sizes = [
        ("never.ndjson", 100),
        ("dead.ndjson", 200),
        ("stale.ndjson", 300),
        ("done.ndjson", 400),
        ("changed.ndjson", 500),
        ("done.json", 600),
        ("relative.ndjson", 700),
        ("reset.ndjson", 1000),
        ("empty.ndjson", 0),
    ];
    sizes
        .map(|(name, size)| shown(&format!("/data/in/{name}"), size))
        .into()
}

fn in_bucket(uri: &str) -> StartJob {
    StartJob {
        source: Source {
            uri: uri.to_owned(),
            reach: String::new(),
        },
        ..start()
    }
}

fn object_of(key: &str, size: u64, etag: &str) -> FoundObject {
    FoundObject {
        bucket_name: "bkt".to_owned(),
        etag: etag.to_owned(),
        ..shown(key, size)
    }
}

/// Leases and finishes everything; answers what was there.
async fn load_all(world: &World) -> Vec<String> {
    let worker = world.worker().await;
    let mut keys = Vec::new();
    loop {
        let units = world.lease(worker, 10).await;
        if units.is_empty() {
            keys.sort();
            return keys;
        }
        for unit in units {
            keys.push(key_of(&unit).rsplit('/').next().unwrap().to_owned());
            world.finish(&unit).await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_was_loaded_is_not_loaded_again() {
    let (_database, mut conn, world) = adopted().await;
    let job = world.start(&start()).await;
    let registered = world.scan(&folder()).await;
    assert_eq!(
        (registered.new, registered.changed, registered.planned),
        (0, 0, 5)
    );
    assert_eq!(world.run(job).await.objects_unchanged, 3);
    let errors = world.errors(job, false).await;
    let of = |kind: LoadErrorKind| {
        let found = errors.iter().filter(|e| e.kind() == kind);
        let mut keys: Vec<_> = found.map(|e| e.key.as_str()).collect();
        keys.sort_unstable();
        keys
    };
    let begun = ["/data/in/dead.ndjson", "/data/in/stale.ndjson"];
    assert_eq!(of(LoadErrorKind::Repeated), begun, "may be there twice");
    let refused = [
        "/data/in/done.json",
        "/data/in/done.ndjson",
        "/data/in/done.ndjson",
    ];
    assert_eq!(of(LoadErrorKind::Rejected), refused);
    let left = ["changed", "dead", "never", "reset", "stale"];
    assert_eq!(
        load_all(&world).await,
        left.map(|name| format!("{name}.ndjson"))
    );
    assert_eq!(world.state(job).await, JobState::Done);
    let patients = "SELECT created FROM load_counts WHERE resource_bundle_load_id = 3 \
         AND resource_type = 'Patient'";
    assert_eq!(number(&mut conn, patients).await, 3);

    world.start(&start()).await;
    assert_eq!(world.scan(&folder()).await.planned, 0);
    assert_eq!(world.run(job).await.objects_unchanged, 8);
}

#[tokio::test]
async fn only_what_can_be_sent_alone_is_retried() {
    let (_database, _conn, world) = adopted().await;
    let history = world.ledger.jobs().await.unwrap()[0].job_id;
    let error = world.ledger.retry_job(history).await.unwrap_err();
    assert!(matches!(error, LedgerError::NotNow(_)), "{error}");
    let job = world.start(&start()).await;
    world.scan(&folder()).await;
    load_all(&world).await;
    let retried = world.ledger.retry_job(job).await.unwrap();
    assert_eq!((retried.inputs, retried.units), (1, 1));
    assert_eq!(load_all(&world).await, ["done.json"]);
    let lines = world.errors(job, false).await;
    let lines = lines.iter().filter(|e| e.kind() == LoadErrorKind::Rejected);
    let lines: Vec<_> = lines.map(|e| e.position.unwrap().line).collect();
    assert_eq!(
        lines,
        [1, 3],
        "of lines of which nobody knows where they begin"
    );
}

#[tokio::test]
async fn what_has_changed_since_is_loaded() {
    let (_database, _conn, world) = adopted().await;
    let job = world.start(&start()).await;
    let other_time = FoundObject {
        last_modified: modified(1_123_456),
        ..shown("/data/in/done.json", 600)
    };
    let larger = [
        shown("/data/in/done.ndjson", 401),
        shown("/data/in/dead.ndjson", 201),
    ];
    let [done, dead] = larger;
    let registered = world.scan(&[other_time, done, dead]).await;
    assert_eq!(
        (registered.new, registered.changed, registered.planned),
        (0, 3, 3)
    );
    assert_eq!(
        world.errors(job, false).await.len(),
        0,
        "all are of older versions"
    );
    assert_eq!(load_all(&world).await.len(), 3);
}

#[tokio::test]
async fn objects_of_buckets_count_too() {
    let (_database, _conn, world) = adopted().await;
    let job = world.start(&in_bucket("s3://bkt")).await;
    let objects = [
        object_of("top.ndjson", 800, "abc-1"),
        object_of("p/q/twice.json", 900, "e9"),
        object_of("p/q/never.ndjson", 1100, "n"),
        object_of("p/q/new.ndjson", 5, "x"),
    ];
    let registered = world.scan(&objects).await;
    assert_eq!(
        (registered.new, registered.changed, registered.planned),
        (1, 0, 2)
    );
    assert_eq!(world.run(job).await.objects_unchanged, 2);
    assert_eq!(load_all(&world).await, ["never.ndjson", "new.ndjson"]);
    // The folder's objects wait for a job of theirs.
    world.start(&start()).await;
    assert_eq!(world.scan(&folder()).await.planned, 5);
}

#[tokio::test]
async fn what_is_known_is_loaded_without_a_listing() {
    let (_database, _conn, world) = adopted().await;
    let known = |uri: &str| StartJob {
        options: JobOptions {
            no_scan: true,
            ..JobOptions::default()
        },
        ..in_bucket(uri)
    };
    for (uri, expected) in [
        ("s3://bkt/p/", 1),
        ("s3://other", 0),
        ("file:///data/in", 5),
        ("file:///data/in/done.ndjson", 0),
    ] {
        let job = world.start(&known(uri)).await;
        let scan = world.begin_scan().await;
        let (mut planned, mut after) = (0, Some(0));
        while let Some(id) = after {
            let (registered, next) = world.ledger.register_known(&scan, id).await.unwrap();
            planned += registered.planned;
            after = next;
        }
        world.ledger.finish_scan(&scan, None).await.unwrap();
        assert_eq!(planned, expected, "{uri}");
        load_all(&world).await;
        assert_eq!(world.state(job).await, JobState::Done, "{uri}");
    }
    // A listing then shows nothing new, though its times are of another zone.
    world
        .start(&StartJob {
            options: JobOptions::default(),
            ..in_bucket("file:///data/in")
        })
        .await;
    let registered = world.scan(&folder()).await;
    assert_eq!(
        (registered.new, registered.changed, registered.planned),
        (0, 0, 0)
    );
}

#[tokio::test]
async fn a_schema_without_rows_is_adopted() {
    let (database, mut conn) = database("fhirbucket", &[SCHEMA]).await;
    assert_eq!(look(&database).await.unwrap().java, JavaTool::Adoptable);
    let world = World::on(&database).await;
    let job = world.start(&start()).await;
    assert_eq!(world.scan(&folder()).await.planned, 8);
    load_all(&world).await;
    assert_eq!(world.state(job).await, JobState::Done);
    assert_eq!(
        number(&mut conn, "SELECT COUNT(*) FROM resource_types").await,
        141
    );
}

#[tokio::test]
async fn the_analytic_query_runs_on_what_was_adopted() {
    let (_database, mut conn, _world) = adopted().await;
    let rate = |name: &str, of: &str, count, rate, took| {
        (1, name.to_owned(), of.to_owned(), count, rate, took)
    };
    // Types with one resource have no rate, and what is not ended does not count.
    let expected = [
        rate("done.ndjson", "Patient", 3, 0.75, 10.0),
        rate("relative.ndjson", "Observation", 2, 0.2, 20.0),
    ];
    assert_eq!(rates(&mut conn).await, expected);
}

/// As operators of fhir-bucket have all bundles loaded again.
const RESET_ALL: &str = "\
UPDATE fhirbucket.resource_bundles SET loader_instance_id = NULL, allocation_id = NULL,
       version = version + 1
 WHERE resource_bundle_id IN (
       SELECT rb.resource_bundle_id
         FROM fhirbucket.resource_bundles rb, fhirbucket.resource_bundle_loads bl
        WHERE bl.allocation_id = rb.allocation_id
          AND bl.resource_bundle_id = rb.resource_bundle_id
          AND bl.load_completed IS NOT NULL)";

#[tokio::test]
async fn a_reset_by_hand_has_nothing_loaded_and_a_reload_has_all() {
    let (_database, mut conn, world) = adopted().await;
    let job = world.start(&start()).await;
    world.scan(&folder()).await;
    load_all(&world).await;
    let reset = sqlx::raw_sql(RESET_ALL).execute(&mut conn).await.unwrap();
    assert!(reset.rows_affected() >= 8, "{reset:?}");
    world.start(&start()).await;
    assert_eq!(world.scan(&folder()).await.planned, 0);
    world
        .start(&StartJob {
            reload: true,
            ..start()
        })
        .await;
    assert_eq!(world.scan(&folder()).await.planned, 8);
    load_all(&world).await;
    assert_eq!(world.state(job).await, JobState::Done);
}
