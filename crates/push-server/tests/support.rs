//! A daemon in this process, a fake of the API's internal calls, pushers and clients.

use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chaffer_push::metrics::Metrics;
use chaffer_push::{Server, ServerError};
use chaffer_shared::config::Config;
use chaffer_shared::event::{Event, EventId, Frame, Missed, Revocations, RevokedTopic};
use chaffer_shared::health::{Presence, UserPresence};
use chaffer_shared::link::LinkKeys;
use chaffer_shared::token::{Bearer, Claims, Grant, TokenKeys};
use chaffer_shared::topic::Topic;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_util::sync::CancellationToken;

pub const LINK_KEY: &str = "0123456789abcdef0123456789abcdef";
pub const TOKEN_KEY: &str = "k1:0123456789abcdef0123456789abcdef";

/// Long enough for a busy machine; a test that works never waits for it.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

/// Waits for a condition that nothing announces.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    soon(what, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Whether something that `scripts/test` installs is missing here. In CI that is a failure, not a reason to skip.
pub fn missing(what: &str, is_there: bool) -> bool {
    if !is_there {
        let in_ci = std::env::var("CI").is_ok_and(|value| !value.is_empty());
        assert!(!in_ci, "{what} is not installed");
        let _ = writeln!(std::io::stderr(), "SKIPPED: {what} is not installed; run scripts/test");
    }
    !is_there
}

pub fn link_keys() -> LinkKeys {
    LinkKeys::parse(&[LINK_KEY.into()]).unwrap()
}

pub fn token_keys() -> TokenKeys {
    TokenKeys::parse(&[TOKEN_KEY.into()]).unwrap()
}

pub fn claims(user: &str, topics: &[&str], ttl_seconds: i64) -> Claims {
    let topics = topics.iter().map(|topic| topic.parse().unwrap()).collect();
    Claims::new(Bearer::User, user, topics, "j", chaffer_shared::time::now(), ttl_seconds)
}

/// A token of a user who hears their own topic.
pub fn token(user: &str) -> String {
    token_for(user, &[&format!("user:{user}")])
}

pub fn token_for(user: &str, topics: &[&str]) -> String {
    token_keys().sign(&claims(user, topics, 600)).unwrap()
}

pub fn grant(user: &str, users: &[&str]) -> String {
    let users = users.iter().map(ToString::to_string).collect();
    token_keys().sign_grant(&Grant::new(user, users, chaffer_shared::time::now(), 600)).unwrap()
}

/// A stored event (or, without an id, an ephemeral one).
pub fn event(id: Option<EventId>, topics: &[&str], name: &str, data: &str) -> Event {
    Event {
        id,
        prev: id.map(|id| id - 1),
        src: "api-1".into(),
        topics: topics.iter().map(|topic| topic.parse().unwrap()).collect(),
        event: name.into(),
        at: chaffer_shared::time::now(),
        request_id: None,
        data: RawValue::from_string(data.into()).unwrap(),
    }
}

pub fn signed(frame: &Frame) -> Vec<u8> {
    link_keys().sign(&serde_json::to_vec(frame).unwrap()).unwrap()
}

/// What the API has stored, and whether it answers.
#[derive(Default)]
pub struct ApiState {
    pub events: Vec<Event>,
    pub last: EventId,
    pub oldest: EventId,
    pub revocations: Vec<RevokedTopic>,
    /// Who was reported to have gone.
    pub gone: Vec<UserPresence>,
    pub down: bool,
    pub questions: usize,
}

#[derive(Clone)]
pub struct FakeApi {
    pub address: SocketAddr,
    state: Arc<Mutex<ApiState>>,
}

