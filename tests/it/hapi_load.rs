//! Synthea's data into a HAPI FHIR server that refuses dangling references: everything arrives, once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use stoker_tests::fhir::FhirServer;
use stoker_tests::parts::{self, FreshHapi};
use stoker_tests::stoker::Stoker;

/// A type comes after all it refers to.
const ORDER: [&str; 24] = [
    "Organization",
    "Location",
    "Practitioner",
    "PractitionerRole",
    "Patient",
    "Encounter",
    "Condition",
    "AllergyIntolerance",
    "CareTeam",
    "CarePlan",
    "Device",
    "ImagingStudy",
    "Immunization",
    "Medication",
    "MedicationRequest",
    "MedicationAdministration",
    "Observation",
    "Procedure",
    "DiagnosticReport",
    "DocumentReference",
    "Claim",
    "ExplanationOfBenefit",
    "SupplyDelivery",
    "Provenance",
];

/// Resources by type.
type Counts = BTreeMap<String, u64>;

#[tokio::test]
async fn everything_arrives_once() {
    let _turn = parts::turn().await;
    let server = FreshHapi::start().unwrap();
    let hapi = server.fhir();
    let user = Stoker::new().unwrap();
    bundles_of_providers_then_of_patients(&user, &hapi).await;
    ndjson_type_by_type(&user, &hapi).await;
}

async fn bundles_of_providers_then_of_patients(user: &Stoker, hapi: &FhirServer) {
    let folder = parts::synthea().join("bundles");
    let providers = [
        folder.join("hospitals.json"),
        folder.join("practitioners.json"),
    ];
    let patients = smallest_patients(&folder, 3);
    let entries: Vec<Value> = providers
        .iter()
        .chain(&patients)
        .flat_map(|file| entries_of(file))
        .collect();
    let (conditional, plain): (Vec<_>, Vec<_>) = entries
        .iter()
        .partition(|e| e["request"]["ifNoneExist"].is_string());
    let expected = count_types(plain.into_iter().map(|entry| &entry["resource"]));
    let before = counts_on(hapi, expected.keys()).await;

    for file in &providers {
        load(user, hapi, &[file]).await;
    }
    load(user, hapi, &patients).await;

    assert_eq!(added(hapi, &before).await, expected);
    for entry in conditional {
        let search = search_of(entry);
        assert_eq!(hapi.count(&search).await.unwrap(), 1, "{search}");
    }
}

async fn ndjson_type_by_type(user: &Stoker, hapi: &FhirServer) {
    let folder = parts::synthea().join("ndjson");
    let types = types_in(&folder);
    let before = counts_on(hapi, types.iter()).await;
    let mut expected = Counts::new();
    for name in types {
        let file = folder.join(format!("{name}.ndjson"));
        let text = fs::read_to_string(&file).unwrap();
        expected.insert(name, text.lines().count() as u64);
        load(user, hapi, &[file]).await;
    }
    assert_eq!(added(hapi, &before).await, expected);
}

/// Loads files and checks what Stoker says of it: exit code and report.
async fn load(user: &Stoker, hapi: &FhirServer, files: &[impl AsRef<Path>]) {
    let ledger = format!("sqlite:{}", user.home().join("ledger.sqlite").display());
    let report = user.home().join("report.json");
    let mut args = vec!["load".to_owned()];
    args.extend(files.iter().map(|file| file.as_ref().display().to_string()));
    args.extend(["--to", hapi.base(), "--ledger", &ledger].map(String::from));
    args.extend(["--report".to_owned(), report.display().to_string()]);
    let run = user.args(&args).run().await.unwrap();
    assert_eq!(run.code, 0, "{args:?}: {run:#?}");

    let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    let sent: usize = files.iter().map(|file| resources_in(file.as_ref())).sum();
    assert_eq!(report["resources"]["loaded"], sent, "{args:?}");
    assert_eq!(report["resources"]["rejected"], 0, "{args:?}");
}

fn resources_in(file: &Path) -> usize {
    if file.extension().is_some_and(|e| e == "ndjson") {
        fs::read_to_string(file).unwrap().lines().count()
    } else {
        entries_of(file).len()
    }
}

fn entries_of(bundle: &Path) -> Vec<Value> {
    let bundle: Value = serde_json::from_slice(&fs::read(bundle).unwrap()).unwrap();
    bundle["entry"].as_array().unwrap().clone()
}

/// Synthea names a patient's file `First_Last_id.json`.
fn smallest_patients(folder: &Path, how_many: usize) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut patients: Vec<(u64, PathBuf)> = files
        .filter(|file| file.file_name().to_string_lossy().contains('_'))
        .map(|file| (file.metadata().unwrap().len(), file.path()))
        .collect();
    patients.sort();
    assert!(
        patients.len() >= how_many,
        "too few patients in {}",
        folder.display()
    );
    patients
        .into_iter()
        .take(how_many)
        .map(|(_, path)| path)
        .collect()
}

/// The types there are files of, in the order to load them.
fn types_in(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut types: Vec<String> = files
        .map(|f| f.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    types.sort_by_key(|name| {
        let place = ORDER.iter().position(|known| known == name);
        assert!(place.is_some(), "{name} has no place in the order of types");
        place
    });
    types
}

fn count_types<'a>(resources: impl Iterator<Item = &'a Value>) -> Counts {
    let mut counts = Counts::new();
    for resource in resources {
        let name = resource["resourceType"].as_str().unwrap();
        *counts.entry(name.to_owned()).or_default() += 1;
    }
    counts
}

async fn counts_on(server: &FhirServer, types: impl Iterator<Item = &String>) -> Counts {
    let mut counts = Counts::new();
    for name in types {
        counts.insert(name.clone(), server.count(name).await.unwrap());
    }
    counts
}

/// How many more there are of each type than `before`.
async fn added(server: &FhirServer, before: &Counts) -> Counts {
    let mut counts = counts_on(server, before.keys()).await;
    for (name, count) in &mut counts {
        *count -= before[name];
    }
    counts
}

/// The search that finds what a conditional create has created.
fn search_of(entry: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap().replace('|', "%7C");
    format!(
        "{}?{}",
        text(&entry["request"]["url"]),
        text(&entry["request"]["ifNoneExist"])
    )
}
