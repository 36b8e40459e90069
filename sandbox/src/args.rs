//! The sandbox as a command: its arguments.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use stoker_shared::secret::Secret;

use crate::config::{Auth, DEFAULT_MAX_BODY_BYTES, SandboxConfig};
use crate::error::SandboxError;
use crate::faults::FaultRule;

/// Arguments of `stoker sandbox`.
#[derive(Debug, Clone, Args)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub struct SandboxArgs {
    /// Port to listen at; 0 takes a free one
    #[arg(long, default_value_t = 7780)]
    pub port: u16,
    /// Address to listen at
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub listen: IpAddr,
    /// Serve HTTPS, with a certificate authority made at the start
    #[arg(long)]
    pub tls: bool,
    /// Write the authority's certificate to this file, as PEM
    #[arg(long, value_name = "FILE", requires = "tls")]
    pub ca_file: Option<PathBuf>,
    /// Require basic authentication by this user
    #[arg(long)]
    pub user: Option<String>,
    /// The user's password (others on this machine can see it; prefer --password-file)
    #[arg(long, requires = "user", conflicts_with = "password_file")]
    pub password: Option<Secret>,
    /// File with the user's password; line ends at its end do not count
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,
    /// Require this bearer token; where --user is given too, either is enough
    #[arg(long, env = "STOKER_SANDBOX_TOKEN", hide_env_values = true)]
    pub token: Option<Secret>,
    /// Milliseconds by which every answer comes later
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub latency_ms: u64,
    /// Microseconds by which every answer comes later for each resource sent or reindexed
    #[arg(long, value_name = "US", default_value_t = 0)]
    pub latency_per_resource_us: u64,
    /// Refuse a batch as a whole if any entry is invalid, as LinuxForHealth does
    #[arg(long)]
    pub batch_refused_whole: bool,
    /// Refuse references to resources that are not there
    #[arg(long)]
    pub referential_integrity: bool,
    /// Accept and count everything, check and store nothing: a sink for measuring
    #[arg(long)]
    pub null: bool,
    /// So many made-up resources, for $reindex, $retrieve-index and counts alone; they take a byte each
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=100_000_000))]
    pub synthetic: u32,
    /// A fault rule as JSON, e.g. '{"path_contains":"/Patient","every":10,"fault":{"status":{"code":503}}}';
    /// may be repeated
    #[arg(long, value_name = "JSON", value_parser = parse_rule)]
    pub fault: Vec<FaultRule>,
    /// Largest request body in bytes; larger ones answer 413
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_MAX_BODY_BYTES)]
    pub max_body_bytes: usize,
}

impl SandboxArgs {
    /// The configuration these arguments ask for; reads the password file.
    pub fn config(self) -> Result<SandboxConfig, SandboxError> {
        let password = match &self.password_file {
            None => self.password,
            Some(path) => {
                let read = std::fs::read_to_string(path);
                let text = read.map_err(|source| SandboxError::PasswordFile {
                    path: path.clone(),
                    source,
                })?;
                Some(text.trim_end_matches(['\r', '\n']).into())
            }
        };
        let basic = match (self.user, password) {
            (None, _) => None,
            (Some(user), Some(password)) => Some((user, password)),
            (Some(user), None) => return Err(SandboxError::NoPassword { user }),
        };
        Ok(SandboxConfig {
            listen: SocketAddr::new(self.listen, self.port),
            tls: self.tls,
            ca_file: self.ca_file,
            auth: Auth {
                basic,
                bearer: self.token,
            },
            latency: Duration::from_millis(self.latency_ms),
            latency_per_resource: Duration::from_micros(self.latency_per_resource_us),
            batch_refused_whole: self.batch_refused_whole,
            referential_integrity: self.referential_integrity,
            null: self.null,
            synthetic: self.synthetic,
            faults: self.fault,
            max_body_bytes: self.max_body_bytes,
            ..SandboxConfig::default()
        })
    }
}

fn parse_rule(text: &str) -> Result<FaultRule, serde_json::Error> {
    serde_json::from_str(text)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::faults::Fault;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        args: SandboxArgs,
    }

    fn parse(args: &[&str]) -> Result<SandboxArgs, clap::Error> {
        let args = std::iter::once("sandbox").chain(args.iter().copied());
        Command::try_parse_from(args).map(|command| command.args)
    }

    #[test]
    fn arguments_become_a_configuration() {
        let rule = r#"{"times":1,"fault":"hang"}"#;
        let args = [
            "--user",
            "u",
            "--password",
            "geheim",
            "--fault",
            rule,
            "--latency-ms",
            "5",
        ];
        let args = parse(&args).unwrap();
        assert!(!format!("{args:?}").contains("geheim"));
        let config = args.config().unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:7780");
        assert_eq!(config.latency, Duration::from_millis(5));
        assert_eq!(config.faults[0].fault, Fault::Hang);
        assert_eq!(config.auth.basic.unwrap().1.expose(), "geheim");
    }

    #[test]
    fn half_a_login_is_an_error() {
        assert!(parse(&["--password", "x"]).is_err());
        let config = parse(&["--user", "u"]).unwrap().config();
        assert!(matches!(config, Err(SandboxError::NoPassword { .. })));
        assert!(parse(&["--fault", "{}"]).is_err());
    }
}
