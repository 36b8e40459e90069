//! A PostgreSQL server of a test's own that can be asked for TLS.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, bail};
use tempfile::TempDir;

use crate::certificates::Authority;
use crate::ports::free_port;
use crate::repository;

/// See the [module](self); removed with all that is in it when dropped.
#[derive(Debug)]
pub struct TlsPostgres {
    folder: TempDir,
    port: u16,
}

impl TlsPostgres {
    /// Starts it, which takes some seconds. Its certificate is for `localhost`.
    pub fn start() -> anyhow::Result<Self> {
        let server = Self {
            folder: TempDir::new()?,
            port: free_port()?,
        };
        let authority = Authority::new()?;
        let (certificate, key) = authority.sign("localhost")?;
        authority.write(&server.ca_file())?;
        std::fs::write(server.folder.path().join("server.crt"), certificate.pem())?;
        std::fs::write(server.folder.path().join("server.key"), key.serialize_pem())?;
        server.script("start")?;
        Ok(server)
    }

    /// Its URL, without TLS.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// What signs its certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn script(&self, action: &str) -> anyhow::Result<()> {
        let script = repository::root().join("tests/parts/postgres.sh");
        let output = Command::new(&script)
            .arg(action)
            .env("STOKER_POSTGRES_PORT", self.port.to_string())
            .env("STOKER_POSTGRES_TLS", self.folder.path())
            .output()
            .with_context(|| format!("cannot run {}", script.display()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            bail!("postgres.sh {action}: {said}");
        }
        Ok(())
    }
}

impl Drop for TlsPostgres {
    fn drop(&mut self) {
        let removed = self.script("remove");
        if !std::thread::panicking() {
            assert!(removed.is_ok(), "{removed:?}");
        }
    }
}
