//! The shop's own programs are told what happens (B4).

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chaffer_tests::{Posted, Receiver, Scene, Setup, until};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};

use crate::cast::Cast;

stories!(
    b4_a_message_is_posted_signed_to_the_shop,
    b4_a_failed_post_is_tried_again_under_the_same_id,
    b4_nothing_is_lost_when_the_api_is_killed,
    b4_an_endpoint_that_is_gone_is_switched_off,
    b4_what_waits_for_a_webhook_that_is_switched_off_is_given_up,
    b4_both_secrets_sign_during_a_rotation,
    b4_a_test_call_and_a_replay_show_in_the_log,
    b4_a_webhook_cannot_reach_into_the_private_network,
    b4_what_makes_no_sense_is_refused,
);

async fn cast(scene: &Scene, retries: &[i64]) -> Result<Cast> {
    let retries: Vec<toml::Value> = retries.iter().map(|it| toml::Value::Integer(*it)).collect();
    let setup = Setup::new(scene)?
        .set("outgoing.allowed_networks", vec!["127.0.0.1"])
        .set("webhooks.retry_seconds", retries);
    Cast::with(scene, setup).await
}

async fn subscribe(cast: &Cast, receiver: &Receiver, events: Value) -> Result<Value> {
    let body = json!({"url": receiver.url, "events": events});
    cast.shop.post("/v1/webhooks", body).await?.expect(201)
}

fn text<'v>(value: &'v Value, name: &str) -> Result<&'v str> {
    value[name].as_str().with_context(|| format!("no {name}: {value}"))
}

/// Verifies one post as the specification of Standard Webhooks says.
fn is_signed(post: &Posted, secret: &str) -> Result<bool> {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").context("no whsec_")?)?;
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key)?;
    let (id, at) = (post.header("webhook-id"), post.header("webhook-timestamp"));
    mac.update(format!("{id}.{at}.{}", post.body).as_bytes());
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    Ok(post.header("webhook-signature").split(' ').any(|signature| signature == expected))
}

async fn log(cast: &Cast, webhook: &Value) -> Result<Vec<Value>> {
    let path = format!("/v1/webhooks/{}/deliveries", text(webhook, "id")?);
    let page = cast.shop.get(&path).await?.expect(200)?;
    Ok(page["deliveries"].as_array().cloned().unwrap_or_default())
}

async fn b4_a_message_is_posted_signed_to_the_shop(scene: &Scene) -> Result<()> {
    let cast = cast(scene, &[]).await?;
    let thread = cast.thread("p1").await?;
    cast.buyer.say(thread, "before the webhook was there").await?;
    let receiver = Receiver::start().await?;
    let webhook = subscribe(&cast, &receiver, json!(["message.created", "thread.read"])).await?;
    let message = cast.buyer.say(thread, "Здравствуйте").await?;
    let read = json!({"up_to": message["id"]});
    cast.seller.post(&format!("/v1/threads/{thread}/read"), read).await?.expect(200)?;

    let posted = receiver.wait_for(2).await?;
    let secret = text(&webhook, "secret")?;
    for post in &posted {
        ensure!(is_signed(post, secret)?, "{post:?}");
        assert_eq!(post.header("content-type"), "application/json");
        assert_eq!(post.path, "/hook");
    }
    let find = |name: &str| -> Result<Value> {
        let bodies: Result<Vec<Value>> = posted.iter().map(Posted::json).collect();
        bodies?.into_iter().find(|body| body["type"] == name).with_context(|| name.to_owned())
    };
    let told = find("message.created")?;
    assert_eq!(told["data"]["text"], "Здравствуйте");
    assert_eq!(told["data"]["thread_id"], thread);
    assert_eq!(told["timestamp"], message["created_at"]);
    assert_eq!(find("thread.read")?["data"]["user_id"], "seller");
    // Known to the shop by its id alone from now on.
    let again = cast.shop.get(&format!("/v1/webhooks/{}", text(&webhook, "id")?)).await?;
    ensure!(!again.text.contains("whsec_"), "{again}");
    until("the log tells of both", async || {
        let log = log(&cast, &webhook).await?;
        Ok(log.len() == 2 && log.iter().all(|entry| entry["state"] == "delivered"))
    })
    .await
}

