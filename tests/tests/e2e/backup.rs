//! Copying everything away while people talk, and putting it back.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use chaffer_tests::{
    Database, Kind, PATIENCE, Process, Receiver, Scene, Setup, Socket, Stack, eventually, until,
};
use serde_json::{Value, json};

use crate::cast::Cast;

stories!(
    a_backup_is_one_moment_of_a_shop_that_goes_on,
    a_backup_moves_into_the_other_kind_of_database,
    a_restore_refuses_what_would_do_harm,
    b1_after_a_restore_no_cursor_means_something_else,
    b4_a_restored_shop_calls_nothing_twice_and_loses_no_call,
);

/// Every table but those of events, which a restore begins anew, and its columns that tell rows apart.
const TABLES: [(&str, &str); 7] = [
    ("vendors", "id, name, status, plan_includes_messaging, created_at"),
    ("users", "id, role, name, vendor_id, unread_total, manage_messages, erased_at, created_at"),
    ("threads", "id, subject_type, subject_id, subject_title, status, last_message_id, created_at"),
    ("participants", "thread_id, kind, participant_id, side, last_read_message_id, activity"),
    ("messages", "id, thread_id, author_id, text, client_id, flagged, created_at, read_at"),
    ("read_states", "kind, reader_id, thread_id, last_read_message_id, unread_count"),
    ("api_keys", "hash, name, created_at, revoked_at"),
];

/// What both kinds of database can hold and one of them might change.
const TEXTS: [&str; 5] =
    ["Grüße, 你好, 🫖", "'; DROP TABLE messages; --", "a\\b\"c`d", " spaces at the end  ", "1e5"];

fn on(stack: &Stack, database: &Database, arguments: &[&str]) -> Result<Process> {
    Ok(stack.command(arguments)?.env("CHAFFER_DATABASE_URL", database.url.clone()))
}

async fn back_up(stack: &Stack, path: &Path) -> Result<String> {
    stack.command(&["backup", &path.display().to_string()])?.run().await
}

/// What a table holds, of messages those up to one. Times are cut where one database keeps more digits of zero.
async fn rows(database: &Database, table: (&str, &str), up_to: i64) -> Result<Vec<Vec<String>>> {
    let (name, columns) = table;
    let filter = if name == "messages" { format!("WHERE id <= {up_to}") } else { String::new() };
    let sql = format!("SELECT {columns} FROM {name} {filter} ORDER BY 1, 2, 3");
    let plain = |cell: String| match cell.strip_suffix(".000") {
        Some(whole) => whole.to_owned(),
        // One client writes nothing for NULL, and the other one doubles backslashes.
        None if cell == "NULL" => String::new(),
        None => cell.replace("\\\\", "\\"),
    };
    let found = database.query(&sql).await?;
    Ok(found.into_iter().map(|row| row.into_iter().map(plain).collect()).collect())
}

async fn same(one: &Database, other: &Database) -> Result<()> {
    for table in TABLES {
        let (one, other) = (rows(one, table, i64::MAX).await?, rows(other, table, i64::MAX).await?);
        ensure!(one == other, "{}: {one:?}\nis not\n{other:?}", table.0);
    }
    Ok(())
}

async fn a_backup_is_one_moment_of_a_shop_that_goes_on(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    for text in TEXTS {
        cast.buyer.say(thread, text).await?;
    }
    let (stop, _) = tokio::sync::watch::channel(false);
    let posters: Vec<_> = (0..4)
        .map(|number| {
            let (buyer, stopped) = (cast.buyer.clone(), stop.subscribe());
            tokio::spawn(async move {
                let mut said = 0;
                while !*stopped.borrow() {
                    buyer.say(thread, &format!("{number}: {said}")).await?;
                    said += 1;
                }
                anyhow::Ok(said)
            })
        })
        .collect();
    let database = &cast.stack.database;
    let count = "SELECT COUNT(*) FROM messages";
    // Each causes a few events: enough for several pages of those.
    let enough = async || Ok((database.number(count).await? > 250).then_some(()));
    eventually("people talk", PATIENCE * 4, enough).await?;
    let before = database.number(count).await?;
    let path = scene.folder().join("one.db");
    let told = back_up(&cast.stack, &path).await?;
    let after = database.number(count).await?;
    until("they go on", async || Ok(database.number(count).await? > after)).await?;
    stop.send_replace(true);
    for poster in posters {
        ensure!(poster.await?? > 0, "somebody could not say anything");
    }
    ensure!(told.contains("7 users, 1 threads"), "{told}");
    let mode = std::fs::metadata(&path)?.permissions().mode() & 0o777;
    ensure!(mode == 0o600, "others can read it: {mode:o}");
    let left = std::fs::read_dir(scene.folder())?.flatten().map(|it| it.file_name());
    let left: Vec<_> = left.filter(|it| it.to_string_lossy().contains("chaffer-backup")).collect();
    ensure!(left.is_empty(), "{left:?}");

    let fresh = scene.new_database().await?;
    let bytes = std::fs::read(&path)?;
    let told = on(&cast.stack, &fresh, &["restore", &path.display().to_string()])?.run().await?;
    ensure!(std::fs::read(&path)? == bytes, "the restore wrote into the backup");
    ensure!(told.contains("events go on from"), "{told}");
    let kept = fresh.number(count).await?;
    ensure!(before <= kept && kept <= after, "{before} before, {kept} in it, {after} after");
    // One moment: the counters, the counts and the messages agree.
    let counter = "SELECT value FROM counters WHERE name = 'message'";
    ensure!(fresh.number(counter).await? == kept, "the counter is of another moment");
    let unread = "SELECT unread_count FROM read_states WHERE reader_id = 'seller'";
    ensure!(fresh.number(unread).await? == kept, "the unread count is of another moment");
    for table in [TABLES[0], TABLES[4], TABLES[6]] {
        let (there, here) = (rows(database, table, kept).await?, rows(&fresh, table, kept).await?);
        ensure!(there == here, "{} differs", table.0);
    }
    Ok(())
}

