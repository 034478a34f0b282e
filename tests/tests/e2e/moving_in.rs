//! A shop that has talked for years moves in with all of it: from the tables of its own platform, in a real MariaDB.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use chaffer_tests::{Database, Kind, PATIENCE, Process, Scene, Setup, Stack, eventually};
use serde_json::{Value, json};

use crate::cast::{Cast, ids, texts};

stories!(
    b12_the_shops_own_conversations_move_in_while_it_serves,
    b12_an_import_that_is_killed_goes_on_where_it_stopped,
    b12_a_number_that_is_taken_is_refused_or_changed,
    b12_older_tables_in_any_encoding_move_in,
    b12_tables_that_have_lost_their_keys_move_in,
    b12_an_import_holds_a_batch_not_the_shop,
);

/// The tables as the platform's add-on makes them, version for version.
const TABLES: &str = r"
CREATE TABLE cscart_vendor_communications (
  `thread_id` int(11) unsigned NOT NULL auto_increment,
  `storefront_id` int(11) unsigned NOT NULL DEFAULT '0',
  `status` char(1) NOT NULL default 'N',
  `user_id` mediumint(8) unsigned NOT NULL,
  `company_id` int(11) unsigned NOT NULL,
  `object_id` int(11) unsigned default 0,
  `object_type` char(1) default '',
  `created_at` int(11) unsigned NOT NULL default 0,
  `last_message` varchar(255) default '',
  `last_message_user_id` mediumint(8) unsigned NOT NULL default 0,
  `last_message_user_type` char(1) NOT NULL default '',
  `last_updated` int(11) unsigned NOT NULL default 0,
  `subject` varchar(255) NOT NULL default '',
  `communication_type` varchar(40) NOT NULL default '',
  PRIMARY KEY (`thread_id`), KEY `idx_company_id` (`company_id`), KEY `idx_user_id` (`user_id`)
) ENGINE=MyISAM DEFAULT CHARSET UTF8;
CREATE TABLE cscart_vendor_communication_messages (
  `message_id` int(11) unsigned NOT NULL auto_increment,
  `thread_id` int(11) unsigned NOT NULL,
  `user_id` mediumint(8) unsigned NOT NULL,
  `user_type` char(1) NOT NULL,
  `timestamp` int(11) unsigned NOT NULL DEFAULT '0',
  `message` text,
  PRIMARY KEY (`message_id`), KEY `idx_thread_id` (`thread_id`)
) ENGINE=MyISAM DEFAULT CHARSET UTF8;
CREATE TABLE cscart_users (
  `user_id` mediumint(8) unsigned NOT NULL auto_increment, `status` char(1) NOT NULL DEFAULT 'A',
  `user_type` char(1) NOT NULL DEFAULT 'C', `is_root` char(1) NOT NULL DEFAULT 'N',
  `company_id` int(11) unsigned NOT NULL DEFAULT '0', `firstname` varchar(128) NOT NULL DEFAULT '',
  `lastname` varchar(128) NOT NULL DEFAULT '', `email` varchar(128) NOT NULL DEFAULT '',
  `lang_code` char(2) NOT NULL DEFAULT '', PRIMARY KEY (`user_id`)
) ENGINE=MyISAM DEFAULT CHARSET=utf8;
CREATE TABLE cscart_companies (
  `company_id` int(11) unsigned NOT NULL auto_increment, `status` char(1) NOT NULL DEFAULT 'A',
  `company` varchar(255) NOT NULL DEFAULT '', PRIMARY KEY (`company_id`)
) ENGINE=MyISAM DEFAULT CHARSET=utf8;
CREATE TABLE cscart_company_descriptions (
  `company_id` int(11) unsigned NOT NULL, `lang_code` char(2) NOT NULL, `company_description` text NOT NULL,
  PRIMARY KEY (`company_id`,`lang_code`)
) ENGINE=MyISAM DEFAULT CHARSET=utf8;
CREATE TABLE cscart_product_descriptions (
  `product_id` mediumint(8) unsigned NOT NULL, `lang_code` char(2) NOT NULL, `product` varchar(255) NOT NULL,
  PRIMARY KEY (`product_id`,`lang_code`)
) ENGINE=MyISAM DEFAULT CHARSET=utf8;";

