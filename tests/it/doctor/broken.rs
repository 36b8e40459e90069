//! Each thing broken, and what the doctor says to do.

use std::fs;

use stoker_sandbox::Auth;
use stoker_tests::kafka::Kafka;
use stoker_tests::locked_user::LockedUser;
use stoker_tests::minio::{ACCESS_KEY, Minio, SECRET_KEY};
use stoker_tests::parts;
use stoker_tests::ports::free_port;
use stoker_tests::services::Service;
use stoker_tests::stoker::Stoker;

use super::{assert_fails, doctor, sandbox, text, the_one};

const LOCKED: &str = "stoker_locked";

#[tokio::test]
async fn what_is_wrong_with_postgres_is_told() {
    let database = parts::fresh_database().await.unwrap();
    LockedUser::new(LOCKED, "right").await.unwrap();
    let as_user = |password: &str| database.replace("postgres@", &format!("{LOCKED}:{password}@"));
    let nobody = format!("postgres://x@127.0.0.1:{}/x", free_port().unwrap());
    for (ledger, detail, to_do) in [
        (
            as_user("wrong"),
            "refuses the user or password",
            "check both",
        ),
        (
            as_user("right"),
            "a right is missing (CREATE on the database",
            "grant the user",
        ),
        (nobody, "cannot be reached", "check the address"),
        (format!("{database}_not"), "no such database", "createdb"),
        (
            "sqlite:/dev/null/x".to_owned(),
            "cannot be opened",
            "check the path",
        ),
    ] {
        let user = Stoker::new().unwrap();
        let (_, findings) = doctor(&user, &["--ledger", &ledger]).await;
        assert_fails(&findings, detail, to_do);
        assert!(!format!("{findings:?}").contains(":wrong@"));
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_source_is_told() {
    let minio = Minio::start().await.unwrap();
    minio.make_bucket("fhir").await.unwrap();
    let user = Stoker::new().unwrap();
    let endpoint = minio.endpoint();
    let nobody = format!("http://127.0.0.1:{}", free_port().unwrap());
    for (source, endpoint, secret, detail, to_do) in [
        (
            "s3://no-such",
            &endpoint,
            SECRET_KEY,
            "no such bucket",
            "check its name",
        ),
        (
            "s3://fhir",
            &endpoint,
            "wrong",
            "does not accept the keys",
            "check access_key",
        ),
        (
            "s3://fhir",
            &nobody,
            SECRET_KEY,
            "cannot be reached",
            "check the endpoint",
        ),
        (
            "no/such/folder",
            &endpoint,
            SECRET_KEY,
            "cannot be read",
            "check the path",
        ),
    ] {
        let keys = ["--s3-access-key", ACCESS_KEY, "--s3-secret-key", secret];
        let place = ["--source", source, "--s3-endpoint", endpoint];
        let (_, findings) = doctor(&user, &[&place[..], &keys].concat()).await;
        assert_fails(&findings, detail, to_do);
    }
    let keys = ["--s3-access-key", ACCESS_KEY, "--s3-secret-key", SECRET_KEY];
    let place = ["--source", "s3://fhir", "--s3-endpoint", &endpoint];
    let (code, findings) = doctor(&user, &[&place[..], &keys].concat()).await;
    assert_eq!(code, 0, "{findings:#?}");
    assert!(text(&the_one(&findings, "warn"), "detail").contains("holds nothing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_kafka_is_told() {
    let _turn = parts::turn().await;
    let kafka = Kafka::start().unwrap();
    let nobody = format!("127.0.0.1:{}", free_port().unwrap());
    let login = |password: &str| format!(", user: app, password: {password}");
    for (broker, user_and_password, expected) in [
        (&kafka.sasl_broker(), login("app-secret"), None),
        (
            &kafka.sasl_broker(),
            login("wrong-one"),
            Some((
                "the user or password is refused",
                "check user, password and sasl",
            )),
        ),
        (
            &nobody,
            String::new(),
            Some((
                "no broker can be reached",
                "check brokers and that Kafka runs",
            )),
        ),
    ] {
        let user = Stoker::new().unwrap();
        let section = format!("{{kafka: {{brokers: ['{broker}']{user_and_password}}}}}");
        let yaml = format!("bucket_scanner: {section}\nloader_worker: {section}\n");
        fs::write(user.home().join("stoker.yaml"), yaml).unwrap();
        let (code, findings) = doctor(&user, &[]).await;
        match expected {
            Some((detail, to_do)) => assert_fails(&findings, detail, to_do),
            None => assert_eq!(code, 0, "{findings:#?}"),
        }
        assert!(!format!("{findings:?}").contains("wrong-one"));
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_fhir_server_is_told() {
    let user = Stoker::new().unwrap();
    let basic = Some(("ann".to_owned(), "right".into()));
    let sandbox = sandbox(Auth {
        basic,
        bearer: None,
    })
    .await;
    let base = sandbox.base_url();
    let (code, findings) = doctor(
        &user,
        &[
            "--to",
            &base,
            "--fhir-user",
            "ann",
            "--fhir-password",
            "right",
        ],
    )
    .await;
    assert_eq!(code, 0, "{findings:#?}");
    let wrong = [
        "--to",
        &base,
        "--fhir-user",
        "ann",
        "--fhir-password",
        "wrong-one",
    ];
    for args in [&wrong[..], &["--to", &base]] {
        let (code, findings) = doctor(&user, args).await;
        assert_eq!(code, 1, "{findings:#?}");
        let read = format!("{base} read");
        let read = findings
            .iter()
            .find(|f| f["what"] == read.as_str())
            .unwrap();
        assert_eq!(read["state"], "fail", "{read:#}");
        assert!(text(read, "detail").contains("401"), "{read:#}");
        assert!(text(read, "to_do").contains("--fhir-user"), "{read:#}");
        assert!(!format!("{findings:?}").contains("wrong-one"));
    }
    let nobody = format!("http://127.0.0.1:{}/fhir", free_port().unwrap());
    let (_, findings) = doctor(&user, &["--to", &nobody]).await;
    assert_fails(&findings, "no connection", "check the address");
}

#[tokio::test]
async fn what_is_wrong_with_a_running_scanner_is_told() {
    let user = Stoker::new().unwrap();
    stoker_shared::tls::install_crypto_provider();
    fs::write(user.home().join("token"), "right-token").unwrap();
    let token = format!(
        "service.grpc.token_file={}",
        user.home().join("token").display()
    );
    let settings = ["ledger=none".to_owned(), token];
    let scanner = Service::start("bucket-scanner", &settings).unwrap();
    scanner.page("/readyz").await.unwrap();
    let with_token = ["--server", &scanner.url(), "--server-token-file", "token"];
    let (code, findings) = doctor(&user, &with_token).await;
    assert_eq!(code, 0, "{findings:#?}");
    let (_, findings) = doctor(&user, &["--server", &scanner.url()]).await;
    assert_fails(&findings, "does not let us in", "--server-token-file");
    let page = format!("http://127.0.0.1:{}", scanner.http_port);
    let (_, findings) = doctor(&user, &["--server", &page]).await;
    let failed = the_one(&findings, "fail");
    assert!(!text(&failed, "to_do").is_empty(), "{failed:#}");
    let nobody = format!("http://127.0.0.1:{}", free_port().unwrap());
    let (_, findings) = doctor(&user, &["--server", &nobody]).await;
    assert_fails(&findings, "cannot be reached", "that it runs");
}
