//! Many rows to a statement, and few texts of statements: told by what goes over the wire.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use stoker_tests::ports::free_port;
use stoker_tests::remote_index::Captured;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::scene::Scene;

/// What was asked of PostgreSQL, over all connections.
#[derive(Debug, Default)]
struct Asked {
    /// How often each text was parsed.
    parsed: BTreeMap<String, usize>,
    /// Executions, of prepared statements and of plain texts.
    executed: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_take_many_rows_and_are_parsed_once() {
    let scene = Scene::plain().await;
    let captured = Captured::updates().unwrap();
    captured.load_before(&scene.database).await.unwrap();
    let (rest, database) = scene.database.url.rsplit_once('/').unwrap();
    let (user, server) = rest.rsplit_once('@').unwrap();
    let (port, asked) = listen(server.to_owned()).await;
    let url = format!("database.url={user}@127.0.0.1:{port}/{database}?sslmode=disable");
    let messages = captured.messages().unwrap();
    scene.send(&messages).await;
    let _indexer = scene.indexer(&[&url]);
    scene.until_done().await;
    let rows = captured.expected().unwrap().len();
    {
        let asked = asked.lock().unwrap();
        assert!(
            asked.executed > 0,
            "nothing went over the wire that was watched"
        );
        assert!(
            asked.executed * 20 < rows,
            "{} statements for {rows} rows",
            asked.executed
        );
        let again: Vec<_> = asked
            .parsed
            .iter()
            .filter(|(_, times)| **times > 2)
            .collect();
        assert!(again.is_empty(), "parsed again and again: {again:?}");
        let keys: Vec<_> = messages
            .iter()
            .map(|message| message.key.as_str())
            .collect();
        let ids: BTreeSet<&str> = keys
            .iter()
            .filter_map(|key| key.split('/').nth(1))
            .collect();
        let with_values = asked
            .parsed
            .keys()
            .find(|text| ids.iter().any(|id| text.contains(id)));
        assert_eq!(with_values, None, "values are part of a statement's text");
    }
    scene.end().await;
}

/// Listens before PostgreSQL and counts.
async fn listen(server: String) -> (u16, Arc<Mutex<Asked>>) {
    let port = free_port().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let asked = Arc::new(Mutex::new(Asked::default()));
    let counts = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (from_client, mut to_client) = client.into_split();
            let outside = TcpStream::connect(&server).await.unwrap();
            // Two small writes in a row would wait for each other.
            outside.set_nodelay(true).unwrap();
            let (mut from_server, to_server) = outside.into_split();
            let counts = Arc::clone(&counts);
            // How a connection ends is told to both sides by its end.
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
            tokio::spawn(async move { count(from_client, to_server, &counts).await });
        }
    });
    (port, asked)
}

/// Passes messages of PostgreSQL's protocol on. The first has no type: it opens the connection.
async fn count(
    client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    asked: &Mutex<Asked>,
) -> std::io::Result<()> {
    let mut client = BufReader::new(client);
    let mut is_first = true;
    loop {
        let kind = if is_first { 0 } else { client.read_u8().await? };
        let length = client.read_u32().await?;
        let mut body = vec![0; length as usize - 4];
        client.read_exact(&mut body).await?;
        let mut message = if is_first { vec![] } else { vec![kind] };
        message.extend(length.to_be_bytes());
        message.extend(&body);
        server.write_all(&message).await?;
        is_first = false;
        note(kind, &body, &mut asked.lock().unwrap());
    }
}

/// Parse (name, text), Execute and Query (text) of the protocol's chapter "Message Formats".
fn note(kind: u8, body: &[u8], asked: &mut Asked) {
    let text = |n: usize| {
        let text = body.split(|byte| *byte == 0).nth(n).unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    };
    match kind {
        b'P' => *asked.parsed.entry(text(1)).or_default() += 1,
        b'E' => asked.executed += 1,
        b'Q' => {
            asked.executed += 1;
            asked.parsed.entry(text(0)).or_insert(0);
        }
        _ => {}
    }
}