impl FakeApi {
    pub async fn start(state: ApiState) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::new(Mutex::new(ApiState { oldest: state.oldest.max(1), ..state })),
        };
        let shared = api.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let api = shared.clone();
                let service = service_fn(move |request| {
                    let api = api.clone();
                    async move {
                        let (head, body): (_, Incoming) = Request::into_parts(request);
                        let body = body.collect().await.unwrap().to_bytes();
                        Ok::<_, Infallible>(api.answer(&Request::from_parts(head, body)))
                    }
                });
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
            }
        });
        api
    }

    pub fn with<T>(&self, change: impl FnOnce(&mut ApiState) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    /// Stores an event, as if it had been committed but not (yet) published.
    pub fn store(&self, topics: &[&str], name: &str, data: &str) -> Event {
        self.with(|state| {
            state.last += 1;
            let event = event(Some(state.last), topics, name, data);
            state.events.push(event.clone());
            event
        })
    }

    fn answer(&self, request: &Request<Bytes>) -> Response<Full<Bytes>> {
        let status =
            |status: u16| Response::builder().status(status).body(Full::new(Bytes::new())).unwrap();
        let bearer = format!("Bearer {}", link_keys().internal_bearer().unwrap());
        if request.headers().get("authorization").is_none_or(|value| *value != *bearer) {
            return status(401);
        }
        self.with(|state| {
            state.questions += 1;
            if state.down {
                return status(503);
            }
            let body = match request.uri().path() {
                "/internal/v1/events" => {
                    let query = url::form_urlencoded::parse(
                        request.uri().query().unwrap_or_default().as_bytes(),
                    );
                    let number = |name: &str| {
                        let (_, value) = query.clone().find(|(key, _)| key == name)?;
                        value.parse::<i64>().ok()
                    };
                    let limit = usize::try_from(number("limit").unwrap()).unwrap();
                    assert!(limit <= 1000);
                    let after = number("after").unwrap_or(EventId::MAX);
                    let events = state.events.iter().filter(|event| event.id.unwrap() > after);
                    serde_json::to_vec(&Missed {
                        events: events.take(limit).cloned().map(Frame::Event).collect(),
                        last: state.last,
                        oldest: state.oldest,
                    })
                }
                "/internal/v1/revocations" => {
                    serde_json::to_vec(&Revocations { revocations: state.revocations.clone() })
                }
                "/internal/v1/last-seen" => {
                    assert_eq!(request.method(), "PUT");
                    state
                        .gone
                        .extend(serde_json::from_slice::<Presence>(request.body()).unwrap().users);
                    return status(204);
                }
                _ => return status(404),
            };
            Response::new(Full::new(body.unwrap().into()))
        })
    }
}

pub struct Daemon {
    pub websocket: SocketAddr,
    pub pusher: SocketAddr,
    pub http: SocketAddr,
    pub metrics: Arc<Metrics>,
    pub api: FakeApi,
    stop: CancellationToken,
    task: JoinHandle<Result<(), ServerError>>,
}

impl Daemon {
    pub async fn start() -> Self {
        Self::with(ApiState::default(), |_| {}).await
    }

    pub async fn with(state: ApiState, change: impl FnOnce(&mut Config)) -> Self {
        Self::beside(FakeApi::start(state).await, change)
    }

    /// A daemon beside an API that is there already.
    pub fn beside(api: FakeApi, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        config.push.websocket_listen = any;
        config.push.pusher_listen = any;
        config.push.http_listen = any;
        config.push.api_url = Some(format!("http://{}", api.address));
        config.push.legacy_topics =
            ["kittens*", "a", "before", "first", "last"].map(Into::into).into();
        config.keys.link = vec![LINK_KEY.into()];
        config.keys.token = vec![TOKEN_KEY.into()];
        change(&mut config);
        let server = Server::bind(config).unwrap();
        let stop = CancellationToken::new();
        Self {
            websocket: server.websocket_address(),
            pusher: server.pusher_address(),
            http: server.http_address(),
            metrics: server.metrics(),
            api,
            stop: stop.clone(),
            task: tokio::spawn(server.run(stop)),
        }
    }

    pub fn begin_to_stop(&self) {
        self.stop.cancel();
    }

    pub async fn ended(mut self) -> Result<(), ServerError> {
        soon("the daemon to stop", &mut self.task).await.unwrap()
    }

    pub async fn pusher(&self) -> Pusher {
        Pusher::connect(self.pusher).await
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.websocket, &[]).await
    }

    /// A native client that is welcome already.
    pub async fn member(&self, token: &str, after: Option<EventId>) -> (Client, Value) {
        let mut client = self.client().await;
        let welcome = client.auth(token, after).await;
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        (client, welcome)
    }

    /// A WAMP client that has its welcome.
    pub async fn wamp(&self) -> Client {
        let mut client =
            Client::connect(self.websocket, &[("Sec-WebSocket-Protocol", "wamp")]).await;
        assert_eq!(client.json().await[0], 0);
        client
    }

    pub async fn get(&self, path: &str) -> (u16, String) {
        http(self.http, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
            .await
    }

    pub async fn at(&self, position: EventId) {
        until("the position", async || self.metrics.position.get() == position).await;
    }
}

/// One request and its whole answer, with a connection of its own.
pub async fn http(address: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon("an HTTP answer", stream.read_to_string(&mut answer)).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap_or_default().parse().unwrap_or_default();
    (status, answer)
}

/// A PUSH socket of ZMTP 3.1, by hand.
pub struct Pusher {
    pub stream: TcpStream,
}

/// A ZMTP greeting: signature, version, mechanism.
pub fn greeting(minor: u8, mechanism: &str) -> Vec<u8> {
    let mut bytes = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, minor];
    bytes.extend_from_slice(mechanism.as_bytes());
    bytes.resize(64, 0);
    bytes
}

pub fn ready(socket_type: &str) -> Vec<u8> {
    let mut body = b"\x05READY\x0bSocket-Type\0\0\0".to_vec();
    body.push(u8::try_from(socket_type.len()).unwrap());
    body.extend_from_slice(socket_type.as_bytes());
    [&[4, u8::try_from(body.len()).unwrap()], body.as_slice()].concat()
}

