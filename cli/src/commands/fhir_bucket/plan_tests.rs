use std::path::Path;

use stoker_proto::reindex::v1::Method;
use tempfile::TempDir;

use super::*;

/// A folder with the files of the Java tool's README, and one to load.
struct World {
    folder: TempDir,
}

const FHIR: &str = "fhir.server.host=localhost\nfhir.server.endpoint=fhir-server/api/v4/\n";

impl World {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let world = Self { folder };
        world.write("fhir.properties", FHIR);
        let db = "db.host=db\ndb.port=5432\ndb.database=x\nuser=u\npassword=geheim\n";
        world.write("db.properties", db);
        world.write(
            "cos.properties",
            "cos.api.key=key\ncos.srvinstid=instance\ncos.endpoint.url=http://minio:9000\n\
             cos.location=us-east-1\ncos.bucket.name=named-in-file\ncos.max.keys=7\n",
        );
        std::fs::create_dir(world.path().join("data")).unwrap();
        world
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    /// Words like `@name` name a file of this folder.
    fn work(&self, line: &str) -> (anyhow::Result<Work>, Notes) {
        let word = |word: &str| match word.strip_prefix('@') {
            Some(name) => self.path().join(name).display().to_string(),
            None => word.to_owned(),
        };
        let args: Vec<String> = line.split_whitespace().map(word).collect();
        let given = Given::parse(&args).unwrap();
        // An empty file, so that nobody's own is read.
        self.write("stoker.yaml", "");
        let global = Global {
            config: Some(self.path().join("stoker.yaml")),
            json: false,
            verbose: 0,
            quiet: true,
        };
        let mut notes = Notes::default();
        (Work::of(&given, &global, &mut notes), notes)
    }

    fn keeping(&self, line: &str) -> (Keeping, Notes) {
        let line = format!("{DB} --fhir-properties @fhir.properties {line}");
        match self.work(&line) {
            (Ok(Work::Keep(keeping)), notes) => (*keeping, notes),
            (other, _) => panic!("{other:?}"),
        }
    }

    fn once(&self, line: &str) -> (Plan, Notes) {
        let line = format!("--fhir-properties @fhir.properties --immediate-local {line}");
        match self.work(&line) {
            (Ok(Work::Once(plan)), notes) => (*plan, notes),
            (other, _) => panic!("{other:?}"),
        }
    }

    fn refusal(&self, line: &str) -> String {
        format!("{:#}", self.work(line).0.unwrap_err())
    }
}

const DB: &str = "--db-type postgresql --db-properties @db.properties";
const COS: &str = "--cos-properties @cos.properties";

fn files(limits: &[UnitLimit]) -> Vec<(FileType, u32)> {
    limits
        .iter()
        .map(|limit| (limit.file_type(), limit.max_units))
        .collect()
}

#[test]
fn buckets_are_kept_loaded_as_the_java_tool_does() {
    let world = World::new();
    let (keeping, notes) = world.keeping(&format!(
        "{COS} --bucket a --bucket b --path-prefix in/20 --tenant-name t --recycle-seconds 60 \
         --bucket-path a:in/2024 --max-concurrent-fhir-requests 30 --bundle-cost-factor 0.5 \
         --pool-shutdown-timeout-seconds 20 --schema-name MINE --bootstrap-schema \
         --connection-pool-size 7"
    ));
    let load = &keeping.loads[0];
    assert_eq!(load.uri, "s3://a/in/20");
    assert_eq!(keeping.loads[1].uri, "s3://b/in/20");
    assert_eq!(load.base_url, "https://localhost:9443/fhir-server/api/v4");
    assert_eq!(
        (load.tenant.as_str(), load.interaction),
        ("t", Interaction::Create)
    );
    assert_eq!(load.file_types, [ObjectType::Ndjson]);
    assert_eq!(load.recycle_after, Some(Duration::from_mins(1)));
    assert_eq!(keeping.bucket_paths[0].bucket_path, "in/2024/");
    assert_eq!(
        files(&keeping.limits),
        [(FileType::Json, 10), (FileType::Ndjson, 1)]
    );
    let Keeping {
        scanner, worker, ..
    } = &keeping;
    assert_eq!(scanner.ledger_schema, "mine");
    assert_eq!(scanner.ledger_connections, 7);
    assert_eq!(scanner.ledger_password, Some("geheim".into()));
    assert_eq!(
        scanner.ledger.as_ref().unwrap().to_string(),
        "postgres://u@db:5432/x"
    );
    assert_eq!(scanner.scan_interval, Duration::from_mins(5));
    assert_eq!((scanner.s3.max_keys, worker.s3.max_keys), (7, 7));
    assert_eq!(worker.load.concurrency(), 30);
    assert_eq!(worker.load.bundle_cost_factor.to_string(), "0.5");
    assert_eq!(worker.load.drain, Duration::from_secs(20));
    assert!(!format!("{keeping:?}").contains("geheim"), "{keeping:?}");
    assert!(notes.warnings().is_empty(), "{notes:?}");
    let said = notes.infos().join("\n");
    assert!(said.contains("--file-type is not given"), "{said}");
    assert!(said.contains("a pair of S3 keys"), "{said}");
}

