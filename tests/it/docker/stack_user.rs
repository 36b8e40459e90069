//! The stack of `compose/` as somebody starts it who cannot pull images: the peers are the programs installed here.

use std::fs;

use anyhow::Context as _;
use serde_json::Value;
use stoker_tests::docker::{Engine, output, script};
use stoker_tests::parts::required;
use stoker_tests::ports::free_port;
use tempfile::TempDir;

/// What `compose/peers.yaml` can pull, and is made here instead.
const PEERS: [&str; 8] = [
    "POSTGRES",
    "PGBOUNCER",
    "KAFKA",
    "MINIO",
    "REDIS",
    "NGINX",
    "PROMETHEUS",
    "ALERTMANAGER",
];

/// Those of which it is left to the image what is started, and as whom: each is made one of its own.
const STARTED_BY_IMAGE: [&str; 2] = ["ZOOKEEPER", "OPENSEARCH"];

/// See the [module](self); ended when dropped, with all that it kept.
pub(super) struct Stack {
    pub(super) engine: Engine,
    secrets: TempDir,
    variables: Vec<(String, String)>,
}

impl Stack {
    /// One that is not started.
    pub(super) fn new(profiles: &str) -> anyhow::Result<Self> {
        let engine = Engine::new();
        let secrets = TempDir::new()?;
        let image = engine.stoker_image()?;
        let mut variables = vec![
            ("STOKER_IMAGE".to_owned(), image.to_owned()),
            ("BACKUP_AGENT_IMAGE".to_owned(), image.to_owned()),
            ("COMPOSE_PROFILES".to_owned(), profiles.to_owned()),
            (
                "STOKER_SECRETS".to_owned(),
                secrets.path().display().to_string(),
            ),
        ];
        for port in [
            "SANDBOX_PORT",
            "MINIO_PORT",
            "NGINX_PORT",
            "PROMETHEUS_PORT",
            "ALERTMANAGER_PORT",
        ] {
            variables.push((port.to_owned(), free_port()?.to_string()));
        }
        let peers = required("STOKER_TEST_PEERS_IMAGE");
        variables.extend(PEERS.map(|peer| (format!("{peer}_IMAGE"), peers.clone())));
        variables.extend(STARTED_BY_IMAGE.map(|peer| {
            let image = format!("{peers}-{}", peer.to_lowercase());
            (format!("{peer}_IMAGE"), image)
        }));
        Ok(Self {
            engine,
            secrets,
            variables,
        })
    }

    /// Sets a variable of `.env`.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// What a variable was set to.
    pub(super) fn variable(&self, name: &str) -> &str {
        let set = self.variables.iter().rev().find(|(key, _)| key == name);
        set.map_or("", |(_, value)| value)
    }

    /// `scripts/compose.sh` with these words.
    pub(super) fn compose(&self, args: &[&str]) -> anyhow::Result<String> {
        let mut command = self.engine.command(script("compose.sh"));
        command.envs(self.variables.iter().map(|(key, value)| (key, value)));
        output(command.args(args))
    }

    /// A password, as it is in its file.
    pub(super) fn secret(&self, name: &str) -> anyhow::Result<String> {
        let file = self.secrets.path().join(name);
        fs::read_to_string(&file).with_context(|| file.display().to_string())
    }

    /// All of them, by name.
    pub(super) fn secrets(&self) -> anyhow::Result<Vec<(String, String)>> {
        let files = fs::read_dir(self.secrets.path())?;
        files
            .map(|file| {
                let name = file?.file_name().to_string_lossy().into_owned();
                let secret = self.secret(&name)?;
                Ok((name, secret))
            })
            .collect()
    }

    /// The containers of a service; of all where none is named.
    pub(super) fn containers(&self, service: Option<&str>) -> anyhow::Result<Vec<String>> {
        let mut args = vec![
            "ps".to_owned(),
            "--all".to_owned(),
            "--quiet".to_owned(),
            "--filter=label=com.docker.compose.project=stoker".to_owned(),
        ];
        args.extend(service.map(|s| format!("--filter=label=com.docker.compose.service={s}")));
        let ids = self.engine.docker(args)?;
        Ok(ids.lines().map(str::to_owned).collect())
    }

    /// What the engine knows of a service's only container.
    pub(super) fn inspect(&self, service: &str) -> anyhow::Result<Value> {
        let containers = self.containers(Some(service))?;
        self.engine
            .inspect(containers.first().context("no container")?)
    }

    /// Its address, which this host can reach.
    pub(super) fn address(&self, service: &str) -> anyhow::Result<String> {
        let known = self.inspect(service)?;
        let networks = known["NetworkSettings"]["Networks"].as_object();
        let network = networks.and_then(|n| n.values().next());
        let address = network.and_then(|n| n["IPAddress"].as_str());
        Ok(address.context("no address")?.to_owned())
    }

    /// A command in a service's container.
    pub(super) fn exec(&self, service: &str, args: &[&str]) -> anyhow::Result<String> {
        self.compose(&[&["exec", "-T", service], args].concat())
    }

    /// SQL at a PostgreSQL server, as its superuser.
    pub(super) fn sql(&self, service: &str, database: &str, sql: &str) -> anyhow::Result<String> {
        let psql = [
            "psql", "-h", "/tmp", "-U", "postgres", "-d", database, "-qAtc", sql,
        ];
        Ok(self.exec(service, &psql)?.trim().to_owned())
    }
}

impl Drop for Stack {
    #[expect(
        clippy::print_stderr,
        reason = "what the services said explains why a test failed"
    )]
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Ok(logs) = self.compose(&["logs", "--no-color", "--tail=15"])
        {
            eprintln!("{logs}");
        }
        let down = self.compose(&["down", "--volumes", "--timeout=5"]);
        if !std::thread::panicking() {
            assert!(down.is_ok(), "{down:?}");
        }
    }
}