/// People, and every kind of conversation and message that there is, the broken ones too.
const ROWS: &str = r#"
INSERT INTO cscart_users (user_id, user_type, is_root, company_id, firstname, lastname, email, lang_code) VALUES
  (1, 'A', 'Y', 0, 'Ada', 'Root', 'ada@shop.example', 'en'), (7, 'C', 'N', 0, 'Anna', 'O&#039;Hara', 'anna@example.com', 'en'),
  (8, 'C', 'N', 0, 'Борис', '', 'no address', 'ru'), (9, 'V', 'N', 3, 'Mikkel', 'Ler', 'mikkel@kiln.example', 'en'),
  (10, 'V', 'N', 3, 'Rosa', 'Ler', 'rosa@kiln.example', 'en');
INSERT INTO cscart_companies VALUES (3, 'A', 'Kiln &amp; Clay'), (4, 'D', 'Глина');
INSERT INTO cscart_company_descriptions VALUES (3, 'en', '<p>Mugs</p>');
INSERT INTO cscart_product_descriptions VALUES (1042, 'ru', 'Кружка'), (1042, 'en', 'Stoneware mug');
INSERT INTO cscart_vendor_communications
  (thread_id, storefront_id, status, user_id, company_id, object_id, object_type, created_at, last_updated, subject, communication_type)
VALUES
  (5, 1, 'V', 7, 3, 1042, 'P', 1600000000, 1600000900, '', 'vendor_to_customer'),
  (6, 1, 'N', 8, 3, 77, 'O', 1600001000, 1600001300, '', 'vendor_to_customer'),
  (7, 1, 'N', 7, 3, 3, 'C', 1600002000, 1600002000, '', ''),
  (8, 1, 'D', 7, 3, 1042, 'P', 1600003000, 1600003000, '', 'vendor_to_customer'),
  (9, 0, 'N', 1, 3, 0, '', 1600004000, 1600004100, 'Commission &amp; fees', 'vendor_to_admin'),
  (10, 1, 'N', 7, 3, 1, 'X', 1600005000, 1600005000, '', 'vendor_to_customer'),
  (11, 1, 'N', 0, 3, 1, 'P', 1600005000, 1600005000, '', 'vendor_to_customer'),
  (12, 1, 'N', 7, 0, 1, 'P', 1600005000, 1600005000, '', 'vendor_to_customer'),
  (13, 1, 'N', 7, 3, 1, 'P', 1600005000, 1600005000, '', 'vendor_to_customer'),
  (14, 1, 'V', 7, 3, 1042, 'P', 1600006000, 1600006500, '', 'vendor_to_customer'),
  (15, 1, 'V', 99, 44, 5, 'P', 1600007000, 1600007000, '', 'vendor_to_customer'),
  (16, 1, 'Q', 7, 3, 1, 'P', 1600008000, 1600008000, '', 'vendor_to_customer');
INSERT INTO cscart_vendor_communication_messages (message_id, thread_id, user_id, user_type, timestamp, message) VALUES
  (101, 5, 7, 'C', 1600000000, 'Is it &quot;dishwasher-safe&quot;?'),
  (102, 5, 9, 'V', 1600000200, 'Yes,<br />\nsee <a href="https://shop.example/care?a=1&amp;b=2">how to care</a>'),
  (103, 5, 7, 'C', 1600000300, 'Спасибо! Пишите на anna@example.com'),
  (104, 5, 7, 'C', 1600000100, 'Written later, said before'),
  (105, 5, 7, 'C', 1600000400, '<p>&nbsp;</p>'), (106, 5, 7, 'Z', 1600000500, 'of nobody knows what'),
  (107, 5, 0, 'C', 1600000600, 'of nobody'),
  (110, 6, 8, 'C', 1600001000, 'Где заказ?'), (111, 6, 9, 'V', 1600001200, 'В пути'), (112, 6, 9, 'V', 1600001300, 'Будет завтра'),
  (120, 7, 7, 'C', 1600002000, 'Do you ship abroad?'),
  (125, 8, 7, 'C', 1600003000, 'deleted in the shop'),
  (130, 9, 1, 'A', 1600004000, 'Your fee rises'), (131, 9, 9, 'V', 1600004100, 'It does not'),
  (135, 10, 7, 'C', 1600005000, 'about a thing that nobody knows'), (136, 11, 0, 'C', 1600005000, 'no customer'),
  (137, 12, 7, 'C', 1600005000, 'no vendor'),
  (140, 14, 7, 'C', 1600006000, 'And in blue?'), (141, 14, 1, 'A', 1600006200, 'Not yet'),
  (142, 14, 7, 'C', 1600006300, CONVERT(CAST('Сколько?' AS BINARY) USING latin1)),
  (150, 15, 99, 'C', 1600007000, 'From somebody who is gone'), (160, 16, 7, 'C', 1600008000, 'status?'),
  (900, 999, 7, 'C', 1600009000, 'an orphan'), (901, 999, 7, 'C', 1600009100, 'another orphan');"#;

