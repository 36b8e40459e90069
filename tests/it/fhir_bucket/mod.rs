//! `stoker fhir-bucket`: the recipes that the Java tool's README prints, as they are, against a FHIR server
//! with TLS, PostgreSQL and an object store.

use std::fs;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use stoker_tests::minio::{Minio, SECRET_KEY};
use stoker_tests::stoker::Stoker;
use stoker_tests::tool::Tool;
use stoker_tests::{parts, repository};

use self::world::{PASSWORD, World, bundle, patients, printed};

mod reindex;
mod world;

async fn count(database: &str, sql: &str) -> i64 {
    let mut connection = PgConnection::connect(database).await.unwrap();
    let sql = AssertSqlSafe(sql.to_owned());
    let count = sqlx::query_scalar(sql).fetch_one(&mut connection).await;
    count.unwrap()
}

#[tokio::test]
async fn a_bucket_is_loaded_with_a_schema_made_before_and_on_the_way() {
    let _turn = parts::turn().await;
    let world = World::new().await;
    let database = world.database("postgres.properties").await;
    let (code, said) = world.run("10-create-schema-postgresql.sh").await;
    assert_eq!(code, 0, "{said}");
    let tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'fhirbucket' \
                  AND table_name IN ('loader_instances', 'bucket_paths', 'resource_bundles', \
                  'resource_bundle_loads', 'resource_bundle_errors', 'resource_types', 'logical_resources')";
    assert_eq!(count(&database, tables).await, 7);

    let minio = Minio::start().await.unwrap();
    minio.make_bucket("example-bucket").await.unwrap();
    for file in 0..4 {
        let lines = patients(file * 25..(file + 1) * 25).into_bytes();
        let key = format!("in/{file}.ndjson");
        minio.put("example-bucket", &key, lines).await.unwrap();
    }
    let json = bundle(1).into_bytes();
    minio
        .put("example-bucket", "in/x.json", json)
        .await
        .unwrap();
    world.object_store(&minio);
    let mut tool = world.start("12-run.sh");
    let loaded = "SELECT count(*) FROM fhirbucket.logical_resources";
    let all = async |_: &Tool| count(&database, loaded).await >= 100;
    tool.until("100 Patients", all).await;
    assert_eq!(world.patients(), 100);
    let names = world.sandbox.resources("Patient");
    assert!(
        names.iter().any(|p| p["name"][0]["family"] == "Núñez-7"),
        "not as UTF-8"
    );
    assert!(
        names.iter().all(|p| p["id"] != "p7"),
        "the server gives the ids"
    );
    assert!(
        world.sandbox.resources("Observation").is_empty(),
        "no JSON files"
    );
    let said = tool.terminate().await;
    assert!(said.contains("Completed entry: <job 1 unit "), "{said}");
    for secret in ["Núñez", "geheim-1", PASSWORD, SECRET_KEY, "in/0.ndjson"] {
        assert!(!said.contains(secret), "{secret}: {said}");
    }

    assert!(printed("12-run.sh").contains(printed("11-bootstrap-schema.txt").trim()));

    // Nothing is new, so nothing is sent.
    let mut again = world.start("12-run.sh");
    again
        .until("a scan", async |tool| tool.log().contains("source listed"))
        .await;
    again.terminate().await;
    assert_eq!(world.sandbox.stats().versions_written, 100);
}

#[tokio::test]
async fn a_folder_is_loaded_without_a_database() {
    let world = World::new().await;
    world.bundles();
    let (code, said) = world.run("14-immediate-local.sh").await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(world.patients(), 20, "{said}");
    assert_eq!(world.sandbox.resources("Observation").len(), 20);
    assert!(said.contains("20 loaded"), "{said}");
    assert!(
        said.contains("requests 0 is taken for its default, 40"),
        "{said}"
    );
    let argument = printed("24-logging-argument.txt");
    assert!(printed("14-immediate-local.sh").contains(argument.trim()));
    let log = world.read("fhirbucket-0-0.log");
    assert!(log.contains("Completed entry: "), "{log}");
    for text in [&log, &said] {
        assert!(!text.contains("Ann_Example"), "names of patients: {text}");
    }
    world.write("data/bad.json", "{\"resourceType\":");
    let (code, said) = world.run("14-immediate-local.sh").await;
    assert_eq!(code, 2, "{said}");
    assert_eq!(world.patients(), 40, "without a ledger all is loaded again");
    assert!(
        world
            .read("fhirbucket-0-1.log")
            .contains("Completed entry: ")
    );
}

