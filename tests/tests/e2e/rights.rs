//! People's rights (B6): a person is erased, gets all that is kept of it, and what is old goes.

use anyhow::{Context, Result, ensure};
use chaffer_tests::{Answer, PATIENCE, Scene};
use reqwest::Method;
use serde_json::{Value, json};

use crate::cast::{Cast, id_of, texts};

stories!(
    b6_who_is_erased_leaves_messages_and_no_trace_of_a_name,
    b6_only_the_shop_and_root_erase_and_never_twice,
);

/// What must not be found anywhere after Zoraida was erased.
const TRACES: [&str; 8] = [
    "Quillfeather",
    "zoraida@quill.example",
    "+49 555 0199",
    "zoraida.png",
    "eo-QUILL",
    "kumquat trees",
    "First thoughts",
    "Never mind the quince",
];

fn zoraida() -> Value {
    json!({"role": "customer", "name": "Zoraida Quillfeather", "email": "zoraida@quill.example",
        "phone": "+49 555 0199", "avatar_url": "https://shop.example/zoraida.png",
        "locale": "eo-QUILL"})
}

async fn keep_originals(cast: &Cast) -> Result<()> {
    cast.boss.patch("/v1/settings", json!({"keep_originals": true})).await?.expect(200)?;
    cast.boss.post("/v1/forbidden-words", json!({"phrase": "kumquat"})).await?.expect(201)?;
    Ok(())
}

async fn found(cast: &Cast) -> Result<Vec<&'static str>> {
    let dump = cast.stack.database.dump().await?;
    ensure!(dump.contains("*** trees"), "the dump lacks what must be in it");
    Ok(TRACES.into_iter().filter(|trace| dump.contains(trace)).collect())
}

