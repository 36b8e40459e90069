//! Repositories of both kinds, and short words for what is done with backups in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use backup_agent::drill;
use backup_agent::manifest::{Manifest, Proof, StoreKind, VERSION};
use backup_agent::postgres::{self, HowMuch, Options, PostgresError, Progress, Source, capture};
use backup_agent::repository::{self, Repository, RepositoryOptions};
use backup_agent::restore::{self, Order, Places, RestoreError, Start};
use backup_agent::server::User;
use stoker_shared::clock::{Clock as _, ManualClock, SharedClock, SystemClock};
use stoker_shared::object_store::S3Config;
use stoker_tests::minio::{ACCESS_KEY, Minio, SECRET_KEY};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::server::{self, Server, Version};

pub(crate) const BUCKET: &str = "backups";
const PREFIX: &str = "some/prefix";

/// An empty repository, and room beside it that servers can enter.
pub(crate) struct World {
    pub(crate) url: String,
    pub(crate) minio: Option<Minio>,
    folder: TempDir,
}

impl World {
    pub(crate) fn folder() -> Self {
        let folder = server::folder();
        Self {
            url: format!("file://{}/backups", folder.path().display()),
            minio: None,
            folder,
        }
    }

    pub(crate) async fn s3() -> Self {
        let minio = Minio::start().await.unwrap();
        minio.make_bucket(BUCKET).await.unwrap();
        Self {
            url: format!("s3://{BUCKET}/{PREFIX}"),
            minio: Some(minio),
            folder: server::folder(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `host:port` of the S3 service; empty for a folder.
    pub(crate) fn address(&self) -> String {
        let endpoint = self.minio.as_ref().map(Minio::endpoint).unwrap_or_default();
        endpoint.replace("http://", "")
    }

    pub(crate) fn open(&self) -> Arc<dyn Repository> {
        self.open_by(&self.address())
    }

    /// By another address of the service.
    pub(crate) fn open_by(&self, address: &str) -> Arc<dyn Repository> {
        repository::open(&self.url, &options(address), Arc::new(SystemClock)).unwrap()
    }

    /// What is in the repository and belongs to no backup.
    pub(crate) async fn left_behind(&self) -> Vec<String> {
        let repository = self.open();
        let mut paths = self.paths().await;
        for name in repository.names().await.unwrap() {
            let manifest = repository.manifest(&name).await.unwrap();
            let parts = manifest.parts.iter().map(|part| part.name.as_str());
            for file in parts.chain(["manifest.json"]) {
                let of_it = |path: &String| {
                    path.starts_with(&format!("{name}/")) && path.ends_with(&format!("/{file}"))
                };
                let at = paths.iter().position(of_it);
                paths.remove(at.unwrap_or_else(|| panic!("{name}/{file} is not there")));
            }
        }
        paths
    }

    /// Whether what is left behind goes within a time; what nobody knows of goes in a day.
    pub(crate) async fn is_tidy(&self, within: Duration, told: &str) -> bool {
        let begun = Instant::now();
        while !self.left_behind().await.is_empty() {
            if begun.elapsed() > within {
                let clock = Arc::new(ManualClock::new(SystemClock.now()));
                clock.advance(Duration::from_hours(25));
                let tomorrow = repository::open(&self.url, &options(&self.address()), clock);
                tomorrow.unwrap().clean(&[]).await.unwrap();
                assert_eq!(self.left_behind().await, [""; 0], "{told}");
                return false;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        true
    }

    async fn paths(&self) -> Vec<String> {
        let Some(minio) = &self.minio else {
            return files(&self.path("backups"));
        };
        let listed = minio.client().list_objects_v2().bucket(BUCKET).send();
        let objects = listed.await.unwrap().contents.unwrap_or_default();
        let keys = objects.into_iter().map(|object| object.key.unwrap());
        let mut paths: Vec<_> = keys
            .map(|key| key.replace(&format!("{PREFIX}/"), ""))
            .collect();
        let uploads = minio.uploads().unwrap();
        paths.extend(uploads.iter().map(|path| path.display().to_string()));
        paths
    }

    /// Changes the stored bytes of a part behind the repository's back.
    pub(crate) async fn change(&self, name: &str, part: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let paths = self.paths().await.into_iter();
        let mut paths = paths.filter(|path| {
            path.starts_with(&format!("{name}/")) && path.ends_with(&format!("/{part}"))
        });
        let path = paths.next().unwrap();
        let Some(minio) = &self.minio else {
            let file = self.path("backups").join(path);
            let mut bytes = std::fs::read(&file).unwrap();
            change(&mut bytes);
            return std::fs::write(file, bytes).unwrap();
        };
        let key = format!("{PREFIX}/{path}");
        let get = minio.client().get_object().bucket(BUCKET).key(&key);
        let got = get.send().await.unwrap().body.collect().await.unwrap();
        let mut bytes = got.to_vec();
        change(&mut bytes);
        minio.put(BUCKET, &key, bytes).await.unwrap();
    }

    /// A restore into a new folder.
    pub(crate) fn order(&self, backup: &str, into: &str, start: Option<Version>) -> Order {
        order(backup, self.path(into), start)
    }
}

fn files(root: &Path) -> Vec<String> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        let entries: Vec<_> = std::fs::read_dir(&folder).into_iter().flatten().collect();
        if entries.is_empty() && folder != root {
            found.push(below(root, &folder));
        }
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(below(root, &path));
            }
        }
    }
    found
}

fn below(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap().display().to_string()
}

pub(crate) fn options(address: &str) -> RepositoryOptions {
    RepositoryOptions {
        s3: S3Config {
            endpoint: (!address.is_empty()).then(|| format!("http://{address}")),
            access_key: Some(ACCESS_KEY.to_owned()),
            secret_key: Some(SECRET_KEY.into()),
            ..S3Config::default()
        },
        ..RepositoryOptions::default()
    }
}

/// Backs up a server, and commits that.
pub(crate) async fn back_up(
    url: &str,
    repository: &dyn Repository,
    name: &str,
    options: &Options,
) -> anyhow::Result<Manifest> {
    let source = Source::parse(url)?;
    let clock: SharedClock = Arc::new(SystemClock);
    let (progress, _) = watch::channel(Progress::default());
    let started = clock.now();
    let draft = repository.begin(name).await?;
    let captured = match capture(&source, options, &*draft, &clock, &progress).await {
        Ok(captured) => captured,
        Err(error) => {
            // Where this fails too, the next start cleans.
            let _ = draft.abandon().await;
            return Err(error.into());
        }
    };
    let manifest = Manifest {
        manifest_version: VERSION,
        name: name.to_owned(),
        store: StoreKind::Postgresql,
        source: "fhir".to_owned(),
        engine: "native".to_owned(),
        started,
        ended: clock.now(),
        parts: captured.parts,
        about: captured.about,
        elsewhere: None,
        parent: None,
        verified: None,
        proof: None,
    };
    draft.commit(&manifest).await?;
    Ok(manifest)
}

/// Reads all of a backup back.
pub(crate) async fn verify(
    repository: &dyn Repository,
    backup: &Manifest,
) -> Result<(), PostgresError> {
    let (done, _) = watch::channel(0);
    postgres::verify(repository, backup, HowMuch::All, &done)
        .await
        .map(drop)
}

/// Reads back every backup that there is; answers their names.
pub(crate) async fn verify_all(repository: &dyn Repository) -> anyhow::Result<Vec<String>> {
    let names = repository.names().await?;
    for name in &names {
        verify(repository, &repository.manifest(name).await?).await?;
    }
    Ok(names)
}

pub(crate) async fn drill(
    repository: &dyn Repository,
    backup: &str,
    scratch: &Path,
    version: Version,
) -> Result<Proof, drill::DrillError> {
    let order = drill::Order {
        backup: backup.to_owned(),
        scratch: scratch.to_owned(),
        programs: programs_of(version),
        user: None,
        role: "postgres".to_owned(),
        patience: Duration::from_mins(1),
        settings: BTreeMap::new(),
        canaries: Vec::new(),
        pgbackrest: backup_agent::pgbackrest::Program::default(),
    };
    let clock: SharedClock = Arc::new(SystemClock);
    drill::drill(repository, &order, &clock, &progress()).await
}

/// None for those that are found without being told.
fn programs_of(version: Version) -> Option<PathBuf> {
    (version == Version::Old).then(|| version.programs())
}

pub(crate) fn order(backup: &str, into: PathBuf, start: Option<Version>) -> Order {
    Order {
        backup: backup.to_owned(),
        into,
        tablespaces: Places::Mapped(Vec::new()),
        owner: User::for_server(None).unwrap(),
        conf: None,
        overwrite: false,
        durable: false,
        start: start.map(|version| Start {
            programs: programs_of(version),
            patience: Duration::from_mins(1),
        }),
        pgbackrest: backup_agent::pgbackrest::Program::default(),
    }
}

pub(crate) fn progress() -> watch::Sender<restore::Progress> {
    watch::channel(restore::Progress::default()).0
}

/// A restored server that runs; ended when dropped.
pub(crate) struct Restored {
    pub(crate) port: u16,
    programs: PathBuf,
    data: PathBuf,
}

impl Restored {
    /// Restores, has `pg_verifybackup` look, and starts it with a port of its own.
    pub(crate) async fn of(
        repository: &dyn Repository,
        order: &Order,
        of: &Server,
    ) -> Result<Self, RestoreError> {
        restore::restore(repository, order, &progress()).await?;
        let mut looks = vec![server::text(&order.into)];
        if of.version == Version::Old {
            // What reads the log reads only that of its own version.
            looks.push("--no-parse-wal");
        }
        // It leads to where tablespaces are now.
        if order.tablespaces != Places::Mapped(Vec::new()) {
            looks.push("--ignore=tablespace_map");
        }
        server::run(&server::newest(), "pg_verifybackup", &looks);
        Ok(Self::start(order.into.clone(), of.version))
    }

