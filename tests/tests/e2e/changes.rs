//! The life of a message and of its thread: changed, taken back, and what is left of it for whom; quoted; closed, opened again,
//! unread again.

use anyhow::{Context, Result, ensure};
use chaffer_tests::{Api, Scene};
use serde_json::{Value, json};

use crate::cast::{Cast, id_of, texts};

stories!(
    b2_an_author_changes_a_message_for_a_time,
    b2_a_message_is_not_changed_without_end,
    b2_an_author_takes_a_message_back,
    b2_a_deleted_message_is_unread_no_longer,
    b2_what_a_message_said_before_is_for_administrators_and_each_look_is_noted,
    r11_a_changed_message_goes_through_the_list_again,
    b10_a_changed_message_sent_again_is_the_same_message,
    b2_a_reply_quotes_what_a_message_says_now,
    b2_a_closed_thread_takes_nothing_until_it_is_opened_again,
    b2_a_thread_is_marked_as_unread,
);

fn path(message: &Value) -> String {
    format!("/v1/messages/{}", message["id"])
}

async fn messages(api: &Api, thread: i64) -> Result<Value> {
    let page = api.get(&format!("/v1/threads/{thread}/messages")).await?.expect(200)?;
    Ok(page["messages"].clone())
}

/// Makes a message so old as if it had been written so many minutes before.
async fn age(cast: &Cast, message: &Value, minutes: i64) -> Result<()> {
    let id = id_of(message)?;
    let at = chrono::Utc::now() - chrono::TimeDelta::minutes(minutes);
    let at = at.format("%Y-%m-%d %H:%M:%S%.3f");
    let sql = format!("UPDATE messages SET created_at = '{at}' WHERE id = {id}");
    cast.stack.database.query(&sql).await?;
    Ok(())
}

async fn b2_an_author_changes_a_message_for_a_time(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let listeners = [cast.buyer.listen().await?, cast.seller.listen().await?];
    let (mut outsider, _) = cast.outsider.socket(None).await?;
    let said = cast.buyer.say(thread, "How much is the bleu one?").await?;
    assert_eq!(said["edited_at"], Value::Null);

    let text = json!({"text": "How much is the blue one?"});
    let changed = cast.buyer.patch(&path(&said), text.clone()).await?.expect(200)?;
    assert_eq!(changed["text"], "How much is the blue one?");
    ensure!(changed["edited_at"].is_string() && changed["created_at"] == said["created_at"]);
    for listener in &listeners {
        let heard = listener.hears("message.updated", |data| data["id"] == said["id"]).await?;
        assert_eq!(heard["text"], "How much is the blue one?");
        assert_eq!(heard["edited_at"], changed["edited_at"]);
        listener.check()?;
    }
    assert_eq!(messages(&cast.seller, thread).await?[0]["text"], "How much is the blue one?");
    let list = cast.seller.get("/v1/threads").await?.expect(200)?;
    assert_eq!(list["threads"][0]["last_message"]["text"], "How much is the blue one?");
    assert_eq!(list["threads"][0]["unread_count"], 1, "a change is no new message");
    // Who missed it all reads what it says now, and no more.
    let feed = json!(cast.seller.feed(0).await?).to_string();
    ensure!(!feed.contains("bleu"), "{feed}");
    // The same text again is no change.
    let again = cast.buyer.patch(&path(&said), text).await?.expect(200)?;
    assert_eq!(again, changed);
    assert_eq!(listeners[0].all("message.updated").len(), 1);

    // Nobody else, and nothing that is no message.
    let other = json!({"text": "Nothing!"});
    for person in [&cast.seller, &cast.boss] {
        person.patch(&path(&said), other.clone()).await?.refused(403, "not_allowed")?;
    }
    for person in [&cast.outsider, &cast.rival, &cast.helper] {
        person.patch(&path(&said), other.clone()).await?.refused(404, "message_not_found")?;
    }
    cast.shop.patch(&path(&said), other.clone()).await?.refused(422, "acting_user_required")?;
    for wrong in [json!({"text": " "}), json!({}), json!({"text": "x".repeat(10_001)})] {
        cast.buyer.patch(&path(&said), wrong).await?.refused(422, "invalid_request")?;
    }
    cast.buyer.patch("/v1/messages/x", other.clone()).await?.refused(404, "message_not_found")?;
    assert_eq!(outsider.pending().await?, Vec::<Value>::new());

    // Not for ever, and not where nothing can be written.
    age(&cast, &said, 60).await?;
    cast.buyer.patch(&path(&said), other.clone()).await?.refused(403, "edit_window_over")?;
    let last = cast.buyer.say(thread, "Hello?").await?;
    let mut vendor = crate::cast::vendor("Vendor One");
    vendor["status"] = json!("disabled");
    cast.shop.vendor("v1", vendor).await?;
    cast.buyer.patch(&path(&last), other).await?.refused(403, "messaging_disabled")?;
    Ok(())
}

