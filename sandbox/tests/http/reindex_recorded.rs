//! `$reindex` and `$retrieve-index` as they were recorded with a real LinuxForHealth server, sent again to a server that
//! has the same resources at the same index ids: the answers must be the same.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{Answer, Server};
use crate::recording::{self, Recording};
use chrono::{DateTime, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use stoker_sandbox::{Auth, SandboxConfig};
use stoker_shared::clock::ManualClock;

/// Before the moments that the recordings name.
const LOADED: &str = "2026-11-22T20:00:00Z";
/// From then to after them.
const LATER: Duration = Duration::from_hours(8);
/// What the recorded server had at the index ids 2, 596 and 1186, and nowhere between.
const PATIENTS: &[u64] = &[2, 596, 1186];

/// Recordings whose answers name no resources.
const REFUSED: &[&str] = &[
    "reindex-http/reindex-bad-tstamp",
    "reindex-http/reindex-bad-type",
    "reindex-http/reindex-get",
    "reindex-http/reindex-indexids-empty",
    "reindex-http/reindex-indexids-garbage",
    "reindex-http/reindex-indexids-too-many",
];

/// Recordings in which everything has been reindexed later than what they ask for.
const COMPLETE: &[&str] = &[
    "reindex-http/reindex-server-complete",
    "reindex-http/reindex-server-complete-iso",
];

const NO_LOGIN: &str = "reindex-http/reindex-no-auth";

#[test]
fn every_recording_has_resources_or_is_listed() {
    for name in names() {
        let listed = [REFUSED, COMPLETE, &[NO_LOGIN]].concat();
        let recording = Recording::read(&name);
        let names_some = !processed(&recording.answer).is_empty();
        let retrieves = recording.path.contains("$retrieve-index");
        assert_eq!(names_some || retrieves, !listed.contains(&&*name), "{name}");
    }
    assert_eq!(names().len(), 42);
}

#[tokio::test]
async fn what_is_reindexed_is_named_as_there() {
    for name in names() {
        let recording = Recording::read(&name);
        if processed(&recording.answer).is_empty() {
            continue;
        }
        let server = World::of(&recording).start().await;
        let answer = compare(&server, &name).await;
        let stats = server.sandbox.reindex_stats();
        let named = processed(&answer.body).len() as u64;
        assert_eq!((stats.indexed, stats.distinct), (named, named), "{name}");
    }
}

#[tokio::test]
async fn index_ids_are_retrieved_as_there() {
    for name in names() {
        if !name.contains("retrieve-index") && !Recording::read(&name).path.contains("$retrieve") {
            continue;
        }
        let mut world = World::default();
        if name.ends_with("patient-type") {
            world.put_at(PATIENTS, "Patient");
        } else {
            world.synthetic = 5_000;
        }
        let server = world.start().await;
        compare(&server, &name).await;
        assert_eq!(server.sandbox.reindex_stats().retrieve_calls, 1, "{name}");
    }
}

#[tokio::test]
async fn what_is_refused_is_refused_in_the_same_words() {
    for name in REFUSED {
        let server = World::default().start().await;
        compare(&server, name).await;
        assert_eq!(server.sandbox.reindex_stats().failed_calls, 1, "{name}");
    }
    let server = World::default().start().await;
    let recording = Recording::read(NO_LOGIN);
    let answer = recording.send(&server).await;
    assert_eq!(answer.status, recording.status);
    assert!(
        answer
            .header("www-authenticate")
            .starts_with("Basic realm=")
    );
}

#[tokio::test]
async fn what_is_complete_is_said_as_there() {
    for name in COMPLETE {
        let mut world = World::default();
        world.put_at(&[2, 4, 6], "Observation");
        let server = world.start().await;
        let now = json!({"resourceType": "Parameters"});
        let all = server.ask(Method::POST, "/$reindex").body(now.to_string());
        let all = Answer::of(login(all).send().await.unwrap()).await;
        assert_eq!(processed(&all.body).len(), 3);
        compare(&server, name).await;
        assert_eq!(server.sandbox.reindex_stats().indexed, 3, "{name}");
    }
}

/// What a server has before a recording is sent to it.
#[derive(Debug, Default)]
struct World {
    synthetic: u32,
    /// `Type/id`, in the order of their index ids.
    resources: Vec<String>,
}

impl World {
    /// The resources that the answer names, where the request looks for them, and others that it must leave alone.
    fn of(recording: &Recording) -> Self {
        let mut world = Self::default();
        let names = processed(&recording.answer);
        let inputs: Value = serde_json::from_slice(&recording.body).unwrap();
        let input = |name: &str| {
            let all = inputs["parameter"].as_array().unwrap().iter();
            all.clone().find(|input| input["name"] == name).cloned()
        };
        if let Some(list) = input("indexIds") {
            let ids = list["valueString"].as_str().unwrap().split(',');
            let ids: Vec<u64> = ids.map(|id| id.parse().unwrap()).collect();
            world.synthetic = u32::try_from(ids[0] / 2 - 1).unwrap();
            for (id, name) in ids.iter().zip(names) {
                world.fill_up_to(*id, "Basic");
                world.resources.push(name);
            }
            return world;
        }
        let asked = input("resourceCount").map_or(10, |i| i["valueInteger"].as_u64().unwrap());
        let of_one_type =
            recording.path.contains("Patient") || input("resourceLogicalId").is_some();
        if of_one_type {
            world.fill_up_to(12, "Basic");
        }
        let found_all = asked > names.len() as u64 && asked <= 1000;
        world.resources.extend(names);
        if !found_all {
            world.fill_up_to(world.next_id() + 10, "Patient");
        }
        world
    }

    /// Puts one of a type at these index ids, and others between.
    fn put_at(&mut self, ids: &[u64], kind: &str) {
        for id in ids {
            self.fill_up_to(*id, "Basic");
            self.resources.push(format!("{kind}/at-{id}"));
        }
    }

    fn fill_up_to(&mut self, id: u64, kind: &str) {
        while self.next_id() < id {
            self.resources
                .push(format!("{kind}/other-{}", self.next_id()));
        }
    }

    fn next_id(&self) -> u64 {
        2 * (u64::from(self.synthetic) + self.resources.len() as u64 + 1)
    }

    async fn start(&self) -> Server {
        let start: DateTime<Utc> = LOADED.parse().unwrap();
        let clock = Arc::new(ManualClock::new(start));
        let basic = Some(("fhiruser".to_owned(), "change-password".into()));
        let server = Server::start(SandboxConfig {
            auth: Auth {
                basic,
                bearer: None,
            },
            clock: clock.clone(),
            synthetic: self.synthetic,
            ..SandboxConfig::default()
        })
        .await;
        let entries: Vec<Value> = self.resources.iter().map(|name| entry(name)).collect();
        let bundle = json!({"resourceType": "Bundle", "type": "batch", "entry": entries});
        let load = server.ask(Method::POST, "/").body(bundle.to_string());
        let loaded = Answer::of(login(load).send().await.unwrap()).await;
        let refused = loaded.body["entry"].as_array().unwrap().iter();
        let mut refused = refused.filter(|entry| entry["response"]["status"] != "201");
        assert_eq!(refused.next(), None);
        clock.advance(LATER);
        server
    }
}

/// A resource with all that any of the types must have.
fn entry(name: &str) -> Value {
    let (kind, id) = name.split_once('/').unwrap();
    let mut resource = json!({"resourceType": kind, "id": id});
    match kind {
        "Patient" => {}
        "Observation" => {
            resource["status"] = "final".into();
            resource["code"] = json!({});
        }
        _ => {
            for element in ["status", "intent", "use", "outcome", "created", "recorded"] {
                resource[element] = "x".into();
            }
            for element in [
                "patient",
                "subject",
                "code",
                "type",
                "class",
                "provider",
                "insurer",
                "vaccineCode",
            ] {
                resource[element] = json!({});
            }
            for element in ["priority", "insurance", "content", "target", "agent"] {
                resource[element] = json!({});
            }
            for element in [
                "medicationReference",
                "effectivePeriod",
                "occurrenceDateTime",
            ] {
                resource[element] = json!({});
            }
        }
    }
    json!({"resource": resource, "request": {"method": "PUT", "url": name}})
}

/// Sends a recording again: status, type and text of the answer must be the same, but for the id of an outcome.
async fn compare(server: &Server, name: &str) -> Answer {
    let recording = Recording::read(name);
    let answer = recording.send(server).await;
    assert_eq!(answer.status, recording.status, "{name}: {}", answer.body);
    assert_eq!(answer.header("content-type"), "application/json", "{name}");
    let mut expected = recording.answer;
    if expected["resourceType"] == "OperationOutcome" {
        expected.as_object_mut().unwrap().shift_remove("id");
    }
    // As text, which has the members in their order.
    assert_eq!(answer.body.to_string(), expected.to_string(), "{name}");
    answer
}

/// The resources that an outcome names as processed.
fn processed(outcome: &Value) -> Vec<String> {
    let issues = outcome["issue"].as_array().into_iter().flatten();
    let texts = issues.filter_map(|issue| issue["diagnostics"].as_str());
    let names = texts.filter_map(|text| text.strip_prefix("Processed "));
    names.map(str::to_owned).collect()
}

fn login(request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
    request.basic_auth("fhiruser", Some("change-password"))
}

/// All recordings of reindexing.
fn names() -> BTreeSet<String> {
    let folders = [
        "reindex-http",
        "wire/reindex-client-driven",
        "wire/reindex-server-driven",
    ];
    let mut names = BTreeSet::new();
    for folder in folders {
        for file in std::fs::read_dir(recording::folder(folder)).unwrap() {
            let file = file.unwrap().file_name().into_string().unwrap();
            names.insert(format!("{folder}/{}", file.strip_suffix(".txt").unwrap()));
        }
    }
    names
}
