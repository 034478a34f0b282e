//! A TCP proxy that can be cut, for the link between the daemons.

use std::net::SocketAddr;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the proxy does with connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Bytes pass.
    Whole,
    /// Connections stay, bytes wait: a machine that is cut off without a word.
    Stalled,
    /// Connections are closed, new ones at once.
    Cut,
}

/// A proxy on a port of its own; gone when dropped.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub port: u16,
    link: watch::Sender<Link>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Listens, and forwards to a port on loopback.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn to(target: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", crate::free_port()?)).await?;
        let port = listener.local_addr()?.port();
        let (link, state) = watch::channel(Link::Whole);
        let target = SocketAddr::from(([127, 0, 0, 1], target));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connection(client, target, state.clone()));
            }
        });
        Ok(Self { port, link, task })
    }

    /// Cuts, stalls or restores the link.
    pub fn set(&self, link: Link) {
        self.link.send_replace(link);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.set(Link::Cut);
    }
}

async fn connection(client: TcpStream, target: SocketAddr, mut state: watch::Receiver<Link>) {
    let (up, down) = (state.clone(), state.clone());
    let forward = async {
        let server = TcpStream::connect(target).await?;
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        tokio::select! {
            result = copy(&mut from_client, &mut to_server, up) => result,
            result = copy(&mut from_server, &mut to_client, down) => result,
        }
    };
    tokio::select! {
        _ = forward => {}
        _ = state.wait_for(|link| *link == Link::Cut) => {}
    }
}

async fn copy(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    mut state: watch::Receiver<Link>,
) -> Result<()> {
    let mut buffer = vec![0; 4096];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 || state.wait_for(|link| *link != Link::Stalled).await.is_err() {
            return Ok(());
        }
        to.write_all(buffer.get(..read).unwrap_or_default()).await?;
    }
}