async fn b2_a_message_is_not_changed_without_end(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let said = cast.buyer.say(thread, "Text 0").await?;
    for number in 1..=100 {
        let text = json!({"text": format!("Text {number}")});
        cast.buyer.patch(&path(&said), text).await?.expect(200)?;
    }
    let once_more = json!({"text": "Text 101"});
    cast.buyer.patch(&path(&said), once_more).await?.refused(409, "too_many_changes")?;
    let history = cast.boss.get(&format!("{}/history", path(&said))).await?.expect(200)?;
    let versions = texts(&history["versions"]);
    assert_eq!((versions.len(), versions.last()), (101, Some(&"Text 100")));
    Ok(())
}

async fn b2_an_author_takes_a_message_back(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let listener = cast.seller.listen().await?;
    cast.buyer.say(thread, "Good morning").await?;
    let said = cast.buyer.say(thread, "My password is kumquat").await?;
    for person in [&cast.seller, &cast.helper] {
        let answer = person.delete(&path(&said)).await?;
        ensure!(matches!(answer.status, 403 | 404), "{answer}");
    }
    cast.outsider.delete(&path(&said)).await?.refused(404, "message_not_found")?;
    cast.buyer.delete(&path(&said)).await?.expect(204)?;
    cast.buyer.delete(&path(&said)).await?.expect(204)?;

    let heard = listener.hears("message.deleted", |data| data["id"] == said["id"]).await?;
    assert_eq!(heard["text"], "");
    ensure!(heard["deleted_at"].is_string(), "{heard}");
    for person in [&cast.buyer, &cast.seller, &cast.boss] {
        let page = messages(person, thread).await?;
        assert_eq!(texts(&page), ["Good morning", ""], "its place stays");
        let list = person.get("/v1/threads").await?.expect(200)?;
        let last = &list["threads"][0]["last_message"];
        assert_eq!((&last["id"], &last["text"]), (&said["id"], &json!("")));
        ensure!(last["deleted_at"].is_string(), "{last}");
        let feed = json!(person.feed(0).await?).to_string();
        ensure!(!feed.contains("kumquat"), "a replay brings nothing back: {feed}");
    }
    assert_eq!(listener.all("message.deleted").len(), 1);
    let text = json!({"text": "x"});
    cast.buyer.patch(&path(&said), text).await?.refused(410, "message_deleted")?;

    // Not for ever; but an administrator takes back what must not stand there, and that is noted.
    let old = cast.buyer.say(thread, "You are a cheat").await?;
    age(&cast, &old, 60).await?;
    cast.buyer.delete(&path(&old)).await?.refused(403, "edit_window_over")?;
    cast.clerk.delete(&path(&old)).await?.refused(403, "manage_messages_required")?;
    cast.boss.delete(&path(&old)).await?.expect(204)?;
    listener.hears("message.deleted", |data| data["id"] == old["id"]).await?;
    let log = cast.shop.get("/v1/audit-log?action=message.deleted").await?.expect(200)?;
    let entries = log["entries"].as_array().context("no entries")?;
    assert_eq!(entries.len(), 1, "one's own messages are nobody's business: {log}");
    assert_eq!(entries[0]["actor_id"], "boss");
    assert_eq!(entries[0]["target"], format!("message:{}", old["id"]));
    listener.check()
}

