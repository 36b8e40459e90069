//! A connection that speaks PostgreSQL's replication protocol:
//! <https://www.postgresql.org/docs/current/protocol-replication.html>.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use fallible_iterator::FallibleIterator as _;
use postgres_protocol::message::backend::{self, DataRowBody, ErrorFields, Message};
use postgres_protocol::message::frontend;
use stoker_shared::postgres::address::Address;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};

use super::connect;
use super::error::PostgresError;
use super::lsn::Lsn;

/// A server that does not answer is taken for gone. Nothing that takes long is waited for with it.
pub(super) const ANSWER: Duration = Duration::from_secs(10);

/// Where less room than this is left, more is had before reading.
const READ: usize = 256 << 10;

/// The tag of `CopyBothResponse`, which the crate does not know.
const COPY_BOTH: u8 = b'W';

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

/// A connection that speaks the replication protocol. Dropped, the server ends what it was doing for it, and its temporary slots.
pub struct Client {
    stream: Box<dyn Stream>,
    input: BytesMut,
    pub(super) output: BytesMut,
    place: String,
    parameters: HashMap<String, String>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.place)
    }
}

/// What comes from the server.
pub(super) enum Incoming {
    Message(Message),
    CopyBoth,
}

/// A row, each value in its text form.
pub(super) type Row = Vec<Option<Bytes>>;

/// Who a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// The system identifier: the same for a primary and its standbys.
    pub identifier: String,
    /// The timeline.
    pub timeline: u32,
    /// Where its log ends.
    pub at: Lsn,
}

impl Client {
    /// Connects to one of an address's hosts, by its number.
    pub async fn connect(address: &Address, host: usize) -> Result<Self, PostgresError> {
        let place = connect::place(address, host);
        let silent = |_| PostgresError::Silent {
            place: place.clone(),
            doing: "connecting",
            seconds: ANSWER.as_secs(),
        };
        let connecting = async {
            let stream = connect::open(address, host, &place).await?;
            let mut client = Self::over(stream, place.clone());
            connect::log_in(&mut client, address).await?;
            Ok(client)
        };
        tokio::time::timeout(ANSWER, connecting)
            .await
            .map_err(silent)?
    }

    fn over(stream: Box<dyn Stream>, place: String) -> Self {
        Self {
            stream,
            input: BytesMut::with_capacity(READ),
            output: BytesMut::new(),
            place,
            parameters: HashMap::new(),
        }
    }

    /// `host:port`.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The server's version as it tells it, such as `15.18 (Debian 15.18-0+deb12u1)`.
    pub fn version(&self) -> &str {
        self.parameters
            .get("server_version")
            .map_or("?", String::as_str)
    }

    /// The major version; 0 where the server does not tell it.
    pub fn major(&self) -> u32 {
        let digits = self.version().split(|c: char| !c.is_ascii_digit()).next();
        digits.and_then(|d| d.parse().ok()).unwrap_or(0)
    }

    /// Whether the server follows another.
    pub fn is_standby(&self) -> bool {
        self.parameters.get("in_hot_standby").map(String::as_str) == Some("on")
    }

    /// Who the server is.
    pub async fn identify(&mut self) -> Result<System, PostgresError> {
        let doing = "asking who it is";
        let row = self.row("IDENTIFY_SYSTEM", doing).await?;
        let (identifier, timeline) = (text(&row, 0), text(&row, 1));
        let at = text(&row, 2).and_then(|at| at.parse().ok());
        let timeline = timeline.and_then(|timeline| timeline.parse().ok());
        match (identifier, timeline, at) {
            (Some(identifier), Some(timeline), Some(at)) => Ok(System {
                identifier,
                timeline,
                at,
            }),
            _ => Err(self.odd(doing, "not a system, a timeline and a position")),
        }
    }

    /// A setting of the server, as `SHOW` tells it.
    pub async fn show(&mut self, setting: &str) -> Result<String, PostgresError> {
        let doing = "asking for a setting";
        let row = self.row(&format!("SHOW {setting}"), doing).await?;
        text(&row, 0).ok_or_else(|| self.odd(doing, "no value"))
    }

    /// The first row of what a short command answers.
    pub(super) async fn row(
        &mut self,
        sql: &str,
        doing: &'static str,
    ) -> Result<Row, PostgresError> {
        let row = self.command(sql, doing).await?;
        row.ok_or_else(|| self.odd(doing, "no row"))
    }

    /// Has a short command done; answers the first row, if there is one.
    pub(super) async fn command(
        &mut self,
        sql: &str,
        doing: &'static str,
    ) -> Result<Option<Row>, PostgresError> {
        self.query(sql, doing).await?;
        self.answer(doing).await
    }

    /// What is left of the answer to a short command.
    pub(super) async fn answer(
        &mut self,
        doing: &'static str,
    ) -> Result<Option<Row>, PostgresError> {
        let deadline = Instant::now() + ANSWER;
        let mut first = None;
        loop {
            let message = timeout_at(deadline, self.message(doing)).await;
            let message = message.map_err(|_| PostgresError::Silent {
                place: self.place.clone(),
                doing,
                seconds: ANSWER.as_secs(),
            })?;
            match message? {
                Message::DataRow(row) if first.is_none() => {
                    first = Some(self.values(&row, doing)?);
                }
                Message::ReadyForQuery(_) => return Ok(first),
                _ => {}
            }
        }
    }

    /// Sends a command; its answer is read by [`Client::next`].
    pub(super) async fn query(
        &mut self,
        sql: &str,
        doing: &'static str,
    ) -> Result<(), PostgresError> {
        let written = frontend::query(sql, &mut self.output);
        written.map_err(|source| self.broken(doing, source))?;
        self.flush(doing).await
    }

