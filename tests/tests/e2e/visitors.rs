//! Visitors: people without an account ask the shop's operators, and nobody else.

use anyhow::{Context, Result, ensure};
use chaffer_shared::token::{Bearer, Claims};
use chaffer_tests::{PATIENCE, Person, Scene, eventually, until};
use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::cast::{Cast, id_of, product, texts};

stories!(
    o_a_visitor_asks_and_hears_the_operators_answer,
    o_a_visitor_comes_back_as_the_same_person,
    o_a_visitors_id_is_nobody_elses,
    o_visitors_are_switched_off_by_a_setting,
    b6_a_visitor_is_exported_erased_and_forgotten,
);

const SESSIONS: &str = "/v1/widget/sessions";
const PAGE: &str = "https://shop.example/p/1042";

fn question(text: &str) -> Value {
    json!({"subject": {"type": "support", "id": "support"}, "message": {"text": text}})
}

async fn asks(visitor: &Person, text: &str) -> Result<i64> {
    id_of(&visitor.post("/v1/threads", question(text)).await?.expect(201)?)
}

async fn people(cast: &Cast) -> Result<i64> {
    cast.stack.database.number("SELECT COUNT(*) FROM users").await
}

async fn o_a_visitor_asks_and_hears_the_operators_answer(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let nobody = cast.stack.anonymous()?;
    let known = people(&cast).await?;
    let visitor = nobody.visitor(json!({"name": "Vera", "page_url": PAGE})).await?;
    let other = nobody.visitor(json!({})).await?;
    ensure!(visitor.id.starts_with("visitor:") && visitor.id != other.id, "{}", visitor.id);
    // Looking leaves nothing behind.
    assert_eq!(visitor.get("/v1/threads").await?.expect(200)?["threads"], json!([]));
    assert_eq!(visitor.get("/v1/unread").await?.expect(200)?["total"], 0);
    let (mut here, welcome) = visitor.socket(None).await?;
    assert_eq!(welcome["user_id"], visitor.id.as_str());
    let (mut elsewhere, _) = other.socket(None).await?;
    let (mut helper, _) = cast.helper.socket(None).await?;
    assert_eq!(people(&cast).await?, known);
    let path = format!("/v1/users/{}", visitor.id);
    cast.shop.get(&path).await?.refused(404, "user_not_found")?;

    let thread = asks(&visitor, "Do you ship to Malta?").await?;
    assert_eq!(people(&cast).await?, known + 1);
    let heard = helper.event("thread.created").await?["data"].clone();
    let vera = json!({"id": visitor.id, "role": "visitor", "name": "Vera", "avatar_url": null});
    assert_eq!(heard["customer"], vera);
    assert_eq!(heard["subject"]["url"], PAGE, "operators see where it was begun");
    assert_eq!(helper.event("message.created").await?["data"]["author"], vera);
    let queue = cast.helper.get("/v1/support/queue").await?.expect(200)?;
    assert_eq!(queue["waiting"][0]["thread"]["id"], thread);

    here.event("message.created").await?;
    cast.helper.say(thread, "We do.").await?;
    assert_eq!(here.event("thread.updated").await?["data"]["support"]["state"], "assigned");
    let answer = eventually("the answer comes", PATIENCE, async || {
        let message = here.event("message.created").await?["data"].clone();
        Ok((message["text"] == "We do.").then_some(message))
    })
    .await?;
    assert_eq!(answer["author"]["id"], "helper");
    let here_now = format!("/v1/presence?user_ids={}", visitor.id);
    until("who has the thread sees that the visitor is there", async || {
        Ok(cast.helper.get(&here_now).await?.expect(200)?["users"][0]["online"] == true)
    })
    .await?;
    let unread = here.event("unread.changed").await?;
    assert_eq!(unread["data"]["total"], 1);
    let typing = format!("/v1/threads/{thread}/typing");
    cast.helper.post(&typing, json!({})).await?.expect(204)?;
    assert_eq!(here.event("typing").await?["data"]["user"]["id"], "helper");
    visitor.post(&typing, json!({})).await?.expect(204)?;
    // Each hears of both.
    for id in ["helper", &visitor.id] {
        assert_eq!(helper.event("typing").await?["data"]["user"]["id"], id);
    }
    let read = json!({"up_to": answer["id"]});
    visitor.post(&format!("/v1/threads/{thread}/read"), read).await?.expect(200)?;
    assert_eq!(helper.event("thread.read").await?["data"]["user_id"], visitor.id.as_str());
    assert_eq!(visitor.get("/v1/unread").await?.expect(200)?["total"], 0);
    visitor.say(thread, "Lovely").await?;
    // Asking again goes on in the same conversation.
    let again = visitor.post("/v1/threads", question("And Gozo?")).await?.expect(200)?;
    assert_eq!(again["id"], thread);
    let page = visitor.get(&format!("/v1/threads/{thread}/messages")).await?.expect(200)?;
    let said = ["Do you ship to Malta?", "", "We do.", "Lovely", "And Gozo?"];
    assert_eq!(texts(&page["messages"]), said);
    ensure!(visitor.feed(0).await?.len() > 5);

    // Another visitor hears, sees and finds nothing of it, nor does a customer.
    let heard = elsewhere.pending().await?;
    ensure!(heard.is_empty(), "{heard:?}");
    for person in [&other, &cast.outsider] {
        for path in ["", "/messages"] {
            let path = format!("/v1/threads/{thread}{path}");
            person.get(&path).await?.refused(404, "thread_not_found")?;
        }
        ensure!(person.feed(0).await?.is_empty());
        assert_eq!(person.get(&here_now).await?.expect(200)?["users"], json!([]));
        let found = person.get("/v1/search?q=Malta").await?.expect(200)?;
        assert_eq!(found["results"], json!([]));
    }
    // Once it has its own conversation, that one is another.
    ensure!(asks(&other, "Hello?").await? != thread);
    Ok(())
}

