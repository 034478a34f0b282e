//! Coming back: after a cut, after a restart of either daemon, after too long.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chaffer_tests::{Frame, Listener, PATIENCE, Scene, Setup, Stack};
use serde_json::{Value, json};

use crate::cast::Cast;

stories!(
    b1_a_client_that_was_away_is_told_what_it_missed,
    b1_a_restart_of_the_push_daemon_loses_nothing,
    b1_a_restart_of_both_loses_nothing,
    b1_a_cursor_that_memory_does_not_reach_is_a_gap,
    a_stopping_push_daemon_says_when_to_come_back,
    a_quiet_clients_cursor_moves_on,
    the_socket_answers_pings_and_unknown_frames,
    the_first_frame_must_be_auth,
);

async fn b1_a_client_that_was_away_is_told_what_it_missed(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let seller = cast.seller.listen().await?;
    let first = cast.buyer.say(thread, "one").await?;
    seller.hears("message.created", |data| data["id"] == first["id"]).await?;
    seller.leave().await?;
    for text in ["two", "three"] {
        cast.buyer.say(thread, text).await?;
    }
    seller.come_back();
    seller.hears("message.created", |data| data["text"] == "three").await?;
    assert_eq!(heard(&seller), ["one", "two", "three"]);
    assert_eq!(resumes(&seller), ["none", "replayed"]);
    assert_eq!(seller.from_feed(), 0);
    seller.check()
}

fn heard(listener: &Listener) -> Vec<String> {
    let texts = listener.all("message.created");
    texts.iter().map(|data| data["text"].as_str().unwrap_or_default().to_owned()).collect()
}

fn resumes(listener: &Listener) -> Vec<String> {
    listener.sessions().into_iter().map(|session| session.resume).collect()
}

async fn b1_a_restart_of_the_push_daemon_loses_nothing(scene: &Scene) -> Result<()> {
    let mut cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let seller = cast.seller.listen().await?;
    let first = cast.buyer.say(thread, "one").await?;
    seller.hears("message.created", |data| data["id"] == first["id"]).await?;
    let status = cast.stack.push.stop(Stack::STOP).await?;
    ensure!(status.success(), "{status}");
    cast.buyer.say(thread, "two").await?;
    cast.stack.push.start()?;
    seller.hears("message.created", |data| data["text"] == "two").await?;
    cast.buyer.say(thread, "three").await?;
    seller.hears("message.created", |data| data["text"] == "three").await?;
    assert_eq!(heard(&seller), ["one", "two", "three"]);
    assert_eq!(resumes(&seller).last().map(String::as_str), Some("replayed"));
    assert_eq!(seller.sessions()[0].closed.as_ref().map(|closed| closed.code), Some(1012));
    seller.check()
}

async fn b1_a_restart_of_both_loses_nothing(scene: &Scene) -> Result<()> {
    let mut cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let seller = cast.seller.listen().await?;
    let first = cast.buyer.say(thread, "one").await?;
    seller.hears("message.created", |data| data["id"] == first["id"]).await?;
    cast.stack.push.kill()?;
    cast.buyer.say(thread, "two").await?;
    cast.stack.api.kill()?;
    // The push daemon comes first and finds nobody to ask.
    cast.stack.push.start()?;
    cast.stack.api.start()?;
    cast.stack.ready().await?;
    cast.buyer.say(thread, "three").await?;
    seller.hears("message.created", |data| data["text"] == "three").await?;
    assert_eq!(heard(&seller), ["one", "two", "three"]);
    seller.check()
}

async fn b1_a_cursor_that_memory_does_not_reach_is_a_gap(scene: &Scene) -> Result<()> {
    let setup = Setup::new(scene)?.set("push.replay_bytes", 8192);
    let cast = Cast::with(scene, setup).await?;
    let thread = cast.thread("p1").await?;
    let seller = cast.seller.listen().await?;
    let first = cast.buyer.say(thread, "one").await?;
    seller.hears("message.created", |data| data["id"] == first["id"]).await?;
    seller.leave().await?;
    let long = "x".repeat(1000);
    for number in 0..30 {
        cast.buyer.say(thread, &format!("{number} {long}")).await?;
    }
    seller.come_back();
    seller
        .hears("message.created", |data| {
            data["text"].as_str().is_some_and(|it| it.starts_with("29"))
        })
        .await?;
    cast.buyer.say(thread, "live").await?;
    seller.hears("message.created", |data| data["text"] == "live").await?;
    assert_eq!(heard(&seller).len(), 32);
    assert_eq!(resumes(&seller), ["none", "gap"]);
    ensure!(seller.from_feed() >= 20, "{} events came from the feed", seller.from_feed());
    // A cursor from before everything is no different.
    let (_, welcome) = cast.seller.socket(Some(0)).await?;
    assert_eq!(welcome["resume"], "gap");
    seller.check()
}

