//! Threads: started for a subject, found again, listed.

use anyhow::{Context, Result, ensure};
use chaffer_tests::Scene;
use serde_json::{Value, json};

use crate::cast::{Cast, id_of, ids, product, texts};

stories!(
    r1_contacting_a_vendor_opens_one_thread_per_subject,
    r1_a_browser_needs_the_shops_signature_for_an_order,
    r2_a_message_appears_on_the_other_side,
    r3_the_list_shows_the_latest_first,
    r5_a_vendor_admin_starts_a_thread_with_a_customer,
    r7_an_administrator_sees_answers_and_lists_any_thread,
    o_support_threads_are_the_operators,
    r8_an_administrator_who_becomes_an_operator_leaves_other_threads,
    a_thread_between_two_users,
    a_subject_that_makes_no_sense_is_refused,
    two_shops_calls_at_once_start_one_thread,
);

async fn r1_contacting_a_vendor_opens_one_thread_per_subject(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let start = |who: &str, subject: Value, message: Option<&str>| {
        let mut body = json!({"subject": subject, "vendor_id": "v1"});
        if let Some(text) = message {
            body["message"] = json!({"text": text});
        }
        let api = cast.shop.acting(who);
        async move { api.post("/v1/threads", body).await }
    };
    let first = start("buyer", product("p1"), Some("hello")).await?.expect(201)?;
    let id = id_of(&first)?;
    assert_eq!(first["subject"]["title"], "Product p1");
    assert_eq!(first["customer"]["id"], "buyer");
    assert_eq!(first["customer"]["name"], "Bea Buyer");
    assert_eq!(first["vendor"]["id"], "v1");
    assert_eq!(first["last_message"]["text"], "hello");
    assert_eq!(first["status"], "open");

    let again = start("buyer", product("p1"), Some("me again")).await?.expect(200)?;
    assert_eq!(id_of(&again)?, id);
    assert_eq!(again["last_message"]["text"], "me again");
    let silent = start("buyer", product("p1"), None).await?.expect(200)?;
    assert_eq!(id_of(&silent)?, id);
    let page = cast.seller.get(&format!("/v1/threads/{id}/messages")).await?.expect(200)?;
    assert_eq!(texts(&page["messages"]), ["hello", "me again"]);

    let other = start("buyer", product("p2"), None).await?.expect(201)?;
    let outsiders = start("outsider", product("p1"), None).await?.expect(201)?;
    let mut order = product("p1");
    order["type"] = json!("order");
    let order = start("buyer", order, None).await?.expect(201)?;
    let mut all = vec![id, id_of(&other)?, id_of(&outsiders)?, id_of(&order)?];
    all.dedup();
    assert_eq!(all.len(), 4, "each its own thread");
    Ok(())
}

async fn r1_a_browser_needs_the_shops_signature_for_an_order(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let subject = json!({"type": "order", "id": "77", "title": "Order 77", "url": "https://shop.example/o/77"});
    let parts = ["order", "77", "Order 77", "https://shop.example/o/77", "", "buyer", "v1"];
    let signature = cast.stack.subject_signature(parts)?;
    let body = |signature: Option<&str>, id: &str| {
        let mut body = json!({"subject": subject, "vendor_id": "v1"});
        body["subject"]["id"] = json!(id);
        if let Some(signature) = signature {
            body["subject_signature"] = json!(signature);
        }
        body
    };
    for refused in [
        cast.buyer.post("/v1/threads", body(None, "77")).await?,
        cast.buyer.post("/v1/threads", body(Some("00"), "77")).await?,
        cast.buyer.post("/v1/threads", body(Some(&signature), "78")).await?,
        cast.outsider.post("/v1/threads", body(Some(&signature), "77")).await?,
    ] {
        ensure!(matches!(refused.status, 403 | 422), "{refused}");
    }
    assert_eq!(cast.boss.get("/v1/threads").await?.expect(200)?["threads"], json!([]));
    let thread = cast.buyer.post("/v1/threads", body(Some(&signature), "77")).await?.expect(201)?;
    assert_eq!(thread["subject"]["id"], "77");
    // A vendor's page and support need none.
    let vendor = json!({"subject": {"type": "vendor", "id": "v1"}, "vendor_id": "v1"});
    cast.buyer.post("/v1/threads", vendor).await?.expect(201)?;
    let support = json!({"subject": {"type": "support", "id": "support"}});
    cast.buyer.post("/v1/threads", support).await?.expect(201)?;
    // But no more of them than one, and in no invented name.
    let other = json!({"subject": {"type": "support", "id": "urgent"}});
    cast.buyer.post("/v1/threads", other).await?.refused(403, "subject_signature_required")?;
    let titled = json!({"subject": {"type": "support", "id": "support", "title": "You won"}});
    cast.buyer.post("/v1/threads", titled).await?.refused(403, "subject_signature_required")?;
    Ok(())
}

