//! The event feed: what a caller would have heard, and long polling.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chaffer_tests::{PATIENCE, Scene, Stack, until};
use serde_json::{Value, json};

use crate::cast::Cast;

stories!(
    the_feed_and_the_socket_tell_the_same,
    the_feed_comes_in_pages,
    long_polling_wakes_at_once,
    long_polling_ends_with_nothing,
    many_can_wait_while_others_write,
    a_cursor_too_old_is_gone,
    the_push_daemons_door_is_shut_to_others,
);

async fn the_feed_and_the_socket_tell_the_same(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let from = cast.seller.now().await?;
    let seller = cast.seller.listen().await?;
    let thread = cast.thread("p1").await?;
    for number in 0..20 {
        cast.buyer.say(thread, &number.to_string()).await?;
    }
    let last = cast.seller.say(thread, "last").await?;
    cast.buyer
        .post(&format!("/v1/threads/{thread}/read"), json!({"up_to": last["id"]}))
        .await?
        .expect(200)?;
    seller.hears("thread.read", |data| data["up_to"] == last["id"]).await?;
    let feed = cast.seller.feed(from).await?;
    // Rendered when it is read, an event tells of its thread or message as it is by then.
    let gist =
        |event: &str, data: &Value| (event.to_owned(), data["id"].clone(), data["text"].clone());
    let told: Vec<_> = seller.heard().iter().map(|it| (it.id, gist(&it.event, &it.data))).collect();
    let read: Vec<_> = feed
        .iter()
        .map(|it| (it["id"].as_i64(), gist(it["event"].as_str().unwrap_or(""), &it["data"])))
        .collect();
    assert_eq!(told, read);
    ensure!(feed.iter().all(|event| event["at"].is_string() && event.get("type").is_none()));
    ensure!(feed.iter().all(|event| event.get("topics").is_none()), "topics are not told");
    seller.check()
}

async fn the_feed_comes_in_pages(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let (mine, others) = (cast.thread("p1").await?, cast.thread_of("outsider", "p2").await?);
    let from = cast.buyer.now().await?;
    for number in 0..12 {
        cast.seller.say(mine, &number.to_string()).await?;
        cast.seller.say(others, "not for the buyer").await?;
    }
    let (mut after, mut texts) = (from, Vec::new());
    loop {
        let page =
            cast.buyer.get(&format!("/v1/events?after={after}&limit=5")).await?.expect(200)?;
        let events = page["events"].as_array().context("no events")?;
        ensure!(events.len() <= 5);
        if events.is_empty() {
            break;
        }
        let messages = events.iter().filter(|event| event["event"] == "message.created");
        texts.extend(messages.map(|event| event["data"]["text"].clone()));
        let next = page["next_cursor"].as_str().and_then(|it| it.parse().ok());
        after = page["next_cursor"].as_i64().or(next).context("no next_cursor")?;
    }
    assert_eq!(texts, (0..12).map(|number| json!(number.to_string())).collect::<Vec<_>>());
    Ok(())
}

async fn long_polling_wakes_at_once(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let mut after = cast.seller.now().await?;
    let mut delays = Vec::new();
    for number in 0..10 {
        let seller = cast.seller.clone();
        let poll = tokio::spawn(async move {
            let path = format!("/v1/events?after={after}&wait=30");
            let page = seller.get(&path).await?.expect(200)?;
            Ok::<_, anyhow::Error>((page, Instant::now()))
        });
        // Noise that is not for the seller must not wake it with an empty page.
        cast.shop.user(&format!("n{number}"), json!({"role": "customer", "name": "n"})).await?;
        ensure!(!poll.is_finished(), "it did not wait");
        cast.buyer.say(thread, &number.to_string()).await?;
        let said = Instant::now();
        let (page, woken) = poll.await??;
        let events = page["events"].as_array().context("no events")?;
        ensure!(!events.is_empty(), "{page}");
        delays.push(woken.saturating_duration_since(said));
        after = events.iter().filter_map(|event| event["id"].as_i64()).max().context("no id")?;
        after = after.max(cast.seller.now().await?);
    }
    delays.sort();
    ensure!(delays[5] < Duration::from_millis(500), "slow to wake: {delays:?}");
    Ok(())
}

async fn long_polling_ends_with_nothing(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let after = cast.seller.now().await?;
    let start = Instant::now();
    let page = cast.seller.get(&format!("/v1/events?after={after}&wait=1")).await?.expect(200)?;
    ensure!(start.elapsed() >= Duration::from_millis(900) && start.elapsed() < PATIENCE);
    assert_eq!(page["events"], json!([]));
    let start = Instant::now();
    cast.seller.get(&format!("/v1/events?after={after}")).await?.expect(200)?;
    ensure!(start.elapsed() < Duration::from_secs(5), "without `wait` it does not wait");
    Ok(())
}

async fn many_can_wait_while_others_write(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let after = cast.seller.now().await?;
    let polls: Vec<_> = (0..200)
        .map(|number| {
            let person = if number == 0 { cast.seller.clone() } else { cast.outsider.clone() };
            let wait = if number == 0 { 30 } else { 5 };
            tokio::spawn(async move {
                person.get(&format!("/v1/events?after={after}&wait={wait}")).await
            })
        })
        .collect();
    cast.buyer.say(thread, "meanwhile").await?;
    for (number, poll) in polls.into_iter().enumerate() {
        let page = poll.await??.expect(200)?;
        assert_eq!(page["events"] == json!([]), number != 0, "{number}: {page}");
    }
    Ok(())
}

async fn a_cursor_too_old_is_gone(scene: &Scene) -> Result<()> {
    let mut cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let from = cast.seller.now().await?;
    for number in 0..10 {
        cast.buyer.say(thread, &number.to_string()).await?;
    }
    // A week and a day go by for half of them; a start looks at once for what is too old.
    let cut = cast.stack.database.number("SELECT MAX(id) - 5 FROM events").await?;
    let old = format!("UPDATE events SET at = '2020-01-01 00:00:00' WHERE id <= {cut}");
    cast.stack.database.query(&old).await?;
    cast.stack.api.stop(Stack::STOP).await?;
    cast.stack.api.start()?;
    cast.stack.api_ready().await?;
    until("the old cursor is refused", async || {
        Ok(cast.seller.get(&format!("/v1/events?after={from}")).await?.status == 410)
    })
    .await?;
    cast.seller.get(&format!("/v1/events?after={from}")).await?.refused(410, "cursor_expired")?;
    cast.seller.get(&format!("/v1/events?after={cut}")).await?.expect(200)?;
    Ok(())
}

async fn the_push_daemons_door_is_shut_to_others(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    cast.thread("p1").await?;
    let path = "/internal/v1/events?after=0&limit=10";
    let nobody = cast.stack.anonymous()?;
    let bearer = cast.stack.internal_bearer()?;
    let missed = nobody.with_bearer(&bearer).get(path).await?.expect(200)?;
    ensure!(missed["events"].as_array().is_some_and(|events| !events.is_empty()), "{missed}");
    for api in [&nobody, &*cast.shop, &cast.boss, &nobody.with_bearer("00")] {
        let answer = api.get(path).await?;
        ensure!(matches!(answer.status, 401 | 403 | 404), "{answer}");
        ensure!(answer.body["events"] == Value::Null);
    }
    Ok(())
}
