//! Sending again never makes a second one.

use anyhow::{Result, ensure};
use chaffer_tests::{Answer, Api, Scene};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cast::{Cast, product};

stories!(
    b10_a_hundred_posts_of_one_client_id_are_one_message,
    b10_a_client_id_counts_for_ever_and_per_sender,
    b10_a_client_id_with_another_body_is_refused,
    b10_a_hundred_posts_with_one_idempotency_key_are_one_thread,
    an_idempotency_key_belongs_to_its_caller_and_body,
);

async fn b10_a_hundred_posts_of_one_client_id_are_one_message(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let seller = cast.seller.listen().await?;
    let path = format!("/v1/threads/{thread}/messages");
    let body = json!({"text": "once", "client_id": "c-1"});
    let answers = join_all((0..100).map(|_| cast.buyer.post(&path, body.clone()))).await;
    let answers: Vec<Answer> = answers.into_iter().collect::<Result<_>>()?;
    let count = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((count(201), count(200)), (1, 99));
    for answer in &answers {
        assert_eq!(answer.body, answers[0].body);
    }
    let database = &cast.stack.database;
    assert_eq!(database.number("SELECT COUNT(*) FROM messages").await?, 1);
    let events = "SELECT COUNT(*) FROM events WHERE name = 'message.created'";
    assert_eq!(database.number(events).await?, 1);
    // What is said next arrives after all that the hundred could have caused.
    let end = cast.buyer.say(thread, "end").await?;
    seller.hears("message.created", |data| data["id"] == end["id"]).await?;
    assert_eq!(seller.all("message.created").len(), 2);
    assert_eq!(cast.seller.get("/v1/unread").await?.expect(200)?["total"], 2);
    seller.check()
}

async fn b10_a_client_id_counts_for_ever_and_per_sender(scene: &Scene) -> Result<()> {
    let mut cast = Cast::new(scene).await?;
    let (one, two) = (cast.thread("p1").await?, cast.thread("p2").await?);
    let path = |thread: i64| format!("/v1/threads/{thread}/messages");
    let body = json!({"text": "x", "client_id": "Ab"});
    let first = cast.buyer.post(&path(one), body.clone()).await?.expect(201)?;
    cast.stack.api.stop(chaffer_tests::Stack::STOP).await?;
    cast.stack.api.start()?;
    cast.stack.api_ready().await?;
    let again = cast.buyer.post(&path(one), body.clone()).await?.expect(200)?;
    assert_eq!(again, first);
    let shops = cast.shop.acting("buyer").post(&path(one), body.clone()).await?.expect(200)?;
    assert_eq!(shops["id"], first["id"], "the same sender through the shop");
    let sellers = cast.seller.post(&path(one), body.clone()).await?.expect(201)?;
    ensure!(sellers["id"] != first["id"], "another sender's is another message");
    let small = json!({"text": "x", "client_id": "ab"});
    cast.buyer.post(&path(one), small).await?.expect(201)?;
    // In another thread the same id is the same id: never a second message.
    let elsewhere = cast.buyer.post(&path(two), body).await?;
    elsewhere.refused(409, "client_id_reused")?;
    Ok(())
}

async fn b10_a_client_id_with_another_body_is_refused(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let path = format!("/v1/threads/{thread}/messages");
    let first =
        cast.buyer.post(&path, json!({"text": "one", "client_id": "c"})).await?.expect(201)?;
    let other = json!({"text": "two", "client_id": "c"});
    cast.buyer.post(&path, other).await?.refused(409, "client_id_reused")?;
    let reply = json!({"text": "one", "client_id": "c", "reply_to": first["id"]});
    cast.buyer.post(&path, reply).await?.refused(409, "client_id_reused")?;
    for client_id in [json!(""), json!("x".repeat(201)), json!(5)] {
        let answer = cast.buyer.post(&path, json!({"text": "x", "client_id": client_id})).await?;
        assert_eq!(answer.status, 422, "{answer}");
    }
    assert_eq!(cast.stack.database.number("SELECT COUNT(*) FROM messages").await?, 1);
    Ok(())
}

async fn keyed(api: &Api, path: &str, key: &str, body: &Value) -> Result<Answer> {
    api.send(api.request(Method::POST, path).header("Idempotency-Key", key).json(body)).await
}

async fn b10_a_hundred_posts_with_one_idempotency_key_are_one_thread(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let body = json!({"subject": product("p1"), "vendor_id": "v1", "message": {"text": "once"}});
    let api = cast.shop.acting("buyer");
    let answers = join_all((0..100).map(|_| keyed(&api, "/v1/threads", "k-1", &body))).await;
    let answers: Vec<Answer> = answers.into_iter().collect::<Result<_>>()?;
    for answer in &answers {
        assert_eq!(
            (answer.status, &answer.body),
            (201, &answers[0].body),
            "the first answer again"
        );
    }
    let database = &cast.stack.database;
    assert_eq!(database.number("SELECT COUNT(*) FROM threads").await?, 1);
    assert_eq!(database.number("SELECT COUNT(*) FROM messages").await?, 1);
    let events = "SELECT COUNT(*) FROM events WHERE name IN ('message.created', 'thread.created')";
    assert_eq!(database.number(events).await?, 2);
    let other = json!({"subject": product("p1"), "vendor_id": "v1", "message": {"text": "twice"}});
    assert_eq!(keyed(&api, "/v1/threads", "k-1", &other).await?.status, 409);
    Ok(())
}

async fn an_idempotency_key_belongs_to_its_caller_and_body(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let (mine, others) = (cast.thread("p1").await?, cast.thread_of("outsider", "p1").await?);
    let body = json!({"text": "x"});
    let path = |thread: i64| format!("/v1/threads/{thread}/messages");
    let first = keyed(&cast.buyer, &path(mine), "k", &body).await?.expect(201)?;
    let again = keyed(&cast.buyer, &path(mine), "k", &body).await?.expect(201)?;
    assert_eq!(again, first);
    let outsiders = keyed(&cast.outsider, &path(others), "k", &body).await?.expect(201)?;
    ensure!(outsiders["id"] != first["id"], "another caller's key is another key");
    // The same key on another path is another request.
    let second = cast.thread("p2").await?;
    assert_eq!(keyed(&cast.buyer, &path(second), "k", &body).await?.status, 409);
    // A refused call leaves nothing behind: mended, it works under the same key.
    assert_eq!(keyed(&cast.buyer, &path(mine), "k2", &json!({"text": ""})).await?.status, 422);
    keyed(&cast.buyer, &path(mine), "k2", &body).await?.expect(201)?;
    let long = "k".repeat(201);
    let answer = keyed(&cast.buyer, &path(mine), &long, &body).await?;
    ensure!(matches!(answer.status, 400 | 422), "{answer}");
    Ok(())
}
