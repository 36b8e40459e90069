//! `compose/compose.yaml` is a Swarm stack too: services run, with limits, secrets and times to stop.

use std::time::{Duration, Instant};

use serde_json::Value;
use stoker_tests::parts;

use super::stack_user::Stack;

#[tokio::test]
async fn the_services_are_a_swarm_stack_too() {
    let _turn = parts::turn().await;
    let mut stack = Stack::new("").unwrap();
    // Without peers: what Swarm makes of the file is asked, and nobody can be waited for.
    stack.set("LEDGER_URL", "none");
    stack.set("KAFKA_BROKERS", "");
    stack.set("LOADER_WORKER_MEMORY_LIMIT", "512M");
    stack.compose(&["config", "--quiet"]).unwrap();
    let swarm = Swarm(&stack);
    stack
        .engine
        .docker(["swarm", "init", "--advertise-addr", "127.0.0.1"])
        .unwrap();
    stack.compose(&["swarm"]).unwrap();

    let services = [
        "bucket-scanner",
        "loader-worker",
        "reindex-driver",
        "backup-agent",
    ];
    let deadline = Instant::now() + Duration::from_mins(2);
    let running = || {
        stack
            .engine
            .docker(["service", "ls", "--format", "{{.Name}} {{.Replicas}}"])
            .unwrap()
    };
    while !services
        .iter()
        .all(|s| running().contains(&format!("stoker_{s} 1/1")))
    {
        assert!(Instant::now() < deadline, "{}", running());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let known = stack
        .engine
        .docker(["service", "inspect", "stoker_loader-worker"])
        .unwrap();
    let known: Value = serde_json::from_str(&known).unwrap();
    let task = &known[0]["Spec"]["TaskTemplate"];
    assert_eq!(task["Resources"]["Limits"]["MemoryBytes"], 512 << 20);
    assert_eq!(task["RestartPolicy"]["Condition"], "any");
    assert_eq!(task["ContainerSpec"]["ReadOnly"], true);
    assert_eq!(task["ContainerSpec"]["StopGracePeriod"], 40_000_000_000_u64);
    let secrets = task["ContainerSpec"]["Secrets"].as_array().unwrap();
    assert!(
        secrets.iter().any(|s| s["File"]["Name"] == "grpc-token"),
        "{secrets:?}"
    );
    let network = stack.engine.inspect("stoker_stoker").unwrap();
    assert_eq!(network["Attachable"], true);
    drop(swarm);
}

/// A swarm of this engine alone, which forgets it when dropped.
struct Swarm<'a>(&'a Stack);

impl Drop for Swarm<'_> {
    fn drop(&mut self) {
        let removed = self.0.engine.docker(["stack", "rm", "stoker"]);
        let left = self.0.engine.docker(["swarm", "leave", "--force"]);
        if !std::thread::panicking() {
            assert!(removed.is_ok() && left.is_ok(), "{removed:?} {left:?}");
        }
    }
}
