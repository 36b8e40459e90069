//! A client for the tests.

use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;
use stoker_sandbox::{Sandbox, SandboxConfig};

pub(crate) struct Server {
    pub(crate) sandbox: Sandbox,
    pub(crate) client: Client,
}

impl Server {
    pub(crate) async fn start(config: SandboxConfig) -> Self {
        Self {
            sandbox: Sandbox::start(config).await.unwrap(),
            client: client(None),
        }
    }

    /// A request to a path below the base.
    pub(crate) fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.sandbox.base_url());
        self.client.request(method, url)
    }

    /// The URL of a control request.
    pub(crate) fn control(&self, path: &str) -> String {
        let base = self.sandbox.base_url();
        base.replace("/fhir", &format!("/sandbox{path}"))
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: &Value) -> Answer {
        let request = self
            .ask(method, path)
            .header("content-type", "application/fhir+json");
        Answer::of(request.body(body.to_string()).send().await.unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.ask(Method::GET, path).send().await.unwrap()).await
    }
}

/// A client that trusts the authority given, if any.
pub(crate) fn client(ca_pem: Option<&str>) -> Client {
    // It fails only where another test of the process has installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authority = ca_pem.map(|pem| reqwest::Certificate::from_pem(pem.as_bytes()).unwrap());
    Client::builder()
        .tls_certs_only(authority)
        .no_proxy()
        .build()
        .unwrap()
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) async fn of(response: Response) -> Self {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let text = response.text().await.unwrap();
        let body = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap()
        };
        Self {
            status,
            headers,
            body,
        }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// What the first issue of an OperationOutcome says.
    pub(crate) fn issue(&self) -> &str {
        assert_eq!(
            self.body["resourceType"], "OperationOutcome",
            "{}",
            self.body
        );
        self.body["issue"][0]["details"]["text"].as_str().unwrap()
    }
}
