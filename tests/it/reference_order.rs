//! Data that refers to other data, into servers that refuse dangling references: it loads in whatever order it lies.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;
use stoker_sandbox::{Sandbox, SandboxConfig};
use stoker_tests::fhir::FhirServer;
use stoker_tests::parts::{self, FreshHapi};
use stoker_tests::stoker::Stoker;

async fn strict_sandbox() -> Sandbox {
    let config = SandboxConfig {
        referential_integrity: true,
        ..SandboxConfig::default()
    };
    Sandbox::start(config).await.unwrap()
}

/// Loads what lies in the user's folder `data`.
async fn load(user: &Stoker, base: &str) -> (i32, Value) {
    let run = user
        .args(["load", "data", "--to", base, "--json"])
        .run()
        .await
        .unwrap();
    let report = serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {run:#?}"));
    (run.code, report)
}

fn user_with_data() -> Stoker {
    let user = Stoker::new().unwrap();
    fs::create_dir(user.home().join("data")).unwrap();
    user
}

/// Organizations of which each is part of the next, and one that is part of nothing there is.
fn organizations(count: usize) -> String {
    let mut lines = String::new();
    for n in 0..count {
        let parent = format!(r#","partOf":{{"reference":"Organization/o{}"}}"#, n + 1);
        let parent = if n + 1 < count { parent } else { String::new() };
        writeln!(
            lines,
            r#"{{"resourceType":"Organization","id":"o{n}","name":"n{n}"{parent}}}"#
        )
        .unwrap();
    }
    lines +=
        r#"{"resourceType":"Organization","id":"lost","partOf":{"reference":"Organization/none"}}"#;
    lines
}

#[tokio::test]
async fn lines_that_refer_to_later_ones_wait_for_them() {
    let sandbox = strict_sandbox().await;
    let user = user_with_data();
    fs::write(
        user.home().join("data/Organization.ndjson"),
        organizations(300),
    )
    .unwrap();
    let (code, report) = load(&user, &sandbox.base_url()).await;
    assert_eq!(code, 2, "{report:#}");
    assert_eq!(report["resources"]["created"], 300, "{report:#}");
    assert_eq!(report["resources"]["rejected"], 1, "{report:#}");
    let problem = &report["problems"][0];
    assert_eq!(problem["line"], 301, "{problem:#}");
    assert!(
        problem["reason"]
            .as_str()
            .unwrap()
            .contains("Organization/none"),
        "{problem:#}"
    );
}

#[tokio::test]
async fn lines_with_conditional_references_go_in_transactions() {
    let sandbox = strict_sandbox().await;
    let user = user_with_data();
    let mut lines = String::new();
    for n in 0..30 {
        let reference = if n % 3 == 0 {
            r#"{"reference":"Practitioner?identifier=urn:n|7"}"#.to_owned()
        } else {
            r#"{"reference":"Practitioner/p7"}"#.to_owned()
        };
        writeln!(
            lines,
            r#"{{"resourceType":"PractitionerRole","id":"r{n}","practitioner":{reference}}}"#
        )
        .unwrap();
    }
    lines += r#"{"resourceType":"Practitioner","id":"p7","identifier":[{"system":"urn:n","value":"7"}]}"#;
    fs::write(user.home().join("data/roles.ndjson"), lines).unwrap();
    let (code, report) = load(&user, &sandbox.base_url()).await;
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["resources"]["created"], 31, "{report:#}");
    for role in sandbox.resources("PractitionerRole") {
        assert_eq!(
            role["practitioner"]["reference"], "Practitioner/p7",
            "{role:#}"
        );
    }
}

#[tokio::test]
async fn of_two_lines_with_one_id_the_later_wins_though_the_first_had_to_wait() {
    let sandbox = strict_sandbox().await;
    let user = user_with_data();
    let lines = concat!(
        r#"{"resourceType":"Organization","id":"a","name":"first","partOf":{"reference":"Organization/b"}}"#,
        "\n",
        r#"{"resourceType":"Organization","id":"a","name":"second"}"#,
        "\n",
        r#"{"resourceType":"Organization","id":"b"}"#,
    );
    fs::write(user.home().join("data/o.ndjson"), lines).unwrap();
    let (_, report) = load(&user, &sandbox.base_url()).await;
    let a = sandbox.read("Organization", "a").unwrap();
    assert_eq!(a["name"], "second", "{report:#}");
}

/// As Synthea writes them: hospitals, practitioners and patients side by side, and the same patients'
/// resources by type.
/// A transaction of the user's as one line: an Encounter and an Observation of it, of one patient.
fn visit(n: usize, patient: &str) -> String {
    let entry = |kind: &str, rest: &str| {
        format!(
            r#"{{"fullUrl":"urn:uuid:{kind}{n}","resource":{{"resourceType":"{kind}","id":"{kind}{n}","subject":{{"reference":"Patient/{patient}"}},{rest}}},"request":{{"method":"PUT","url":"{kind}/{kind}{n}"}}}}"#
        )
    };
    let encounter = entry("Encounter", r#""status":"finished","class":{"code":"AMB"}"#);
    let observation = entry(
        "Observation",
        &format!(
            r#""status":"final","code":{{"text":"x"}},"encounter":{{"reference":"Encounter/Encounter{n}"}}"#
        ),
    );
    format!(
        "{{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":[{encounter},{observation}]}}\n"
    )
}

