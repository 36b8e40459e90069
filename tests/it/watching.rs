//! `stoker jobs watch` and `stoker jobs stats`: a job as it goes, and what all services announce.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use stoker_proto::ledger::v1::StartJobRequest;
use stoker_sandbox::{Fault, FaultRule, Sandbox, SandboxConfig};
use stoker_tests::kafka::Kafka;
use stoker_tests::parts;
use stoker_tests::ports::free_port;
use stoker_tests::services::{Service, of_folder};
use stoker_tests::stoker::{Stoker, isolated, stoker_bin};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(40);

/// Patients that are taken, and an observation that is refused for want of a status.
fn write_data(folder: &Path, rejected: bool) {
    let mut lines = String::new();
    for n in 0..30 {
        writeln!(lines, "{{\"resourceType\":\"Patient\",\"id\":\"p{n}\"}}").unwrap();
    }
    fs::write(folder.join("patients.ndjson"), lines).unwrap();
    if rejected {
        let observation = "{\"resourceType\":\"Observation\",\"id\":\"o\"}\n";
        fs::write(folder.join("refused.ndjson"), observation).unwrap();
    }
}

async fn sandbox(config: SandboxConfig) -> Sandbox {
    Sandbox::start(config).await.unwrap()
}

/// A command that runs beside the test, killed when dropped.
struct Watching {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
}

impl Watching {
    fn start(user: &Stoker, args: &[&str]) -> Self {
        let mut child = Command::from(isolated(&stoker_bin().unwrap(), user.home()))
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            stdout: BufReader::new(child.stdout.take().unwrap()),
            stderr: BufReader::new(child.stderr.take().unwrap()),
            child,
        }
    }

    async fn next_line(&mut self) -> String {
        let mut line = String::new();
        let read = timeout(LIMIT, self.stdout.read_line(&mut line)).await;
        read.unwrap().unwrap();
        assert!(line.ends_with('\n'), "it ended: {line:?}");
        line
    }

    async fn says(&mut self, words: &str) {
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            let read = timeout(LIMIT, self.stderr.read_line(&mut line)).await;
            let read = read.unwrap().unwrap();
            assert!(read > 0, "it ended without saying {words:?}");
        }
    }

    async fn interrupt(&self) {
        let id = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args(["-INT", &id]).status().await;
        assert!(sent.unwrap().success());
    }

    /// Its exit code and what is left of its output.
    async fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        let ended = async {
            self.stdout.read_to_string(&mut rest).await.unwrap();
            self.child.wait().await.unwrap().code()
        };
        (timeout(LIMIT, ended).await.unwrap(), rest)
    }
}

async fn start_job(scanner: &Service, folder: &Path, sandbox: &Sandbox, reload: bool) -> i64 {
    let request = StartJobRequest {
        reload,
        ..of_folder(folder, sandbox.base_url())
    };
    let mut client = scanner.jobs().await.unwrap();
    let answer = client.start_job(request).await.unwrap();
    answer.into_inner().job.unwrap().job_id
}

fn start_worker(scanner: &Service, more: &[String]) -> Service {
    let settings = [&[format!("ledger.url={}", scanner.url())], more].concat();
    Service::start("loader-worker", &settings).unwrap()
}

#[tokio::test]
async fn a_job_is_followed_to_its_end() {
    let sandbox = sandbox(SandboxConfig::default()).await;
    let user = Stoker::new().unwrap();
    let scanner = Service::start("bucket-scanner", &["ledger=none".to_owned()]).unwrap();
    let data = tempfile::tempdir().unwrap();
    write_data(data.path(), true);
    let job_id = start_job(&scanner, data.path(), &sandbox, false).await;
    let id = job_id.to_string();
    let args = ["jobs", "watch", &id, "--server", &scanner.url()];
    let mut as_text = Watching::start(&user, &args);
    let mut as_json = Watching::start(&user, &[&args[..], &["--json"]].concat());
    let mut all = Watching::start(&user, &["jobs", "watch", "--server", &scanner.url()]);
    assert!(all.next_line().await.contains(&format!("job {id}")));
    let before = as_text.next_line().await;
    assert!(
        before.contains(&format!("job {id}")) && before.contains("0 of "),
        "{before}"
    );
    let before: Value = serde_json::from_str(&as_json.next_line().await).unwrap();
    assert_eq!(before["total"]["loaded"], 0, "{before:#}");

    let _worker = start_worker(&scanner, &[]);
    let (code, lines) = as_text.end().await;
    assert_eq!(code, Some(2), "some were rejected: {lines}");
    let last = lines.lines().last().unwrap();
    for words in ["done", "2 of 2 files", "30 resources loaded", "1 rejected"] {
        assert!(last.contains(words), "{words}: {last}");
    }
    let (code, lines) = as_json.end().await;
    assert_eq!(code, Some(2), "{lines}");
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(last["state"], "done", "{last:#}");
    assert_eq!(last["run"]["rejected"], 1, "{last:#}");
    while !all.next_line().await.contains("done") {}
    all.interrupt().await;
    assert_eq!(all.end().await, (Some(0), String::new()));
    let over = user.args(args).run().await.unwrap();
    assert_eq!(over.code, 2, "{over:#?}");
    assert_eq!(over.stdout.lines().count(), 1, "{over:#?}");
}