async fn b2_a_deleted_message_is_unread_no_longer(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let colleague = json!({"role": "vendor_admin", "name": "Col", "vendor_id": "v1"});
    let colleague = cast.shop.new_person("colleague", colleague).await?;
    let (thread, other) = (cast.thread("p1").await?, cast.thread("p2").await?);
    let listener = cast.seller.listen().await?;
    cast.buyer.say(other, "elsewhere").await?;
    let mut said = Vec::new();
    for text in ["one", "two", "three"] {
        said.push(cast.buyer.say(thread, text).await?);
    }
    // The colleague has read two; somebody who came later was told of the last one alone.
    let read = json!({"up_to": said[1]["id"]});
    colleague.post(&format!("/v1/threads/{thread}/read"), read).await?.expect(200)?;
    let late = json!({"role": "vendor_admin", "name": "Late", "vendor_id": "v1"});
    let late = cast.shop.new_person("late", late).await?;
    said.push(cast.buyer.say(thread, "four").await?);
    let count = async |api: &Api| -> Result<(i64, i64)> {
        let counts = api.get("/v1/unread").await?.expect(200)?;
        let threads = counts["threads"].as_array().context("no threads")?;
        let here = threads.iter().find(|it| it["id"] == thread);
        let here = here.map_or(0, |it| it["unread_count"].as_i64().unwrap_or(-1));
        Ok((counts["total"].as_i64().context("no total")?, here))
    };
    let counts = async || -> Result<[(i64, i64); 3]> {
        Ok([count(&cast.seller).await?, count(&colleague).await?, count(&late).await?])
    };
    assert_eq!(counts().await?, [(5, 4), (3, 2), (1, 1)]);
    cast.buyer.delete(&path(&said[1])).await?.expect(204)?;
    assert_eq!(counts().await?, [(4, 3), (3, 2), (1, 1)], "read, or never told of");
    let told = json!({"thread_id": thread, "unread_count": 3, "total": 4});
    listener.hears("unread.changed", |data| *data == told).await?;
    cast.buyer.delete(&path(&said[3])).await?.expect(204)?;
    assert_eq!(counts().await?, [(3, 2), (2, 1), (0, 0)], "the last one");
    let unread = late.get("/v1/threads?unread=true").await?.expect(200)?;
    assert_eq!(unread["threads"], json!([]));
    // Reading and writing go on from there.
    let read = json!({"up_to": said[0]["id"]});
    let left = cast.seller.post(&format!("/v1/threads/{thread}/read"), read).await?.expect(200)?;
    assert_eq!(left["unread_count"], 1, "what was taken back is not waiting to be read");
    cast.buyer.say(thread, "five").await?;
    assert_eq!(counts().await?, [(3, 2), (3, 2), (1, 1)]);
    listener.check()
}

async fn b2_what_a_message_said_before_is_for_administrators_and_each_look_is_noted(
    scene: &Scene,
) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let list = "/v1/forbidden-words";
    cast.boss.post(list, json!({"kind": "email"})).await?.expect(201)?;
    let keep = json!({"keep_originals": true});
    cast.shop.patch("/v1/settings", keep).await?.expect(200)?;
    let thread = cast.thread("p1").await?;
    let said = cast.buyer.say(thread, "Mail joe@shop.com").await?;
    for text in ["Mail joe@mail.org", "Write here"] {
        cast.buyer.patch(&path(&said), json!({"text": text})).await?.expect(200)?;
    }
    cast.buyer.delete(&path(&said)).await?.expect(204)?;

    let history = format!("{}/history", path(&said));
    let answer = cast.boss.get(&history).await?;
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let told = answer.expect(200)?;
    ensure!(told["deleted_at"].is_string(), "{told}");
    let versions = told["versions"].as_array().context("no versions")?;
    let of = |name: &str| versions.iter().map(|it| it[name].clone()).collect::<Vec<_>>();
    assert_eq!(of("text"), ["Mail ***", "Mail ***", "Write here"]);
    let written = [json!("Mail joe@shop.com"), json!("Mail joe@mail.org"), Value::Null];
    assert_eq!(of("original"), written);
    assert_eq!(of("flagged"), [true, true, false]);
    assert_eq!(versions[0]["written_at"], said["created_at"]);
    for person in [&cast.buyer, &cast.seller, &cast.helper, &cast.outsider] {
        person.get(&history).await?.refused(403, "not_allowed")?;
    }
    cast.clerk.get(&history).await?.refused(403, "manage_messages_required")?;
    cast.shop.get(&history).await?.refused(422, "acting_user_required")?;
    cast.boss.get("/v1/messages/999/history").await?.refused(404, "message_not_found")?;
    let log = cast.shop.get("/v1/audit-log?action=message.history_read").await?.expect(200)?;
    assert_eq!(log["entries"].as_array().map(Vec::len), Some(1), "{log}");
    assert_eq!(log["entries"][0]["actor_id"], "boss");
    Ok(())
}

