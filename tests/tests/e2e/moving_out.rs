//! Everything goes out as lines of JSON and comes back in, on either kind of database.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use chaffer_tests::{Database, Kind, Process, Scene, Setup, Stack};
use serde_json::{Value, json};

use crate::attachments::{fetch, upload};
use crate::cast::{Cast, id_of};

stories!(
    b12_everything_goes_out_and_comes_back_in,
    b12_secrets_go_out_only_when_asked_for,
    b12_an_export_is_one_moment_of_a_shop_that_goes_on,
    b12_a_broken_export_leaves_nothing_behind,
    b12_erased_people_and_files_move_and_stay_what_they_are,
);

const TEXTS: [&str; 5] = [
    "Grüße, 你好, 🫖",
    "'; DROP TABLE messages; --",
    "a\\b\"c`d\u{2028}\n\te",
    " spaces at the end  ",
    "1e5",
];

fn on(stack: &Stack, database: &Database, arguments: &[&str]) -> Result<Process> {
    Ok(stack.command(arguments)?.env("CHAFFER_DATABASE_URL", database.url.clone()))
}

async fn export(
    stack: &Stack,
    database: &Database,
    path: &Path,
    secrets: bool,
) -> Result<Vec<String>> {
    let path = path.display().to_string();
    let mut arguments = vec!["export", "--ndjson", &path];
    arguments.extend(secrets.then_some("--with-secrets"));
    on(stack, database, &arguments)?.run().await?;
    Ok(std::fs::read_to_string(&path)?.lines().map(str::to_owned).collect())
}

async fn import(stack: &Stack, database: &Database, path: &Path) -> Result<()> {
    on(stack, database, &["import", "--ndjson", &path.display().to_string()])?.run().await?;
    Ok(())
}

/// The lines without the first one, which has the time in it, and without the counters, which an import raises.
fn rows(lines: &[String]) -> Vec<&String> {
    lines.iter().skip(1).filter(|line| !line.contains("\"type\":\"counter\"")).collect()
}

/// A shop that has used everything that is moved.
async fn lived_in(scene: &Scene) -> Result<(Cast, i64)> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let words = json!({"kind": "phrase", "phrase": "whatsapp", "action": "mask"});
    cast.shop.post("/v1/forbidden-words", words).await?.expect(201)?;
    cast.shop.patch("/v1/settings", json!({"keep_originals": true})).await?.expect(200)?;
    for text in TEXTS {
        cast.buyer.say(thread, text).await?;
    }
    let first = cast.seller.say(thread, "On WhatsApp?").await?;
    let read = json!({"up_to": first["id"].as_i64().context("no id")? - 2});
    cast.seller.post(&format!("/v1/threads/{thread}/read"), read).await?.expect(200)?;
    cast.outsider.say(cast.thread_of("outsider", "p2").await?, "and I?").await?;
    let visitor = cast.stack.anonymous()?.visitor(json!({"name": "Vera"})).await?;
    let question = json!({"subject": {"type": "support", "id": "support"},
        "message": {"text": "open on Sunday?"}});
    visitor.post("/v1/threads", question).await?.expect(201)?;
    let hook = json!({"url": "https://shop.example/hook", "events": ["message.created"]});
    cast.shop.post("/v1/webhooks", hook).await?.expect(201)?;
    Ok((cast, thread))
}

