//! Every block of the guides, run in the order of the page: PHP by php-cli, shell by bash, the pages' scripts by
//! Node.js, nginx's lines by nginx. A block in a language that is not known here fails the test.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chaffer_tests::{Api, Block, Page, Php, Process, Scene, Setup, Shell, Stack, free_port, until};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};

stories!(the_guide_for_backends_does_what_it_says, b12_the_guide_for_moving_in_does_what_it_says,);

const SHOP_KEY: &str = "the-key-of-a-shop-that-reads-guides-0123456789";

async fn the_guide_for_backends_does_what_it_says(scene: &Scene) -> Result<()> {
    let setup = Setup::new(scene)?
        .set("keys.shop", vec![SHOP_KEY])
        .set("outgoing.allowed_networks", vec!["127.0.0.1/32"]);
    let mut stack = setup.prepare(scene).await?;
    let folder = stack.folder().to_owned();
    let shell = Shell::new(&folder)?;
    let api = chaffer_tests::target("chaffer-api")?;
    // `runuser -u chaffer -- PROGRAM`: there is no such user here.
    shell.script("bin/runuser", "[[ $1 == -u && $3 == -- ]]; shift 3; exec \"$@\"")?;
    let config = stack.config.display();
    shell.script("bin/chaffer-api", &format!("exec {} --config {config} \"$@\"", api.display()))?;
    let group = std::process::Command::new("id").arg("-gn").output()?;
    let web = free_port()?;
    let places = BTreeMap::from([
        ("http://127.0.0.1:8090", stack.api_url()),
        ("https://shop.example/chat", stack.api_url()),
        ("wss://shop.example/ws", stack.websocket_url()),
        (
            "https://shop.example/chaffer-webhook.php",
            format!("http://127.0.0.1:{web}/chaffer-webhook.php"),
        ),
        ("'/chat-token.php'", format!("'http://127.0.0.1:{web}/chat-token.php'")),
        ("/etc/shop", folder.display().to_string()),
        ("www-data", String::from_utf8(group.stdout)?.trim().to_owned()),
        ("the-shop-key", SHOP_KEY.to_owned()),
    ]);
    // The shop's web server, and the shop's own way to know who is logged in.
    let login = folder.join("login.php");
    std::fs::write(&login, SHOP_OWN_CODE)?;
    let mut server = Process::new("php", &folder, folder.join("php-server.log")).args([
        "-d".to_owned(),
        format!("auto_prepend_file={}", login.display()),
        "-S".into(),
        format!("127.0.0.1:{web}"),
        "-t".into(),
        folder.display().to_string(),
    ]);
    server.start()?;
    let mut php = Php::start(&folder)?;
    let mut printed = String::new();

    for block in Block::read("integrate.md")? {
        let block = block.here(&places);
        let line = block.line;
        let run = async {
            match block.language.as_str() {
                "toml" => {
                    std::fs::write(folder.join("chaffer.local.toml"), &block.text)?;
                    stack.push.start()?;
                    stack.api.start()?;
                    stack.ready().await?;
                    Ok(String::new())
                }
                "sh" => shell.run(&block.text).await,
                "php" => match block.text.strip_prefix("// ").and_then(|it| it.split_once('\n')) {
                    Some((file, _)) if file.ends_with(".php") => {
                        let path = folder.join(file);
                        std::fs::write(&path, format!("<?php\n{}", block.text))?;
                        // The page asks the web server for the other one.
                        if file == "chaffer.php" { php.include(&path) } else { Ok(String::new()) }
                    }
                    _ => php.run(&block.text),
                },
                "js" => {
                    the_page_is_live(&mut stack, &printed, &block.text).await?;
                    let log = std::fs::read_to_string(folder.join("php-server.log"))?;
                    ensure!(log.contains("[200]: POST /chat-token.php"), "{log}");
                    Ok(String::new())
                }
                other => bail!("blocks in {other} are not run"),
            }
        };
        let output: Result<String> = run.await;
        let output = output.with_context(|| format!("integrate.md:{line}"))?;
        block.check(&output)?;
        printed.push_str(&output);
    }
    the_button_works(&stack, &printed).await?;
    the_webhook_is_taken_once(&stack, web).await
}

