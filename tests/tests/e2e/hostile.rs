//! Strangers at every port, while two people talk: garbage, silence and crowds cost the daemons no more than the
//! bounds asserted here, and nobody notices.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chaffer_shared::descriptors;
use chaffer_tests::{Listener, PATIENCE, Scene, Stack, eventually, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::cast::Cast;

stories!(garbage_silence_and_crowds_stop_nobody_and_cost_no_more_than_their_bounds);

/// Connections of one crowd: more than 1,024 descriptors.
const CROWD: usize = 2000;
const SILENT: usize = 200;

/// What a daemon may grow by for all of it, in KiB: some ten a connection, and the allocator's slack.
const MAX_GROWTH_KIB: usize = 96 * 1024;

/// Descriptors that come and go by themselves.
const SLACK: usize = 40;

/// A daemon's memory in KiB, and its open descriptors.
fn cost(pid: u32) -> Result<(usize, usize)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    let memory = line.split_whitespace().nth(1).context("no number")?.parse()?;
    Ok((memory, std::fs::read_dir(format!("/proc/{pid}/fd"))?.count()))
}

async fn garbage_silence_and_crowds_stop_nobody_and_cost_no_more_than_their_bounds(
    scene: &Scene,
) -> Result<()> {
    // The test holds the other end of every connection.
    descriptors::raise_limit();
    let mut cast = Cast::new(scene).await?;
    let thread = cast.thread("tea").await?;
    let hearer = cast.seller.listen().await?;
    hearer.welcomed(1).await?;
    let pids = [cast.stack.api.pid()?, cast.stack.push.pid()?];
    let before = [cost(pids[0])?, cost(pids[1])?];
    let talk = async |cast: &Cast, hearer: &Listener, text: &str| -> Result<()> {
        cast.buyer.say(thread, text).await?;
        hearer.hears("message.created", |data| data["text"] == text).await?;
        Ok(())
    };

    talk_garbage(&cast.stack).await?;
    talk(&cast, &hearer, "after the garbage").await?;

    let ports = cast.stack.ports;
    let mut held = Vec::new();
    for port in [ports.api, ports.websocket, ports.pusher] {
        for _ in 0..SILENT {
            held.push(connect(port).await?);
        }
    }
    // One that never comes to an end, a little at a time.
    for port in [ports.api, ports.websocket] {
        let mut slow = connect(port).await?;
        slow.write_all(b"GET / HTTP/1.1\r\nX-Slow: ").await?;
        held.push(slow);
    }
    talk(&cast, &hearer, "beside the silent").await?;

    for _ in 0..CROWD {
        let mut page = connect(ports.websocket).await?;
        page.write_all(upgrade().as_bytes()).await?;
        let mut answer = [0; 12];
        timeout(PATIENCE, page.read_exact(&mut answer)).await??;
        ensure!(answer == *b"HTTP/1.1 101", "{}", String::from_utf8_lossy(&answer));
        held.push(page);
    }
    for _ in 0..CROWD {
        let mut caller = connect(ports.api).await?;
        caller.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await?;
        let mut answer = [0; 12];
        timeout(PATIENCE, caller.read_exact(&mut answer)).await??;
        ensure!(answer == *b"HTTP/1.1 200", "{}", String::from_utf8_lossy(&answer));
        held.push(caller);
    }
    for (pid, name) in pids.iter().zip(["api", "push"]) {
        let (_, descriptors) = cost(*pid)?;
        ensure!(descriptors > CROWD, "{name} holds only {descriptors} descriptors");
    }
    talk(&cast, &hearer, "beside the crowd").await?;

    drop(held);
    for ((pid, (memory, descriptors)), name) in pids.iter().zip(before).zip(["api", "push"]) {
        until(&format!("{name}'s descriptors to come back"), async || {
            Ok(cost(*pid)?.1 <= descriptors + SLACK)
        })
        .await?;
        let (grown, _) = cost(*pid)?;
        let growth = grown.saturating_sub(memory);
        ensure!(growth <= MAX_GROWTH_KIB, "{name} grew by {growth} KiB");
    }
    talk(&cast, &hearer, "after all").await?;
    hearer.check()?;
    ensure!(hearer.sessions().len() == 1, "the hearer was never cut off");
    ensure!(cast.stack.api.is_running() && cast.stack.push.is_running());
    for daemon in [&cast.stack.api, &cast.stack.push] {
        ensure!(!daemon.output().contains("panicked"), "{}", daemon.output());
    }
    Ok(())
}

