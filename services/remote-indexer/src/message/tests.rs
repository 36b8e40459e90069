use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const INSTANCE: &str = "5a0c7a1e-idx-prod";

/// As the server writes it: `spec/fhir-remote-index.md` §4.4, with some values of each kind.
fn message() -> Value {
    json!({"tenantId": "default", "messageVersion": 1, "instanceIdentifier": INSTANCE, "data": {
        "resourceType": "Patient", "logicalId": "p-0042", "logicalResourceId": 71001, "versionId": 3,
        "parameterHash": "/g8kk9SSvB9xJXw6mY/3jryPb0qu5JgMmNuKZnZkJnU=", "lastUpdated": "2000-01-01T00:00:01.000002Z",
        "stringValues": [{"value": "Núñez", "name": "family", "wholeSystem": false}],
        "numberValues": [{"value": 1.5, "name": "n"}],
        "quantityValues": [{"valueNumber": 2, "valueSystem": "http://unitsofmeasure.org", "valueCode": "kg", "name": "q"}],
        "tokenValues": [{"valueSystem": "s", "valueCode": "female", "name": "gender", "wholeSystem": false}],
        "dateValues": [{"valueDateStart": "1980-02-29T00:00:00Z", "valueDateEnd": "1980-02-29T23:59:59.999999Z",
            "name": "birthdate", "wholeSystem": false}],
        "locationValues": [{"valueLatitude": -1.5, "valueLongitude": 7, "name": "near"}],
        "tagValues": [{"valueSystem": "t", "valueCode": "trial-7", "name": "_tag", "wholeSystem": true}],
        "securityValues": [{"valueSystem": "t", "valueCode": "R", "name": "_security", "wholeSystem": true}],
        "profileValues": [{"url": "http://example.org/p", "version": "2.1", "name": "_profile", "wholeSystem": true}],
        "refValues": [{"resourceType": "Organization", "logicalId": "org-9", "name": "organization"}]}})
}

/// Reads all of it, as the indexer does in the end.
fn read_all(payload: &[u8]) -> Result<Sight, Poison> {
    let sight = head(payload, INSTANCE)?;
    if matches!(sight, Sight::Ours(_)) {
        values(payload)?;
    }
    Ok(sight)
}

fn reason(message: &Value) -> Option<Reason> {
    let read = read_all(message.to_string().as_bytes());
    read.err().map(|poison| poison.reason)
}

#[test]
fn a_message_of_the_server_is_read() {
    // Gson escapes so.
    let text = message().to_string().replace('=', "\\u003d");
    let Ok(Sight::Ours(head)) = head(text.as_bytes(), INSTANCE) else {
        panic!("not read")
    };
    assert_eq!(head.tenant, "default");
    assert_eq!(
        (head.resource_type.as_str(), head.logical_id.as_str()),
        ("Patient", "p-0042")
    );
    assert_eq!((head.logical_resource_id, head.version), (71001, 3));
    assert_eq!(head.last_updated, 1_000_002);
    let hash = "/g8kk9SSvB9xJXw6mY/3jryPb0qu5JgMmNuKZnZkJnU=";
    assert_eq!(head.parameter_hash.as_deref(), Some(hash));
    let values = values(text.as_bytes()).unwrap();
    assert_eq!(values.string_values[0].value.as_deref(), Some("Núñez"));
    assert!(values.tag_values[0].whole_system && !values.token_values[0].whole_system);
}

#[test]
fn what_is_not_ours_is_told_from_poison() {
    assert_eq!(head(b"", INSTANCE), Ok(Sight::Empty));
    assert_eq!(head(b"null", INSTANCE), Ok(Sight::Empty));
    let mut other = message();
    other["instanceIdentifier"] = "another".into();
    other["messageVersion"] = 0.into();
    let other = other.to_string();
    assert_eq!(head(other.as_bytes(), INSTANCE), Ok(Sight::OtherInstance));
    let later = message()
        .to_string()
        .replacen('{', "{\"new\":{\"a\":[1]},", 1);
    assert!(
        matches!(read_all(later.as_bytes()), Ok(Sight::Ours(_))),
        "unknown fields are passed over"
    );
}

#[test]
fn the_first_reading_ends_where_the_values_begin() {
    let mut data = message()["data"].clone();
    let of_head = [
        "resourceType",
        "logicalId",
        "logicalResourceId",
        "versionId",
        "parameterHash",
        "lastUpdated",
    ];
    let fields = of_head.map(|name| {
        let value = data.as_object_mut().unwrap().remove(name).unwrap();
        format!("{name:?}:{value}")
    });
    let values_of = data.to_string();
    let text = format!(
        r#"{{"tenantId":"default","messageVersion":1,"instanceIdentifier":{INSTANCE:?},"data":{{{},{}}}"#,
        fields.join(","),
        &values_of[1..]
    );
    assert_eq!(
        read_all(text.as_bytes()),
        read_all(message().to_string().as_bytes()),
        "the order of the fields is of no account"
    );
    let cut = &text.as_bytes()[..text.len() - 40];
    assert!(matches!(head(cut, INSTANCE), Ok(Sight::Ours(_))));
    assert_eq!(values(cut).unwrap_err().reason, Reason::BadJson);
    for name in of_head {
        let other = text.replacen(&format!("{name:?}:"), "\"other\":", 1);
        let missing = read_all(other.as_bytes());
        let is_optional = name == "parameterHash";
        assert_eq!(missing.is_ok(), is_optional, "{name}");
    }
}

