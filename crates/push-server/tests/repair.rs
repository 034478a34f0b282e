//! Delivery: each stored event once and in order, whatever is lost, restarted or unreachable.

use serde_json::{Value, json};

use crate::support::*;

const NAME: &str = "message.created";

fn stored(count: i64) -> ApiState {
    let events =
        (1..=count).map(|id| event(Some(id), &["user:7"], NAME, &id.to_string())).collect();
    ApiState { events, last: count, ..ApiState::default() }
}

async fn ids(client: &mut Client, count: usize) -> Vec<i64> {
    let mut ids = Vec::new();
    while ids.len() < count {
        let event = client.news().await;
        assert_eq!(event["type"], "event", "{event}");
        ids.push(event["id"].as_i64().unwrap());
    }
    ids
}

#[tokio::test]
async fn a_gap_is_closed_before_later_events_go_on() {
    let daemon = Daemon::start().await;
    let (mut client, _) = daemon.member(&token("7"), None).await;
    let mut pusher = daemon.pusher().await;
    let events: Vec<_> = (0..4).map(|_| daemon.api.store(&["user:7"], NAME, "{}")).collect();
    pusher.publish(&events[0]).await;
    pusher.publish(&events[3]).await;
    assert_eq!(ids(&mut client, 4).await, [1, 2, 3, 4]);
    client.settle().await;
}

#[tokio::test]
async fn a_heartbeat_that_is_ahead_brings_what_was_lost() {
    let daemon = Daemon::start().await;
    let (mut client, _) = daemon.member(&token("7"), None).await;
    let mut pusher = daemon.pusher().await;
    daemon.api.store(&["user:7"], NAME, "{}");
    daemon.api.store(&["user:7"], NAME, "{}");
    pusher.heartbeat(2).await;
    assert_eq!(ids(&mut client, 2).await, [1, 2]);
}

#[tokio::test]
async fn what_comes_twice_is_told_once() {
    let daemon = Daemon::start().await;
    let (mut client, _) = daemon.member(&token("7"), None).await;
    let mut pusher = daemon.pusher().await;
    let event = daemon.api.store(&["user:7"], NAME, "{}");
    pusher.publish(&event).await;
    pusher.publish(&event).await;
    until("the duplicate", async || daemon.metrics.duplicates.get() == 1).await;
    assert_eq!(ids(&mut client, 1).await, [1]);
    client.settle().await;
}

#[tokio::test]
async fn after_a_restart_clients_resume_from_what_the_api_has_stored() {
    let daemon = Daemon::with(stored(2500), |_| {}).await;
    daemon.at(2500).await;
    let (mut client, welcome) = daemon.member(&token("7"), Some(2490)).await;
    assert_eq!((&welcome["last"], &welcome["resume"]), (&json!(2500), &json!("replayed")));
    assert_eq!(ids(&mut client, 10).await, (2491..=2500).collect::<Vec<_>>());
    client.settle().await;
    let (mut client, _) = daemon.member(&token("7"), Some(0)).await;
    assert_eq!(ids(&mut client, 2500).await, (1..=2500).collect::<Vec<_>>());
    let (mut client, welcome) = daemon.member(&token("7"), Some(2500)).await;
    assert_eq!(welcome["resume"], "replayed");
    client.settle().await;
    let (mut client, welcome) = daemon.member(&token("7"), None).await;
    assert_eq!(welcome["resume"], "none");
    client.settle().await;
}

#[tokio::test]
async fn a_client_hears_of_a_gap_when_memory_does_not_reach_back() {
    let state = ApiState { oldest: 100, events: stored(200).events.split_off(99), ..stored(200) };
    let daemon = Daemon::with(state, |config| config.push.client_queue_bytes = 4096).await;
    daemon.at(200).await;
    assert_eq!(daemon.member(&token("7"), Some(98)).await.1["resume"], "gap");
    // It reaches, but what was missed would fill the client's queue.
    assert_eq!(daemon.member(&token("7"), Some(99)).await.1["resume"], "gap");
    let (mut client, welcome) = daemon.member(&token("7"), Some(195)).await;
    assert_eq!(welcome["resume"], "replayed");
    assert_eq!(ids(&mut client, 5).await, [196, 197, 198, 199, 200]);
}

