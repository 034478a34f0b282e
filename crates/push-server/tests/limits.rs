//! Limits per address and in all: floods, and those who must not notice them.

use std::net::SocketAddr;

use chaffer_push::metrics::Limited;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::support::*;

/// Connects from another address of this machine.
async fn connect_from(source: [u8; 4], to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((source, 0)))?;
    socket.connect(to).await
}

/// The head of a request for an upgrade, as a proxy forwards it.
fn upgrade(forwarded: Option<&str>, protocol: &str) -> String {
    let forwarded = forwarded.map(|it| format!("X-Forwarded-For: {it}\r\n")).unwrap_or_default();
    format!(
        "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: {protocol}\r\n{forwarded}\r\n"
    )
}

/// Opens a WebSocket through a proxy on this machine; returns the socket and the answer's head.
async fn through_proxy(daemon: &Daemon, client: &str, protocol: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(daemon.websocket).await.unwrap();
    stream.write_all(upgrade(Some(client), protocol).as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match soon("the answer", stream.read_u8()).await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    (stream, String::from_utf8(head).unwrap())
}

/// Everything until the end, as far as it is text.
async fn rest(stream: &mut TcpStream) -> String {
    let mut rest = Vec::new();
    let _ = soon("the end", stream.read_to_end(&mut rest)).await;
    String::from_utf8_lossy(&rest).into_owned()
}

/// Makes a flood: eight tasks that open connections as fast as they can, and hold the last hundred each.
fn flood<F>(open: impl Fn() -> F + Send + Clone + 'static) -> JoinSet<()>
where
    F: Future<Output = Option<TcpStream>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let open = open.clone();
        tasks.spawn(async move {
            let mut held = std::collections::VecDeque::new();
            loop {
                held.extend(open().await);
                if held.len() > 100 {
                    held.pop_front();
                }
                tokio::task::yield_now().await;
            }
        });
    }
    tasks
}

/// Clients of another address come, authenticate and hear an event, while the flood goes on.
async fn assert_others_are_served(daemon: &Daemon, address: &str) {
    let mut pusher = daemon.pusher().await;
    let last = daemon.metrics.position.get().max(0);
    for id in last + 1..=last + 40 {
        let headers = [("X-Forwarded-For", address)];
        let mut client = Client::try_connect(daemon.websocket, &headers).await.unwrap();
        assert_eq!(client.auth(&token("7"), None).await["type"], "welcome");
        pusher.publish(&event(Some(id), &["user:7"], "message.created", "{}")).await;
        assert_eq!(client.news().await["id"], id);
    }
}

async fn limited_daemon() -> Daemon {
    Daemon::with(ApiState::default(), |config| {
        config.push.max_connections = 2000;
        config.push.max_connections_per_address = 100;
        config.push.max_unauthenticated = 600;
        config.push.max_unauthenticated_per_address = 30;
        config.push.handshakes_per_second = 2000;
        config.push.handshakes_per_second_per_address = 50;
    })
    .await
}

