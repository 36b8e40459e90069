//! How ledgers are opened, and what is said when they cannot be.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use bucket_scanner::ledger::{self, Kept, Ledger, LedgerError, LedgerOptions, LedgerUrl};
use stoker_shared::clock::SystemClock;
use stoker_shared::store::StoreError;

use crate::world::{World, object, start};

pub(crate) async fn open(url: &LedgerUrl) -> Result<Arc<dyn Ledger>, LedgerError> {
    ledger::open(url, &LedgerOptions::default(), Arc::new(SystemClock)).await
}

async fn open_at(path: &Path) -> Result<Arc<dyn Ledger>, LedgerError> {
    open(&LedgerUrl::Sqlite(path.to_owned())).await
}

/// Opens one ledger from many tasks at once; all must see the same, whole ledger.
pub(crate) async fn open_at_once(url: &LedgerUrl) {
    let opens: Vec<_> = (0..8)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { open(&url).await })
        })
        .collect();
    for opened in opens {
        let ledger = opened.await.unwrap().unwrap();
        assert_eq!(ledger.jobs().await.unwrap().len(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_processes_may_open_a_new_file_at_once() {
    for _ in 0..5 {
        let folder = tempfile::tempdir().unwrap();
        open_at_once(&LedgerUrl::Sqlite(folder.path().join("ledger.sqlite"))).await;
    }
}

#[tokio::test]
async fn a_file_keeps_what_was_saved_and_is_its_owners_alone() {
    let world = World::sqlite_file().await;
    let job = world.job_over(&[object("/data/a.ndjson", 100)]).await;
    let again = open(&world.url).await.unwrap();
    assert_eq!(again.job(job).await.unwrap().run.unwrap().objects, 1);
    let LedgerUrl::Sqlite(path) = &world.url else {
        panic!("{:?}", world.url)
    };
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
}

#[tokio::test]
async fn a_file_that_is_no_ledger_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    let text = "not a database, but long enough to look like one at first ".repeat(20);
    std::fs::write(&path, &text).unwrap();
    let error = open_at(&path).await.unwrap_err();
    assert!(
        matches!(error, LedgerError::Store(StoreError::NotADatabase { .. })),
        "{error}"
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn a_path_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let below_a_file = file.join("ledger.sqlite");
    let error = open_at(&below_a_file).await.unwrap_err();
    assert!(
        matches!(error, LedgerError::Store(StoreError::CannotOpen { .. })),
        "{error}"
    );
    assert!(
        error.to_string().contains(below_a_file.to_str().unwrap()),
        "{error}"
    );
    let error = open_at(folder.path()).await.unwrap_err();
    assert!(
        matches!(error, LedgerError::Store(StoreError::CannotOpen { .. })),
        "{error}"
    );
}

#[tokio::test]
async fn a_newer_ledger_is_not_touched() {
    let world = World::sqlite_file().await;
    let LedgerUrl::Sqlite(path) = &world.url else {
        panic!("{:?}", world.url)
    };
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::raw_sql("INSERT INTO stoker_schema_versions VALUES (999, '2024-01-01 00:00:00')")
        .execute(&pool)
        .await
        .unwrap();
    let error = open(&world.url).await.unwrap_err();
    assert!(
        matches!(
            error,
            LedgerError::Store(StoreError::TooNew { version: 999, .. })
        ),
        "{error}"
    );
}

#[tokio::test]
async fn an_older_ledger_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let pool = sqlx::SqlitePool::connect_with(options.create_if_missing(true))
        .await
        .unwrap();
    let first = concat!(
        include_str!("../../migrations/sqlite/0001_ledger.sql"),
        include_str!("../../migrations/common/0002_resource_types.sql"),
        "CREATE TABLE stoker_schema_versions
           (version BIGINT PRIMARY KEY, applied TIMESTAMP NOT NULL);
         INSERT INTO stoker_schema_versions VALUES (1, '2024-01-01 00:00:00'),
           (2, '2024-01-01 00:00:00');
         INSERT INTO sources (uri, reach, added) VALUES ('file:///data', '', '2024-01-01 00:00:00');
         INSERT INTO jobs VALUES (1, 1, 'http://fhir/a', '', 'auto', 'done', '',
           '2024-01-01 00:00:00', '2024-01-01 00:00:00', '2024-01-01 00:00:00', 1, FALSE, 1, 1, 1,
           0, 0);"
    );
    sqlx::raw_sql(first).execute(&pool).await.unwrap();
    for _ in 0..2 {
        let ledger = open_at(&path).await.unwrap();
        let jobs = ledger.jobs().await.unwrap();
        assert_eq!((jobs.len(), jobs[0].job_id), (1, 1));
    }
    let ledger = open_at(&path).await.unwrap();
    let interval = std::time::Duration::from_mins(5);
    let asked = ledger.keep_loaded(&start(), interval).await.unwrap();
    assert_ne!(asked, Kept::AsItWas, "when it was last listed is not known");
}

#[tokio::test]
async fn tables_of_another_tool_are_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("java.sqlite");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let pool = sqlx::SqlitePool::connect_with(options.create_if_missing(true))
        .await
        .unwrap();
    sqlx::raw_sql("CREATE TABLE resource_bundles (x INT)")
        .execute(&pool)
        .await
        .unwrap();
    let error = open_at(&path).await.unwrap_err();
    assert!(
        matches!(error, LedgerError::ForeignTables { .. }),
        "{error}"
    );
}