#[tokio::test]
async fn a_job_that_is_cancelled_ends_the_watch_with_a_failure() {
    let away = FaultRule {
        method: Some("POST".to_owned()),
        ..FaultRule::new(Fault::Status {
            code: 503,
            retry_after: None,
            body: None,
        })
    };
    let sandbox = sandbox(SandboxConfig {
        faults: vec![away],
        ..SandboxConfig::default()
    })
    .await;
    let user = Stoker::new().unwrap();
    write_data(user.home(), false);
    let base = sandbox.base_url();
    let load = [
        "load",
        "patients.ndjson",
        "--to",
        &base,
        "--give-up-after",
        "1s",
    ];
    assert_eq!(user.args(load).run().await.unwrap().code, 3);
    // The ledger of the load itself: no service runs.
    let mut watching = Watching::start(&user, &["jobs", "watch", "1"]);
    watching.next_line().await;
    let cancelled = user.args(["jobs", "cancel", "1"]).run().await.unwrap();
    assert_eq!(cancelled.code, 0, "{cancelled:#?}");
    let (code, lines) = watching.end().await;
    assert_eq!(code, Some(1), "{lines}");
    assert!(lines.contains("cancelled"), "{lines}");
}

#[tokio::test]
async fn what_cannot_be_watched_is_told() {
    let user = Stoker::new().unwrap();
    let nobody = format!("127.0.0.1:{}", free_port().unwrap());
    let server = format!("http://{nobody}");
    for (args, words) in [
        (
            &["jobs", "watch"][..],
            ["no Kafka brokers", "--kafka-brokers"],
        ),
        (
            &["jobs", "watch", "--kafka-brokers", "kafka"],
            ["\"kafka\"", "host:port"],
        ),
        (
            &["jobs", "watch", "--kafka-brokers", &nobody],
            ["no broker can be reached", "check brokers"],
        ),
        (&["jobs", "watch", "1"], ["no job 1", "stoker load"]),
        (
            &["jobs", "watch", "1", "--server", &server],
            ["cannot be asked", "check the address"],
        ),
        (
            &["jobs", "--server-token-file", "x"],
            ["--server-token-file", "--server URL"],
        ),
    ] {
        let run = user.args(args).run().await.unwrap();
        assert_eq!(run.code, 1, "{args:?}: {run:#?}");
        for words in words {
            assert!(run.stderr.contains(words), "{words:?}: {run:#?}");
        }
    }
    let scanner = Service::start("bucket-scanner", &["ledger=none".to_owned()]).unwrap();
    scanner.jobs().await.unwrap();
    let args = ["jobs", "watch", "9", "--server", &scanner.url()];
    let run = user.args(args).run().await.unwrap();
    assert_eq!(run.code, 1, "{run:#?}");
    let expected = "error: there is no job 9; `stoker jobs` lists those there are\n";
    assert_eq!(run.stderr, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_services_announce_is_shown_as_it_happens() {
    let _turn = parts::turn().await;
    let kafka = Kafka::start().unwrap();
    let sandbox = sandbox(SandboxConfig::default()).await;
    let user = Stoker::new().unwrap();
    let brokers = format!("kafka.brokers={}", kafka.broker());
    let settings = ["ledger=none".to_owned(), brokers.clone()];
    let scanner = Service::start("bucket-scanner", &settings).unwrap();
    let _worker = start_worker(&scanner, &[brokers]);
    scanner.jobs().await.unwrap();
    let yaml = format!(
        "loader_worker: {{kafka: {{brokers: ['{}']}}}}\n",
        kafka.broker()
    );
    fs::write(user.home().join("stoker.yaml"), yaml).unwrap();

    let broker = kafka.broker();
    let given = ["jobs", "watch", "--kafka-brokers", &broker];
    let mut as_text = Watching::start(&user, &given);
    as_text.says("watching stoker.events.v1").await;
    let data = tempfile::tempdir().unwrap();
    write_data(data.path(), true);
    let job_id = start_job(&scanner, data.path(), &sandbox, false).await;

    let folder = data.path().display();
    // Events of different objects come in any order.
    let mut missing = vec![
        format!("job_started        job {job_id}"),
        format!("{folder}/patients.ndjson, "),
        format!("{folder}/refused.ndjson:1, job {job_id}, status 4"),
        format!("{folder}/patients.ndjson, job {job_id}, 30 loaded, 0 rejected"),
        format!("job {job_id} is done"),
        "  bucket-scanner  ".to_owned(),
        "  loader-worker   ".to_owned(),
    ];
    while !missing.is_empty() {
        let line = as_text.next_line().await;
        missing.retain(|words| !line.contains(words));
    }
    // It does not say when it has begun to hear.
    let mut as_json = Watching::start(&user, &["jobs", "watch", "--json"]);
    let again = async {
        loop {
            start_job(&scanner, data.path(), &sandbox, true).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        _ = as_json.next_line() => {}
        () = again => unreachable!("it starts for ever"),
    }
    start_job(&scanner, data.path(), &sandbox, true).await;
    let mut missing: Vec<Value> = ["unit_done", "load_finished", "input_rejected", "job_ended"]
        .map(Value::from)
        .to_vec();
    while !missing.is_empty() {
        let event: Value = serde_json::from_str(&as_json.next_line().await).unwrap();
        assert!(
            event["time"].is_string() && event["instance"].is_string(),
            "{event:#}"
        );
        missing.retain(|kind| *kind != event["kind"]);
    }
    for watching in [as_text, as_json] {
        watching.interrupt().await;
        assert_eq!(watching.end().await.0, Some(0));
    }
}

#[tokio::test]
async fn jobs_are_told_in_numbers() {
    let sandbox = sandbox(SandboxConfig::default()).await;
    let user = Stoker::new().unwrap();
    let nothing = user.args(["jobs", "stats", "--json"]).run().await.unwrap();
    assert_eq!((nothing.code, nothing.stdout.trim()), (0, "[]"));
    write_data(user.home(), true);
    let base = sandbox.base_url();
    for (file, code) in [("patients.ndjson", 0), ("refused.ndjson", 2)] {
        let load = user
            .args(["load", file, "--to", &base])
            .run()
            .await
            .unwrap();
        assert_eq!(load.code, code, "{load:#?}");
    }
    let all = user.args(["jobs", "stats", "--json"]).run().await.unwrap();
    let all: Value = serde_json::from_str(&all.stdout).unwrap();
    assert_eq!(all.as_array().unwrap().len(), 2, "{all:#}");
    let one = user
        .args(["jobs", "stats", "1", "--json"])
        .run()
        .await
        .unwrap();
    let one: Value = serde_json::from_str(&one.stdout).unwrap();
    let job = &one[0];
    assert_eq!(job["job_id"], 1, "{job:#}");
    let (rate, seconds) = (&job["resources_per_s"], &job["seconds"]);
    let resources = rate.as_f64().unwrap() * seconds.as_f64().unwrap();
    assert!((resources - 30.0).abs() < 0.1, "{job:#}");
    assert!(job["run"]["requests"].as_u64().unwrap() >= 1, "{job:#}");

    let text = user.args(["jobs", "stats"]).run().await.unwrap().stdout;
    let row = |name: &str| -> Vec<String> {
        let line = text.lines().rfind(|line| line.starts_with(name));
        let line = line.unwrap_or_else(|| panic!("no row {name}: {text}"));
        line[name.len()..]
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    };
    // The newest job comes first, so the last rows are those of the first.
    assert_eq!(row("files loaded"), ["1", "1"]);
    assert_eq!(row("created"), ["30", "30"]);
    assert_eq!(row("rejected"), ["0", "0"]);
    assert_eq!(row("resources/s").len(), 1, "{text}");
}