async fn r11_a_changed_message_goes_through_the_list_again(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let list = "/v1/forbidden-words";
    cast.boss.post(list, json!({"phrase": "viber"})).await?.expect(201)?;
    let refuse = json!({"phrase": "scam", "action": "refuse"});
    cast.boss.post(list, refuse).await?.expect(201)?;
    let thread = cast.thread("p1").await?;
    let listener = cast.seller.listen().await?;
    let said = cast.buyer.say(thread, "Good morning").await?;
    let edit = async |text: &str| cast.buyer.patch(&path(&said), json!({"text": text})).await;
    edit("A scam").await?.refused(422, "forbidden_words")?;
    let masked = edit("Good morning, v.i.b.e.r me").await?.expect(200)?;
    assert_eq!(masked["text"], "Good morning, *** me");
    listener.hears("message.flagged", |data| data["message_id"] == said["id"]).await?;
    let page = messages(&cast.seller, thread).await?;
    assert_eq!((&page[0]["text"], &page[0]["flagged"]), (&masked["text"], &json!(true)));
    // Mended, the message is marked no longer, and says that it was; the thread keeps its mark.
    edit("Good morning!").await?.expect(200)?;
    let page = messages(&cast.seller, thread).await?;
    assert_eq!((&page[0]["text"], &page[0]["flagged"]), (&json!("Good morning!"), &json!(false)));
    let list = cast.seller.get("/v1/threads").await?.expect(200)?;
    assert_eq!(list["threads"][0]["flagged"], true);
    let flagged = cast.boss.get("/v1/threads?flagged=true").await?.expect(200)?;
    assert_eq!(flagged["threads"][0]["id"], thread);
    let innocent = cast.buyer.say(thread, "Hello?").await?;
    cast.buyer.patch(&path(&innocent), json!({"text": "Hello!"})).await?.expect(200)?;
    for (person, before) in
        [(&cast.seller, json!(true)), (&cast.boss, json!(true)), (&cast.buyer, Value::Null)]
    {
        let page = messages(person, thread).await?;
        assert_eq!(page[0]["flagged_before"], before, "{}", person.id);
        assert_eq!(page[1]["flagged_before"], Value::Null, "{}", person.id);
    }
    listener.check()
}

async fn b10_a_changed_message_sent_again_is_the_same_message(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let posts = format!("/v1/threads/{thread}/messages");
    let draft = json!({"text": "one", "client_id": "c-1"});
    let said = cast.buyer.post(&posts, draft.clone()).await?.expect(201)?;
    cast.buyer.patch(&path(&said), json!({"text": "two"})).await?.expect(200)?;
    let again = cast.buyer.post(&posts, draft.clone()).await?.expect(200)?;
    assert_eq!((&again["id"], &again["text"]), (&said["id"], &json!("two")));
    let other = json!({"text": "two", "client_id": "c-1"});
    cast.buyer.post(&posts, other).await?.refused(409, "client_id_reused")?;
    cast.buyer.delete(&path(&said)).await?.expect(204)?;
    let again = cast.buyer.post(&posts, draft).await?.expect(200)?;
    assert_eq!((&again["id"], &again["text"]), (&said["id"], &json!("")));
    assert_eq!(messages(&cast.seller, thread).await?.as_array().map(Vec::len), Some(1));
    Ok(())
}