/// A shop's database with the platform's tables, or nothing where there is no server for it.
pub(crate) async fn old_shop(scene: &Scene, rows: &str) -> Result<Option<Database>> {
    if Kind::Mariadb.missing().is_some() {
        return Ok(None);
    }
    let database = scene.new_database_of(Kind::Mariadb).await?;
    database.query(TABLES).await?;
    database.query(rows).await?;
    Ok(Some(database))
}

fn import(stack: &Stack, shop: &Database, options: &[&str]) -> Result<Process> {
    let arguments: Vec<&str> = ["import", "--json"].iter().chain(options).copied().collect();
    Ok(stack.command(&arguments)?.env("SHOP_DATABASE_URL", shop.url.clone()))
}

async fn report(process: Process) -> Result<Value> {
    let told = process.run().await?;
    serde_json::from_str(&told).with_context(|| told)
}

/// Everything that was read is in one place of the report.
fn adds_up(report: &Value) -> Result<()> {
    for what in ["threads", "messages"] {
        let skipped = report["skipped"].as_object().into_iter().flatten();
        let skipped: i64 = skipped.filter_map(|(_, tally)| tally[what].as_i64()).sum();
        let number = |place: &str| report[place][what].as_i64().unwrap_or(-1);
        let sum = number("imported") + number("already_there") + skipped;
        ensure!(number("read") == sum, "{what}: {report:#}");
    }
    Ok(())
}

/// What an import may change, as one text.
async fn state(database: &Database) -> Result<String> {
    let mut all = String::new();
    for table in [
        "counters",
        "users",
        "vendors",
        "threads",
        "participants",
        "messages",
        "read_states",
        "events",
        "mails",
    ] {
        let rows = database.query(&format!("SELECT * FROM {table} ORDER BY 1, 2")).await?;
        all.push_str(&format!("{table}: {rows:?}\n"));
    }
    Ok(all)
}

async fn texts_of(api: &chaffer_tests::Api, thread: i64) -> Result<Vec<String>> {
    let page = api.get(&format!("/v1/threads/{thread}/messages")).await?.expect(200)?;
    Ok(texts(&page["messages"]).into_iter().map(str::to_owned).collect())
}

async fn b12_the_shops_own_conversations_move_in_while_it_serves(scene: &Scene) -> Result<()> {
    let Some(old) = old_shop(scene, ROWS).await? else { return Ok(()) };
    let stack = Stack::start(scene).await?;
    let shop = stack.shop()?;
    shop.post("/v1/forbidden-words", json!({"kind": "email", "action": "refuse"}))
        .await?
        .expect(201)?;
    let before = state(&stack.database).await?;
    let planned = report(import(&stack, &old, &["--dry-run"])?).await?;
    ensure!(state(&stack.database).await? == before, "a dry run has written");
    ensure!(planned["dry_run"] == true, "{planned}");

    // One that is here already stays as the shop's backend has described it.
    let anna = json!({"role": "customer", "name": "Anna"});
    let anna = shop.new_person("7", anna).await?;
    let now = anna.now().await?;
    let listener = anna.listen().await?;
    let done = report(import(&stack, &old, &[])?).await?;
    adds_up(&planned)?;
    adds_up(&done)?;
    assert_eq!(done["read"], json!({"threads": 12, "messages": 24}));
    assert_eq!(done["imported"], json!({"threads": 6, "messages": 14, "users": 5, "vendors": 2}));
    assert_eq!(planned["skipped"], done["skipped"]);
    let skipped = |reason: &str| &done["skipped"][reason];
    for (reason, threads, examples) in [
        ("deleted", 1, json!([8])),
        ("unknown_object_type", 1, json!([10])),
        ("no_customer", 1, json!([11])),
        ("no_vendor", 1, json!([12])),
        ("no_messages", 1, json!([13])),
        ("unknown_status", 1, json!([16])),
        ("orphan", 0, json!([900, 901])),
        ("empty_text", 0, json!([105])),
        ("unknown_user_type", 0, json!([106])),
        ("no_author", 0, json!([107])),
    ] {
        assert_eq!(skipped(reason)["threads"], threads, "{reason}: {done:#}");
        assert_eq!(skipped(reason)["examples"], examples, "{reason}");
    }
    assert_eq!(done["changed"]["encoding_repaired"]["examples"], json!([142]));
    assert_eq!(done["changed"]["forbidden_words"]["examples"], json!([103]));

    // Nobody was told, and nobody will be.
    assert_eq!(anna.feed(now).await?, Vec::<Value>::new());
    ensure!(stack.database.number("SELECT COUNT(*) FROM events").await? == 0, "there are events");
    ensure!(stack.database.number("SELECT COUNT(*) FROM mails").await? == 0, "there are mails");
    listener.check()?;

    the_customer_finds_everything(&anna).await?;
    the_vendor_finds_everything(&stack).await?;
    the_marketplace_finds_everything(&stack).await?;
    life_goes_on(&stack, &old, &anna).await
}

