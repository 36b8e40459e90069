//! Where a server's programs are.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::ServerError;

/// The programs of a PostgreSQL server of one version.
#[derive(Debug, Clone)]
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Those of a major version: in the folder given, else where Debian, Red Hat and Bitnami put them, else in `PATH`.
    pub fn find(given: Option<&Path>, major: u32) -> Result<Self, ServerError> {
        let folders = match given {
            Some(folder) => vec![folder.to_owned()],
            None => usual(major),
        };
        let mut looked = Vec::new();
        for folder in folders {
            let found = version(&folder.join("postgres"));
            if found == Some(major) && folder.join("pg_ctl").is_file() {
                return Ok(Self { folder });
            }
            let found = found.map_or_else(|| "none".to_owned(), |other| format!("version {other}"));
            looked.push(format!("{}: {found}", folder.display()));
        }
        let looked = looked.join(", ");
        Err(ServerError::NoPrograms { major, looked })
    }

    /// The path of a program, which need not be there.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Whether a program is there.
    pub fn has(&self, name: &str) -> bool {
        self.path(name).is_file()
    }
}

fn usual(major: u32) -> Vec<PathBuf> {
    let mut folders = vec![
        format!("/usr/lib/postgresql/{major}/bin").into(),
        format!("/usr/pgsql-{major}/bin").into(),
        PathBuf::from("/opt/bitnami/postgresql/bin"),
    ];
    let path = std::env::var_os("PATH").unwrap_or_default();
    folders.extend(std::env::split_paths(&path).filter(|folder| folder.is_absolute()));
    folders.retain(|folder| folder.join("postgres").is_file());
    folders
}

/// The major version that the program says it is of: `postgres (PostgreSQL) 15.18 (Debian …)`.
fn version(postgres: &Path) -> Option<u32> {
    let ended = Command::new(postgres).arg("--version").output().ok()?;
    let said = String::from_utf8(ended.stdout).ok()?;
    let (_, version) = said.split_once("(PostgreSQL) ")?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}
