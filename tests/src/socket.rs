//! One WebSocket connection in the native protocol, frame by frame.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::Request;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::wait::PATIENCE;

/// An open socket.
#[derive(Debug)]
pub struct Socket {
    stream: WebSocketStream<TcpStream>,
}

/// How a socket ended: the close code (1006 when the connection was simply gone) and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The close code.
    pub code: u16,
    /// The reason.
    pub reason: String,
}

/// What comes next on a socket.
#[derive(Debug, Clone)]
pub enum Frame {
    /// A JSON text frame.
    Json(Value),
    /// The end.
    Closed(Closed),
}

impl Socket {
    /// Connects and upgrades, with the subprotocol `chaffer.v1`.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn open(url: &str) -> Result<Self> {
        let mut request = url.into_client_request()?;
        request.headers_mut().insert("Sec-WebSocket-Protocol", "chaffer.v1".parse()?);
        Self::open_with(request).await
    }

    /// Connects and upgrades with a request of one's own.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn open_with(request: Request<()>) -> Result<Self> {
        let host = request.uri().host().context("no host")?.to_owned();
        let port = request.uri().port_u16().unwrap_or(80);
        let connect = async {
            let tcp = TcpStream::connect((host, port)).await?;
            tcp.set_nodelay(true)?;
            Ok::<_, anyhow::Error>(tokio_tungstenite::client_async(request, tcp).await?.0)
        };
        let stream = tokio::time::timeout(PATIENCE, connect).await.context("no upgrade")??;
        Ok(Self { stream })
    }

    /// Sends the first frame and reads the welcome.
    ///
    /// # Errors
    /// When anything else comes.
    pub async fn authenticate(&mut self, token: &str, after: Option<i64>) -> Result<Value> {
        let mut auth = json!({"type": "auth", "token": token});
        if let Some(after) = after {
            auth["after"] = after.into();
        }
        self.send(&auth).await?;
        let frame = self.json().await?;
        ensure!(frame["type"] == "welcome", "no welcome: {frame}");
        Ok(frame)
    }

    /// Sends a JSON frame.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send(&mut self, frame: &Value) -> Result<()> {
        self.send_text(&frame.to_string()).await
    }

    /// Sends a text frame.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send_text(&mut self, text: &str) -> Result<()> {
        Ok(self.stream.send(Message::text(text)).await?)
    }

    /// The next JSON frame or the end, however long it takes.
    ///
    /// # Errors
    /// When a frame is not JSON.
    pub async fn next(&mut self) -> Result<Frame> {
        let gone = || Frame::Closed(Closed { code: 1006, reason: String::new() });
        loop {
            return Ok(match self.stream.next().await {
                Some(Ok(Message::Text(text))) => Frame::Json(
                    serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))?,
                ),
                Some(Ok(Message::Close(Some(frame)))) => Frame::Closed(Closed {
                    code: frame.code.into(),
                    reason: frame.reason.to_string(),
                }),
                Some(Ok(Message::Close(None))) => {
                    Frame::Closed(Closed { code: 1005, reason: String::new() })
                }
                Some(Ok(Message::Binary(bytes))) => bail!("a binary frame: {bytes:?}"),
                // Pings are answered by the library while it is read from.
                Some(Ok(_)) => continue,
                Some(Err(Error::Io(_) | Error::Protocol(_) | Error::ConnectionClosed)) | None => {
                    gone()
                }
                Some(Err(error)) => return Err(error.into()),
            });
        }
    }

    /// The next JSON frame that is no cursor.
    ///
    /// # Errors
    /// When the socket ends instead, or nothing comes in time.
    pub async fn json(&mut self) -> Result<Value> {
        let wait = async {
            loop {
                match self.next().await? {
                    Frame::Json(frame) if frame["type"] == "cursor" => {}
                    Frame::Json(frame) => return Ok(frame),
                    Frame::Closed(closed) => bail!("the socket was closed: {closed:?}"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.context("no frame came")?
    }

    /// The next event of that name.
    ///
    /// # Errors
    /// When the socket ends instead, or it does not come in time.
    pub async fn event(&mut self, name: &str) -> Result<Value> {
        loop {
            let frame = self.json().await?;
            if frame["type"] == "event" && frame["event"] == name {
                return Ok(frame);
            }
        }
    }

    /// The answer to what was just sent: the next frame that is no news. News may come at any moment.
    ///
    /// # Errors
    /// When the socket ends instead, or it does not come in time.
    pub async fn answer(&mut self) -> Result<Value> {
        loop {
            let frame = self.json().await?;
            if frame["type"] != "event" && frame["type"] != "cursor" {
                return Ok(frame);
            }
        }
    }

    /// All frames up to the answer to a ping sent now, cursors left out: what was on its way before.
    ///
    /// # Errors
    /// When the socket ends instead.
    pub async fn pending(&mut self) -> Result<Vec<Value>> {
        self.send(&json!({"type": "ping"})).await?;
        let mut frames = Vec::new();
        loop {
            let frame = self.json().await?;
            if frame["type"] == "pong" {
                return Ok(frames);
            }
            frames.push(frame);
        }
    }

    /// Reads to the end.
    ///
    /// # Errors
    /// When it does not come in time.
    pub async fn closed(&mut self, patience: Duration) -> Result<Closed> {
        let wait = async {
            loop {
                if let Frame::Closed(closed) = self.next().await? {
                    return Ok(closed);
                }
            }
        };
        tokio::time::timeout(patience, wait).await.context("the socket stays open")?
    }
}
