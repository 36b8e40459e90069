use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn parts(bundle: &Value, max: usize) -> Result<Option<Vec<Value>>, BreakupError> {
    let json = Bytes::from(bundle.to_string());
    let parts = break_up(&json, NonZeroUsize::new(max).unwrap(), "bucket/key")?;
    let parse = |part: Part| {
        let value: Value = serde_json::from_slice(&part.json()).unwrap();
        assert_eq!(part.entries.len(), value["entry"].as_array().unwrap().len());
        value
    };
    Ok(parts.map(|parts| parts.into_iter().map(parse).collect()))
}

fn broken(bundle: &Value, max: usize) -> Vec<Value> {
    parts(bundle, max).unwrap().unwrap()
}

fn entries(parts: &[Value]) -> Vec<&Value> {
    let entries = parts
        .iter()
        .flat_map(|part| part["entry"].as_array().unwrap());
    entries.collect()
}

fn transaction(entries: &[Value]) -> Value {
    json!({"resourceType": "Bundle", "id": "whole", "type": "transaction", "total": 7, "entry": entries})
}

fn post(name: &str, resource: impl Into<Value>) -> Value {
    let resource: Value = resource.into();
    let url = resource["resourceType"].clone();
    json!({"fullUrl": name, "resource": resource, "request": {"method": "POST", "url": url}})
}

fn patient() -> Value {
    json!({"resourceType": "Patient", "id": "old"})
}

fn about(target: &str) -> Value {
    json!({"resourceType": "Observation", "subject": {"reference": target}})
}

#[test]
fn a_small_bundle_stays_as_it_is() {
    let bundle = transaction(&[
        post("urn:uuid:a", patient()),
        post("urn:uuid:b", about("urn:uuid:a")),
    ]);
    assert!(parts(&bundle, 2).unwrap().is_none());
}

#[test]
fn creates_become_updates_and_references_follow() {
    let bundle = transaction(&[
        post("urn:uuid:b", about("urn:uuid:a#x")),
        post("urn:uuid:a", patient()),
        post("resource:1", about("urn:uuid:elsewhere")),
    ]);
    let parts = broken(&bundle, 1);
    assert_eq!(parts.len(), 3);
    for part in &parts {
        assert_eq!(
            (&part["type"], &part["resourceType"]),
            (&json!("transaction"), &json!("Bundle"))
        );
        assert!(part.get("id").is_none() && part.get("total").is_none());
    }
    let found = entries(&parts);
    let patient_url = found[0]["request"]["url"].as_str().unwrap();
    let id = patient_url.strip_prefix("Patient/").unwrap();
    assert_eq!(found[0]["resource"]["id"], id);
    assert_eq!(found[0]["request"]["method"], "PUT");
    assert_eq!(found[0]["fullUrl"], "urn:uuid:a");
    let subject = |n: usize| found[n]["resource"]["subject"]["reference"].clone();
    assert_eq!(subject(1), format!("{patient_url}#x"));
    assert_eq!(subject(2), "urn:uuid:elsewhere");
    let new = found[1]["resource"]["id"].as_str().unwrap();
    assert_eq!(found[1]["request"]["url"], format!("Observation/{new}"));
    assert_eq!(broken(&bundle, 1), parts, "the same again");
    let other = Bytes::from(bundle.to_string());
    let other = break_up(&other, NonZeroUsize::MIN, "other")
        .unwrap()
        .unwrap();
    assert_ne!(
        serde_json::from_slice::<Value>(&other[0].json()).unwrap(),
        parts[0]
    );
}

#[test]
fn requests_that_are_no_plain_creates_stay() {
    let put = json!({"fullUrl": "urn:uuid:p", "resource": {"resourceType": "Patient", "id": "p"},
        "request": {"method": "PUT", "url": "Patient/p", "ifMatch": "W/\"3\""}});
    let delete =
        json!({"fullUrl": "urn:uuid:d", "request": {"method": "DELETE", "url": "Group/1"}});
    let get = json!({"request": {"method": "GET", "url": "Patient?name=x"}});
    let unnamed = json!({"resource": {"resourceType": "Basic", "subject": {"reference": "urn:uuid:p"}},
        "request": {"method": "POST", "url": "Basic"}});
    let absolute = post(
        "http://server/Basic/9",
        json!({"resourceType": "Basic", "id": "9"}),
    );
    let bundle = transaction(&[
        get.clone(),
        unnamed,
        put.clone(),
        absolute.clone(),
        delete.clone(),
    ]);
    let parts = broken(&bundle, 2);
    let found = entries(&parts);
    assert_eq!(found[0], &delete, "deletes come first");
    assert_eq!(found[4], &get, "reads come last");
    assert!(found.contains(&&put) && found.contains(&&absolute));
    let unnamed = found
        .iter()
        .find(|e| e.get("fullUrl").is_none() && e.get("resource").is_some());
    let unnamed = unnamed.unwrap();
    assert_eq!(
        unnamed["request"],
        json!({"method": "POST", "url": "Basic"})
    );
    assert_eq!(unnamed["resource"]["subject"]["reference"], "Patient/p");
}

