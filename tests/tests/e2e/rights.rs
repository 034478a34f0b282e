//! People's rights (B6): a person is erased, gets all that is kept of it, and what is old goes.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use chaffer_tests::{Answer, Api, PATIENCE, Process, Scene, until};
use reqwest::Method;
use serde_json::{Value, json};

use crate::attachments::upload;
use crate::cast::{Cast, id_of, texts};

stories!(
    b6_who_is_erased_leaves_messages_and_no_trace_of_a_name,
    b6_only_the_shop_and_root_erase_and_never_twice,
    b6_a_person_gets_all_that_is_kept_of_it,
    b6_what_is_old_goes_as_the_dry_run_said,
    b6_what_staff_do_is_noted_and_found,
);

/// What must not be found anywhere after Zoraida was erased.
const TRACES: [&str; 9] = [
    "Quillfeather",
    "zoraida@quill.example",
    "+49 555 0199",
    "zoraida.png",
    "eo-QUILL",
    "kumquat trees",
    "First thoughts",
    "Never mind the quince",
    // A word by itself, as the search index would hold it.
    "quince",
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
    let mut cast = Cast::new(scene).await?;
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
    // Pages say it in the language of their reader.
    let nobody = json!({"id": "z", "role": "customer", "name": "Deleted user", "avatar_url": null,
        "erased": true});
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

    // As if the process had ended before all was gone through, and nobody had started it for days.
    let database = &cast.stack.database;
    let marked = "SELECT COUNT(*) FROM users WHERE erasing_since IS NOT NULL";
    assert_eq!(database.number(marked).await?, 0);
    let left = "UPDATE users SET erasing_since = '2026-01-01 00:00:00' WHERE id = 'z'; \
                UPDATE messages SET request_hash = 'left' WHERE author_id = 'z'";
    database.query(left).await?;
    cast.stack.crash_api()?;
    cast.stack.api_ready().await?;
    until("nothing is left", async || {
        let left = "SELECT (SELECT COUNT(*) FROM users WHERE erasing_since IS NOT NULL) \
                    + (SELECT COUNT(*) FROM messages WHERE request_hash = 'left')";
        Ok(cast.stack.database.number(left).await? == 0)
    })
    .await
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

/// Fetches an export, and opens it with another program than the one that made it.
async fn export(scene: &Scene, api: &Api, id: &str) -> Result<Value> {
    let response = api.request(Method::GET, &format!("/v1/users/{id}/export")).send().await?;
    ensure!(response.status() == 200, "{}", response.text().await?);
    ensure!(response.headers()["content-type"] == "application/zip", "{:?}", response.headers());
    let folder = scene.new_folder("export")?;
    std::fs::write(folder.join("export.zip"), response.bytes().await?)?;
    let script = "import json, sys, zipfile\n\
        archive = zipfile.ZipFile(sys.argv[1])\n\
        assert archive.testzip() is None\n\
        read = lambda name: archive.read(name) if name.startswith('files/') else None\n\
        print(json.dumps({name: json.loads(archive.read(name)) if read(name) is None\n\
            else read(name).decode('latin-1') for name in archive.namelist()}))";
    let archive = folder.join("export.zip").display().to_string();
    let python = Process::new("python3", &folder, folder.join("python.log"));
    Ok(serde_json::from_str(&python.args(["-c", script, &archive]).run().await?)?)
}

async fn b6_a_person_gets_all_that_is_kept_of_it(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    keep_originals(&cast).await?;
    let person = cast.shop.new_person("z", zoraida()).await?;
    let thread = cast.thread_of("z", "p1").await?;
    person.say(thread, "I like kumquat trees").await?;
    let changed = person.say(thread, "First thoughts").await?;
    let path = format!("/v1/messages/{}", changed["id"]);
    person.patch(&path, json!({"text": "Second thoughts"})).await?.expect(200)?;
    cast.seller.say(thread, "A kumquat of ours").await?;
    let other = cast.thread("p2").await?;
    cast.buyer.say(other, "Not for Zoraida").await?;
    let sent = upload(&person, "kumquat list.txt", b"three of them").await?.expect(201)?;
    upload(&person, "draft.txt", b"never sent").await?.expect(201)?;
    let draft = json!({"text": "Here", "attachment_ids": [sent["id"]]});
    person.post(&format!("/v1/threads/{thread}/messages"), draft).await?.expect(201)?;
    let foreign = upload(&cast.seller, "price.txt", b"Of the seller").await?.expect(201)?;
    let draft = json!({"attachment_ids": [foreign["id"]]});
    cast.seller.post(&format!("/v1/threads/{thread}/messages"), draft).await?.expect(201)?;

    for api in [person.api(), &cast.shop.acting("z"), &cast.shop] {
        let files = export(scene, api, "z").await?;
        let names: Vec<&String> = files.as_object().context("no files")?.keys().collect();
        let named = format!("threads/{thread}.json");
        assert_eq!(
            names,
            [
                "audit_log.json",
                "files.json",
                "files/1-___ list.txt",
                "files/2-draft.txt",
                "mails.json",
                "profile.json",
                "read_states.json",
                named.as_str()
            ]
        );
        // The bytes of what the person sent, and was about to; of others no more than what the messages say.
        assert_eq!(files["files/1-___ list.txt"], "three of them");
        assert_eq!(files["files/2-draft.txt"], "never sent");
        let list = &files["files.json"];
        assert_eq!(list[0]["file"], "files/1-___ list.txt");
        assert_eq!((&list[0]["size"], &list[1]["message_id"]), (&json!(13), &json!(null)));
        ensure!(!files.to_string().contains("Of the seller"), "{files}");
        let profile = &files["profile.json"];
        assert_eq!(profile["user"]["email"], "zoraida@quill.example");
        assert_eq!(profile["mails"], "all");
        assert_eq!(files["read_states.json"][0]["unread_count"], 2);
        let talk = &files[&named];
        assert_eq!(talk["thread"]["vendor"]["name"], "Vendor One");
        let said = &talk["messages"];
        assert_eq!(
            texts(said),
            ["I like *** trees", "Second thoughts", "A *** of ours", "Here", ""]
        );
        // What stands behind the mask is for administrators alone.
        ensure!(!files.to_string().contains("like kumquat"), "{files}");
        assert_eq!(said[1]["earlier"][0]["text"], "First thoughts");
        ensure!(!files.to_string().contains("Not for Zoraida"), "{files}");
    }
    let log = cast.shop.get("/v1/audit-log?target=user%3Az").await?.expect(200)?;
    let by: Vec<&Value> =
        log["entries"].as_array().into_iter().flatten().map(|it| &it["actor_id"]).collect();
    assert_eq!(by, [&json!(null), &json!("z"), &json!("z")], "{log}");
    // Staff find the threads that they joined, and what they did.
    cast.boss.say(other, "I am here").await?;
    let root = json!({"role": "admin", "name": "R", "root": true});
    let root = cast.shop.new_person("root", root).await?;
    let files = export(scene, root.api(), "boss").await?;
    assert_eq!(files["audit_log.json"][0]["actor_id"], "boss");
    ensure!(files[format!("threads/{other}.json")].is_object(), "{files}");
    // Who sees no messages any more gets the own ones alone.
    let change = json!({"manage_messages": false});
    cast.shop.patch("/v1/users/boss", change).await?.expect(200)?;
    let files = export(scene, &cast.shop, "boss").await?;
    let talk = &files[format!("threads/{other}.json")];
    assert_eq!(
        (texts(&talk["messages"]), &talk["thread"]),
        (vec!["I am here"], &json!({"id": other}))
    );

    let theirs = "/v1/users/z/export";
    cast.seller.get(theirs).await?.refused(403, "root_required")?;
    cast.shop.get("/v1/users/nobody/export").await?.refused(404, "user_not_found")?;
    cast.shop.delete("/v1/users/z").await?.expect(204)?;
    cast.shop.get(theirs).await?.refused(409, "user_erased")?;
    Ok(())
}

/// What `GET /v1/retention` says: days, how many would go, and whether there is an oldest one, by kind.
async fn retention(api: &Api, query: &str) -> Result<BTreeMap<String, (i64, i64)>> {
    let answer = api.get(&format!("/v1/retention{query}")).await?.expect(200)?;
    let number = |kind: &Value, field: &str| {
        kind[field].as_i64().with_context(|| format!("no {field}: {kind}"))
    };
    let kinds = answer["kinds"].as_array().context("no kinds")?.iter().map(|kind| {
        let name = kind["kind"].as_str().context("no kind")?.to_owned();
        Ok((name, (number(kind, "days")?, number(kind, "would_go")?)))
    });
    kinds.collect()
}

async fn b6_what_is_old_goes_as_the_dry_run_said(scene: &Scene) -> Result<()> {
    let mut cast = Cast::new(scene).await?;
    keep_originals(&cast).await?;
    let since = cast.seller.now().await?;
    let (old, young) = (cast.thread("old").await?, cast.thread("young").await?);
    let said = cast.buyer.say(old, "An old kumquat").await?;
    cast.buyer.patch(&format!("/v1/messages/{}", said["id"]), json!({"text": "Older"})).await?;
    // More than one commit forgets at a time.
    let speaker = cast.shop.acting("buyer");
    for number in 0..250 {
        // As the shop says it, which may say much at once.
        speaker.say(old, &format!("Word {number}")).await?;
    }
    cast.buyer.say(young, "Fresh").await?;
    assert_eq!(cast.seller.get("/v1/unread").await?.expect(200)?["total"], 252);
    let database = &cast.stack.database;
    let long_ago = "2020-02-02 02:02:02.000";
    let age = async |table: &str, at: &str, which: &str| {
        database.query(&format!("UPDATE {table} SET {at} = '{long_ago}' WHERE {which}")).await
    };
    age("threads", "updated_at", &format!("id = {old}")).await?;
    age("audit_log", "at", "action = 'forbidden_word.created'").await?;
    age("events", "at", "id <= 2").await?;

    let api = cast.shop.clone();
    let nothing = retention(&api, "").await?;
    assert_eq!((nothing["threads"], nothing["audit_log"]), ((0, 0), (0, 0)), "for ever");
    let tried = retention(&api, "?retention_thread_days=30&retention_audit_days=365").await?;
    assert_eq!((tried["threads"], tried["audit_log"]), ((30, 1), (365, 1)));
    let wrong = api.get("/v1/retention?retention_thread_days=-1").await?;
    wrong.refused(422, "invalid_request")?;
    let times = json!({"retention_thread_days": 30, "retention_audit_days": 365});
    let moderator = cast.boss.patch("/v1/settings", times.clone()).await?;
    moderator.refused(403, "root_required")?;
    api.patch("/v1/settings", times).await?.expect(200)?;
    let said = retention(&api, "").await?;
    assert_eq!((said["threads"], said["audit_log"], said["events"].1), ((30, 1), (365, 1), 2));
    let count = async |table: &str| {
        cast.stack.database.number(&format!("SELECT COUNT(*) FROM {table}")).await
    };
    let (log, events) = (count("audit_log").await?, count("events").await?);

    // The job runs when the API starts, and every ten minutes.
    cast.stack.crash_api()?;
    cast.stack.api_ready().await?;
    let api = cast.stack.shop()?;
    until("the job has forgotten what is old", async || {
        let left = retention(&api, "").await?;
        Ok(left.values().all(|(_, would_go)| *would_go == 0))
    })
    .await?;
    let count = async |table: &str| {
        cast.stack.database.number(&format!("SELECT COUNT(*) FROM {table}")).await
    };
    assert_eq!((count("audit_log").await?, count("events").await?), (log - 1, events - 2));
    assert_eq!((count("threads").await?, count("messages").await?), (1, 1));
    for table in ["message_versions", "message_originals"] {
        assert_eq!(count(table).await?, 0, "{table}");
    }
    // Whoever knew the thread finds nothing, and everything else as it was.
    for path in ["", "/messages"] {
        let path = format!("/v1/threads/{old}{path}");
        cast.seller.get(&path).await?.refused(404, "thread_not_found")?;
    }
    let unread = cast.seller.get("/v1/unread").await?.expect(200)?;
    assert_eq!(
        (&unread["total"], unread["threads"].as_array().map(Vec::len)),
        (&json!(1), Some(1))
    );
    // Events about what is gone tell nothing, and keep nobody from hearing the rest.
    let (mut after, mut feed) = (since.max(2), String::new());
    loop {
        let page = cast.seller.get(&format!("/v1/events?after={after}&limit=100")).await?;
        let page = page.expect(200)?;
        feed += &page["events"].to_string();
        let next = page["next_cursor"].as_i64().context("no cursor")?;
        if next == after {
            break;
        }
        after = next;
    }
    ensure!(feed.contains("Fresh") && !feed.contains("Word 1"), "{feed}");
    let (mut socket, _) = cast.seller.socket(Some(since.max(2))).await?;
    cast.buyer.say(young, "And on").await?;
    loop {
        if socket.event("message.created").await?["data"]["text"] == "And on" {
            return Ok(());
        }
    }
}

async fn b6_what_staff_do_is_noted_and_found(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let shop = &cast.shop;
    let root = json!({"role": "admin", "name": "R", "root": true});
    shop.new_person("root", root).await?;
    let as_root = shop.acting("root");
    let (from, thread) = (chrono::Utc::now().to_rfc3339(), cast.thread("p1").await?);
    let from = from.replace("+00:00", "Z");
    // Rights and vendors; what changes nothing of them is not noted.
    as_root.patch("/v1/users/clerk", json!({"manage_messages": true})).await?.expect(200)?;
    as_root.patch("/v1/users/clerk", json!({"name": "Cleo"})).await?.expect(200)?;
    let disabled = json!({"name": "Vendor Two", "status": "disabled"});
    as_root.put("/v1/vendors/v2", disabled.clone()).await?.expect(200)?;
    as_root.put("/v1/vendors/v2", disabled).await?.expect(200)?;
    // Threads: of staff, not of those who talk.
    let here = format!("/v1/threads/{thread}");
    for (api, status) in [(cast.boss.api(), "closed"), (cast.boss.api(), "open")] {
        api.patch(&here, json!({"status": status})).await?.expect(200)?;
    }
    cast.buyer.patch(&here, json!({"status": "closed"})).await?.expect(200)?;
    // Webhooks and templates.
    let hook = json!({"url": "https://shop.example/hook?secret=1", "events": ["message.created"]});
    let hook = as_root.post("/v1/webhooks", hook).await?.expect(201)?;
    let path = format!("/v1/webhooks/{}", hook["id"].as_str().context("no id")?);
    as_root.patch(&path, json!({"status": "disabled"})).await?.expect(200)?;
    as_root.post(&format!("{path}/rotate-secret"), json!({})).await?.expect(200)?;
    as_root.delete(&path).await?.expect(204)?;
    let template = "/v1/mail/templates/customer/new_message/en";
    let letter = json!({"subject": "S", "text": "T", "html": "<p>H</p>"});
    cast.boss.put(template, letter).await?.expect(200)?;
    cast.boss.delete(template).await?.expect(200)?;

    let actions = async |query: &str| -> Result<Vec<String>> {
        let path = format!("/v1/audit-log?limit=100{query}");
        let log = shop.get(&path).await?.expect(200)?;
        ensure!(!log.to_string().contains("secret=1"), "addresses may hold secrets: {log}");
        let named = log["entries"].as_array().into_iter().flatten();
        Ok(named.filter_map(|entry| entry["action"].as_str().map(str::to_owned)).collect())
    };
    let by_root = [
        "webhook.deleted",
        "webhook.secret_rotated",
        "webhook.changed",
        "webhook.created",
        "vendor.changed",
        "user.rights_changed",
    ];
    let by_boss =
        ["mail_template.reset", "mail_template.changed", "thread.reopened", "thread.closed"];
    assert_eq!(actions("&actor_id=root").await?, by_root);
    assert_eq!(actions("&actor_id=boss").await?, by_boss);
    assert_eq!(actions(&format!("&target=thread:{thread}")).await?, by_boss[2..]);
    assert_eq!(actions(&format!("&since={from}")).await?.len(), 10);
    ensure!(!actions(&format!("&until={from}")).await?.contains(&"vendor.changed".to_owned()));
    // Page by page it is the same.
    let first = shop.get("/v1/audit-log?actor_id=root&limit=4").await?.expect(200)?;
    let cursor = first["next_cursor"].as_str().context("no cursor")?;
    assert_eq!(actions(&format!("&actor_id=root&cursor={cursor}")).await?, by_root[4..]);
    let rights = shop.get("/v1/audit-log?action=user.rights_changed&target=user:clerk").await?;
    let rights = rights.expect(200)?;
    let change = &rights["entries"][0]["data"];
    assert_eq!(change["from"]["manage_messages"], false);
    assert_eq!(change["to"]["manage_messages"], true);
    Ok(())
}
