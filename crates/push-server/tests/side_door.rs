//! Health, readiness, presence, counters.

use crate::support::*;

#[tokio::test]
async fn the_daemon_is_ready_once_it_hears_the_api_and_knows_where_its_events_stand() {
    let api = FakeApi::start(ApiState { down: true, ..ApiState::default() }).await;
    let daemon = Daemon::beside(api, |_| {});
    let (status, body) = daemon.get("/readyz").await;
    assert_eq!(status, 503);
    assert!(body.contains("nothing heard from the API"), "{body}");
    assert_eq!(daemon.get("/healthz").await.0, 200);
    daemon.api.with(|api| api.down = false);
    let mut pusher = daemon.pusher().await;
    pusher.heartbeat(0).await;
    until("readiness", async || daemon.get("/readyz").await.0 == 200).await;
}

#[tokio::test]
async fn presence_answers_for_each_id_asked_in_order() {
    let daemon = Daemon::start().await;
    let (_client, _) = daemon.member(&token("a b"), None).await;
    for query in ["user_ids=8,a%20b", "user_ids=8%2Ca+b", "user_id=8&user_id=a%20b"] {
        let (status, body) = daemon.get(&format!("/presence?{query}")).await;
        assert_eq!(status, 200);
        let body: serde_json::Value =
            serde_json::from_str(body.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!(body["users"][0]["user_id"], "8");
        assert_eq!(body["users"][0]["online"], false);
        assert_eq!(body["users"][1]["user_id"], "a b");
        assert_eq!(body["users"][1]["online"], true);
    }
    assert_eq!(daemon.get("/presence").await.0, 400);
}

#[tokio::test]
async fn counters_are_told_per_topic_and_for_prometheus() {
    let daemon = Daemon::start().await;
    let (mut client, _) = daemon.member(&token("7"), None).await;
    let (_other, _) = daemon.member(&token("7"), None).await;
    let mut pusher = daemon.pusher().await;
    pusher.publish(&event(Some(1), &["user:7"], "message.created", "{}")).await;
    client.news().await;
    let (_, topics) = daemon.get("/debug/topics").await;
    assert!(
        topics.ends_with(r#"[{"topic":"user:7","legacy":false,"sessions":2,"events":1}]"#),
        "{topics}"
    );
    let (_, metrics) = daemon.get("/metrics").await;
    assert!(metrics.contains("chaffer_push_events_total 1\n"), "{metrics}");
    assert!(metrics.contains("chaffer_push_sessions 2\n"), "{metrics}");
}

#[tokio::test]
async fn what_is_not_there_is_said_clearly() {
    let daemon = Daemon::start().await;
    let (status, body) = daemon.get("/nowhere").await;
    assert!(status == 404 && body.contains("/readyz"));
    let request =
        "POST /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let (status, body) = http(daemon.http, request).await;
    assert!(status == 405 && body.to_lowercase().contains("allow: get, head"), "{body}");
}
