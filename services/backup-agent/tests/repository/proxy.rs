//! A way to a server on which things go wrong, connection by connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What becomes of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fate {
    /// Each request on it is answered with this status, by nobody who knows.
    Status(u16),
    /// It breaks after so many bytes of requests and so many of answers.
    Breaks(u64, u64),
    /// It carries so many bytes a second of each.
    Slow(u64),
}

/// See the [module](self); ends when dropped.
pub(crate) struct Proxy {
    pub(crate) address: String,
    connections: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Proxy {
    /// A way to `server` on which `fate` decides.
    pub(crate) async fn before(
        server: String,
        mut fate: impl FnMut() -> Fate + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connections = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&connections);
        let serving = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let (fate, server) = (fate(), server.clone());
                // How a connection ends is told to both sides by its end.
                tokio::spawn(async move { serve(client, &server, fate).await });
            }
        });
        Self {
            address,
            connections,
            serving,
        }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(mut client: TcpStream, server: &str, fate: Fate) -> std::io::Result<()> {
    match fate {
        Fate::Status(status) => {
            let mut head = vec![0; 64 << 10];
            let _ = client.read(&mut head).await?;
            let answer =
                format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            client.write_all(answer.as_bytes()).await?;
            // Until the client has seen it: what is not read would break the connection before.
            let mut nowhere = tokio::io::sink();
            let drained = copy(&mut client, &mut nowhere);
            let _ = tokio::time::timeout(Duration::from_secs(1), drained).await;
        }
        Fate::Breaks(asked, answered) => {
            let mut server = TcpStream::connect(server).await?;
            let (mut from_client, mut to_client) = client.split();
            let (mut from_server, mut to_server) = server.split();
            tokio::select! {
                ended = pass(&mut from_client, &mut to_server, asked) => ended?,
                ended = pass(&mut from_server, &mut to_client, answered) => ended?,
            }
        }
        Fate::Slow(rate) => {
            let mut server = TcpStream::connect(server).await?;
            let (mut from_client, mut to_client) = client.split();
            let (mut from_server, mut to_server) = server.split();
            tokio::select! {
                ended = trickle(&mut from_client, &mut to_server, rate) => ended?,
                ended = trickle(&mut from_server, &mut to_client, rate) => ended?,
            }
        }
    }
    Ok(())
}

async fn trickle(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    rate: u64,
) -> std::io::Result<()> {
    let mut piece = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut piece).await?;
        if read == 0 {
            return Ok(());
        }
        to.write_all(&piece[..read]).await?;
        let takes = u64::try_from(read).unwrap() * 1_000_000 / rate;
        tokio::time::sleep(Duration::from_micros(takes)).await;
    }
}

async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    bytes: u64,
) -> std::io::Result<()> {
    copy(&mut from.take(bytes), to).await.map(drop)
}
