//! Who is there.

use chaffer_shared::token::Grant;
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn a_watcher_hears_how_people_stand_and_who_comes_and_goes() {
    let daemon = Daemon::start().await;
    let (mut watcher, _) = daemon.member(&token("7"), None).await;
    let (_online, _) = daemon.member(&token("9"), None).await;
    until("presence", async || {
        daemon.get("/presence?user_ids=9").await.1.contains(r#""online":true"#)
    })
    .await;
    watcher.say(&json!({"type": "watch", "grant": grant("7", &["8", "9"])}).to_string()).await;
    let mut states = std::collections::BTreeMap::new();
    let mut hear = async |watcher: &mut Client, id: &str, online: bool| {
        while states.get(id) != Some(&online) {
            let event = watcher.json().await;
            assert_eq!((&event["event"], &event["id"]), (&json!("presence.changed"), &json!(null)));
            let data = &event["data"];
            assert_eq!(
                data["online"].as_bool().unwrap(),
                data["last_seen_at"].is_null() && data["online"] == true
            );
            states.insert(
                data["user_id"].as_str().unwrap().to_owned(),
                data["online"].as_bool().unwrap(),
            );
        }
    };
    hear(&mut watcher, "9", true).await;
    hear(&mut watcher, "8", false).await;
    let (mut eight, _) = daemon.member(&token("8"), None).await;
    hear(&mut watcher, "8", true).await;
    eight.socket.close(None).await.unwrap();
    hear(&mut watcher, "8", false).await;
    // Nobody else is told.
    watcher.settle().await;
}

#[tokio::test]
async fn reloading_a_page_is_no_flicker() {
    let daemon = Daemon::start().await;
    let (mut watcher, _) = daemon.member(&token("7"), None).await;
    let (mut page, _) = daemon.member(&token("8"), None).await;
    watcher.say(&json!({"type": "watch", "grant": grant("7", &["8"])}).to_string()).await;
    while watcher.json().await["data"]["online"] != true {}
    page.socket.close(None).await.unwrap();
    until("the page to close", async || daemon.metrics.sessions.get() == 1).await;
    let (_page, _) = daemon.member(&token("8"), None).await;
    watcher.settle().await;
    let (_, body) = daemon.get("/presence?user_ids=8").await;
    assert!(
        body.ends_with(r#"{"users":[{"user_id":"8","online":true,"last_seen_at":null}]}"#),
        "{body}"
    );
}

#[tokio::test]
async fn the_api_keeps_when_people_were_last_seen_whoever_is_there_at_the_end_included() {
    let daemon = Daemon::start().await;
    let api = daemon.api.clone();
    let (mut gone, _) = daemon.member(&token("7"), None).await;
    let (_stays, _) = daemon.member(&token("8"), None).await;
    gone.socket.close(None).await.unwrap();
    // Told in a while, and once.
    until("the report", async || api.with(|state| !state.gone.is_empty())).await;
    daemon.begin_to_stop();
    daemon.ended().await.unwrap();
    let told = api.with(|state| state.gone.clone());
    let ids: Vec<&str> = told.iter().map(|it| it.user_id.as_str()).collect();
    assert_eq!(ids, ["7", "8"]);
    assert!(told.iter().all(|it| !it.online && it.last_seen_at.is_some()), "{told:?}");
    assert!(told[0].last_seen_at < told[1].last_seen_at);
}

#[tokio::test]
async fn an_api_that_does_not_answer_is_told_later() {
    let daemon = Daemon::start().await;
    let api = daemon.api.clone();
    let (mut gone, _) = daemon.member(&token("7"), None).await;
    api.with(|state| state.down = true);
    gone.socket.close(None).await.unwrap();
    until("the page to close", async || daemon.metrics.sessions.get() == 0).await;
    let before = api.with(|state| state.questions);
    until("a report in vain", async || api.with(|state| state.questions > before)).await;
    api.with(|state| state.down = false);
    until("the report", async || api.with(|state| !state.gone.is_empty())).await;
    assert_eq!(api.with(|state| state.gone[0].user_id.clone()), "7");
}

#[tokio::test]
async fn a_grant_tells_when_people_were_last_seen_before_the_daemon_started() {
    let daemon = Daemon::start().await;
    let (mut watcher, _) = daemon.member(&token("7"), None).await;
    let users = ["8", "9"].map(str::to_owned).to_vec();
    let granted = Grant {
        seen: [("8".to_owned(), 1_772_357_400_000)].into(),
        ..Grant::new("7", users, chaffer_shared::time::now(), 600)
    };
    let granted = token_keys().sign_grant(&granted).unwrap();
    watcher.say(&json!({"type": "watch", "grant": granted}).to_string()).await;
    let first = watcher.json().await["data"].clone();
    let expected =
        json!({"user_id": "8", "online": false, "last_seen_at": "2026-03-01T09:30:00.000Z"});
    assert_eq!(first, expected);
    assert_eq!(watcher.json().await["data"]["last_seen_at"], json!(null));
    // What the daemon has seen itself is later.
    let (mut eight, _) = daemon.member(&token("8"), None).await;
    while watcher.json().await["data"]["online"] != true {}
    eight.socket.close(None).await.unwrap();
    let gone = loop {
        let event = watcher.json().await;
        if event["data"]["online"] == false {
            break event["data"]["last_seen_at"].as_str().unwrap().to_owned();
        }
    };
    assert!(gone.as_str() > "2026-03-01T09:30:00.000Z", "{gone}");
}
