//! Every option of the Java tool.

use crate::java::options::Options;
use crate::java::options::Takes::{self, MaybeBool, Nothing, Value};

const COUNT: Takes = Value("a whole number");
const PROPERTIES: Takes = Value("a properties file");

/// Names as they are typed, and what each takes.
pub(super) const OPTIONS: Options = Options(&[
    ("--db-type", Value("derby, postgresql or citus")),
    ("--db-properties", PROPERTIES),
    ("--db-prop", Value("NAME=VALUE")),
    // What the Java tool's README calls it in its example.
    ("--prop", Value("NAME=VALUE")),
    ("--schema-name", Value("the name of a schema")),
    ("--create-schema", Nothing),
    ("--bootstrap-schema", Nothing),
    ("--cos-properties", PROPERTIES),
    ("--fhir-properties", PROPERTIES),
    ("--bucket", Value("the name of a bucket")),
    ("--path-prefix", Value("a prefix of keys")),
    ("--bucket-path", Value("BUCKET:PATH")),
    ("--file-type", Value("JSON or NDJSON")),
    ("--scan-local-dir", Value("a folder")),
    ("--no-scan", Nothing),
    ("--cos-scan-interval-ms", Value("a number of milliseconds")),
    ("--recycle-seconds", Value("a number of seconds")),
    ("--incremental", Nothing),
    ("--incremental-exact", Nothing),
    ("--max-concurrent-fhir-requests", COUNT),
    ("--max-concurrent-json-files", COUNT),
    ("--max-concurrent-ndjson-files", COUNT),
    ("--bundle-cost-factor", Value("a number such as 0.5")),
    ("--connection-pool-size", COUNT),
    (
        "--pool-shutdown-timeout-seconds",
        Value("a number of seconds"),
    ),
    ("--tenant-name", Value("the name of a tenant")),
    ("--immediate-local", Nothing),
    ("--target-bucket", Value("the name of a bucket")),
    ("--target-prefix", Value("a prefix of keys")),
    ("--max-resources-per-bundle", COUNT),
    ("--concurrent-payer-requests", COUNT),
    ("--patient-buffer-size", COUNT),
    ("--buffer-recycle-count", COUNT),
    ("--concurrent-bench-requests", COUNT),
    ("--bench-threads", COUNT),
    ("--bench-size", COUNT),
    (
        "--reindex-tstamp",
        Value("YYYY-MM-DD or YYYY-MM-DDThh:mm:ssZ"),
    ),
    ("--reindex-resource-count", COUNT),
    ("--reindex-concurrent-requests", COUNT),
    ("--reindex-client-side-driven", MaybeBool),
    (
        "--reindex-start-with-index-id",
        Value("the number of an index id"),
    ),
    ("--reindex-force", Nothing),
    ("--help", Nothing),
    ("-h", Nothing),
]);