async fn the_customer_finds_everything(anna: &chaffer_tests::Person) -> Result<()> {
    let list = anna.get("/v1/threads").await?.expect(200)?;
    // The latest first, with the numbers that people know.
    assert_eq!(ids(&list["threads"]), [14, 7, 5]);
    let first = &list["threads"][2];
    assert_eq!(first["subject"]["title"], "Stoneware mug");
    assert_eq!(first["vendor"]["name"], "Kiln & Clay");
    assert_eq!(first["customer"]["name"], "Anna");
    assert_eq!(first["created_at"], "2020-09-13T12:26:40.000Z");
    assert_eq!(first["unread_count"], 0);
    let page = anna.get("/v1/threads/5/messages").await?.expect(200)?;
    assert_eq!(
        texts(&page["messages"]),
        [
            "Is it \"dishwasher-safe\"?",
            "Written later, said before",
            "Yes,\nsee how to care (https://shop.example/care?a=1&b=2)",
            "Спасибо! Пишите на ***",
        ]
    );
    let messages = &page["messages"];
    assert_eq!(messages[0]["created_at"], "2020-09-13T12:26:40.000Z");
    assert_eq!(messages[0]["read_at"], "2020-09-13T12:30:00.000Z");
    assert_eq!(messages[2]["author"]["name"], "Mikkel Ler");
    // Seen in the shop, when it was looked at last.
    assert_eq!(messages[3]["read_at"], "2020-09-13T12:41:40.000Z");
    assert_eq!(texts_of(anna, 14).await?, ["And in blue?", "Not yet", "Сколько?"]);
    assert_eq!(anna.get("/v1/unread").await?.expect(200)?["total"], 0);
    // It goes on in the conversation that was written to last.
    let subject =
        |kind: &str, id: &str| json!({"subject": {"type": kind, "id": id}, "vendor_id": "3"});
    anna.get("/v1/threads/6").await?.refused(404, "thread_not_found")?;
    let again = anna.post("/v1/threads", subject("vendor", "3")).await?.expect(200)?;
    assert_eq!(again["id"], 7);
    Ok(())
}

async fn the_vendor_finds_everything(stack: &Stack) -> Result<()> {
    let shop = stack.shop()?;
    for admin in ["9", "10"] {
        let admin = shop.acting(admin);
        let list = admin.get("/v1/threads").await?.expect(200)?;
        assert_eq!(ids(&list["threads"]), [14, 9, 7, 6, 5]);
        let unread = admin.get("/v1/unread").await?.expect(200)?;
        assert_eq!(unread, json!({"total": 1, "threads": [{"id": 7, "unread_count": 1}]}));
        let flagged = admin.get("/v1/threads?flagged=true").await?.expect(200)?;
        assert_eq!(ids(&flagged["threads"]), [5]);
    }
    let boris = shop.acting("8");
    let unread = boris.get("/v1/unread").await?.expect(200)?;
    assert_eq!(unread, json!({"total": 2, "threads": [{"id": 6, "unread_count": 2}]}));
    assert_eq!(texts_of(&boris, 6).await?, ["Где заказ?", "В пути", "Будет завтра"]);
    let thread = boris.get("/v1/threads/6").await?.expect(200)?;
    assert_eq!(thread["subject"]["type"], "order");
    assert_eq!(thread["customer"]["name"], "Борис");
    let read =
        boris.post("/v1/threads/6/read", json!({"up_to": thread["last_message"]["id"]})).await?;
    assert_eq!(read.expect(200)?["unread_count"], 0);
    Ok(())
}