#[test]
fn what_is_not_given_is_as_in_the_java_tool() {
    let world = World::new();
    let (keeping, notes) = world.keeping(&format!("{COS} --bucket a --incremental-exact"));
    assert_eq!(keeping.worker.load.concurrency(), 40);
    assert_eq!(keeping.worker.load.drain, Duration::from_secs(130));
    assert_eq!(keeping.worker.load.max_bundle_entries, None);
    assert_eq!(keeping.loads[0].uri, "s3://a");
    assert_eq!(keeping.loads[0].recycle_after, None);
    assert!(!keeping.no_scan && keeping.bucket_paths.is_empty());
    let said = notes.infos().join("\n");
    assert!(said.contains("--incremental-exact add nothing"), "{said}");
    assert!(said.contains("a Bundle counts as one"), "{said}");
}

#[test]
fn intervals_are_given_or_found() {
    let world = World::new();
    for (given, expected) in [("60000", 60), ("0", 5), ("-1", 0)] {
        let line = format!("{COS} --bucket a --cos-scan-interval-ms {given}");
        let (keeping, _) = world.keeping(&line);
        assert_eq!(keeping.scanner.scan_interval, Duration::from_secs(expected));
    }
}

#[test]
fn the_bucket_of_the_file_counts_when_no_other_is_given() {
    let world = World::new();
    let (keeping, notes) = world.keeping(COS);
    assert_eq!(keeping.loads[0].uri, "s3://named-in-file");
    assert!(
        notes
            .infos()
            .iter()
            .any(|note| note.contains("cos.bucket.name=named-in-file"))
    );
    let (keeping, _) = world.keeping(&format!("{COS} --bucket a"));
    assert_eq!(keeping.loads.len(), 1);
    let (keeping, notes) = world.keeping(&format!("{COS} --bucket a --scan-local-dir @data"));
    assert!(keeping.loads[0].uri.starts_with("file:///"), "{keeping:?}");
    assert!(notes.warnings()[0].contains("--bucket has no effect"));
}

#[test]
fn zero_files_of_a_type_are_no_reader_of_it() {
    let world = World::new();
    let scan_only = "--scan-local-dir @data --file-type JSON --max-concurrent-fhir-requests 0 \
                     --max-concurrent-json-files 0 --max-concurrent-ndjson-files 0";
    let (keeping, notes) = world.keeping(scan_only);
    assert!(keeping.limits.is_empty() && !keeping.no_scan);
    assert_eq!(keeping.loads[0].file_types, [ObjectType::Json]);
    assert_eq!(keeping.worker.load.concurrency(), 40);
    assert!(
        notes
            .infos()
            .iter()
            .any(|note| note.contains("requests 0 is taken for its default"))
    );
    let (keeping, _) = world.keeping(
        "--scan-local-dir @data --file-type JSON --no-scan --max-concurrent-json-files 5 \
         --max-concurrent-ndjson-files 0",
    );
    assert_eq!(files(&keeping.limits), [(FileType::Json, 5)]);
    assert!(keeping.no_scan && keeping.loads[0].no_scan);
    assert_eq!(keeping.loads[0].file_types, [ObjectType::Json]);
    let (keeping, _) = world.keeping("--scan-local-dir @data --no-scan");
    assert!(
        keeping.loads[0].file_types.is_empty(),
        "all that was scanned"
    );
    let refused = world.refusal(&format!(
        "{DB} --fhir-properties @fhir.properties {scan_only} --no-scan"
    ));
    assert!(refused.contains("nothing to do"), "{refused}");
}

