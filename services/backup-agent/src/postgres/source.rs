//! Which server to back up: the primary among the hosts of an address.

use std::path::PathBuf;

use stoker_shared::postgres::address::{self, Address, Mode};
use tokio_postgres::config::Host;

use super::client::{Client, System};
use super::error::PostgresError;

/// Older servers make no manifests, or not all that is needed.
const OLDEST: u32 = 14;

/// One or more hosts of which one is the primary.
#[derive(Debug, Clone)]
pub struct Source {
    address: Address,
}

/// A primary, connected to.
#[derive(Debug)]
pub struct Primary {
    /// The connection.
    pub client: Client,
    /// Who it is.
    pub system: System,
    host: usize,
}

impl Source {
    /// The hosts of an address.
    pub fn of(address: Address) -> Self {
        Self { address }
    }

    /// `postgres://user:password@one:5432,two:5432/?sslmode=…`; the database is of no account.
    pub fn parse(url: &str) -> Result<Self, PostgresError> {
        let address = address::parse(url)?;
        Ok(Self { address })
    }

    /// The same with another password.
    #[must_use]
    pub fn with_password(mut self, password: &str) -> Self {
        self.address.config.password(password);
        self
    }

    /// Connects to the host that is no standby: of several, as after a failover from which the old primary came back,
    /// to the one on the highest timeline. A pool in front of it is an error at once: others behind it may be anything.
    pub async fn primary(&self) -> Result<Primary, PostgresError> {
        let hosts = self.address.config.get_hosts().len().max(1);
        let (mut found, mut saw) = (None::<Primary>, Vec::new());
        for host in 0..hosts {
            match self.look(host).await {
                Ok(Ok(primary)) => {
                    let timeline = primary.system.timeline;
                    if found
                        .as_ref()
                        .is_none_or(|best| best.system.timeline < timeline)
                    {
                        found = Some(primary);
                    }
                }
                Ok(Err(standby)) => saw.push(standby),
                Err(error) if hosts == 1 => return Err(error),
                Err(error @ PostgresError::Pool { .. }) => return Err(error),
                Err(error) => saw.push(error.to_string()),
            }
        }
        found.ok_or_else(|| PostgresError::NoPrimary(saw.join("; ")))
    }

    /// Another connection to the host of that primary; fails where another server answers there by now.
    pub async fn again(&self, primary: &Primary) -> Result<Client, PostgresError> {
        let mut client = Client::connect(&self.address, primary.host).await?;
        let system = client.identify().await?;
        same(client.place(), &primary.system, &system)?;
        Ok(client)
    }

    /// How libpq is told to connect to that primary, without the password:
    /// <https://www.postgresql.org/docs/current/libpq-connect.html>.
    pub(crate) fn conninfo(&self, primary: &Primary) -> String {
        let (config, security) = (&self.address.config, &self.address.security);
        let host = match config.get_hosts().get(primary.host) {
            Some(Host::Tcp(name)) => name.clone(),
            Some(Host::Unix(folder)) => folder.display().to_string(),
            None => "localhost".to_owned(),
        };
        let ports = config.get_ports();
        let port = ports.get(primary.host).or_else(|| ports.first());
        let mode = match security.mode {
            Mode::Disable => "disable",
            Mode::Prefer => "prefer",
            Mode::Require => "require",
            Mode::VerifyCa => "verify-ca",
            Mode::VerifyFull => "verify-full",
        };
        let file = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let all = [
            ("host", Some(host)),
            ("port", port.map(u16::to_string)),
            ("user", config.get_user().map(str::to_owned)),
            ("application_name", Some("stoker".to_owned())),
            ("sslmode", Some(mode.to_owned())),
            ("sslrootcert", file(&security.root_cert)),
            ("sslcert", file(&security.cert)),
            ("sslkey", file(&security.key)),
        ];
        let given = all.into_iter().filter_map(|(key, value)| {
            let value = value?.replace('\\', "\\\\").replace('\'', "\\'");
            Some(format!("{key}='{value}'"))
        });
        given.collect::<Vec<_>>().join(" ")
    }

    /// The password, where there is one.
    pub(crate) fn password(&self) -> Option<&[u8]> {
        self.address.config.get_password()
    }

    async fn look(&self, host: usize) -> Result<Result<Primary, String>, PostgresError> {
        let mut client = Client::connect(&self.address, host).await?;
        if client.major() < OLDEST {
            return Err(PostgresError::TooOld {
                place: client.place().to_owned(),
                version: client.version().to_owned(),
            });
        }
        let system = client.identify().await?;
        if client.is_standby() {
            return Ok(Err(format!("{} is a standby", client.place())));
        }
        Ok(Ok(Primary {
            client,
            system,
            host,
        }))
    }
}

/// Fails where a server is another than before, or on another timeline.
pub(super) fn same(place: &str, was: &System, is: &System) -> Result<(), PostgresError> {
    let what = if was.identifier != is.identifier {
        format!("system {} became {}", was.identifier, is.identifier)
    } else if was.timeline != is.timeline {
        format!("timeline {} became {}", was.timeline, is.timeline)
    } else {
        return Ok(());
    };
    Err(PostgresError::FailedOver {
        place: place.to_owned(),
        what,
    })
}
