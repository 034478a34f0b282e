//! Read state, unread counts, typing.

use anyhow::{Result, ensure};
use chaffer_tests::Scene;
use serde_json::{Value, json};

use crate::cast::{Cast, id_of, ids};

stories!(
    r3_unread_counts_rise_and_fall,
    r5_one_admin_reading_leaves_the_others_count,
    s6_the_author_sees_when_it_was_read,
    the_shop_asks_for_many_badges_at_once,
    reading_never_goes_back_and_never_beyond,
    b2_typing_is_heard_and_not_kept,
);

/// The caller's unread counts.
async fn unread(api: &chaffer_tests::Api) -> Result<Value> {
    api.get("/v1/unread").await?.expect(200)
}

async fn r3_unread_counts_rise_and_fall(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let (one, two) = (cast.thread("p1").await?, cast.thread("p2").await?);
    let listener = cast.seller.listen().await?;
    let mut last = 0;
    for thread in [one, one, two, one] {
        last = id_of(&cast.buyer.say(thread, "x").await?)?;
    }
    let counts = unread(&cast.seller).await?;
    assert_eq!(counts["total"], 4);
    let of = |thread: i64| json!({"id": thread, "unread_count": if thread == one { 3 } else { 1 }});
    let threads = counts["threads"].as_array().cloned().unwrap_or_default();
    ensure!(
        threads.len() == 2 && threads.contains(&of(one)) && threads.contains(&of(two)),
        "{counts}"
    );
    assert_eq!(unread(&cast.buyer).await?["total"], 0, "one's own messages are read");
    let list = cast.seller.get("/v1/threads").await?.expect(200)?;
    assert_eq!((ids(&list["threads"])[0], &list["threads"][0]["unread_count"]), (one, &json!(3)));
    listener.hears("unread.changed", |data| data["total"] == 4).await?;

    let path = format!("/v1/threads/{one}/read");
    let answer = cast.seller.post(&path, json!({"up_to": last})).await?.expect(200)?;
    assert_eq!(answer, json!({"unread_count": 0}));
    let counts = unread(&cast.seller).await?;
    assert_eq!(counts, json!({"total": 1, "threads": [{"id": two, "unread_count": 1}]}));
    let told = json!({"thread_id": one, "unread_count": 0, "total": 1});
    listener.hears("unread.changed", |data| *data == told).await?;
    // Who answers has read.
    cast.seller.say(two, "y").await?;
    let after = unread(&cast.seller).await?;
    ensure!(after["total"] == 0 || after["total"] == 1, "{after}");
    assert_eq!(unread(&cast.buyer).await?["total"], 1);
    listener.check()
}

async fn r5_one_admin_reading_leaves_the_others_count(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let colleague = json!({"role": "vendor_admin", "name": "Col", "vendor_id": "v1"});
    let colleague = cast.shop.new_person("colleague", colleague).await?;
    let thread = cast.thread("p1").await?;
    let last = id_of(&cast.buyer.say(thread, "x").await?)?;
    let path = format!("/v1/threads/{thread}/read");
    cast.seller.post(&path, json!({"up_to": last})).await?.expect(200)?;
    assert_eq!(unread(&cast.seller).await?["total"], 0);
    assert_eq!(unread(&colleague).await?["total"], 1);
    // A colleague who comes later starts with nothing unread.
    let late = json!({"role": "vendor_admin", "name": "Late", "vendor_id": "v1"});
    let late = cast.shop.new_person("late", late).await?;
    assert_eq!(unread(&late).await?["total"], 0);
    cast.buyer.say(thread, "y").await?;
    assert_eq!(unread(&late).await?["total"], 1);
    assert_eq!(unread(&colleague).await?["total"], 2);
    Ok(())
}