async fn the_marketplace_finds_everything(stack: &Stack) -> Result<()> {
    let shop = stack.shop()?;
    // Nobody gets a right by being imported.
    let ada = shop.acting("1");
    ada.get("/v1/threads").await?.refused(403, "manage_messages_required")?;
    shop.user("1", json!({"role": "admin", "name": "Ada", "root": true})).await?;
    let list = ada.get("/v1/threads").await?.expect(200)?;
    assert_eq!(ids(&list["threads"]), [15, 14, 9, 7, 6, 5]);
    // In pages, too.
    let mut found = Vec::new();
    let mut path = "/v1/threads?limit=2".to_owned();
    loop {
        let page = ada.get(&path).await?.expect(200)?;
        found.extend(ids(&page["threads"]));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/threads?limit=2&cursor={cursor}");
    }
    assert_eq!(found, [15, 14, 9, 7, 6, 5]);
    let gone = ada.get("/v1/threads/15").await?.expect(200)?;
    assert_eq!(gone["customer"]["name"], "Customer 99");
    assert_eq!(gone["vendor"]["name"], "Vendor 44");
    shop.acting("99")
        .post("/v1/threads/15/messages", json!({"text": "Hello?"}))
        .await?
        .refused(403, "messaging_disabled")?;
    let fees = ada.get("/v1/threads/9").await?.expect(200)?;
    assert_eq!(fees["subject"]["title"], "Commission & fees");
    assert_eq!(fees["customer"], Value::Null);
    // The vendor wrote last.
    assert_eq!(fees["unread_count"], 1);
    assert_eq!(texts_of(&ada, 9).await?, ["Your fee rises", "It does not"]);
    Ok(())
}

/// What is said from now on is heard, and what is said in the shop meanwhile comes in with the next run.
async fn life_goes_on(stack: &Stack, old: &Database, anna: &chaffer_tests::Person) -> Result<()> {
    let shop = stack.shop()?;
    let seller = shop.person("9").await?;
    let listener = seller.listen().await?;
    anna.say(5, "Is it still there?").await?;
    listener.hears("message.created", |data| data["text"] == "Is it still there?").await?;
    let list = anna.get("/v1/threads").await?.expect(200)?;
    assert_eq!(ids(&list["threads"]), [5, 14, 7]);
    // A new conversation's number is none that the shop has given away, deleted ones included.
    let new = json!({"subject": {"type": "order", "id": "1"}, "vendor_id": "3"});
    let new = shop.acting("7").post("/v1/threads", new).await?.expect(201)?;
    assert_eq!(new["id"], 17);

    let nothing = report(import(stack, old, &[])?).await?;
    adds_up(&nothing)?;
    assert_eq!(nothing["imported"], json!({"threads": 0, "messages": 0, "users": 0, "vendors": 0}));
    assert_eq!(nothing["already_there"], json!({"threads": 6, "messages": 14}));
    old.query(
        "INSERT INTO cscart_vendor_communication_messages VALUES (200, 6, 8, 'C', 1600010000, 'Пришло!'), (201, 18, 7, 'C', 1600010100, 'New'); \
         UPDATE cscart_vendor_communications SET status = 'N', last_updated = 1600010000 WHERE thread_id = 6; \
         INSERT INTO cscart_vendor_communications (thread_id, user_id, company_id, created_at) VALUES (18, 7, 3, 1600010100)",
    )
    .await?;
    let more = report(import(stack, old, &[])?).await?;
    adds_up(&more)?;
    assert_eq!(more["imported"], json!({"threads": 1, "messages": 2, "users": 0, "vendors": 0}));
    assert_eq!(
        texts_of(&shop.acting("8"), 6).await?,
        ["Где заказ?", "В пути", "Будет завтра", "Пришло!"]
    );
    let rosa = shop.acting("10").get("/v1/unread").await?.expect(200)?;
    let unread: BTreeMap<i64, i64> = rosa["threads"]
        .as_array()
        .context("none")?
        .iter()
        .filter_map(|it| Some((it["id"].as_i64()?, it["unread_count"].as_i64()?)))
        .collect();
    // Two from the shop before, one that was said here, and the two of the second run.
    assert_eq!(unread, BTreeMap::from([(5, 1), (6, 1), (7, 1), (18, 1)]));
    assert_eq!(rosa["total"], 4);
    let boris = shop.acting("8").get("/v1/unread").await?.expect(200)?;
    assert_eq!(boris["total"], 0);

    // Who was erased does not come back with the next run.
    shop.delete("/v1/users/8").await?.expect(204)?;
    let again = report(import(stack, old, &[])?).await?;
    adds_up(&again)?;
    assert_eq!(again["imported"], nothing["imported"]);
    assert_eq!(again["already_there"], json!({"threads": 7, "messages": 16}));
    let seen = shop.acting("9").get("/v1/threads/6/messages").await?.expect(200)?;
    ensure!(seen["messages"][0]["author"]["name"] != "Борис", "{seen}");
    Ok(())
}

