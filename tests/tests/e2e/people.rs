//! Users, vendors and tokens, as the shop's backend keeps them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chaffer_tests::{PATIENCE, Scene, Stack, until};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use crate::cast::{Cast, vendor};

stories!(
    the_shop_keeps_its_users,
    ids_compare_as_bytes,
    a_user_that_makes_no_sense_is_refused,
    the_shop_keeps_its_vendors,
    a_token_lives_as_long_as_asked,
    an_expired_token_is_told_and_closes_its_socket,
    a_refreshed_token_keeps_the_socket,
    a_token_that_is_not_ours_opens_nothing,
);

async fn the_shop_keeps_its_users(scene: &Scene) -> Result<()> {
    let stack = Stack::start(scene).await?;
    let shop = stack.shop()?;
    let full = json!({"role": "customer", "name": "Жанна", "email": "z@shop.example",
        "avatar_url": "https://shop.example/z.png", "phone": "+49 1", "locale": "de"});
    let made = shop.put("/v1/users/7", full.clone()).await?.expect(201)?;
    for field in ["role", "name", "email", "avatar_url", "phone", "locale"] {
        assert_eq!(made[field], full[field], "{field} of {made}");
    }
    assert_eq!(made["id"], "7");
    shop.put("/v1/users/7", full.clone()).await?.expect(200)?;

    let patched = shop.patch("/v1/users/7", json!({"name": "Jeanne"})).await?.expect(200)?;
    assert_eq!(patched["name"], "Jeanne");
    assert_eq!(patched["email"], full["email"], "PATCH leaves what it does not name");
    let short = json!({"role": "customer", "name": "J"});
    let replaced = shop.put("/v1/users/7", short).await?.expect(200)?;
    assert_eq!(replaced["email"], json!(null), "PUT replaces: {replaced}");

    assert_eq!(shop.patch("/v1/users/nobody", json!({"name": "x"})).await?.status, 404);
    let person = shop.person("7").await?;
    assert_eq!(
        person.put("/v1/users/7", full).await?.status,
        403,
        "people are the shop's to change"
    );
    assert_eq!(person.post("/v1/users/7/tokens", json!({})).await?.status, 403);
    Ok(())
}

async fn ids_compare_as_bytes(scene: &Scene) -> Result<()> {
    let stack = Stack::start(scene).await?;
    let shop = stack.shop()?;
    for (id, name) in
        [("Ab", "one"), ("ab", "two"), ("ab%20", "three"), ("%C3%A4b", "four"), ("a:b", "5")]
    {
        let path = format!("/v1/users/{id}");
        let made = shop.put(&path, json!({"role": "customer", "name": name})).await?.expect(201)?;
        assert_eq!(made["name"], name);
    }
    let again = shop.patch("/v1/users/Ab", json!({})).await?.expect(200)?;
    assert_eq!((&again["id"], &again["name"]), (&json!("Ab"), &json!("one")));
    Ok(())
}

async fn a_user_that_makes_no_sense_is_refused(scene: &Scene) -> Result<()> {
    let stack = Stack::start(scene).await?;
    let shop = stack.shop()?;
    let cases = [
        (json!({"role": "king", "name": "x"}), "/role"),
        (json!({"name": "x"}), "/role"),
        (json!({"role": "vendor_admin", "name": "x", "vendor_id": "nowhere"}), "/vendor_id"),
        (json!({"role": "vendor_admin", "name": "x"}), "/vendor_id"),
        (
            json!({"role": "customer", "name": "x", "avatar_url": "javascript:alert(1)"}),
            "/avatar_url",
        ),
        (json!({"role": "customer", "name": "x", "manage_messages": true}), "/manage_messages"),
        (json!({"role": "customer", "name": "x", "rank": 1}), "/rank"),
    ];
    for (user, pointer) in cases {
        let answer = shop.put("/v1/users/x", user.clone()).await?;
        assert_eq!(answer.status, 422, "{user}: {answer}");
        let pointers: Vec<_> = answer.body["errors"].as_array().into_iter().flatten().collect();
        ensure!(
            pointers.iter().any(|error| error["pointer"] == pointer),
            "{user}: no error at {pointer}: {answer}"
        );
    }
    let long = "x".repeat(129);
    assert_eq!(
        shop.put(&format!("/v1/users/{long}"), json!({"role": "customer", "name": "x"}))
            .await?
            .status,
        422
    );
    Ok(())
}

async fn the_shop_keeps_its_vendors(scene: &Scene) -> Result<()> {
    let stack = Stack::start(scene).await?;
    let shop = stack.shop()?;
    let made = shop.put("/v1/vendors/3", vendor("Three")).await?.expect(201)?;
    assert_eq!((&made["id"], &made["status"]), (&json!("3"), &json!("active")));
    let disabled = json!({"name": "Three", "status": "disabled", "plan_includes_messaging": true});
    let changed = shop.put("/v1/vendors/3", disabled).await?.expect(200)?;
    assert_eq!(changed["status"], "disabled");
    let answer = shop.put("/v1/vendors/3", json!({"name": "Three", "status": "asleep"})).await?;
    assert_eq!(answer.status, 422, "{answer}");
    shop.user("7", json!({"role": "customer", "name": "x"})).await?;
    let person = shop.person("7").await?;
    assert_eq!(person.put("/v1/vendors/3", vendor("Mine")).await?.status, 403);
    Ok(())
}

