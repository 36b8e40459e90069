//! Large Bundles broken up into a bucket or a folder, and loaded from there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use stoker_sandbox::{Sandbox, SandboxConfig};
use stoker_tests::minio::{ACCESS_KEY, Minio, SECRET_KEY};
use stoker_tests::stoker::{Run, Stoker};

const PATIENTS: usize = 60;

/// A transaction of patients with an observation each, a practitioner that is created if need be, and an update.
fn bundle(name: &str) -> Value {
    let mut entries = vec![json!({
        "fullUrl": "urn:uuid:doctor",
        "resource": {"resourceType": "Practitioner", "identifier": [{"system": "s", "value": "7"}]},
        "request": {"method": "POST", "url": "Practitioner", "ifNoneExist": "identifier=s|7"},
    })];
    for n in 0..PATIENTS {
        let observation = json!({"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "valueString": format!("{name}-{n}"),
            "subject": {"reference": format!("urn:uuid:{n}")}});
        entries.push(
            json!({"fullUrl": format!("urn:uuid:o{n}"), "resource": observation,
            "request": {"method": "POST", "url": "Observation"}}),
        );
        let patient =
            json!({"resourceType": "Patient", "gender": "other", "birthDate": "2000-01-01"});
        entries.push(
            json!({"fullUrl": format!("urn:uuid:{n}"), "resource": patient,
            "request": {"method": "POST", "url": "Patient"}}),
        );
    }
    entries.push(
        json!({"resource": {"resourceType": "Group", "id": name, "type": "person", "actual": true},
        "request": {"method": "PUT", "url": format!("Group/{name}")}}),
    );
    json!({"resourceType": "Bundle", "type": "transaction", "entry": entries})
}

fn write_sources(folder: &Path) {
    fs::create_dir_all(folder.join("deep")).unwrap();
    fs::write(folder.join("deep/a.json"), bundle("a").to_string()).unwrap();
    let packed = zstd::encode_all(bundle("b").to_string().as_bytes(), 1).unwrap();
    fs::write(folder.join("b.json.zst"), packed).unwrap();
    let small = json!({"resourceType": "Patient", "id": "small"});
    fs::write(folder.join("small.json"), format!(" {small}\n")).unwrap();
    let lines = format!(
        "{}\n{}\nno json\n{}\n",
        json!({"resourceType": "Basic", "id": "l0", "code": {"text": "x"}}),
        bundle("c"),
        json!({"resourceType": "Basic", "id": "l3", "code": {"text": "x"}})
    );
    fs::write(folder.join("lines.ndjson"), lines).unwrap();
}

