//! A real HAPI FHIR server, reindexed by its own job: once, whoever dies, and followed to its end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reindex_driver::Config;
use reindex_driver::runs::{self, HapiJob, Lease, Runs};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use stoker_proto::common::v1::Target;
use stoker_proto::reindex::v1::reindex_service_client::ReindexServiceClient;
use stoker_proto::reindex::v1::{
    CancelRunRequest, GetRunRequest, Method, ResumeRunRequest, Run, RunSpec, RunState,
    StartRunRequest,
};
use stoker_shared::clock::{Clock as _, SystemClock};
use stoker_shared::grpc::{self, Channel, GrpcClientConfig};
use stoker_shared::tls::install_crypto_provider;
use stoker_tests::fhir::FhirServer;
use stoker_tests::gate::Gate;
use stoker_tests::parts::{self, FreshHapi};
use stoker_tests::services::Service;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_mins(4);
const PATIENTS: u64 = 25;

/// One server for all: it takes half a minute to start. Each looks for other resources, so that its job is known.
#[tokio::test(flavor = "multi_thread")]
async fn hapi_is_reindexed_by_its_own_job() {
    install_crypto_provider();
    let _turn = parts::turn().await;
    let server = FreshHapi::start().unwrap();
    let hapi = Hapi {
        fhir: server.fhir(),
        database: server.database(),
    };
    hapi.add_patients().await;
    everything_is_reindexed(&hapi).await;
    tokio::join!(
        a_job_that_is_not_followed_is_accepted(&hapi),
        a_lost_answer_starts_no_second_job(&hapi),
        a_request_that_never_came_is_sent_again(&hapi),
        without_a_database_a_person_decides(&hapi),
        a_job_that_is_cancelled_there_stops_the_run(&hapi),
        a_run_that_is_cancelled_says_that_the_job_is_not(&hapi),
        what_hapi_refuses_is_told(&hapi),
    );
}

async fn everything_is_reindexed(hapi: &Hapi) {
    let mut connection = hapi.connect().await;
    let forgotten = sqlx::query("DELETE FROM hfj_spidx_string").execute(&mut connection);
    assert!(forgotten.await.unwrap().rows_affected() >= PATIENTS);
    assert_eq!(hapi.fhir.count("Patient?family=Oslo").await.unwrap(), 0);

    let scene = Scene::new(hapi);
    let driver = scene.driver(&scene.followed()).await;
    let run_id = start(&driver, scene.spec(&[])).await;
    let run = until(&driver, run_id, RunState::Done).await;
    let progress = run.progress.unwrap();
    assert_eq!(
        (run.reason.as_str(), progress.job_state.as_str()),
        ("", "COMPLETED")
    );
    assert_eq!(progress.reindexed, PATIENTS);
    assert_eq!(hapi.jobs_with("Account?").await, [progress.job_id]);
    let found = hapi.fhir.count("Patient?family=Oslo").await.unwrap();
    assert_eq!(found, PATIENTS, "the job has indexed them again");
}

async fn a_job_that_is_not_followed_is_accepted(hapi: &Hapi) {
    let scene = Scene::new(hapi);
    let driver = scene.driver(&scene.settings).await;
    let run_id = start(&driver, scene.spec(&["Patient?active=true"])).await;
    let run = until(&driver, run_id, RunState::Done).await;
    assert!(run.reason.contains("has accepted the job"), "{run:#?}");
    let progress = run.progress.unwrap();
    assert_eq!((progress.reindexed, progress.job_state.as_str()), (0, ""));
    assert_eq!(
        hapi.jobs_with("Patient?active=true").await,
        [progress.job_id]
    );
}

