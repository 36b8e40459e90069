//! What the commands besides `load` print and leave behind, and what a load prints on a pipe.

use std::fmt::Write as _;
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
use stoker_sandbox::{Fault, FaultRule, Sandbox, SandboxConfig};
use stoker_tests::ports::free_port;
use stoker_tests::stoker::{Run, Stoker, isolated, stoker_bin};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

async fn sandbox_with(config: SandboxConfig) -> Sandbox {
    Sandbox::start(config).await.unwrap()
}

fn user_with_patients(count: usize) -> Stoker {
    let user = Stoker::new().unwrap();
    let mut lines = String::new();
    for n in 0..count {
        writeln!(lines, "{{\"resourceType\":\"Patient\",\"id\":\"p{n}\"}}").unwrap();
    }
    fs::write(user.home().join("patients.ndjson"), lines).unwrap();
    user
}

async fn run(user: &Stoker, args: &[&str]) -> Run {
    user.args(args).run().await.unwrap()
}

/// What a command answers to `--json`.
async fn json_of(user: &Stoker, args: &[&str]) -> Value {
    let answer = run(user, &[args, &["--json"]].concat()).await;
    assert_eq!(answer.code, 0, "{args:?}: {answer:#?}");
    serde_json::from_str(&answer.stdout).unwrap_or_else(|e| panic!("{e}: {answer:#?}"))
}

/// What a command answers to a person.
async fn text_of(user: &Stoker, args: &[&str]) -> String {
    let answer = run(user, args).await;
    assert_eq!(answer.code, 0, "{args:?}: {answer:#?}");
    answer.stdout
}

fn assert_has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text}");
    }
}

#[tokio::test]
async fn jobs_are_listed_and_shown() {
    let sandbox = sandbox_with(SandboxConfig::default()).await;
    let user = user_with_patients(7);
    let base = sandbox.base_url();
    run(&user, &["load", "patients.ndjson", "--to", &base]).await;

    let listed = text_of(&user, &["jobs", "list"]).await;
    assert_has(&listed, &["job", "done", "7", "patients.ndjson", &base]);
    assert_eq!(
        text_of(&user, &["jobs"]).await,
        listed,
        "list is the default"
    );
    let jobs = json_of(&user, &["jobs", "list"]).await;
    assert_eq!(jobs.as_array().unwrap().len(), 1, "{jobs:#}");

    let shown = text_of(&user, &["jobs", "show", "1"]).await;
    assert_has(
        &shown,
        &["job 1: done", "7 resources", "Patient", "started"],
    );
    let job = json_of(&user, &["jobs", "show", "1"]).await;
    assert_eq!(job["job_id"], 1);
    assert_eq!(job["state"], "done");
    assert_eq!(job["target"]["base_url"], base);
    assert_eq!(job["total"]["loaded"], 7, "{job:#}");
    assert_eq!(job["run"]["by_type"]["Patient"]["created"], 7, "{job:#}");

    let unknown = run(&user, &["jobs", "show", "2"]).await;
    assert_eq!(unknown.code, 1, "{unknown:#?}");
    assert_has(&unknown.stderr, &["error: ", "no job 2"]);
}

/// A user one of whose loads was given up for the server's sake, so that its job goes on.
async fn user_with_an_open_job(base: &str) -> Stoker {
    let user = user_with_patients(5);
    let args = [
        "load",
        "patients.ndjson",
        "--to",
        base,
        "--give-up-after",
        "1s",
    ];
    let answer = run(&user, &args).await;
    assert_eq!(answer.code, 3, "{answer:#?}");
    user
}

/// A server that answers what it is, and nothing that is written.
async fn sandbox_that_takes_nothing(fault: Fault) -> Sandbox {
    let rule = FaultRule {
        method: Some("POST".to_owned()),
        ..FaultRule::new(fault)
    };
    sandbox_with(SandboxConfig {
        faults: vec![rule],
        ..SandboxConfig::default()
    })
    .await
}

const AWAY: Fault = Fault::Status {
    code: 503,
    retry_after: None,
    body: None,
};

#[tokio::test]
async fn a_job_can_be_cancelled() {
    let sandbox = sandbox_that_takes_nothing(AWAY).await;
    let base = sandbox.base_url();
    let user = user_with_an_open_job(&base).await;
    let cancelled = text_of(&user, &["jobs", "cancel", "1"]).await;
    assert_has(&cancelled, &["job 1: cancelled", "ended"]);

    let user = user_with_an_open_job(&base).await;
    let cancelled = json_of(&user, &["jobs", "cancel", "1"]).await;
    assert_eq!(cancelled["state"], "cancelled");
    assert_eq!(json_of(&user, &["jobs"]).await[0]["state"], "cancelled");
}

