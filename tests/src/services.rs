//! Services as processes of their own, and what a test asks of them.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use stoker_proto::common::v1::{Interaction, Source, Target};
use stoker_proto::ledger::v1::job_service_client::JobServiceClient;
use stoker_proto::ledger::v1::{GetJobRequest, Job, JobState, ListJobsRequest, StartJobRequest};
use stoker_shared::grpc::{self, Channel, GrpcClientConfig};
use stoker_shared::object_store::host_name;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::ports::free_port;
use crate::secrets;
use crate::stoker::{isolated, stoker_bin};

/// In a service's home: what it writes.
const LOG: &str = "log";

/// The folder with an earlier build's programs: set by `scripts/test-upgrade.sh`.
const PREVIOUS: &str = "STOKER_TEST_PREVIOUS";

/// Longest wait for a service to come up or to stop.
const LIMIT: Duration = Duration::from_secs(40);

/// A service's process, killed when dropped. A test that fails shows what it wrote; one whose service has written a
/// secret that it was given fails.
#[derive(Debug)]
pub struct Service {
    child: Child,
    command: Command,
    name: String,
    home: TempDir,
    secrets: Vec<(String, String)>,
    /// Where it serves gRPC.
    pub grpc_port: u16,
    /// Where it serves health and metrics.
    pub http_port: u16,
}

impl Service {
    /// Starts the service's own program on free ports, with settings like `lease=10s`. Where an upgrade is tested it is the
    /// earlier build's: see [`Service::upgrade`].
    pub fn start(name: &str, settings: &[String]) -> anyhow::Result<Self> {
        let program = match std::env::var_os(PREVIOUS) {
            Some(folder) => Path::new(&folder).join(name),
            None => stoker_bin()?.with_file_name(name),
        };
        Self::run(&program, &[], name, settings)
    }

    /// The same by `stoker serve`.
    pub fn serve(name: &str, settings: &[String]) -> anyhow::Result<Self> {
        Self::run(&stoker_bin()?, &["serve", name], name, settings)
    }

    fn run(
        program: &Path,
        words: &[&str],
        name: &str,
        settings: &[String],
    ) -> anyhow::Result<Self> {
        let home = TempDir::new()?;
        let log = File::create(home.path().join(LOG))?;
        let (grpc_port, http_port) = (free_port()?, free_port()?);
        let mut command = isolated(program, home.path());
        command.args(words);
        let ports = [
            format!("service.grpc.listen=127.0.0.1:{grpc_port}"),
            format!("service.http_listen=127.0.0.1:{http_port}"),
        ];
        for setting in ports.iter().chain(settings) {
            command.args(["--set", setting]);
        }
        command.stdout(log.try_clone()?).stderr(log);
        let child = command.spawn();
        Ok(Self {
            child: child
                .with_context(|| format!("cannot start {}; run `make test`", program.display()))?,
            secrets: secrets::given_to(&command),
            command,
            name: name.to_owned(),
            home,
            grpc_port,
            http_port,
        })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its address for gRPC.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.grpc_port)
    }

    /// What it has written.
    pub fn log(&self) -> String {
        fs::read_to_string(self.home.path().join(LOG)).unwrap_or_else(|e| e.to_string())
    }

    /// Ends it at once, as a power cut does.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> anyhow::Result<Option<i32>> {
        Ok(self.child.wait()?.code())
    }

    /// Starts it again after its end, with the same settings, on the same ports.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        self.child = self.command.spawn()?;
        Ok(())
    }

    /// The same with the program of this build.
    pub fn upgrade(&mut self) -> anyhow::Result<()> {
        let program = stoker_bin()?.with_file_name(&self.name);
        let mut command = isolated(&program, self.home.path());
        let log = File::options()
            .append(true)
            .open(self.home.path().join(LOG))?;
        command
            .args(self.command.get_args())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.command = command;
        self.start_again()
    }

    /// Sends a signal such as `STOP`.
    pub fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), &pid])
            .status()?;
        if !sent.success() {
            bail!("{} does not run any more", self.name);
        }
        Ok(())
    }

    /// Asks it to stop and waits; answers its exit code.
    pub async fn terminate(mut self) -> anyhow::Result<Option<i32>> {
        self.stop().await
    }

    /// The same of one that is to start again.
    pub async fn stop(&mut self) -> anyhow::Result<Option<i32>> {
        self.signal("TERM")?;
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("{} still runs {LIMIT:?} after SIGTERM", self.name)
    }

    /// What its HTTP port answers with 200, once it does.
    pub async fn page(&self, path: &str) -> anyhow::Result<String> {
        let url = format!("http://127.0.0.1:{}{path}", self.http_port);
        let client = reqwest::Client::builder().no_proxy().build()?;
        let deadline = Instant::now() + LIMIT;
        loop {
            match client.get(&url).send().await {
                Ok(response) if response.status() == 200 => return Ok(response.text().await?),
                answer if Instant::now() > deadline => bail!("{url}: {answer:?}"),
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Waits until it serves gRPC, ready or not.
    pub async fn listening(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + LIMIT;
        while let Err(error) = TcpStream::connect(("127.0.0.1", self.grpc_port)).await {
            if Instant::now() > deadline {
                bail!("{} does not serve gRPC: {error}", self.name);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// A client of its jobs, once it answers.
    pub async fn jobs(&self) -> anyhow::Result<JobServiceClient<Channel>> {
        let config = GrpcClientConfig::to_port(self.grpc_port);
        let client = JobServiceClient::new(grpc::connect(&config)?);
        let deadline = Instant::now() + LIMIT;
        loop {
            match client.clone().list_jobs(ListJobsRequest {}).await {
                Ok(_) => return Ok(client),
                Err(e) if Instant::now() > deadline => bail!("{} does not answer: {e}", self.name),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

impl Drop for Service {
    #[expect(clippy::print_stderr, reason = "shown only of a test that has failed")]
    #[expect(
        clippy::panic,
        reason = "a test whose services show secrets has failed"
    )]
    fn drop(&mut self) {
        let _ = self.kill();
        let log = self.log();
        // Those that have changed since it started, too.
        self.secrets.extend(secrets::given_to(&self.command));
        if std::thread::panicking() {
            eprintln!("{}: {log}", self.name);
        } else if let Some(leak) = secrets::shown_in(&log, &self.secrets) {
            panic!("{}: {leak}", self.name);
        }
    }
}

/// Asks for a load of a folder of this host into a server, each resource as it asks for.
pub fn of_folder(folder: &Path, base_url: String) -> StartJobRequest {
    StartJobRequest {
        source: Some(Source {
            uri: format!("file://{}", folder.display()),
            reach: host_name(),
        }),
        target: Some(Target {
            base_url,
            tenant: String::new(),
        }),
        interaction: Interaction::Auto.into(),
        ..StartJobRequest::default()
    }
}

/// Waits for a job's end; fails when it is not done within `limit`.
pub async fn until_done(
    client: &mut JobServiceClient<Channel>,
    job_id: i64,
    limit: Duration,
) -> anyhow::Result<Job> {
    let deadline = Instant::now() + limit;
    loop {
        let answer = client.get_job(GetJobRequest { job_id }).await?;
        let job = answer.into_inner().job.context("no job in the answer")?;
        if job.state() == JobState::Done {
            return Ok(job);
        }
        if Instant::now() > deadline {
            bail!("not done in {limit:?}: {job:#?}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
