//! Vendors that may not be written to, and people whose rights end.

use anyhow::{Result, ensure};
use chaffer_tests::{PATIENCE, Scene};
use serde_json::json;

use crate::cast::{Cast, id_of, ids, product, texts};

stories!(
    r9_a_disabled_vendor_is_read_only,
    r10_a_plan_without_messaging_is_read_only,
    r8_an_administrator_without_the_right_sees_nothing,
    a_vendor_admin_who_moves_loses_the_old_vendor,
    a_vendor_admin_who_becomes_a_customer_hears_nothing_more,
);

async fn read_only(cast: &Cast, vendor: serde_json::Value) -> Result<()> {
    let thread = cast.thread("p1").await?;
    let said = cast.buyer.say(thread, "before").await?;
    cast.shop.vendor("v1", vendor).await?;
    let path = format!("/v1/threads/{thread}/messages");
    for person in [&cast.buyer, &cast.seller] {
        person.post(&path, json!({"text": "x"})).await?.refused(403, "messaging_disabled")?;
        let page = person.get(&path).await?.expect(200)?;
        assert_eq!(texts(&page["messages"]), ["before"], "history stays readable");
    }
    cast.boss.get(&path).await?.expect(200)?;
    let body = json!({"subject": product("p2"), "vendor_id": "v1"});
    cast.shop
        .acting("buyer")
        .post("/v1/threads", body)
        .await?
        .refused(403, "messaging_disabled")?;
    let body = json!({"subject": product("p1"), "vendor_id": "v1", "message": {"text": "x"}});
    cast.shop
        .acting("buyer")
        .post("/v1/threads", body)
        .await?
        .refused(403, "messaging_disabled")?;
    cast.seller
        .post(&format!("/v1/threads/{thread}/read"), json!({"up_to": said["id"]}))
        .await?
        .expect(200)?;

    cast.shop.vendor("v1", crate::cast::vendor("One")).await?;
    cast.buyer.say(thread, "after").await?;
    Ok(())
}

async fn r9_a_disabled_vendor_is_read_only(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let vendor = json!({"name": "One", "status": "disabled", "plan_includes_messaging": true});
    read_only(&cast, vendor).await
}

async fn r10_a_plan_without_messaging_is_read_only(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let vendor = json!({"name": "One", "status": "active", "plan_includes_messaging": false});
    read_only(&cast, vendor).await
}

async fn r8_an_administrator_without_the_right_sees_nothing(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let (mut boss, _) = cast.boss.socket(None).await?;
    let (mut clerk, _) = cast.clerk.socket(None).await?;
    cast.buyer.say(thread, "one").await?;
    boss.event("message.created").await?;
    assert_eq!(clerk.pending().await?, Vec::<serde_json::Value>::new());
    // The right is taken away: the socket closes, and the token that is left opens nothing.
    cast.shop.patch("/v1/users/boss", json!({"manage_messages": false})).await?.expect(200)?;
    assert_eq!(boss.closed(PATIENCE).await?.code, 4403);
    let answer = cast.boss.get(&format!("/v1/threads/{thread}")).await?;
    ensure!(matches!(answer.status, 401 | 403), "{answer}");
    let again = cast.boss.socket(None).await.err().map(|error| error.to_string());
    ensure!(
        again.is_some_and(|error| error.contains("44")),
        "the old token must not open a socket"
    );
    // And given: a new token hears.
    cast.shop.patch("/v1/users/clerk", json!({"manage_messages": true})).await?.expect(200)?;
    let clerk = cast.shop.person("clerk").await?.listen().await?;
    cast.buyer.say(thread, "two").await?;
    clerk.hears("message.created", |data| data["text"] == "two").await?;
    Ok(())
}

async fn a_vendor_admin_who_moves_loses_the_old_vendor(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let said = cast.buyer.say(thread, "for v1").await?;
    let body = json!({"subject": product("q1"), "vendor_id": "v2", "message": {"text": "for v2"}});
    let second = id_of(&cast.shop.acting("buyer").post("/v1/threads", body).await?.expect(201)?)?;
    assert_eq!(cast.seller.get("/v1/unread").await?.expect(200)?["total"], 1);
    let (mut socket, _) = cast.seller.socket(None).await?;
    cast.shop
        .user("seller", json!({"role": "vendor_admin", "name": "S", "vendor_id": "v2"}))
        .await?;
    assert_eq!(socket.closed(PATIENCE).await?.code, 4403);

    let moved = cast.shop.person("seller").await?;
    let list = moved.get("/v1/threads").await?.expect(200)?;
    assert_eq!(ids(&list["threads"]), [second]);
    moved.get(&format!("/v1/threads/{thread}")).await?.refused(404, "thread_not_found")?;
    moved.get(&format!("/v1/threads/{thread}/messages")).await?.refused(404, "thread_not_found")?;
    let read = json!({"up_to": said["id"]});
    moved
        .post(&format!("/v1/threads/{thread}/read"), read)
        .await?
        .refused(404, "thread_not_found")?;
    let counts = moved.get("/v1/unread").await?.expect(200)?;
    assert_eq!(counts["total"], 0, "{counts}");
    let badge =
        cast.shop.post("/v1/unread/batch", json!({"user_ids": ["seller"]})).await?.expect(200)?;
    assert_eq!(badge["counts"]["seller"], 0);
    let listener = moved.listen().await?;
    let from = moved.now().await?;
    cast.buyer.say(thread, "still for v1").await?;
    cast.buyer.say(second, "to the new vendor").await?;
    listener.hears("message.created", |data| data["text"] == "to the new vendor").await?;
    for heard in moved.feed(0).await?.iter().filter(|event| event["id"].as_i64() > Some(from)) {
        ensure!(heard["data"]["thread_id"] != thread && heard["data"]["id"] != thread, "{heard}");
    }
    ensure!(listener.all("message.created").iter().all(|data| data["thread_id"] == second));
    Ok(())
}

async fn a_vendor_admin_who_becomes_a_customer_hears_nothing_more(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let (mut socket, _) = cast.seller.socket(None).await?;
    cast.shop.user("seller", json!({"role": "customer", "name": "S"})).await?;
    assert_eq!(socket.closed(PATIENCE).await?.code, 4403);
    let now = cast.shop.person("seller").await?;
    now.get(&format!("/v1/threads/{thread}")).await?.refused(404, "thread_not_found")?;
    assert_eq!(now.get("/v1/threads").await?.expect(200)?["threads"], json!([]));
    let (mut socket, _) = now.socket(None).await?;
    let mut buyer = cast.buyer.socket(None).await?.0;
    cast.buyer.say(thread, "private").await?;
    buyer.event("message.created").await?;
    assert_eq!(socket.pending().await?, Vec::<serde_json::Value>::new());
    Ok(())
}