fn report(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {run:#?}"))
}

async fn load(user: &Stoker, args: &[&str]) -> Run {
    let s3 = ["--s3-access-key", ACCESS_KEY, "--json"];
    let command = user.args([&["load"], args, &s3].concat());
    command
        .env("STOKER_S3_SECRET_KEY", SECRET_KEY)
        .run()
        .await
        .unwrap()
}

async fn objects(minio: &Minio) -> BTreeMap<String, (String, i64)> {
    let listed = minio
        .client()
        .list_objects_v2()
        .bucket("out")
        .send()
        .await
        .unwrap();
    let object = |o: &aws_sdk_s3::types::Object| {
        let etag = o.e_tag().unwrap().to_owned();
        (o.key().unwrap().to_owned(), (etag, o.size().unwrap()))
    };
    listed.contents().iter().map(object).collect()
}

#[tokio::test]
async fn a_bucket_of_parts_is_the_same_each_time_and_loads_to_the_same_counts() {
    let minio = Minio::start().await.unwrap();
    minio.make_bucket("out").await.unwrap();
    let user = Stoker::new().unwrap();
    write_sources(&user.home().join("in"));
    let endpoint = minio.endpoint();
    let to = [
        "in",
        "--to",
        "s3://out/some/prefix",
        "--max-bundle-entries",
        "25",
        "--s3-endpoint",
        &endpoint,
    ];
    let run = load(&user, &to).await;
    assert_eq!(run.code, 2, "one line is no JSON: {run:#?}");
    let report_ = report(&run);
    let counts = &report_["resources"];
    assert_eq!(counts["rejected"], 1, "{report_:#}");
    let entries = 3 * (2 * PATIENTS + 2) + 3;
    assert_eq!(counts["updated"], entries, "{report_:#}");
    let first = objects(&minio).await;
    let names: Vec<_> = first
        .keys()
        .map(|k| k.strip_prefix("some/prefix/").unwrap())
        .collect();
    for (stem, parts) in [("deep/a", 5), ("b.zst", 5), ("lines_L1", 5)] {
        for n in 0..parts {
            let name = format!("{stem}_SUB{n:03}.json");
            assert!(names.contains(&name.as_str()), "{name}: {names:?}");
        }
    }
    for name in ["small.json", "lines_L0.ndjson", "lines_L3.ndjson"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    assert_eq!(names.len(), 18, "{names:?}");

    let again = load(&user, &[&to[..], &["--reload"]].concat()).await;
    assert_eq!(again.code, 2, "{again:#?}");
    assert_eq!(objects(&minio).await, first, "the same objects");

    let (whole, parts) = (sandbox().await, sandbox().await);
    let base = whole.base_url();
    assert_eq!(load(&user, &["in", "--to", &base]).await.code, 2);
    let base = parts.base_url();
    let args = [
        "s3://out/some/prefix/",
        "--to",
        &base,
        "--concurrency",
        "1",
        "--s3-endpoint",
        &endpoint,
    ];
    let run = load(&user, &args).await;
    assert_eq!(run.code, 0, "{run:#?}");
    same(&whole, &parts);
}

async fn sandbox() -> Sandbox {
    Sandbox::start(SandboxConfig::default()).await.unwrap()
}

/// The same counts, and each observation about a patient that is there.
fn same(whole: &Sandbox, parts: &Sandbox) {
    for kind in ["Patient", "Observation", "Practitioner", "Group", "Basic"] {
        let count = |sandbox: &Sandbox| sandbox.resources(kind).len();
        assert_eq!(count(whole), count(parts), "{kind}");
    }
    for sandbox in [whole, parts] {
        for observation in sandbox.resources("Observation") {
            let subject = observation["subject"]["reference"].as_str().unwrap();
            let id = subject
                .strip_prefix("Patient/")
                .unwrap_or_else(|| panic!("{observation}"));
            assert!(sandbox.read("Patient", id).is_some(), "{observation}");
        }
    }
}

#[tokio::test]
async fn a_folder_is_a_target_and_not_within_its_source() {
    let user = Stoker::new().unwrap();
    write_sources(&user.home().join("in"));
    let run = load(
        &user,
        &["in/deep", "--to", "./out", "--max-bundle-entries", "50"],
    )
    .await;
    assert_eq!(run.code, 0, "{run:#?}");
    let mut found: Vec<_> = fs::read_dir(user.home().join("out"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    found.sort();
    assert_eq!(found, ["a_SUB000.json", "a_SUB001.json", "a_SUB002.json"]);
    for (args, expected) in [
        (&["in", "--to", "./in/out"][..], "read again"),
        (&["in", "in/deep", "--to", "./out"], "overwrite each other"),
    ] {
        let run = load(&user, args).await;
        assert_eq!(run.code, 1, "{run:#?}");
        assert!(run.stderr.contains(expected), "{run:#?}");
    }
}

/// A transaction of so many patients.
fn patients(count: usize) -> String {
    let entry = |n: usize| {
        json!({"resource": {"resourceType": "Patient", "id": format!("p{n}")},
            "request": {"method": "PUT", "url": format!("Patient/p{n}")}})
    };
    let entries: Vec<Value> = (0..count).map(entry).collect();
    json!({"resourceType": "Bundle", "type": "transaction", "entry": entries}).to_string()
}

#[tokio::test]
async fn parts_that_a_larger_version_left_are_removed_and_nothing_else() {
    let minio = Minio::start().await.unwrap();
    for bucket in ["big", "out"] {
        minio.make_bucket(bucket).await.unwrap();
    }
    let user = Stoker::new().unwrap();
    let endpoint = minio.endpoint();
    let load = async || {
        let to = ["s3://big", "--to", "s3://out", "--max-bundle-entries", "2"];
        let run = load(&user, &[&to[..], &["--s3-endpoint", &endpoint]].concat()).await;
        assert_eq!(run.code, 0, "{run:#?}");
        objects(&minio).await.into_keys().collect::<Vec<_>>()
    };
    let put = async |bucket: &str, key: &str, body: String| {
        minio.put(bucket, key, body.into_bytes()).await.unwrap();
    };
    // One that the source has, and names that no part has.
    let others = [
        "x_SUB006.json",
        "x_SUB04.json",
        "x_SUBx.json",
        "xy_SUB005.json",
    ];
    put("big", others[0], patients(1)).await;
    for other in &others[1..] {
        put("out", other, patients(1)).await;
    }
    let expected = |parts: &[&str]| {
        let mut all: Vec<String> = parts
            .iter()
            .chain(&others)
            .map(ToString::to_string)
            .collect();
        all.sort_unstable();
        all
    };
    put("big", "x.json", patients(12)).await;
    let six = [0, 1, 2, 3, 4, 5].map(|n| format!("x_SUB00{n}.json"));
    let six: Vec<&str> = six.iter().map(String::as_str).collect();
    assert_eq!(load().await, expected(&six));
    put("big", "x.json", patients(3)).await;
    assert_eq!(load().await, expected(&six[..2]));
    put("big", "x.json", patients(2)).await;
    assert_eq!(load().await, expected(&["x.json"]));
    put("big", "x.json", patients(3)).await;
    assert_eq!(load().await, expected(&six[..2]));
}

#[tokio::test]
async fn killed_while_it_removes_them_a_load_removes_the_rest_when_it_goes_on() {
    const PARTS: usize = 400;
    let user = Stoker::new().unwrap();
    let (source, out) = (user.home().join("in"), user.home().join("out"));
    fs::create_dir(&source).unwrap();
    let put = |count| fs::write(source.join("x.json"), patients(count)).unwrap();
    let load = || {
        let args = ["load", "in", "--to", "./out", "--max-bundle-entries", "1"];
        user.args(args).run()
    };
    let files = || -> BTreeSet<String> {
        let files = fs::read_dir(&out).unwrap();
        let name = |file: std::io::Result<fs::DirEntry>| file.unwrap().file_name();
        files.map(|f| name(f).into_string().unwrap()).collect()
    };
    put(PARTS);
    let run = load().await.unwrap();
    assert_eq!(run.code, 0, "{run:#?}");
    assert_eq!(files().len(), PARTS);

    put(1);
    let last = out.join(format!("x_SUB{:03}.json", PARTS - 1));
    let begun = async {
        while last.exists() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        run = load() => panic!("ended before it was killed: {run:#?}"),
        () = begun => {}
    }
    let left = files();
    assert!(left.len() > 1, "it was killed too late");
    assert!(left.contains("x.json"), "{left:?}");

    let run = load().await.unwrap();
    assert_eq!(run.code, 0, "{run:#?}");
    assert_eq!(files(), BTreeSet::from(["x.json".to_owned()]));
}

#[tokio::test]
async fn a_large_bundle_is_broken_up_in_flight() {
    let user = Stoker::new().unwrap();
    write_sources(&user.home().join("in"));
    let (whole, parts) = (sandbox().await, sandbox().await);
    let base = whole.base_url();
    assert_eq!(load(&user, &["in", "--to", &base]).await.code, 2);
    let base = parts.base_url();
    let run = load(&user, &["in", "--to", &base, "--max-bundle-entries", "30"]).await;
    assert_eq!(run.code, 2, "{run:#?}");
    same(&whole, &parts);
    assert!(
        report(&run)["requests"]["sent"].as_u64() >= Some(15),
        "{run:#?}"
    );
    let before = parts.stats().versions_written;
    let again = load(
        &user,
        &[
            "in",
            "--to",
            &base,
            "--max-bundle-entries",
            "30",
            "--reload",
        ],
    )
    .await;
    assert_eq!(again.code, 2, "{again:#?}");
    same(&whole, &parts);
    assert!(parts.stats().versions_written > before, "it was sent again");
}