/// Says each of these to each port, and hears how it ends; the daemons close what makes no sense.
async fn talk_garbage(stack: &Stack) -> Result<()> {
    let ports = stack.ports;
    let tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(20);
    let noise: Vec<u8> =
        (0..2000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let head = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: {}\r\n\r\n",
        "x".repeat(64 * 1024)
    );
    let nul = vec![0; 5000];
    for port in [ports.api, ports.websocket, ports.pusher, ports.http] {
        for bytes in [&tls, &noise, &nul, head.as_bytes()] {
            closes(port, bytes).await?;
        }
    }

    // The API: bodies without end, announced or not, and more than JSON's depth.
    let key = &stack.key;
    let post = |length: &str| {
        format!(
            "POST /v1/threads HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\nConnection: close\r\n{length}\r\n\r\n"
        )
    };
    let answer = closes(ports.api, post("Content-Length: 10737418240").as_bytes()).await?;
    ensure!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let endless = post("Transfer-Encoding: chunked") + &chunk.repeat(100);
    // Refused before its end, which never comes; the connection itself is actix's to close, within its limit of them.
    let answer = hears(ports.api, endless.as_bytes(), b"HTTP/1.1 413 ").await?;
    ensure!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let deep = "[".repeat(100_000);
    let length = format!("Content-Length: {}", deep.len() + 5);
    let answer = closes(ports.api, (post(&length) + "{\"a\":" + &deep).as_bytes()).await?;
    ensure!(answer.starts_with("HTTP/1.1 4"), "{answer}");

    // The WebSocket port: what killed the PHP server, and frames that announce 2^62 bytes.
    for frame in [
        b"\x81\x89\0\0\0\0[2,\"id1\"]".as_slice(),
        b"\x81\x84\0\0\0\0[[]]",
        b"\x81\x82\0\0\0\0[]",
        b"\x81\xff\x40\0\0\0\0\0\0\0\0\0\0\0",
    ] {
        closes(ports.websocket, &[upgrade().as_bytes(), frame].concat()).await?;
    }
    // The pusher port, behind a good handshake of ZMTP 2.0.
    for length in [1_u64 << 40, 1 << 62, u64::MAX] {
        let hello = b"\xff\0\0\0\0\0\0\0\0\x7f\x01\x08\0\0\x02";
        closes(ports.pusher, &[hello.as_slice(), &length.to_be_bytes()].concat()).await?;
    }
    Ok(())
}

/// Says this, and returns what comes back, when it is at least as long as what is expected.
async fn hears(port: u16, bytes: &[u8], expected: &[u8]) -> Result<String> {
    let mut stream = connect(port).await?;
    let (mut reader, mut writer) = stream.split();
    let mut answer = vec![0; expected.len()];
    // What is sent may never be taken; the answer comes all the same.
    let say = async {
        let _ = writer.write_all(bytes).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = say => {}
        heard = timeout(PATIENCE, reader.read_exact(&mut answer)) => { heard??; }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Says this, and returns what comes back until the other side closes. It must.
async fn closes(port: u16, bytes: &[u8]) -> Result<String> {
    let mut stream = connect(port).await?;
    let mut answer = Vec::new();
    // Whoever closes before it has read all resets the connection; that is an end, too.
    let talk = async {
        let _ = stream.write_all(bytes).await;
        while let Ok(1..) = stream.read_buf(&mut answer).await {}
    };
    timeout(PATIENCE, talk).await.with_context(|| {
        let said = bytes.get(..200).unwrap_or(bytes);
        format!("port {port} stays open after {}", String::from_utf8_lossy(said))
    })?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

async fn connect(port: u16) -> Result<TcpStream> {
    // The queue of those who wait to be accepted may be full for a moment.
    eventually("a connection", Duration::from_secs(10), async || {
        Ok(Some(TcpStream::connect(("127.0.0.1", port)).await?))
    })
    .await
}

fn upgrade() -> &'static str {
    "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: wamp\r\n\r\n"
}
