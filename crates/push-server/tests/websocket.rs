//! RFC 6455 on the wire, and what stands around it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::*;

/// The code of the close frame at the end of these bytes.
fn close_code(bytes: &[u8]) -> Option<u16> {
    let start = bytes.windows(2).position(|pair| pair[0] == 0x88 && usize::from(pair[1]) >= 2)?;
    Some(u16::from_be_bytes([bytes[start + 2], bytes[start + 3]]))
}

#[tokio::test]
async fn a_plain_request_is_told_what_the_proxy_loses() {
    let daemon = Daemon::start().await;
    let (status, body) = http(daemon.websocket, "GET /ws HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(status, 426);
    assert!(body.contains("proxy_set_header Upgrade $http_upgrade"), "{body}");
}

#[tokio::test]
async fn heads_of_16_kib_are_taken_and_longer_ones_refused() {
    let daemon = Daemon::start().await;
    let cookie = "x".repeat(15_000);
    Client::connect(daemon.websocket, &[("Cookie", &cookie)]).await;
    let head = format!("GET / HTTP/1.1\r\nCookie: {}\r\n\r\n", "x".repeat(17_000));
    assert_eq!(http(daemon.websocket, &head).await.0, 431);
}

#[tokio::test]
async fn only_listed_origins_may_connect() {
    let daemon = Daemon::with(ApiState::default(), |config| {
        config.push.allowed_origins = vec!["https://shop.example".into()];
    })
    .await;
    let connect =
        async |origin: &str| Client::try_connect(daemon.websocket, &[("Origin", origin)]).await;
    assert!(connect("https://shop.example").await.is_ok());
    assert!(connect("https://evil.example").await.err().unwrap().to_string().contains("403"));
}

#[tokio::test]
async fn a_handshake_that_stalls_is_closed() {
    let daemon =
        Daemon::with(ApiState::default(), |config| config.push.handshake_seconds = 1).await;
    let mut stream = TcpStream::connect(daemon.websocket).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let mut rest = Vec::new();
    soon("the end", stream.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
    until("the end of the socket", async || daemon.metrics.sockets.get() == 0).await;
}

#[tokio::test]
async fn breaches_of_rfc_6455_are_closed_with_their_code() {
    let daemon = Daemon::start().await;
    let text = 0x81;
    for (name, frames, code) in [
        ("an unmasked frame", vec![text, 2, b'{', b'}'], 1002),
        ("a reserved bit", vec![0xc1, 0x80, 0, 0, 0, 0], 1002),
        ("a reserved opcode", vec![0x83, 0x80, 0, 0, 0, 0], 1002),
        ("a reserved control opcode", vec![0x8b, 0x80, 0, 0, 0, 0], 1002),
        ("a continuation of nothing", vec![0x80, 0x80, 0, 0, 0, 0], 1002),
        ("a ping in fragments", vec![0x09, 0x80, 0, 0, 0, 0], 1002),
        ("a long ping", [&[0x89, 0xfe, 0, 126, 0, 0, 0, 0], [0; 126].as_slice()].concat(), 1002),
        ("text that is not UTF-8", vec![text, 0x81, 0, 0, 0, 0, 0xff], 1007),
        ("a message over the limit", vec![text, 0xff, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0], 1009),
        ("a frame of 2^62 bytes", vec![text, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1009),
        ("a close with half a code", vec![0x88, 0x81, 0, 0, 0, 0, 3], 1002),
        ("a close with an invalid code", vec![0x88, 0x82, 0, 0, 0, 0, 3, 0xec], 1002),
        (
            "a close with a reason that is not UTF-8",
            vec![0x88, 0x83, 0, 0, 0, 0, 3, 0xe8, 0xff],
            1007,
        ),
        ("a good close", vec![0x88, 0x82, 0, 0, 0, 0, 3, 0xe8], 1000),
        ("a close with a code of one's own", vec![0x88, 0x82, 0, 0, 0, 0, 0x0f, 0xa0], 4000),
    ] {
        let mut raw = Raw::connect(daemon.websocket, "").await;
        raw.0.write_all(&frames).await.unwrap();
        raw.0.shutdown().await.unwrap();
        assert_eq!(close_code(&raw.rest().await), Some(code), "{name}");
    }
    let mut raw = Raw::connect(daemon.websocket, "").await;
    raw.send(0x88, b"").await;
    assert_eq!(raw.rest().await, [0x88, 0]);
    until("the end of the sockets", async || daemon.metrics.sockets.get() == 0).await;
}

#[tokio::test]
async fn a_ping_is_answered_with_its_payload_and_fragments_are_joined() {
    let daemon = Daemon::start().await;
    let mut raw = Raw::connect(daemon.websocket, "").await;
    raw.send(0x01, br#"{"type":"#).await;
    raw.send(0x89, b"hello").await;
    raw.send(0x80, br#""ping"}"#).await;
    raw.send(0x88, b"\x03\xe8").await;
    let expected = b"\x8a\x05hello\x81\x0f{\"type\":\"pong\"}\x88\x02\x03\xe8";
    assert_eq!(raw.rest().await, expected);
}

#[tokio::test]
async fn a_message_in_endless_fragments_is_bounded() {
    let daemon = Daemon::start().await;
    let mut raw = Raw::connect(daemon.websocket, "").await;
    raw.send(0x01, &[b'x'; 40_000]).await;
    raw.send(0x00, &[b'x'; 40_000]).await;
    assert_eq!(close_code(&raw.rest().await), Some(1009));
}

#[tokio::test]
async fn frames_that_do_not_wait_for_the_handshakes_answer_are_read() {
    let daemon = Daemon::start().await;
    let mut stream = TcpStream::connect(daemon.websocket).await.unwrap();
    let head = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let early = [head.as_bytes(), b"\x89\x80\0\0\0\0\x88\x82\0\0\0\0\x03\xe8"].concat();
    stream.write_all(&early).await.unwrap();
    let mut rest = Vec::new();
    soon("the end", stream.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.ends_with(b"\r\n\r\n\x8a\0\x88\x02\x03\xe8"), "{rest:?}");
}

#[tokio::test]
async fn a_peer_that_answers_no_ping_is_dropped() {
    let daemon = Daemon::with(ApiState::default(), |config| config.push.ping_seconds = 1).await;
    let (mut alive, _) = daemon.member(&token("8"), None).await;
    let mut dead = Raw::connect(daemon.websocket, "wamp").await;
    until("both sessions", async || daemon.metrics.sessions.get() == 2).await;
    let reading = async {
        loop {
            alive.settle().await;
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let rest = tokio::select! {
        rest = dead.rest() => rest,
        () = reading => unreachable!(),
    };
    assert!(rest.windows(2).filter(|pair| pair == b"\x89\0").count() >= 2, "it was pinged");
    until("the end of the session", async || daemon.metrics.sessions.get() == 1).await;
}

#[tokio::test]
async fn a_client_that_asks_without_reading_is_bounded_too() {
    let daemon = Daemon::with(ApiState::default(), |config| {
        config.push.client_queue_bytes = 100_000;
    })
    .await;
    let mut raw = Raw::connect(daemon.websocket, "").await;
    let pings: Vec<u8> = b"\x89\xfd\0\0\0\0".iter().copied().chain([b'x'; 125]).collect();
    let flood = pings.repeat(100);
    while daemon.metrics.too_slow.get() == 0 {
        if raw.0.write_all(&flood).await.is_err() {
            break;
        }
    }
    until("the end of the socket", async || daemon.metrics.sockets.get() == 0).await;
    assert_eq!(daemon.metrics.too_slow.get(), 1);
}

#[tokio::test]
async fn no_frame_is_split_by_another_however_slowly_they_are_read() {
    let daemon = Daemon::with(ApiState::default(), |config| {
        config.push.client_queue_bytes = 64 << 20;
        // Not so often that a busy machine makes the slow client one that answers none.
        config.push.ping_seconds = 5;
    })
    .await;
    let (mut slow, _) = daemon.member(&token("7"), None).await;
    let mut pusher = daemon.pusher().await;
    let data = format!("\"{}\"", "x".repeat(50_000));
    for id in 1..=400 {
        pusher.publish(&event(Some(id), &["user:7"], "message.created", &data)).await;
    }
    daemon.at(400).await;
    // Pongs join a queue that is full of halves of frames; tungstenite would trip over any that is split.
    for _ in 0..20 {
        slow.say(r#"{"type":"ping"}"#).await;
        futures_util::SinkExt::send(
            &mut slow.socket,
            tokio_tungstenite::tungstenite::Message::Ping(vec![7; 100].into()),
        )
        .await
        .unwrap();
    }
    let (mut id, mut pongs) = (0, 0);
    while id < 400 || pongs < 20 {
        let message = slow.json().await;
        match message["type"].as_str().unwrap() {
            "event" => {
                id += 1;
                assert_eq!(message["id"], id);
            }
            "pong" => pongs += 1,
            _ => {}
        }
    }
}

#[tokio::test]
async fn more_connections_than_1024_descriptors_are_served() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    if limit.maximum.is_some_and(|maximum| maximum < 8192) {
        return;
    }
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let daemon = Daemon::start().await;
    let mut clients = Vec::new();
    for _ in 0..1200 {
        clients.push(daemon.member(&token("7"), None).await.0);
    }
    let mut pusher = daemon.pusher().await;
    pusher.publish(&event(Some(1), &["user:7"], "message.created", "{}")).await;
    for client in &mut clients {
        assert_eq!(client.news().await["id"], 1);
    }
    drop(clients);
    until("the end of the sockets", async || daemon.metrics.sockets.get() == 0).await;
    until("the end of the sessions", async || daemon.metrics.sessions.get() == 0).await;
}
