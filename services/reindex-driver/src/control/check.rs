//! Whether what is asked for can be done.

use chrono::{DateTime, NaiveDate};
use stoker_proto::reindex::v1::{Method, RunSpec};
use url::Url;

use crate::config::{MOST_BATCH, MOST_CONCURRENCY};

/// The store's texts: PostgreSQL's indexes take no more than about 2700 bytes in one row.
const LONGEST_URL: usize = 2000;
const LONGEST_NAME: usize = 250;

/// Types and searches that one run may name.
const MOST_NAMED: usize = 1000;

/// What is wrong with what is asked for, for a person. Spells its target and its types the one way that the store
/// knows them by, so that the same wish finds the same run.
pub(super) fn check(spec: &mut RunSpec) -> Result<(), String> {
    check_target(spec)?;
    check_method(spec)?;
    check_tstamp(&spec.tstamp)?;
    check_types(&mut spec.resource_types)?;
    check_urls(&mut spec.urls)?;
    check_pace(spec)?;
    match spec.start_with_index_id {
        Some(id) if id < 0 => Err(format!("{id} is no index id; index ids are 0 or more")),
        _ => Ok(()),
    }
}

fn check_target(spec: &mut RunSpec) -> Result<(), String> {
    let Some(target) = &mut spec.target else {
        return Err("the run names no target; give the base URL of a FHIR server".to_owned());
    };
    let base_url = &mut target.base_url;
    base_url.truncate(base_url.trim_end_matches('/').len());
    can_be_kept("target's base URL", base_url, LONGEST_URL)?;
    can_be_kept("tenant", &target.tenant, LONGEST_NAME)?;
    let wrong = |why: &str| Err(format!("the target's base URL {why}"));
    match Url::parse(base_url) {
        Err(e) => wrong(&format!("is not one: {e}")),
        Ok(url) if !matches!(url.scheme(), "http" | "https") => {
            wrong("must begin with http:// or https://")
        }
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            wrong("must hold no user or password; drivers have their own")
        }
        Ok(url) if url.query().is_some() || url.fragment().is_some() => {
            wrong("must end with its path")
        }
        Ok(_) => Ok(()),
    }
}

fn can_be_kept(what: &str, text: &str, most: usize) -> Result<(), String> {
    if text.len() > most {
        return Err(format!("the {what} is longer than {most} bytes"));
    }
    if text.contains(char::is_control) {
        return Err(format!("the {what} holds a control character"));
    }
    Ok(())
}

/// Each way of reindexing takes what is its own.
fn check_method(spec: &RunSpec) -> Result<(), String> {
    let method = spec.method();
    let is_hapi = method == Method::HapiJob;
    let not_for_hapi = "HAPI FHIR's own job always reindexes everything it is asked for anew";
    let misplaced = match method {
        Method::Unspecified => {
            return Err(
                "say who picks the resources: server-driven, client-driven, or HAPI FHIR's own job"
                    .to_owned(),
            );
        }
        _ if spec.start_with_index_id.is_some() && method != Method::ClientDriven => {
            "an index id to start with is for client-driven runs; leave it out, or run client-driven".to_owned()
        }
        _ if !spec.urls.is_empty() && !is_hapi => {
            "searches are for HAPI FHIR; name resource types instead".to_owned()
        }
        _ if is_hapi && !spec.tstamp.is_empty() => {
            format!("{not_for_hapi}; leave the time out")
        }
        _ if is_hapi && spec.force => format!("{not_for_hapi}; leave force out"),
        _ => return Ok(()),
    };
    Err(misplaced)
}

/// The two forms that LinuxForHealth takes; whether it lies in the future is for the server's clock to say.
fn check_tstamp(tstamp: &str) -> Result<(), String> {
    let is_date = tstamp.len() == 10 && NaiveDate::parse_from_str(tstamp, "%Y-%m-%d").is_ok();
    let is_instant = tstamp.ends_with('Z')
        && tstamp.as_bytes().get(10) == Some(&b'T')
        && DateTime::parse_from_rfc3339(tstamp).is_ok();
    if tstamp.is_empty() || is_date || is_instant {
        return Ok(());
    }
    Err(format!(
        "{tstamp:?} is no time; give YYYY-MM-DD, or YYYY-MM-DDThh:mm:ssZ in UTC"
    ))
}

fn check_types(types: &mut Vec<String>) -> Result<(), String> {
    for name in &*types {
        let is_name = name.len() <= 64
            && name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.bytes().all(|b| b.is_ascii_alphabetic());
        if !is_name {
            return Err(format!(
                "{name:?} is no resource type; give one such as Patient"
            ));
        }
    }
    not_too_many("resource types", types)
}

/// HAPI takes them below its base URL.
fn check_urls(urls: &mut Vec<String>) -> Result<(), String> {
    for url in &*urls {
        can_be_kept("search", url, LONGEST_URL)?;
        let name = url.split('?').next().unwrap_or_default();
        let is_search = url.contains('?') && name.starts_with(|c: char| c.is_ascii_uppercase());
        if !is_search || !name.bytes().all(|b| b.is_ascii_alphabetic()) {
            return Err(format!(
                "{url:?} is no search; give one such as Patient?active=true, or Patient? for all of the type"
            ));
        }
    }
    not_too_many("searches", urls)
}

