//! IBM Cloud Object Storage: tokens for an API key in place of signatures.

use std::fs;
use std::time::{Duration, Instant};

use futures::StreamExt;
use stoker_proto::common::v1::Source;
use stoker_sandbox::{Sandbox, SandboxConfig};
use stoker_shared::object_store::{S3Config, StoreError, Stores};
use stoker_tests::cos::{API_KEY, Cos, INSTANCE};
use stoker_tests::minio::Minio;
use stoker_tests::ports::free_port;
use stoker_tests::stoker::Stoker;

async fn minio_with(objects: usize) -> Minio {
    let minio = Minio::start().await.unwrap();
    minio.make_bucket("fhir").await.unwrap();
    for n in 0..objects {
        let line = format!("{{\"resourceType\":\"Patient\",\"id\":\"p{n}\"}}\n");
        let key = format!("in/{n} ä.ndjson");
        minio.put("fhir", &key, line.into_bytes()).await.unwrap();
    }
    minio
}

fn config(cos: &Cos) -> S3Config {
    S3Config {
        endpoint: Some(cos.endpoint()),
        iam_url: Some(cos.iam_url()),
        iam_api_key: Some(API_KEY.into()),
        service_instance_id: Some(INSTANCE.to_owned()),
        max_keys: 2,
        ..S3Config::default()
    }
}

fn bucket() -> Source {
    Source {
        uri: "s3://fhir/in/".to_owned(),
        reach: String::new(),
    }
}

#[tokio::test]
async fn tokens_are_shared_and_renewed_before_they_run_out() {
    let minio = minio_with(6).await;
    let cos = Cos::before(&minio, Duration::from_secs(4)).await.unwrap();
    let store = Stores::new(config(&cos)).open(&bucket()).unwrap();
    let looks = (0..6).map(|n| {
        let key = format!("in/{n} ä.ndjson");
        let store = &store;
        async move { store.head(&key).await.unwrap() }
    });
    futures::future::join_all(looks).await;
    assert_eq!(cos.given(), 1, "one token for all that ask at once");
    for _ in 0..9 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let listed: Vec<_> = store.list().collect().await;
        assert_eq!(listed.len(), 6, "{listed:?}");
        assert!(listed.iter().all(Result::is_ok), "{listed:?}");
    }
    assert!((3..=5).contains(&cos.given()), "{}", cos.given());
    assert_eq!(cos.refused(), 0, "none ran out in use");
}

#[tokio::test]
async fn a_token_that_is_taken_back_is_replaced_once() {
    let minio = minio_with(1).await;
    let cos = Cos::before(&minio, Duration::from_mins(1)).await.unwrap();
    let store = Stores::new(config(&cos)).open(&bucket()).unwrap();
    store.head("in/0 ä.ndjson").await.unwrap();
    cos.revoke();
    let body = store.get("in/0 ä.ndjson", 0..10).await.unwrap();
    let body: Vec<_> = body.map(Result::unwrap).collect().await;
    assert_eq!(body.concat().len(), 10);
    assert_eq!((cos.given(), cos.refused()), (2, 1));
    // A right that is missing is not mended by tokens.
    let mut other = config(&cos);
    other.service_instance_id = Some("crn:other".to_owned());
    let refused = Stores::new(other).open(&bucket()).unwrap();
    let refused = refused.list().next().await.unwrap().unwrap_err();
    assert!(matches!(refused, StoreError::Refused { .. }), "{refused}");
    assert_eq!((cos.given(), cos.refused()), (4, 3));
}

#[tokio::test]
async fn a_load_goes_on_while_tokens_run_out_and_are_taken_back() {
    let minio = minio_with(60).await;
    let cos = Cos::before(&minio, Duration::from_secs(3)).await.unwrap();
    cos.revoke_after_each(7);
    // For longer than a token lives.
    let sandbox = SandboxConfig {
        latency: Duration::from_millis(200),
        ..SandboxConfig::default()
    };
    let sandbox = Sandbox::start(sandbox).await.unwrap();
    let user = Stoker::new().unwrap();
    let properties = format!(
        "cos.api.key={API_KEY}\ncos.srvinstid={INSTANCE}\ncos.endpoint.url={}\n\
         cos.location=eu-de\ncos.credential.ibm=Y\ncos.max.keys=7\n",
        cos.endpoint()
    );
    fs::write(user.home().join("cos.properties"), properties).unwrap();
    let s3 = format!("s3: {{iam_url: '{}'}}", cos.iam_url());
    let text = format!("bucket_scanner: {{{s3}}}\nloader_worker: {{{s3}}}\n");
    fs::write(user.home().join("stoker.yaml"), text).unwrap();
    let base = sandbox.base_url();
    let args = [
        "load",
        "s3://fhir/in",
        "--to",
        &base,
        "--cos-properties",
        "cos.properties",
        "--concurrency",
        "2",
        "--json",
    ];
    let started = Instant::now();
    let run = user.args(args).run().await.unwrap();
    assert_eq!(run.code, 0, "{run:#?}");
    assert_eq!(sandbox.resources("Patient").len(), 60);
    assert!(started.elapsed() > Duration::from_secs(3), "none ran out");
    // Once for each seven of the sixty objects, at least.
    assert!(cos.refused() >= 8 && cos.given() >= 8, "{cos:?}");
    assert!(!format!("{run:?}").contains(API_KEY));
}

#[tokio::test]
async fn what_iam_says_is_told_in_a_sentence() {
    let minio = minio_with(1).await;
    let cos = Cos::before(&minio, Duration::from_mins(1)).await.unwrap();
    let mut wrong = config(&cos);
    wrong.iam_api_key = Some("no-such-key".into());
    let store = Stores::new(wrong).open(&bucket()).unwrap();
    let error = store.list().next().await.unwrap().unwrap_err();
    assert!(matches!(error, StoreError::ApiKey { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("Provided API key could not be found"),
        "{text}"
    );
    assert!(
        text.contains("iam_api_key") && !text.contains("no-such-key"),
        "{text}"
    );
    let mut away = config(&cos);
    away.iam_url = Some(format!("http://127.0.0.1:{}/", free_port().unwrap()));
    let store = Stores::new(away).open(&bucket()).unwrap();
    let error = store.list().next().await.unwrap().unwrap_err();
    assert!(matches!(error, StoreError::NoToken { .. }), "{error:?}");
    assert!(error.to_string().contains("iam_url"), "{error}");
}