async fn b4_a_failed_post_is_tried_again_under_the_same_id(scene: &Scene) -> Result<()> {
    let cast = cast(scene, &[0, 0, 0]).await?;
    let receiver = Receiver::start().await?;
    let webhook = subscribe(&cast, &receiver, json!(["message.created"])).await?;
    let thread = cast.thread("p1").await?;
    // A redirect is no answer: it could lead anywhere.
    receiver.answer_next(&[500, 302, 429]);
    cast.buyer.say(thread, "in the end").await?;
    let posted = receiver.wait_for(4).await?;
    let id = posted.first().context("no post")?.header("webhook-id").to_owned();
    for post in &posted {
        assert_eq!(post.header("webhook-id"), id);
        ensure!(is_signed(post, text(&webhook, "secret")?)?, "{post:?}");
    }
    until("it is delivered", async || Ok(log(&cast, &webhook).await?[0]["state"] == "delivered"))
        .await?;
    let entry = &log(&cast, &webhook).await?[0];
    let statuses: Vec<_> =
        entry["attempts"].as_array().into_iter().flatten().map(|it| &it["status"]).collect();
    assert_eq!(statuses, [500, 302, 429, 200]);

    // And one that never succeeds is given up where everybody can see it.
    receiver.answer_always(503);
    cast.buyer.say(thread, "in vain").await?;
    until("it is given up", async || Ok(log(&cast, &webhook).await?[0]["state"] == "failed"))
        .await?;
    let entry = &log(&cast, &webhook).await?[0];
    assert_eq!(entry["attempts"].as_array().map(Vec::len), Some(4));
    assert_eq!(entry["next_attempt_at"], Value::Null);

    // Until somebody asks for it, when the receiver is mended.
    receiver.answer_always(200);
    let path = format!("/v1/webhooks/{}/replay-failed", text(&webhook, "id")?);
    let since = json!({"since": entry["created_at"]});
    assert_eq!(cast.shop.post(&path, since).await?.expect(202)?["replayed"], 1);
    until("it is delivered", async || Ok(log(&cast, &webhook).await?[0]["state"] == "delivered"))
        .await
}

async fn b4_nothing_is_lost_when_the_api_is_killed(scene: &Scene) -> Result<()> {
    let setup = Setup::new(scene)?
        .set("outgoing.allowed_networks", vec!["127.0.0.1"])
        // What was under way when it died is tried again when its time has run out.
        .set("outgoing.timeout_seconds", 1);
    let mut cast = Cast::with(scene, setup).await?;
    let receiver = Receiver::start().await?;
    let webhook = subscribe(&cast, &receiver, json!(["message.created"])).await?;
    let thread = cast.thread("p1").await?;
    let mut said = Vec::new();
    for round in 0..3 {
        for number in 0..10 {
            said.push(format!("{round}/{number}"));
            cast.buyer.say(thread, &format!("{round}/{number}")).await?;
        }
        cast.stack.crash_api()?;
        cast.stack.api_ready().await?;
    }
    until("every message has come", async || {
        let mut ids: Vec<(String, String)> = Vec::new();
        for post in receiver.posted() {
            let text = post.json()?["data"]["text"].as_str().unwrap_or_default().to_owned();
            ids.push((text, post.header("webhook-id").to_owned()));
        }
        // At least once each; twice only under the same id.
        ids.sort();
        ids.dedup();
        let texts: Vec<&str> = ids.iter().map(|(text, _)| text.as_str()).collect();
        Ok(texts == said)
    })
    .await?;
    ensure!(!log(&cast, &webhook).await?.is_empty());
    Ok(())
}

