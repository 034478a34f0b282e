//! The guide `docs/replace-the-php-daemon.md`, played on a clean Debian: a shop with its nginx, its supervisor and a
//! PHP daemon under it, the real installer, and every block of the page in its order.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use chaffer_tests::{Api, Block, Page, Php, Scene, Shell, repository, until};
use serde_json::json;

use crate::debian::{Debian, FRONT, in_debian, nginx_starts, shop};
use crate::guides::page;

const GUIDE: &str = "replace-the-php-daemon.md";
const SITE: &str = "/etc/nginx/sites-available/default";
const SIDE_DOOR: &str = "http://127.0.0.1:8093";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r16_the_guide_from_the_php_daemon_leads_there_and_back() -> Result<()> {
    let test = "guide_from_php::r16_the_guide_from_the_php_daemon_leads_there_and_back";
    in_debian(test, from_the_php_daemon_and_back).await
}

/// Stands for the PHP daemon: the same two ports, the real php-zmq, and a file of what came in.
const OLD_DAEMON: &str = r#"<?php
$listener = stream_socket_server('tcp://127.0.0.1:8091') ?: exit(1);
$pull = new ZMQSocket(new ZMQContext(), ZMQ::SOCKET_PULL);
$pull->bind('tcp://127.0.0.1:8092');
while (true) {
    file_put_contents('/var/www/heard-by-php', $pull->recv() . "\n", FILE_APPEND);
}
"#;

const OLD_PROGRAM: &str =
    "[program:shop-push]\ncommand=php /var/www/old-daemon.php\nredirect_stderr=true\n";

/// The shop's own code, as the guide's first step looks for it.
const SHOP_PHP: &str = r#"<?php
$push = (new ZMQContext())->getSocket(ZMQ::SOCKET_PUSH);
$push->setSockOpt(ZMQ::SOCKOPT_LINGER, 2000);
$push->connect('tcp://127.0.0.1:8092');
$push->send(json_encode(['category' => 'stock', 'item' => 88]));
"#;

async fn from_the_php_daemon_and_back(scene: &Scene, debian: &Debian) -> Result<()> {
    let blocks = Block::read(GUIDE)?;
    the_shop_is_there(debian, &blocks).await?;
    let root = debian.path("/").display().to_string();
    let shell = Shell::new(scene.folder())?;
    shell.script("bin/supervisorctl", &format!("exec chroot {root} supervisorctl \"$@\""))?;
    let installer = format!("exec chroot {root} /mnt/chaffer/deploy/install.sh \"$@\"");
    shell.script("deploy/install.sh", &installer)?;
    let places = BTreeMap::from([
        ("https://shop.example/ws", format!("{FRONT}/ws")),
        ("/var/www/shop", debian.path("/var/www/shop").display().to_string()),
        ("/etc/chaffer", debian.path("/etc/chaffer").display().to_string()),
        ("target/release", "/mnt/binaries".to_owned()),
    ]);
    let push_php = debian.path("/var/www/shop/push.php").display().to_string();
    let php_hears = async |times: usize| {
        shell.run(&format!("php {push_php}")).await?;
        until("the PHP daemon heard it", async || {
            let heard = debian.read("/var/www/heard-by-php").unwrap_or_default();
            Ok(heard.lines().filter(|line| line.contains("\"item\":88")).count() == times)
        })
        .await
    };
    let php_runs = async || {
        until("the PHP daemon runs", async || {
            Ok(shell.run("supervisorctl status shop-push || true").await?.contains("RUNNING"))
        })
        .await
    };
    php_runs().await?;
    php_hears(1).await?;
    // Whoever forgets to stop it first: the installer says so and changes nothing.
    let early = debian.try_install(&["--binaries", "/mnt/binaries"]).await?;
    ensure!(!early.0.success() && early.1.contains("something else listens"), "{}", early.1);
    php_hears(2).await?;
    for absent in ["/etc/chaffer/chaffer.toml", "/usr/local/bin/chaffer-api"] {
        ensure!(!debian.path(absent).exists(), "{absent} is there");
    }

    let mut php = Php::start(scene.folder())?;
    let mut old_page = None;
    for block in blocks {
        let block = block.here(&places);
        let run = async {
            match block.language.as_str() {
                "sh" => shell.run(&block.text).await,
                "toml" => {
                    let file = debian.path("/etc/chaffer/chaffer.local.toml");
                    std::fs::write(file, &block.text)?;
                    Ok(String::new())
                }
                // The shop's nginx has had these lines from the beginning.
                "nginx" => {
                    old_page = Some(an_old_page(scene.folder())?);
                    Ok(String::new())
                }
                "php" => {
                    let printed = php.run(&block.text)?;
                    // Step 5: the old page shows what PHP wrote, byte for byte.
                    if block.text.contains("осталось 3") {
                        let heard = old_page.as_ref().context("no page")?.next()?;
                        let json = json!({"category": "stock", "item": 88, "text": "осталось 3"});
                        assert_eq!(heard["event"], json);
                        let raw = r#"[8,"stock",{"category":"stock","item":88,"text":"\u043e\u0441\u0442\u0430\u043b\u043e\u0441\u044c 3"}]"#;
                        assert_eq!(heard["raw"], raw);
                    }
                    Ok(printed)
                }
                "js" => {
                    let folder = scene.folder();
                    a_page_that_has_moved_hears_both(folder, debian, &mut php, &block.text).await?;
                    Ok(String::new())
                }
                other => bail!("blocks in {other} are not run"),
            }
        };
        let output: Result<String> = run.await;
        let place = || format!("{GUIDE}:{}", block.line);
        block.check(&output.with_context(place)?).with_context(place)?;
        if block.text.contains("supervisorctl start shop-push") {
            php_runs().await?;
            php_hears(3).await?;
        }
    }
    // For good.
    shell.run("deploy/install.sh --uninstall --purge && supervisorctl start shop-push").await?;
    php_runs().await?;
    php_hears(4).await
}

