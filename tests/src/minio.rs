//! A MinIO server of a test's own: a real S3 service that can be killed and started again.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Builder, Credentials, Region};
use aws_sdk_s3::primitives::ByteStream;
use tempfile::TempDir;

use crate::parts::required;
use crate::ports::free_port;

/// Its administrator, who may do everything.
pub const ACCESS_KEY: &str = "stoker-tests";
/// The administrator's secret key.
pub const SECRET_KEY: &str = "stoker-tests-secret";

const START_LIMIT: Duration = Duration::from_mins(1);

/// See the [module](self); killed when dropped.
#[derive(Debug)]
pub struct Minio {
    folder: TempDir,
    port: u16,
    secret_key: String,
    process: Option<Child>,
}

impl Minio {
    /// Starts an empty one.
    ///
    /// # Panics
    /// When `STOKER_TEST_MINIO` is not set.
    pub async fn start() -> anyhow::Result<Self> {
        let mut minio = Self {
            folder: TempDir::new()?,
            port: free_port()?,
            secret_key: SECRET_KEY.to_owned(),
            process: None,
        };
        minio.restart().await?;
        Ok(minio)
    }

    /// Its address.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Ends it at once, as a power cut does.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Sends it a signal, such as `STOP`.
    pub fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let process = self.process.as_ref().context("MinIO does not run")?;
        let sent = Command::new("kill")
            .args([format!("-{signal}"), process.id().to_string()])
            .status()?;
        if !sent.success() {
            bail!("MinIO does not run any more");
        }
        Ok(())
    }

    /// Files of uploads that are neither complete nor aborted, as its disk tells: it lists none without a key.
    pub fn uploads(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().join("data/.minio.sys/multipart")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten() {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push(path);
                }
            }
        }
        Ok(found)
    }

    /// Starts it again with what it held, on the same port.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.kill();
        let program = required("STOKER_TEST_MINIO");
        let log = std::fs::File::create(self.folder.path().join("log"))?;
        let process = Command::new(&program)
            .args(["server", "--address"])
            .arg(format!("127.0.0.1:{}", self.port))
            .arg(self.folder.path().join("data"))
            .env("MINIO_ROOT_USER", ACCESS_KEY)
            .env("MINIO_ROOT_PASSWORD", &self.secret_key)
            .env("MINIO_BROWSER", "off")
            .env("MINIO_UPDATE", "off")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn();
        self.process = Some(process.with_context(|| format!("cannot start {program}"))?);
        let deadline = Instant::now() + START_LIMIT;
        let client = self.client();
        while client.list_buckets().send().await.is_err() {
            if Instant::now() > deadline {
                bail!(
                    "MinIO does not answer on port {}: {}",
                    self.port,
                    std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Starts it again with another secret key of its administrator: the old one is worth nothing.
    pub async fn restart_with(&mut self, secret_key: &str) -> anyhow::Result<()> {
        secret_key.clone_into(&mut self.secret_key);
        self.restart().await
    }

    /// A client of its administrator.
    pub fn client(&self) -> Client {
        let keys = Credentials::new(ACCESS_KEY, &self.secret_key, None, None, "tests");
        let config = Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(self.endpoint())
            .force_path_style(true)
            .credentials_provider(keys)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        Client::from_conf(config)
    }

    /// Makes a bucket.
    pub async fn make_bucket(&self, bucket: &str) -> anyhow::Result<()> {
        self.client().create_bucket().bucket(bucket).send().await?;
        Ok(())
    }

    /// Writes an object.
    pub async fn put(&self, bucket: &str, key: &str, content: Vec<u8>) -> anyhow::Result<()> {
        let put = self.client().put_object().bucket(bucket).key(key);
        put.body(ByteStream::from(content)).send().await?;
        Ok(())
    }
}

impl Drop for Minio {
    fn drop(&mut self) {
        self.kill();
    }
}
