//! An Apache Kafka broker of a test's own, that can be killed and started again.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Weak};

use anyhow::{Context as _, bail};
use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, PrivateKey, PrivateKeyChain};
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::certificates::Authority;
use crate::ports::free_port;
use crate::repository;

/// Of stores of certificates and keys.
pub const STORE_PASSWORD: &str = "change-password";

/// A broker for tests that share one, each with topics of its own, and let it live. It ends with the last of
/// them that runs.
pub async fn shared() -> anyhow::Result<Arc<Kafka>> {
    static SHARED: Mutex<Weak<Kafka>> = Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    if let Some(kafka) = shared.upgrade() {
        return Ok(kafka);
    }
    let kafka = Arc::new(tokio::task::spawn_blocking(Kafka::start).await??);
    *shared = Arc::downgrade(&kafka);
    Ok(kafka)
}

/// See the [module](self); killed when dropped.
#[derive(Debug)]
pub struct Kafka {
    folder: TempDir,
    ports: Vec<u16>,
}

impl Kafka {
    /// Starts one without topics, which takes some seconds.
    pub fn start() -> anyhow::Result<Self> {
        let kafka = Self {
            folder: TempDir::new()?,
            ports: free_ports(3)?,
        };
        kafka.restart()?;
        Ok(kafka)
    }

    /// The same, also with encrypted listeners. They show a certificate for `localhost` only; [`Self::tls`]
    /// holds what a client needs.
    pub fn start_encrypted() -> anyhow::Result<Self> {
        let kafka = Self {
            folder: TempDir::new()?,
            ports: free_ports(5)?,
        };
        write_certificates(&kafka.tls())?;
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

    /// The port where it is asked for the same user encrypted, by PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
    ///
    /// # Panics
    /// When it has not been started encrypted.
    pub fn sasl_ssl_port(&self) -> u16 {
        self.ports[3]
    }

    /// The port where a client shows a certificate.
    ///
    /// # Panics
    /// When it has not been started encrypted.
    pub fn mtls_port(&self) -> u16 {
        self.ports[4]
    }

    /// The folder of `ca.pem`, which signs the broker's certificate, and of `client.cert.pem`,
    /// `client.key.pem` and, with both and [`STORE_PASSWORD`], `client.p12`, which the broker accepts.
    pub fn tls(&self) -> PathBuf {
        self.folder.path().join("tls")
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
            .args(self.ports.iter().map(u16::to_string))
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

fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    (0..count).map(|_| free_port()).collect()
}

fn write_certificates(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    let authority = Authority::new()?;
    authority.write(&folder.join("ca.pem"))?;
    let (broker, broker_key) = authority.sign("localhost")?;
    let (client, client_key) = authority.sign("client")?;
    let store = pkcs12(client.der(), &client_key.serialize_der())?;
    for (file, bytes) in [
        (
            "broker.pem",
            (broker_key.serialize_pem() + &broker.pem()).into_bytes(),
        ),
        ("client.cert.pem", client.pem().into_bytes()),
        ("client.key.pem", client_key.serialize_pem().into_bytes()),
        ("client.p12", store),
    ] {
        std::fs::write(folder.join(file), bytes)?;
    }
    Ok(())
}

/// As keytool writes it.
fn pkcs12(certificate: &[u8], key: &[u8]) -> anyhow::Result<Vec<u8>> {
    let (certificate, key) = (
        Certificate::from_der(certificate)?,
        PrivateKey::from_der(key)?,
    );
    let chain = PrivateKeyChain::new(b"client".to_vec(), key, [certificate]);
    let mut store = KeyStore::new();
    store.add_entry("client", KeyStoreEntry::PrivateKeyChain(chain));
    Ok(store.writer(STORE_PASSWORD).write()?)
}

impl Drop for Kafka {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