/// How the shop knows who is logged in, its database, and what it does with an event.
const SHOP_OWN_CODE: &str = r#"<?php
function current_user_id() { return '7'; }
function shop_database() {
    $shop = new PDO('sqlite:' . __DIR__ . '/shop.db', null, null, [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
    $shop->exec('CREATE TABLE IF NOT EXISTS chaffer_webhooks (id VARCHAR(128) PRIMARY KEY)');
    return $shop;
}
function shop_handles($shop, $type, $data) {
    $line = json_encode([$type, $data['text'], $_SERVER['HTTP_WEBHOOK_ID'], $_SERVER['HTTP_WEBHOOK_TIMESTAMP'],
        $_SERVER['HTTP_WEBHOOK_SIGNATURE'], file_get_contents('php://input')]);
    file_put_contents(__DIR__ . '/handled', "$line\n", FILE_APPEND);
}
"#;

/// The real API posts to the guide's receiver; what is forged, old or known already does nothing.
async fn the_webhook_is_taken_once(stack: &Stack, web: u16) -> Result<()> {
    let file = stack.folder().join("handled");
    let handled = || -> Result<Vec<Value>> {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        Ok(text.lines().map(serde_json::from_str).collect::<serde_json::Result<_>>()?)
    };
    let shop = stack.shop()?;
    let list = shop.acting("7").get("/v1/threads").await?.expect(200)?;
    let thread = list["threads"][0]["id"].as_i64().context("no thread")?;
    shop.acting("9").say(thread, "for the webhook: ответ").await?;
    let wanted = "for the webhook: ответ";
    until("PHP handled it", async || Ok(handled()?.iter().any(|it| it[1] == wanted))).await?;
    let all = handled()?;
    let real = all.iter().find(|it| it[1] == wanted).context("not handled")?;
    assert_eq!(real[0], "message.created");
    let part = |index: usize| real[index].as_str().unwrap_or_default().to_owned();
    let (id, timestamp, signature, body) = (part(2), part(3), part(4), part(5));
    let receiver = Api::new(&format!("http://127.0.0.1:{web}"))?;
    let post = async |id: &str, timestamp: &str, signature: &str, body: &str| -> Result<u16> {
        let request = receiver
            .request(reqwest::Method::POST, "/chaffer-webhook.php")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(body.to_owned());
        Ok(receiver.send(request).await?.status)
    };
    // The same once more: taken, and not done again. A second signature beside it does no harm.
    assert_eq!(post(&id, &timestamp, &signature, &body).await?, 204);
    let two = format!("v1,AAAA {signature}");
    assert_eq!(post(&id, &timestamp, &two, &body).await?, 204);
    // Forged: another body, another id, another or no signature, another time.
    let forged = body.replace("ответ", "отказ");
    assert_eq!(post(&id, &timestamp, &signature, &forged).await?, 401);
    assert_eq!(post("another", &timestamp, &signature, &body).await?, 401);
    assert_eq!(post(&id, &timestamp, "v1,AAAA", &body).await?, 401);
    assert_eq!(post(&id, &timestamp, "", &body).await?, 401);
    let later = (timestamp.parse::<i64>()? + 1).to_string();
    assert_eq!(post(&id, &later, &signature, &body).await?, 401);
    // Signed rightly, but long ago.
    let secret = std::fs::read_to_string(stack.folder().join("chaffer-webhook-secret"))?;
    let old = (timestamp.parse::<i64>()? - 301).to_string();
    let signed = signature_of(&secret, &id, &old, &body)?;
    assert_eq!(post("old", &old, &signature_of(&secret, "old", &old, &body)?, &body).await?, 401);
    assert_eq!(post(&id, &old, &signed, &body).await?, 401);
    let times =
        |id: &str| -> Result<usize> { Ok(handled()?.iter().filter(|it| it[2] == id).count()) };
    let times: Result<Vec<_>> = [id.as_str(), "another", "old"].into_iter().map(times).collect();
    assert_eq!(times?, [1, 0, 0]);
    Ok(())
}

fn signature_of(secret: &str, id: &str, timestamp: &str, body: &str) -> Result<String> {
    let key = STANDARD.decode(secret.trim().strip_prefix("whsec_").context("no whsec_")?)?;
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key)?;
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

/// The shop of the guide: one conversation about a mug, one that nobody has answered, and one that was deleted.
const OLD_SHOP: &str = r#"
INSERT INTO cscart_users (user_id, user_type, company_id, firstname) VALUES (7, 'C', 0, 'Anna'), (8, 'C', 0, 'Борис'), (9, 'V', 3, 'Mikkel');
INSERT INTO cscart_companies VALUES (3, 'A', 'Kiln &amp; Clay');
INSERT INTO cscart_vendor_communications (thread_id, status, user_id, company_id, object_id, object_type, created_at, last_updated) VALUES
  (5, 'V', 7, 3, 1042, 'P', 1600000000, 1600000900), (6, 'N', 8, 3, 0, '', 1600001000, 1600001000), (8, 'D', 7, 3, 0, '', 1600002000, 1600002000);
INSERT INTO cscart_vendor_communication_messages VALUES (1, 5, 7, 'C', 1600000000, 'Is it &quot;dishwasher-safe&quot;?'),
  (2, 5, 9, 'V', 1600000100, 'Yes.'), (3, 6, 8, 'C', 1600001000, 'Когда?'), (4, 8, 7, 'C', 1600002000, 'deleted');"#;

async fn b12_the_guide_for_moving_in_does_what_it_says(scene: &Scene) -> Result<()> {
    let Some(old) = crate::moving_in::old_shop(scene, OLD_SHOP).await? else { return Ok(()) };
    let stack = Stack::start(scene).await?;
    let folder = stack.folder().to_owned();
    let shell = Shell::new(&folder)?;
    let api = chaffer_tests::target("chaffer-api")?;
    shell.script("bin/runuser", "[[ $1 == -u && $3 == -- ]]; shift 3; exec \"$@\"")?;
    let config = stack.config.display();
    shell.script("bin/chaffer-api", &format!("exec {} --config {config} \"$@\"", api.display()))?;
    let (server, name) = old.url.rsplit_once('/').context("no database")?;
    let (login, place) =
        server.trim_start_matches("mysql://").split_once('@').context("no host")?;
    let (user, password) = login.split_once(':').context("no password")?;
    let (host, port) = place.split_once(':').context("no port")?;
    let client = "exec /usr/bin/mariadb --no-defaults --default-character-set=utf8mb4";
    shell.script(
        "bin/mariadb",
        &format!("export MYSQL_PWD={password}; {client} -h{host} -P{port} -u{user} \"$@\""),
    )?;
    let places = BTreeMap::from([
        ("http://127.0.0.1:8090", stack.api_url()),
        ("127.0.0.1:3306", place.to_owned()),
        ("shopdb", name.to_owned()),
        // Users of a database server are everybody's.
        ("chaffer_reader", format!("r_{name}")),
        ("the-api-key", stack.key.clone()),
        ("/var/backups", folder.display().to_string()),
    ]);
    for block in Block::read("moving-in.md")? {
        let block = block.here(&places);
        let place = || format!("moving-in.md:{}", block.line);
        ensure!(block.language == "sh", "{}: blocks in {} are not run", place(), block.language);
        let output = shell.run(&block.text).await.with_context(place)?;
        // JSON has quotes behind backslashes.
        block.check(&output.replace("\\\"", "\"")).with_context(place)?;
    }
    Ok(())
}

/// What the page's script lacks: a WebSocket in Node.js 20, its own functions, and a way to be told to write.
pub(crate) fn page(functions: &str, script: &str) -> String {
    format!(
        r#"import WebSocket from "ws";
import {{ createInterface }} from "node:readline";
Object.assign(globalThis, {{ WebSocket, window: globalThis }});
const print = (value) => console.log(JSON.stringify(value));
{functions}
{script}"#
    )
}

async fn the_page_is_live(stack: &mut Stack, printed: &str, script: &str) -> Result<()> {
    let settings =
        printed.split_once("<script>").and_then(|(_, rest)| rest.split_once("</script>"));
    let settings = settings.context("PHP wrote no settings for the page")?.0;
    let functions = format!(
        r#"{settings}
const showMessage = (message) => print({{ message: message.text }});
const showBadge = (total) => print({{ total }});
const reload = () => print({{ reload: true }});
createInterface({{ input: process.stdin }}).on("line", (line) => {{
  const {{ thread, text }} = JSON.parse(line);
  send(thread, text).then(({{ text }}) => print({{ sent: text }}), (error) => print({{ error: String(error) }}));
}});"#
    );
    let mut page = Page::start(stack.folder(), &page(&functions, script))?;
    let news = |wanted: Value| -> Result<()> {
        let mut seen = Vec::new();
        loop {
            let next = page.next().with_context(|| format!("no {wanted} after {seen:?}"))?;
            if next == wanted {
                return Ok(());
            }
            ensure!(next["error"].is_null(), "{next}");
            seen.push(next);
        }
    };
    news(json!({"reload": true}))?;
    let shop = stack.shop()?;
    let list = shop.acting("7").get("/v1/threads").await?.expect(200)?;
    let thread = list["threads"][0]["id"].as_i64().context("no thread")?;
    shop.acting("9").say(thread, "live").await?;
    news(json!({"message": "live"}))?;
    news(json!({"total": 1}))?;
    page.tell(&json!({"thread": thread, "text": "from the page"}))?;
    let news = |wanted: Value| -> Result<()> {
        while page.next()? != wanted {}
        Ok(())
    };
    news(json!({"sent": "from the page"}))?;
    // It comes back by itself, and what was missed is shown, or all is loaded anew.
    stack.crash_push()?;
    stack.push_ready().await?;
    until("the page is back", async || {
        let topics = Api::new(&stack.push_url())?.get("/debug/topics").await?;
        Ok(topics.text.contains("user:7"))
    })
    .await?;
    shop.acting("9").say(thread, "after the restart").await?;
    news(json!({"message": "after the restart"}))
}

/// What the signed button sends is taken from a browser.
async fn the_button_works(stack: &Stack, printed: &str) -> Result<()> {
    let start = printed.split_once("data-start=\"").and_then(|(_, rest)| rest.split_once('"'));
    let start = start.context("no button")?.0.replace("&quot;", "\"");
    let customer = stack.shop()?.person("7").await?;
    let start: Value = serde_json::from_str(&start)?;
    customer.post("/v1/threads", start.clone()).await?.expect(201)?;
    let mut forged = start;
    forged["subject"]["title"] = "A gold mug".into();
    customer.post("/v1/threads", forged).await?.refused(403, "subject_signature_wrong")?;
    Ok(())
}