async fn b12_an_import_that_is_killed_goes_on_where_it_stopped(scene: &Scene) -> Result<()> {
    let mut rows =
        ROWS.split("INSERT INTO cscart_vendor_communications").next().context("rows")?.to_owned();
    // Thirty conversations of eleven messages, and one of thirty that takes several batches.
    let (mut threads, mut messages, mut number) = (Vec::new(), Vec::new(), 0);
    for thread in 1..=31 {
        let status = if thread % 3 == 0 { 'N' } else { 'V' };
        let start = 1_600_000_000 + thread * 1000;
        threads
            .push(format!("({thread}, '{status}', 7, 3, {thread}, 'P', {start}, {})", start + 900));
        for place in 0..if thread == 31 { 30 } else { 11 } {
            number += 1;
            let (user, kind) = if place % 4 == 3 { (9, 'V') } else { (7, 'C') };
            messages.push(format!(
                "({number}, {thread}, {user}, '{kind}', {}, 'text {number}')",
                start + place
            ));
        }
    }
    rows.push_str(&format!(
        "INSERT INTO cscart_vendor_communications (thread_id, status, user_id, company_id, object_id, object_type, created_at, last_updated) VALUES {};\n\
         INSERT INTO cscart_vendor_communication_messages VALUES {};",
        threads.join(", "),
        messages.join(", ")
    ));
    let Some(old) = old_shop(scene, &rows).await? else { return Ok(()) };
    let stack = Setup::new(scene)?.prepare(scene).await?;
    let database = &stack.database;
    let count = async || database.number("SELECT COUNT(*) FROM messages").await;
    let mut killed = 0;
    for enough in [1, 60, 150] {
        let mut running = import(&stack, &old, &["--batch-size", "5"])?;
        running.start()?;
        let some = async || Ok((count().await? >= enough || !running.is_running()).then_some(()));
        eventually("some of it has come in", PATIENCE, some).await?;
        if running.is_running() {
            running.kill()?;
            killed += i64::from(count().await? < 360);
        }
    }
    ensure!(killed > 0, "it was never killed in the middle");
    let done = report(import(&stack, &old, &["--batch-size", "5"])?).await?;
    adds_up(&done)?;
    assert_eq!(done["read"], json!({"threads": 31, "messages": 360}));
    ensure!(count().await? == 360, "{done:#}");
    let wanted: Vec<Vec<String>> = (1..=360).map(|number| vec![format!("text {number}")]).collect();
    let rows = database.query("SELECT text FROM messages ORDER BY thread_id, id").await?;
    ensure!(rows == wanted, "{rows:?}");
    // No number was lost, and what is unread is right: of each third conversation what was written last by one side.
    ensure!(database.number("SELECT MAX(id) FROM messages").await? == 360, "numbers were lost");
    let sql = "SELECT reader_id, SUM(unread_count), COUNT(*) FROM read_states WHERE unread_count > 0 GROUP BY reader_id ORDER BY 1";
    let unread = database.query(sql).await?;
    // Eleven end with three of the customer's; ten of them are new.
    assert_eq!(unread, [["10", "30", "10"], ["9", "30", "10"]]);
    let totals = database
        .query("SELECT id, unread_total FROM users WHERE unread_total > 0 ORDER BY id")
        .await?;
    assert_eq!(totals, [["10", "30"], ["9", "30"]]);
    let last = "SELECT COUNT(*) FROM threads t JOIN participants p ON p.thread_id = t.id AND p.activity = t.activity";
    ensure!(database.number(last).await? == 62, "lists differ");
    Ok(())
}