async fn b4_an_endpoint_that_is_gone_is_switched_off(scene: &Scene) -> Result<()> {
    let cast = cast(scene, &[0, 0]).await?;
    let receiver = Receiver::start().await?;
    let webhook = subscribe(&cast, &receiver, json!(["message.created"])).await?;
    let thread = cast.thread("p1").await?;
    receiver.answer_always(410);
    cast.buyer.say(thread, "one").await?;
    let path = format!("/v1/webhooks/{}", text(&webhook, "id")?);
    until("it is switched off", async || {
        Ok(cast.shop.get(&path).await?.expect(200)?["status"] == "disabled")
    })
    .await?;
    let reason = cast.shop.get(&path).await?.body["disabled_reason"].clone();
    assert_eq!(reason, "it answered 410 Gone");
    let refused = cast.shop.post(&format!("{path}/test"), json!({})).await?;
    assert_eq!((refused.status, &refused.body["code"]), (409, &json!("webhook_disabled")));

    cast.buyer.say(thread, "two").await?;
    receiver.answer_always(200);
    let on = cast.shop.patch(&path, json!({"status": "active"})).await?.expect(200)?;
    assert_eq!(on["disabled_reason"], Value::Null);
    cast.buyer.say(thread, "three").await?;
    let posted = receiver.wait_for(2).await?;
    assert_eq!(posted[0].json()?["data"]["text"], "one");
    assert_eq!(posted[1].json()?["data"]["text"], "three");
    Ok(())
}

async fn b4_what_waits_for_a_webhook_that_is_switched_off_is_given_up(scene: &Scene) -> Result<()> {
    let cast = cast(scene, &[3600]).await?;
    let receiver = Receiver::start().await?;
    let webhook = subscribe(&cast, &receiver, json!(["message.created"])).await?;
    let thread = cast.thread("p1").await?;
    receiver.answer_always(503);
    let said = cast.buyer.say(thread, "waits").await?;
    until("it was tried", async || {
        Ok(log(&cast, &webhook).await?.iter().any(|it| it["attempts"][0].is_object()))
    })
    .await?;
    let path = format!("/v1/webhooks/{}", text(&webhook, "id")?);
    cast.shop.patch(&path, json!({"status": "disabled"})).await?.expect(200)?;
    cast.buyer.say(thread, "while it was off").await?;
    // As if the process had ended before all was given up.
    let left = "UPDATE webhook_deliveries SET state = 'pending', next_attempt_at = created_at";
    cast.stack.database.query(left).await?;
    receiver.answer_always(200);
    cast.shop.patch(&path, json!({"status": "active"})).await?.expect(200)?;
    let waited = &log(&cast, &webhook).await?[0];
    assert_eq!((&waited["state"], &waited["next_attempt_at"]), (&json!("failed"), &Value::Null));
    cast.buyer.say(thread, "on again").await?;
    assert_eq!(receiver.wait_for(2).await?[1].json()?["data"]["text"], "on again");
    // It is not lost: who wants it asks for it.
    let since = json!({"since": said["created_at"]});
    let path = format!("{path}/replay-failed");
    assert_eq!(cast.shop.post(&path, since).await?.expect(202)?["replayed"], 1);
    assert_eq!(receiver.wait_for(3).await?[2].json()?["data"]["text"], "waits");
    Ok(())
}

async fn b4_both_secrets_sign_during_a_rotation(scene: &Scene) -> Result<()> {
    let cast = cast(scene, &[]).await?;
    let receiver = Receiver::start().await?;
    let webhook = subscribe(&cast, &receiver, json!(["message.created"])).await?;
    let path = format!("/v1/webhooks/{}/rotate-secret", text(&webhook, "id")?);
    let rotated = cast.shop.post(&path, json!({})).await?.expect(200)?;
    let (old, new) = (text(&webhook, "secret")?, text(&rotated, "secret")?);
    ensure!(old != new);
    let thread = cast.thread("p1").await?;
    cast.buyer.say(thread, "hello").await?;
    let post = &receiver.wait_for(1).await?[0];
    ensure!(is_signed(post, old)? && is_signed(post, new)?, "{post:?}");
    Ok(())
}