#[tokio::test]
async fn asking_for_jobs_changes_nothing() {
    let sandbox = sandbox_that_takes_nothing(AWAY).await;
    let user = user_with_an_open_job(&sandbox.base_url()).await;
    let ledger = user.home().join("data/stoker/ledger.sqlite");
    // As a load leaves it that is killed while it lists. Listed now, the source would not be found
    // and the job would fail.
    let wants_listing = "UPDATE jobs SET state = 'scanning', scan_wanted = scan_wanted + 1";
    let options = SqliteConnectOptions::new().filename(ledger);
    let mut connection = options.connect().await.unwrap();
    connection.execute(wants_listing).await.unwrap();
    connection.close().await.unwrap();
    fs::remove_file(user.home().join("patients.ndjson")).unwrap();
    let before = json_of(&user, &["jobs", "show", "1"]).await;
    assert_eq!(before["state"], "scanning", "{before:#}");
    for args in [
        &["jobs"][..],
        &["jobs", "show", "1"],
        &["jobs", "errors", "1"],
    ] {
        text_of(&user, args).await;
    }
    assert_eq!(json_of(&user, &["jobs", "show", "1"]).await, before);
}

#[tokio::test]
async fn asking_for_jobs_makes_no_ledger() {
    let user = Stoker::new().unwrap();
    let nothing = text_of(&user, &["jobs"]).await;
    assert_has(&nothing, &["nothing has been loaded yet"]);
    assert_eq!(json_of(&user, &["jobs", "list"]).await, json!([]));
    for args in [
        &["jobs", "show", "1"][..],
        &["jobs", "--ledger", "sqlite:no/such/ledger.sqlite"],
        &["jobs", "--ledger", "none"],
    ] {
        let answer = run(&user, args).await;
        assert_eq!(answer.code, 1, "{args:?}: {answer:#?}");
        assert_has(&answer.stderr, &["error: "]);
    }
    let named = ["jobs", "--ledger", "sqlite:no/such/ledger.sqlite"];
    let named = run(&user, &named).await.stderr;
    assert_has(&named, &["no/such/ledger.sqlite", "check the path"]);
    let made: Vec<_> = fs::read_dir(user.home()).unwrap().collect();
    assert!(made.is_empty(), "{made:?}");
}

#[tokio::test]
async fn a_load_on_a_pipe_ends_with_a_table() {
    let sandbox = sandbox_with(SandboxConfig::default()).await;
    let user = user_with_patients(7);
    let no_status = "{\"resourceType\":\"Observation\",\"id\":\"o\"}";
    fs::write(user.home().join("o.json"), no_status).unwrap();
    let base = sandbox.base_url();
    let answer = run(&user, &["load", ".", "--to", &base]).await;
    assert_eq!(answer.code, 2, "{answer:#?}");
    let row = |first: &str| -> Vec<String> {
        let mut lines = answer.stdout.lines();
        let line = lines.find(|line| line.trim_start().starts_with(first));
        let words = line.unwrap_or_else(|| panic!("no row {first:?}: {answer:#?}"));
        words.split_whitespace().map(str::to_owned).collect()
    };
    let heads = ["created", "updated", "rejected", "in", "doubt"];
    assert_eq!(row("created"), heads);
    assert_eq!(row("Patient"), ["Patient", "7", "0", "0", "0"]);
    assert_eq!(row("Observation"), ["Observation", "0", "0", "1", "0"]);
    assert_eq!(row("all"), ["all", "resources", "7", "0", "1", "0"]);
    assert_eq!(row("files")[..3], ["files", "2", "loaded,"]);
    for word in ["sent,", "median", "95", "99", "slowest"] {
        assert!(row("requests").contains(&word.to_owned()), "{answer:#?}");
    }
    assert!(row("time").contains(&"resources/s".to_owned()));
    assert!(row("rejected:")[1].contains("o.json:1"), "{answer:#?}");
}

#[tokio::test]
async fn a_long_load_on_a_pipe_shows_how_far_it_is() {
    let sandbox = sandbox_with(SandboxConfig {
        latency: Duration::from_millis(1500),
        ..SandboxConfig::default()
    })
    .await;
    let user = user_with_patients(5);
    let base = sandbox.base_url();
    let one_by_one = ["--batch", "1", "--concurrency", "1"];
    let args = ["load", "patients.ndjson", "--to", &base];
    let answer = run(&user, &[&args[..], &one_by_one].concat()).await;
    assert_eq!(answer.code, 0, "{answer:#?}");
    assert_has(&answer.stderr, &[" of 1 files", "resources", "/s"]);
    let quiet = run(&user, &[&args[..], &["--reload", "--quiet"]].concat()).await;
    assert_eq!(quiet.stderr, "", "{quiet:#?}");
}

const CONFIGURATION: &str = "
loader_worker:
  fhir: {user: loader, password: hush-hush}
  load: {batch: 17}
";

#[tokio::test]
async fn the_configuration_is_shown_without_secrets() {
    let user = Stoker::new().unwrap();
    fs::write(user.home().join("stoker.yaml"), CONFIGURATION).unwrap();
    let shown = text_of(&user, &["config", "show"]).await;
    assert_has(
        &shown,
        &["stoker.yaml", "bucket_scanner:", "batch: ", "17", "***"],
    );
    assert_eq!(
        text_of(&user, &["config"]).await,
        shown,
        "show is the default"
    );
    let values = json_of(&user, &["config", "show"]).await;
    assert_eq!(values["loader_worker"]["fhir"]["user"], "loader");
    for shown in [shown, values.to_string()] {
        assert!(!shown.contains("hush-hush"), "{shown}");
    }
}