#[test]
fn a_folder_is_loaded_at_once_without_a_ledger() {
    let world = World::new();
    let (plan, _) = world.once(
        "--db-type postgresql --db-properties @not-there.properties --scan-local-dir @data \
         --max-concurrent-fhir-requests 0 --max-concurrent-json-files 0 --max-concurrent-ndjson-files 0",
    );
    assert_eq!(plan.scanner.ledger, Some(LedgerUrl::Memory));
    assert_eq!(
        files(&plan.limits),
        [(FileType::Json, 10), (FileType::Ndjson, 1)]
    );
    assert_eq!(plan.worker.load.concurrency(), 40);
    assert!(plan.options.file_types.is_empty(), "JSON and NDJSON");
    assert_eq!(plan.sending, Sending::Create);
    let (plan, _) =
        world.once("--scan-local-dir @data --file-type JSON --max-concurrent-json-files 3");
    assert_eq!(
        plan.options.file_types().collect::<Vec<_>>(),
        [FileType::Json]
    );
    assert_eq!(
        files(&plan.limits),
        [(FileType::Json, 3), (FileType::Ndjson, 1)]
    );
}

#[test]
fn fewer_connections_are_fewer_requests() {
    let world = World::new();
    world.write(
        "fhir.properties",
        &format!("{FHIR}pool.connections.max=4\n"),
    );
    let (keeping, _) = world.keeping("--scan-local-dir @data");
    assert_eq!(keeping.worker.load.concurrency(), 4);
}

#[test]
fn bundles_are_broken_up_into_another_bucket() {
    let world = World::new();
    // No FHIR server is needed.
    let keeping = |rest: &str| {
        let line = format!("{DB} {COS} --bucket a --target-bucket small {rest}");
        match world.work(&line).0 {
            Ok(Work::Keep(keeping)) => *keeping,
            other => panic!("{other:?}"),
        }
    };
    let one = keeping("--target-prefix /out/");
    assert_eq!(one.loads[0].base_url, "s3://small/out");
    assert_eq!(one.worker.load.max_bundle_entries, Some(100));
    let one = keeping("--max-resources-per-bundle 7");
    assert_eq!(one.loads[0].base_url, "s3://small");
    assert_eq!(one.worker.load.max_bundle_entries, Some(7));
    let several = keeping("--bucket b --path-prefix in --target-prefix out");
    let places = several.loads.iter().map(|load| load.base_url.as_str());
    let apart = ["s3://small/out/a", "s3://small/out/b"];
    assert_eq!(places.collect::<Vec<_>>(), apart);
    let (keeping, _) = world.keeping("--scan-local-dir @data --max-resources-per-bundle 9");
    assert_eq!(keeping.worker.load.max_bundle_entries, Some(9), "in flight");
}

#[test]
fn a_schema_is_made_without_a_fhir_server() {
    let world = World::new();
    let (work, _) = world.work(&format!(
        "{DB} --create-schema --fhir-properties @no.properties"
    ));
    let Work::Schema(config) = work.unwrap() else {
        panic!("nothing but the schema");
    };
    assert_eq!(config.ledger_schema, "fhirbucket");
}

