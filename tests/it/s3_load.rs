//! Sources in an object store: a real S3 service, MinIO.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;
use stoker_sandbox::{Sandbox, SandboxConfig};
use stoker_tests::minio::{ACCESS_KEY, Minio, SECRET_KEY};
use stoker_tests::ports::free_port;
use stoker_tests::stoker::{Invocation, Run, Stoker};

async fn sandbox() -> Sandbox {
    Sandbox::start(SandboxConfig::default()).await.unwrap()
}

fn patients(ids: impl IntoIterator<Item = String>) -> Vec<u8> {
    let line = |id: String| format!("{{\"resourceType\":\"Patient\",\"id\":\"{id}\"}}\n");
    ids.into_iter().map(line).collect::<String>().into_bytes()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut gzip = Command::new("gzip")
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    gzip.stdin.take().unwrap().write_all(content).unwrap();
    gzip.wait_with_output().unwrap().stdout
}

/// A user whose settings name the service and its keys.
fn user_of(minio: &Minio) -> Stoker {
    let user = Stoker::new().unwrap();
    fs::write(user.home().join("secret"), SECRET_KEY).unwrap();
    let s3 = format!(
        "s3: {{endpoint: '{}', access_key: {ACCESS_KEY}, secret_key_file: {}, max_keys: 4}}",
        minio.endpoint(),
        user.home().join("secret").display()
    );
    let text = format!("bucket_scanner: {{{s3}}}\nloader_worker: {{{s3}}}\n");
    fs::write(user.home().join("stoker.yaml"), text).unwrap();
    user
}

fn load(user: &Stoker, source: &str, sandbox: &Sandbox) -> Invocation {
    user.args(["load", source, "--to", &sandbox.base_url(), "--json"])
}

fn report(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {run:#?}"))
}

#[tokio::test]
async fn objects_below_a_prefix_are_loaded_and_only_changed_ones_again() {
    let minio = Minio::start().await.unwrap();
    minio.make_bucket("fhir").await.unwrap();
    for n in 0..9 {
        let lines = patients((0..10).map(|i| format!("p{n}-{i}")));
        let key = format!("in/{n} – 患者.ndjson");
        minio.put("fhir", &key, lines).await.unwrap();
    }
    let packed = gzip(&patients(["packed".to_owned()]));
    minio
        .put("fhir", "in/deep/er/packed.ndjson.gz", packed)
        .await
        .unwrap();
    minio.put("fhir", "in/folder/", Vec::new()).await.unwrap();
    let elsewhere = patients(["elsewhere".to_owned()]);
    minio
        .put("fhir", "other/x.ndjson", elsewhere)
        .await
        .unwrap();
    let (user, sandbox) = (user_of(&minio), sandbox().await);

    let run = load(&user, "s3://fhir/in/", &sandbox).run().await.unwrap();
    assert_eq!(run.code, 0, "{run:#?}");
    assert_eq!(report(&run)["files"]["loaded"], 10, "{run:#?}");
    assert_eq!(sandbox.resources("Patient").len(), 91);
    assert_eq!(sandbox.read("Patient", "elsewhere"), None);

    // The same size, so that only the entity tag tells the change.
    let changed = patients((0..10).map(|i| format!("q3-{i}")));
    minio
        .put("fhir", "in/3 – 患者.ndjson", changed)
        .await
        .unwrap();
    let run = load(&user, "s3://fhir/in/", &sandbox).run().await.unwrap();
    assert_eq!(run.code, 0, "{run:#?}");
    let report = report(&run);
    assert_eq!(report["files"]["loaded"], 1, "{report:#}");
    assert_eq!(report["files"]["unchanged"], 9, "{report:#}");
    assert_eq!(sandbox.resources("Patient").len(), 101);
    assert_eq!(sandbox.stats().versions_written, 101, "nothing sent twice");
}

#[tokio::test]
async fn keys_come_from_flags_the_environment_or_the_java_tools_properties() {
    let minio = Minio::start().await.unwrap();
    minio.make_bucket("fhir").await.unwrap();
    let one = patients(["one".to_owned()]);
    minio.put("fhir", "one.ndjson", one).await.unwrap();
    let user = Stoker::new().unwrap();
    let properties = format!(
        "cos.api.key={ACCESS_KEY}\ncos.srvinstid={SECRET_KEY}\ncos.endpoint.url={}\n\
         cos.location=us-east-1\ncos.bucket.name=fhir\ncos.credential.ibm=N\n",
        minio.endpoint()
    );
    fs::write(user.home().join("cos.properties"), properties).unwrap();
    let endpoint = minio.endpoint();
    let ways = [
        (vec!["--cos-properties", "cos.properties"], vec![]),
        (
            vec!["--s3-endpoint", &endpoint, "--s3-access-key", ACCESS_KEY],
            vec![("STOKER_S3_SECRET_KEY", SECRET_KEY)],
        ),
        (
            vec!["--s3-endpoint", &endpoint],
            vec![
                ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
                ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
            ],
        ),
    ];
    for (flags, environment) in ways {
        let sandbox = sandbox().await;
        let base = sandbox.base_url();
        let args = [&["load", "s3://fhir", "--to", &base], &flags[..]].concat();
        let mut command = user.args(args);
        for (name, value) in environment {
            command = command.env(name, value);
        }
        let run = command.run().await.unwrap();
        assert_eq!(run.code, 0, "{flags:?}: {run:#?}");
        assert_eq!(sandbox.resources("Patient").len(), 1, "{flags:?}");
        let said = format!("{}{}", run.stdout, run.stderr);
        assert!(!said.contains(SECRET_KEY), "{said}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_bucket_is_told_in_a_sentence() {
    let minio = Minio::start().await.unwrap();
    minio.make_bucket("fhir").await.unwrap();
    let user = Stoker::new().unwrap();
    let sandbox = sandbox().await;
    let endpoint = minio.endpoint();
    let nobody = format!("http://127.0.0.1:{}", free_port().unwrap());
    for (source, endpoint, secret, expected) in [
        ("s3://no-such", &endpoint, SECRET_KEY, "no such bucket"),
        ("s3://fhir", &endpoint, "wrong", "does not accept the keys"),
        ("s3://fhir", &nobody, SECRET_KEY, "cannot be reached"),
    ] {
        let base = sandbox.base_url();
        let flags = ["--s3-endpoint", endpoint, "--s3-access-key", ACCESS_KEY];
        let args = [&["load", source, "--to", &base], &flags[..]].concat();
        let command = user.args(args).env("STOKER_S3_SECRET_KEY", secret);
        let run = command.run().await.unwrap();
        assert_eq!(run.code, 1, "{expected}: {run:#?}");
        assert!(run.stderr.contains(expected), "{expected}: {run:#?}");
        assert!(run.stderr.contains(source), "{expected}: {run:#?}");
    }
    let base = sandbox.base_url();
    let args = ["load", "s3://fhir", "--to", &base];
    let command = user.args([&args[..], &["--s3-endpoint", &endpoint]].concat());
    // Otherwise the machine's role would be asked for, which only a cloud's machine has.
    let run = command.env("AWS_EC2_METADATA_DISABLED", "true").run();
    let run = run.await.unwrap();
    assert_eq!(run.code, 1, "{run:#?}");
    assert!(
        run.stderr.contains("keys") && run.stderr.contains("access_key"),
        "{run:#?}"
    );
}