#[test]
fn a_conditional_create_is_looked_up_from_other_parts_only() {
    let mut conditional = post("urn:uuid:c", json!({"resourceType": "Organization"}));
    conditional["request"]["ifNoneExist"] = json!("identifier=s|\"7\"&active=true");
    let bundle = transaction(&[
        post("urn:uuid:1", about("urn:uuid:c")),
        post("urn:uuid:2", about("urn:uuid:c")),
        conditional.clone(),
    ]);
    let parts = broken(&bundle, 2);
    let found = entries(&parts);
    assert_eq!(found[0], &conditional, "first, and as it was");
    assert_eq!(found[1]["resource"]["subject"]["reference"], "urn:uuid:c");
    let looked_up = "Organization?identifier=s|\"7\"&active=true";
    assert_eq!(found[2]["resource"]["subject"]["reference"], looked_up);
}

#[test]
fn an_absolute_name_that_is_referred_to_is_followed() {
    let bundle = transaction(&[
        post(
            "http://old/r4/Patient/1",
            json!({"resourceType": "Patient", "id": "1"}),
        ),
        post("http://old/r4/Observation/2", about("Patient/1")),
        post("urn:uuid:x", about("http://old/r4/Patient/1")),
        post("http://new/Observation/3", about("Patient/1")),
    ]);
    let parts = broken(&bundle, 1);
    let found = entries(&parts);
    let of = |name: &str| found.iter().find(|e| e["fullUrl"] == name).unwrap();
    let url = &of("http://old/r4/Patient/1")["request"]["url"];
    assert!(url.as_str().unwrap().starts_with("Patient/") && url != "Patient/1");
    let subject = |name: &str| &of(name)["resource"]["subject"]["reference"];
    assert_eq!(subject("http://old/r4/Observation/2"), url);
    assert_eq!(subject("urn:uuid:x"), url);
    let other = subject("http://new/Observation/3");
    assert_eq!(other, "Patient/1", "relative to another server");
}

#[test]
fn circles_share_a_part_as_long_as_they_fit() {
    let names = ["urn:uuid:a", "urn:uuid:b", "urn:uuid:c"];
    let circle = |n: usize| post(names[n], about(names[(n + 1) % 3]));
    let lone = post("urn:uuid:z", patient());
    let bundle = transaction(&[
        lone,
        post("urn:uuid:y", patient()),
        circle(0),
        circle(1),
        circle(2),
    ]);
    let sizes = |max| {
        let parts = broken(&bundle, max);
        let sizes = parts.iter().map(|p| p["entry"].as_array().unwrap().len());
        sizes.collect::<Vec<_>>()
    };
    assert_eq!(sizes(3), [2, 3]);
    assert_eq!(sizes(2), [2, 2, 1], "cut where it is too large");
}

#[test]
fn what_only_works_within_one_bundle_stays_in_one() {
    let operation = json!({"fullUrl": "urn:uuid:op", "resource": {"resourceType": "Patient"},
        "request": {"method": "POST", "url": "Patient/$match"}});
    let bundle = transaction(&[
        post("urn:uuid:1", about("urn:uuid:op")),
        post("urn:uuid:2", patient()),
        operation,
    ]);
    let parts = broken(&bundle, 2);
    let together = parts.iter().any(|p| {
        let text = p.to_string();
        text.contains("$match") && text.contains("\"reference\":\"urn:uuid:op\"")
    });
    assert!(together, "{parts:#?}");
    let error = super::tests::parts(&bundle, 1).unwrap_err();
    assert!(
        matches!(error, BreakupError::Entangled { entries: 2 }),
        "{error}"
    );
}

