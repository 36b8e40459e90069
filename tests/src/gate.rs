//! A gate before a real server: closed, the server is gone for those who go through it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::copy_bidirectional;
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
}

impl Gate {
    /// An open gate before `server` (`host:port`).
    pub async fn before(server: &str) -> anyhow::Result<Self> {
        let gate = Self {
            address: SocketAddr::from(([127, 0, 0, 1], free_port()?)),
            server: server.to_owned(),
            open: Mutex::default(),
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

    /// Takes connections again.
    pub async fn open(&self) -> anyhow::Result<()> {
        let listener = TcpListener::bind(self.address).await?;
        let server: Arc<str> = self.server.as_str().into();
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut inside, _)) = listener.accept().await {
                let server = Arc::clone(&server);
                connections.spawn(async move {
                    if let Ok(mut outside) = TcpStream::connect(&*server).await {
                        // How a connection ends is told to both sides by its end.
                        let _ = copy_bidirectional(&mut inside, &mut outside).await;
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
