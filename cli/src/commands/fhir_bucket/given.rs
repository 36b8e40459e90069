//! What the command line says, as far as it can be told without opening a file.

use std::path::PathBuf;

use anyhow::{anyhow, bail};
use stoker_proto::common::v1::FileType;
use stoker_proto::ledger::v1::BucketPath;
use stoker_shared::secret::Secret;

use super::options::OPTIONS;
use super::reindex::GivenReindex;
use crate::java::jvm::Jvm;
use crate::java::options::{at_least_one, number};

/// Which kind of tracking database is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DbType {
    Derby,
    /// Also `citus`, which the Java tool treats the same.
    Postgresql,
}

/// What becomes of the schema before anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SchemaStep {
    /// Made or updated, and nothing else.
    Create,
    /// Made or updated, then the work.
    Bootstrap,
}

/// A source of properties of the database, in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DbProperties {
    File(PathBuf),
    One {
        name: String,
        value: Secret,
    },
    /// Without a `=`; the Java tool passes over such a one, too.
    Odd,
}

/// A number that stands for "none of these" or "the default" when it is 0.
pub(super) type Count = Option<usize>;

/// See the [module](self). What is not given is none, empty or false.
#[derive(Debug, Default, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub(super) struct Given {
    pub(super) jvm: Jvm,
    pub(super) help: bool,
    pub(super) db_type: Option<DbType>,
    pub(super) db_properties: Vec<DbProperties>,
    pub(super) schema_name: Option<String>,
    pub(super) schema_step: Option<SchemaStep>,
    pub(super) cos_properties: Vec<PathBuf>,
    pub(super) fhir_properties: Vec<PathBuf>,
    pub(super) buckets: Vec<String>,
    pub(super) path_prefix: Option<String>,
    pub(super) bucket_paths: Vec<BucketPath>,
    pub(super) file_types: Vec<FileType>,
    pub(super) scan_local_dir: Option<String>,
    pub(super) no_scan: bool,
    /// Negative: as long as suits the length of a scan.
    pub(super) scan_interval_ms: Option<i64>,
    pub(super) recycle_seconds: Option<u64>,
    pub(super) incremental: bool,
    pub(super) incremental_exact: bool,
    pub(super) fhir_requests: Count,
    pub(super) json_files: Count,
    pub(super) ndjson_files: Count,
    pub(super) bundle_cost_factor: Option<f64>,
    pub(super) connection_pool_size: Option<u32>,
    pub(super) shutdown_seconds: Option<u64>,
    pub(super) tenant: Option<String>,
    pub(super) immediate_local: bool,
    pub(super) target_bucket: Option<String>,
    pub(super) target_prefix: Option<String>,
    pub(super) max_resources_per_bundle: Count,
    pub(super) reindex: GivenReindex,
    /// Options given that drive an interop load or a bench load.
    pub(super) drive: Vec<String>,
}

impl Given {
    /// Reads the arguments after `stoker fhir-bucket`.
    pub(super) fn parse(args: &[String]) -> anyhow::Result<Self> {
        let (jvm, args) = Jvm::take(args);
        let mut given = Self {
            jvm,
            ..Self::default()
        };
        OPTIONS.parse(args, |name, value| given.set(name, value))?;
        Ok(given)
    }

    fn set(&mut self, name: &str, value: &str) -> anyhow::Result<()> {
        let path = || PathBuf::from(value);
        let text = || Some(value.to_owned());
        match name {
            "--help" | "-h" => self.help = true,
            "--db-type" => self.db_type = Some(db_type(value)?),
            "--db-properties" => self.db_properties.push(DbProperties::File(path())),
            "--db-prop" | "--prop" => self.db_properties.push(db_property(value)),
            "--schema-name" => self.schema_name = text(),
            "--create-schema" => self.schema_step = Some(SchemaStep::Create),
            "--bootstrap-schema" => self.schema_step = Some(SchemaStep::Bootstrap),
            "--cos-properties" => self.cos_properties.push(path()),
            "--fhir-properties" => self.fhir_properties.push(path()),
            "--bucket" => self.buckets.push(value.to_owned()),
            "--path-prefix" => self.path_prefix = text(),
            "--bucket-path" => self.bucket_paths.push(bucket_path(value)?),
            "--file-type" => self.file_types.push(file_type(value)?),
            "--scan-local-dir" => self.scan_local_dir = text(),
            "--no-scan" => self.no_scan = true,
            "--cos-scan-interval-ms" => self.scan_interval_ms = Some(number(name, value)?),
            "--recycle-seconds" => {
                // Below 0, the Java tool's default: never.
                self.recycle_seconds = u64::try_from(number::<i64>(name, value)?).ok();
            }
            "--incremental" => self.incremental = true,
            "--incremental-exact" => self.incremental_exact = true,
            "--tenant-name" => self.tenant = text(),
            "--immediate-local" => self.immediate_local = true,
            "--target-bucket" => self.target_bucket = text(),
            "--target-prefix" => self.target_prefix = text(),
            name => match name.strip_prefix("--reindex-") {
                Some(reindex) => return self.reindex.set(reindex, value),
                None => return self.set_number(name, value),
            },
        }
        Ok(())
    }

