//! The pusher port: a test for each row of the table in protocols.md.

use chaffer_push::metrics::{Dropped, Refused};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use zeromq::{Socket, SocketSend};

use crate::support::*;

/// Connects and sends these bytes.
async fn stranger(daemon: &Daemon, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(daemon.pusher).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

/// Everything until the daemon closes.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let _ = soon("the end", stream.read_to_end(&mut rest)).await;
    rest
}

async fn legacy_events(daemon: &Daemon, count: u64) {
    until("the messages", async || daemon.metrics.legacy_events.get() == count).await;
}

#[tokio::test]
async fn our_signature_is_sent_at_accept_and_the_rest_when_the_peers_version_is_known() {
    let daemon = Daemon::start().await;
    let mut stream = TcpStream::connect(daemon.pusher).await.unwrap();
    let mut opening = [0; 11];
    soon("the signature", stream.read_exact(&mut opening)).await.unwrap();
    assert_eq!(opening, [0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3]);
    let greeting = greeting(1, "NULL");
    stream.write_all(&greeting[..11]).await.unwrap();
    let mut rest = [0; 53];
    soon("the greeting", stream.read_exact(&mut rest)).await.unwrap();
    assert_eq!(&rest[..5], b"\x01NULL");
    stream.write_all(&greeting[11..]).await.unwrap();
    let mut ready = [0; 28];
    soon("READY", stream.read_exact(&mut ready)).await.unwrap();
    assert!(ready.starts_with(b"\x04\x1a\x05READY"));
}