async fn a_stopping_push_daemon_says_when_to_come_back(scene: &Scene) -> Result<()> {
    let setup = Setup::new(scene)?.set("push.restart_spread_ms", 5000);
    let mut cast = Cast::with(scene, setup).await?;
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.push(cast.buyer.socket(None).await?.0);
    }
    let readers: Vec<_> = sockets
        .into_iter()
        .map(|mut socket| tokio::spawn(async move { socket.closed(PATIENCE).await }))
        .collect();
    let status = cast.stack.push.stop(Stack::STOP).await?;
    ensure!(status.success(), "{status}");
    let mut delays = Vec::new();
    for reader in readers {
        let closed = reader.await??;
        assert_eq!(closed.code, 1012);
        let delay = closed.reason.strip_prefix("retry_after_ms=").context(closed.reason.clone())?;
        delays.push(delay.parse::<u64>()?);
    }
    ensure!(delays.iter().all(|delay| *delay <= 5000), "{delays:?}");
    delays.sort_unstable();
    delays.dedup();
    ensure!(delays.len() > 10, "they all come back at once: {delays:?}");
    Ok(())
}

async fn a_quiet_clients_cursor_moves_on(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let outsider = cast.outsider.listen().await?;
    let before = outsider.after();
    for number in 0..50 {
        cast.buyer.say(thread, &number.to_string()).await?;
    }
    // Whether told in a frame of its own or by the next welcome, it passes what concerns others.
    outsider.leave().await?;
    outsider.come_back();
    outsider.welcomed(2).await?;
    let (_, welcome) = cast.outsider.socket(outsider.after()).await?;
    ensure!(welcome["last"].as_i64() > before, "{welcome} after {before:?}");
    ensure!(["replayed", "none"].contains(&welcome["resume"].as_str().unwrap_or("")), "{welcome}");
    assert_eq!(outsider.heard().len(), 0);
    outsider.check()
}

async fn the_socket_answers_pings_and_unknown_frames(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let (mut socket, welcome) = cast.buyer.socket(None).await?;
    assert_eq!(welcome["user_id"], "buyer");
    ensure!(welcome["session"].is_string() && welcome["expires_at"].is_string(), "{welcome}");
    assert_eq!((&welcome["resume"], welcome["last"].is_i64()), (&json!("none"), true));
    socket.send(&json!({"type": "dance"})).await?;
    let error = socket.answer().await?;
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("unknown_type")));
    socket.send(&json!({"type": "watch", "grant": "mine"})).await?;
    assert_eq!(socket.answer().await?["type"], "error");
    assert_eq!(socket.pending().await?, Vec::<Value>::new(), "it is still open");
    Ok(())
}

async fn the_first_frame_must_be_auth(scene: &Scene) -> Result<()> {
    let setup = Setup::new(scene)?.set("push.auth_seconds", 1);
    let cast = Cast::with(scene, setup).await?;
    for first in ["{\"type\":\"ping\"}", "nonsense", "[1]", "{\"type\":\"auth\"}"] {
        let mut socket = chaffer_tests::Socket::open(&cast.stack.websocket_url()).await?;
        socket.send_text(first).await?;
        let closed = socket.closed(PATIENCE).await.context(first)?;
        ensure!(matches!(closed.code, 4400 | 4401), "{first}: {closed:?}");
    }
    let mut silent = chaffer_tests::Socket::open(&cast.stack.websocket_url()).await?;
    let closed = silent.closed(Duration::from_secs(10)).await?;
    ensure!(matches!(closed.code, 4400 | 4401), "{closed:?}");
    // The token may come with the upgrade instead.
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    let mut request = cast.stack.websocket_url().into_client_request()?;
    request.headers_mut().insert("Authorization", format!("Bearer {}", cast.buyer.token).parse()?);
    let mut socket = chaffer_tests::Socket::open_with(request).await?;
    let Frame::Json(welcome) = socket.next().await? else { anyhow::bail!("closed") };
    assert_eq!((&welcome["type"], &welcome["user_id"]), (&json!("welcome"), &json!("buyer")));
    Ok(())
}
