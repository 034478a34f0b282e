//! The native protocol.

use chaffer_shared::event::{Revocation, name};
use chaffer_shared::token::{Bearer, Claims};
use futures_util::StreamExt;
use futures_util::future::join_all;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::support::*;

#[tokio::test]
async fn an_event_reaches_who_hears_its_topics_once_and_byte_for_byte() {
    let daemon = Daemon::start().await;
    let (mut both, welcome) = daemon.member(&token_for("7", &["user:7", "vendor:3"]), None).await;
    let (mut stranger, _) = daemon.member(&token("8"), None).await;
    assert_eq!(welcome["user_id"], "7");
    assert_eq!(welcome["last"], 0);
    assert_eq!(welcome["resume"], "none");
    assert_eq!(welcome["session"].as_str().unwrap().len(), 32);
    let mut pusher = daemon.pusher().await;
    let data = r#"{"text":"\u0436\/ \"","n":1.0,"list":[]}"#;
    pusher.publish(&event(Some(1), &["user:7", "vendor:3"], "message.created", data)).await;
    pusher.publish(&event(Some(2), &["user:8"], "message.created", "{}")).await;
    pusher.publish(&event(None, &["user:7"], "typing", "{}")).await;
    let text = both.text().await;
    assert!(
        text.starts_with(r#"{"type":"event","id":1,"event":"message.created","at":""#),
        "{text}"
    );
    assert!(text.ends_with(&format!(r#"","data":{data}}}"#)), "{text}");
    let typing = both.json().await;
    assert_eq!((&typing["id"], &typing["event"]), (&json!(null), &json!("typing")));
    assert_eq!(stranger.json().await["id"], 2);
    both.settle().await;
    stranger.settle().await;
}

#[tokio::test]
async fn a_token_may_come_with_the_upgrade() {
    let daemon = Daemon::start().await;
    let bearer = format!("Bearer {}", token("7"));
    let mut client = Client::connect(daemon.websocket, &[("Authorization", &bearer)]).await;
    assert_eq!(client.json().await["type"], "welcome");
    let mut client = Client::connect(daemon.websocket, &[("Authorization", "Bearer x")]).await;
    assert_eq!(client.closed().await.0, 4401);
}

#[tokio::test]
async fn who_does_not_authenticate_in_time_is_closed_with_4401() {
    let daemon = Daemon::with(ApiState::default(), |config| config.push.auth_seconds = 1).await;
    let mut client = daemon.client().await;
    assert_eq!(client.closed().await.0, 4401);
}

#[tokio::test]
async fn tokens_that_are_no_good_are_told_apart_by_the_close_code() {
    let daemon = Daemon::start().await;
    let closed = async |token: &str| {
        let mut client = daemon.client().await;
        client.say(&json!({"type": "auth", "token": token}).to_string()).await;
        client.closed().await.0
    };
    assert_eq!(closed("x").await, 4401);
    let mut expired = claims("7", &["user:7"], 60);
    expired.iat -= 100.0;
    expired.exp -= 100;
    assert_eq!(closed(&token_keys().sign(&expired).unwrap()).await, 4402);
    assert_eq!(closed(&grant("7", &["8"])).await, 4401);
}

#[tokio::test]
async fn an_expired_session_is_closed_with_4402_unless_it_is_refreshed() {
    let daemon = Daemon::start().await;
    let short = token_keys().sign(&claims("7", &["user:7"], 2)).unwrap();
    let (mut lazy, _) = daemon.member(&short, None).await;
    let (mut careful, _) = daemon.member(&short, None).await;
    let next = token_for("7", &["user:7", "vendor:3"]);
    careful.say(&json!({"type": "refresh", "token": next}).to_string()).await;
    let refreshed = careful.json().await;
    assert_eq!(refreshed["type"], "refreshed");
    assert!(refreshed["expires_at"].is_string());
    assert_eq!(lazy.closed().await.0, 4402);
    let mut pusher = daemon.pusher().await;
    pusher.publish(&event(Some(1), &["vendor:3"], "message.created", "{}")).await;
    assert_eq!(careful.json().await["id"], 1);
}

#[tokio::test]
async fn a_refresh_with_fewer_topics_takes_effect() {
    let daemon = Daemon::start().await;
    let (mut client, _) = daemon.member(&token_for("7", &["user:7", "vendor:3"]), None).await;
    client.say(&json!({"type": "refresh", "token": token("7")}).to_string()).await;
    assert_eq!(client.json().await["type"], "refreshed");
    let mut pusher = daemon.pusher().await;
    pusher.publish(&event(Some(1), &["vendor:3"], "message.created", "{}")).await;
    pusher.publish(&event(Some(2), &["user:7"], "message.created", "{}")).await;
    assert_eq!(client.json().await["id"], 2);
}

#[tokio::test]
async fn a_refresh_with_another_users_token_is_refused() {
    let daemon = Daemon::start().await;
    let visitor = Claims::new(Bearer::Visitor, "7", vec![], "j", chaffer_shared::time::now(), 60);
    for other in [token("8"), token_keys().sign(&visitor).unwrap(), "x".into()] {
        let (mut client, _) = daemon.member(&token("7"), None).await;
        client.say(&json!({"type": "refresh", "token": other}).to_string()).await;
        assert_eq!(client.closed().await.0, 4401);
    }
}

#[tokio::test]
async fn errors_are_told_and_the_connection_stays() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    client.say(r#"{"type":"auth","token":"x","after":-1}"#).await;
    assert_eq!(client.json().await["code"], "invalid");
    client.settle().await;
    assert_eq!(client.auth(&token("7"), None).await["type"], "welcome");
    for (message, code) in [
        (r#"{"type":"hello"}"#.to_owned(), "unknown_type"),
        ("{}".to_owned(), "invalid"),
        (json!({"type": "auth", "token": token("7")}).to_string(), "already_authenticated"),
        (json!({"type": "watch", "grant": token("7")}).to_string(), "invalid_grant"),
        (json!({"type": "watch", "grant": grant("8", &["9"])}).to_string(), "invalid_grant"),
    ] {
        client.say(&message).await;
        let error = client.json().await;
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!(code)), "{message}");
        assert!(error["detail"].is_string());
    }
    client.settle().await;
}

#[tokio::test]
async fn what_is_no_json_object_is_closed_with_4400() {
    let daemon = Daemon::start().await;
    for text in ["x", "[]", "{\"type\":\"ping\"", "\"ping\""] {
        let (mut client, _) = daemon.member(&token("7"), None).await;
        client.say(text).await;
        assert_eq!(client.closed().await.0, 4400, "{text}");
    }
    let (mut client, _) = daemon.member(&token("7"), None).await;
    futures_util::SinkExt::send(&mut client.socket, vec![1_u8, 2].into()).await.unwrap();
    assert_eq!(client.closed().await.0, 4400);
    let mut client = daemon.client().await;
    client.say(r#"{"type":"watch","grant":"x"}"#).await;
    assert_eq!(client.closed().await.0, 4400);
}

#[tokio::test]
async fn a_revocation_closes_the_sockets_of_older_tokens_and_refuses_them_later() {
    let daemon = Daemon::start().await;
    let old = token("7");
    let (mut revoked, _) = daemon.member(&old, None).await;
    let (mut other, _) = daemon.member(&token("8"), None).await;
    let before = chaffer_shared::time::now();
    let data = serde_json::to_string(&Revocation { before }).unwrap();
    let mut pusher = daemon.pusher().await;
    pusher.publish(&event(Some(1), &["user:7"], name::SESSION_REVOKED, &data)).await;
    assert_eq!(revoked.closed().await.0, 4403);
    let mut again = daemon.client().await;
    again.say(&json!({"type": "auth", "token": old}).to_string()).await;
    assert_eq!(again.closed().await.0, 4403);
    until("a token that is newer", async || chaffer_shared::time::now() > before).await;
    let (mut newer, welcome) = daemon.member(&token("7"), Some(0)).await;
    assert_eq!(welcome["resume"], "replayed");
    // The revocation itself is nobody's news, but the cursor moves past it.
    assert_eq!(newer.json().await, json!({"type": "cursor", "id": 1}));
    newer.say(&json!({"type": "refresh", "token": old}).to_string()).await;
    assert_eq!(newer.closed().await.0, 4403);
    other.settle().await;
}

#[tokio::test]
async fn revocations_from_before_the_start_hold() {
    let before = chaffer_shared::time::now();
    let revocations = vec![chaffer_shared::event::RevokedTopic { topic: topic("user:7"), before }];
    let old = {
        let mut claims = claims("7", &["user:7"], 600);
        claims.iat -= 10.0;
        token_keys().sign(&claims).unwrap()
    };
    let daemon = Daemon::with(ApiState { revocations, ..ApiState::default() }, |_| {}).await;
    // Whether it joins before or after the revocations are loaded, it ends the same way.
    let mut client = daemon.client().await;
    client.say(&json!({"type": "auth", "token": old}).to_string()).await;
    assert_eq!(client.closed().await.0, 4403);
}

#[tokio::test]
async fn a_quiet_clients_cursor_moves_on() {
    let daemon = Daemon::with(ApiState::default(), |config| config.push.ping_seconds = 1).await;
    let (mut client, _) = daemon.member(&token("7"), None).await;
    let mut pusher = daemon.pusher().await;
    pusher.publish(&event(Some(1), &["user:8"], "message.created", "{}")).await;
    pusher.publish(&event(Some(2), &["user:8"], "message.created", "{}")).await;
    loop {
        let message = client.json().await;
        assert_eq!(message["type"], "cursor");
        if message["id"] == 2 {
            break;
        }
    }
}

#[tokio::test]
async fn many_quiet_clients_are_pinged_and_their_cursors_move_on() {
    let daemon = Daemon::with(ApiState::default(), |config| config.push.ping_seconds = 3).await;
    let mut clients = Vec::new();
    for _ in 0..200 {
        clients.push(daemon.member(&token("7"), None).await.0);
    }
    // Some leave gaps, and somebody comes into one.
    for place in [199, 130, 129, 128, 64, 0] {
        drop(clients.swap_remove(place));
    }
    until("they have left", async || daemon.metrics.sessions.get() == 194).await;
    clients.push(daemon.member(&token("7"), None).await.0);
    let mut pusher = daemon.pusher().await;
    pusher.publish(&event(Some(1), &["user:8"], "message.created", "{}")).await;
    // At once, or the last ones would be gone for want of an answer to their pings.
    let looked_after = clients.iter_mut().map(async |client| {
        let (mut is_pinged, mut cursor) = (false, json!(null));
        while !is_pinged || cursor != 1 {
            match soon("a ping and a cursor", client.socket.next()).await {
                Some(Ok(Message::Ping(_))) => is_pinged = true,
                Some(Ok(Message::Text(text))) => {
                    cursor = serde_json::from_str::<serde_json::Value>(&text).unwrap()["id"].take();
                }
                other => panic!("{other:?}"),
            }
        }
    });
    join_all(looked_after).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_with_4408_and_others_get_all() {
    let daemon = Daemon::with(ApiState::default(), |config| {
        config.push.client_queue_bytes = 100_000;
    })
    .await;
    let (mut stalled, _) = daemon.member(&token("7"), None).await;
    let (mut reader, _) = daemon.member(&token("7"), None).await;
    let mut pusher = daemon.pusher().await;
    let data = format!("\"{}\"", "x".repeat(60_000));
    let mut sent = 0;
    while daemon.metrics.too_slow.get() == 0 {
        sent += 1;
        pusher.publish(&event(Some(sent), &["user:7"], "message.created", &data)).await;
        assert_eq!(reader.news().await["id"], sent);
    }
    // What the stalled one gets is a beginning without holes, then the reason.
    let mut seen = 0;
    let code = loop {
        match soon("the end", stalled.socket.next()).await {
            Some(Ok(Message::Text(text))) => {
                let message: serde_json::Value = serde_json::from_str(&text).unwrap();
                assert_eq!(message["id"], seen + 1);
                seen += 1;
            }
            Some(Ok(Message::Close(Some(frame)))) => {
                break u16::from(frame.code);
            }
            Some(Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code, 4408);
    assert!(seen < sent);
    reader.settle().await;
}

#[tokio::test]
async fn on_shutdown_native_clients_are_told_when_to_come_back() {
    let daemon = Daemon::start().await;
    let (mut first, _) = daemon.member(&token("7"), None).await;
    let mut silent = daemon.client().await;
    silent.settle().await;
    daemon.begin_to_stop();
    for client in [&mut first, &mut silent] {
        let (code, reason) = client.closed().await;
        assert_eq!(code, 1012);
        let wait: u64 = reason.strip_prefix("retry_after_ms=").unwrap().parse().unwrap();
        assert!(wait <= 5000);
    }
    daemon.ended().await.unwrap();
}

#[tokio::test]
async fn without_keys_native_clients_are_refused_and_legacy_works() {
    let daemon = Daemon::with(ApiState::default(), |config| {
        config.keys = chaffer_shared::config::Keys::default();
    })
    .await;
    let mut native = daemon.client().await;
    native.say(&json!({"type": "auth", "token": token("7")}).to_string()).await;
    assert_eq!(native.closed().await.0, 4401);
    let mut page = daemon.wamp().await;
    page.say(r#"[5,"kittens"]"#).await;
    page.say(r#"[2,"id","p"]"#).await;
    assert_eq!(page.json().await[0], 4);
    let mut pusher = daemon.pusher().await;
    pusher.publish(&event(Some(1), &["user:7"], "x", "{}")).await;
    pusher.push(br#"{"category":"kittens"}"#).await;
    assert_eq!(page.json().await[0], 8);
    let dropped = daemon.metrics.dropped(chaffer_push::metrics::Dropped::WrongSignature);
    assert_eq!(dropped, 1);
}
