//! A Prometheus of a test's own.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::parts::required;
use crate::ports::free_port;
use crate::services::Service;

const START_LIMIT: Duration = Duration::from_mins(1);

/// See the [module](self); killed when dropped.
#[derive(Debug)]
pub struct Prometheus {
    folder: TempDir,
    port: u16,
    process: Child,
}

impl Prometheus {
    /// Starts one that scrapes these services each second, each as the job of its name, and evaluates these rules.
    ///
    /// # Panics
    /// When `STOKER_TEST_PROMETHEUS` is not set.
    pub fn start(services: &[(&str, &Service)], rules: &[PathBuf]) -> anyhow::Result<Self> {
        let program = required("STOKER_TEST_PROMETHEUS");
        let (folder, port) = (TempDir::new()?, free_port()?);
        let jobs: Vec<Value> = services
            .iter()
            .map(|(name, service)| {
                let target = format!("127.0.0.1:{}", service.http_port);
                json!({"job_name": name, "static_configs": [{"targets": [target]}]})
            })
            .collect();
        let config = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": rules,
            "scrape_configs": jobs,
        });
        // JSON is YAML.
        fs::write(folder.path().join("prometheus.yaml"), config.to_string())?;
        let log = File::create(folder.path().join("log"))?;
        let process = Command::new(&program)
            .arg("--config.file=prometheus.yaml")
            .arg("--storage.tsdb.path=data")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn();
        Ok(Self {
            process: process.with_context(|| format!("cannot start {program}"))?,
            folder,
            port,
        })
    }

    /// The samples that a query finds now.
    pub async fn query(&self, query: &str) -> anyhow::Result<Vec<Value>> {
        let url = reqwest::Url::parse_with_params("http://p/api/v1/query", [("query", query)])?;
        let path = format!("{}?{}", url.path(), url.query().unwrap_or_default());
        let answer = self.get(&path).await?;
        let found = answer["data"]["result"].as_array();
        Ok(found.with_context(|| format!("{query}: {answer}"))?.clone())
    }

    /// What its HTTP interface answers, once it is up.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let client = reqwest::Client::builder().no_proxy().build()?;
        let deadline = Instant::now() + START_LIMIT;
        loop {
            match client.get(&url).send().await {
                // 503: it starts.
                Ok(response) if response.status() != 503 => {
                    let text = response.text().await?;
                    return serde_json::from_str(&text).with_context(|| format!("{url}: {text}"));
                }
                answer if Instant::now() > deadline => bail!("{url}: {answer:?}: {}", self.log()),
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
