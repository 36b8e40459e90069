use super::*;
use crate::java::options::Takes;

fn parse(line: &str) -> anyhow::Result<Given> {
    let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    Given::parse(&args)
}

fn given(line: &str) -> Given {
    parse(line).unwrap()
}

#[test]
fn every_option_is_understood() {
    let found = given(
        "--db-type postgresql --db-properties a --db-prop user=x --db-properties b --schema-name S \
         --cos-properties c --fhir-properties f --bucket b1 --bucket b2 --path-prefix in/ \
         --bucket-path b1:in/x/ --bucket-path b2:/ --file-type JSON --file-type ndjson \
         --scan-local-dir d --no-scan --cos-scan-interval-ms -1 --recycle-seconds 60 --incremental \
         --incremental-exact --max-concurrent-fhir-requests 40 --max-concurrent-json-files 10 \
         --max-concurrent-ndjson-files 0 --bundle-cost-factor 0.5 --connection-pool-size 20 \
         --pool-shutdown-timeout-seconds 130 --tenant-name t --immediate-local --target-bucket tb \
         --target-prefix tp --max-resources-per-bundle 50",
    );
    let file = |name: &str| DbProperties::File(name.into());
    let place = |bucket: &str, path: &str| BucketPath {
        bucket_name: bucket.to_owned(),
        bucket_path: path.to_owned(),
    };
    let one = DbProperties::One {
        name: "user".to_owned(),
        value: "x".into(),
    };
    let text = |text: &str| Some(text.to_owned());
    let expected = Given {
        db_type: Some(DbType::Postgresql),
        db_properties: vec![file("a"), one, file("b")],
        schema_name: text("S"),
        cos_properties: vec!["c".into()],
        fhir_properties: vec!["f".into()],
        buckets: vec!["b1".to_owned(), "b2".to_owned()],
        path_prefix: text("in/"),
        bucket_paths: vec![place("b1", "in/x/"), place("b2", "/")],
        file_types: vec![FileType::Json, FileType::Ndjson],
        scan_local_dir: text("d"),
        no_scan: true,
        scan_interval_ms: Some(-1),
        recycle_seconds: Some(60),
        incremental: true,
        incremental_exact: true,
        fhir_requests: Some(40),
        json_files: Some(10),
        ndjson_files: Some(0),
        bundle_cost_factor: Some(0.5),
        connection_pool_size: Some(20),
        shutdown_seconds: Some(130),
        tenant: text("t"),
        immediate_local: true,
        target_bucket: text("tb"),
        target_prefix: text("tp"),
        max_resources_per_bundle: Some(50),
        ..Given::default()
    };
    assert_eq!(found, expected);
}

#[test]
fn the_last_of_two_counts_unless_they_add_up() {
    let found = given("--tenant-name a --tenant-name b --db-type derby --db-type citus");
    assert_eq!(found.tenant.as_deref(), Some("b"));
    assert_eq!(found.db_type, Some(DbType::Postgresql));
    let step = |line| given(line).schema_step;
    assert_eq!(
        step("--create-schema --bootstrap-schema"),
        Some(SchemaStep::Bootstrap)
    );
    assert_eq!(
        step("--bootstrap-schema --create-schema"),
        Some(SchemaStep::Create)
    );
    assert_eq!(
        given("--recycle-seconds 5 --recycle-seconds -1").recycle_seconds,
        None
    );
    assert_eq!(given("--recycle-seconds 0").recycle_seconds, Some(0));
}

#[test]
fn each_option_that_takes_a_value_says_so_at_the_end() {
    let mut seen = 0;
    for (name, takes) in OPTIONS.0 {
        let Takes::Value(what) = takes else {
            continue;
        };
        seen += 1;
        let error = parse(name).unwrap_err().to_string();
        assert_eq!(error, format!("{name} needs a value: {what}"));
        let error = parse(&format!("{name} --no-scan")).unwrap_err().to_string();
        assert!(error.contains("--no-scan follows it"), "{error}");
    }
    assert_eq!(seen, 34);
}

#[test]
fn an_unknown_argument_names_the_nearest_option() {
    for (typed, meant) in [
        ("--buckets", "--bucket"),
        (
            "--max-concurrent-fhir-request",
            "--max-concurrent-fhir-requests",
        ),
        ("--fhir-property", "--fhir-properties"),
        ("--noscan", "--no-scan"),
        ("-tenant-name", "--tenant-name"),
    ] {
        let error = parse(&format!("--no-scan {typed} x")).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("Bad arg: {typed}; did you mean {meant}?")
        );
    }
}

#[test]
fn values_that_make_no_sense_are_refused_by_name() {
    for (line, expected) in [
        ("--db-type db2", "derby, postgresql or citus"),
        ("--file-type XML", "JSON or NDJSON"),
        ("--bucket-path b", "give BUCKET:PATH"),
        ("--bucket-path b:c:d", "give BUCKET:PATH"),
        (
            "--max-concurrent-json-files many",
            "--max-concurrent-json-files many",
        ),
        ("--max-concurrent-fhir-requests -1", "not a whole number"),
        ("--bundle-cost-factor -0.1", "0 or more"),
        ("--bundle-cost-factor NaN", "0 or more"),
        ("--connection-pool-size 0", "1 or more"),
        ("--max-resources-per-bundle 0", "1 or more"),
        ("--bench-size x", "not a whole number"),
        ("--reindex-resource-count 0", "1 or more"),
        ("--reindex-concurrent-requests 0", "1 or more"),
        ("--reindex-start-with-index-id x", "not a whole number"),
    ] {
        let error = parse(line).unwrap_err().to_string();
        assert!(error.contains(expected), "{line}: {error}");
    }
}

#[test]
fn a_database_property_may_hold_an_equals_sign() {
    let found = given("--db-prop password=a=b= --db-prop odd");
    let password = DbProperties::One {
        name: "password".to_owned(),
        value: "a=b=".into(),
    };
    assert_eq!(found.db_properties, [password, DbProperties::Odd]);
    assert!(!format!("{found:?}").contains("a=b="));
}

#[test]
fn a_drive_is_seen() {
    let drive = given("--concurrent-payer-requests 40 --patient-buffer-size 9 --bench-threads 2");
    assert_eq!(drive.drive, ["--concurrent-payer-requests"]);
    let none = given("--concurrent-payer-requests 0 --concurrent-bench-requests 0");
    assert!(none.drive.is_empty());
}

#[test]
fn arguments_of_java_come_first() {
    let found = given("-Djava.util.logging.config.file=l -jar x.jar --no-scan --help");
    assert_eq!(found.jvm.logging, Some("l".into()));
    assert!(found.no_scan && found.help);
    assert!(parse("--no-scan -jar x.jar").is_err());
}
