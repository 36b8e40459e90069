//! Opening a connection: TCP or a Unix socket, TLS, logging in.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator as _;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use rustls::pki_types::ServerName;
use stoker_shared::postgres::address::{Address, Mode};
use stoker_shared::postgres::tls;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::config::Host;
use tokio_rustls::TlsConnector;

use super::client::{Client, Stream};
use super::error::PostgresError;

const DOING: &str = "connecting";
const LOGGING_IN: &str = "logging in";
/// What the server's views and logs show.
pub(super) const APPLICATION: &str = "stoker-backup-agent";

const DEFAULT_PORT: u16 = 5432;

/// `host:port` of one of an address's hosts.
pub(super) fn place(address: &Address, host: usize) -> String {
    let port = port(address, host);
    match address.config.get_hosts().get(host) {
        Some(Host::Tcp(name)) => format!("{name}:{port}"),
        Some(Host::Unix(folder)) => format!("{}:{port}", folder.display()),
        None => format!("localhost:{port}"),
    }
}

/// Opens it, encrypted as the address asks.
pub(super) async fn open(
    address: &Address,
    host: usize,
    place: &str,
) -> Result<Box<dyn Stream>, PostgresError> {
    let broken = |source| PostgresError::Connection {
        place: place.to_owned(),
        doing: DOING,
        source,
    };
    let port = port(address, host);
    let name = match address.config.get_hosts().get(host) {
        Some(Host::Unix(folder)) => {
            let socket = folder.join(format!(".s.PGSQL.{port}"));
            return Ok(Box::new(UnixStream::connect(socket).await.map_err(broken)?));
        }
        Some(Host::Tcp(name)) => name.as_str(),
        None => "localhost",
    };
    let mut stream = TcpStream::connect((name, port)).await.map_err(broken)?;
    stream.set_nodelay(true).map_err(broken)?;
    let Some(config) = tls::client_config(&address.security)? else {
        return Ok(Box::new(stream));
    };
    if !offers_tls(&mut stream).await.map_err(broken)? {
        if address.security.mode == Mode::Prefer {
            return Ok(Box::new(stream));
        }
        let place = place.to_owned();
        return Err(PostgresError::NoTls { place });
    }
    let server = ServerName::try_from(name.to_owned()).map_err(|e| broken(io::Error::other(e)))?;
    let encrypted = TlsConnector::from(Arc::new(config)).connect(server, stream);
    Ok(Box::new(encrypted.await.map_err(broken)?))
}

/// Says who we are and proves it, until the server is ready for commands.
pub(super) async fn log_in(client: &mut Client, address: &Address) -> Result<(), PostgresError> {
    let user = address.config.get_user().unwrap_or("postgres");
    let parameters = [
        ("user", user),
        ("replication", "true"),
        ("application_name", APPLICATION),
    ];
    let written = frontend::startup_message(parameters, &mut client.output);
    written.map_err(|source| client.broken(LOGGING_IN, source))?;
    client.flush(LOGGING_IN).await?;
    loop {
        match client.message(LOGGING_IN).await? {
            Message::AuthenticationOk | Message::BackendKeyData(_) => {}
            Message::ReadyForQuery(_) => return Ok(()),
            Message::AuthenticationCleartextPassword => {
                let password = password(client, address, user)?;
                answer(client, &password).await?;
            }
            Message::AuthenticationMd5Password(body) => {
                let password = password(client, address, user)?;
                let hashed = md5_hash(user.as_bytes(), &password, body.salt());
                answer(client, hashed.as_bytes()).await?;
            }
            Message::AuthenticationSasl(body) => {
                let mut offered = body.mechanisms();
                let knows = offered.any(|mechanism| Ok(mechanism == SCRAM_SHA_256));
                if !knows.unwrap_or(false) {
                    return Err(unknown(client, "SASL without SCRAM-SHA-256"));
                }
                let password = password(client, address, user)?;
                scram(client, &password).await?;
            }
            Message::AuthenticationGss => return Err(unknown(client, "GSSAPI")),
            Message::AuthenticationKerberosV5 => return Err(unknown(client, "Kerberos")),
            Message::AuthenticationSspi => return Err(unknown(client, "SSPI")),
            _ => return Err(client.odd(LOGGING_IN, "an unexpected message")),
        }
    }
}

async fn offers_tls(stream: &mut TcpStream) -> io::Result<bool> {
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    stream.write_all(&request).await?;
    // One byte and no more: what follows in plain text belongs to nobody who can be trusted.
    Ok(stream.read_u8().await? == b'S')
}

async fn answer(client: &mut Client, password: &[u8]) -> Result<(), PostgresError> {
    let written = frontend::password_message(password, &mut client.output);
    written.map_err(|source| client.broken(LOGGING_IN, source))?;
    client.flush(LOGGING_IN).await
}

async fn scram(client: &mut Client, password: &[u8]) -> Result<(), PostgresError> {
    let mut scram = ScramSha256::new(password, ChannelBinding::unsupported());
    let written =
        frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut client.output);
    written.map_err(|source| client.broken(LOGGING_IN, source))?;
    client.flush(LOGGING_IN).await?;
    let Message::AuthenticationSaslContinue(body) = client.message(LOGGING_IN).await? else {
        return Err(client.odd(LOGGING_IN, "no SCRAM challenge"));
    };
    let proven = scram
        .update(body.data())
        .and_then(|()| frontend::sasl_response(scram.message(), &mut client.output));
    proven.map_err(|source| client.broken(LOGGING_IN, source))?;
    client.flush(LOGGING_IN).await?;
    let Message::AuthenticationSaslFinal(body) = client.message(LOGGING_IN).await? else {
        return Err(client.odd(LOGGING_IN, "no end of SCRAM"));
    };
    let finished = scram.finish(body.data());
    finished.map_err(|source| client.broken(LOGGING_IN, source))
}

fn password(client: &Client, address: &Address, user: &str) -> Result<Vec<u8>, PostgresError> {
    let given = address.config.get_password();
    given
        .map(<[u8]>::to_vec)
        .ok_or_else(|| PostgresError::NoPassword {
            place: client.place().to_owned(),
            user: user.to_owned(),
        })
}

fn unknown(client: &Client, method: &str) -> PostgresError {
    PostgresError::Method {
        place: client.place().to_owned(),
        method: method.to_owned(),
    }
}

/// One port for all hosts, or one for each.
fn port(address: &Address, host: usize) -> u16 {
    let ports = address.config.get_ports();
    let port = ports.get(host).or_else(|| ports.first());
    port.copied().unwrap_or(DEFAULT_PORT)
}
