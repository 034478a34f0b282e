//! WAMP v1: a test for each row of the table in protocols.md.

use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn the_handshake_echoes_wamp_and_the_welcome_comes_first_with_an_unguessable_id() {
    let daemon = Daemon::start().await;
    let mut ids = Vec::new();
    for offer in ["wamp", "x, wamp"] {
        let headers = [("Sec-WebSocket-Protocol", offer)];
        // tungstenite's own check of the answer would refuse anything that was not offered.
        let mut client = Client::connect(daemon.websocket, &headers).await;
        assert_eq!(client.response.headers()["sec-websocket-protocol"], "wamp");
        let welcome = client.json().await;
        assert_eq!((&welcome[0], &welcome[2]), (&json!(0), &json!(1)));
        assert!(welcome[3].as_str().unwrap().starts_with("chaffer/"));
        ids.push(welcome[1].as_str().unwrap().to_owned());
    }
    assert!(ids[0].len() == 32 && ids[0] != ids[1]);
}

/// A round trip of a WAMP client: a call, which has no other effect.
async fn settle(client: &mut Client) {
    client.say(r#"[2,"settle","p"]"#).await;
    let answer = client.json().await;
    assert_eq!((&answer[0], &answer[1]), (&json!(4), &json!("settle")), "{answer}");
}

#[tokio::test]
async fn an_event_carries_the_legacy_message_byte_for_byte() {
    let daemon = Daemon::start().await;
    let mut page = daemon.wamp().await;
    page.say(r#"[5,"kittens"]"#).await;
    settle(&mut page).await;
    let mut pusher = daemon.pusher().await;
    let message = r#"{"category":"kittens","t":"\u043a\/ж","a":[], "n":1.50}"#;
    pusher.push(message.as_bytes()).await;
    assert_eq!(page.text().await, format!(r#"[8,"kittens",{message}]"#));
}

#[tokio::test]
async fn prefixes_expand_by_plain_concatenation() {
    let daemon = Daemon::start().await;
    let mut page = daemon.wamp().await;
    page.say(r#"[1,"k","kittens/"]"#).await;
    page.say(r#"[5,"k:a"]"#).await;
    settle(&mut page).await;
    let mut pusher = daemon.pusher().await;
    pusher.push(br#"{"category":"kittens/a"}"#).await;
    assert_eq!(page.json().await[1], "kittens/a");
    // Of that connection alone.
    let mut other = daemon.wamp().await;
    other.say(r#"[5,"k:a"]"#).await;
    settle(&mut other).await;
    pusher.push(br#"{"category":"kittens/a"}"#).await;
    assert_eq!(page.json().await[1], "kittens/a");
    settle(&mut other).await;
}

#[tokio::test]
async fn a_call_gets_an_error_with_its_id_as_it_was() {
    let daemon = Daemon::start().await;
    let mut page = daemon.wamp().await;
    for id in ["\"id1\"", "7", "1.50"] {
        page.say(&format!("[2,{id},\"http://x/p\",1,[2]]")).await;
        let answer = page.text().await;
        assert!(answer.starts_with(&format!("[4,{id},\"http://x/p\",\"")), "{answer}");
    }
}

#[tokio::test]
async fn subscribing_is_silent_and_double_or_unknown_does_no_harm() {
    let daemon = Daemon::start().await;
    let mut page = daemon.wamp().await;
    for message in [
        r#"[6,"kittens"]"#,
        r#"[5,"kittens"]"#,
        r#"[5,"kittens"]"#,
        r#"[5,"dogs"]"#,
        r#"[6,"cats"]"#,
    ] {
        page.say(message).await;
    }
    settle(&mut page).await;
    let mut pusher = daemon.pusher().await;
    pusher.push(br#"{"category":"dogs","n":1}"#).await;
    pusher.push(br#"{"category":"kittens","n":2}"#).await;
    assert_eq!(page.json().await[2]["n"], 2);
    page.say(r#"[6,"kittens"]"#).await;
    settle(&mut page).await;
    pusher.push(br#"{"category":"kittens","n":3}"#).await;
    until("the message", async || daemon.metrics.legacy_events.get() == 2).await;
    settle(&mut page).await;
}

/// A daemon that lets pages publish, three pages that hear, and their sessions' names.
async fn publishers() -> (Daemon, Vec<Client>, Vec<String>) {
    let daemon = Daemon::with(ApiState::default(), |config| {
        config.push.legacy_publish_topics = vec!["kittens*".into(), "user:7".into(), "*".into()];
    })
    .await;
    let (mut pages, mut names) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let headers = [("Sec-WebSocket-Protocol", "wamp")];
        let mut page = Client::connect(daemon.websocket, &headers).await;
        names.push(page.json().await[1].as_str().unwrap().to_owned());
        page.say(r#"[5,"kittens"]"#).await;
        settle(&mut page).await;
        pages.push(page);
    }
    (daemon, pages, names)
}

#[tokio::test]
async fn a_publication_reaches_whom_its_exclude_and_eligible_name() {
    let (daemon, mut pages, names) = publishers().await;
    let [a, b, c] = [0, 1, 2].map(|index| names[index].as_str());
    for (options, heard_by) in [
        (json!([]), [false, true, true]),
        (json!([true]), [false, true, true]),
        (json!([false]), [true, true, true]),
        (json!([[]]), [true, true, true]),
        (json!([[b]]), [true, false, true]),
        (json!([[a, b, "stranger"]]), [false, false, true]),
        (json!([[], [b, c]]), [false, true, true]),
        (json!([[b], [b, c]]), [false, false, true]),
        (json!([null, [a, b]]), [false, true, false]),
        (json!([[], []]), [false, false, false]),
    ] {
        let mut message = vec![json!(7), json!("kittens"), json!({"x": options.to_string()})];
        message.extend(options.as_array().unwrap().iter().cloned());
        pages[0].say(&json!(message).to_string()).await;
        settle_after(&mut pages[0], heard_by[0], &message).await;
        for (page, heard) in pages[1..].iter_mut().zip(&heard_by[1..]) {
            settle_after(page, *heard, &message).await;
        }
    }
    // Text that JSON can be written in more than one way stays as it was written.
    pages[0].say(r#"[7, "kittens", {"n":1.50,"t":"\u0436\/"} ]"#).await;
    assert_eq!(pages[1].text().await, r#"[8,"kittens",{"n":1.50,"t":"\u0436\/"}]"#);
    assert_eq!(daemon.metrics.legacy_refused.get(), 0);
}

/// That the publication was heard, or that nothing was: it went to all shards before the round trip's answer.
async fn settle_after(page: &mut Client, heard: bool, message: &[serde_json::Value]) {
    if heard {
        assert_eq!(page.json().await, json!([8, message[1], message[2]]));
    }
    settle(page).await;
}

#[tokio::test]
async fn native_topics_cannot_be_published_to_whatever_the_pattern() {
    let (daemon, mut pages, _) = publishers().await;
    let (mut member, _) = daemon.member(&token("7"), None).await;
    pages[0].say(r#"[1,"x","user:"]"#).await;
    for topic in ["user:7", "x:7", "staff", "vendor:3"] {
        pages[0].say(&json!([7, topic, {"x": 1}]).to_string()).await;
    }
    settle(&mut pages[0]).await;
    member.settle().await;
    assert_eq!(daemon.metrics.legacy_refused.get(), 4);
}

#[tokio::test]
async fn publishing_is_refused_unless_the_topic_is_listed() {
    let daemon = Daemon::start().await;
    let (mut a, mut b) = (daemon.wamp().await, daemon.wamp().await);
    b.say(r#"[5,"kittens"]"#).await;
    settle(&mut b).await;
    a.say(r#"[7,"kittens",{"x":1}]"#).await;
    settle(&mut a).await;
    settle(&mut b).await;
    assert_eq!(daemon.metrics.legacy_refused.get(), 1);
}

#[tokio::test]
async fn what_is_malformed_is_closed_with_1007_and_harms_nobody_else() {
    let daemon = Daemon::start().await;
    let mut other = daemon.wamp().await;
    other.say(r#"[5,"kittens"]"#).await;
    for text in ["x", "{}", "[]", r#"[2,"id1"]"#, "[5,null]", "[5,[1]]", "[99,1]", r#"[7,"a"]"#] {
        let mut page = daemon.wamp().await;
        page.say(text).await;
        assert_eq!(page.closed().await.0, 1007, "{text}");
    }
    settle(&mut other).await;
    daemon.pusher().await.push(br#"{"category":"kittens"}"#).await;
    assert_eq!(other.json().await[0], 8);
}

#[tokio::test]
async fn on_shutdown_wamp_clients_are_dropped_without_a_close_frame() {
    let daemon = Daemon::start().await;
    let mut page = Raw::connect(daemon.websocket, "wamp").await;
    until("the session", async || daemon.metrics.sessions.get() == 1).await;
    daemon.begin_to_stop();
    let rest = page.rest().await;
    assert_eq!(rest[0], 0x81);
    assert_eq!(rest.len(), 2 + usize::from(rest[1]), "nothing behind the welcome");
    daemon.ended().await.unwrap();
}

#[tokio::test]
async fn native_topics_are_out_of_reach_whatever_the_pattern() {
    let daemon = Daemon::with(ApiState::default(), |config| {
        config.push.legacy_topics = vec!["*".into(), "user:7".into()];
    })
    .await;
    let mut page = daemon.wamp().await;
    page.say(r#"[1,"x","user:"]"#).await;
    for topic in ["user:7", "staff", "x:7", "vendor:3", "visitor:1"] {
        page.say(&json!([5, topic]).to_string()).await;
    }
    page.say(r#"[5,42]"#).await;
    settle(&mut page).await;
    assert_eq!(daemon.metrics.legacy_refused.get(), 5);
    let mut pusher = daemon.pusher().await;
    pusher.publish(&event(Some(1), &["user:7", "staff"], "message.created", "{}")).await;
    pusher.push(br#"{"category":"user:7"}"#).await;
    pusher.push(br#"{"category":"42"}"#).await;
    assert_eq!(page.json().await[1], "42");
}