/// The driver dies after HAPI has started the job, and before it hears of it.
async fn a_lost_answer_starts_no_second_job(hapi: &Hapi) {
    let address = hapi.fhir.base().strip_prefix("http://").unwrap();
    let (address, path) = address.split_once('/').unwrap();
    let gate = Gate::before(address).await.unwrap();
    let scene = Scene::new(hapi);
    let mut driver = scene.driver(&scene.followed()).await;
    let search = "Patient?gender=male";
    let mut spec = scene.spec(&[search]);
    spec.target = Some(Target {
        base_url: format!("http://{}/{path}", gate.address()),
        tenant: String::new(),
    });
    gate.keep_answers(true);
    let run_id = start(&driver, spec).await;
    let deadline = Instant::now() + LIMIT;
    while hapi.jobs_with(search).await.is_empty() {
        assert!(Instant::now() < deadline, "{}", driver.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        job_of(&get(&driver, run_id).await),
        "",
        "nobody has heard of it"
    );
    driver.kill().unwrap();
    gate.keep_answers(false);
    driver.start_again().unwrap();
    driver.page("/readyz").await.unwrap();
    let run = until(&driver, run_id, RunState::Done).await;
    assert_eq!(hapi.jobs_with(search).await, [job_of(&run)]);
}

/// A driver has died between writing down that it will ask, and asking.
async fn a_request_that_never_came_is_sent_again(hapi: &Hapi) {
    let scene = Scene::new(hapi);
    let search = "Patient?gender=female";
    let run_id = scene.left_with(search).await;
    let driver = scene.driver(&scene.followed()).await;
    let run = until(&driver, run_id, RunState::Done).await;
    assert_eq!(hapi.jobs_with(search).await, [job_of(&run)]);
}

async fn without_a_database_a_person_decides(hapi: &Hapi) {
    let scene = Scene::new(hapi);
    let search = "Patient?gender=other";
    let run_id = scene.left_with(search).await;
    let driver = scene.driver(&scene.settings).await;
    let run = until(&driver, run_id, RunState::Stopped).await;
    assert!(run.reason.contains("resume the run"), "{run:#?}");
    assert_eq!(hapi.jobs_with(search).await, Vec::<String>::new());
    resume(&driver, run_id).await;
    let run = until(&driver, run_id, RunState::Done).await;
    assert_eq!(hapi.jobs_with(search).await, [job_of(&run)]);
}

async fn a_job_that_is_cancelled_there_stops_the_run(hapi: &Hapi) {
    let scene = Scene::new(hapi);
    let driver = scene.driver(&scene.followed()).await;
    let search = "Patient?birthdate=1970";
    let run_id = start(&driver, scene.spec(&[search])).await;
    let deadline = Instant::now() + LIMIT;
    let first = loop {
        if let Some(id) = hapi.jobs_with(search).await.pop() {
            break id;
        }
        assert!(Instant::now() < deadline, "{}", driver.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    hapi.cancel(&first).await;
    let run = until(&driver, run_id, RunState::Stopped).await;
    assert!(run.reason.contains("was cancelled there"), "{run:#?}");
    resume(&driver, run_id).await;
    let run = until(&driver, run_id, RunState::Done).await;
    let mut both = vec![first, job_of(&run)];
    both.sort();
    assert_eq!(hapi.jobs_with(search).await, both);
}

async fn a_run_that_is_cancelled_says_that_the_job_is_not(hapi: &Hapi) {
    let scene = Scene::new(hapi);
    let driver = scene.driver(&scene.followed()).await;
    let run_id = start(&driver, scene.spec(&["Patient?birthdate=1971"])).await;
    let started = |run: &Run| !job_of(run).is_empty();
    let job_id = job_of(&when(&driver, run_id, started).await);
    let cancel = CancelRunRequest { run_id };
    client(&driver).cancel_run(cancel).await.unwrap();
    let run = when(&driver, run_id, |run| !run.reason.is_empty()).await;
    assert_eq!(run.state(), RunState::Cancelled);
    assert!(run.reason.contains(&job_id), "{run:#?}");
}

async fn what_hapi_refuses_is_told(hapi: &Hapi) {
    let scene = Scene::new(hapi);
    let driver = scene.driver(&scene.followed()).await;
    let run_id = start(&driver, scene.spec(&["Nonsense?x=1"])).await;
    let run = until(&driver, run_id, RunState::Stopped).await;
    assert!(run.reason.contains("Unknown resource name"), "{run:#?}");
    assert_eq!(driver.terminate().await.unwrap(), Some(0));
    let wrong = [
        scene.settings.clone(),
        vec![format!("hapi.database={}", parts::postgres())],
    ];
    let run_id = scene.left_with("Patient?birthdate=1972").await;
    let other = scene.driver(&wrong.concat()).await;
    let run = until(&other, run_id, RunState::Stopped).await;
    assert!(run.reason.contains("BT2_JOB_INSTANCE"), "{run:#?}");
}

struct Hapi {
    fhir: FhirServer,
    database: String,
}

impl Hapi {
    async fn add_patients(&self) {
        let entry = json!({
            "resource": { "resourceType": "Patient", "active": true, "name": [{ "family": "Oslo" }] },
            "request": { "method": "POST", "url": "Patient" },
        });
        let entries = vec![entry; usize::try_from(PATIENTS).unwrap()];
        let bundle = json!({ "resourceType": "Bundle", "type": "transaction", "entry": entries });
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let sent = client
            .post(self.fhir.base())
            .header("Content-Type", "application/fhir+json")
            .body(bundle.to_string());
        let answer = sent.send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }

    async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.database).await.unwrap()
    }

    /// Jobs that reindex, among others, what a search finds.
    async fn jobs_with(&self, search: &str) -> Vec<String> {
        let mut connection = self.connect().await;
        sqlx::query_scalar(
            "SELECT id FROM bt2_job_instance \
             WHERE definition_id = 'REINDEX' AND position($1 IN params_json_vc) > 0 ORDER BY id",
        )
        .bind(format!("\"{search}\""))
        .fetch_all(&mut connection)
        .await
        .unwrap()
    }

    /// As HAPI's own `JobPersistence.cancelInstance` does it.
    async fn cancel(&self, job_id: &str) {
        let mut connection = self.connect().await;
        let cancel = sqlx::query("UPDATE bt2_job_instance SET job_cancelled = TRUE WHERE id = $1");
        let done = cancel.bind(job_id).execute(&mut connection).await.unwrap();
        assert_eq!(done.rows_affected(), 1);
    }
}

/// A store of runs in a file.
struct Scene<'h> {
    hapi: &'h Hapi,
    file: PathBuf,
    settings: Vec<String>,
    _folder: TempDir,
}

