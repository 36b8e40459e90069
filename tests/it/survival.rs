//! Two scanners and three workers on PostgreSQL, S3 and Kafka, and what happens when any of them dies.

use std::time::Duration;

use stoker_tests::kafka::Kafka;
use stoker_tests::parts;

use crate::system::{IN_FLIGHT, System, loaded};

const OBJECTS: usize = 60;
const RESOURCES_OF_AN_OBJECT: usize = 200;
const RESOURCES: u64 = (OBJECTS * RESOURCES_OF_AN_OBJECT) as u64;

#[tokio::test(flavor = "multi_thread")]
async fn a_load_finishes_whatever_dies() {
    let _turn = parts::turn().await;
    let kafka = Kafka::start().unwrap();
    let mut system = System::start(Duration::from_millis(30)).await;
    for n in 0..OBJECTS {
        let name = format!("o{n}");
        system.put(&name, 0, RESOURCES_OF_AN_OBJECT).await;
    }
    let brokers = format!("kafka.brokers={}", kafka.broker());
    let (mut first, second) = (system.scanner(&[&brokers]), system.scanner(&[&brokers]));
    first.page("/readyz").await.unwrap();
    second.page("/readyz").await.unwrap();
    let mut killed = system.worker(&[&first, &second], &[&brokers]);
    let others = [
        system.worker(&[&first, &second], &[&brokers]),
        system.worker(&[&second, &first], &[&brokers]),
    ];
    let job_id = system.begin(&first).await;

    system.until_written(RESOURCES / 10).await;
    killed.kill().unwrap();
    system.until_written(RESOURCES * 2 / 10).await;
    first.kill().unwrap();
    system.until_written(RESOURCES * 3 / 10).await;
    kafka.kill().unwrap();
    system.until_written(RESOURCES * 4 / 10).await;
    system.minio.kill();
    tokio::time::sleep(Duration::from_secs(20)).await;
    system.minio.restart().await.unwrap();

    let job = system.done(&second, job_id).await;
    let held = system.sandbox.resources("Patient").len() as u64;
    assert_eq!(held, RESOURCES, "nothing is missing");
    let most = RESOURCES + IN_FLIGHT;
    let written = system.written();
    assert!(written <= most, "{written} written, {most} at most");
    assert_eq!(loaded(&job), RESOURCES, "each is counted once");
    let run = job.run.unwrap();
    assert_eq!(run.objects_parked, 0, "{run:#?}");
    for service in others.into_iter().chain([second]) {
        assert_eq!(service.terminate().await.unwrap(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_told_to_stop_under_load_hands_everything_back() {
    let _turn = parts::turn().await;
    let system = System::start(Duration::from_millis(20)).await;
    for n in 0..20 {
        let name = format!("o{n}");
        system.put(&name, 0, RESOURCES_OF_AN_OBJECT).await;
    }
    let scanner = system.scanner(&[]);
    let job_id = {
        let worker = system.worker(&[&scanner], &[]);
        let job_id = system.begin(&scanner).await;
        system.until_written(300).await;
        assert_eq!(worker.terminate().await.unwrap(), Some(0));
        job_id
    };
    let before = system.written();
    // A lease that was not handed back would have to run out first.
    let next = system.worker(&[&scanner], &[]);
    system.until_written(before + 300).await;
    // A scanner told to stop ends too; its worker waits for the next one.
    assert_eq!(scanner.terminate().await.unwrap(), Some(0));
    let scanner = system.scanner(&[]);
    let other = system.worker(&[&scanner], &[]);
    let job = system.done(&scanner, job_id).await;
    assert_eq!(loaded(&job), 20 * RESOURCES_OF_AN_OBJECT as u64);
    drop((next, other));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_changed_while_it_is_loaded_is_loaded_anew_and_whole() {
    let _turn = parts::turn().await;
    let system = System::start(Duration::from_millis(50)).await;
    system.put("one", 0, 1000).await;
    let scanner = system.scanner(&[]);
    let worker = system.worker(&[&scanner], &[]);
    let job_id = system.begin(&scanner).await;
    system.until_written(100).await;
    system.put("one", 5000, 500).await;
    assert_eq!(
        system.begin(&scanner).await,
        job_id,
        "the same load goes on"
    );
    let job = system.done(&scanner, job_id).await;
    let ids = system.sandbox.resources("Patient");
    let new = ids.iter().filter(|r| is_new(r)).count();
    assert_eq!(new, 500, "the new version is loaded whole");
    let run = job.run.unwrap();
    assert_eq!((run.objects, run.objects_done), (1, 1), "{run:#?}");
    drop(worker);
}

fn is_new(resource: &serde_json::Value) -> bool {
    let id = resource["id"].as_str().unwrap_or_default();
    id.rsplit_once('-')
        .is_some_and(|(_, n)| n.parse::<usize>().is_ok_and(|n| n >= 5000))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_sleeps_past_its_lease_changes_nothing_any_more() {
    let _turn = parts::turn().await;
    let system = System::start(Duration::from_millis(50)).await;
    for n in 0..4 {
        system.put(&format!("o{n}"), 0, 400).await;
    }
    let scanner = system.scanner(&[]);
    let sleeper = system.worker(&[&scanner], &[]);
    let job_id = system.begin(&scanner).await;
    system.until_written(100).await;
    sleeper.signal("STOP").unwrap();
    let awake = system.worker(&[&scanner], &[]);
    let job = system.done(&scanner, job_id).await;
    assert_eq!(loaded(&job), 1600);
    let written = system.written();
    sleeper.signal("CONT").unwrap();
    assert_eq!(sleeper.terminate().await.unwrap(), Some(0));
    // What it had on the wire when it fell asleep had long been answered.
    assert_eq!(system.written(), written);
    let after = system.done(&scanner, job_id).await;
    assert_eq!(loaded(&after), 1600, "nothing is counted twice");
    drop(awake);
}