async fn b2_a_reply_quotes_what_a_message_says_now(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let list = "/v1/forbidden-words";
    cast.boss.post(list, json!({"phrase": "viber"})).await?.expect(201)?;
    let (thread, other) = (cast.thread("p1").await?, cast.thread("p2").await?);
    let posts = format!("/v1/threads/{thread}/messages");
    let listener = cast.buyer.listen().await?;
    let long = "ж".repeat(300);
    let said = cast.buyer.say(thread, &format!("Viber me! {long}")).await?;
    let draft = json!({"text": "No", "reply_to": said["id"], "client_id": "c-1"});
    let reply = cast.seller.post(&posts, draft.clone()).await?.expect(201)?;
    let quote = &reply["quote"];
    assert_eq!((&reply["reply_to"], &quote["id"]), (&said["id"], &said["id"]));
    assert_eq!((&quote["author"]["id"], &quote["deleted_at"]), (&json!("buyer"), &Value::Null));
    assert_eq!(quote["text"], format!("*** me! {}…", "ж".repeat(192)), "masked, and cut");
    assert_eq!(cast.seller.post(&posts, draft).await?.expect(200)?, reply);
    let heard = listener.hears("message.created", |data| data["id"] == reply["id"]).await?;
    assert_eq!(heard["quote"], *quote);

    // It follows what becomes of the message.
    cast.buyer.patch(&path(&said), json!({"text": "Write me!"})).await?.expect(200)?;
    assert_eq!(messages(&cast.seller, thread).await?[1]["quote"]["text"], "Write me!");
    cast.buyer.delete(&path(&said)).await?.expect(204)?;
    for person in [&cast.buyer, &cast.seller, &cast.boss] {
        // Also where the quoted one is on another page.
        let page = person.get(&format!("{posts}?limit=1")).await?.expect(200)?;
        let quote = &page["messages"][0]["quote"];
        assert_eq!((&quote["id"], &quote["text"]), (&said["id"], &json!("")));
        ensure!(quote["deleted_at"].is_string(), "{quote}");
        let feed = json!(person.feed(0).await?).to_string();
        ensure!(!feed.contains("Write me") && !feed.contains("жж"), "{feed}");
    }

    // Only what stands in the same thread, and can be read there.
    let elsewhere = cast.buyer.say(other, "elsewhere").await?;
    for target in [&elsewhere["id"], &said["id"], &json!(999), &json!(-1)] {
        let draft = json!({"text": "x", "reply_to": target});
        let problem = cast.seller.post(&posts, draft).await?.refused(422, "invalid_request")?;
        assert_eq!(problem["errors"][0]["pointer"], "/reply_to");
    }
    listener.check()
}

async fn b2_a_closed_thread_takes_nothing_until_it_is_opened_again(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let (here, posts) = (format!("/v1/threads/{thread}"), format!("/v1/threads/{thread}/messages"));
    let seller = cast.seller.listen().await?;
    let said = cast.buyer.say(thread, "Thank you").await?;
    let (close, open) = (json!({"status": "closed"}), json!({"status": "open"}));
    for person in [&cast.outsider, &cast.rival, &cast.helper] {
        person.patch(&here, close.clone()).await?.refused(404, "thread_not_found")?;
    }
    cast.clerk.patch(&here, close.clone()).await?.refused(403, "manage_messages_required")?;
    cast.shop.patch(&here, close.clone()).await?.refused(422, "acting_user_required")?;
    cast.seller.patch(&here, json!({"status": "x"})).await?.refused(422, "invalid_request")?;

    let closed = cast.buyer.patch(&here, close.clone()).await?.expect(200)?;
    assert_eq!(closed["status"], "closed");
    cast.buyer.patch(&here, close.clone()).await?.expect(200)?;
    seller.hears("thread.updated", |data| data["status"] == "closed").await?;
    let entry = seller.hears("message.created", |data| !data["system"].is_null()).await?;
    assert_eq!((&entry["system"], &entry["text"]), (&json!("closed"), &json!("")));
    assert_eq!(entry["author"]["id"], "buyer");
    let list = cast.seller.get("/v1/threads?status=closed").await?.expect(200)?;
    let listed = &list["threads"][0];
    assert_eq!((&listed["id"], &listed["unread_count"]), (&json!(thread), &json!(1)));
    assert_eq!(listed["last_message"]["id"], said["id"], "what somebody wrote last");

    // Nothing is written in it, but it can be read.
    cast.seller.post(&posts, json!({"text": "x"})).await?.refused(409, "thread_closed")?;
    cast.buyer.patch(&path(&said), json!({"text": "x"})).await?.refused(409, "thread_closed")?;
    cast.seller.post(&format!("{here}/typing"), json!({})).await?.refused(409, "thread_closed")?;
    for entry in [&entry] {
        cast.buyer.patch(&path(entry), json!({"text": "x"})).await?.refused(403, "not_allowed")?;
        cast.boss.delete(&path(entry)).await?.refused(403, "not_allowed")?;
    }
    assert_eq!(texts(&messages(&cast.seller, thread).await?), ["Thank you", ""]);
    let read = json!({"up_to": entry["id"]});
    let left = cast.seller.post(&format!("{here}/read"), read).await?.expect(200)?;
    assert_eq!(left["unread_count"], 0);

    // The other side opens it again; one of staff may close it, too.
    let opened = cast.seller.patch(&here, open.clone()).await?.expect(200)?;
    assert_eq!(opened["status"], "open");
    let start = json!({"subject": crate::cast::product("p1"), "vendor_id": "v1"});
    let found = cast.shop.acting("buyer").post("/v1/threads", start).await?.expect(200)?;
    assert_eq!(found["id"], thread, "the open one is found, not made");
    cast.buyer.say(thread, "One more thing").await?;
    cast.boss.patch(&here, close).await?.expect(200)?;
    let all = messages(&cast.buyer, thread).await?;
    let systems: Vec<_> =
        all.as_array().into_iter().flatten().map(|it| it["system"].clone()).collect();
    assert_eq!(
        systems,
        [json!(null), json!("closed"), json!("reopened"), json!(null), json!("closed")]
    );
    assert_eq!(
        cast.buyer.get("/v1/unread").await?.expect(200)?["total"],
        0,
        "entries do not count"
    );

    // Whoever asks again gets a new one, and then the old one stays closed.
    let second = cast.thread("p1").await?;
    ensure!(second != thread);
    cast.buyer.patch(&here, open.clone()).await?.refused(409, "other_thread_open")?;
    cast.buyer
        .patch(&format!("/v1/threads/{second}"), json!({"status": "closed"}))
        .await?
        .expect(200)?;
    let mut vendor = crate::cast::vendor("Vendor One");
    vendor["status"] = json!("disabled");
    cast.shop.vendor("v1", vendor).await?;
    cast.buyer.patch(&here, open).await?.refused(403, "messaging_disabled")?;
    seller.check()
}