async fn s6_the_author_sees_when_it_was_read(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let listener = cast.buyer.listen().await?;
    let first = id_of(&cast.buyer.say(thread, "one").await?)?;
    cast.buyer.say(thread, "two").await?;
    cast.boss.say(thread, "staff").await?;
    cast.seller
        .post(&format!("/v1/threads/{thread}/read"), json!({"up_to": first}))
        .await?
        .expect(200)?;
    let heard = listener.hears("thread.read", |data| data["user_id"] == "seller").await?;
    assert_eq!((&heard["thread_id"], &heard["up_to"]), (&json!(thread), &json!(first)));
    let page = cast.buyer.get(&format!("/v1/threads/{thread}/messages")).await?.expect(200)?;
    assert_eq!(page["messages"][0]["read_at"], heard["read_at"]);
    ensure!(page["messages"][0]["read_at"].is_string(), "{page}");
    assert_eq!(page["messages"][1]["read_at"], Value::Null);
    Ok(())
}

async fn the_shop_asks_for_many_badges_at_once(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    cast.buyer.say(thread, "x").await?;
    let body = json!({"user_ids": ["seller", "buyer", "nobody"]});
    let counts = cast.shop.post("/v1/unread/batch", body.clone()).await?.expect(200)?;
    assert_eq!(counts["counts"]["seller"], 1);
    assert_eq!(counts["counts"]["buyer"], 0);
    let many: Vec<String> = (0..500).map(|number| number.to_string()).collect();
    cast.shop.post("/v1/unread/batch", json!({"user_ids": many})).await?.expect(200)?;
    let too_many: Vec<String> = (0..501).map(|number| number.to_string()).collect();
    let answer = cast.shop.post("/v1/unread/batch", json!({"user_ids": too_many})).await?;
    assert_eq!(answer.status, 422, "{answer}");
    assert_eq!(cast.seller.post("/v1/unread/batch", body).await?.status, 403);
    Ok(())
}

async fn reading_never_goes_back_and_never_beyond(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let (thread, other) = (cast.thread("p1").await?, cast.thread("p2").await?);
    let first = id_of(&cast.buyer.say(thread, "1").await?)?;
    let elsewhere = id_of(&cast.buyer.say(other, "elsewhere").await?)?;
    let second = id_of(&cast.buyer.say(thread, "2").await?)?;
    let path = format!("/v1/threads/{thread}/read");
    let count = async |up_to: i64| -> Result<Value> {
        Ok(cast.seller.post(&path, json!({"up_to": up_to})).await?.expect(200)?["unread_count"]
            .clone())
    };
    assert_eq!(count(first).await?, 1);
    assert_eq!(count(second).await?, 0);
    assert_eq!(count(first).await?, 0, "reading does not go back");
    // A message of another thread: refused, or as far as this thread goes; never more than that.
    let answer = cast.seller.post(&path, json!({"up_to": elsewhere})).await?;
    ensure!(matches!(answer.status, 200 | 404 | 422), "{answer}");
    cast.seller.post(&path, json!({"up_to": second + 1000})).await?;
    cast.buyer.say(thread, "3").await?;
    let counts = unread(&cast.seller).await?;
    assert_eq!(counts["total"], 2, "what is written later is unread: {counts}");
    for bad in [json!({}), json!({"up_to": "x"}), json!({"up_to": -1})] {
        let answer = cast.seller.post(&path, bad).await?;
        assert_eq!(answer.status, 422, "{answer}");
    }
    Ok(())
}

async fn b2_typing_is_heard_and_not_kept(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let from = cast.seller.now().await?;
    let seller = cast.seller.listen().await?;
    let (mut outsider, _) = cast.outsider.socket(None).await?;
    let (mut rival, _) = cast.rival.socket(None).await?;
    cast.buyer.post(&format!("/v1/threads/{thread}/typing"), json!({})).await?.expect(204)?;
    let heard = seller.hears("typing", |data| data["thread_id"] == thread).await?;
    assert_eq!(heard["user"]["id"], "buyer");
    let typed = seller.heard().into_iter().find(|heard| heard.event == "typing");
    assert_eq!(typed.and_then(|heard| heard.id), None, "it has no number");
    assert_eq!(cast.seller.feed(from).await?, Vec::<Value>::new());
    assert_eq!(
        cast.stack.database.number("SELECT COUNT(*) FROM events WHERE name = 'typing'").await?,
        0
    );
    assert_eq!(outsider.pending().await?, Vec::<Value>::new());
    assert_eq!(rival.pending().await?, Vec::<Value>::new());
    Ok(())
}
