//! What the metrics show of a source, from the first look on.

use std::time::Duration;

use backup_agent::catalog::{Ended, Task};
use backup_agent::notify::NotifyConfig;

use crate::world::{Agent, World};

const HOUR: Duration = Duration::from_hours(1);

fn all_shown(agent: &Agent, expected: &[(&str, Option<&str>)]) {
    for (sample, value) in expected {
        let sample = format!("stoker_backup_{sample}");
        assert_eq!(agent.shown(&sample).as_deref(), *value, "{sample}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_there_is_none_of_is_not_shown() {
    let world = World::new().await;
    let agent = world.agent(&NotifyConfig::default()).await;
    all_shown(&agent, &[("looked_timestamp_seconds", Some("0.0"))]);
    agent.watch.look().await;
    all_shown(
        &agent,
        &[
            ("looked_timestamp_seconds", Some("1767268800.0")),
            ("held{source=\"fhir\"}", Some("0")),
            ("last_success_timestamp_seconds{source=\"fhir\"}", None),
            ("proof_good{source=\"fhir\"}", None),
            (
                "next_due_timestamp_seconds{source=\"fhir\"}",
                Some("1767355200.0"),
            ),
            (
                "late_timestamp_seconds{source=\"fhir\"}",
                Some("1767362400.0"),
            ),
            ("troubles{source=\"fhir\",kind=\"late\"}", Some("0")),
            (
                "running_seconds{source=\"fhir\",task=\"backup\"}",
                Some("0.0"),
            ),
            ("notices_total{result=\"failed\"}", Some("0")),
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_agent_shows_how_a_source_stands_from_its_start_on() {
    let world = World::new().await;
    let first = world.keep("first", 1 << 30).await;
    world.look_at(first, true).await;
    world.clock.advance(HOUR);
    let second = world.keep("second", 500).await;
    world.look_at(second, false).await;
    world.fail().await;
    let _running = world.begin(Task::Drill).await;
    world.clock.advance(HOUR / 2);
    let agent = world.agent(&NotifyConfig::default()).await;
    agent.watch.look().await;
    let proven = "proven_timestamp_seconds{source=\"fhir\"}";
    all_shown(
        &agent,
        &[
            ("held{source=\"fhir\"}", Some("2")),
            ("held_bytes{source=\"fhir\"}", Some("214748464.0")),
            // The second one is empty, and refuted.
            (
                "last_success_timestamp_seconds{source=\"fhir\"}",
                Some("1767268890.0"),
            ),
            (
                "last_bytes{source=\"fhir\",form=\"raw\"}",
                Some("1073741824.0"),
            ),
            (
                "last_bytes{source=\"fhir\",form=\"stored\"}",
                Some("214748364.0"),
            ),
            ("last_seconds{source=\"fhir\"}", Some("90.0")),
            (
                "verified_timestamp_seconds{source=\"fhir\"}",
                Some("1767272400.0"),
            ),
            ("verified_good{source=\"fhir\"}", Some("1")),
            (
                "proof_timestamp_seconds{source=\"fhir\"}",
                Some("1767272400.0"),
            ),
            ("proof_good{source=\"fhir\"}", Some("0")),
            (proven, Some("1767268800.0")),
            ("recovery_seconds{source=\"fhir\"}", Some("1.9")),
            ("troubles{source=\"fhir\",kind=\"empty\"}", Some("1")),
            ("troubles{source=\"fhir\",kind=\"failed_proof\"}", Some("1")),
            ("troubles{source=\"fhir\",kind=\"failed_run\"}", Some("1")),
            ("troubles{source=\"fhir\",kind=\"shrunk\"}", Some("0")),
            (
                "running_seconds{source=\"fhir\",task=\"drill\"}",
                Some("1800.0"),
            ),
            (
                "running_seconds{source=\"fhir\",task=\"backup\"}",
                Some("0.0"),
            ),
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_is_shown_so() {
    let world = World::new().await;
    let agent = world.agent(&NotifyConfig::default()).await;
    world.fail().await;
    world.keep("first", 1 << 30).await;
    agent.watch.look().await;
    let failed = "troubles{source=\"fhir\",kind=\"failed_run\"}";
    all_shown(&agent, &[(failed, Some("1"))]);
    world.run(Task::Backup, &Ended::Done).await;
    world
        .catalog
        .forget(crate::world::PLACE, "first")
        .await
        .unwrap();
    agent.watch.look().await;
    all_shown(
        &agent,
        &[
            (failed, Some("0")),
            ("held{source=\"fhir\"}", Some("0")),
            ("last_success_timestamp_seconds{source=\"fhir\"}", None),
            ("last_bytes{source=\"fhir\",form=\"raw\"}", None),
        ],
    );
}
