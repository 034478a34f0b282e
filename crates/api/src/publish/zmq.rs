//! The crate `zeromq`'s PUSH socket, with what it leaves to its user: it waits long for a listener, never connects
//! again by itself, and notices a dead peer only by writing. So the connection is tried by hand first, a fresh
//! socket is made each time, and the publisher's heartbeats are what finds out that a peer is gone.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use zeromq::{PushSocket, Socket, SocketOptions, SocketSend};

use super::{Transport, TransportError};

/// How long connecting may take, handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A PUSH socket to one push daemon.
pub struct ZmqPush {
    endpoint: String,
    socket: Option<PushSocket>,
}

impl ZmqPush {
    /// For an endpoint such as `tcp://127.0.0.1:8092`; not connected yet.
    #[must_use]
    pub fn new(endpoint: String) -> Self {
        Self { endpoint, socket: None }
    }
}

impl Transport for ZmqPush {
    async fn connect(&mut self) -> Result<(), TransportError> {
        self.socket = None;
        let failed = |error: &dyn std::fmt::Display| TransportError(error.to_string());
        // A refused connection is known at once; the socket itself would try for half a minute.
        let address = self.endpoint.trim_start_matches("tcp://").to_owned();
        timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
            .await
            .map_err(|error| failed(&error))?
            .map_err(|error| failed(&error))?;
        let mut options = SocketOptions::default();
        options.connect_timeout(CONNECT_TIMEOUT);
        let mut socket = PushSocket::with_options(options);
        timeout(CONNECT_TIMEOUT, socket.connect(&self.endpoint))
            .await
            .map_err(|error| failed(&error))?
            .map_err(|error| failed(&error))?;
        self.socket = Some(socket);
        Ok(())
    }

    async fn send(&mut self, frame: Vec<u8>) -> Result<(), TransportError> {
        let socket = self.socket.as_mut().ok_or_else(|| TransportError("not connected".into()))?;
        socket.send(frame.into()).await.map_err(|error| TransportError(error.to_string()))
    }
}
