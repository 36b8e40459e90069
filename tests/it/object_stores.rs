//! Places that objects are written to and read from: the same tests over a folder and a real S3 service; and services
//! that answer as none should.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::any;
use futures::StreamExt;
use stoker_proto::common::v1::Source;
use stoker_shared::object_store::{Listed, Place, S3Config, StoreError, Stores};
use stoker_tests::minio::{ACCESS_KEY, Minio, SECRET_KEY};
use tokio::net::TcpListener;

fn config(endpoint: String) -> S3Config {
    S3Config {
        endpoint: Some(endpoint),
        access_key: Some(ACCESS_KEY.to_owned()),
        secret_key: Some(SECRET_KEY.into()),
        ..S3Config::default()
    }
}

async fn keys(place: &Place) -> Vec<String> {
    let listed: Vec<_> = place.store().list().collect().await;
    let key = |item: Result<Listed, StoreError>| match item.unwrap() {
        Listed::Object(meta) => meta.key,
        other @ Listed::Unlistable { .. } => panic!("{other:?}"),
    };
    let mut keys: Vec<_> = listed.into_iter().map(key).collect();
    keys.sort();
    keys
}

async fn read(place: &Place, key: &str) -> Vec<u8> {
    let size = place.store().head(key).await.unwrap().size;
    let body = place.store().get(key, 0..size).await.unwrap();
    let chunks: Vec<_> = body.map(Result::unwrap).collect().await;
    let body = chunks.concat();
    if let Some(here) = place.store().get_here(key, 0..size) {
        let chunks: Vec<_> = here.map(Result::unwrap).collect();
        assert!(chunks.concat() == body, "{key}: read in two ways");
    }
    body
}

async fn objects_are_written_whole_and_replaced(place: &Place) {
    let put = async |name: &str, body: Vec<u8>| {
        let key = place.key(name);
        let put = place
            .store()
            .put(&key, body.into(), "application/fhir+json");
        put.await.unwrap();
        key
    };
    let first = put("a/b/é.json", b"one".to_vec()).await;
    let empty = put("empty", Vec::new()).await;
    let replaced = put("a/b/é.json", b"three".to_vec()).await;
    assert_eq!(first, replaced);
    // More than goes into one request.
    let large: Vec<u8> = (0..=250).cycle().take((64 << 20) + 5).collect();
    let in_parts = put("large.json", large.clone()).await;
    let mut expected = vec![first.clone(), empty.clone(), in_parts.clone()];
    expected.sort();
    assert_eq!(keys(place).await, expected);
    assert_eq!(read(place, &first).await, b"three");
    assert_eq!(place.store().head(&empty).await.unwrap().size, 0);
    assert!(read(place, &in_parts).await == large, "65 MB differ");
}

#[tokio::test]
async fn a_folder_is_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let uri = format!("file://{}/not/there/yet/", dir.path().display());
    let place = Stores::default().place(&uri).unwrap();
    objects_are_written_whole_and_replaced(&place).await;
    let outside = place.key("../../x");
    let refused = place.store().put(&outside, Bytes::new(), "").await;
    assert!(
        matches!(refused, Err(StoreError::Outside { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_bucket_is_written_to() {
    let minio = Minio::start().await.unwrap();
    minio.make_bucket("out").await.unwrap();
    let stores = Stores::new(config(minio.endpoint()));
    let place = stores.place("s3://out/some/prefix/").unwrap();
    assert_eq!(place.key("x"), "some/prefix/x");
    objects_are_written_whole_and_replaced(&place).await;
    for key in ["some/prefix/empty", "some/prefix/large.json"] {
        let head = minio.client().head_object().bucket("out").key(key);
        let kind = head.send().await.unwrap().content_type;
        assert_eq!(kind.as_deref(), Some("application/fhir+json"), "{key}");
    }
    assert_eq!(
        stores.place("s3://out").unwrap().key("x"),
        "x",
        "no slash in front"
    );
    let nowhere = stores.place("s3://no-such").unwrap();
    let refused = nowhere.store().put("x", Bytes::new(), "").await;
    assert!(
        matches!(refused, Err(StoreError::NoBucket { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_key_that_changes_in_its_file_is_used() {
    let mut minio = Minio::start().await.unwrap();
    minio.make_bucket("fhir").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret-key");
    std::fs::write(&file, SECRET_KEY).unwrap();
    let stores = Stores::new(S3Config {
        secret_key: None,
        secret_key_file: Some(file.clone()),
        ..config(minio.endpoint())
    });
    let place = stores.place("s3://fhir").unwrap();
    let put = async || place.store().put("x", Bytes::from_static(b"1"), "").await;
    put().await.unwrap();
    minio.restart_with("another-secret-key").await.unwrap();
    let refused = put().await.unwrap_err();
    assert!(
        refused.to_string().contains("does not accept the keys"),
        "{refused}"
    );
    std::fs::write(&file, "another-secret-key\n").unwrap();
    put().await.unwrap();
    assert_eq!(read(&place, "x").await, b"1");
}

async fn serve(answer: impl Fn() -> Body + Clone + Send + Sync + 'static) -> String {
    let routes = Router::new().fallback(any(move || {
        let body = answer();
        async move { body }
    }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    endpoint
}

fn source() -> Source {
    Source {
        uri: "s3://fhir".to_owned(),
        reach: String::new(),
    }
}

#[tokio::test]
async fn a_page_that_says_there_is_more_and_not_where_is_no_end() {
    let page = "<ListBucketResult><IsTruncated>true</IsTruncated><Contents><Key>x</Key><Size>1</Size>\
        <LastModified>2026-01-01T00:00:00Z</LastModified></Contents></ListBucketResult>";
    let endpoint = serve(move || Body::from(page)).await;
    let store = Stores::new(config(endpoint)).open(&source()).unwrap();
    let listed: Vec<_> = store.list().collect().await;
    let error = listed.last().unwrap().as_ref().unwrap_err();
    assert!(
        matches!(error, StoreError::BrokenListing { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("breaks off"), "{error}");
}

#[tokio::test]
async fn a_service_that_falls_silent_is_not_awaited_for_ever() {
    let endpoint = serve(|| {
        let first = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"12345"))]);
        Body::from_stream(first.chain(futures::stream::pending()))
    })
    .await;
    let mut config = config(endpoint);
    config.read_timeout = Duration::from_millis(200);
    config.give_up_after = Duration::ZERO;
    let store = Stores::new(config).open(&source()).unwrap();
    let body = store.get("x", 0..100).await.unwrap();
    let chunks = tokio::time::timeout(Duration::from_secs(20), body.collect::<Vec<_>>());
    let chunks = chunks.await.unwrap();
    assert_eq!(chunks[0].as_ref().unwrap(), "12345");
    let error = chunks[1].as_ref().unwrap_err();
    assert!(error.to_string().contains("no bytes for 200ms"), "{error}");
}
