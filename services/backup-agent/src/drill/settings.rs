//! The throwaway server's own configuration, in the place of the backup's, which may want what is not here: addresses,
//! certificates, memory, an archive to write to.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use super::DrillError;
use super::throwaway::{Throwaway, unusable};

/// Recovery of a backup needs no setting of the original's, but room for the transactions that were prepared.
const OWN: &str = "\
listen_addresses = ''
unix_socket_permissions = 0700
port = 5432
ssl = off
archive_mode = off
fsync = off
autovacuum = off
max_wal_senders = 0
max_connections = 20
max_prepared_transactions = 256
shared_buffers = '128MB'
shared_preload_libraries = ''
logging_collector = off
log_destination = 'stderr'
";

/// Writes it.
pub(super) fn put(
    throwaway: &Throwaway,
    more: &BTreeMap<String, String>,
) -> Result<(), DrillError> {
    let data = throwaway.data();
    let socket = quoted(&throwaway.folder().display().to_string());
    let mut settings = format!("{OWN}unix_socket_directories = {socket}\n");
    for (name, value) in more {
        // Writing to a text cannot fail.
        let _ = writeln!(settings, "{name} = {}", quoted(value));
    }
    for (name, content) in [
        ("postgresql.conf", settings.as_str()),
        ("postgresql.auto.conf", ""),
        ("pg_hba.conf", "local all all trust\n"),
        ("pg_ident.conf", ""),
    ] {
        let path = data.join(name);
        // Files that are made here are their maker's.
        let written = fs::write(&path, content).and_then(|()| throwaway.give(&path));
        written.map_err(unusable(&path))?;
    }
    for name in ["standby.signal", "recovery.signal"] {
        let path = data.join(name);
        if path.exists() {
            fs::remove_file(&path).map_err(unusable(&path))?;
        }
    }
    Ok(())
}

/// A value as `postgresql.conf` wants it.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}
