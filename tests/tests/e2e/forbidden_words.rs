//! Forbidden words and contact leaks: what the list masks, flags and refuses, for whom, and who may look behind the mask.

use anyhow::{Context, Result, ensure};
use chaffer_tests::{Answer, Api, Person, Scene};
use reqwest::Method;
use serde_json::{Value, json};

use crate::cast::{Cast, id_of, ids, product, texts};

stories!(
    r11_forbidden_words_are_masked_for_all_readers,
    r11_a_changed_list_counts_from_the_next_message_on,
    r11_the_original_is_for_administrators_and_each_look_is_noted,
    r11_the_list_goes_out_and_in_as_a_table,
    b9_contact_leaks_are_caught_however_they_are_disguised,
    b9_a_refused_text_says_why_and_can_be_sent_changed,
    b9_a_dry_run_explains_every_decision,
    b10_a_masked_message_sent_again_is_the_same_message,
);

const LIST: &str = "/v1/forbidden-words";

async fn forbid(api: &Api, entry: Value) -> Result<Value> {
    api.post(LIST, entry).await?.expect(201)
}

async fn send_table(api: &Api, table: &str) -> Result<Answer> {
    let request = api.request(Method::POST, &format!("{LIST}/import"));
    api.send(request.header("Content-Type", "text/csv").body(table.to_owned())).await
}

async fn r11_forbidden_words_are_masked_for_all_readers(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    forbid(&cast.boss, json!({"phrase": "whatsapp"})).await?;
    forbid(&cast.boss, json!({"phrase": "ass"})).await?;
    forbid(&cast.shop, json!({"phrase": "refund", "action": "flag"})).await?;
    let thread = cast.thread("p1").await?;
    let clean = cast.thread_of("outsider", "p2").await?;
    let (seller, boss) = (cast.seller.listen().await?, cast.boss.listen().await?);
    let buyer = cast.buyer.listen().await?;

    let said = cast.buyer.say(thread, "First class! Write me on W.h.a.t.s.Aрр 🙂").await?;
    assert_eq!(said["text"], "First class! Write me on *** 🙂");
    assert_eq!(said["flagged"], false, "the author is not told of flags");
    let about = |data: &Value| data["message_id"] == said["id"] && data["thread_id"] == thread;
    seller.hears("message.flagged", about).await?;
    boss.hears("message.flagged", about).await?;
    buyer
        .hears("message.created", |data| data["text"] == "First class! Write me on *** 🙂")
        .await?;

    // Everywhere the text is read, and by everybody.
    for (person, sees) in [(&cast.buyer, false), (&cast.seller, true), (&cast.boss, true)] {
        let page = person.get(&format!("/v1/threads/{thread}/messages")).await?.expect(200)?;
        assert_eq!(texts(&page["messages"]), ["First class! Write me on *** 🙂"]);
        assert_eq!(page["messages"][0]["flagged"], sees, "{}", person.id);
        let list = person.get("/v1/threads").await?.expect(200)?;
        let of = |id: i64| {
            list["threads"].as_array().into_iter().flatten().find(move |it| it["id"] == id)
        };
        let listed = of(thread).context("not listed")?;
        assert_eq!(listed["flagged"], sees, "the exclamation mark, for {}", person.id);
        assert_eq!(listed["last_message"]["text"], "First class! Write me on *** 🙂");
        let feed = person.feed(0).await?;
        ensure!(!json!(feed).to_string().contains("Aрр"), "the feed of {}", person.id);
        let told = feed.iter().any(|event| event["event"] == "message.flagged");
        assert_eq!(told, sees, "message.flagged for {}", person.id);
    }
    // What is flagged alone stays as it is; what is neither is not marked.
    let flagged = cast.seller.say(thread, "You get a REFUND").await?;
    assert_eq!((&flagged["text"], &flagged["flagged"]), (&json!("You get a REFUND"), &json!(true)));
    let innocent = cast.seller.say(clean, "A classic assortment").await?;
    assert_eq!(innocent["flagged"], false);

    // The filter of the lists.
    for (person, flagged, expected) in [
        (&cast.boss, true, vec![thread]),
        (&cast.boss, false, vec![clean]),
        (&cast.seller, true, vec![thread]),
        (&cast.buyer, true, vec![]),
        (&cast.buyer, false, vec![thread]),
    ] {
        let list = person.get(&format!("/v1/threads?flagged={flagged}")).await?.expect(200)?;
        assert_eq!(ids(&list["threads"]), expected, "flagged={flagged} for {}", person.id);
    }
    // The first message of a thread goes the same way.
    let start =
        json!({"subject": product("p3"), "vendor_id": "v1", "message": {"text": "wh@tsapp?"}});
    let started = cast.shop.acting("buyer").post("/v1/threads", start).await?.expect(201)?;
    assert_eq!(started["last_message"]["text"], "***?");
    Ok(())
}