async fn a_backup_moves_into_the_other_kind_of_database(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    for text in TEXTS {
        cast.buyer.say(thread, text).await?;
    }
    cast.seller.say(thread, "Yes, it is.").await?;
    let there = scene.folder().join("there.db");
    back_up(&cast.stack, &there).await?;
    let other = match scene.kind {
        Kind::Sqlite => Kind::Mariadb,
        Kind::Mariadb => Kind::Sqlite,
    };
    if other.missing().is_some() {
        return Ok(());
    }
    let away = scene.new_database_of(other).await?;
    on(&cast.stack, &away, &["restore", &there.display().to_string()])?.run().await?;
    same(&cast.stack.database, &away).await?;
    // And home again, by a backup of the other one.
    let back = scene.folder().join("back.db");
    on(&cast.stack, &away, &["backup", &back.display().to_string()])?.run().await?;
    let home = scene.new_database().await?;
    on(&cast.stack, &home, &["restore", &back.display().to_string()])?.run().await?;
    same(&cast.stack.database, &home).await
}

async fn a_restore_refuses_what_would_do_harm(scene: &Scene) -> Result<()> {
    let stack = Setup::new(scene)?.prepare(scene).await?;
    let path = scene.folder().join("good.db");
    back_up(&stack, &path).await?;
    let refused = async |process: Process, says: &str| -> Result<()> {
        let (status, _, errors) = process.outcome().await?;
        ensure!(!status.success() && errors.contains(says), "expected `{says}`: {status} {errors}");
        Ok(())
    };
    let restore = |path: &Path| stack.command(&["restore", &path.display().to_string()]);
    // It holds an API key.
    refused(restore(&path)?, "--force").await?;
    refused(stack.command(&["backup", &path.display().to_string()])?, "File exists").await?;
    let nowhere = scene.folder().join("nowhere.db");
    refused(restore(&nowhere)?.args(["--force"]), "nowhere.db").await?;
    ensure!(!nowhere.exists(), "it was created");
    let text = scene.folder().join("text.db");
    std::fs::write(&text, "no database at all, but long enough to look at".repeat(50))?;
    refused(restore(&text)?.args(["--force"]), "no whole backup").await?;
    let damaged: PathBuf = scene.folder().join("damaged.db");
    let mut bytes = std::fs::read(&path)?;
    let half = bytes.len() / 2;
    bytes.truncate(half);
    std::fs::write(&damaged, &bytes)?;
    refused(restore(&damaged)?.args(["--force"]), "no whole backup").await?;
    let newer = scene.folder().join("newer.db");
    std::fs::copy(&path, &newer)?;
    let sql = "INSERT INTO __diesel_schema_migrations (version, run_on) VALUES ('99991231235959', '2026-11-21 00:00:00')";
    Process::new("sqlite3", scene.folder(), scene.folder().join("sqlite3.log"))
        .args([newer.display().to_string(), sql.to_owned()])
        .run()
        .await?;
    refused(restore(&newer)?.args(["--force"]), "99991231235959").await?;
    // Nothing of this has changed anything.
    ensure!(stack.database.number("SELECT COUNT(*) FROM api_keys").await? == 1, "the key is gone");
    restore(&path)?.args(["--force"]).run().await?;
    // A database from the future is neither copied nor overwritten.
    stack.database.query(sql).await?;
    refused(restore(&path)?.args(["--force"]), "newer").await?;
    let second = scene.folder().join("second.db");
    refused(stack.command(&["backup", &second.display().to_string()])?, "newer").await
}

