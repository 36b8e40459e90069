//! A MinIO server of a test's own: a real S3 service that can be killed and started again.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Builder, Credentials, Region};
use tempfile::TempDir;

pub(crate) const KEY: &str = "stoker-tests";
pub(crate) const SECRET: &str = "stoker-tests-secret";
pub(crate) const BUCKET: &str = "backups";

/// See the [module](self); killed when dropped.
pub(crate) struct Minio {
    folder: TempDir,
    port: u16,
    process: Option<Child>,
}

impl Minio {
    /// Starts one with an empty [`BUCKET`].
    pub(crate) async fn start() -> Self {
        // Given back at once; nobody else takes it in the moment until MinIO does.
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut minio = Self {
            folder: tempfile::tempdir().unwrap(),
            port: free.local_addr().unwrap().port(),
            process: None,
        };
        drop(free);
        minio.run().await;
        let made = minio.client().create_bucket().bucket(BUCKET).send().await;
        made.unwrap();
        minio
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends it at once, as a power cut does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Starts it with what it holds.
    pub(crate) async fn run(&mut self) {
        let program = std::env::var("STOKER_TEST_MINIO").unwrap_or_else(|_| {
            panic!("STOKER_TEST_MINIO is not set: run `make test`, or set it to MinIO's program")
        });
        let process = Command::new(program)
            .args(["server", "--address", &self.address()])
            .arg(self.folder.path().join("data"))
            .env("MINIO_ROOT_USER", KEY)
            .env("MINIO_ROOT_PASSWORD", SECRET)
            .env("MINIO_BROWSER", "off")
            .env("MINIO_UPDATE", "off")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.process = Some(process.unwrap());
        let deadline = Instant::now() + Duration::from_mins(1);
        let client = self.client();
        while TcpStream::connect(self.address()).is_err()
            || client.list_buckets().send().await.is_err()
        {
            assert!(Instant::now() < deadline, "MinIO does not answer");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) fn client(&self) -> Client {
        let keys = Credentials::new(KEY, SECRET, None, None, "tests");
        let config = Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(format!("http://{}", self.address()))
            .force_path_style(true)
            .credentials_provider(keys)
            .http_client(aws_smithy_http_client::Builder::new().build_http());
        Client::from_conf(config.build())
    }

    /// Uploads that are neither complete nor aborted, as the files on its disk tell: it lists none without a key.
    pub(crate) fn uploads(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().join("data/.minio.sys/multipart")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push(path.display().to_string());
                }
            }
        }
        found
    }
}

impl Drop for Minio {
    fn drop(&mut self) {
        self.kill();
    }
}