#[tokio::test]
async fn a_zmtp_2_0_peer_is_accepted() {
    let daemon = Daemon::start().await;
    let hello = [0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 1, 8, 0, 0];
    let bytes = [hello.as_slice(), &zmtp_frame(br#"{"category":"a"}"#)].concat();
    let mut stream = stranger(&daemon, &bytes).await;
    let mut answer = [0; 14];
    soon("our socket type", stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer[11..], [7, 0, 0]);
    legacy_events(&daemon, 1).await;
}

#[tokio::test]
async fn ping_is_answered_with_the_same_context_also_to_a_3_0_peer() {
    let daemon = Daemon::start().await;
    let hello =
        [greeting(0, "NULL"), ready("PUSH"), b"\x04\x17\x04PING\0\x0a0123456789abcdef".to_vec()]
            .concat();
    let mut stream = stranger(&daemon, &hello).await;
    let mut answer = [0; 64 + 28 + 23];
    soon("PONG", stream.read_exact(&mut answer)).await.unwrap();
    assert!(answer.ends_with(b"\x04\x15\x04PONG0123456789abcdef"));
    stream.write_all(&zmtp_frame(br#"{"category":"a"}"#)).await.unwrap();
    legacy_events(&daemon, 1).await;
}

#[tokio::test]
async fn what_is_dropped_is_counted_with_its_reason_and_the_peer_lives_on() {
    let daemon = Daemon::start().await;
    let mut pusher = daemon.pusher().await;
    pusher.stream.write_all(b"\x01\x01a\0\x02{}").await.unwrap();
    for message in [
        &b""[..],
        b"[1]",
        b" {}",
        b"\xef\xbb\xbf{}",
        b"{\"category\":\"\xff\"}",
        b"{",
        b"{}",
        br#"{"category":"dogs"}"#,
        br#"{"category":"user:7"}"#,
        b"chaffer1 0000\n{}",
        b"chaffer2 x",
    ] {
        pusher.push(message).await;
    }
    pusher.push(&link_keys().sign(b"{}").unwrap()).await;
    let mut forged =
        signed(&chaffer_shared::event::Frame::Event(event(Some(1), &["user:7"], "x", "{}")));
    let end = forged.len() - 1;
    forged[end] ^= 1;
    pusher.push(&forged).await;
    pusher.push(br#"{"category":"kittens"}"#).await;
    legacy_events(&daemon, 1).await;
    for (why, count) in [
        (Dropped::Multipart, 1),
        (Dropped::Empty, 1),
        (Dropped::NotAnObject, 4),
        (Dropped::InvalidUtf8, 1),
        (Dropped::InvalidJson, 1),
        (Dropped::NoTopic, 1),
        (Dropped::NotListed, 2),
        (Dropped::WrongSignature, 2),
        (Dropped::InvalidFrame, 1),
    ] {
        assert_eq!(daemon.metrics.dropped(why), count, "{why:?}");
    }
    assert_eq!(daemon.metrics.pushers.get(), 1);
    assert_eq!(daemon.metrics.events.get(), 0);
}

#[tokio::test]
async fn a_frame_over_the_limit_closes_that_peer_alone() {
    let daemon = Daemon::start().await;
    let mut good = daemon.pusher().await;
    for length in [(1_u64 << 20) + 1, 1 << 40, 1 << 62, u64::MAX] {
        let mut bad = daemon.pusher().await;
        bad.push(br#"{"category":"before"}"#).await;
        bad.stream.write_all(&[&[2], length.to_be_bytes().as_slice()].concat()).await.unwrap();
        assert_eq!(rest(&mut bad.stream).await, b"");
    }
    assert_eq!(daemon.metrics.refused(Refused::TooLong), 4);
    let exact = format!(r#"{{"category":"a","x":"{}"}}"#, "x".repeat((1 << 20) - 23));
    assert_eq!(exact.len(), 1 << 20);
    good.push(exact.as_bytes()).await;
    legacy_events(&daemon, 5).await;
}

#[tokio::test]
async fn silent_peers_and_strangers_are_closed_and_hold_nothing() {
    let daemon =
        Daemon::with(ApiState::default(), |config| config.push.handshake_seconds = 1).await;
    let mut good = daemon.pusher().await;
    let mut strangers = Vec::new();
    for _ in 0..200 {
        strangers.push(stranger(&daemon, b"").await);
    }
    strangers.push(stranger(&daemon, &greeting(1, "NULL")).await);
    for stream in &mut strangers {
        assert!(rest(stream).await.starts_with(&[0xff]));
    }
    assert_eq!(daemon.metrics.refused(Refused::Timeout), 201);
    for bytes in [
        &b"\x16\x03\x01\x02\0\x01\0\x01\xfc"[..],
        b"GET /wss HTTP/1.1\r\nHost: x\r\n\r\n",
        &[0; 100],
    ] {
        rest(&mut stranger(&daemon, bytes).await).await;
    }
    assert_eq!(daemon.metrics.refused(Refused::Protocol), 3);
    until("the end of the strangers", async || daemon.metrics.pushers.get() == 1).await;
    // One that has shaken hands may be silent for as long as it likes.
    good.push(br#"{"category":"a"}"#).await;
    legacy_events(&daemon, 1).await;
}

#[tokio::test]
async fn other_mechanisms_and_socket_types_are_refused_cleanly() {
    let daemon = Daemon::start().await;
    for mechanism in ["PLAIN", "CURVE"] {
        let mut stream = stranger(&daemon, &greeting(1, mechanism)).await;
        let answer = rest(&mut stream).await;
        assert_eq!(answer.len(), 64, "our whole greeting, so that the peer sees the mismatch");
    }
    let mut stream = stranger(&daemon, &[greeting(1, "NULL"), ready("SUB")].concat()).await;
    assert!(rest(&mut stream).await.ends_with(b"\x05ERROR\x22only PUSH sockets may connect here"));
    assert_eq!(daemon.metrics.refused(Refused::Handshake), 3);
}

#[tokio::test]
async fn thousands_of_short_connections_arrive_and_leave_nothing_behind() {
    let daemon = Daemon::start().await;
    for n in 0..2000 {
        // Everything in one go, and gone before the handshake is answered.
        let message = format!(r#"{{"category":"a","n":{n}}}"#);
        let bytes = [greeting(1, "NULL"), ready("PUSH"), zmtp_frame(message.as_bytes())].concat();
        let mut stream = stranger(&daemon, &bytes).await;
        stream.shutdown().await.unwrap();
        if n % 2 == 0 {
            rest(&mut stream).await;
        }
    }
    legacy_events(&daemon, 2000).await;
    until("the end of the peers", async || daemon.metrics.pushers.get() == 0).await;
    assert_eq!(daemon.metrics.pushers_accepted.get(), 2000);
}

#[tokio::test]
async fn slow_browsers_never_hold_up_a_pusher() {
    let daemon = Daemon::with(ApiState::default(), |config| {
        config.push.client_queue_bytes = 1 << 30;
    })
    .await;
    let mut stalled = Vec::new();
    for _ in 0..3 {
        let mut page = daemon.wamp().await;
        page.say(r#"[5,"kittens"]"#).await;
        page.say(r#"[2,"x","p"]"#).await;
        page.json().await;
        stalled.push(page);
    }
    let mut pusher = daemon.pusher().await;
    let message = format!(r#"{{"category":"kittens","x":"{}"}}"#, "x".repeat(100_000));
    for _ in 0..300 {
        soon("the push", pusher.push(message.as_bytes())).await;
    }
    legacy_events(&daemon, 300).await;
}

#[tokio::test]
async fn the_crate_zeromq_pushes_here() {
    let daemon = Daemon::start().await;
    let mut push = zeromq::PushSocket::new();
    push.connect(&format!("tcp://{}", daemon.pusher)).await.unwrap();
    for id in 1..=100 {
        let frame = chaffer_shared::event::Frame::Event(event(Some(id), &["user:7"], "x", "{}"));
        push.send(signed(&frame).into()).await.unwrap();
    }
    daemon.at(100).await;
}

/// The timer of the daemon's end of a connection, as `/proc/net/tcp` numbers it: 2 is keepalive.
fn timer(stream: &TcpStream) -> Option<String> {
    let port = |address: std::net::SocketAddr| format!("0100007F:{:04X}", address.port());
    let (there, here) = (port(stream.peer_addr().unwrap()), port(stream.local_addr().unwrap()));
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let is_it = fields.get(1) == Some(&there.as_str()) && fields.get(2) == Some(&here.as_str());
        is_it.then(|| fields[5].split(':').next().unwrap_or_default().to_owned())
    })
}

#[tokio::test]
async fn the_kernel_looks_after_peers_that_say_nothing() {
    let daemon = Daemon::start().await;
    let pusher = daemon.pusher().await;
    until("the timer", async || timer(&pusher.stream).as_deref() == Some("02")).await;
}
