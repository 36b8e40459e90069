//! What becomes of each kind of value.

use serde_json::{Value, json};
use stoker_tests::fhir_database::ParameterRows;
use stoker_tests::remote_index::MessageBuilder;

use super::scene::Scene;

/// Indexes one resource with these values, twice, and tells its rows without what is the same in all of them.
async fn rows_of(with: impl Fn(MessageBuilder) -> MessageBuilder) -> Vec<Value> {
    let scene = Scene::plain().await;
    let _indexer = scene.indexer(&[]);
    let stored = scene.put("Observation", "o1", "hash").await;
    for _ in 0..2 {
        scene.send(&[with(stored.message()).build()]).await;
        scene.until_done().await;
    }
    assert_eq!(scene.dead_letters().await, []);
    let rows = scene.rows(&stored).await;
    scene.end().await;
    assert!(rows.duplicates.is_empty(), "{rows:?}");
    told(&rows)
}

fn told(rows: &ParameterRows) -> Vec<Value> {
    let told = rows.distinct.iter().map(|row| {
        let mut row: Value = serde_json::from_str(row).unwrap();
        let fields = row.as_object_mut().unwrap();
        assert_eq!(
            fields.shift_remove("resource"),
            Some(json!("Observation/o1"))
        );
        row
    });
    told.collect()
}

/// Each kind goes to the table of its type, and what is of the whole system to that table too.
#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_value_lands_in_its_tables() {
    let rows = rows_of(|message| {
        message
            .value("stringValues", json!({"value": "urn:x", "name": "_source", "wholeSystem": true}))
            .value("dateValues", json!({"valueDateStart": "2020-01-02T03:04:05Z",
                "valueDateEnd": "9999-12-31T23:59:59.999999Z", "name": "date", "wholeSystem": true}))
            .value("tokenValues", json!({"valueSystem": "s", "valueCode": "c", "name": "code",
                "compositeId": 2, "wholeSystem": true}))
            .value("tagValues", json!({"valueSystem": "s", "valueCode": "t", "name": "_tag", "wholeSystem": true}))
            .value("securityValues", json!({"valueSystem": "s", "valueCode": "R", "name": "_security", "wholeSystem": true}))
            .value("profileValues", json!({"url": "http://u", "version": "1", "fragment": "f", "name": "_profile",
                "wholeSystem": true}))
            .value("locationValues", json!({"valueLatitude": 1.5, "valueLongitude": -2.25, "name": "near"}))
            .value("refValues", json!({"resourceType": "Patient", "logicalId": "p", "refVersionId": 3,
                "name": "subject", "compositeId": 9}))
            .value("refValues", json!({"resourceType": "Resource", "logicalId": "http://x/y", "name": "focus"}))
    })
    .await;
    let profile = json!({"url": "http://u", "version": "1", "fragment": "f"});
    let of = |table: &str, fields: Value| {
        let mut row = json!({"table": table});
        let all = row.as_object_mut().unwrap();
        all.extend(fields.as_object().unwrap().clone());
        row
    };
    let string = json!({"parameter": "_source", "str_value": "urn:x", "str_value_lcase": "urn:x"});
    let date = json!({"parameter": "date", "date_start": "2020-01-02T03:04:05.000000",
        "date_end": "9999-12-31T23:59:59.999999"});
    let token = json!({"parameter": "code", "code_system": "s", "token_value": "c"});
    let mut in_composite = token.clone();
    in_composite["composite_id"] = json!(2);
    let (tag, label) = (
        json!({"code_system": "s", "token_value": "t"}),
        json!({"code_system": "s", "token_value": "R"}),
    );
    let mut expected = [
        of("str_values", string.clone()),
        of("observation_str_values", string),
        of("date_values", date.clone()),
        of("observation_date_values", date),
        of("resource_token_refs", token),
        of("observation_resource_token_refs", in_composite),
        of("logical_resource_tags", tag.clone()),
        of("observation_tags", tag),
        of("logical_resource_security", label.clone()),
        of("observation_security", label),
        of("logical_resource_profiles", profile.clone()),
        of("observation_profiles", profile),
        of(
            "observation_latlng_values",
            json!({"parameter": "near", "latitude_value": 1.5, "longitude_value": -2.25}),
        ),
        of(
            "observation_ref_values",
            json!({"parameter": "subject", "ref_resource_type": "Patient",
            "ref_logical_id": "p", "ref_version_id": 3}),
        ),
        of(
            "observation_ref_values",
            json!({"parameter": "focus", "ref_resource_type": "Resource",
            "ref_logical_id": "http://x/y"}),
        ),
    ];
    let by_text = |row: &Value| row.to_string();
    let mut rows = rows;
    rows.sort_by_key(by_text);
    expected.sort_by_key(by_text);
    assert_eq!(rows, expected);
}

/// The server does not tell equal strings apart; composites are told apart by their number.
#[tokio::test(flavor = "multi_thread")]
async fn equal_strings_are_one_row() {
    let rows = rows_of(|message| {
        let message = message.string("family", "Smith").string("family", "Smith");
        let component =
            json!({"value": "Smith", "name": "family", "compositeId": 1, "wholeSystem": false});
        message
            .value("stringValues", component.clone())
            .value("stringValues", component)
            .string("family", "smith")
    })
    .await;
    let of = |value: &str, composite: Option<i32>| {
        let mut row = json!({"table": "observation_str_values", "parameter": "family", "str_value": value,
            "str_value_lcase": "smith"});
        if let Some(composite) = composite {
            row["composite_id"] = json!(composite);
        }
        row
    };
    assert_eq!(
        rows,
        [of("Smith", Some(1)), of("Smith", None), of("smith", None)]
    );
}