#[tokio::test]
async fn faults_of_the_configuration_are_all_named() {
    let user = Stoker::new().unwrap();
    let file = user.home().join("stoker.yaml");
    fs::write(&file, CONFIGURATION).unwrap();
    assert_has(&text_of(&user, &["config", "check"]).await, &["no faults"]);
    let checked = json_of(&user, &["config", "check"]).await;
    assert_eq!(checked["faults"], json!([]));
    let faulty = "{bucket_scanner: {lease: 0s}, loader_worker: {load: {bach: 3}}, \
                  reindex_driver: {runs: {lease: 0s}}, remote_indexer: {topic: {consumers: 0}}}";
    fs::write(&file, faulty).unwrap();
    let answer = run(&user, &["config", "check"]).await;
    assert_eq!(answer.code, 1, "{answer:#?}");
    let keys = ["scanner.lease", "load.bach", "runs.lease", "consumers"];
    assert!(answer.stderr.starts_with("error: "), "{answer:#?}");
    assert_has(&answer.stderr, &keys);
}

/// A command that runs beside the test, killed when dropped.
struct Process {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Process {
    fn start(user: &Stoker, args: &[&str]) -> Self {
        let mut child = Command::from(isolated(&stoker_bin().unwrap(), user.home()))
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stderr }
    }

    async fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args([name, &id]).status().await;
        assert!(sent.unwrap().success());
    }

    /// The next line of standard error.
    async fn says(&mut self) -> String {
        let mut line = String::new();
        self.stderr.read_line(&mut line).await.unwrap();
        line
    }

    /// Waits for its end; answers its exit code and the rest of standard error.
    async fn end(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        let ended = async {
            self.stderr.read_to_string(&mut said).await.unwrap();
            self.child.wait().await.unwrap().code()
        };
        let code = timeout(Duration::from_secs(30), ended).await;
        assert!(code.is_ok(), "still runs after 30 s");
        (code.unwrap(), said)
    }
}

fn serve(user: &Stoker, grpc: u16, http: u16) -> Process {
    let settings = [
        format!("service.grpc.listen=127.0.0.1:{grpc}"),
        format!("service.http_listen=127.0.0.1:{http}"),
        "ledger=sqlite:ledger.sqlite".to_owned(),
    ];
    let mut args = vec!["serve", "bucket-scanner", "--json", "-v"];
    args.extend(settings.iter().flat_map(|s| ["--set", s.as_str()]));
    Process::start(user, &args)
}

async fn wait_for(url: &str) {
    stoker_shared::tls::install_crypto_provider();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match client.get(url).send().await {
            Ok(response) if response.status() == 200 => return,
            answer => assert!(Instant::now() < deadline, "{url}: {answer:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_service_is_served_until_it_is_told_to_stop() {
    let user = Stoker::new().unwrap();
    let (grpc, http) = (free_port().unwrap(), free_port().unwrap());
    let serving = serve(&user, grpc, http);
    for page in ["livez", "readyz", "metrics"] {
        wait_for(&format!("http://127.0.0.1:{http}/{page}")).await;
    }
    let server = format!("http://127.0.0.1:{grpc}");
    let jobs = json_of(&user, &["jobs", "--server", &server]).await;
    assert_eq!(jobs, json!([]));

    let second = serve(&user, grpc, free_port().unwrap());
    let (code, errors) = second.end().await;
    assert_eq!(code, Some(1), "{errors}");
    let error: Value = serde_json::from_str(errors.lines().last().unwrap()).unwrap();
    let words = ["cannot listen for gRPC", "choose another port"];
    assert_has(error["error"].as_str().unwrap(), &words);

    serving.signal("-TERM").await;
    let (code, log) = serving.end().await;
    assert_eq!(code, Some(0), "{log}");
    for line in log.lines() {
        let line: Result<Value, _> = serde_json::from_str(line);
        assert!(line.is_ok(), "not JSON: {line:?} of {log}");
    }
}

#[tokio::test]
async fn a_load_that_is_told_to_stop_says_what_it_waits_for() {
    let sandbox = sandbox_that_takes_nothing(Fault::Hang).await;
    let user = user_with_patients(5);
    let base = sandbox.base_url();
    let args = ["load", "patients.ndjson", "--to", &base, "--quiet"];
    let mut load = Process::start(&user, &args);
    while sandbox.stats().in_flight < 1 {
        assert_eq!(load.child.try_wait().unwrap(), None, "ended by itself");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let interrupted = Instant::now();
    load.signal("-INT").await;
    assert_eq!(
        load.says().await,
        "stopping: waiting for requests under way; press Ctrl-C again to stop at once\n"
    );
    load.signal("-INT").await;
    let (code, said) = load.end().await;
    assert_eq!(code, Some(3), "{said}");
    assert_has(&said, &["run the same command"]);
    assert!(interrupted.elapsed() < Duration::from_secs(15));
}