async fn o_a_visitor_comes_back_as_the_same_person(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let nobody = cast.stack.anonymous()?;
    let visitor = nobody.visitor(json!({"name": "Vera", "page_url": PAGE})).await?;
    // What it said before it wrote is not lost, nor is what it says later.
    let session = visitor.post(SESSIONS, json!({"email": "v@example.com"})).await?.expect(200)?;
    let visitor = Person::visiting(&nobody, &session)?;
    assert_eq!(session["visitor_id"], visitor.id.as_str());
    let thread = asks(&visitor, "Hello?").await?;
    let path = format!("/v1/users/{}", visitor.id);
    let kept = visitor.get(&path).await?.expect(200)?;
    assert_eq!(
        (&kept["role"], &kept["name"], &kept["email"]),
        (&json!("visitor"), &json!("Vera"), &json!("v@example.com"))
    );
    visitor.post(SESSIONS, json!({"name": "Vera V."})).await?.expect(200)?;
    let kept = cast.shop.get(&path).await?.expect(200)?;
    assert_eq!((&kept["name"], &kept["email"]), (&json!("Vera V."), &json!("v@example.com")));
    // A socket goes on with the next token.
    let (mut socket, _) = visitor.socket(None).await?;
    let session = visitor.post(SESSIONS, json!({})).await?.expect(200)?;
    socket.send(&json!({"type": "refresh", "token": session["token"]})).await?;
    assert_eq!(socket.answer().await?["type"], "refreshed");

    // A day later, with a token that has ended: for this call alone.
    let ended = |days: i64| -> Result<_> {
        let then = chaffer_shared::time::now() - TimeDelta::days(days);
        let claims = Claims::new(Bearer::Visitor, &visitor.id, Vec::new(), "j", then, 3600);
        Ok(nobody.with_bearer(&cast.stack.token_keys()?.sign(&claims)?))
    };
    let late = ended(1)?;
    late.get("/v1/threads").await?.refused(401, "token_expired")?;
    let back = Person::visiting(&nobody, &late.post(SESSIONS, json!({})).await?.expect(200)?)?;
    assert_eq!(back.id, visitor.id);
    assert_eq!(back.get("/v1/threads").await?.expect(200)?["threads"][0]["id"], thread);
    ended(40)?.post(SESSIONS, json!({})).await?.refused(401, "token_expired")?;

    // Whoever else comes is no visitor.
    nobody.with_bearer("a.b.c").post(SESSIONS, json!({})).await?.refused(401, "invalid_token")?;
    cast.buyer.post(SESSIONS, json!({})).await?.refused(403, "not_a_visitor")?;
    cast.shop.post(SESSIONS, json!({})).await?.refused(403, "not_a_visitor")?;
    for wrong in [
        json!({"email": "no address"}),
        json!({"page_url": "javascript:alert(1)"}),
        json!({"name": "a\nb"}),
        json!({"name": ""}),
        json!({"id": "7"}),
    ] {
        nobody.post(SESSIONS, wrong).await?.refused(422, "invalid_request")?;
    }
    // The token of a visitor of no such id is nobody's.
    for (kind, sub) in [(Bearer::Visitor, "buyer"), (Bearer::User, visitor.id.as_str())] {
        let now = chaffer_shared::time::now();
        let claims = Claims::new(kind, sub, Vec::new(), "j", now, 60);
        let forged = nobody.with_bearer(&cast.stack.token_keys()?.sign(&claims)?);
        forged.get("/v1/threads").await?.refused(401, "invalid_token")?;
    }
    Ok(())
}