async fn r11_a_changed_list_counts_from_the_next_message_on(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let say = async |text: &str| -> Result<String> {
        let said = cast.buyer.say(thread, text).await?;
        Ok(said["text"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(say("viber").await?, "viber");
    let entry = forbid(&cast.boss, json!({"phrase": "viber"})).await?;
    let path = format!("{LIST}/{}", id_of(&entry)?);
    assert_eq!(say("viber").await?, "***");
    cast.boss.patch(&path, json!({"phrase": "skype"})).await?.expect(200)?;
    assert_eq!(say("viber, skype").await?, "viber, ***");
    cast.boss.patch(&path, json!({"action": "flag"})).await?.expect(200)?;
    assert_eq!(say("skype").await?, "skype");
    let delete = cast.boss.request(Method::DELETE, &path);
    cast.boss.send(delete).await?.expect(204)?;
    cast.boss.get(&path).await?.refused(404, "forbidden_word_not_found")?;
    // What was written before stays as it was.
    let page = cast.buyer.get(&format!("/v1/threads/{thread}/messages")).await?.expect(200)?;
    assert_eq!(texts(&page["messages"]), ["viber", "***", "viber, ***", "skype"]);

    // Who keeps the list, and what cannot be on it.
    let word = json!({"phrase": "x1"});
    for person in [&cast.buyer, &cast.seller, &cast.helper] {
        person.post(LIST, word.clone()).await?.refused(403, "not_allowed")?;
        person.get(LIST).await?.refused(403, "not_allowed")?;
    }
    cast.clerk.get(LIST).await?.refused(403, "manage_messages_required")?;
    forbid(&cast.shop, json!({"phrase": "Whats App"})).await?;
    cast.shop
        .post(LIST, json!({"phrase": "w-h-a-t-s-арр"}))
        .await?
        .refused(409, "forbidden_word_exists")?;
    for wrong in [
        json!({"phrase": ""}),
        json!({}),
        json!({"phrase": "a*"}),
        json!({"phrase": "x".repeat(501)}),
        json!({"kind": "regex", "phrase": "("}),
        json!({"kind": "regex", "phrase": "(?:(?:a{100}){100}){100}"}),
        json!({"kind": "regex", "phrase": ".*"}),
        json!({"kind": "email", "phrase": "x"}),
        json!({"kind": "link", "exceptions": ["no domain"]}),
        json!({"phrase": "x", "exceptions": ["shop.example"]}),
    ] {
        cast.shop
            .post(LIST, wrong.clone())
            .await?
            .refused(422, "invalid_request")
            .with_context(|| wrong.to_string())?;
    }
    // Page by page, and by what it looks like.
    for word in ["one", "two", "three"] {
        forbid(&cast.boss, json!({"phrase": word, "action": "flag"})).await?;
    }
    let page = cast.boss.get(&format!("{LIST}?limit=2")).await?.expect(200)?;
    assert_eq!(page["forbidden_words"][0]["phrase"], "three");
    let cursor = page["next_cursor"].as_str().context("no cursor")?;
    let rest = cast.boss.get(&format!("{LIST}?limit=2&cursor={cursor}")).await?.expect(200)?;
    assert_eq!(rest["forbidden_words"][0]["phrase"], "one");
    assert_eq!(rest["next_cursor"], Value::Null);
    let found = cast.boss.get(&format!("{LIST}?q=WH4TS&action=mask")).await?.expect(200)?;
    ensure!(found["forbidden_words"].as_array().is_some_and(|it| it.len() <= 1), "{found}");
    let found = cast.boss.get(&format!("{LIST}?q=WHATS&kind=phrase")).await?.expect(200)?;
    assert_eq!(found["forbidden_words"][0]["phrase"], "Whats App");
    Ok(())
}

async fn r11_the_original_is_for_administrators_and_each_look_is_noted(
    scene: &Scene,
) -> Result<()> {
    let cast = Cast::new(scene).await?;
    forbid(&cast.boss, json!({"kind": "email"})).await?;
    let thread = cast.thread("p1").await?;
    let before = cast.buyer.say(thread, "joe@shop.com").await?;
    let path = |said: &Value| format!("/v1/messages/{}/original", said["id"]);
    // Nothing is kept unless the shop says so.
    cast.boss.get(&path(&before)).await?.refused(404, "original_not_found")?;
    let keep = json!({"keep_originals": true});
    cast.seller.patch("/v1/settings", keep.clone()).await?.refused(403, "not_allowed")?;
    let settings = cast.shop.patch("/v1/settings", keep).await?.expect(200)?;
    assert_eq!(settings["keep_originals"], true);
    let said = cast.buyer.say(thread, "Mail joe@shop.com, please").await?;
    assert_eq!(said["text"], "Mail ***, please");
    let plain = cast.buyer.say(thread, "Nothing to hide").await?;

    let answer = cast.boss.get(&path(&said)).await?;
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let original = answer.expect(200)?;
    assert_eq!(original["text"], "Mail joe@shop.com, please");
    assert_eq!(original["masked_text"], "Mail ***, please");
    cast.boss.get(&path(&plain)).await?.refused(404, "original_not_found")?;
    for person in [&cast.buyer, &cast.seller, &cast.helper, &cast.outsider] {
        person.get(&path(&said)).await?.refused(403, "not_allowed")?;
    }
    cast.clerk.get(&path(&said)).await?.refused(403, "manage_messages_required")?;
    cast.shop.get(&path(&said)).await?.refused(422, "acting_user_required")?;

    let log = cast.shop.get("/v1/audit-log?action=message.original_read").await?.expect(200)?;
    let entries = log["entries"].as_array().context("no entries")?;
    assert_eq!(entries.len(), 1, "one look, one entry: {log}");
    assert_eq!(entries[0]["actor_id"], "boss");
    assert_eq!(entries[0]["target"], format!("message:{}", said["id"]));
    let all = cast.shop.get("/v1/audit-log").await?.expect(200)?;
    let actions: Vec<_> = all["entries"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|it| it["action"].as_str())
        // Behind these stands how the people got their rights.
        .take(3)
        .collect();
    assert_eq!(actions, ["message.original_read", "setting.changed", "forbidden_word.created"]);
    ensure!(!all.to_string().contains("joe@"), "the log holds no texts of people: {all}");
    cast.boss.get("/v1/audit-log").await?.refused(403, "root_required")?;
    Ok(())
}

async fn r11_the_list_goes_out_and_in_as_a_table(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let table = "phrase;action;kind;exceptions\nviber;refuse;;\n;;link;shop.example\n=cmd|x;flag;;\nskype;burn;;\n\"new\nline\";;;\n";
    let report = send_table(&cast.boss, table).await?.expect(200)?;
    assert_eq!((&report["added"], &report["refused"]), (&json!(3), &json!(2)), "{report}");
    let lines: Vec<_> =
        report["errors"].as_array().into_iter().flatten().map(|it| &it["line"]).collect();
    assert_eq!(lines, [5, 6]);
    let out = cast.boss.get(&format!("{LIST}/export")).await?;
    ensure!(out.header("content-type").is_some_and(|it| it.starts_with("text/csv")), "{out}");
    assert_eq!(
        out.text,
        "kind,phrase,action,exceptions\nphrase,viber,refuse,\nlink,,mask,shop.example\nphrase,'=cmd|x,flag,\n"
    );
    let again = send_table(&cast.boss, &out.text).await?.expect(200)?;
    assert_eq!((&again["added"], &again["unchanged"]), (&json!(0), &json!(3)), "{again}");
    let changed = send_table(&cast.boss, "phrase,action\nVIBER,mask\n").await?.expect(200)?;
    assert_eq!(changed["changed"], 1, "{changed}");
    let thread = cast.thread("p1").await?;
    let said = cast.buyer.say(thread, "viber, https://evil.com, shop.example/x").await?;
    assert_eq!(said["text"], "***, ***, shop.example/x");

    // Ten thousand at once, and the next message knows them.
    let many: String = (0..10_000).map(|number| format!("forbidden{number}x\n")).collect();
    let report = send_table(&cast.shop, &many).await?.expect(200)?;
    assert_eq!(report["added"], 10_000, "{report}");
    let said = cast.buyer.say(thread, "forbidden9999x forbidden12345x").await?;
    assert_eq!(said["text"], "*** forbidden12345x");

    send_table(&cast.buyer, "x1\n").await?.refused(403, "not_allowed")?;
    send_table(&cast.boss, "phrase,colour\nx1,red\n").await?.refused(422, "invalid_request")?;
    cast.boss
        .post(&format!("{LIST}/import"), json!({}))
        .await?
        .refused(415, "unsupported_media_type")?;
    let huge = send_table(&cast.boss, &"x".repeat(5 << 20)).await;
    // Refused before it is read to its end, so the connection may break first.
    ensure!(huge.is_err() || huge.is_ok_and(|answer| answer.status == 413));
    Ok(())
}

async fn b9_contact_leaks_are_caught_however_they_are_disguised(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    for kind in ["email", "phone", "link"] {
        forbid(&cast.boss, json!({"kind": kind})).await?;
    }
    forbid(&cast.boss, json!({"phrase": "telegram"})).await?;
    forbid(&cast.boss, json!({"kind": "regex", "phrase": r"promo-\d{3}"})).await?;
    let thread = cast.thread("p1").await?;
    for (text, expected) in [
        ("Mail joe (at) shop [dot] com", "Mail ***"),
        ("j o e @ s h o p . c o m", "***"),
        ("jое@ѕhор.соm", "***"),
        ("Call +7 (926) 123-45-67!", "Call ***!"),
        ("８ ９２６ １２３ ４５ ６７", "***"),
        ("8.9.2.6.1.2.3.4.5.6.7", "***"),
        ("see shop\u{200b}.com/x or www . shop . com", "see *** or ***"),
        ("t e l e g r a m, t3l3gr@m, ТЕLЕGRАМ, te\u{200b}le\u{ad}gram", "***, ***, ***, ***"),
        ("PROMO-123", "***"),
        (
            "Order 1234567890 of 21.11.2026, 120x60 cm, $1,234.00",
            "Order 1234567890 of 21.11.2026, 120x60 cm, $1,234.00",
        ),
        ("Telegrams are not telegraph", "Telegrams are not telegraph"),
    ] {
        assert_eq!(cast.buyer.say(thread, text).await?["text"], expected, "{text:?}");
    }
    Ok(())
}

async fn b9_a_refused_text_says_why_and_can_be_sent_changed(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    forbid(&cast.boss, json!({"kind": "phone", "action": "refuse"})).await?;
    forbid(&cast.boss, json!({"phrase": "scam"})).await?;
    let thread = cast.thread("p1").await?;
    let path = format!("/v1/threads/{thread}/messages");
    let draft = |text: &str| json!({"text": text, "client_id": "c-1"});
    let answer = cast.buyer.post(&path, draft("No scam: call +49 171 1234567")).await?;
    let problem = answer.refused(422, "forbidden_words")?;
    assert_eq!(problem["errors"][0]["pointer"], "/text");
    let detail = problem["errors"][0]["detail"].as_str().unwrap_or_default();
    ensure!(detail.contains("+49 171 1234567") && detail.contains("phone number"), "{problem}");
    // Nothing was stored, told or counted; changed, it goes, under the same id.
    let said = cast.buyer.post(&path, draft("No scam: call me here")).await?.expect(201)?;
    assert_eq!(said["text"], "No ***: call me here");
    let page = cast.seller.get(&path).await?.expect(200)?;
    assert_eq!(ids(&page["messages"]), [id_of(&said)?]);
    assert_eq!(cast.seller.get("/v1/unread").await?.expect(200)?["total"], 1);
    // Neither does a thread begin with it.
    let start = json!({"subject": product("p2"), "vendor_id": "v1", "message": {"text": "+49 171 1234567"}});
    cast.shop.acting("buyer").post("/v1/threads", start).await?.refused(422, "forbidden_words")?;
    let list = cast.buyer.get("/v1/threads").await?.expect(200)?;
    assert_eq!(ids(&list["threads"]), [thread]);
    Ok(())
}

async fn b9_a_dry_run_explains_every_decision(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let word = forbid(&cast.boss, json!({"phrase": "viber"})).await?;
    let phone = forbid(&cast.boss, json!({"kind": "phone", "action": "refuse"})).await?;
    let path = format!("{LIST}/check");
    let text = "é V1bеr: +49 171 1234567, fine";
    let checked = cast.boss.post(&path, json!({"text": text})).await?.expect(200)?;
    assert_eq!(checked["outcome"], "refuse");
    assert_eq!(checked["text"], "é ***: ***, fine");
    let findings = checked["findings"].as_array().context("no findings")?;
    assert_eq!(findings.len(), 2, "{checked}");
    assert_eq!(findings[0]["forbidden_word_id"], word["id"]);
    assert_eq!((&findings[0]["start"], &findings[0]["end"]), (&json!(2), &json!(7)), "characters");
    assert_eq!(
        (&findings[0]["matched"], &findings[0]["read_as"]),
        (&json!("V1bеr"), &json!("viber"))
    );
    assert_eq!(findings[1]["forbidden_word_id"], phone["id"]);
    assert_eq!(findings[1]["read_as"], "+491711234567");
    let clean = cast.shop.post(&path, json!({"text": "Good morning"})).await?.expect(200)?;
    assert_eq!(clean, json!({"outcome": null, "text": "Good morning", "findings": []}));
    let denied: [&Person; 2] = [&cast.buyer, &cast.seller];
    for person in denied {
        person.post(&path, json!({"text": "x"})).await?.refused(403, "not_allowed")?;
    }
    Ok(())
}

async fn b10_a_masked_message_sent_again_is_the_same_message(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let path = format!("/v1/threads/{thread}/messages");
    forbid(&cast.boss, json!({"phrase": "viber"})).await?;
    let draft = json!({"text": "viber me", "client_id": "c-1"});
    let first = cast.buyer.post(&path, draft.clone()).await?.expect(201)?;
    // Whatever the list says by then.
    forbid(&cast.boss, json!({"phrase": "me", "action": "refuse"})).await?;
    let again = cast.buyer.post(&path, draft).await?.expect(200)?;
    assert_eq!(first, again);
    let other = json!({"text": "*** me", "client_id": "c-1"});
    cast.buyer.post(&path, other).await?.refused(409, "client_id_reused")?;
    Ok(())
}
