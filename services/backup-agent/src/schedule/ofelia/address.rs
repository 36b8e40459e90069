//! Which server a job backs up.

use stoker_shared::postgres::address::{self, Address, Security};
use tokio_postgres::Config;

use super::NativeJob;

impl NativeJob {
    /// The server, as libpq would find it; fails with the reason why it cannot be told.
    pub fn address(&self) -> Result<Address, String> {
        let text = self.connection.as_ref().map_or("", |text| text.expose());
        let mut address = if text.contains("://") {
            address::parse(text).map_err(|e| e.to_string())?
        } else {
            // The library's error may show what it could not read.
            let config: Result<Config, _> = text.parse();
            let unusable = |_| {
                "its connection string (-d) has a parameter that is not known here; write it as a postgres:// URL"
                    .to_owned()
            };
            Address {
                config: config.map_err(unusable)?,
                security: Security::default(),
            }
        };
        // What the connection string says goes before the other options, as pg_basebackup has it.
        let config = &mut address.config;
        if let Some(host) = self.host.as_ref().filter(|_| config.get_hosts().is_empty()) {
            config.host(host);
        }
        if let Some(port) = self.port.filter(|_| config.get_ports().is_empty()) {
            config.port(port);
        }
        if let Some(user) = self.user.as_ref().filter(|_| config.get_user().is_none()) {
            config.user(user);
        }
        let password = self.password.as_ref();
        if let Some(password) = password.filter(|_| config.get_password().is_none()) {
            config.password(password.expose());
        }
        Ok(address)
    }
}