async fn b12_a_number_that_is_taken_is_refused_or_changed(scene: &Scene) -> Result<()> {
    let rows = "INSERT INTO cscart_vendor_communications (thread_id, status, user_id, company_id, created_at) VALUES (1, 'V', 7, 3, 1600000000), (2, 'V', 8, 3, 1600000000);
        INSERT INTO cscart_vendor_communication_messages VALUES (1, 1, 7, 'C', 1600000000, 'one'), (2, 2, 8, 'C', 1600000000, 'two'), (3, 1, 9, 'V', 1600000001, 'three')";
    let Some(old) = old_shop(scene, rows).await? else { return Ok(()) };
    let cast = Cast::new(scene).await?;
    let own = cast.thread("p1").await?;
    assert_eq!(own, 1);
    cast.buyer.say(own, "not to be touched").await?;
    let (status, told, errors) = import(&cast.stack, &old, &[])?.outcome().await?;
    ensure!(!status.success() && errors.contains("--renumber"), "{status} {errors}");
    let told: Value = serde_json::from_str(&told)?;
    adds_up(&told)?;
    assert_eq!(told["skipped"]["number_taken"]["examples"], json!([1]));
    assert_eq!(told["skipped"]["number_taken"]["messages"], 2);
    assert_eq!(told["imported"]["threads"], 1);
    let changed = report(import(&cast.stack, &old, &["--renumber"])?).await?;
    adds_up(&changed)?;
    assert_eq!(changed["renumbered"], json!([{"from": 1, "to": 3}]));
    assert_eq!(texts_of(&cast.shop.acting("7"), 3).await?, ["one", "three"]);
    assert_eq!(texts_of(&cast.buyer, 1).await?, ["not to be touched"]);
    // Nothing twice, with or without the option.
    for options in [&["--renumber"] as &[&str], &[]] {
        let again = report(import(&cast.stack, &old, options)?).await?;
        adds_up(&again)?;
        assert_eq!(again["already_there"], json!({"threads": 2, "messages": 3}));
    }

    for (options, url, says) in [
        (&["--table-prefix", "shop_"] as &[&str], old.url.clone(), "is it --table-prefix cscart_?"),
        (&["--table-prefix", "a`b"], old.url.clone(), "letters, digits and underscores"),
        (
            &[],
            cast.stack.database.url.clone().replace("mysql://", "sqlite://"),
            "is a MySQL or MariaDB",
        ),
        (&[], format!("{}x", old.url), "cannot connect to the shop's database"),
    ] {
        let process = import(&cast.stack, &old, options)?.env("SHOP_DATABASE_URL", url);
        let (status, _, errors) = process.outcome().await?;
        ensure!(!status.success() && errors.contains(says), "expected `{says}`: {errors}");
        ensure!(!errors.contains("chaffer:chaffer"), "the password is shown: {errors}");
    }
    Ok(())
}

async fn b12_older_tables_in_any_encoding_move_in(scene: &Scene) -> Result<()> {
    if Kind::Mariadb.missing().is_some() {
        return Ok(());
    }
    let stack = Setup::new(scene)?.prepare(scene).await?;
    for (place, charset) in ["latin1", "utf8mb3", "utf8mb4", "cp1251"].into_iter().enumerate() {
        let old = scene.new_database_of(Kind::Mariadb).await?;
        let number = place + 1;
        let (text, wanted) = match charset {
            // Read back as it was meant, whichever way it got there.
            "latin1" => ("CONCAT('Grüße ', 'é')", "Grüße é"),
            "cp1251" => ("'Сколько стоит?'", "Сколько стоит?"),
            "utf8mb3" => ("'Сколько, 你好?'", "Сколько, 你好?"),
            _ => ("'Сколько 🫖?'", "Сколько 🫖?"),
        };
        // The first version: no subject, no communication type, no storefront; another prefix; and nobody else's tables.
        old.query(&format!(
            "CREATE TABLE vendor_communications (thread_id int(11) unsigned NOT NULL auto_increment PRIMARY KEY, \
             status char(1) NOT NULL default 'N', user_id mediumint(8) unsigned NOT NULL, company_id int(11) unsigned NOT NULL, \
             object_id int(11) unsigned default 0, object_type char(1) default '', created_at int(11) unsigned NOT NULL default 0, \
             last_updated int(11) unsigned NOT NULL default 0) ENGINE=MyISAM DEFAULT CHARSET {charset}; \
             CREATE TABLE vendor_communication_messages (message_id int(11) unsigned NOT NULL auto_increment PRIMARY KEY, \
             thread_id int(11) unsigned NOT NULL, user_id mediumint(8) unsigned NOT NULL, user_type char(1) NOT NULL, \
             timestamp int(11) unsigned NOT NULL DEFAULT '0', message text) ENGINE=MyISAM DEFAULT CHARSET {charset}; \
             INSERT INTO vendor_communications (thread_id, user_id, company_id, object_id, object_type) VALUES ({number}, 7, 3, {number}, 'P'); \
             INSERT INTO vendor_communication_messages VALUES ({number}, {number}, 7, 'C', 0, {text}), \
             (NULL, {number}, 9, 'V', 1600000000, NULL)"
        ))
        .await?;
        let done = report(import(&stack, &old, &["--table-prefix", ""])?).await?;
        adds_up(&done)?;
        assert_eq!(done["imported"]["messages"], 1, "{done:#}");
        assert_eq!(done["skipped"]["empty_text"]["messages"], 1);
        let sql = format!("SELECT text FROM messages WHERE thread_id = {number}");
        assert_eq!(stack.database.query(&sql).await?, [[wanted]], "{charset}");
    }
    let named = stack.database.query("SELECT name FROM users ORDER BY name").await?;
    assert_eq!(named, [["Customer 7"]]);
    assert_eq!(
        stack.database.query("SELECT name, status FROM vendors").await?,
        [["Vendor 3", "active"]]
    );
    Ok(())
}

