//! What a FHIR server holds, asked from the server itself and not from Stoker.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use stoker_shared::tls::install_crypto_provider;

/// A FHIR server that answers searches.
#[derive(Debug, Clone)]
pub struct FhirServer {
    base: String,
}

impl FhirServer {
    /// The server at a base URL without a slash at its end.
    pub fn new(base: String) -> Self {
        Self { base }
    }

    /// Its base URL.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// How many resources match a search such as `Patient` or `Patient?name=Smith`.
    pub async fn count(&self, search: &str) -> anyhow::Result<u64> {
        let separator = if search.contains('?') { '&' } else { '?' };
        let url = format!("{}/{search}{separator}_summary=count", self.base);
        let bundle = get(&url).await?;
        bundle["total"]
            .as_u64()
            .with_context(|| format!("no total in the answer to {url}"))
    }
}

async fn get(url: &str) -> anyhow::Result<Value> {
    install_crypto_provider();
    let client = reqwest::Client::builder()
        .timeout(Duration::from_mins(1))
        .no_proxy()
        .build()?;
    let response = client.get(url).send().await?;
    let status = response.status();
    let body = response.text().await?;
    if !status.is_success() {
        bail!("GET {url} answered {status}: {body}");
    }
    serde_json::from_str(&body).with_context(|| format!("GET {url} answered no JSON: {body}"))
}
