//! An Apache Kafka broker of a test's own, that can be killed and started again.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use tempfile::TempDir;

use crate::ports::free_port;
use crate::repository;

/// See the [module](self); killed when dropped.
#[derive(Debug)]
pub struct Kafka {
    folder: TempDir,
    ports: [u16; 3],
}

impl Kafka {
    /// Starts one without topics, which takes some seconds.
    pub fn start() -> anyhow::Result<Self> {
        let kafka = Self {
            folder: TempDir::new()?,
            ports: [free_port()?, free_port()?, free_port()?],
        };
        kafka.restart()?;
        Ok(kafka)
    }

    /// The broker that lets everybody in, not encrypted.
    pub fn broker(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    /// The same broker where it asks for a user: `app` with the password `app-secret` (PLAIN).
    pub fn sasl_broker(&self) -> String {
        format!("127.0.0.1:{}", self.ports[1])
    }

    /// Ends it at once, as a power cut does.
    pub fn kill(&self) -> anyhow::Result<()> {
        let file = self.pid_file();
        let pid = std::fs::read_to_string(&file)
            .with_context(|| format!("{} is not there", file.display()))?;
        // Killing it twice is no fault.
        Command::new("kill")
            .args(["-9", pid.trim()])
            .stderr(Stdio::null())
            .status()?;
        Ok(())
    }

    /// Starts it again with what it held, on the same ports.
    pub fn restart(&self) -> anyhow::Result<()> {
        let script = repository::root().join("tests/parts/kafka.sh");
        let output = Command::new(&script)
            .arg("start")
            .arg(self.folder.path())
            .args(self.ports.map(|port| port.to_string()))
            .output()
            .with_context(|| format!("cannot run {}", script.display()))?;
        if !output.status.success() {
            bail!("kafka.sh: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.path().join("pid")
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