/// `str_value_lcase` is what the server searches: without accents, in lower case, white space as one blank.
#[tokio::test(flavor = "multi_thread")]
async fn accented_and_other_scripts_are_found_as_the_server_searches_them() {
    let cases = [
        ("Núñez", "nunez"),
        ("Åse\t\n ØRSTED", "ase ørsted"),
        ("ΌΔΟΣ", "οδος"),
        ("Пётр Йо", "петр ио"),
        ("東京 ガ", "東京 カ\u{3099}"),
        ("İzmir", "izmir"),
        ("한국", "\u{1112}\u{1161}\u{11ab}\u{1100}\u{116e}\u{11a8}"),
        ("a\u{a0}b", "a\u{a0}b"),
        ("back\\slash \"q\"", "back\\slash \"q\""),
        ("", ""),
    ];
    let rows = rows_of(|message| {
        cases
            .iter()
            .fold(message, |message, (value, _)| message.string("name", value))
    })
    .await;
    let found = |value: &str| {
        let row = rows.iter().find(|row| row["str_value"] == value);
        row.map(|row| {
            row["str_value_lcase"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        })
    };
    for (value, normal) in cases {
        assert_eq!(found(value).as_deref(), Some(normal), "{value:?}");
    }
}

/// Java writes decimals of any precision with and without an exponent; some writers put them in quotes.
#[tokio::test(flavor = "multi_thread")]
async fn decimals_with_exponents_keep_their_value() {
    let raw = r#"[{"name":"n1","value":1E+2,"lowValue":9.5e1,"highValue":105},
        {"name":"n2","value":-1.25E-7,"lowValue":0.1000000000000000055511151231257827,"highValue":"2.5"},
        {"name":"n3"},{"name":"n4","value":123456789012345678901234567890}]"#;
    let rows = {
        let scene = Scene::plain().await;
        let _indexer = scene.indexer(&[]);
        let stored = scene.put("Observation", "o1", "hash").await;
        let mut message = stored.message().data("numberValues", json!("HERE")).build();
        message.value = message.value.replace("\"HERE\"", raw);
        let quantity = r#","quantityValues":[{"name":"q","valueNumber":5E-1,"valueSystem":"u","valueCode":""}]"#;
        message.value.insert_str(message.value.len() - 2, quantity);
        scene.send(&[message]).await;
        scene.until_done().await;
        assert_eq!(scene.dead_letters().await, []);
        let rows = scene.rows(&stored).await;
        scene.end().await;
        told(&rows)
    };
    let number = |name: &str| rows.iter().find(|row| row["parameter"] == name).unwrap();
    let three = |name: &str| {
        let row = number(name);
        ["number_value", "number_value_low", "number_value_high"].map(|column| row[column].as_f64())
    };
    assert_eq!(three("n1"), [Some(100.0), Some(95.0), Some(105.0)]);
    assert_eq!(three("n2"), [Some(-1.25e-7), Some(0.1), Some(2.5)]);
    assert_eq!(three("n3"), [None; 3]);
    assert_eq!(
        three("n4")[0],
        Some(123_456_789_012_345_678_901_234_567_890.0)
    );
    let quantity = number("q");
    assert_eq!(
        (&quantity["quantity_value"], &quantity["code"]),
        (&json!(0.5), &json!(""))
    );
}

/// Gson writes some characters as escapes.
#[tokio::test(flavor = "multi_thread")]
async fn escaped_characters_are_read() {
    let scene = Scene::plain().await;
    let _indexer = scene.indexer(&[]);
    let stored = scene.put("Observation", "o1", "aGFzaA==").await;
    let mut message = stored.message().string("name", "a<b>&'c'=d").build();
    for (character, escape) in [
        ("<", "\\u003c"),
        (">", "\\u003e"),
        ("&", "\\u0026"),
        ("'", "\\u0027"),
        ("=", "\\u003d"),
    ] {
        message.value = message.value.replace(character, escape);
    }
    scene.send(&[message]).await;
    scene.until_done().await;
    assert_eq!(scene.strings(&stored).await, ["a<b>&'c'=d"]);
    scene.end().await;
}

/// A token without a code stays a row, and refers to nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_a_code_is_a_row_without_one() {
    let rows = rows_of(|message| {
        let token = json!({"valueSystem": "s", "name": "code", "wholeSystem": true});
        message.value("tokenValues", token)
    })
    .await;
    let of = |table: &str| json!({"table": table, "parameter": "code"});
    assert_eq!(
        rows,
        [
            of("observation_resource_token_refs"),
            of("resource_token_refs")
        ]
    );
}

/// The server cuts strings to 1024 bytes; a longer one, from whoever sends it, is cut and not refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_string_too_long_for_its_column_is_cut() {
    let long = "é".repeat(2000);
    let rows = rows_of(|message| message.string("name", &long)).await;
    let [row] = rows.as_slice() else {
        panic!("{rows:?}")
    };
    let stored = row["str_value"].as_str().unwrap();
    assert!(
        !stored.is_empty() && long.starts_with(stored),
        "{} characters",
        stored.chars().count()
    );
    assert!(stored.chars().count() <= 1024);
}