#[tokio::test]
async fn transactions_that_refer_to_later_lines_wait_for_them_whole() {
    let sandbox = strict_sandbox().await;
    let user = user_with_data();
    let patient = |n: usize| format!("{{\"resourceType\":\"Patient\",\"id\":\"p{n}\"}}\n");
    let visits: String = (0..20).map(|n| visit(n, &format!("p{}", n % 5))).collect();
    let patients: String = (0..5).map(patient).collect();
    // Of one transaction nothing it refers to comes; an entry that can stand alone is loaded.
    let alone = r#"{"resource":{"resourceType":"Basic","id":"alone","code":{"text":"x"}},"request":{"method":"PUT","url":"Basic/alone"}},{"fullUrl""#;
    let lost = visit(20, "none").replacen(r#"{"fullUrl""#, alone, 1);
    let lines = [visits, lost, patients].concat();
    fs::write(user.home().join("data/visits.ndjson"), lines).unwrap();
    let (code, report) = load(&user, &sandbox.base_url()).await;
    assert_eq!(code, 2, "{report:#}");
    assert_eq!(report["resources"]["rejected"], 2, "{report:#}");
    for (kind, count) in [
        ("Encounter", 20),
        ("Observation", 20),
        ("Patient", 5),
        ("Basic", 1),
    ] {
        assert_eq!(sandbox.resources(kind).len(), count, "{kind}");
    }
    // None of those that waited was taken apart.
    assert_eq!(sandbox.stats().versions_written, 46);
    let reason = report["problems"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("which is not there"), "{reason}");
}

#[tokio::test]
async fn what_a_later_line_writes_too_is_the_last_though_a_transaction_had_to_wait() {
    let sandbox = strict_sandbox().await;
    let user = user_with_data();
    let later = r#"{"resourceType":"Encounter","id":"Encounter0","status":"planned","class":{"code":"AMB"}}"#;
    let patient = r#"{"resourceType":"Patient","id":"p"}"#;
    let basic =
        |n| format!("{{\"resourceType\":\"Basic\",\"id\":\"b{n}\",\"code\":{{\"text\":\"x\"}}}}\n");
    let filler: String = (0..300).map(basic).collect();
    let lines = format!("{}{filler}{later}\n{filler}{patient}\n", visit(0, "p"));
    fs::write(user.home().join("data/visits.ndjson"), lines).unwrap();
    let (_, report) = load(&user, &sandbox.base_url()).await;
    let encounter = sandbox.read("Encounter", "Encounter0").unwrap();
    assert_eq!(encounter["status"], "planned", "{report:#}");
    assert!(sandbox.read("Patient", "p").is_some());
}

#[tokio::test]
async fn raw_synthea_loads_on_hapi_without_preparation() {
    let _turn = parts::turn().await;
    let server = FreshHapi::start().unwrap();
    let hapi = server.fhir();
    let user = user_with_data();
    let data = user.home().join("data");
    let bundles = parts::synthea().join("bundles");
    let copy = |from: &Path, name: &str| fs::copy(from, data.join(name)).map(drop).unwrap();
    copy(
        &bundles.join("hospitals.json"),
        "hospitalInformation1700000000000.json",
    );
    copy(
        &bundles.join("practitioners.json"),
        "practitionerInformation1700000000000.json",
    );
    let mut patients: Vec<_> = fs::read_dir(&bundles)
        .unwrap()
        .map(|e| e.unwrap())
        .filter(|e| e.file_name().to_string_lossy().contains('_'))
        .map(|e| (e.metadata().unwrap().len(), e.path()))
        .collect();
    patients.sort();
    for (_, path) in patients.iter().take(2) {
        copy(path, path.file_name().unwrap().to_str().unwrap());
    }
    let (code, report) = load(&user, hapi.base()).await;
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["files"]["loaded"], 4);
    bulk_data_after_it(&hapi).await;
}

/// Files by type, in the order of their names: the wrong one.
async fn bulk_data_after_it(hapi: &FhirServer) {
    let user = user_with_data();
    let folder = parts::synthea().join("ndjson");
    let mut expected = BTreeMap::new();
    for name in [
        "Encounter",
        "Location",
        "Organization",
        "Patient",
        "Practitioner",
        "PractitionerRole",
    ] {
        let file = format!("{name}.ndjson");
        fs::copy(folder.join(&file), user.home().join("data").join(&file)).unwrap();
        let text = fs::read_to_string(folder.join(&file)).unwrap();
        expected.insert(name, text.lines().count());
    }
    let (code, report) = load(&user, hapi.base()).await;
    assert_eq!(code, 0, "{report:#}");
    for (name, count) in expected {
        let loaded = &report["resources"]["by_type"][name];
        let loaded = loaded["created"].as_u64().unwrap() + loaded["updated"].as_u64().unwrap();
        assert_eq!(loaded, count as u64, "{name}");
    }
}