async fn o_a_visitors_id_is_nobody_elses(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let (shop, nobody) = (&cast.shop, cast.stack.anonymous()?);
    let visitor = nobody.visitor(json!({})).await?;
    asks(&visitor, "Hello?").await?;
    let customer = json!({"role": "customer", "name": "x"});
    for id in ["visitor:7", &visitor.id] {
        let path = format!("/v1/users/{id}");
        shop.put(&path, customer.clone()).await?.refused(422, "invalid_request")?;
        shop.patch(&path, json!({"name": "x"})).await?.refused(422, "invalid_request")?;
        let token = shop.post(&format!("{path}/tokens"), json!({})).await?;
        token.refused(422, "invalid_request")?;
    }
    let role = json!({"role": "visitor", "name": "x"});
    shop.put("/v1/users/7", role).await?.refused(422, "invalid_request")?;
    shop.put("/v1/users/a%20visitor:7", customer).await?.expect(201)?;

    // Nobody draws a visitor into anything but support.
    let about = json!({"subject": product("p1"), "vendor_id": "v1", "customer_id": visitor.id});
    shop.post("/v1/threads", about.clone()).await?.refused(422, "invalid_request")?;
    cast.boss.post("/v1/threads", about).await?.refused(422, "invalid_request")?;
    let peer = json!({"subject": {"type": "user", "id": visitor.id}});
    let acting = shop.acting("buyer").post("/v1/threads", peer).await?;
    acting.refused(422, "invalid_request")?;
    // And a visitor asks nobody else.
    let vendor = json!({"subject": {"type": "vendor", "id": "v1"}});
    visitor.post("/v1/threads", vendor).await?.refused(403, "not_allowed")?;
    let mut of_other = question("For somebody else");
    of_other["customer_id"] = json!("buyer");
    visitor.post("/v1/threads", of_other).await?.refused(403, "not_allowed")?;
    visitor.get("/v1/support/queue").await?.refused(403, "not_allowed")?;
    let file = "--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\nHi\r\n--X--\r\n";
    let upload = visitor.request(reqwest::Method::POST, "/v1/attachments");
    let upload = upload.header("Content-Type", "multipart/form-data; boundary=X").body(file);
    visitor.send(upload).await?.refused(403, "not_allowed")?;
    // A page shows a visitor what it shows to anybody: the thread of its own, and where to sign in.
    let subjects = json!({"subjects": [
        {"subject": {"type": "support", "id": "support"}},
        {"subject": product("p1"), "vendor_id": "v1"},
        {"subject": {"type": "order", "id": "o1"}, "vendor_id": "v1"}
    ]});
    let page = visitor.post("/v1/buttons", subjects.clone()).await?.expect(200)?;
    assert_eq!(page["buttons"][0]["button"]["contact"], "support");
    ensure!(page["buttons"][0]["thread"].is_object(), "{page}");
    let unknown = nobody.post("/v1/buttons", subjects).await?.expect(200)?;
    for number in [1, 2] {
        assert_eq!(page["buttons"][number], unknown["buttons"][number]);
    }
    Ok(())
}