#[test]
fn every_fault_has_its_reason() {
    let long = |chars: usize| Value::from("é".repeat(chars));
    for (pointer, value, expected) in [
        ("/messageVersion", json!(0), Reason::BadVersion),
        ("/data", Value::Null, Reason::MissingField),
        ("/data/resourceType", json!(""), Reason::MissingField),
        ("/data/logicalResourceId", Value::Null, Reason::MissingField),
        ("/data/versionId", json!("3x"), Reason::BadJson),
        ("/data/lastUpdated", json!("yesterday"), Reason::BadValue),
        ("/data/stringValues/0/name", long(256), Reason::ValueTooLong),
        (
            "/data/stringValues/0/value",
            json!("a\0b"),
            Reason::BadValue,
        ),
        ("/data/stringValues/0/name", Value::Null, Reason::BadJson),
        ("/data/numberValues/0/value", json!("one"), Reason::BadJson),
        (
            "/data/quantityValues/0/valueSystem",
            Value::Null,
            Reason::NullValue,
        ),
        (
            "/data/quantityValues/0/valueCode",
            long(256),
            Reason::ValueTooLong,
        ),
        (
            "/data/tokenValues/0/valueSystem",
            Value::Null,
            Reason::NullValue,
        ),
        (
            "/data/tokenValues/0/valueCode",
            long(1025),
            Reason::ValueTooLong,
        ),
        (
            "/data/dateValues/0/valueDateEnd",
            json!("+999999-01-01T00:00:00Z"),
            Reason::BadValue,
        ),
        (
            "/data/tagValues/0/valueCode",
            Value::Null,
            Reason::NullValue,
        ),
        ("/data/profileValues/0/url", Value::Null, Reason::NullValue),
        (
            "/data/profileValues/0/version",
            long(17),
            Reason::ValueTooLong,
        ),
        (
            "/data/refValues/0/logicalId",
            long(1025),
            Reason::ValueTooLong,
        ),
        (
            "/data/refValues/0/logicalId",
            Value::Null,
            Reason::NullValue,
        ),
    ] {
        let mut message = message();
        *message.pointer_mut(pointer).unwrap() = value;
        assert_eq!(reason(&message), Some(expected), "{pointer}");
    }
    assert_eq!(reason(&message()), None);
}

#[test]
fn what_fits_is_taken() {
    for (pointer, value) in [
        ("/data/stringValues/0/value", "é".repeat(2000)),
        ("/data/tokenValues/0/valueCode", "é".repeat(1024)),
        ("/data/profileValues/0/version", "é".repeat(16)),
    ] {
        let mut message = message();
        *message.pointer_mut(pointer).unwrap() = value.into();
        assert_eq!(reason(&message), None, "{pointer}");
    }
}

#[test]
fn decimals_are_the_nearest_doubles() {
    let text = message().to_string();
    for (decimal, double) in [
        ("1E+2", 100.0),
        ("\"2.50\"", 2.5),
        ("-0.1e-3", -0.0001),
        (
            "0.1000000000000000055511151231257827021181583404541015625",
            0.1,
        ),
        ("9007199254740993", 9_007_199_254_740_992.0),
        ("1.7976931348623157E308", f64::MAX),
    ] {
        let text = text.replace("{\"value\":1.5,", &format!("{{\"value\":{decimal},"));
        let values = values(text.as_bytes()).unwrap();
        let found = values.number_values[0].value.unwrap().0;
        assert!((found - double).abs() == 0.0, "{decimal}: {found}");
    }
}

#[test]
fn no_value_is_told() {
    let mut message = message();
    message["data"]["tokenValues"][0]["valueCode"] = "secret-secret-".repeat(100).into();
    let poison = read_all(message.to_string().as_bytes()).unwrap_err();
    assert!(!poison.to_string().contains("secret"), "{poison}");
    let cut = message.to_string();
    let poison = read_all(&cut.as_bytes()[..cut.len() - 40]).unwrap_err();
    assert!(!poison.to_string().contains("secret"), "{poison}");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_all(&bytes);
    }

    #[test]
    fn no_damage_makes_it_panic(at in 0..2000_usize, with in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = message().to_string().into_bytes();
        let at = at % bytes.len();
        bytes[at] = with;
        if cut {
            bytes.truncate(at);
        }
        let _ = read_all(&bytes);
    }
}