async fn r2_a_message_appears_on_the_other_side(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let buyer = cast.buyer.listen().await?;
    let seller = cast.seller.listen().await?;
    let said = cast.buyer.say(thread, "Is it blue? Ну да").await?;
    assert_eq!(
        said["author"],
        json!({"id": "buyer", "role": "customer", "name": "Bea Buyer", "avatar_url": null})
    );
    for field in [
        "id",
        "thread_id",
        "author",
        "text",
        "attachments",
        "reply_to",
        "client_id",
        "created_at",
        "edited_at",
        "deleted_at",
        "read_at",
    ] {
        ensure!(said.get(field).is_some(), "a message has `{field}`: {said}");
    }
    for listener in [&buyer, &seller] {
        let heard = listener.hears("message.created", |data| data["id"] == said["id"]).await?;
        assert_eq!(heard["text"], said["text"]);
        assert_eq!(heard["author"], said["author"]);
        assert_eq!(heard["thread_id"], thread);
    }
    let answer = cast
        .seller
        .post(
            &format!("/v1/threads/{thread}/messages"),
            json!({"text": "Very.", "reply_to": said["id"]}),
        )
        .await?
        .expect(201)?;
    assert_eq!(answer["author"]["role"], "vendor_admin");
    assert_eq!(answer["flagged"], false, "the vendor sees flags");
    buyer.hears("message.created", |data| data["id"] == answer["id"]).await?;
    buyer.check()?;
    seller.check()
}

async fn r3_the_list_shows_the_latest_first(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let mut threads = Vec::new();
    for number in 0..7 {
        threads.push(cast.thread(&format!("p{number}")).await?);
    }
    let others = cast.thread_of("outsider", "p1").await?;
    for thread in [3, 0, 5] {
        cast.seller.say(threads[thread], "news").await?;
    }
    let order: Vec<i64> = [5, 0, 3, 6, 4, 2, 1].iter().map(|number| threads[*number]).collect();
    let whole = cast.buyer.get("/v1/threads").await?.expect(200)?;
    assert_eq!(ids(&whole["threads"]), order);
    assert_eq!(whole["next_cursor"], Value::Null);

    let (mut paged, mut path) = (Vec::new(), "/v1/threads?limit=3".to_owned());
    let mut sizes = Vec::new();
    loop {
        let page = cast.buyer.get(&path).await?.expect(200)?;
        sizes.push(ids(&page["threads"]).len());
        paged.extend(ids(&page["threads"]));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/threads?limit=3&cursor={cursor}");
    }
    assert_eq!(paged, order);
    assert_eq!(sizes, [3, 3, 1]);

    let unread = cast.buyer.get("/v1/threads?unread=true").await?.expect(200)?;
    assert_eq!(ids(&unread["threads"]), &order[..3]);
    let sellers = cast.seller.get("/v1/threads?customer_id=outsider").await?.expect(200)?;
    assert_eq!(ids(&sellers["threads"]), [others]);
    let none = cast.buyer.get("/v1/threads?subject_type=order").await?.expect(200)?;
    assert_eq!(ids(&none["threads"]), [0; 0]);
    let all = cast.boss.get("/v1/threads?vendor_id=v1&limit=100").await?.expect(200)?;
    assert_eq!(ids(&all["threads"]).len(), 8);
    Ok(())
}

async fn r5_a_vendor_admin_starts_a_thread_with_a_customer(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let buyer = cast.buyer.listen().await?;
    let subject = json!({"type": "order", "id": "5", "title": "Order 5"});
    let body = json!({"subject": subject, "customer_id": "buyer", "vendor_id": "v1",
        "message": {"text": "Your parcel left."}});
    let thread = cast.shop.acting("seller").post("/v1/threads", body.clone()).await?.expect(201)?;
    buyer.hears("thread.created", |data| data["id"] == thread["id"]).await?;
    buyer.hears("message.created", |data| data["text"] == "Your parcel left.").await?;
    let rivals = cast.shop.acting("rival").post("/v1/threads", body).await?;
    ensure!(matches!(rivals.status, 403 | 404 | 422), "{rivals}");
    Ok(())
}

async fn r7_an_administrator_sees_answers_and_lists_any_thread(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let boss = cast.boss.listen().await?;
    let buyer = cast.buyer.listen().await?;
    let said = cast.buyer.say(thread, "hello").await?;
    boss.hears("message.created", |data| data["id"] == said["id"]).await?;
    let list = cast.boss.get("/v1/threads").await?.expect(200)?;
    assert_eq!(ids(&list["threads"]), [thread]);
    let unread = cast.boss.get("/v1/unread").await?.expect(200)?;
    assert_eq!(unread["total"], 0, "staff count only what they have joined");
    let answer = cast.boss.say(thread, "The marketplace here.").await?;
    assert_eq!(answer["author"]["role"], "admin");
    buyer.hears("message.created", |data| data["id"] == answer["id"]).await?;

    cast.shop.user("root", json!({"role": "admin", "name": "R", "root": true})).await?;
    let root = cast.shop.person("root").await?;
    root.get(&format!("/v1/threads/{thread}")).await?.expect(200)?;
    for path in [
        "/v1/threads".to_owned(),
        format!("/v1/threads/{thread}"),
        format!("/v1/threads/{thread}/messages"),
    ] {
        cast.clerk.get(&path).await?.refused(403, "manage_messages_required")?;
    }
    Ok(())
}