async fn b12_tables_that_have_lost_their_keys_move_in(scene: &Scene) -> Result<()> {
    if Kind::Mariadb.missing().is_some() {
        return Ok(());
    }
    let stack = Setup::new(scene)?.prepare(scene).await?;
    let old = scene.new_database_of(Kind::Mariadb).await?;
    // As a dump without keys is restored: numbers stand twice, times are missing or nonsense; and windows-1251 in latin1.
    old.query(
        "CREATE TABLE cscart_vendor_communications (thread_id int, status char(1), user_id int, company_id int, created_at int); \
         CREATE TABLE cscart_vendor_communication_messages (message_id int, thread_id int, user_id int, user_type char(1), \
         timestamp int, message text) DEFAULT CHARSET latin1; \
         INSERT INTO cscart_vendor_communications VALUES (1, 'V', 7, 3, 1600000000), (1, 'V', 7, 3, 1600000000), (2, 'V', 8, 3, 1600000000); \
         INSERT INTO cscart_vendor_communication_messages VALUES (1, 1, 7, 'C', 1600000000, 'first'), (1, 1, 7, 'C', 1600000000, 'first'), \
         (1, 2, 7, 'C', 1600000100, 'the number of another'), (2, 1, 7, 'C', NULL, 'no time'), (3, 1, 7, 'C', -5, 'before 1970'), \
         (4, 2, 8, 'C', 1600000200, 0xCFF0E8E2E5F2)",
    )
    .await?;
    for imported in [4, 0] {
        let done = report(import(&stack, &old, &[])?).await?;
        adds_up(&done)?;
        assert_eq!(done["imported"]["messages"], imported, "{done:#}");
        assert_eq!(done["skipped"]["repeated_number"]["messages"], 2, "{done:#}");
        assert_eq!(done["skipped"]["repeated_number"]["threads"], 1, "{done:#}");
    }
    let sql = "SELECT text FROM messages ORDER BY id";
    let texts = stack.database.query(sql).await?;
    assert_eq!(texts.concat(), ["no time", "before 1970", "first", "Привет"]);
    Ok(())
}

async fn b12_an_import_holds_a_batch_not_the_shop(scene: &Scene) -> Result<()> {
    let most = async |count: u32| -> Result<Option<u64>> {
        let rows = format!(
            "INSERT INTO cscart_vendor_communications (thread_id, user_id, company_id) SELECT seq, 7, 3 FROM seq_1_to_{}; \
             INSERT INTO cscart_vendor_communication_messages SELECT seq, 1 + seq DIV 100, 7, 'C', seq, REPEAT('{{}}[]', 7500) FROM seq_1_to_{count}",
            1 + count / 100
        );
        let Some(old) = old_shop(scene, &rows).await? else { return Ok(None) };
        let stack = Setup::new(scene)?.prepare(scene).await?;
        let mut running = import(&stack, &old, &["--batch-size", "20"])?;
        running.start()?;
        let status = format!("/proc/{}/status", running.pid()?);
        let mut most = 0;
        eventually("it has ended", PATIENCE * 4, async || {
            let text = std::fs::read_to_string(&status).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
            most = most.max(line.trim().trim_end_matches(" kB").parse::<u64>()?);
            Ok((!running.is_running()).then_some(()))
        })
        .await?;
        let there = stack.database.number("SELECT COUNT(*) FROM messages").await?;
        ensure!(there == i64::from(count), "{there}: {}", running.output());
        Ok(Some(most))
    };
    let (Some(few), Some(many)) = (most(100).await?, most(1000).await?) else { return Ok(()) };
    // Thirty megabytes of texts came in.
    ensure!(many < few + 15_000, "{few} kB became {many} kB");
    Ok(())
}