    /// Starts the server of a restored folder with a port of its own.
    pub(crate) fn start(data: PathBuf, version: Version) -> Self {
        let (programs, port) = (version.programs(), stoker_tests::ports::free_port());
        let (port, log) = (port.unwrap(), data.with_extension("log"));
        let options = format!("-p {port} -c unix_socket_directories={}", data.display());
        let (folder, log) = (server::text(&data), server::text(&log));
        let start = ["-D", folder, "-w", "-s", "-l", log, "-o", &options, "start"];
        server::run(&programs, "pg_ctl", &start);
        Self {
            port,
            programs,
            data,
        }
    }

    pub(crate) async fn number(&self, query: &str) -> i64 {
        server::number_at(self.port, query).await
    }

    /// All tables and indexes are sound.
    pub(crate) fn is_sound(&self) {
        let port = self.port.to_string();
        let looks = ["-h", "127.0.0.1", "-p", &port, "-U", "postgres"];
        let what = ["--heapallindexed", "--install-missing", "--all"];
        server::run(
            &server::newest(),
            "pg_amcheck",
            &[&looks[..], &what].concat(),
        );
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        server::stop(&self.programs, &self.data, "postgres");
    }
}

/// Waits until something holds; fails where it does not in a minute.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !holds().await {
        assert!(Instant::now() < deadline, "not in a minute: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
