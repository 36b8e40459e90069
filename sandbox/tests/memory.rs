//! Memory of a synthetic population; alone in its process, which is what is measured.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use serde_json::json;
use stoker_sandbox::{Sandbox, SandboxConfig};

const MILLION: u32 = 1_000_000;

/// Resident memory of this process, in MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib: u64 = line
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    kib / 1024
}

#[tokio::test]
async fn a_million_resources_take_little_more_than_a_million_bytes() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let config = SandboxConfig {
        synthetic: MILLION,
        ..SandboxConfig::default()
    };
    let sandbox = Sandbox::start(config).await.unwrap();
    let url = format!("{}/$reindex", sandbox.base_url());
    let reindex = async |name: &str, value: serde_json::Value| {
        let member = if value.is_string() {
            "valueString"
        } else {
            "valueInteger"
        };
        let body = json!({"resourceType": "Parameters", "parameter": [
            {"name": "tstamp", "valueString": "2024-01-01"}, {"name": name, member: value}]});
        let answer = client
            .post(&url)
            .body(body.to_string())
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        answer.text().await.unwrap().matches("Processed").count()
    };
    // Buffers of calls are part of the base.
    reindex("indexIds", "2,4".into()).await;
    reindex("resourceCount", 1000.into()).await;
    let before = resident();
    let mut ids = 0;
    for first in (1..=MILLION).step_by(20_000) {
        let list: Vec<String> = (first..first + 1000).map(|n| (2 * n).to_string()).collect();
        ids += reindex("indexIds", list.join(",").into()).await;
    }
    // The first thousand was picked and is left out of the list.
    assert_eq!(ids, 49_000);
    for _ in 0..200 {
        assert_eq!(reindex("resourceCount", 1000.into()).await, 1000);
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 8, "{grown} MiB more");
}