pub fn zmtp_frame(message: &[u8]) -> Vec<u8> {
    match u8::try_from(message.len()) {
        Ok(length) => [&[0, length], message].concat(),
        Err(_) => [&[2], (message.len() as u64).to_be_bytes().as_slice(), message].concat(),
    }
}

impl Pusher {
    pub async fn connect(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&[greeting(1, "NULL"), ready("PUSH")].concat()).await.unwrap();
        // Our greeting and READY.
        let mut hello = [0; 64 + 28];
        soon("the greeting", stream.read_exact(&mut hello)).await.unwrap();
        Self { stream }
    }

    pub async fn push(&mut self, message: &[u8]) {
        self.stream.write_all(&zmtp_frame(message)).await.unwrap();
    }

    pub async fn publish(&mut self, event: &Event) {
        self.push(&signed(&Frame::Event(event.clone()))).await;
    }

    pub async fn heartbeat(&mut self, last: EventId) {
        self.push(&signed(&Frame::Heartbeat { src: "api-1".into(), last })).await;
    }
}

pub struct Client {
    pub socket: WebSocketStream<TcpStream>,
    pub response: tungstenite::handshake::client::Response,
}

impl Client {
    pub async fn connect(address: SocketAddr, headers: &[(&'static str, &str)]) -> Self {
        Self::try_connect(address, headers).await.unwrap()
    }

    pub async fn try_connect(
        address: SocketAddr,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, tungstenite::Error> {
        let mut request = format!("ws://{address}/ws").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let stream = TcpStream::connect(address).await.unwrap();
        let shake = tokio_tungstenite::client_async(request, stream);
        let (socket, response) = soon("the handshake", shake).await?;
        Ok(Self { socket, response })
    }

    pub async fn say(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// The next text.
    pub async fn text(&mut self) -> String {
        loop {
            match soon("a text", self.socket.next()).await {
                Some(Ok(Message::Text(text))) => return text.to_string(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("expected a text, got {other:?}"),
            }
        }
    }

    pub async fn json(&mut self) -> Value {
        serde_json::from_str(&self.text().await).unwrap()
    }

    /// The next message that is no cursor.
    pub async fn news(&mut self) -> Value {
        loop {
            let message = self.json().await;
            if message["type"] != "cursor" {
                return message;
            }
        }
    }

    pub async fn auth(&mut self, token: &str, after: Option<EventId>) -> Value {
        let mut auth = serde_json::json!({"type": "auth", "token": token});
        if let Some(after) = after {
            auth["after"] = after.into();
        }
        self.say(&auth.to_string()).await;
        self.json().await
    }

    /// The code and reason of the close frame; texts before it are let go.
    pub async fn closed(&mut self) -> (u16, String) {
        loop {
            match soon("a close frame", self.socket.next()).await {
                Some(Ok(Message::Close(Some(frame)))) => {
                    return (frame.code.into(), frame.reason.to_string());
                }
                Some(Ok(Message::Close(None))) => return (1005, String::new()),
                Some(Ok(_)) => {}
                other => panic!("expected a close frame, got {other:?}"),
            }
        }
    }

    /// A round trip: whatever was sent before has arrived by its end.
    pub async fn settle(&mut self) {
        self.say(r#"{"type":"ping"}"#).await;
        assert_eq!(self.news().await["type"], "pong");
    }
}

/// A WebSocket by hand: whatever bytes are wanted.
pub struct Raw(pub TcpStream);

impl Raw {
    pub async fn connect(address: SocketAddr, protocol: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let protocol = if protocol.is_empty() {
            String::new()
        } else {
            format!("Sec-WebSocket-Protocol: {protocol}\r\n")
        };
        let head = format!(
            "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{protocol}\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(soon("the answer", stream.read_u8()).await.unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 101 "));
        Self(stream)
    }

    /// Sends a frame with a mask of zeros, which leaves the payload as it is.
    pub async fn send(&mut self, first: u8, payload: &[u8]) {
        let mut frame = vec![first];
        match payload.len() {
            length @ 0..126 => frame.push(0x80 | u8::try_from(length).unwrap()),
            length => {
                frame.push(0x80 | 127);
                frame.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload);
        self.0.write_all(&frame).await.unwrap();
    }

    /// Everything until the peer closes.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut rest = BytesMut::new();
        loop {
            match soon("the end", self.0.read_buf(&mut rest)).await {
                Ok(0) | Err(_) => return rest.to_vec(),
                Ok(_) => {}
            }
        }
    }
}

pub fn topic(text: &str) -> Topic {
    text.parse().unwrap()
}

impl Drop for Daemon {
    /// As `kill -9` would: nobody is told anything.
    fn drop(&mut self) {
        self.task.abort();
    }
}