#[test]
fn what_cannot_be_done_is_refused_with_the_way_out() {
    let world = World::new();
    let whole = format!("{DB} --fhir-properties @fhir.properties --scan-local-dir @data");
    for (line, expected) in [
        ("", "give --db-type and --db-properties"),
        ("--db-type derby", "needs the properties of the database"),
        ("--create-schema", "give --db-type"),
        ("--immediate-local", "name it with --scan-local-dir"),
        (
            "--immediate-local --scan-local-dir @data",
            "give --fhir-properties",
        ),
        (
            &format!("{DB} --scan-local-dir @data"),
            "give --fhir-properties",
        ),
        (
            &format!("{DB} --fhir-properties @fhir.properties"),
            "give --bucket",
        ),
        (
            &format!("{DB} --scan-local-dir /no/such"),
            "/no/such: cannot be read",
        ),
        (
            &format!("{DB} --cos-properties @no.properties"),
            "no.properties: cannot be read",
        ),
        (&format!("{whole} --file-type UNKNOWN"), "give one of these"),
        ("--reindex-tstamp 2020-12-01", "give --fhir-properties"),
        (
            &format!("{whole} --concurrent-payer-requests 40"),
            "load driver",
        ),
        (
            &format!("{whole} --concurrent-bench-requests 1"),
            "load driver",
        ),
    ] {
        let refused = world.refusal(line);
        assert!(refused.contains(expected), "{line}: {refused}");
    }
}

#[test]
fn a_reindexing_takes_its_options_and_no_database() {
    let world = World::new();
    let plan = |line: &str| {
        let line = format!("--fhir-properties @fhir.properties --no-scan {line}");
        match world.work(&line) {
            (Ok(Work::Reindex(plan)), notes) => (*plan, notes),
            (other, _) => panic!("{other:?}"),
        }
    };
    let (found, _) = plan(
        "--db-type postgresql --tenant-name t --reindex-tstamp 2020-12-01T00:00:00Z --reindex-resource-count 50 \
         --reindex-concurrent-requests 20 --max-concurrent-fhir-requests 100 --reindex-client-side-driven \
         --reindex-start-with-index-id 7 --pool-shutdown-timeout-seconds 9",
    );
    let spec = &found.spec;
    let target = spec.target.clone().unwrap();
    assert_eq!(target.base_url, "https://localhost:9443/fhir-server/api/v4");
    assert_eq!(target.tenant, "t");
    assert_eq!(spec.method(), Method::ClientDriven);
    assert_eq!(spec.tstamp, "2020-12-01T00:00:00Z");
    assert_eq!((spec.batch, spec.concurrency), (50, 20));
    assert_eq!((spec.start_with_index_id, spec.force), (Some(7), false));
    assert_eq!(found.config.reindex.drain, Duration::from_secs(9));

    let (found, _) =
        plan("--reindex-tstamp 2020-12-01 --reindex-client-side-driven false --reindex-force");
    assert_eq!(found.spec.method(), Method::ServerDriven);
    assert!(found.spec.force);
    assert_eq!((found.spec.batch, found.spec.concurrency), (10, 1));
    let (found, notes) = plan(
        "--reindex-tstamp 2020-12-01 --reindex-resource-count 5000 --reindex-concurrent-requests 300 \
         --max-concurrent-fhir-requests 250 --reindex-start-with-index-id 7 --bucket b",
    );
    assert_eq!((found.spec.batch, found.spec.concurrency), (1000, 200));
    assert_eq!(found.spec.start_with_index_id, None);
    assert!(notes.infos()[0].contains("clamped to 1000"), "{notes:?}");
    let said = notes.warnings().join("\n");
    for part in [
        "it is 250",
        "it is 200",
        "--reindex-start-with",
        "--bucket has no effect",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let (_, notes) = world.keeping("--scan-local-dir @data --reindex-force");
    assert!(
        notes.warnings()[0].contains("without --reindex-tstamp"),
        "{notes:?}"
    );
}

#[test]
fn properties_of_java_that_mean_nothing_are_named() {
    let world = World::new();
    let line = format!(
        "-Dfile.encoding=UTF-8 {DB} --fhir-properties @fhir.properties --scan-local-dir @data"
    );
    let (work, notes) = world.work(&line);
    assert!(work.is_ok(), "{work:?}");
    assert_eq!(notes.warnings(), ["-Dfile.encoding: has no effect here"]);
}