async fn a_token_lives_as_long_as_asked(scene: &Scene) -> Result<()> {
    let stack = Stack::start(scene).await?;
    let shop = stack.shop()?;
    shop.user("7", json!({"role": "customer", "name": "x"})).await?;
    for (body, seconds) in [(json!({}), 3600), (json!({"ttl_seconds": 60}), 60)] {
        let token = shop.post("/v1/users/7/tokens", body).await?.expect(201)?;
        assert_eq!(token["websocket_url"], stack.websocket_url());
        let ends: DateTime<Utc> = token["expires_at"].as_str().context("no expires_at")?.parse()?;
        let expected = Utc::now() + TimeDelta::seconds(seconds);
        ensure!((ends - expected).abs() < TimeDelta::seconds(5), "{token} ends at {expected}?");
    }
    for ttl in [0, -1, 3601] {
        let answer = shop.post("/v1/users/7/tokens", json!({"ttl_seconds": ttl})).await?;
        assert_eq!(answer.status, 422, "{ttl}: {answer}");
    }
    assert_eq!(shop.post("/v1/users/nobody/tokens", json!({})).await?.status, 404);
    Ok(())
}

async fn an_expired_token_is_told_and_closes_its_socket(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let short =
        cast.shop.post("/v1/users/buyer/tokens", json!({"ttl_seconds": 2})).await?.expect(201)?;
    let token = short["token"].as_str().context("no token")?;
    let mut person = cast.buyer.clone();
    person.token = token.into();
    let (mut socket, _) = person.socket(None).await?;
    assert_eq!(socket.closed(PATIENCE).await?.code, 4402);
    let api = cast.stack.anonymous()?.with_bearer(token);
    until("the API refuses the token as well", async || {
        Ok(api.get("/v1/unread").await?.status == 401)
    })
    .await
}

async fn a_refreshed_token_keeps_the_socket(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let short =
        cast.shop.post("/v1/users/buyer/tokens", json!({"ttl_seconds": 8})).await?.expect(201)?;
    let ends: DateTime<Utc> = short["expires_at"].as_str().context("no expires_at")?.parse()?;
    let mut person = cast.buyer.clone();
    person.token = short["token"].as_str().context("no token")?.into();
    let (mut socket, _) = person.socket(None).await?;
    socket.send(&json!({"type": "refresh", "token": cast.buyer.token})).await?;
    let refreshed = socket.answer().await?;
    assert_eq!(refreshed["type"], "refreshed", "{refreshed}");
    ensure!(refreshed["expires_at"] != short["expires_at"], "{refreshed}");
    until("the first token has ended", async || Ok(Utc::now() > ends + TimeDelta::seconds(1)))
        .await?;
    cast.seller.say(thread, "still there?").await?;
    assert_eq!(socket.event("message.created").await?["data"]["text"], "still there?");

    let (mut other, _) = cast.outsider.socket(None).await?;
    other.send(&json!({"type": "refresh", "token": cast.buyer.token})).await?;
    let frame = tokio::time::timeout(Duration::from_secs(10), other.answer()).await?;
    ensure!(
        frame.as_ref().is_ok_and(|frame| frame["type"] == "error")
            || frame.as_ref().is_err_and(|closed| closed.to_string().contains("44")),
        "another person's token must not be taken: {frame:?}"
    );
    Ok(())
}

async fn a_token_that_is_not_ours_opens_nothing(scene: &Scene) -> Result<()> {
    use chaffer_shared::token::{Bearer, Claims, TokenKeys};
    use chaffer_shared::topic::Topic;

    let cast = Cast::new(scene).await?;
    let now = Utc::now();
    let claims = |sub: &str| {
        let topics = vec![Topic::User(sub.into()), Topic::Staff];
        Claims::new(Bearer::User, sub, topics, "j", now, 600)
    };
    let foreign = TokenKeys::parse(&["k1:another-secret-of-the-same-length-0123".into()])?;
    let ours = cast.stack.token_keys()?;
    let mut changed = cast.buyer.token.clone();
    changed.truncate(changed.len() - 3);
    let tokens = [foreign.sign(&claims("buyer"))?, changed, "nonsense".into(), String::new()];
    for token in tokens {
        let api = cast.stack.anonymous()?.with_bearer(&token);
        assert_eq!(api.get("/v1/threads").await?.status, 401, "{token}");
        let mut person = cast.buyer.clone();
        person.token = token.clone();
        let closed = person.socket(None).await.err().context("welcomed")?.to_string();
        ensure!(closed.contains("4401"), "{token}: {closed}");
    }
    // Signed by us, for somebody who is not there: nothing but 401, as for a user who has been removed.
    let api = cast.stack.anonymous()?.with_bearer(&ours.sign(&claims("ghost"))?);
    assert_eq!(api.get("/v1/threads").await?.status, 401);
    Ok(())
}
