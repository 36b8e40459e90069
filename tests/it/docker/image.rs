//! The image: small, and what runs of it is nobody's root, writes to nothing but its folder, tells its health and stops
//! when told.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use stoker_tests::docker::{Container, Engine, output};

/// Compressed, at most.
const MOST_BYTES: u64 = 60 * 1000 * 1000;

/// `service.shutdown_deadline`, after which a service that hangs ends by itself.
const DEADLINE: Duration = Duration::from_secs(30);

#[test]
fn the_image_is_small_and_says_how_it_is_run() {
    let engine = Engine::new();
    let image = engine.stoker_image().unwrap();
    let mut packed = engine.command("sh");
    let packed =
        output(packed.args(["-c", "docker save \"$0\" | gzip -1 | wc -c", image])).unwrap();
    let packed: u64 = packed.trim().parse().unwrap();
    assert!(packed < MOST_BYTES, "{packed} bytes, compressed in haste");

    let known = engine.inspect(image).unwrap();
    let config = &known["Config"];
    assert_eq!(config["User"], "10001:10001");
    assert_eq!(config["Entrypoint"], json!(["stoker"]));
    assert_eq!(
        config["Healthcheck"]["Test"],
        json!(["CMD", "stoker", "health"])
    );
    let version = &config["Labels"]["org.opencontainers.image.version"];
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
    let revision = &config["Labels"]["org.opencontainers.image.revision"];
    assert_eq!(revision.as_str().unwrap().len(), 40, "{revision}");
}

#[test]
fn the_image_says_what_it_is_made_of() {
    let engine = Engine::new();
    let image = engine.stoker_image().unwrap();
    let container = engine.run(["--network=none", image]).unwrap();
    let copied = tempfile::tempdir().unwrap();
    let from = format!("{}:/usr/share/doc/stoker", container.id);
    let to = copied.path().join("stoker");
    engine.docker(["cp", &from, to.to_str().unwrap()]).unwrap();
    for file in ["LICENSE", "LICENCES.txt", "CHANGELOG.md", "stoker.cdx.json"] {
        let length = fs::metadata(to.join(file)).unwrap().len();
        assert!(length > 1000, "{file}: {length} bytes");
    }
}

/// A service as an operator would run it who trusts it with nothing.
fn start(engine: &Engine) -> Container {
    let image = engine.stoker_image().unwrap();
    engine
        .run([
            "--network=none",
            "--read-only",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
            "--volume=/var/lib/stoker",
            "--health-interval=500ms",
            "--env=STOKER__BUCKET_SCANNER__LEDGER=sqlite:/var/lib/stoker/ledger.sqlite",
            image,
            "serve",
            "bucket-scanner",
        ])
        .unwrap()
}

#[test]
fn a_service_needs_no_rights_and_stops_when_told() {
    let engine = Engine::new();
    let container = start(&engine);
    container.until_healthy().unwrap();
    let known = container.inspect().unwrap();
    let pid = known["State"]["Pid"].as_u64().unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = |name: &str| {
        let found = status.lines().find(|line| line.starts_with(name));
        found
            .unwrap()
            .split_whitespace()
            .skip(1)
            .collect::<Vec<_>>()
    };
    assert_eq!(line("Uid:"), ["10001"; 4]);
    assert_eq!(line("Gid:"), ["10001"; 4]);
    // Some engines name its own group here as well.
    let groups = line("Groups:");
    assert!(groups.iter().all(|group| *group == "10001"), "{groups:?}");
    assert_eq!(line("CapEff:"), ["0000000000000000"]);
    assert_eq!(line("NoNewPrivs:"), ["1"]);
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    let root = mounts
        .lines()
        .find(|line| line.split(' ').nth(4) == Some("/"));
    let options = root.unwrap().split(' ').nth(5).unwrap();
    assert!(options.split(',').any(|option| option == "ro"), "{options}");

    let begun = Instant::now();
    assert_eq!(container.stop(DEADLINE * 2).unwrap(), 0);
    assert!(begun.elapsed() < DEADLINE, "{:?}", begun.elapsed());
    let log = container.logs().unwrap();
    assert!(log.contains("bucket-scanner stopped"), "{log}");
}

#[test]
fn the_health_check_can_fail() {
    let engine = Engine::new();
    let container = start(&engine);
    container.until_healthy().unwrap();
    container
        .exec(&["stoker", "health", "bucket-scanner"])
        .unwrap();
    let error = container.exec(&["stoker", "health", "loader-worker"]);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("loader-worker: nobody listens"), "{error}");

    // One that waits for its ledger is alive, and not ready.
    let image = engine.stoker_image().unwrap();
    let unready = engine
        .run([
            "--network=none",
            "--health-interval=500ms",
            "--health-start-period=1s",
            "--health-retries=2",
            image,
            "serve",
            "loader-worker",
        ])
        .unwrap();
    let deadline = Instant::now() + Duration::from_mins(1);
    while unready.inspect().unwrap()["State"]["Health"]["Status"] != "unhealthy" {
        assert!(
            Instant::now() < deadline,
            "{}",
            unready.inspect().unwrap()["State"]
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    unready.exec(&["stoker", "health", "--live"]).unwrap();
}

#[test]
fn a_container_without_a_service_is_not_healthy() {
    let engine = Engine::new();
    let image = engine.stoker_image().unwrap();
    let mut health = engine.command("docker");
    health.args(["run", "--rm", "--network=none", image, "health"]);
    let error = failure(&mut health);
    assert!(error.contains("no service runs here"), "{error}");
}

fn failure(command: &mut Command) -> String {
    output(command).unwrap_err().to_string()
}
