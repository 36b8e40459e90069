//! What a server is asked: LinuxForHealth's two operations and HAPI's one, each one request and one answer.

use std::sync::Arc;
use std::time::Duration;

use stoker_proto::common::v1::Target;
use stoker_shared::clock::SharedClock;
use stoker_shared::fhir::{FhirClient, FhirConfig, FhirError, FhirRequest, FhirResponse, Method};

mod answer;
mod trouble;

pub(crate) use trouble::Trouble;

use answer::Processed;

/// One server, as one tenant. Clones share connections.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    client: FhirClient,
    clock: SharedClock,
}

/// What the server made of a call in which it picks resources itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Picked {
    /// It reindexed so many.
    Some(u64),
    /// It found none, or none that another call did not have at that moment.
    Complete,
}

/// What is listed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listing<'a> {
    /// Resources of this type only.
    pub(crate) of: Option<&'a str>,
    /// Only what has not changed since; a time as the server takes it.
    pub(crate) not_modified_after: &'a str,
    /// Only ids above this one.
    pub(crate) after: Option<i64>,
    /// At most so many; the server takes no more than 1000.
    pub(crate) count: usize,
}

/// Ids to a page, at most; `spec/fhir-schema.md` §7.2.
pub(crate) const PAGE: usize = 1000;

impl Server {
    pub(crate) fn new(
        config: &FhirConfig,
        target: &Target,
        clock: SharedClock,
    ) -> Result<Self, FhirError> {
        let client = FhirClient::new(config, target, Arc::clone(&clock))?;
        Ok(Self { client, clock })
    }

    /// Reindexes these resources, 1000 at most, in one transaction of the server's; answers how many of them
    /// it did: deleted and unknown ones it leaves out.
    pub(crate) async fn reindex(&self, ids: &[i64], force: bool) -> Result<usize, Trouble> {
        let mut body = Parameters::default();
        let texts: Vec<String> = ids.iter().map(ToString::to_string).collect();
        body.string("indexIds", &texts.join(","));
        body.flag("force", force);
        let answer = self.post("$reindex", body).await?;
        Ok(match Processed::read(&answer.body)? {
            Processed::Some(done) => usize::try_from(done).unwrap_or(usize::MAX),
            Processed::Complete => 0,
        })
    }

    /// Has the server reindex up to `count` resources, marked with a time before `tstamp`, each in a transaction of
    /// its own.
    pub(crate) async fn pick(
        &self,
        of: Option<&str>,
        tstamp: &str,
        count: usize,
        force: bool,
    ) -> Result<Picked, Trouble> {
        let mut body = Parameters::default();
        body.string("tstamp", tstamp);
        body.integer("resourceCount", count);
        body.flag("force", force);
        let answer = self.post(&operation(of, "$reindex"), body).await?;
        Ok(match Processed::read(&answer.body)? {
            Processed::Some(done) => Picked::Some(done),
            Processed::Complete => Picked::Complete,
        })
    }

    /// Index ids, ascending; none when there are no more.
    pub(crate) async fn list(&self, listing: Listing<'_>) -> Result<Vec<i64>, Trouble> {
        let mut body = Parameters::default();
        body.integer("_count", listing.count);
        body.string("notModifiedAfter", listing.not_modified_after);
        if let Some(after) = listing.after {
            body.string("afterIndexId", &after.to_string());
        }
        let path = operation(listing.of, "$retrieve-index");
        let answer = self.post(&path, body).await;
        let answer = answer
            .map_err(|trouble| trouble.of_time(listing.not_modified_after, self.clock.now()))?;
        let ids = answer::index_ids(&answer.body)?;
        let from = listing.after.unwrap_or(i64::MIN);
        let ascending = ids.iter().try_fold(from, |last, id| {
            (*id > last || *id == i64::MIN).then_some(*id)
        });
        match ascending {
            Some(_) => Ok(ids),
            None => Err(Trouble::strange(
                "$retrieve-index answered ids that do not ascend from afterIndexId",
            )),
        }
    }

    /// Has HAPI start a job that reindexes what these searches find, or everything when there are none; answers its id.
    pub(crate) async fn start_job(&self, searches: &[String]) -> Result<String, Trouble> {
        let mut body = Parameters::default();
        for search in searches {
            body.string("url", search);
        }
        let answer = self.post("$reindex", body).await?;
        answer::job_id(&answer.body)
    }

    /// How many resources there are, of a type or of all, that have not changed since a time; none where the server
    /// does not tell.
    pub(crate) async fn count(&self, of: Option<&str>, not_modified_after: &str) -> Option<u64> {
        let path = format!(
            "{}?_summary=count&_lastUpdated=le{not_modified_after}",
            of.unwrap_or_default()
        );
        let answer = self.get(&path).await.ok()?;
        answer::total(&answer.body)
    }

    /// Reads something, for how long it takes.
    pub(crate) async fn read(&self, path: &str) -> Result<Duration, Trouble> {
        Ok(self.get(path).await?.elapsed)
    }

    async fn get(&self, path: &str) -> Result<FhirResponse, Trouble> {
        self.send(Method::Get, path, bytes::Bytes::new()).await
    }

    async fn post(&self, path: &str, body: Parameters) -> Result<FhirResponse, Trouble> {
        self.send(Method::Post, path, body.json().into()).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: bytes::Bytes,
    ) -> Result<FhirResponse, Trouble> {
        let request = FhirRequest {
            method,
            path,
            body,
            prefer_minimal: false,
            if_none_exist: None,
        };
        let answer = self.client.send(request).await?;
        match Trouble::of(path, &answer) {
            None => Ok(answer),
            Some(trouble) => Err(trouble),
        }
    }
}

fn operation(of: Option<&str>, name: &str) -> String {
    match of {
        Some(of) => format!("{of}/{name}"),
        None => name.to_owned(),
    }
}

/// A Parameters resource, in the form that fhir-bucket sends.
#[derive(Debug, Default)]
struct Parameters(Vec<serde_json::Value>);

impl Parameters {
    fn string(&mut self, name: &str, value: &str) {
        let parameter = serde_json::json!({ "name": name, "valueString": value });
        self.0.push(parameter);
    }

    fn integer(&mut self, name: &str, value: usize) {
        let parameter = serde_json::json!({ "name": name, "valueInteger": value });
        self.0.push(parameter);
    }

    /// Left out where it is not set.
    fn flag(&mut self, name: &str, value: bool) {
        if value {
            let parameter = serde_json::json!({ "name": name, "valueBoolean": true });
            self.0.push(parameter);
        }
    }

    fn json(self) -> String {
        serde_json::json!({ "resourceType": "Parameters", "parameter": self.0 }).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_what_fhir_bucket_sends() {
        let mut body = Parameters::default();
        body.string("tstamp", "2020-12-01T00:00:00Z");
        body.integer("resourceCount", 50);
        body.flag("force", false);
        assert_eq!(
            body.json(),
            r#"{"resourceType":"Parameters","parameter":[{"name":"tstamp","valueString":"2020-12-01T00:00:00Z"},{"name":"resourceCount","valueInteger":50}]}"#
        );
        let mut body = Parameters::default();
        body.string("indexIds", "2,4");
        body.flag("force", true);
        assert!(
            body.json()
                .ends_with(r#"{"name":"force","valueBoolean":true}]}"#)
        );
    }

    #[test]
    fn an_operation_may_be_of_a_type() {
        assert_eq!(operation(None, "$reindex"), "$reindex");
        assert_eq!(operation(Some("Patient"), "$reindex"), "Patient/$reindex");
    }
}
