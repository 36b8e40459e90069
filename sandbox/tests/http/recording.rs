//! Exchanges recorded with a real LinuxForHealth server.

use std::path::PathBuf;

use crate::common::{Answer, Server};
use reqwest::Method;
use serde_json::Value;

/// Where the recordings have the base that is `/fhir` here.
const RECORDED_BASE: &str = "/fhir-server/api/v4";

/// A request, and what the real server answered.
pub(crate) struct Recording {
    pub(crate) method: Method,
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) status: u16,
    answer_headers: Vec<(String, String)>,
    pub(crate) answer: Value,
}

impl Recording {
    /// Reads one, by its path below the recordings and without its ending.
    pub(crate) fn read(name: &str) -> Self {
        let path = folder(&format!("{name}.txt"));
        let bytes = std::fs::read(path).unwrap();
        // Latin 1, so that the bytes can be had back.
        let text: String = bytes.into_iter().map(char::from).collect();
        let (request, answer) = text.split_once("----- RESPONSE").unwrap();
        let (_, answer) = answer.split_once('\n').unwrap();
        let (line, headers, body) = message(request);
        let (status, answer_headers, answer) = message(answer);
        let mut words = line.split(' ');
        Self {
            method: words.next().unwrap().parse().unwrap(),
            path: words
                .next()
                .unwrap()
                .strip_prefix(RECORDED_BASE)
                .unwrap()
                .to_owned(),
            headers,
            body: to_bytes(body.trim_end()),
            status: status.split(' ').nth(1).unwrap().parse().unwrap(),
            answer_headers,
            answer: serde_json::from_slice(&to_bytes(&answer)).unwrap_or_default(),
        }
    }

    pub(crate) async fn send(&self, server: &Server) -> Answer {
        let mut request = server
            .ask(self.method.clone(), &self.path)
            .body(self.body.clone());
        for (name, value) in &self.headers {
            if !["host", "content-length"].contains(&&**name) {
                request = request.header(name, value);
            }
        }
        Answer::of(request.send().await.unwrap()).await
    }

    pub(crate) fn has_header(&self, name: &str) -> bool {
        self.answer_headers.iter().any(|(found, _)| found == name)
    }
}

/// The first line, the headers and the body of a message.
fn message(text: &str) -> (String, Vec<(String, String)>, String) {
    let text = text.replace("\r\n", "\n");
    let (head, body) = text.split_once("\n\n").unwrap();
    let mut lines = head.lines();
    let first = lines.next().unwrap().to_owned();
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_ascii_lowercase(), value.trim().to_owned())
    });
    (first, headers.collect(), body.to_owned())
}

fn to_bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(c).unwrap()).collect()
}

/// A path among the recordings.
pub(crate) fn folder(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/data")
        .join(path)
}