async fn b6_who_is_erased_leaves_messages_and_no_trace_of_a_name(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    keep_originals(&cast).await?;
    let shop = &cast.shop;
    let person = shop.new_person("z", zoraida()).await?;
    let thread = cast.thread_of("z", "p1").await?;
    let said = person.say(thread, "I like kumquat trees").await?;
    let changed = person.say(thread, "First thoughts").await?;
    let path = |message: &Value| format!("/v1/messages/{}", message["id"]);
    person.patch(&path(&changed), json!({"text": "Second thoughts"})).await?.expect(200)?;
    let taken = person.say(thread, "Never mind the quince").await?;
    person.delete(&path(&taken)).await?.expect(204)?;
    let preferences = "/v1/users/z/mail-preferences";
    person.put(preferences, json!({"mails": "digest"})).await?.expect(200)?;
    // The person's name stands in a subject, and in a first answer that somebody else may ask for again.
    let about = json!({"type": "user", "id": "z", "title": "Zoraida Quillfeather"});
    let about = json!({"subject": about, "customer_id": "buyer"});
    let about = shop.post("/v1/threads", about).await?.expect(201)?;
    let messages = format!("/v1/threads/{thread}/messages");
    let answer = async || -> Result<Answer> {
        let body = json!({"text": "So do I", "reply_to": said["id"]});
        let request = cast.seller.request(Method::POST, &messages);
        cast.seller.send(request.header("Idempotency-Key", "once").json(&body)).await
    };
    let first = answer().await?.expect(201)?;
    assert_eq!(first["quote"]["author"]["name"], "Zoraida Quillfeather");
    let (mut socket, _) = person.socket(None).await?;
    assert_eq!(found(&cast).await?, TRACES, "all of it is there before");

    shop.delete("/v1/users/z").await?.expect(204)?;
    shop.delete("/v1/users/z").await?.expect(204)?;

    socket.closed(PATIENCE).await.context("the socket stays open")?;
    person.get("/v1/unread").await?.refused(401, "token_revoked")?;
    assert_eq!(found(&cast).await?, [""; 0], "nothing of it is left");
    // The other side goes on seeing what it was told.
    let nobody = json!({"id": "z", "role": "customer", "name": "Deleted user", "avatar_url": null});
    let seen = cast.seller.get(&format!("/v1/threads/{thread}")).await?.expect(200)?;
    assert_eq!((&seen["customer"], &seen["status"]), (&nobody, &json!("closed")));
    let page = cast.seller.get(&messages).await?.expect(200)?;
    assert_eq!(
        texts(&page["messages"]),
        ["I like *** trees", "Second thoughts", "", "So do I", ""]
    );
    assert_eq!(page["messages"][0]["author"], nobody);
    assert_eq!(page["messages"][4]["system"], "closed");
    let again = answer().await?.expect(201)?;
    assert_eq!(again["id"], first["id"], "a call that is repeated does nothing twice");
    assert_eq!(again["quote"]["author"], nobody);
    let original = cast.boss.get(&format!("{}/original", path(&said))).await?;
    original.refused(404, "original_not_found")?;
    let history = cast.boss.get(&format!("{}/history", path(&changed))).await?.expect(200)?;
    assert_eq!(texts(&history["versions"]), ["Second thoughts"]);
    let subject = cast.buyer.get(&format!("/v1/threads/{}", id_of(&about)?)).await?.expect(200)?;
    assert_eq!(subject["subject"]["title"], json!(null));

    // Nobody takes the name's place, and nobody talks to nobody.
    let user = shop.get("/v1/users/z").await?.expect(200)?;
    assert_eq!((&user["name"], &user["email"]), (&json!("Deleted user"), &json!(null)));
    ensure!(user["erased_at"].is_string(), "{user}");
    let other = json!({"role": "customer", "name": "Somebody else"});
    shop.put("/v1/users/z", other.clone()).await?.refused(409, "user_erased")?;
    shop.patch("/v1/users/z", json!({"name": "x"})).await?.refused(409, "user_erased")?;
    shop.post("/v1/users/z/tokens", json!({})).await?.refused(409, "user_erased")?;
    shop.put(preferences, json!({"mails": "all"})).await?.refused(409, "user_erased")?;
    shop.acting("z").get("/v1/unread").await?.refused(422, "acting_user_erased")?;
    let here = format!("/v1/threads/{thread}");
    let open = cast.seller.patch(&here, json!({"status": "open"})).await?;
    open.refused(409, "user_erased")?;
    let start = json!({"subject": {"type": "vendor", "id": "v1"}, "customer_id": "z"});
    shop.post("/v1/threads", start).await?.refused(422, "invalid_request")?;

    let log = shop.get("/v1/audit-log?action=user.erased").await?.expect(200)?;
    let entries = log["entries"].as_array().context("no entries")?;
    assert_eq!(entries.len(), 1, "{log}");
    assert_eq!((&entries[0]["target"], &entries[0]["data"]), (&json!("user:z"), &json!(null)));
    Ok(())
}

async fn b6_only_the_shop_and_root_erase_and_never_twice(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let root = json!({"role": "admin", "name": "R", "root": true});
    let root = cast.shop.new_person("root", root).await?;
    cast.thread("p1").await?;
    cast.buyer.delete("/v1/users/buyer").await?.refused(403, "root_required")?;
    cast.boss.delete("/v1/users/buyer").await?.refused(403, "root_required")?;
    root.delete("/v1/users/nobody").await?.refused(404, "user_not_found")?;
    root.delete("/v1/users/seller").await?.expect(204)?;
    // An operator and an administrator have joined as staff; they leave with their right.
    for id in ["helper", "boss"] {
        root.delete(&format!("/v1/users/{id}")).await?.expect(204)?;
        let user = cast.shop.get(&format!("/v1/users/{id}")).await?.expect(200)?;
        assert_eq!((&user["manage_messages"], &user["root"]), (&json!(false), &json!(false)));
    }
    cast.boss.get("/v1/threads").await?.refused(401, "token_revoked")?;
    let log = cast.shop.get("/v1/audit-log?action=user.erased&actor_id=root").await?.expect(200)?;
    assert_eq!(log["entries"].as_array().map(Vec::len), Some(3));
    Ok(())
}