/// In one order, each once.
fn not_too_many(what: &str, names: &mut Vec<String>) -> Result<(), String> {
    names.sort();
    names.dedup();
    if names.len() > MOST_NAMED {
        return Err(format!(
            "more than {MOST_NAMED} {what}; name fewer in a run"
        ));
    }
    Ok(())
}

fn check_pace(spec: &RunSpec) -> Result<(), String> {
    for (what, given, most) in [
        ("requests at a time", spec.concurrency, MOST_CONCURRENCY),
        ("resources to a request", spec.batch, MOST_BATCH),
    ] {
        if given as usize > most {
            return Err(format!(
                "{given} {what} are too many; give {most} or fewer, or leave it to Stoker"
            ));
        }
    }
    if spec.max_server_latency_ms == Some(0) {
        return Err("the server takes longer than 0 ms; give a longer time".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use stoker_proto::common::v1::Target;

    use super::*;

    fn spec(method: Method) -> RunSpec {
        RunSpec {
            target: Some(Target {
                base_url: "https://fhir.example.org/r4".to_owned(),
                tenant: "a".to_owned(),
            }),
            method: method.into(),
            ..RunSpec::default()
        }
    }

    /// The problem of a run that was fine before `spoil`.
    fn problem(method: Method, spoil: impl FnOnce(&mut RunSpec)) -> String {
        let mut asked = spec(method);
        assert_eq!(check(&mut asked), Ok(()));
        spoil(&mut asked);
        check(&mut asked).unwrap_err()
    }

    #[test]
    fn the_same_wish_is_spelled_the_same() {
        let mut asked = spec(Method::ClientDriven);
        asked.target.as_mut().unwrap().base_url += "//";
        asked.resource_types = ["Patient", "Basic", "Patient"].map(str::to_owned).into();
        asked.start_with_index_id = Some(0);
        asked.force = true;
        check(&mut asked).unwrap();
        let expected = spec(Method::ClientDriven);
        assert_eq!(asked.target, expected.target);
        assert_eq!(asked.resource_types, ["Basic", "Patient"]);
    }

    #[test]
    fn a_target_is_the_base_url_of_a_server() {
        for (base_url, expected) in [
            ("fhir", "is not one"),
            ("s3://bucket", "http:// or https://"),
            ("http://ann:pw@fhir/", "no user or password"),
            ("http://fhir?x=1", "end with its path"),
            ("http://fhir/\n", "a control character"),
        ] {
            let spoil = |spec: &mut RunSpec| {
                base_url.clone_into(&mut spec.target.as_mut().unwrap().base_url);
            };
            let problem = problem(Method::ServerDriven, spoil);
            assert!(problem.contains(expected), "{problem}");
            assert!(!problem.contains("pw"), "{problem}");
        }
        let none = problem(Method::ServerDriven, |spec| spec.target = None);
        assert!(none.contains("names no target"), "{none}");
        let tenant = problem(Method::ServerDriven, |spec| {
            spec.target.as_mut().unwrap().tenant = "t".repeat(251);
        });
        assert!(tenant.contains("tenant is longer"), "{tenant}");
    }

    #[test]
    fn each_method_takes_what_is_its_own() {
        let client = Method::ClientDriven;
        for (method, spoil, expected) in [
            (
                Method::ServerDriven,
                (|s| s.start_with_index_id = Some(2)) as fn(&mut RunSpec),
                "for client-driven runs",
            ),
            (
                Method::HapiJob,
                |s| s.start_with_index_id = Some(2),
                "for client-driven runs",
            ),
            (
                client,
                |s| s.urls = vec!["Patient?".to_owned()],
                "are for HAPI FHIR",
            ),
            (
                Method::HapiJob,
                |s| s.tstamp = "2020-12-01".to_owned(),
                "leave the time out",
            ),
            (Method::HapiJob, |s| s.force = true, "leave force out"),
            (client, |s| s.method = 0, "say who picks"),
            (client, |s| s.start_with_index_id = Some(-1), "0 or more"),
            (client, |s| s.concurrency = 201, "give 200 or fewer"),
            (client, |s| s.batch = 1001, "give 1000 or fewer"),
            (client, |s| s.max_server_latency_ms = Some(0), "longer time"),
        ] {
            let problem = problem(method, spoil);
            assert!(problem.contains(expected), "{problem}");
        }
    }

    #[test]
    fn times_are_those_that_the_server_takes() {
        for good in [
            "",
            "2020-12-01",
            "2020-12-01T00:00:00Z",
            "2020-12-01T00:00:00.5Z",
        ] {
            assert_eq!(check_tstamp(good), Ok(()), "{good}");
        }
        for bad in [
            "2020-13-01",
            "2020-1-1",
            "20-12-01",
            "2020-12-01T00:00:00",
            "2020-12-01T00:00:00+01:00",
            "2020-12-01 00:00:00Z",
            "now",
        ] {
            let problem = check_tstamp(bad).unwrap_err();
            assert!(problem.contains("YYYY-MM-DD"), "{problem}");
        }
    }

    #[test]
    fn types_and_searches_are_named() {
        for bad in ["patient", "", "Patient/1", "Päss"] {
            let problem = problem(Method::ClientDriven, |spec| {
                spec.resource_types = vec![bad.to_owned()];
            });
            assert!(problem.contains("no resource type"), "{problem}");
        }
        for bad in ["Patient", "?x", "http://x/Patient?", "Patient/1?"] {
            let problem = problem(Method::HapiJob, |spec| spec.urls = vec![bad.to_owned()]);
            assert!(problem.contains("no search"), "{problem}");
        }
    }
}
