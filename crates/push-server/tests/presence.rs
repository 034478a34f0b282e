//! Who is there.

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
