//! Messages recorded from a real server, with the database before and after; see `tests/data/README.md`.

use std::env;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::value::RawValue;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};
use tempfile::TempDir;

use super::Message;
use crate::fhir_database::FhirDatabase;
use crate::repository;

/// A recorded set.
#[derive(Debug)]
pub struct Captured {
    folder: PathBuf,
}

impl Captured {
    /// First, second and third versions, deletes, every resource type with all kinds of parameters.
    pub fn updates() -> anyhow::Result<Self> {
        Self::in_folder(repository::root().join("tests/data/remote-index/updates"))
    }

    /// 25,457 first versions: for figures. It lies outside of the repository.
    pub fn bulk() -> anyhow::Result<Self> {
        let beside = || repository::root().join("../shared/data");
        let data = env::var_os("STOKER_TEST_DATA").map(PathBuf::from);
        let named = data.filter(|folder| folder.join(BULK).is_dir());
        let folder = named.unwrap_or_else(beside).join(BULK);
        Self::in_folder(folder).context(
            "the recorded messages are not part of the repository: put them in ../shared/data/remote-index/bulk \
             beside it, or in a folder remote-index/bulk below the one that STOKER_TEST_DATA names",
        )
    }

    fn in_folder(folder: PathBuf) -> anyhow::Result<Self> {
        for name in [MESSAGES, BEFORE, EXPECTED] {
            let file = folder.join(name);
            ensure!(file.is_file(), "{} is not there", file.display());
        }
        Ok(Self { folder })
    }

    /// The messages, in the order of each partition.
    pub fn messages(&self) -> anyhow::Result<Vec<Message>> {
        let lines = self.lines(MESSAGES)?;
        lines.iter().map(|line| message(line)).collect()
    }

    /// All rows of the parameter tables after the messages were applied, sorted.
    pub fn expected(&self) -> anyhow::Result<Vec<String>> {
        self.lines(EXPECTED)
    }

    /// Loads the state before into a fresh database.
    pub async fn load_before(&self, database: &FhirDatabase) -> anyhow::Result<()> {
        let folder = self.unpacked_before()?;
        let counts: Counts =
            serde_json::from_reader(File::open(folder.path().join("counts.json"))?)?;
        let mut connection = database.connect().await?;
        connection.execute("DELETE FROM resource_types").await?;
        for table in SYSTEM_TABLES {
            let file = folder.path().join(format!("{table}.csv"));
            if file.is_file() {
                copy_in(&mut connection, table, &file).await?;
            }
        }
        copy_in_types(&mut connection, folder.path()).await?;
        for (sequence, last) in [
            ("fhir_sequence", &counts.sequences.fhir_sequence),
            ("fhir_ref_sequence", &counts.sequences.fhir_ref_sequence),
        ] {
            let set = format!("SELECT setval('{sequence}', {last})");
            connection.execute(AssertSqlSafe(set)).await?;
        }
        // As autovacuum would have done since.
        connection
            .execute("ANALYZE logical_resource_ident, logical_resources, parameter_names")
            .await?;
        Ok(())
    }

    fn unpacked_before(&self) -> anyhow::Result<TempDir> {
        let folder = TempDir::new()?;
        let archive = zstd::stream::copy_decode;
        let mut tar = Command::new("tar")
            .args(["-xf", "-", "-C"])
            .arg(folder.path())
            .stdin(Stdio::piped())
            .spawn()
            .context("cannot run tar")?;
        let into = tar.stdin.take().context("tar takes nothing")?;
        archive(File::open(self.folder.join(BEFORE))?, into)?;
        let ended = tar.wait()?;
        ensure!(ended.success(), "tar: {ended}");
        Ok(folder)
    }

    fn lines(&self, name: &str) -> anyhow::Result<Vec<String>> {
        let file = self.folder.join(name);
        let decoder = zstd::Decoder::new(File::open(&file)?)?;
        let lines: Result<_, _> = BufReader::new(decoder).lines().collect();
        lines.with_context(|| format!("{} cannot be read", file.display()))
    }
}

const BULK: &str = "remote-index/bulk";
const MESSAGES: &str = "messages.ndjson.zst";
const BEFORE: &str = "before.tar.zst";
const EXPECTED: &str = "expected.ndjson.zst";

/// Those that others refer to come first.
const SYSTEM_TABLES: [&str; 7] = [
    "resource_types",
    "parameter_names",
    "code_systems",
    "common_token_values",
    "common_canonical_values",
    "logical_resource_ident",
    "logical_resources",
];

#[derive(Deserialize)]
struct Counts {
    sequences: Sequences,
}

#[derive(Deserialize)]
struct Sequences {
    fhir_sequence: String,
    fhir_ref_sequence: String,
}

#[derive(Deserialize)]
struct Record<'a> {
    key: String,
    partition: i32,
    #[serde(borrow)]
    value: &'a RawValue,
}

fn message(line: &str) -> anyhow::Result<Message> {
    let record: Record<'_> = serde_json::from_str(line)?;
    Ok(Message {
        key: record.key,
        partition: Some(record.partition),
        value: record.value.get().to_owned(),
    })
}

/// The file's first line names the columns.
async fn copy_in(connection: &mut PgConnection, table: &str, file: &Path) -> anyhow::Result<()> {
    let text = fs::read_to_string(file)?;
    let (columns, _) = text.split_once('\n').context("an empty file")?;
    let copy = format!("COPY {table} ({columns}) FROM STDIN (FORMAT csv, HEADER)");
    copy_text(connection, &copy, &text)
        .await
        .with_context(|| format!("{} cannot be loaded", file.display()))
}

/// The tables `{type}_logical_resources`, by one COPY: each costs a delayed answer, and there are many.
async fn copy_in_types(connection: &mut PgConnection, folder: &Path) -> anyhow::Result<()> {
    let (mut rows, mut inserts) = (String::new(), String::new());
    for entry in fs::read_dir(folder)? {
        let file = entry?.path();
        let table = file
            .file_stem()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if !table.ends_with("_logical_resources") {
            continue;
        }
        for line in fs::read_to_string(&file)?.lines().skip(1) {
            writeln!(rows, "{table},{line}")?;
        }
        writeln!(
            inserts,
            "INSERT INTO {table} ({TYPE_COLUMNS}) SELECT {TYPE_COLUMNS} FROM staged WHERE t = '{table}';"
        )?;
    }
    let staged = "CREATE TEMP TABLE staged AS SELECT ''::text AS t, * FROM patient_logical_resources LIMIT 0";
    connection.execute(staged).await?;
    let copy = format!("COPY staged (t, {TYPE_COLUMNS}) FROM STDIN (FORMAT csv)");
    copy_text(connection, &copy, &rows).await?;
    sqlx::raw_sql(AssertSqlSafe(inserts))
        .execute(connection)
        .await?;
    Ok(())
}

const TYPE_COLUMNS: &str =
    "logical_resource_id, logical_id, current_resource_id, is_deleted, last_updated, version_id";

async fn copy_text(connection: &mut PgConnection, copy: &str, text: &str) -> anyhow::Result<()> {
    let mut into = connection.copy_in_raw(copy).await?;
    into.send(text.as_bytes()).await?;
    into.finish().await?;
    Ok(())
}
