use std::path::Path;

use chrono::TimeDelta;
use stoker_shared::clock::Clock;

use super::{LedgerError, LedgerOptions, LedgerUrl, postgres, sqlite};

/// What can be seen of a ledger from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerLook {
    /// Path, or address and database, without a password.
    pub place: String,
    /// Name and version of the database's software.
    pub software: String,
    /// Version of the ledger's tables; none where they are still to be made.
    pub tables: Option<i64>,
    /// How far the database's clock is ahead of `clock`; none where it has none of its own.
    pub ahead: Option<TimeDelta>,
    /// What is there of the Java fhir-bucket.
    pub java: JavaTool,
}

/// What a ledger's place holds of the Java fhir-bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JavaTool {
    /// Nothing to say anything of.
    Nothing,
    /// All of its tables, and no instance that runs: opening the ledger takes them over.
    Adoptable,
    /// Instances that still run, though their tables have been taken over.
    Running(Vec<String>),
}

/// Whether a ledger could be opened and worked with, without making or changing anything of it.
pub async fn look(
    url: &LedgerUrl,
    options: &LedgerOptions,
    clock: &dyn Clock,
) -> Result<LedgerLook, LedgerError> {
    match url {
        LedgerUrl::Memory => sqlite::look(None).await,
        LedgerUrl::Sqlite(path) => sqlite::look(Some(Path::new(path))).await,
        LedgerUrl::Postgres(url) => postgres::look(url, options, clock).await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stoker_shared::clock::SystemClock;
    use stoker_shared::store::StoreError;

    use super::*;
    use crate::ledger;

    #[tokio::test]
    async fn a_file_is_looked_at_and_nothing_beside_it_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let options = LedgerOptions::default();
        let look_at = async |path: &Path| {
            let url = LedgerUrl::Sqlite(path.to_owned());
            look(&url, &options, &SystemClock).await
        };
        let names = || {
            let entries = std::fs::read_dir(folder.path()).unwrap();
            let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let path = folder.path().join("ledger.sqlite");
        for missing in [&path, &folder.path().join("deep/er/ledger.sqlite")] {
            assert_eq!(look_at(missing).await.unwrap().tables, None);
        }
        assert!(names().is_empty(), "{:?}", names());

        let url = LedgerUrl::Sqlite(path.clone());
        let opened = ledger::open(&url, &options, Arc::new(SystemClock)).await;
        let while_open = look_at(&path).await.unwrap();
        assert!(while_open.tables >= Some(3), "{while_open:?}");
        assert!(while_open.software.starts_with("SQLite 3."));

        let text = folder.path().join("notes.txt");
        std::fs::write(&text, "no database, but long enough for one".repeat(9)).unwrap();
        let before = names();
        let error = look_at(&text).await.unwrap_err();
        assert!(
            matches!(error, LedgerError::Store(StoreError::NotADatabase { .. })),
            "{error}"
        );
        let error = look_at(&text.join("x")).await.unwrap_err();
        assert!(
            matches!(error, LedgerError::Store(StoreError::CannotOpen { .. })),
            "{error}"
        );
        assert_eq!(names(), before);
        // Closed sooner it would remove files of its own in the meantime.
        drop(opened);
    }
}
