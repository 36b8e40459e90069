//! A folder such as users really have: everything good arrives unchanged, everything bad is named.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use stoker_sandbox::{Sandbox, SandboxConfig};
use stoker_tests::stoker::Stoker;

const SCRIPTS: [(&str, &str); 5] = [
    ("latin", "Łukasz Ñúñez-Ærø"),
    ("greek", "Ἀλέξανδρος Παπαδόπουλος"),
    ("arabic", "محمد بن عبد الله"),
    ("han", "佐藤 花子 𠮷田"),
    ("devanagari", "अनिल कुमार \u{1f9d1}\u{200d}\u{2695}\u{fe0f}"),
];

/// By id, what the server must hold afterwards.
type Good = BTreeMap<String, Value>;

fn patient(id: &str, name: &str) -> Value {
    json!({"resourceType": "Patient", "id": id, "name": [{"text": name, "given": ["a \"quoted\" \\ one"]}]})
}

/// What a tree of JSON values, or a number of 64 bits, would not keep; compared as text.
const EXACT: &str = concat!(
    r#""status":"final","code":{"text":"caf\u00e9 \/ \uD83D\ude00"},"#,
    r#""valueQuantity":{"value":1.500},"component":["#,
    r#"{"code":{"text":"25 digits"},"valueQuantity":{"value":12345678901.23456789012345}},"#,
    r#"{"code":{"text":"exponent"},"valueQuantity":{"value":-5.40E-3}},"#,
    r#"{"code":{"text":"more than 64 bits"},"valueQuantity":{"value":123456789012345678901234567890}}]"#
);

/// Each of them reaches the server on another way.
const EXACT_IDS: [&str; 4] = ["exact-line", "exact-file", "exact-apart", "exact-batch"];

