use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn texts(json: &str) -> Option<(&str, Option<&str>)> {
    let found = resource(json.as_bytes())?;
    Some((&json[found.resource_type], found.id.map(|id| &json[id])))
}

#[test]
fn finds_what_stands_at_the_top_alone() {
    let json =
        r#" {"text":{"id":"inner"}, "id" :"a-1","x":[1,{"id":2},[]],"resourceType":"Patient"}"#;
    assert_eq!(texts(json), Some(("Patient", Some("a-1"))));
    assert_eq!(texts(r#"{"resourceType":"Basic"}"#), Some(("Basic", None)));
}

#[test]
fn leaves_to_others_what_is_not_plain() {
    for json in [
        r#"{"resourceType":"Basic","id":"a","id":"b"}"#,
        r#"{"resourceType":"Basic","id":null}"#,
        r#"{"resourceType":"Basic","\u0069d":"b"}"#,
        r#"{"resourceType":"B\u0061sic"}"#,
        r#"{"resourceType":"Basic","x":"\ud800"}"#,
        r#"{"id":"a"}"#,
        "[]",
        "",
    ] {
        assert_eq!(texts(json), None, "{json}");
    }
    let deep = "[".repeat(70) + &"]".repeat(70);
    assert_eq!(
        texts(&format!(r#"{{"resourceType":"Basic","x":{deep}}}"#)),
        None
    );
}

#[test]
fn every_entry_of_an_answer_has_its_status() {
    let read = |json: &str| {
        let mut found = Vec::new();
        statuses(json.as_bytes(), |status| {
            found.push(status);
            Some(())
        })?;
        Some(found)
    };
    let json = r#"{"resourceType":"Bundle","entry":[
        {"resource":{"status":"final"},"response":{"status":"200 OK","etag":"1"}},
        {"response":{"location":"x","status":"201"}}]}"#;
    assert_eq!(read(json), Some(vec![200, 201]));
    assert_eq!(read(r#"{"entry":[]}"#), Some(vec![]));
    for json in [
        r#"{"entry":[{}]}"#,
        r#"{"entry":[{"response":{"status":"OK"}}]}"#,
        r#"{"entry":[{"response":{"status":"200","status":"400"}}]}"#,
        r#"{"entry":[{"response":{"status":"200"}}]"#,
        r#"{"entry":[],"entry":[]}"#,
    ] {
        assert_eq!(read(json), None, "{json}");
    }
}

/// JSON of every kind, some of it with white space.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9).prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        "[\"\\\\/\n\t\u{1}é患a]{0,9}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-zé\"]{0,9}", inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn takes_what_is_json(value in any_json(), pretty in any::<bool>()) {
        let whole = serde_json::json!({"x": value, "resourceType": "Basic", "id": "b"});
        let text = if pretty { format!("{whole:#}") } else { whole.to_string() };
        prop_assert_eq!(texts(&text), Some(("Basic", Some("b"))), "{}", text);
    }

    #[test]
    fn takes_nothing_else(
        value in any_json(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..3),
        structural in any::<prop::sample::Index>(),
    ) {
        let whole = serde_json::json!({"resourceType": "Basic", "x": value});
        let mut text = whole.to_string().into_bytes();
        for (at, byte) in changes {
            let at = at.index(text.len());
            let common = b"{}[]:,\"\\ 0-.e\x1ftn";
            text[at] = if byte < 200 { common[structural.index(common.len())] } else { byte };
        }
        if resource(&text).is_some() {
            // Not a Value: that has no room for 1e999.
            let text = std::str::from_utf8(&text).unwrap();
            let read = serde_json::from_str::<serde::de::IgnoredAny>(text);
            prop_assert!(read.is_ok(), "{}", text);
        }
    }
}