    /// Options that take a number, and those of other work.
    fn set_number(&mut self, name: &str, value: &str) -> anyhow::Result<()> {
        match name {
            "--max-concurrent-fhir-requests" => self.fhir_requests = Some(number(name, value)?),
            "--max-concurrent-json-files" => self.json_files = Some(number(name, value)?),
            "--max-concurrent-ndjson-files" => self.ndjson_files = Some(number(name, value)?),
            "--bundle-cost-factor" => self.bundle_cost_factor = Some(factor(name, value)?),
            "--connection-pool-size" => {
                self.connection_pool_size = Some(at_least_one(name, value)?);
            }
            "--pool-shutdown-timeout-seconds" => {
                self.shutdown_seconds = Some(number(name, value)?);
            }
            "--max-resources-per-bundle" => {
                self.max_resources_per_bundle = Some(at_least_one(name, value)? as usize);
            }
            // 0 is what the Java tool has when they are not given: no such load.
            "--concurrent-payer-requests" | "--concurrent-bench-requests"
                if number::<u32>(name, value)? == 0 => {}
            "--concurrent-payer-requests" | "--concurrent-bench-requests" => {
                self.drive.push(name.to_owned());
            }
            // They only say how such a load is done.
            _ => drop(number::<u32>(name, value)?),
        }
        Ok(())
    }
}

fn db_type(value: &str) -> anyhow::Result<DbType> {
    match value.to_ascii_lowercase().as_str() {
        "derby" => Ok(DbType::Derby),
        "postgresql" | "citus" => Ok(DbType::Postgresql),
        _ => bail!("--db-type {value}: is none; give derby, postgresql or citus"),
    }
}

/// A value may hold a `=`, as a password can.
fn db_property(text: &str) -> DbProperties {
    match text.split_once('=') {
        Some((name, value)) => DbProperties::One {
            name: name.to_owned(),
            value: value.into(),
        },
        None => DbProperties::Odd,
    }
}

fn bucket_path(value: &str) -> anyhow::Result<BucketPath> {
    match value.split_once(':') {
        Some((bucket, path)) if !bucket.is_empty() && !path.is_empty() && !path.contains(':') => {
            Ok(BucketPath {
                bucket_name: bucket.to_owned(),
                // The ledger keeps paths so.
                bucket_path: format!("{}/", path.trim_end_matches('/')),
            })
        }
        _ => bail!("--bucket-path {value}: give BUCKET:PATH, such as my-bucket:in/2024/"),
    }
}

fn file_type(value: &str) -> anyhow::Result<FileType> {
    match value.to_ascii_uppercase().as_str() {
        "JSON" => Ok(FileType::Json),
        "NDJSON" => Ok(FileType::Ndjson),
        // What the Java tool calls files that are neither.
        "UNKNOWN" => Ok(FileType::Unspecified),
        _ => bail!("--file-type {value}: is none; give JSON or NDJSON"),
    }
}

fn factor(name: &str, value: &str) -> anyhow::Result<f64> {
    let parsed = value.trim().parse().ok();
    let usable = parsed.filter(|factor: &f64| factor.is_finite() && *factor >= 0.0);
    usable.ok_or_else(|| anyhow!("{name} {value}: is not a number of 0 or more"))
}

#[cfg(test)]
#[path = "given_tests.rs"]
mod tests;