async fn assert_calm_returns(daemon: &Daemon, mut flood: JoinSet<()>) {
    flood.shutdown().await;
    until("the end of the flood", async || daemon.metrics.sockets.get() == 0).await;
    until("the end of its sessions", async || daemon.metrics.sessions.get() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_from_one_forwarded_address_locks_nobody_out() {
    let daemon = limited_daemon().await;
    let to = daemon.websocket;
    for protocol in ["chaffer.v1", "wamp"] {
        let flood = flood(move || async move {
            let mut stream = TcpStream::connect(to).await.ok()?;
            let head = upgrade(Some("1.1.1.1, 6.6.6.6"), protocol);
            stream.write_all(head.as_bytes()).await.ok()?;
            Some(stream)
        });
        let limited = || {
            daemon.metrics.limited(Limited::HandshakesPerAddress)
                + daemon.metrics.limited(Limited::ConnectionsPerAddress)
        };
        let before = limited();
        until("the flood to rise", async || limited() > before + 100).await;
        assert_others_are_served(&daemon, "7.7.7.7").await;
        assert_calm_returns(&daemon, flood).await;
        assert_eq!(daemon.metrics.limited(Limited::Handshakes), 0, "others' share is untouched");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_flood_from_one_address_locks_nobody_out() {
    let daemon = Daemon::with(ApiState::default(), |config| {
        config.push.max_unauthenticated_per_address = 30;
        config.push.handshakes_per_second_per_address = 1000;
    })
    .await;
    let to = daemon.websocket;
    let flood = flood(move || async move { connect_from([127, 0, 0, 2], to).await.ok() });
    let limited = || daemon.metrics.limited(Limited::UnauthenticatedPerAddress);
    until("the flood to rise", async || limited() > 100).await;
    assert_others_are_served(&daemon, "7.7.7.7").await;
    // The victim's own neighbours get through, too: who waits longest gives way, and they do not wait long. One whom the flood
    // overtook all the same tries again.
    until("a neighbour to be heard", async || {
        let mut stream = connect_from([127, 0, 0, 2], to).await.unwrap();
        let mut answer = [0; 12];
        let asked = stream.write_all(upgrade(None, "wamp").as_bytes()).await.is_ok();
        let answered = asked && soon("an answer", stream.read_exact(&mut answer)).await.is_ok();
        assert!(!answered || [b"HTTP/1.1 101", b"HTTP/1.1 429"].contains(&&answer), "{answer:?}");
        answered
    })
    .await;
    assert_calm_returns(&daemon, flood).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_from_this_machine_leaves_room_for_those_behind_the_proxy() {
    let daemon = limited_daemon().await;
    let to = daemon.websocket;
    let flood = flood(move || async move {
        let mut stream = TcpStream::connect(to).await.ok()?;
        stream.write_all(upgrade(None, "chaffer.v1").as_bytes()).await.ok()?;
        Some(stream)
    });
    let limited = || daemon.metrics.limited(Limited::UnauthenticatedPerAddress);
    until("the flood to rise", async || limited() > 100).await;
    assert_others_are_served(&daemon, "7.7.7.7").await;
    assert_calm_returns(&daemon, flood).await;
}

#[tokio::test]
async fn whoever_is_turned_away_is_told_by_which_setting_and_when_to_come_back() {
    let daemon = Daemon::with(ApiState::default(), |config| {
        config.push.max_connections = 4;
        config.push.max_connections_per_address = 2;
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let (stream, head) = through_proxy(&daemon, "6.6.6.6", "wamp").await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        held.push(stream);
    }
    let (mut stream, head) = through_proxy(&daemon, "6.6.6.6", "wamp").await;
    assert!(head.starts_with("HTTP/1.1 429 Too Many Requests\r\nRetry-After: "), "{head}");
    assert!(rest(&mut stream).await.contains("push.max_connections_per_address"));
    for address in ["7.7.7.7", "8.8.8.8"] {
        held.push(through_proxy(&daemon, address, "wamp").await.0);
    }
    until("four sessions", async || daemon.metrics.sessions.get() == 4).await;
    // From outside the proxy, so before its request is read.
    let mut stream = connect_from([127, 0, 0, 2], daemon.websocket).await.unwrap();
    stream.write_all(upgrade(None, "wamp").as_bytes()).await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\nRetry-After: "), "{answer}");
    assert!(answer.contains("push.max_connections,"), "{answer}");
    assert_eq!(daemon.metrics.limited(Limited::ConnectionsPerAddress), 1);
    assert_eq!(daemon.metrics.limited(Limited::Connections), 1);
    let (_, metrics) = daemon.get("/metrics").await;
    assert!(metrics.contains("limited_total{reason=\"connections_per_address\"} 1\n"), "{metrics}");
}

#[tokio::test]
async fn whoever_opens_connections_too_fast_is_told_so() {
    let daemon = Daemon::with(ApiState::default(), |config| {
        config.push.handshakes_per_second_per_address = 1;
    })
    .await;
    let answer = async || {
        let mut stream = connect_from([127, 0, 0, 2], daemon.websocket).await.unwrap();
        // No upgrade, so every answer ends: failed handshakes count, too.
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
        rest(&mut stream).await
    };
    let mut answers = Vec::new();
    while daemon.metrics.limited(Limited::HandshakesPerAddress) == 0 {
        answers.push(answer().await);
    }
    let last = answers.pop().unwrap();
    assert!(answers.len() >= 5 && answers.iter().all(|it| it.starts_with("HTTP/1.1 426 ")));
    assert!(last.starts_with("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\n"), "{last}");
    assert!(last.contains("push.handshakes_per_second_per_address"), "{last}");
}

#[tokio::test]
async fn those_who_do_not_authenticate_give_way_and_those_who_have_stay() {
    let daemon = Daemon::with(ApiState::default(), |config| {
        config.push.max_unauthenticated_per_address = 2;
    })
    .await;
    let headers = [("X-Forwarded-For", "6.6.6.6")];
    let connect = async || Client::connect(daemon.websocket, &headers).await;
    let mut member = connect().await;
    assert_eq!(member.auth(&token("7"), None).await["type"], "welcome");
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = connect().await;
        client.settle().await;
        clients.push(client);
    }
    for client in &mut clients[..2] {
        assert_eq!(client.closed().await.0, 1013);
    }
    for client in &mut clients[2..] {
        assert_eq!(client.auth(&token("8"), None).await["type"], "welcome");
    }
    member.settle().await;
    assert_eq!(daemon.metrics.limited(Limited::UnauthenticatedPerAddress), 2);
}

/// They have shaken hands, and when they are closed they do not close their side.
#[tokio::test(flavor = "multi_thread")]
async fn those_who_give_way_and_take_their_time_are_bounded_too() {
    let daemon = Daemon::with(ApiState::default(), |config| {
        config.push.max_unauthenticated_per_address = 2;
        config.push.handshakes_per_second = 0;
        config.push.handshakes_per_second_per_address = 0;
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..400 {
        let (stream, head) = through_proxy(&daemon, "6.6.6.6", "chaffer.v1").await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        held.push(stream);
        // Two who wait, 128 who are told why they must go, and some that are just ending.
        let sockets = daemon.metrics.sockets.get();
        assert!(sockets <= 2 + 128 + 40, "{sockets} sockets");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_strangers_on_the_pusher_port_do_not_keep_the_shop_out() {
    let daemon = Daemon::with(ApiState::default(), |config| config.push.max_pushers = 1000).await;
    let mut steady = daemon.pusher().await;
    let to = daemon.pusher;
    let flood = flood(move || async move { TcpStream::connect(to).await.ok() });
    let limited = || daemon.metrics.limited(Limited::UnauthenticatedPerAddress);
    until("the flood to rise", async || limited() > 100).await;
    for n in 0..40 {
        // As a script does: a connection of its own, everything in one go.
        let mut script = TcpStream::connect(to).await.unwrap();
        let message = format!(r#"{{"category":"kittens","n":{n}}}"#);
        let hello = [greeting(1, "NULL"), ready("PUSH"), zmtp_frame(message.as_bytes())].concat();
        script.write_all(&hello).await.unwrap();
        steady.push(br#"{"category":"kittens"}"#).await;
        until("both messages", async || daemon.metrics.legacy_events.get() == (n + 1) * 2).await;
    }
    let mut flood = flood;
    flood.shutdown().await;
    until("the end of the strangers", async || daemon.metrics.pushers.get() == 1).await;
}

#[tokio::test]
async fn no_more_pushers_than_allowed_are_taken() {
    let daemon = Daemon::with(ApiState::default(), |config| config.push.max_pushers = 3).await;
    let mut pushers = Vec::new();
    for _ in 0..3 {
        pushers.push(daemon.pusher().await);
    }
    // Idle ones are the shop's, and stay; the newcomer is closed.
    let mut stream = TcpStream::connect(daemon.pusher).await.unwrap();
    assert_eq!(rest(&mut stream).await, "");
    assert_eq!(daemon.metrics.limited(Limited::ConnectionsPerAddress), 1);
    pushers.pop();
    until("a free place", async || daemon.metrics.pushers.get() == 2).await;
    daemon.pusher().await.push(br#"{"category":"kittens"}"#).await;
    until("the message", async || daemon.metrics.legacy_events.get() == 1).await;
}