async fn b4_a_test_call_and_a_replay_show_in_the_log(scene: &Scene) -> Result<()> {
    let cast = cast(scene, &[]).await?;
    let receiver = Receiver::start().await?;
    let webhook = subscribe(&cast, &receiver, json!(["message.created"])).await?;
    let path = format!("/v1/webhooks/{}", text(&webhook, "id")?);
    let test = cast.shop.post(&format!("{path}/test"), json!({})).await?.expect(202)?;
    let post = &receiver.wait_for(1).await?[0];
    assert_eq!(post.json()?["type"], "webhook.test");
    assert_eq!(post.header("webhook-id"), text(&test, "id")?);

    let one = format!("{path}/deliveries/{}", text(&test, "id")?);
    until("it is delivered", async || {
        Ok(cast.shop.get(&one).await?.expect(200)?["state"] == "delivered")
    })
    .await?;
    cast.shop.post(&format!("{one}/replay"), json!({})).await?.expect(202)?;
    let posted = receiver.wait_for(2).await?;
    assert_eq!(posted[1].header("webhook-id"), post.header("webhook-id"));

    cast.shop.delete(&path).await?.expect(204)?;
    assert_eq!(cast.shop.get(&one).await?.status, 404);
    Ok(())
}

async fn b4_a_webhook_cannot_reach_into_the_private_network(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let receiver = Receiver::start().await?;
    let port = receiver.url.rsplit(':').next().context("no port")?;
    for host in ["127.0.0.1", "127.1", "2130706433", "0", "[::1]", "[::ffff:7f00:1]"] {
        let body = json!({"url": format!("http://{host}:{port}"), "events": ["message.created"]});
        let refused = cast.shop.post("/v1/webhooks", body).await?;
        assert_eq!(refused.status, 422, "{host}: {refused}");
        ensure!(refused.text.contains("outgoing.allowed_networks"), "{refused}");
    }
    // What a name leads to shows only when it is called.
    let body = json!({"url": format!("http://localhost:{port}"), "events": ["message.created"]});
    let webhook = cast.shop.post("/v1/webhooks", body).await?.expect(201)?;
    let path = format!("/v1/webhooks/{}/test", text(&webhook, "id")?);
    cast.shop.post(&path, json!({})).await?.expect(202)?;
    until("it was tried", async || {
        let log = log(&cast, &webhook).await?;
        let error = log[0]["attempts"][0]["error"].as_str().unwrap_or_default().to_owned();
        Ok(error.contains("outgoing.allowed_networks"))
    })
    .await?;
    assert_eq!(receiver.posted().len(), 0);
    Ok(())
}

async fn b4_what_makes_no_sense_is_refused(scene: &Scene) -> Result<()> {
    let cast = cast(scene, &[]).await?;
    let bad = [
        json!({"url": "https://shop.example/", "events": []}),
        json!({"url": "https://shop.example/", "events": ["session.revoked"]}),
        json!({"url": "https://shop.example/", "events": ["message.flagged", "message.flagged"]}),
        json!({"url": "ftp://shop.example/", "events": ["message.created"]}),
        json!({"url": "https://me:pw@shop.example/", "events": ["message.created"]}),
        json!({"url": "https://shop.example/", "events": ["message.created"], "colour": 1}),
        json!({"url": "https://shop.example/"}),
    ];
    for body in bad {
        let refused = cast.shop.post("/v1/webhooks", body.clone()).await?;
        assert_eq!(refused.status, 422, "{body}: {refused}");
    }
    let missing = cast.shop.get("/v1/webhooks/wh_none").await?;
    assert_eq!((missing.status, &missing.body["code"]), (404, &json!("webhook_not_found")));
    for person in [&cast.buyer, &cast.seller, &cast.boss] {
        assert_eq!(person.get("/v1/webhooks").await?.status, 403);
    }
    Ok(())
}