impl<'h> Scene<'h> {
    fn new(hapi: &'h Hapi) -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("runs.sqlite");
        let settings = [
            format!("runs.url=sqlite:{}", file.display()),
            "runs.lease=1s".to_owned(),
            "fhir.request_timeout=20s".to_owned(),
        ];
        Self {
            hapi,
            file,
            settings: settings.into(),
            _folder: folder,
        }
    }

    /// With HAPI's database.
    fn followed(&self) -> Vec<String> {
        let database = format!("hapi.database={}", self.hapi.database);
        [self.settings.clone(), vec![database]].concat()
    }

    async fn driver(&self, settings: &[String]) -> Service {
        let driver = Service::start("reindex-driver", settings).unwrap();
        driver.page("/readyz").await.unwrap();
        driver
    }

    fn spec(&self, searches: &[&str]) -> RunSpec {
        RunSpec {
            target: Some(Target {
                base_url: self.hapi.fhir.base().to_owned(),
                tenant: String::new(),
            }),
            method: Method::HapiJob.into(),
            urls: searches.iter().map(ToString::to_string).collect(),
            ..RunSpec::default()
        }
    }

    /// A run whose driver has written down that it will ask for the job, and died.
    async fn left_with(&self, search: &str) -> i64 {
        let runs: Arc<dyn Runs> = runs::open(
            &format!("sqlite:{}", self.file.display()).parse().unwrap(),
            &Config::default().runs.options().unwrap(),
            Arc::new(SystemClock),
        )
        .await
        .unwrap();
        let (run, _) = runs.start(&self.spec(&[search])).await.unwrap();
        let taken = runs.take("nobody", &[run.run_id]).await.unwrap().unwrap();
        let lease: &Lease = &taken.lease;
        let asked = HapiJob {
            asked: Some(SystemClock.now()),
            ..HapiJob::default()
        };
        runs.save_job(lease, &asked).await.unwrap();
        runs.release(lease).await.unwrap();
        run.run_id
    }
}

fn client(driver: &Service) -> ReindexServiceClient<Channel> {
    let config = GrpcClientConfig::to_port(driver.grpc_port);
    ReindexServiceClient::new(grpc::connect(&config).unwrap())
}

async fn start(driver: &Service, spec: RunSpec) -> i64 {
    let request = StartRunRequest { spec: Some(spec) };
    let answer = client(driver).start_run(request).await.unwrap();
    answer.into_inner().run.unwrap().run_id
}

async fn resume(driver: &Service, run_id: i64) {
    let resume = ResumeRunRequest { run_id };
    client(driver).resume_run(resume).await.unwrap();
}

async fn get(driver: &Service, run_id: i64) -> Run {
    let answer = client(driver).get_run(GetRunRequest { run_id }).await;
    answer.unwrap().into_inner().run.unwrap()
}

async fn until(driver: &Service, run_id: i64, state: RunState) -> Run {
    when(driver, run_id, |run| run.state() == state).await
}

async fn when(driver: &Service, run_id: i64, holds: impl Fn(&Run) -> bool) -> Run {
    let deadline = Instant::now() + LIMIT;
    loop {
        let run = get(driver, run_id).await;
        if holds(&run) {
            return run;
        }
        assert!(Instant::now() < deadline, "{run:#?}\n{}", driver.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn job_of(run: &Run) -> String {
    run.progress.clone().unwrap().job_id
}