fn write_exact(folder: &Path) {
    let observation = |id: &str| format!(r#"{{"resourceType":"Observation","id":"{id}",{EXACT}}}"#);
    let [line, file, apart, batch] = EXACT_IDS;
    let collection = format!(
        r#"{{"resourceType":"Bundle","type":"collection","entry":[{{"resource":{}}}]}}"#,
        observation(apart)
    );
    let request = format!(r#"{{"method":"PUT","url":"Observation/{batch}"}}"#);
    let batch = format!(
        r#"{{"resourceType":"Bundle","type":"batch","entry":[{{"resource":{},"request":{request}}}]}}"#,
        observation(batch)
    );
    fs::write(folder.join("exact.ndjson"), observation(line) + "\n").unwrap();
    for (name, text) in [
        ("exact.json", observation(file)),
        ("exact collection.json", collection),
        ("exact batch.json", batch),
    ] {
        fs::write(folder.join(name), text).unwrap();
    }
}

/// After the server's own `meta` comes what was sent.
fn assert_exact(sandbox: &Sandbox) {
    for id in EXACT_IDS {
        let held = sandbox.text("Observation", id);
        let held = held.unwrap_or_else(|| panic!("{id} is missing"));
        let (own, sent) = held.split_once("},").unwrap();
        assert!(own.contains(&format!(r#""id":"{id}""#)), "{own}");
        assert_eq!(sent.strip_suffix('}'), Some(EXACT), "{id}");
    }
    let held = sandbox.resources("Observation").len();
    assert_eq!(held, EXACT_IDS.len());
}

/// Writes the folder; the second answer is file name and line of each bad input.
fn write_folder(folder: &Path) -> (Good, Vec<(&'static str, u64)>) {
    let mut good = Good::new();
    let mut add = |id: &str, name: &str| {
        let resource = patient(id, name);
        good.insert(id.to_owned(), resource.clone());
        resource.to_string()
    };
    fs::create_dir_all(folder.join("wards/Station für Innere")).unwrap();
    write_exact(folder);
    let mut lines = String::new();
    for (id, name) in SCRIPTS {
        lines += &(add(id, name) + "\n");
    }
    fs::write(folder.join("scripts.ndjson"), &lines).unwrap();

    let windows = format!(
        "\u{feff}{}\r\n\r\n{}\r\n   \r\nthis is no JSON\r\n{}\r\n",
        add("win-1", "one"),
        add("win-2", "two"),
        r#"{"resourceType":"Patient","id":"refused","gender":"no-such-gender"}"#,
    );
    fs::write(folder.join("windows line ends.ndjson"), windows).unwrap();

    let single = format!("\u{feff}{}\n", add("single", "with a byte order mark"));
    fs::write(folder.join("wards/Station für Innere/患者 一.json"), single).unwrap();

    let apart = json!({"resourceType": "Bundle", "type": "collection", "entry": [
        {"resource": serde_json::from_str::<Value>(&add("in-bundle", "taken apart")).unwrap()},
        {"resource": {"resourceType": "Observation", "id": "no-code", "status": "final"}},
    ]});
    fs::write(folder.join("collection.json"), apart.to_string()).unwrap();
    let zipped = zstd::encode_all(add("zipped", "zst").as_bytes(), 3).unwrap();
    fs::write(folder.join("zipped.ndjson.zst"), zipped).unwrap();

    fs::write(folder.join("broken.json"), "{\"resourceType\":\"Patient\",").unwrap();
    fs::write(folder.join("empty.json"), "").unwrap();
    fs::write(
        folder.join("latin1.ndjson"),
        b"{\"resourceType\":\"Patient\",\"id\":\"l1\",\"name\":[{\"text\":\"M\xfcller\"}]}\n",
    )
    .unwrap();
    fs::write(folder.join("notes.txt"), "not for a FHIR server").unwrap();
    let bad = vec![
        ("broken.json", 1),
        ("collection.json", 1),
        ("latin1.ndjson", 1),
        ("windows line ends.ndjson", 5),
        ("windows line ends.ndjson", 6),
    ];
    (good, bad)
}

fn without_meta(mut resource: Value) -> Value {
    resource.as_object_mut().unwrap().remove("meta");
    resource
}

#[tokio::test]
async fn good_resources_arrive_and_bad_ones_are_named() {
    for batch_refused_whole in [false, true] {
        let sandbox = Sandbox::start(SandboxConfig {
            batch_refused_whole,
            ..SandboxConfig::default()
        });
        let sandbox = sandbox.await.unwrap();
        let user = Stoker::new().unwrap();
        let folder = user.home().join("my data");
        let (good, bad) = write_folder(&folder);
        let base = sandbox.base_url();
        let args = ["load", "my data", "--to", &base, "--report", "report.json"];
        let run = user.args(args).run().await.unwrap();
        assert_eq!(run.code, 2, "{run:#?}");

        for (id, resource) in &good {
            let held = sandbox
                .read("Patient", id)
                .unwrap_or_else(|| panic!("{id} is missing"));
            assert_eq!(&without_meta(held), resource);
        }
        assert_eq!(sandbox.resources("Patient").len(), good.len());
        assert_exact(&sandbox);

        let report: Value =
            serde_json::from_slice(&fs::read(user.home().join("report.json")).unwrap()).unwrap();
        let loaded = good.len() + EXACT_IDS.len();
        assert_eq!(report["resources"]["loaded"], loaded, "{report:#}");
        assert_eq!(report["resources"]["rejected"], bad.len(), "{report:#}");
        assert_eq!(report["files"]["ignored"], 1, "{report:#}");
        let problems = report["problems"].as_array().unwrap();
        let mut named: Vec<(&str, u64)> = problems
            .iter()
            .filter(|p| p["kind"] == "rejected")
            .map(|p| {
                let file = p["file"].as_str().unwrap().rsplit('/').next().unwrap();
                (file, p["line"].as_u64().unwrap())
            })
            .collect();
        named.sort_unstable();
        assert_eq!(named, bad);
        assert!(
            problems
                .iter()
                .all(|p| !p["reason"].as_str().unwrap().is_empty())
        );
        let warnings: Vec<&Value> = problems.iter().filter(|p| p["kind"] == "warning").collect();
        assert_eq!(warnings.len(), 1, "{report:#}");
        assert!(
            warnings[0]["file"]
                .as_str()
                .unwrap()
                .ends_with("/empty.json")
        );
        let refused = problems.iter().find(|p| p["line"] == 6).unwrap();
        assert_eq!(
            refused["operation_outcome"]["resourceType"],
            "OperationOutcome"
        );
    }
}

#[tokio::test]
async fn rejected_inputs_are_kept_byte_for_byte() {
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let user = Stoker::new().unwrap();
    write_folder(&user.home().join("my data"));
    let base = sandbox.base_url();
    user.args(["load", "my data", "--to", &base])
        .run()
        .await
        .unwrap();
    let run = user
        .args(["jobs", "errors", "1", "--inputs", "--json"])
        .run()
        .await
        .unwrap();
    assert_eq!(run.code, 0, "{run:#?}");
    let errors: Vec<Value> = run
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let input = |file: &str, line: u64| {
        let found = errors.iter().find(|e| {
            e["file"].as_str().unwrap().ends_with(file)
                && e["line"] == line
                && e["kind"] == "rejected"
        });
        found
            .unwrap_or_else(|| panic!("{file}:{line} in {errors:#?}"))
            .clone()
    };
    assert_eq!(
        input("windows line ends.ndjson", 5)["input"],
        "this is no JSON"
    );
    assert_eq!(
        input("broken.json", 1)["input"],
        "{\"resourceType\":\"Patient\","
    );
    assert!(
        input("latin1.ndjson", 1)["input_base64"].is_string(),
        "bytes that are no text are kept too"
    );
    let entry = input("collection.json", 1);
    assert_eq!(entry["entry"], 1);
    let kept: Value = serde_json::from_str(entry["input"].as_str().unwrap()).unwrap();
    assert_eq!(kept["id"], "no-code");
}