#[tokio::test]
async fn what_one_process_scans_another_loads() {
    let _turn = parts::turn().await;
    let world = World::new().await;
    world.bundles();
    let database = world.database("db.properties").await;
    let mut scanning = world.start("15-scan-local.sh");
    let planned = "SELECT count(*) FROM fhirbucket.resource_bundle_loads";
    scanning
        .until("a scan", async |tool| tool.log().contains("source listed"))
        .await;
    scanning.terminate().await;
    assert_eq!(count(&database, planned).await, 20, "the JSON files");
    assert_eq!(world.sandbox.stats().versions_written, 0, "only scanned");

    // Found by no scan, so not loaded.
    world.write("data/later.json", &bundle(99));
    let done =
        "SELECT count(*) FROM fhirbucket.resource_bundle_loads WHERE load_completed IS NOT NULL";
    let mut loading = world.start("16-load-scanned.sh");
    let mut beside = world.start_with(world.args("16-load-scanned.sh"), "beside");
    let all = async |_: &Tool| count(&database, done).await == 20;
    loading.until("20 loads", all).await;
    beside.until("20 loads", all).await;
    loading.terminate().await;
    beside.terminate().await;
    assert_eq!(world.patients(), 20);
    assert_eq!(world.sandbox.stats().versions_written, 40, "nothing twice");
}

#[tokio::test]
async fn derby_is_sqlite() {
    let _turn = parts::turn().await;
    let world = World::new().await;
    world.write("derby.properties", &printed("08-derby.properties"));
    let (code, said) = world.run("09-create-schema-derby.sh").await;
    assert_eq!(code, 0, "{said}");
    assert!(world.path("derby/bucketDB.sqlite").is_file(), "{said}");
    world.write("data/patients.ndjson", &patients(0..50));
    world.bundles();
    let data = world.path("data").display().to_string();
    let derby = printed("13-run-on-derby.txt");
    let options = derby.lines().map(|line| line.trim_end_matches('\\').trim());
    let options: Vec<_> = options.filter(|line| line.starts_with("--")).collect();
    let derby = options.join(" ");
    let line = format!(
        "fhir-bucket {derby} --fhir-properties fhir.properties --scan-local-dir {data} \
         --max-concurrent-json-files 0"
    );
    let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let mut tool = world.start_with(args.clone(), "derby");
    let all = async |tool: &Tool| tool.log().matches("Completed entry: ").count() >= 2;
    tool.until("two NDJSON files", all).await;
    tool.terminate().await;
    assert_eq!(world.patients(), 55);
    let mut again = world.start_with(args, "again");
    again
        .until("a scan", async |tool| tool.log().contains("source listed"))
        .await;
    again.terminate().await;
    assert_eq!(world.patients(), 55, "nothing twice");
}