async fn b12_everything_goes_out_and_comes_back_in(scene: &Scene) -> Result<()> {
    let (cast, thread) = lived_in(scene).await?;
    let stack = &cast.stack;
    let file = |name: &str| -> PathBuf { scene.folder().join(name) };
    let lines = export(stack, &stack.database, &file("here.ndjson"), true).await?;
    let head: Value = serde_json::from_str(&lines[0])?;
    ensure!(head["type"] == "chaffer_export" && head["version"] == 1, "{head}");
    let typed = |kind: &str| {
        let kind = format!("{{\"type\":\"{kind}\",");
        lines.iter().filter(|line| line.starts_with(&kind)).count()
    };
    for (kind, count) in [
        ("vendor", 2),
        ("user", 8),
        ("thread", 3),
        ("waiting_thread", 1),
        ("message", 8),
        ("message_original", 1),
        ("forbidden_word", 1),
        ("setting", 1),
        ("webhook", 1),
        ("api_key", 1),
        ("end", 1),
    ] {
        assert_eq!(typed(kind), count, "{kind}");
    }
    ensure!(
        typed("participant") >= 4 && typed("read_state") >= 2 && typed("audit_entry") >= 1,
        "{lines:#?}"
    );
    let message: Value =
        serde_json::from_str(lines.iter().find(|it| it.contains("DROP TABLE")).context("none")?)?;
    assert_eq!(message["text"], TEXTS[1]);
    assert_eq!(message["flagged"], false);
    ensure!(message["created_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{message}");

    let other = match scene.kind {
        Kind::Sqlite => Kind::Mariadb,
        Kind::Mariadb => Kind::Sqlite,
    };
    if other.missing().is_some() {
        return Ok(());
    }
    let away = scene.new_database_of(other).await?;
    import(stack, &away, &file("here.ndjson")).await?;
    let there = export(stack, &away, &file("there.ndjson"), true).await?;
    assert_eq!(rows(&there), rows(&lines));
    let mut back = Setup::new(scene)?.prepare(scene).await?;
    back.database.query("DELETE FROM api_keys").await?;
    import(stack, &back.database, &file("there.ndjson")).await?;
    let home = export(stack, &back.database, &file("home.ndjson"), true).await?;
    assert_eq!(rows(&home), rows(&lines));

    // And it lives: with the same key, the next numbers, and what was unread.
    back.key = stack.key.clone();
    back.push.start()?;
    back.api.start()?;
    back.ready().await?;
    let buyer = back.shop()?.person("buyer").await?;
    let listener = buyer.listen().await?;
    let seller = back.shop()?.acting("seller");
    let unread = cast.seller.get("/v1/unread").await?.expect(200)?;
    assert_eq!(seller.get("/v1/unread").await?.expect(200)?, unread);
    let said = seller.say(thread, "here now").await?;
    assert_eq!(said["id"], 9);
    listener.hears("message.created", |data| data["text"] == "here now").await?;
    let started = json!({"subject": {"type": "vendor", "id": "v2"}});
    assert_eq!(buyer.post("/v1/threads", started).await?.expect(201)?["id"], 4);
    Ok(())
}

async fn b12_secrets_go_out_only_when_asked_for(scene: &Scene) -> Result<()> {
    let (cast, _) = lived_in(scene).await?;
    let secret = cast.stack.database.query("SELECT secret FROM webhooks").await?[0][0].clone();
    let path = scene.folder().join("plain.ndjson");
    let lines = export(&cast.stack, &cast.stack.database, &path, false).await?;
    let all = lines.join("\n");
    ensure!(
        !all.contains(&secret) && !all.contains("\"type\":\"api_key\""),
        "there are secrets in it"
    );
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(&path)?.permissions().mode() & 0o777;
    ensure!(mode == 0o600, "others can read it: {mode:o}");
    // An installation that was set up has an API key already, and keeps it.
    let fresh = Setup::new(scene)?.prepare(scene).await?;
    import(&cast.stack, &fresh.database, &path).await?;
    ensure!(fresh.database.number("SELECT COUNT(*) FROM api_keys").await? == 1, "the key is gone");
    let hook = fresh.database.query("SELECT status, secret, disabled_reason FROM webhooks").await?;
    ensure!(
        hook[0][0] == "disabled" && hook[0][1].starts_with("whsec_") && hook[0][1] != secret,
        "{hook:?}"
    );
    ensure!(hook[0][2].contains("without its secret"), "{hook:?}");
    // Standard output and standard input do as well.
    let told = on(&cast.stack, &cast.stack.database, &["export", "--ndjson"])?.run().await?;
    assert_eq!(told.lines().count(), lines.len());
    let piped = scene.new_database().await?;
    on(&cast.stack, &piped, &["import", "--ndjson"])?.stdin(path).run().await?;
    ensure!(piped.number("SELECT COUNT(*) FROM messages").await? == 8, "not all came in");
    Ok(())
}

async fn b12_an_export_is_one_moment_of_a_shop_that_goes_on(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    // As the backend, which is not limited.
    let buyer = cast.shop.acting("buyer");
    let poster = tokio::spawn(async move {
        let mut said = 0;
        while !*stopped.borrow() {
            buyer.say(thread, &format!("number {said}")).await?;
            said += 1;
        }
        anyhow::Ok(said)
    });
    chaffer_tests::until("people talk", async || {
        Ok(cast.stack.database.number("SELECT COUNT(*) FROM messages").await? > 20)
    })
    .await?;
    let path = scene.folder().join("moment.ndjson");
    let lines = export(&cast.stack, &cast.stack.database, &path, false).await?;
    stop.send_replace(true);
    let said = poster.await??;
    let messages = lines.iter().filter(|line| line.starts_with("{\"type\":\"message\",")).count();
    ensure!(messages > 20 && messages <= said, "{messages} of {said}");
    let parsed = lines
        .iter()
        .map(|line| serde_json::from_str::<Value>(line))
        .collect::<Result<Vec<_>, _>>()?;
    let counter = parsed.iter().find(|it| it["type"] == "counter" && it["name"] == "message");
    assert_eq!(counter.context("no counter")?["value"], messages);
    let unread = parsed.iter().find(|it| it["type"] == "read_state" && it["reader_id"] == "seller");
    assert_eq!(unread.context("no state")?["unread_count"], messages);
    Ok(())
}

async fn b12_a_broken_export_leaves_nothing_behind(scene: &Scene) -> Result<()> {
    let (cast, _) = lived_in(scene).await?;
    let path = scene.folder().join("good.ndjson");
    let lines = export(&cast.stack, &cast.stack.database, &path, false).await?;
    let place = |part: &str| lines.iter().position(|it| it.contains(part)).context("no such line");
    let user = place("\"type\":\"user\"")?;
    let message = place("DROP TABLE")?;
    let last = lines.len() - 1;
    let with = |place: usize, line: String| {
        let mut lines = lines.clone();
        lines[place] = line;
        lines
    };
    let replaced = |place: usize, from: &str, to: &str| {
        let line = lines[place].replace(from, to);
        assert_ne!(line, lines[place], "{from}");
        with(place, line)
    };
    let numbered = |place: usize, what: &str| format!("line {}: {what}", place + 1);
    let broken = scene.folder().join("broken.ndjson");
    let target = scene.new_database().await?;
    on(&cast.stack, &target, &["migrate"])?.run().await?;
    for (lines, says) in [
        (
            replaced(message, "\"flagged\":false", "\"flagged\":\"no\""),
            numbered(message, "message: `flagged` must be true or false"),
        ),
        (
            replaced(message, "\"created_at\":\"2", "\"created_at\":\"x2"),
            numbered(message, "message: `created_at` must be a time"),
        ),
        (
            replaced(message, "\"text\":", "\"txt\":"),
            numbered(message, "message: the field `text` is missing"),
        ),
        (
            replaced(message, "\"text\":", "\"more\":1,\"text\":"),
            numbered(message, "message: the field `more` is not known here"),
        ),
        (
            replaced(message, "\"side\":\"customer\"", "\"side\":\"king\""),
            numbered(message, "message: `side` is \"king\", and must be one of customer,"),
        ),
        (
            replaced(message, "\"thread_id\":1", "\"thread_id\":77"),
            numbered(message, "message: the database refuses it"),
        ),
        (
            replaced(user, "\"type\":\"user\"", "\"type\":\"hologram\""),
            numbered(user, "the type `hologram` is not known here: install"),
        ),
        (replaced(user, "{", "["), numbered(user, "it is no JSON object")),
        (with(message, String::new()), numbered(message, "it is empty")),
        (
            replaced(0, "\"version\":1", "\"version\":2"),
            "install the version of Chaffer that wrote it".into(),
        ),
        (lines[1..].to_vec(), "line 1: it is no export of Chaffer".into()),
        (lines[..last].to_vec(), format!("cut off after {last} lines")),
        ([&lines[..message], &lines[message + 1..]].concat(), "some are missing".into()),
        ([&lines[..], &lines[user..=user]].concat(), numbered(last + 1, "something follows")),
        (vec![], "cut off after 0 lines".into()),
    ] {
        std::fs::write(&broken, lines.join("\n"))?;
        let process =
            on(&cast.stack, &target, &["import", "--ndjson", &broken.display().to_string()])?;
        let (status, _, errors) = process.outcome().await?;
        ensure!(
            !status.success() && errors.contains(&says),
            "expected `{says}`: {status} {errors}"
        );
    }
    let dry = ["import", "--dry-run", "--ndjson", &path.display().to_string()];
    let told = on(&cast.stack, &target, &dry)?.run().await?;
    ensure!(told.contains("would import") && told.contains("8 message"), "{told}");
    for table in ["vendors", "users", "messages", "events"] {
        let count = target.number(&format!("SELECT COUNT(*) FROM {table}")).await?;
        ensure!(count == 0, "{table} has {count} rows");
    }
    ensure!(target.number("SELECT SUM(value) FROM counters").await? == 0, "numbers were given out");
    import(&cast.stack, &target, &path).await?;
    // Not into what is lived in.
    let again = on(&cast.stack, &target, &["import", "--ndjson", &path.display().to_string()])?;
    let (status, _, errors) = again.outcome().await?;
    ensure!(!status.success() && errors.contains("not empty"), "{errors}");
    Ok(())
}

async fn b12_erased_people_and_files_move_and_stay_what_they_are(scene: &Scene) -> Result<()> {
    let (cast, thread) = lived_in(scene).await?;
    let posts = format!("/v1/threads/{thread}/messages");
    let sent = upload(&cast.seller, "bill.txt", b"hello").await?.expect(201)?;
    let draft = json!({"attachment_ids": [sent["id"]]});
    cast.seller.post(&posts, draft).await?.expect(201)?;
    cast.shop.delete("/v1/users/outsider").await?.expect(204)?;
    let path = scene.folder().join("moved.ndjson");
    let lines = export(&cast.stack, &cast.stack.database, &path, false).await?;
    let line = |start: &str| {
        let line = lines.iter().find(|it| it.starts_with(start)).context(start.to_owned())?;
        anyhow::Ok(serde_json::from_str::<Value>(line)?)
    };
    let file = line("{\"type\":\"attachment\"")?;
    ensure!(file["name"] == "bill.txt" && file.get("secret").is_none(), "{file}");
    ensure!(line("{\"type\":\"user\",\"id\":\"outsider\"")?["erased_at"].is_string(), "{lines:#?}");

    // The files move with their folder.
    let mut there = Setup::new(scene)?.prepare(scene).await?;
    import(&there, &there.database, &path).await?;
    let from = cast.stack.folder().join("data").display().to_string();
    Process::new("cp", scene.folder(), scene.folder().join("cp.log"))
        .args(["-r".to_owned(), from, there.folder().display().to_string()])
        .run()
        .await?;
    there.push.start()?;
    there.api.start()?;
    there.ready().await?;
    let shop = there.shop()?;
    let moved = Cast { stack: there, shop, ..cast };
    let page = moved.shop.acting("seller").get(&posts).await?.expect(200)?;
    let messages = page["messages"].as_array().context("no messages")?;
    let with_file = messages.last().context("none")?;
    assert_eq!(fetch(&moved, &with_file["attachments"][0]["url"]).await?, (200, b"hello".to_vec()));
    // Under a key of its own: addresses of the other installation mean nothing here.
    let old = sent["url"].as_str().context("no address")?;
    moved.stack.anonymous()?.get(old).await?.refused(404, "attachment_not_found")?;
    let user = moved.shop.get("/v1/users/outsider").await?.expect(200)?;
    ensure!(user["erased_at"].is_string() && user["name"] == "Deleted user", "{user}");
    let back = json!({"role": "customer", "name": "Otto"});
    moved.shop.put("/v1/users/outsider", back).await?.refused(409, "user_erased")?;
    let next = upload(&moved.shop.acting("seller"), "next.txt", b"hello").await?.expect(201)?;
    assert_eq!(id_of(&next)?, id_of(&sent)? + 1);
    Ok(())
}
