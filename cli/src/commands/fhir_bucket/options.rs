//! Every option of the Java tool.

/// What an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nothing.
    Nothing,
    /// The next argument, described for people.
    Value(&'static str),
    /// `true` or `false`, if one of them comes next.
    MaybeBool,
}

use Takes::{MaybeBool, Nothing, Value};

const COUNT: Takes = Value("a whole number");
const PROPERTIES: Takes = Value("a properties file");

/// Names as they are typed, and what each takes.
const OPTIONS: [(&str, Takes); 44] = [
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
];

/// What an option takes; none when there is no such option.
pub(super) fn takes(name: &str) -> Option<Takes> {
    OPTIONS
        .iter()
        .find(|(option, _)| *option == name)
        .map(|(_, takes)| *takes)
}

/// The option that looks most like `text`.
pub(super) fn nearest(text: &str) -> &'static str {
    let text = text.trim_start_matches('-');
    let likeness =
        |option: &str| strsim::normalized_levenshtein(option.trim_start_matches('-'), text);
    let names = OPTIONS.iter().map(|(option, _)| *option);
    names
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
        .unwrap_or("--help")
}

/// Those that can be given.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    OPTIONS.iter().map(|(name, _)| *name)
}