async fn o_support_threads_are_the_operators(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let product = cast.thread("p1").await?;
    let helper = cast.helper.listen().await?;
    let subject =
        json!({"subject": {"type": "support", "id": "support"}, "message": {"text": "help!"}});
    let thread = id_of(&cast.buyer.post("/v1/threads", subject).await?.expect(201)?)?;
    helper.hears("message.created", |data| data["thread_id"] == thread).await?;
    let list = cast.helper.get("/v1/threads").await?.expect(200)?;
    assert_eq!(ids(&list["threads"]), [thread]);
    cast.helper.say(thread, "Here I am.").await?;
    cast.helper.get(&format!("/v1/threads/{product}")).await?.refused(404, "thread_not_found")?;
    cast.seller.get(&format!("/v1/threads/{thread}")).await?.refused(404, "thread_not_found")?;
    Ok(())
}

async fn r8_an_administrator_who_becomes_an_operator_leaves_other_threads(
    scene: &Scene,
) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let product = cast.thread("p1").await?;
    let subject =
        json!({"subject": {"type": "support", "id": "support"}, "message": {"text": "help!"}});
    let support = id_of(&cast.buyer.post("/v1/threads", subject).await?.expect(201)?)?;
    for thread in [product, support] {
        cast.boss.say(thread, "May I help?").await?;
    }
    cast.shop.put("/v1/users/boss", json!({"role": "operator", "name": "B"})).await?.expect(200)?;
    let boss = cast.shop.person("boss").await?;
    let list = boss.get("/v1/threads").await?.expect(200)?;
    assert_eq!(ids(&list["threads"]), [support]);
    for (thread, stays) in [(product, false), (support, true)] {
        let seen = cast.buyer.get(&format!("/v1/threads/{thread}")).await?.expect(200)?;
        let participants = seen["participants"].as_array().context("no participants")?;
        ensure!(participants.iter().any(|it| it["id"] == "boss") == stays, "{seen}");
    }
    let ear = boss.listen().await?;
    cast.buyer.say(product, "not for operators").await?;
    cast.buyer.say(support, "for operators").await?;
    ear.hears("message.created", |data| data["text"] == "for operators").await?;
    ensure!(ear.all("message.created").iter().all(|data| data["thread_id"] == support), "heard");
    ear.check()
}

async fn a_thread_between_two_users(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let body = json!({"subject": {"type": "user", "id": "outsider", "title": "Otto"}, "message": {"text": "hi"}});
    let answer = cast.shop.acting("buyer").post("/v1/threads", body).await?.expect(201)?;
    let thread = id_of(&answer)?;
    let otto = cast.outsider.listen().await?;
    cast.buyer.say(thread, "there?").await?;
    otto.hears("message.created", |data| data["text"] == "there?").await?;
    cast.outsider.say(thread, "yes").await?;
    assert_eq!(cast.outsider.get("/v1/unread").await?.expect(200)?["total"], 2);
    cast.seller.get(&format!("/v1/threads/{thread}")).await?.refused(404, "thread_not_found")?;
    Ok(())
}

async fn a_subject_that_makes_no_sense_is_refused(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let shop = cast.shop.acting("buyer");
    let subjects = [
        json!({"type": "planet", "id": "1"}),
        json!({"type": "product"}),
        json!({"type": "product", "id": ""}),
        json!({"type": "product", "id": "1", "url": "javascript:alert(1)"}),
        json!({"type": "product", "id": "1", "image_url": "data:text/html,x"}),
        json!({"type": "product", "id": "1", "url": "//shop.example"}),
        json!({"type": "user", "id": "nobody"}),
    ];
    for subject in subjects {
        let answer =
            shop.post("/v1/threads", json!({"subject": subject, "vendor_id": "v1"})).await?;
        assert_eq!(answer.status, 422, "{subject}: {answer}");
    }
    let answer =
        shop.post("/v1/threads", json!({"subject": product("1"), "vendor_id": "nowhere"})).await?;
    ensure!(matches!(answer.status, 404 | 422), "{answer}");
    let answer = shop.post("/v1/threads", json!({"subject": product("1")})).await?;
    assert_eq!(answer.status, 422, "a product has a vendor: {answer}");
    // A customer starts none for another.
    let body = json!({"subject": product("1"), "vendor_id": "v1", "customer_id": "outsider"});
    let answer = shop.post("/v1/threads", body).await?;
    ensure!(matches!(answer.status, 403 | 422), "{answer}");
    Ok(())
}

async fn two_shops_calls_at_once_start_one_thread(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let shop = cast.shop.acting("buyer");
    let body = json!({"subject": product("p1"), "vendor_id": "v1"});
    let calls = (0..30).map(|_| shop.post("/v1/threads", body.clone()));
    let mut created = 0;
    let mut found = Vec::new();
    for answer in futures_util::future::join_all(calls).await {
        let answer = answer?;
        ensure!(matches!(answer.status, 200 | 201), "{answer}");
        created += i32::from(answer.status == 201);
        found.push(id_of(&answer.body)?);
    }
    found.dedup();
    assert_eq!((created, found.len()), (1, 1));
    Ok(())
}