async fn b1_after_a_restore_no_cursor_means_something_else(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    cast.buyer.say(thread, "before the backup").await?;
    let path = scene.folder().join("backup.db");
    back_up(&cast.stack, &path).await?;
    cast.buyer.say(thread, "after the backup").await?;
    let (mut socket, welcome) = cast.seller.socket(None).await?;
    let cursor = welcome["last"].as_i64().context("no position")?;
    // While both daemons serve.
    let restore = ["restore", &path.display().to_string(), "--force"];
    cast.stack.command(&restore)?.run().await?;
    // Nobody goes on as if nothing had been.
    let closed = socket.closed(PATIENCE).await?;
    ensure!(closed.code == 1012, "{closed:?}");
    cast.seller.get(&format!("/v1/events?after={cursor}")).await?.refused(410, "cursor_expired")?;
    let welcome = until_gap(&cast, cursor).await?;
    let now = cast.seller.now().await?;
    ensure!(now > cursor + 1_000_000, "ids come again: {now}");
    ensure!(welcome["last"].as_i64().is_some_and(|last| last > cursor), "{welcome}");
    // The lost message is lost, and what is said now is heard by those who are there, once.
    let seller = cast.seller.listen().await?;
    cast.buyer.say(thread, "after the restore").await?;
    seller.hears("message.created", |data| data["text"] == "after the restore").await?;
    seller.check()?;
    let page = cast.seller.get(&format!("/v1/threads/{thread}/messages")).await?.expect(200)?;
    assert_eq!(crate::cast::texts(&page["messages"]), ["before the backup", "after the restore"]);
    // Numbers of messages are not used twice either.
    let ids = crate::cast::ids(&page["messages"]);
    ensure!(ids == [1, 3], "{ids:?}");
    Ok(())
}

async fn b4_a_restored_shop_calls_nothing_twice_and_loses_no_call(scene: &Scene) -> Result<()> {
    let setup = Setup::new(scene)?
        .set("outgoing.allowed_networks", vec!["127.0.0.1"])
        .set("webhooks.retry_seconds", vec![toml::Value::Integer(3600)]);
    let cast = Cast::with(scene, setup).await?;
    let receiver = Receiver::start().await?;
    let body = json!({"url": receiver.url, "events": ["message.created"]});
    let webhook = cast.shop.post("/v1/webhooks", body).await?.expect(201)?;
    let path = format!("/v1/webhooks/{}", webhook["id"].as_str().context("no id")?);
    let log = async || -> Result<Vec<Value>> {
        let page = cast.shop.get(&format!("{path}/deliveries")).await?.expect(200)?;
        Ok(page["deliveries"].as_array().cloned().unwrap_or_default())
    };
    let again = async |delivery: &Value| -> Result<()> {
        let id = delivery["id"].as_str().context("no id")?;
        cast.shop.post(&format!("{path}/deliveries/{id}/replay"), json!({})).await?.expect(202)?;
        Ok(())
    };
    let state = async |place: usize, wanted: &str| {
        let reached = async || Ok(log().await?.get(place).is_some_and(|it| it["state"] == wanted));
        until(wanted, reached).await
    };
    // Two calls that fail, and wait in the backup.
    receiver.answer_always(503);
    let thread = cast.thread("p1").await?;
    for text in ["told meanwhile", "not told yet"] {
        cast.buyer.say(thread, text).await?;
    }
    let both =
        async || Ok(log().await?.iter().filter(|it| it["attempts"][0].is_object()).count() == 2);
    until("both were tried", both).await?;
    let backup = scene.folder().join("calls.db").display().to_string();
    back_up(&cast.stack, Path::new(&backup)).await?;
    receiver.answer_always(200);
    again(&log().await?[1]).await?;
    state(1, "delivered").await?;

    cast.stack.command(&["restore", &backup, "--force"])?.run().await?;
    let [waiting, told] = <[Value; 2]>::try_from(log().await?).map_err(|it| anyhow!("{it:?}"))?;
    assert_eq!((&waiting["state"], &told["state"]), (&json!("pending"), &json!("delivered")));
    // What waits can still be told: its event came back with it.
    again(&waiting).await?;
    state(0, "delivered").await?;
    let posted = receiver.wait_for(4).await?;
    let texts: Result<Vec<Value>> =
        posted.iter().map(|post| Ok(post.json()?["data"]["text"].clone())).collect();
    assert_eq!(texts?[2..], [json!("told meanwhile"), json!("not told yet")]);
    Ok(())
}

/// Resumes from an old cursor until the push daemon has heard of the restore.
async fn until_gap(cast: &Cast, cursor: i64) -> Result<serde_json::Value> {
    eventually("the old cursor is a gap", PATIENCE, async || {
        let mut socket = Socket::open(&cast.seller.websocket_url).await?;
        let welcome = socket.authenticate(&cast.seller.token, Some(cursor)).await?;
        Ok((welcome["resume"] == json!("gap")).then_some(welcome))
    })
    .await
}
