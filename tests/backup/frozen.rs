//! An agent that stands still for longer than its lease, and wakes when another has done its work.

use std::sync::Arc;
use std::time::Duration;

use backup_agent::catalog::{self, Task};
use backup_agent::config::Config;
use stoker_proto::backup::v1::backup_service_client::BackupServiceClient;
use stoker_proto::backup::v1::{ListRunsRequest, Run, RunState};
use stoker_shared::clock::{Clock as _, ManualClock, SystemClock};
use stoker_shared::grpc::{self, GrpcClientConfig};
use stoker_tests::parts;
use stoker_tests::services::Service;

use crate::server::{Server, Version};
use crate::world::{World, until, verify_all};

/// Of the test's schedule: one comes due at once, and the next when the test is long over.
const EVERY: Duration = Duration::from_hours(6);

#[tokio::test(flavor = "multi_thread")]
async fn who_wakes_after_its_lease_commits_nothing() {
    let (database, world) = (Server::start(Version::Newest, ""), World::folder());
    let catalog = parts::fresh_database().await.unwrap();
    count_from_earlier(&catalog).await;
    let settings = [
        format!("catalog.url={catalog}"),
        "catalog.lease=3s".to_owned(),
        format!("sources.fhir.url={}", database.url()),
        format!("sources.fhir.schedule=@every {}h", EVERY.as_secs() / 3600),
        // Long enough to be met in the middle.
        "sources.fhir.max_rate_kb=8192".to_owned(),
        format!("repository.url={}", world.path("backups").display()),
    ];
    let first = Service::start("backup-agent", &settings).unwrap();
    until("something is received", async || {
        runs(&first).await.iter().any(|run| run.bytes > 0)
    })
    .await;
    first.signal("STOP").unwrap();
    let second = Service::start("backup-agent", &settings).unwrap();
    until("the other has done it", async || {
        let runs = runs(&second).await;
        runs.first()
            .is_some_and(|run| run.state() == RunState::Done)
    })
    .await;
    let of_second = verify_all(&*world.open()).await.unwrap();
    assert!(!world.left_behind().await.is_empty(), "the first's draft");

    first.signal("CONT").unwrap();
    until("the first has given it up", async || {
        first.log().contains("taken for lost")
    })
    .await;
    until("its draft is gone", async || {
        world.left_behind().await.is_empty()
    })
    .await;
    database.is_left_alone().await;
    let all = runs(&first).await;
    let states: Vec<_> = all.iter().map(Run::state).collect();
    assert_eq!(states, [RunState::Done, RunState::Lost], "{all:#?}");
    assert_eq!(all[0].due, all[1].due);
    assert!(all[1].agent.ends_with(&format!(":{}", first.pid())));
    assert_eq!(of_second, [all[0].backup.clone()]);
    assert_eq!(verify_all(&*world.open()).await.unwrap(), of_second);
    for agent in [first, second] {
        assert_eq!(agent.terminate().await.unwrap(), Some(0));
    }
}

/// Has the schedule count from a time of which one run was missed.
async fn count_from_earlier(url: &str) {
    let earlier = Arc::new(ManualClock::new(SystemClock.now() - EVERY));
    let options = Config::default().catalog.options().unwrap();
    let url = url.parse().unwrap();
    let catalog = catalog::open(&url, &options, earlier).await.unwrap();
    catalog.last_due("fhir", Task::Backup).await.unwrap();
}

/// Those that an agent tells of, the newest first; none while it does not answer.
async fn runs(agent: &Service) -> Vec<Run> {
    let config = GrpcClientConfig::to_port(agent.grpc_port);
    let mut client = BackupServiceClient::new(grpc::connect(&config).unwrap());
    let listed = client.list_runs(ListRunsRequest::default()).await;
    listed.map_or_else(|_| Vec::new(), |listed| listed.into_inner().runs)
}