#[tokio::test]
async fn while_the_api_does_not_answer_what_is_not_stored_passes_and_the_rest_waits() {
    let daemon = Daemon::start().await;
    let (mut client, _) = daemon.member(&token("7"), None).await;
    let mut page = daemon.wamp().await;
    page.say(r#"[5,"kittens"]"#).await;
    page.say(r#"[2,"x","p"]"#).await;
    assert_eq!(page.json().await[0], 4);
    let mut pusher = daemon.pusher().await;
    daemon.api.with(|api| api.down = true);
    let events: Vec<_> = (0..3).map(|_| daemon.api.store(&["user:7"], NAME, "{}")).collect();
    pusher.publish(&events[2]).await;
    until("a failure", async || daemon.metrics.repairs_failed.get() > 0).await;
    pusher.publish(&event(None, &["user:7"], "typing", "{}")).await;
    pusher.push(br#"{"category":"kittens"}"#).await;
    assert_eq!(client.json().await["event"], "typing");
    assert_eq!(page.json().await[0], 8);
    daemon.api.with(|api| api.down = false);
    assert_eq!(ids(&mut client, 3).await, [1, 2, 3]);
}

#[tokio::test]
async fn a_daemon_that_cannot_ask_at_start_promises_nothing_and_loses_nothing() {
    let api = FakeApi::start(ApiState { down: true, ..stored(50) }).await;
    let daemon = Daemon::beside(api, |_| {});
    let (mut old, welcome) = daemon.member(&token("7"), Some(48)).await;
    assert_eq!((&welcome["last"], &welcome["resume"]), (&Value::Null, &json!("gap")));
    let (mut fresh, welcome) = daemon.member(&token("7"), None).await;
    assert_eq!((&welcome["last"], &welcome["resume"]), (&Value::Null, &json!("none")));
    // One that knows more than was stored when the daemon could last have known.
    let (mut ahead, _) = daemon.member(&token("7"), Some(51)).await;
    let mut pusher = daemon.pusher().await;
    let live: Vec<_> = (0..3).map(|_| daemon.api.store(&["user:7"], NAME, "{}")).collect();
    pusher.publish(&live[1]).await;
    pusher.publish(&event(None, &["user:7"], "typing", "{}")).await;
    for client in [&mut old, &mut fresh, &mut ahead] {
        assert_eq!(client.json().await["event"], "typing");
    }
    daemon.api.with(|api| api.down = false);
    pusher.publish(&live[2]).await;
    assert_eq!(ids(&mut old, 5).await, [49, 50, 51, 52, 53]);
    assert_eq!(ids(&mut ahead, 2).await, [52, 53]);
    // Those of the last minute, so whatever came since it joined is among them, in order.
    let seen = ids(&mut fresh, 53).await;
    assert_eq!(seen, (1..=53).collect::<Vec<_>>());
    for client in [&mut old, &mut fresh, &mut ahead] {
        client.settle().await;
    }
}

#[tokio::test]
async fn events_that_a_client_has_seen_already_are_not_sent_again() {
    let daemon = Daemon::with(stored(5), |_| {}).await;
    daemon.at(5).await;
    // Stored, and read by the client from the feed, but lost on the way to us.
    daemon.api.store(&["user:7"], NAME, "{}");
    daemon.api.store(&["user:7"], NAME, "{}");
    let (mut client, welcome) = daemon.member(&token("7"), Some(6)).await;
    assert_eq!(welcome["resume"], "gap");
    assert_eq!(ids(&mut client, 1).await, [7]);
    client.settle().await;
}

#[tokio::test]
async fn a_cursor_from_another_database_does_not_silence_a_client() {
    let daemon = Daemon::with(stored(5), |_| {}).await;
    daemon.at(5).await;
    let asked = daemon.api.with(|api| api.questions);
    let (mut client, welcome) = daemon.member(&token("7"), Some(1000)).await;
    assert_eq!((&welcome["resume"], &welcome["last"]), (&json!("gap"), &json!(5)));
    until("the question", async || daemon.api.with(|api| api.questions) > asked).await;
    let mut pusher = daemon.pusher().await;
    // The answer may still be on its way when the first of these arrives.
    for _ in 0..50 {
        let event = daemon.api.store(&["user:7"], NAME, "{}");
        pusher.publish(&event).await;
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let first = ids(&mut client, 1).await[0];
    assert!(first < 56);
}

#[tokio::test]
async fn when_the_api_no_longer_keeps_what_was_missed_clients_come_back_and_hear_of_the_gap() {
    let daemon = Daemon::with(stored(5), |_| {}).await;
    daemon.at(5).await;
    let (mut client, _) = daemon.member(&token("7"), None).await;
    let mut page = daemon.wamp().await;
    daemon.api.with(|api| {
        *api = ApiState { events: stored(20).events.split_off(14), oldest: 15, ..stored(20) }
    });
    let mut pusher = daemon.pusher().await;
    pusher.heartbeat(20).await;
    let (code, reason) = client.closed().await;
    assert_eq!(code, 1012);
    assert!(reason.starts_with("retry_after_ms="));
    daemon.at(20).await;
    assert_eq!(daemon.member(&token("7"), Some(5)).await.1["resume"], "gap");
    let (mut client, welcome) = daemon.member(&token("7"), Some(18)).await;
    assert_eq!(welcome["resume"], "replayed");
    assert_eq!(ids(&mut client, 2).await, [19, 20]);
    page.say(r#"[2,"x","p"]"#).await;
    assert_eq!(page.json().await[0], 4);
}

#[tokio::test]
async fn when_the_database_was_restored_the_daemon_starts_over_from_its_last_event() {
    let daemon = Daemon::with(stored(50), |_| {}).await;
    daemon.at(50).await;
    let (mut client, _) = daemon.member(&token("7"), None).await;
    daemon.api.with(|api| *api = ApiState { oldest: 1, ..stored(10) });
    let mut pusher = daemon.pusher().await;
    pusher.heartbeat(10).await;
    assert_eq!(client.closed().await.0, 1012);
    daemon.at(10).await;
    let (mut client, welcome) = daemon.member(&token("7"), Some(50)).await;
    assert_eq!((&welcome["resume"], &welcome["last"]), (&json!("gap"), &json!(10)));
    let (mut other, _) = daemon.member(&token("7"), None).await;
    // Its cursor is doubted until the API has said that there is no event 50.
    client.settle().await;
    for id in 11..=60 {
        let event = daemon.api.store(&["user:7"], NAME, "{}");
        pusher.publish(&event).await;
        assert_eq!(ids(&mut other, 1).await, [id]);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(ids(&mut client, 1).await[0] < 50);
}

/// One reader with a cursor, who reconnects and checks what it gets.
struct Reader {
    cursor: i64,
    seen: Vec<i64>,
}

impl Reader {
    /// Reads until it has seen `goal` or, sooner, the connection ends.
    async fn read(&mut self, daemon: &Daemon, goal: i64, stop_after: usize) {
        let (mut client, welcome) = daemon.member(&token("7"), Some(self.cursor)).await;
        let gap = welcome["resume"] == "gap";
        if gap {
            // What a client does: the feed.
            let missed = daemon.api.with(|api| {
                let after = api.events.iter().filter(|event| event.id.unwrap() > self.cursor);
                after.map(|event| event.id.unwrap()).collect::<Vec<_>>()
            });
            missed.into_iter().for_each(|id| self.see(id));
        }
        let mut read = 0;
        while self.cursor < goal && read < stop_after {
            let message = client.json().await;
            match message["type"].as_str().unwrap() {
                "event" => {
                    let id = message["id"].as_i64().unwrap();
                    assert!(gap || id > self.cursor, "an event came twice");
                    self.see(id);
                }
                "cursor" => {
                    let id = message["id"].as_i64().unwrap();
                    assert!(id >= self.cursor);
                    // All events concern this reader, so a cursor can only name one that it has.
                    assert_eq!(Some(&id), self.seen.last().or(Some(&id)));
                }
                other => panic!("{other}"),
            }
            read += 1;
        }
    }

    fn see(&mut self, id: i64) {
        // Clients compare ids; order and completeness is what they rely on.
        if id > self.cursor {
            assert_eq!(id, self.cursor + 1, "an event was skipped");
            self.cursor = id;
            self.seen.push(id);
        }
    }
}

#[tokio::test]
async fn readers_end_with_every_event_once_in_order_whatever_is_cut_lost_or_restarted() {
    const ROUNDS: i64 = 12;
    const EVENTS: i64 = 200;
    let api = FakeApi::start(ApiState::default()).await;
    let mut readers: Vec<_> = (0..5).map(|_| Reader { cursor: 0, seen: vec![] }).collect();
    for round in 0..ROUNDS {
        // Each round is a daemon that dies without warning at its end; some cannot ask the API at first.
        let late = round % 4 == 3;
        api.with(|api| api.down = late);
        let daemon = Daemon::beside(api.clone(), |_| {});
        let goal = (round + 1) * EVENTS;
        let publisher = async {
            let mut pusher = daemon.pusher().await;
            for n in 0..EVENTS {
                let event = daemon.api.store(&["user:7"], NAME, "{}");
                match rand::random_range(0..10) {
                    0 => {}
                    1 => {
                        pusher = daemon.pusher().await;
                        pusher.publish(&event).await;
                    }
                    2 => {
                        pusher.publish(&event).await;
                        pusher.publish(&event).await;
                    }
                    _ => pusher.publish(&event).await,
                }
                if n == EVENTS / 2 {
                    daemon.api.with(|api| api.down = false);
                }
            }
            pusher.heartbeat(goal).await;
        };
        let reading = async {
            let read = readers.iter_mut().enumerate().map(async |(n, reader)| {
                // The last reader leaves each round early, so it is always behind.
                let goal = if n == 4 { goal - 50 } else { goal };
                while reader.cursor < goal {
                    reader.read(&daemon, goal, rand::random_range(1..100)).await;
                }
            });
            futures_util::future::join_all(read).await;
        };
        soon("the round", async { tokio::join!(publisher, reading) }).await;
        drop(daemon);
    }
    for reader in &readers[..4] {
        assert_eq!(reader.seen, (1..=ROUNDS * EVENTS).collect::<Vec<_>>());
    }
}