async fn o_visitors_are_switched_off_by_a_setting(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let nobody = cast.stack.anonymous()?;
    let (old, new) = (nobody.visitor(json!({})).await?, nobody.visitor(json!({})).await?);
    let thread = asks(&old, "Hello?").await?;
    let off = json!({"visitors_may_write": false});
    cast.shop.patch("/v1/settings", off).await?.expect(200)?;
    nobody.post(SESSIONS, json!({})).await?.refused(403, "visitors_off")?;
    old.post(SESSIONS, json!({})).await?.refused(403, "visitors_off")?;
    new.post("/v1/threads", question("Hello?")).await?.refused(403, "visitors_off")?;
    // What was begun can be ended.
    cast.helper.say(thread, "Good day").await?;
    old.get(&format!("/v1/threads/{thread}")).await?.expect(200)?;
    cast.buyer.post("/v1/threads", question("With an account")).await?.expect(201)?;
    Ok(())
}

async fn b6_a_visitor_is_exported_erased_and_forgotten(scene: &Scene) -> Result<()> {
    let mut cast = Cast::new(scene).await?;
    let nobody = cast.stack.anonymous()?;
    let said = json!({"name": "Vera Quillfeather", "email": "v@example.com", "page_url": PAGE});
    let (erased, old) = (nobody.visitor(said.clone()).await?, nobody.visitor(said).await?);
    let (gone, aged) = (asks(&erased, "Forget me").await?, asks(&old, "Long ago").await?);
    let path = format!("/v1/users/{}", erased.id);
    for api in [erased.api(), &cast.shop] {
        let export = api.get(&format!("{path}/export")).await?;
        assert_eq!(export.header("content-type"), Some("application/zip"), "{export}");
    }
    old.get(&format!("{path}/export")).await?.refused(403, "root_required")?;
    let (mut socket, _) = erased.socket(None).await?;
    cast.shop.delete(&path).await?.expect(204)?;
    assert_eq!(socket.closed(PATIENCE).await?.code, 4403);
    erased.get("/v1/threads").await?.refused(401, "token_revoked")?;
    erased.post(SESSIONS, json!({})).await?.refused(401, "token_revoked")?;
    let left = cast.helper.get(&format!("/v1/threads/{gone}")).await?.expect(200)?;
    assert_eq!(left["customer"]["name"], "Deleted user");
    assert_eq!(left["subject"]["url"], Value::Null);

    // What is old goes, and with it a visitor who has nothing else.
    let long_ago = "2020-02-02 02:02:02.000";
    let sql = format!("UPDATE threads SET updated_at = '{long_ago}' WHERE id = {aged}");
    cast.stack.database.query(&sql).await?;
    let days = json!({"retention_thread_days": 30});
    cast.shop.patch("/v1/settings", days).await?.expect(200)?;
    let before = people(&cast).await?;
    cast.stack.crash_api()?;
    cast.stack.api_ready().await?;
    until("the visitor is forgotten", async || Ok(people(&cast).await? == before - 1)).await?;
    let shop = cast.stack.shop()?;
    shop.get(&format!("/v1/users/{}", old.id)).await?.refused(404, "user_not_found")?;
    shop.get(&path).await?.expect(200).context("who was erased stays erased")?;
    Ok(())
}
