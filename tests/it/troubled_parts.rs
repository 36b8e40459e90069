//! Parts that refuse or vanish in the middle of a load: each is told in a sentence, and the load goes on.

use std::fs;
use std::time::Duration;

use stoker_tests::gate::Gate;
use stoker_tests::kafka::Kafka;
use stoker_tests::locked_user::LockedUser;
use stoker_tests::minio::SECRET_KEY;
use stoker_tests::parts;
use stoker_tests::services::Service;

use crate::system::{System, loaded};

/// Long enough that calls fail and are made again.
const AWAY: Duration = Duration::from_secs(8);

const RESOURCES: usize = 3000;

async fn system() -> System {
    let system = System::start(Duration::from_millis(30)).await;
    for n in 0..30 {
        system.put(&format!("o{n}"), 0, RESOURCES / 30).await;
    }
    system
}

async fn until_said(service: &Service, sentence: &str) {
    let said = async {
        while !service.log().contains(sentence) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let limit = Duration::from_mins(1);
    let in_time = tokio::time::timeout(limit, said).await;
    assert!(in_time.is_ok(), "{sentence:?} is not in {}", service.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_expire_in_the_middle_are_told_and_new_ones_go_on() {
    let _turn = parts::turn().await;
    let mut system = system().await;
    let scanner = system.scanner(&[]);
    let worker = system.worker(&[&scanner], &[]);
    let job_id = system.begin(&scanner).await;
    system.until_written(300).await;
    system.minio.restart_with("another-secret").await.unwrap();
    until_said(&worker, "does not accept the keys").await;
    system.minio.restart_with(SECRET_KEY).await.unwrap();
    let job = system.done(&scanner, job_id).await;
    assert_eq!(
        system.problems(&scanner, job_id).await,
        Vec::<String>::new()
    );
    assert_eq!(loaded(&job), RESOURCES as u64);
    let said = format!("{}{}", worker.log(), scanner.log());
    assert!(!said.contains(SECRET_KEY), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_gone_for_a_while_is_waited_for() {
    let _turn = parts::turn().await;
    let mut system = system().await;
    let (rest, database) = system.ledger.rsplit_once('/').unwrap();
    let (user, server) = rest.rsplit_once('@').unwrap();
    let gate = Gate::before(server).await.unwrap();
    system.ledger = format!("{user}@{}/{database}", gate.address());
    let scanner = system.scanner(&[]);
    let worker = system.worker(&[&scanner], &[]);
    let job_id = system.begin(&scanner).await;
    system.until_written(300).await;
    gate.close();
    until_said(&scanner, "PostgreSQL cannot be reached").await;
    tokio::time::sleep(AWAY).await;
    gate.open().await.unwrap();
    let job = system.done(&scanner, job_id).await;
    assert_eq!(loaded(&job), RESOURCES as u64);
    assert_eq!(job.run.unwrap().objects_parked, 0, "nothing is given up");
    for service in [worker, scanner] {
        assert_eq!(service.terminate().await.unwrap(), Some(0));
    }
}

/// A Secret's file changes a while after the password.
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_whose_password_changes_is_waited_for() {
    let _turn = parts::turn().await;
    let mut system = system().await;
    let user = LockedUser::new("stoker_scanner", "first").await.unwrap();
    user.trust().await.unwrap();
    system.ledger = user.url(&system.ledger);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, "first").unwrap();
    let scanner = system.scanner(&[&format!("ledger_password_file={}", file.display())]);
    let worker = system.worker(&[&scanner], &[]);
    let job_id = system.begin(&scanner).await;
    system.until_written(300).await;
    user.set_password("second").await.unwrap();
    until_said(&scanner, "PostgreSQL refuses the user or password").await;
    fs::write(&file, "second").unwrap();
    let job = system.done(&scanner, job_id).await;
    assert_eq!(loaded(&job), RESOURCES as u64);
    assert_eq!(job.run.unwrap().objects_parked, 0, "nothing is given up");
    for service in [worker, scanner] {
        assert_eq!(service.terminate().await.unwrap(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kafka_that_refuses_the_password_costs_a_sentence_only() {
    let _turn = parts::turn().await;
    let kafka = Kafka::start().unwrap();
    let system = system().await;
    let broker = format!("kafka.brokers={}", kafka.sasl_broker());
    let wrong = [&broker, "kafka.user=app", "kafka.password=wrong-one"];
    let scanner = system.scanner(&wrong);
    let worker = system.worker(&[&scanner], &wrong);
    let job_id = system.begin(&scanner).await;
    let job = system.done(&scanner, job_id).await;
    assert_eq!(loaded(&job), RESOURCES as u64);
    for service in [worker, scanner] {
        until_said(&service, "the user or password is refused").await;
        assert!(!service.log().contains("wrong-one"), "{}", service.log());
        assert_eq!(service.terminate().await.unwrap(), Some(0));
    }
}