async fn b2_a_thread_is_marked_as_unread(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let (buyer, seller) = (cast.buyer.listen().await?, cast.seller.listen().await?);
    let mark =
        async |body: Value| cast.seller.post(&format!("/v1/threads/{thread}/unread"), body).await;
    assert_eq!(mark(json!({})).await?.expect(200)?["unread_count"], 0, "there is nothing to read");
    let one = cast.buyer.say(thread, "one").await?;
    let two = cast.buyer.say(thread, "two").await?;
    cast.seller.say(thread, "an answer").await?;
    let last = cast.buyer.say(thread, "three").await?;
    let read = json!({"up_to": last["id"]});
    let reads = format!("/v1/threads/{thread}/read");
    cast.seller.post(&reads, read.clone()).await?.expect(200)?;
    buyer.hears("thread.read", |data| data["up_to"] == last["id"]).await?;

    assert_eq!(mark(json!({})).await?.expect(200)?["unread_count"], 1, "the last one");
    let told = json!({"thread_id": thread, "unread_count": 1, "total": 1});
    seller.hears("unread.changed", |data| *data == told).await?;
    assert_eq!(mark(json!({"from": two["id"]})).await?.expect(200)?["unread_count"], 2);
    assert_eq!(mark(json!({"from": last["id"]})).await?.expect(200)?["unread_count"], 2);
    let list = cast.seller.get("/v1/threads?unread=true").await?.expect(200)?;
    assert_eq!(list["threads"][0]["unread_count"], 2);
    assert_eq!(cast.seller.get("/v1/unread").await?.expect(200)?["total"], 2);
    // Nobody else sees it: what was read was read.
    let page = messages(&cast.buyer, thread).await?;
    ensure!(page[0]["read_at"].is_string() && page[3]["read_at"].is_string(), "{page}");
    assert_eq!(buyer.all("thread.read").len(), 1);
    // What comes counts on top, what is taken back no longer, and reading ends it.
    cast.buyer.say(thread, "four").await?;
    cast.buyer.delete(&path(&two)).await?.expect(204)?;
    cast.buyer.delete(&path(&one)).await?.expect(204)?;
    assert_eq!(cast.seller.get("/v1/unread").await?.expect(200)?["total"], 2);
    let left = cast.seller.post(&reads, read).await?.expect(200)?;
    assert_eq!(left["unread_count"], 1);
    mark(json!({"from": 999})).await?.refused(422, "invalid_request")?;
    cast.outsider
        .post(&format!("/v1/threads/{thread}/unread"), json!({}))
        .await?
        .refused(404, "thread_not_found")?;
    buyer.check()
}