/// Pages, PHP, supervisor with the PHP daemon, nginx with the lines that the guide shows.
async fn the_shop_is_there(debian: &Debian, blocks: &[Block]) -> Result<()> {
    std::fs::create_dir_all(debian.path("/var/www/shop"))?;
    std::fs::write(debian.path("/var/www/shop/push.php"), SHOP_PHP)?;
    let page = "session.subscribe('stock', show);\n";
    std::fs::write(debian.path("/var/www/shop/page.js"), page)?;
    std::fs::write(debian.path("/var/www/old-daemon.php"), OLD_DAEMON)?;
    std::fs::write(debian.path("/etc/supervisor/conf.d/shop-push.conf"), OLD_PROGRAM)?;
    let (status, output) = debian.run(&["service", "supervisor", "start"]).await?;
    ensure!(status.success(), "supervisor: {output}");
    let nginx = blocks.iter().find(|block| block.language == "nginx").context("no nginx block")?;
    let site = debian.read(SITE)?;
    let site = site.replacen("server {", &format!("server {{\n{}", nginx.text), 1);
    std::fs::write(debian.path(SITE), site)?;
    nginx_starts(debian).await?;
    Ok(())
}

/// A page of the shop, with the WAMP client that it always had, through the shop's nginx.
fn an_old_page(folder: &Path) -> Result<Page> {
    let script = repository().join("web/tests/old-page.mjs").display().to_string();
    let page = Page::node(folder, &[script, "ws://127.0.0.1/ws".into(), "stock".into()])?;
    let ready = page.next()?;
    ensure!(ready["ready"].is_string(), "{ready}");
    Ok(page)
}

/// Step 8: a native page hears legacy events beside its own.
async fn a_page_that_has_moved_hears_both(
    folder: &Path,
    debian: &Debian,
    php: &mut Php,
    script: &str,
) -> Result<()> {
    let side_door = Api::new(SIDE_DOOR)?;
    until("the push daemon is back", async || Ok(side_door.get("/readyz").await?.status == 200))
        .await?;
    let customer = json!({"role": "customer", "name": "Anna"});
    let person = shop(debian)?.new_person("7", customer).await?;
    assert_eq!(person.websocket_url, "wss://shop.example/ws");
    let session = json!({"token": person.token, "websocket_url": "ws://127.0.0.1/ws"});
    let functions = format!(
        "const session = {session};\nconst show = (topic, event) => print({{ topic, event }});"
    );
    let page = Page::start(folder, &page(&functions, script))?;
    until("the page has subscribed", async || {
        Ok(side_door.get("/debug/topics").await?.text.contains("\"stock\""))
    })
    .await?;
    php.run("push_event(['category' => 'stock', 'item' => 99, 'text' => 'ещё']);")?;
    // What was queued while the daemon was down has come before it, or goes on coming.
    loop {
        let heard = page.next()?;
        assert_eq!(heard["topic"], "stock");
        if heard["event"]["item"] == 99 {
            assert_eq!(heard["event"]["text"], "ещё");
            return Ok(());
        }
    }
}
