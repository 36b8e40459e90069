//! A gate before a real server: closed, the server is gone for those who go through it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::ports::free_port;

/// See the [module](self).
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    server: String,
    open: Mutex<Option<AbortOnDropHandle<()>>>,
    is_silent: Arc<AtomicBool>,
}

impl Gate {
    /// An open gate before `server` (`host:port`).
    pub async fn before(server: &str) -> anyhow::Result<Self> {
        let gate = Self {
            address: SocketAddr::from(([127, 0, 0, 1], free_port()?)),
            server: server.to_owned(),
            open: Mutex::default(),
            is_silent: Arc::default(),
        };
        gate.open().await?;
        Ok(gate)
    }

    /// Where to go through it.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Breaks all connections and takes no new ones.
    pub fn close(&self) {
        self.set(None);
    }

    /// Whether requests go through and answers are kept back: the server acts, and nobody hears of it.
    pub fn keep_answers(&self, keep: bool) {
        self.is_silent.store(keep, Ordering::SeqCst);
    }

    /// Takes connections again.
    pub async fn open(&self) -> anyhow::Result<()> {
        let listener = TcpListener::bind(self.address).await?;
        let server: Arc<str> = self.server.as_str().into();
        let is_silent = Arc::clone(&self.is_silent);
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((inside, _)) = listener.accept().await {
                let (server, is_silent) = (Arc::clone(&server), Arc::clone(&is_silent));
                connections.spawn(async move {
                    if let Ok(outside) = TcpStream::connect(&*server).await {
                        pass(inside, outside, &is_silent).await;
                    }
                });
            }
        });
        self.set(Some(AbortOnDropHandle::new(serving)));
        Ok(())
    }

    fn set(&self, open: Option<AbortOnDropHandle<()>>) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = open;
    }
}

/// How a connection ends is told to both sides by its end.
async fn pass(mut inside: TcpStream, mut outside: TcpStream, is_silent: &AtomicBool) {
    let (mut from_inside, mut to_inside) = inside.split();
    let (mut from_outside, mut to_outside) = outside.split();
    let requests = async {
        let _ = copy(&mut from_inside, &mut to_outside).await;
        let _ = to_outside.shutdown().await;
    };
    let answers = async {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(length @ 1..) = from_outside.read(&mut buffer).await {
            let some = buffer.get(..length).unwrap_or_default();
            if !is_silent.load(Ordering::SeqCst) && to_inside.write_all(some).await.is_err() {
                break;
            }
        }
        let _ = to_inside.shutdown().await;
    };
    tokio::join!(requests, answers);
}
