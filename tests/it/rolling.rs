//! A rolling restart of scanners and workers under load, as an upgrade does it: SIGTERM to one after the other.
//! `scripts/test-upgrade.sh` has the first ones be of an earlier build.

use std::time::Duration;

use stoker_tests::parts;
use stoker_tests::services::Service;

use crate::system::{System, loaded};

const OBJECTS: usize = 40;
const RESOURCES_OF_AN_OBJECT: usize = 200;
const RESOURCES: u64 = (OBJECTS * RESOURCES_OF_AN_OBJECT) as u64;

#[tokio::test(flavor = "multi_thread")]
async fn all_are_restarted_and_nothing_fails_is_lost_or_is_sent_twice() {
    let _turn = parts::turn().await;
    let system = System::start(Duration::from_millis(20)).await;
    for n in 0..OBJECTS {
        system
            .put(&format!("o{n}"), 0, RESOURCES_OF_AN_OBJECT)
            .await;
    }
    // A machine that is busy does not let leases run out: who ends hands back what it has.
    let scanner = || system.scanner(&["lease=1m"]);
    let [first, second] = [scanner(), scanner()];
    for scanner in [&first, &second] {
        scanner.page("/readyz").await.unwrap();
    }
    let mut services = vec![
        system.worker(&[&first, &second], &[]),
        system.worker(&[&second, &first], &[]),
    ];
    let job_id = system.begin(&first).await;
    services.extend([first, second]);

    let restarts = services.len() as u64;
    for (n, service) in (1..).zip(&mut services) {
        system.until_written(RESOURCES * n / (restarts + 2)).await;
        restart(service).await;
    }

    let job = system.done(&services[2], job_id).await;
    assert_eq!(loaded(&job), RESOURCES, "each is counted once");
    let held = system.sandbox.resources("Patient").len() as u64;
    assert_eq!(held, RESOURCES, "none is lost");
    assert_eq!(system.written(), RESOURCES, "none is sent twice");
    let problems = system.problems(&services[2], job_id).await;
    assert_eq!(problems, [""; 0]);
    let run = job.run.unwrap();
    assert_eq!(
        (run.objects_done, run.objects_parked),
        (OBJECTS as u64, 0),
        "{run:#?}"
    );
    for service in services {
        assert_eq!(service.terminate().await.unwrap(), Some(0));
    }
}

/// It ends by itself, in time and with 0, before the next one is asked to.
async fn restart(service: &mut Service) {
    assert_eq!(service.stop().await.unwrap(), Some(0));
    service.upgrade().unwrap();
    service.page("/readyz").await.unwrap();
}