    /// Sends what is in `output`.
    pub(super) async fn flush(&mut self, doing: &'static str) -> Result<(), PostgresError> {
        let sent = async {
            self.stream.write_all_buf(&mut self.output).await?;
            self.stream.flush().await
        };
        let sent = sent.await;
        sent.map_err(|source| self.broken(doing, source))
    }

    /// The next message that is no notice; what the server refuses is an error. Nothing is lost where it is dropped
    /// before it ends.
    pub(super) async fn next(&mut self, doing: &'static str) -> Result<Incoming, PostgresError> {
        loop {
            match self.parse(doing)? {
                Some(Incoming::Message(Message::ErrorResponse(body))) => {
                    return Err(self.refused(doing, body.fields()));
                }
                Some(Incoming::Message(Message::NoticeResponse(body))) => {
                    let said = said(body.fields()).1;
                    tracing::debug!(server = %self.place, said, "the server remarks");
                }
                Some(Incoming::Message(Message::ParameterStatus(body))) => {
                    if let (Ok(name), Ok(value)) = (body.name(), body.value()) {
                        self.parameters.insert(name.to_owned(), value.to_owned());
                    }
                }
                Some(incoming) => return Ok(incoming),
                None => self.read(doing).await?,
            }
        }
    }

    /// The next message, where none that opens a copy in both directions can come.
    pub(super) async fn message(&mut self, doing: &'static str) -> Result<Message, PostgresError> {
        match self.next(doing).await? {
            Incoming::Message(message) => Ok(message),
            Incoming::CopyBoth => Err(self.odd(doing, "a copy in both directions")),
        }
    }

    /// A row's values.
    pub(super) fn values(
        &self,
        row: &DataRowBody,
        doing: &'static str,
    ) -> Result<Row, PostgresError> {
        let values = row
            .ranges()
            .map(|range| Ok(range.map(|range| row.buffer_bytes().slice(range))))
            .collect();
        values.map_err(|source| self.broken(doing, source))
    }

    /// The error for what the protocol does not allow.
    pub(super) fn odd(&self, doing: &'static str, what: impl Into<String>) -> PostgresError {
        PostgresError::Protocol {
            place: self.place.clone(),
            doing,
            what: what.into(),
        }
    }

    /// The error for a connection that broke.
    pub(super) fn broken(&self, doing: &'static str, source: io::Error) -> PostgresError {
        PostgresError::Connection {
            place: self.place.clone(),
            doing,
            source,
        }
    }

    fn parse(&mut self, doing: &'static str) -> Result<Option<Incoming>, PostgresError> {
        let header = backend::Header::parse(&self.input);
        let Some(header) = header.map_err(|source| self.broken(doing, source))? else {
            return Ok(None);
        };
        let whole = usize::try_from(header.len())
            .unwrap_or(usize::MAX)
            .saturating_add(1);
        if header.tag() == COPY_BOTH && self.input.len() >= whole {
            self.input.advance(whole);
            return Ok(Some(Incoming::CopyBoth));
        }
        if self.input.len() < whole {
            return Ok(None);
        }
        let parsed = Message::parse(&mut self.input);
        let message = parsed.map_err(|source| self.broken(doing, source))?;
        Ok(message.map(Incoming::Message))
    }

    async fn read(&mut self, doing: &'static str) -> Result<(), PostgresError> {
        if self.input.capacity() - self.input.len() < READ / 4 {
            self.input.reserve(READ);
        }
        let read = self.stream.read_buf(&mut self.input).await;
        match read.map_err(|source| self.broken(doing, source))? {
            0 => Err(self.broken(doing, io::ErrorKind::UnexpectedEof.into())),
            _ => Ok(()),
        }
    }

    fn refused(&self, doing: &'static str, fields: ErrorFields<'_>) -> PostgresError {
        let (code, said) = said(fields);
        let place = self.place.clone();
        let pool = said.contains("unsupported startup parameter")
            || (code == "42601" && said.contains("IDENTIFY_SYSTEM"));
        if pool {
            return PostgresError::Pool { place, said };
        }
        PostgresError::Refused {
            place,
            doing,
            advice: advice(&code),
            code,
            said,
        }
    }
}

/// SQLSTATE and message of an error or notice.
fn said(mut fields: ErrorFields<'_>) -> (String, String) {
    let (mut code, mut message) = (String::new(), String::new());
    while let Ok(Some(field)) = fields.next() {
        let value = || String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'C' => code = value(),
            b'M' => message = value(),
            _ => {}
        }
    }
    (code, message)
}

fn advice(code: &str) -> &'static str {
    match code {
        "28000" | "28P01" => {
            "; check user, password and a line `host replication USER …` in pg_hba.conf"
        }
        "42501" => "; grant it: ALTER ROLE … REPLICATION",
        "53300" => "; raise max_wal_senders, of which a backup takes two",
        "53400" => "; raise max_replication_slots, of which a backup takes one",
        "57P01" | "57P02" => "; the server was stopped: run the backup again",
        "57P03" => "; the server is starting or stopping: try again",
        "58P01" => "; the log was removed before it was sent: raise wal_keep_size",
        "XX001" => "; the database itself is damaged: see the server's log",
        _ => "",
    }
}

/// A value of a row as text.
pub(super) fn text(row: &Row, at: usize) -> Option<String> {
    let value = row.get(at)?.as_ref()?;
    std::str::from_utf8(value).ok().map(ToOwned::to_owned)
}