#[tokio::test]
async fn bundles_are_broken_up_into_another_bucket() {
    let _turn = parts::turn().await;
    let world = World::new().await;
    world.database("db.properties").await;
    let minio = Minio::start().await.unwrap();
    for bucket in ["large", "small"] {
        minio.make_bucket(bucket).await.unwrap();
    }
    let post =
        r#"{"resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Patient"}}"#;
    let entries = [post; 10].join(",");
    let bundle = format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entries}]}}"#);
    let put = minio.put("large", "in/ten.json", bundle.into_bytes());
    put.await.unwrap();
    world.object_store(&minio);
    let line = "fhir-bucket --db-type postgresql --db-properties db.properties --cos-properties \
                cos.properties --bucket large --file-type JSON --target-bucket small --target-prefix \
                out --max-resources-per-bundle 4";
    let args = line.split_whitespace().map(str::to_owned).collect();
    let mut tool = world.start_with(args, "break");
    let done = async |tool: &Tool| tool.log().contains("Completed entry: ");
    tool.until("one Bundle", done).await;
    tool.terminate().await;
    let listed = minio.client().list_objects_v2().bucket("small").send();
    let listed = listed.await.unwrap().contents.unwrap_or_default();
    let keys: Vec<_> = listed.iter().filter_map(|object| object.key()).collect();
    let expected = [0, 1, 2].map(|part| format!("out/in/ten_SUB00{part}.json"));
    assert_eq!(keys, expected);
    assert_eq!(world.sandbox.stats().versions_written, 0, "nothing is sent");
}

#[tokio::test]
async fn every_option_and_property_of_the_readme_is_known_and_described() {
    let user = Stoker::new().unwrap();
    let page = fs::read_to_string(repository::root().join("docs/fhir-bucket.md")).unwrap();
    let named = |file: &str| -> Vec<String> {
        let rows = printed(file);
        let names = rows.lines().skip(1).filter_map(|row| row.split(' ').next());
        names.map(str::to_owned).collect()
    };
    let options = [named("17-options.txt"), vec!["--prop".to_owned()]].concat();
    assert!(options.len() > 30, "{options:?}");
    assert!(printed("19-database-property.txt").starts_with("--prop "));
    for option in options {
        assert!(page.contains(&format!("`{option}`")), "{option}");
        let run = user.args(["fhir-bucket", &option]).run().await.unwrap();
        assert_eq!(run.code, 1, "{run:#?}");
        assert!(!run.stderr.contains("Bad arg"), "{run:#?}");
    }
    for file in [
        "04-fhir-properties.txt",
        "18-database-properties.txt",
        "20-cos-properties.txt",
    ] {
        for key in named(file) {
            assert!(page.contains(&format!("`{key}`")), "{key}");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_done_is_said_in_a_sentence() {
    let world = World::new().await;
    world.write("data/one.json", r#"{"resourceType":"Patient"}"#);
    for (line, expected) in [
        ("--bukket b", "Bad arg: --bukket; did you mean --bucket?"),
        (
            "--no-scan --bucket",
            "--bucket needs a value: the name of a bucket",
        ),
        (
            "--db-type postgresql --no-scan",
            "needs the properties of the database",
        ),
        (
            "--reindex-tstamp 2020-12-01T00:00:00Z --no-scan",
            "give --fhir-properties",
        ),
        ("--concurrent-payer-requests 40", "load driver"),
        (
            "--immediate-local --fhir-properties no.properties --scan-local-dir data",
            "no.properties: cannot be read",
        ),
    ] {
        let args = ["fhir-bucket"].into_iter().chain(line.split_whitespace());
        let run = world.user.args(args).run().await.unwrap();
        assert_eq!(run.code, 1, "{line}: {run:#?}");
        assert!(run.stderr.contains(expected), "{line}: {run:#?}");
    }
    let (good, line) = (world.read("fhir.properties"), "14-immediate-local.sh");
    world.write("fhir.properties", &good.replace(PASSWORD, "wrong"));
    let (code, said) = world.run(line).await;
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("fhirClientTrustStore.p12: the password does not open"),
        "{said}"
    );
    assert!(!said.contains("wrong"), "{said}");
    let untrusting = good.replace("truststore=", "# truststore=");
    world.write("fhir.properties", &untrusting);
    let (code, said) = world.run(line).await;
    assert_eq!((code, world.patients()), (1, 0), "{said}");
    world.write("fhir.properties", &good);
    let (code, said) = world.run(line).await;
    assert_eq!((code, world.patients()), (0, 1), "{said}");
}