#[test]
fn only_ids_and_references_change_in_a_resource() {
    let resource = r#"{ "resourceType":"Observation", "valueQuantity":{"value":1.0,"x":1e400},
        "contained":[{"id":"c","resourceType":"Basic","subject":{"reference":"urn:uuid:p"}}],
        "identifier":[{"system":"urn:ietf:rfc:3986","value":"urn:uuid:p"}],
        "note":"\u00e9 \"reference\":\"urn:uuid:p\"", "subject":{ "reference" : "urn:uuid:p" } }"#;
    let json = format!(
        r#"{{"resourceType":"Bundle","type":"batch","entry":[
        {{"fullUrl":"urn:uuid:p","resource":{{"resourceType":"Patient","id":"p","active":true}},
          "request":{{"method":"PUT","url":"Patient/p"}}}},
        {{"fullUrl":"urn:uuid:o","resource":{resource},"request":{{"method":"POST","url":"Observation"}}}}]}}"#
    );
    let parts = break_up(&Bytes::from(json), NonZeroUsize::MIN, "x")
        .unwrap()
        .unwrap();
    let json = parts[1].json();
    let text = std::str::from_utf8(&json).unwrap();
    let (_, after) = text.split_once(r#""resource":{"#).unwrap();
    let (id, after) = after
        .strip_prefix(r#""id":""#)
        .unwrap()
        .split_once(r#"","#)
        .unwrap();
    let expected = resource[1..]
        .replacen(
            r#"{"reference":"urn:uuid:p"}"#,
            r#"{"reference":"Patient/p"}"#,
            1,
        )
        .replacen(
            r#""reference" : "urn:uuid:p""#,
            r#""reference" : "Patient/p""#,
            1,
        );
    assert!(after.starts_with(&expected), "{after}");
    let request = format!(r#""request":{{"method":"PUT","url":"Observation/{id}"}}"#);
    assert!(after.contains(&request), "{after}");
}

#[test]
fn a_collection_is_parted_and_named_by_its_ids() {
    let entry = |name: &str, resource: Value| json!({"fullUrl": name, "resource": resource});
    let bundle = json!({"resourceType": "Bundle", "type": "collection", "entry": [
        entry("urn:uuid:o", about("urn:uuid:p")),
        entry("urn:uuid:p", json!({"resourceType": "Patient", "id": "p"})),
        entry("urn:uuid:q", about("urn:uuid:o")),
    ]});
    let parts = broken(&bundle, 2);
    let found = entries(&parts);
    assert_eq!(found[0]["resource"]["id"], "p");
    assert_eq!(found[1]["resource"], about("Patient/p"));
    assert_eq!(found[2]["resource"], about("urn:uuid:o"), "it has no id");
    assert_eq!(parts[1]["type"], "collection");
}

#[test]
fn what_cannot_be_broken_up_is_told() {
    let three = |kind: &str| json!({"resourceType": "Bundle", "type": kind, "entry": [1, 2, 3]});
    for (bundle, expected) in [
        (three("document"), "only the whole of it is one"),
        (three("transaction"), "entry 0 is not an entry"),
        (
            json!({"resourceType": "Bundle", "entry": [{}, {}]}),
            "without a type",
        ),
        (json!({"entry": {}}), "not a Bundle"),
        (
            transaction(&[post("urn:uuid:a", patient()), post("urn:uuid:a", patient())]),
            "entries 0 and 1 have the same fullUrl",
        ),
    ] {
        let error = parts(&bundle, 1).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let twice = Bytes::from_static(br#"{"type":"batch","entry":[],"entry":[{},{}]}"#);
    let error = break_up(&twice, NonZeroUsize::MIN, "")
        .unwrap_err()
        .to_string();
    assert!(error.contains("entry is there twice"), "{error}");
}

/// Who refers to whom, by a mark in each resource: what must not change. A reference leads to the mark of the
/// entry that has its name, or its address, or is found by its query.
fn graph(parts: &[Value]) -> BTreeMap<u64, Vec<Option<u64>>> {
    let mark = |entry: &Value| entry["resource"]["mark"].as_u64().unwrap();
    let mut by_address: BTreeMap<String, u64> = BTreeMap::new();
    for entry in entries(parts) {
        let (url, name) = (entry["request"]["url"].as_str().unwrap(), mark(entry));
        match entry["request"]["ifNoneExist"].as_str() {
            Some(query) => by_address.insert(format!("{url}?{query}"), name),
            None => by_address.insert(url.to_owned(), name),
        };
    }
    let mut found = BTreeMap::new();
    for part in parts {
        let inside = entries(std::slice::from_ref(part));
        let by_name = |text: &str| {
            inside
                .iter()
                .find(|e| e["fullUrl"] == text)
                .map(|e| mark(e))
        };
        for entry in &inside {
            let references = entry["resource"]["about"].as_array().unwrap().iter();
            let leads = references.map(|r| {
                let text = r["reference"].as_str().unwrap();
                by_name(text).or_else(|| by_address.get(text).copied())
            });
            assert!(
                found.insert(mark(entry), leads.collect()).is_none(),
                "an entry twice"
            );
        }
    }
    found
}

proptest! {
    #[test]
    fn every_reference_leads_where_it_led(
        kinds in prop::collection::vec(0u8..4, 2..40),
        links in prop::collection::vec((0usize..40, 0usize..44), 0..80),
        max in 1usize..12,
        transaction in any::<bool>(),
    ) {
        let name = |n: usize| format!("urn:uuid:{n}");
        let mut all: Vec<Value> = Vec::new();
        for (n, kind) in kinds.iter().enumerate() {
            let about: Vec<Value> = links.iter().filter(|(from, _)| *from == n)
                .map(|(_, to)| json!({"reference": name(*to)})).collect();
            let resource = json!({"resourceType": "Basic", "id": format!("b{n}"), "mark": n, "about": about});
            let mut entry = post(&name(n), resource);
            match kind {
                0 => entry["request"]["ifNoneExist"] = json!(format!("code={n}")),
                1 => entry["request"] = json!({"method": "PUT", "url": format!("Basic/b{n}")}),
                _ => {}
            }
            all.push(entry);
        }
        let kind = if transaction { "transaction" } else { "batch" };
        let whole = json!({"resourceType": "Bundle", "type": kind, "entry": all});
        let Some(parts) = parts(&whole, max).unwrap() else {
            prop_assert!(all.len() <= max);
            return Ok(());
        };
        prop_assert!(parts.iter().all(|p| (1..=max).contains(&p["entry"].as_array().unwrap().len())));
        prop_assert_eq!(graph(&parts), graph(std::slice::from_ref(&whole)));
    }
}
