//! Why a backup of PostgreSQL could not be made, or is not good.

use std::io;

use stoker_shared::postgres::address::BadUrl;
use stoker_shared::postgres::tls::PostgresTlsError;

use crate::compress::EncodeError;
use crate::repository::RepositoryError;
use crate::tar::TarError;

use super::lsn::Lsn;

/// Why a backup of PostgreSQL could not be made, or is not good. `place` is `host:port`.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The address cannot be used.
    #[error(transparent)]
    Url(#[from] BadUrl),
    /// The certificates that it names cannot be used.
    #[error(transparent)]
    Tls(#[from] PostgresTlsError),
    /// The connection could not be made, or broke.
    #[error("{place}: {doing}: {source}; {}", advice(.source))]
    Connection {
        /// The server.
        place: String,
        /// What was being done.
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The server did not answer in time.
    #[error(
        "{place}: {doing}: no answer within {seconds} s; check the address, that the server is not overloaded, and that \
         no firewall drops what is sent"
    )]
    Silent {
        /// The server.
        place: String,
        /// What was being done.
        doing: &'static str,
        /// How long was waited.
        seconds: u64,
    },
    /// TLS is asked for, and the server has none.
    #[error("{place}: the server offers no TLS; switch it on there, or give sslmode=disable")]
    NoTls {
        /// The server.
        place: String,
    },
    /// The server wants a password, and none is given.
    #[error(
        "{place}: the server asks for the password of {user}; give it with the URL or as password_file"
    )]
    NoPassword {
        /// The server.
        place: String,
        /// Who logs in.
        user: String,
    },
    /// The server wants proof of identity of a kind that is not spoken here.
    #[error(
        "{place}: the server wants to authenticate by {method}; allow scram-sha-256 in pg_hba.conf"
    )]
    Method {
        /// The server.
        place: String,
        /// What it wants.
        method: String,
    },
    /// Something between the server and here does not pass replication on.
    #[error(
        "{place}: this is a connection pool such as pgBouncer, not a PostgreSQL server ({said}); backups need the server's own address"
    )]
    Pool {
        /// The address.
        place: String,
        /// What it said.
        said: String,
    },
    /// The server said no.
    #[error("{place}: {doing}: {said} (SQLSTATE {code}){advice}")]
    Refused {
        /// The server.
        place: String,
        /// What was being done.
        doing: &'static str,
        /// Its SQLSTATE.
        code: String,
        /// Its words.
        said: String,
        /// What to do, where that is known.
        advice: &'static str,
    },
    /// The server is older than what this speaks to.
    #[error("{place}: PostgreSQL {version} is too old; backups need 14 or later")]
    TooOld {
        /// The server.
        place: String,
        /// Its version.
        version: String,
    },
    /// Server-side compression is asked for of a server that has none.
    #[error("{place}: PostgreSQL {version} cannot compress; ask for compression on this side")]
    CannotCompress {
        /// The server.
        place: String,
        /// Its version.
        version: String,
    },
    /// No host is the primary.
    #[error(
        "no primary among the hosts: {0}; name all nodes of the cluster, and see whether it has a primary just now"
    )]
    NoPrimary(String),
    /// Another server, or another timeline, took the place of the one whose backup was begun.
    #[error(
        "{place}: the server failed over in the middle of the backup ({what}); nothing of it is kept: run it again"
    )]
    FailedOver {
        /// The server.
        place: String,
        /// What changed.
        what: String,
    },
    /// The server sent what the protocol does not allow here.
    #[error("{place}: {doing}: not what PostgreSQL sends here ({what})")]
    Protocol {
        /// The server.
        place: String,
        /// What was being done.
        doing: &'static str,
        /// What came.
        what: String,
    },
    /// Bytes are not what the backup's own manifest says.
    #[error("{part}: {file}: {what}; the backup is not good")]
    Damaged {
        /// The part, such as `base.tar`.
        part: String,
        /// The file in it.
        file: String,
        /// What is the matter.
        what: String,
    },
    /// A part is no archive.
    #[error("{part}: {source}; the backup is not good")]
    Tar {
        /// The part.
        part: String,
        /// What is the matter.
        source: TarError,
    },
    /// A part cannot be decompressed.
    #[error("{part}: cannot be decompressed ({source}); the backup is not good")]
    Compressed {
        /// The part.
        part: String,
        /// What is the matter.
        source: io::Error,
    },
    /// The backup manifest is none.
    #[error("backup_manifest: {0}; the backup is not good")]
    Manifest(String),
    /// The log that the backup needs is not all there.
    #[error("the log ends at {reached}, the backup needs it to {needed}; the backup is not good")]
    LogMissing {
        /// Where it ends.
        reached: Lsn,
        /// How far it is needed.
        needed: Lsn,
    },
    /// The repository did not take or give it.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// A part could not be compressed or written.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A thread or task of the backup ended by itself.
    #[error("a part of the backup stopped by itself: {0}")]
    Stopped(String),
}

/// What to do where a connection could not be made, or broke.
fn advice(source: &io::Error) -> &'static str {
    use io::ErrorKind as Kind;
    match source.kind() {
        Kind::ConnectionRefused => {
            "see that the server runs, and listens on that address (listen_addresses, port)"
        }
        Kind::ConnectionReset
        | Kind::ConnectionAborted
        | Kind::BrokenPipe
        | Kind::UnexpectedEof => {
            "see the server's log: it, or something between, ended the connection"
        }
        Kind::InvalidData => {
            "see sslmode and sslrootcert of the address, and the server's certificate"
        }
        Kind::NotFound | Kind::PermissionDenied => {
            "see that the server runs, and that this user may use the folder of its socket"
        }
        _ => "check the host's name, the port, and the network between",
    }
}

impl PostgresError {
    /// Whether a backup that was read is not good; otherwise nothing was learnt of it.
    pub fn is_of_backup(&self) -> bool {
        match self {
            Self::Damaged { .. }
            | Self::Tar { .. }
            | Self::Compressed { .. }
            | Self::Manifest(_)
            | Self::LogMissing { .. } => true,
            Self::Repository(error) => error.is_of_backup(),
            _ => false,
        }
    }
}
