//! `deploy/install.sh` on a clean Debian.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use chaffer_tests::{Api, PATIENCE, Person, Process, Scene, until};
use serde_json::json;

use crate::attachments::upload;
use crate::cast::{id_of, product, vendor};
use crate::debian::{Debian, FRONT, in_debian, nginx_starts, shop};
use crate::load::Load;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r15_the_installer_installs_upgrades_and_uninstalls() -> Result<()> {
    let test = "installation::r15_the_installer_installs_upgrades_and_uninstalls";
    in_debian(test, async |_, debian| installs_upgrades_and_uninstalls(debian).await).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r15_the_installer_takes_a_mariadb() -> Result<()> {
    let test = "installation::r15_the_installer_takes_a_mariadb";
    in_debian(test, async |scene, debian| takes_a_mariadb(scene, debian).await).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r15_the_installer_refuses_what_cannot_work() -> Result<()> {
    let test = "installation::r15_the_installer_refuses_what_cannot_work";
    in_debian(test, async |_, debian| refuses_what_cannot_work(debian).await).await
}

const INSTALL: [&str; 7] = [
    "--binaries",
    "/mnt/binaries",
    "--site",
    "http://127.0.0.1",
    "--nginx-site",
    "default",
    "--yes",
];
const UPGRADE: [&str; 2] = ["--binaries", "/mnt/binaries"];
const PROGRAMS: [&str; 2] = ["chaffer-api", "chaffer-push"];

/// People who talk through the shop's nginx.
struct Talk {
    buyer: Person,
    seller: Person,
    thread: i64,
}

impl Talk {
    /// The backend calls the API on its own machine, the browsers come through nginx.
    async fn start(debian: &Debian) -> Result<Self> {
        let shop = shop(debian)?;
        shop.vendor("v1", vendor("One")).await?;
        let chat = format!("{FRONT}/chat");
        let buyer = shop.new_person("buyer", json!({"role": "customer", "name": "B"})).await?;
        let buyer = buyer.with_api(&chat);
        let admin = json!({"role": "vendor_admin", "name": "S", "vendor_id": "v1"});
        let seller = shop.new_person("seller", admin).await?.with_api(&chat);
        assert_eq!(seller.websocket_url, "ws://127.0.0.1/ws");
        let body = json!({"subject": product("p1"), "vendor_id": "v1"});
        let thread = shop.acting("buyer").post("/v1/threads", body).await?.expect(201)?;
        let thread = id_of(&thread)?;
        Ok(Self { buyer, seller, thread })
    }

    /// Upgraded while people write and listen: the same processes execute new programs, and nobody misses anything.
    async fn goes_on_through_upgrades(&self, debian: &Debian, upgrades: usize) -> Result<()> {
        let listeners = [self.seller.listen().await?, self.seller.listen().await?];
        let load = Load::start(&self.buyer, self.thread, 3);
        load.takes(50).await?;
        for _ in 0..upgrades {
            let mut before = Vec::new();
            for program in PROGRAMS {
                before.push(debian.running(program).await?);
            }
            let backup = debian.last_backup()?;
            debian.install(&UPGRADE).await?;
            for (program, (pid, exe)) in PROGRAMS.into_iter().zip(before) {
                let (pid_now, exe_now) = debian.running(program).await?;
                assert_eq!(pid_now, pid, "{program} was started anew");
                assert_ne!(exe_now, exe, "{program} still runs the old release");
            }
            ensure!(debian.last_backup()? > backup, "no backup");
            load.takes(50).await?;
        }
        for listener in &listeners {
            listener.welcomed(upgrades + 1).await?;
        }
        let posted = load.stop().await?;
        eprintln!(
            "{upgrades} upgrades under load: {} messages, {} refusals, the slowest answer took {:?}",
            posted.texts.len(),
            posted.refusals.len(),
            posted.slowest
        );
        ensure!(posted.refusals.is_empty(), "{:?}", posted.refusals);
        for listener in &listeners {
            posted.reached(listener).await?;
        }
        Ok(())
    }
}

const UNLIMITED: &str = "limits.calls_per_minute = 0\nlimits.calls_per_minute_per_address = 0\n\
                         limits.messages_per_minute_per_thread = 0\n";

/// Who writes without a pause would soon be asked to wait. Settings of the owner's own, before the first install.
fn nobody_writes_too_fast(debian: &Debian) -> Result<()> {
    let folder = debian.path("/etc/chaffer");
    std::fs::create_dir_all(&folder)?;
    Ok(std::fs::write(folder.join("chaffer.local.toml"), UNLIMITED)?)
}

async fn installs_upgrades_and_uninstalls(debian: &Debian) -> Result<()> {
    let shop_before = debian.read("/etc/nginx/sites-available/default")?;
    let front = nginx_starts(debian).await?;
    nobody_writes_too_fast(debian)?;
    let output = debian.install(&INSTALL).await?;
    ensure!(output.contains("/etc/chaffer/api-key"), "{output}");
    the_secrets_are_kept(debian)?;
    nginx_knows_the_chat(&front).await?;
    the_doctor_finds_nothing(debian).await?;
    let talk = Talk::start(debian).await?;
    upload(talk.buyer.api(), "bill.txt", b"hello").await?.expect(201)?;
    // Any spelling that TOML has; the daemon listens there after the next upgrade.
    let local = debian.path("/etc/chaffer/chaffer.local.toml");
    let port = "push.http_listen = '127.0.0.1:8193' # not 8093\n";
    std::fs::write(&local, format!("{UNLIMITED}{port}"))?;
    // As the first versions wrote it, where no daemon may write.
    let config = debian.path("/etc/chaffer/chaffer.toml");
    let (good, bad) = ("\"/var/lib/chaffer/files\"", "\"/etc/chaffer/files\"");
    std::fs::write(&config, std::fs::read_to_string(&config)?.replace(good, bad))?;
    talk.goes_on_through_upgrades(debian, 2).await?;
    ensure!(std::fs::read_to_string(&config)?.contains(good), "it is still {bad}");
    the_doctor_finds_nothing(debian).await?;
    assert_eq!(Api::new("http://127.0.0.1:8193")?.get("/readyz").await?.status, 200);

    // A version that does not get ready: the one before runs again.
    let listener = talk.seller.listen().await?;
    let (_, exe) = debian.running("chaffer-api").await?;
    let (status, output) = debian.try_install(&["--binaries", "/mnt/binaries/broken"]).await?;
    ensure!(!status.success() && output.contains("has been undone"), "{status}: {output}");
    assert_eq!(debian.running("chaffer-api").await?.1, exe);
    assert_eq!(front.get("/chat/readyz").await?.status, 200);
    talk.buyer.say(talk.thread, "after the failure").await?;
    listener.hears("message.created", |data| data["text"] == "after the failure").await?;
    listener.check()?;
    // One that does not even start changes nothing at all, nor does a typo in the configuration.
    let (status, output) = debian.try_install(&["--binaries", "/etc"]).await?;
    ensure!(!status.success() && output.contains("there is no chaffer-push in /etc"), "{output}");
    let good = std::fs::read_to_string(&local)?;
    std::fs::write(&local, "push.http_listn = '127.0.0.1:8193'\n")?;
    let (status, output) = debian.try_install(&UPGRADE).await?;
    ensure!(!status.success() && output.contains("did you mean"), "{status}: {output}");
    assert_eq!(debian.running("chaffer-api").await?.1, exe);
    assert_eq!(front.get("/chat/readyz").await?.status, 200);
    std::fs::write(&local, good)?;

    // An nginx that would not take it is left as it is.
    nginx_is_never_broken(debian, &front).await?;

    // Uninstalled: nothing runs, the shop's nginx is as before, the data are there.
    debian.install(&["--uninstall"]).await?;
    nothing_is_left(debian, &shop_before)?;
    for kept in ["/etc/chaffer/chaffer.toml", "/etc/chaffer/api-key", "/var/lib/chaffer/chaffer.db"]
    {
        ensure!(debian.path(kept).exists(), "{kept} is gone");
    }
    assert_eq!(front.get("/").await?.status, 200);
    assert_eq!(front.get("/chat/readyz").await?.status, 404);

    // Put there again by hand, and then by the installer: it takes over, with the data, and backs them up before.
    let (pid, _) = by_hand(debian).await?;
    let backup = debian.last_backup()?;
    debian.install(&INSTALL).await?;
    let (pid_now, exe) = debian.running("chaffer-api").await?;
    assert_eq!(pid_now, pid, "it was started anew");
    ensure!(exe.display().to_string().contains("/usr/local/lib/chaffer/"), "{}", exe.display());
    ensure!(debian.last_backup()? > backup, "no backup");
    nginx_knows_the_chat(&front).await?;
    let messages = format!("/v1/threads/{}/messages", talk.thread);
    let messages = talk.buyer.get(&messages).await?.expect(200)?;
    ensure!(messages.to_string().contains("after the failure"), "{messages}");

    // At last all of it goes.
    debian.install(&["--uninstall", "--purge"]).await?;
    nothing_is_left(debian, &shop_before)?;
    for gone in ["/etc/chaffer", "/var/lib/chaffer", "/var/log/chaffer"] {
        ensure!(!debian.path(gone).exists(), "{gone} is still there");
    }
    assert_eq!(debian.group()?, None);
    Ok(())
}

/// What deploy/README.md says under "By hand", as far as it is not there yet.
async fn by_hand(debian: &Debian) -> Result<(String, PathBuf)> {
    let script = "install -m 755 /mnt/binaries/chaffer-* /usr/local/bin/
        cp /mnt/chaffer/deploy/supervisor/chaffer.conf /etc/supervisor/conf.d/
        supervisorctl update";
    let (status, output) = debian.run(&["sh", "-ec", script]).await?;
    ensure!(status.success(), "{output}");
    let api = Api::new("http://127.0.0.1:8090")?;
    until("it runs", async || Ok(api.get("/readyz").await?.status == 200)).await?;
    debian.running("chaffer-api").await
}

async fn takes_a_mariadb(scene: &Scene, debian: &Debian) -> Result<()> {
    let mut mariadb = mariadb(scene).await?;
    let front = nginx_starts(debian).await?;
    nobody_writes_too_fast(debian)?;
    let url = "mysql://chaffer:a-password@127.0.0.1:3306/chaffer\n";
    std::fs::write(debian.path("/root/chaffer-database"), url)?;
    let install = [&INSTALL[..], &["--database-file", "/root/chaffer-database"]].concat();
    debian.install(&install).await?;
    nginx_knows_the_chat(&front).await?;
    let talk = Talk::start(debian).await?;
    assert_eq!(debian.last_backup()?, None);
    talk.goes_on_through_upgrades(debian, 1).await?;
    talk.buyer.say(talk.thread, "before all was removed").await?;

    // Removed with its configuration. The database stays, and is backed up before another version changes it.
    debian.install(&["--uninstall", "--purge"]).await?;
    ensure!(!debian.path("/var/lib/chaffer").exists(), "data are left");
    debian.install(&install).await?;
    ensure!(debian.last_backup()?.is_some(), "no backup");
    let messages = format!("/v1/threads/{}/messages", talk.thread);
    let messages = shop(debian)?.acting("buyer").get(&messages).await?.expect(200)?;
    ensure!(messages.to_string().contains("before all was removed"), "{messages}");
    debian.install(&["--uninstall", "--purge"]).await?;
    let status = mariadb.stop(PATIENCE).await?;
    ensure!(status.success(), "mariadbd: {status}");
    Ok(())
}

/// The shop's own server, with an empty database for the chat.
async fn mariadb(scene: &Scene) -> Result<Process> {
    let data = scene.folder().join("mariadb");
    let common = ["--no-defaults".to_owned(), format!("--datadir={}", data.display())];
    let make = Process::new("mariadb-install-db", scene.folder(), scene.folder().join("make.log"));
    make.args(common.clone())
        .args(["--user=root", "--auth-root-authentication-method=normal", "--skip-test-db"])
        .run()
        .await?;
    let first = scene.folder().join("first.sql");
    std::fs::write(
        &first,
        "CREATE DATABASE chaffer;\nCREATE USER chaffer@127.0.0.1 IDENTIFIED BY 'a-password';\n\
         GRANT ALL ON chaffer.* TO chaffer@127.0.0.1;\n",
    )?;
    let socket = scene.folder().join("mariadb.sock");
    let log = scene.folder().join("mariadb.log");
    let mut server = Process::new("mariadbd", scene.folder(), log).args(common).args([
        "--user=root".to_owned(),
        "--port=3306".into(),
        "--bind-address=127.0.0.1".into(),
        format!("--socket={}", socket.display()),
        format!("--init-file={}", first.display()),
        "--innodb-buffer-pool-size=64M".into(),
    ]);
    server.start()?;
    until("MariaDB answers", async || {
        ensure!(server.is_running(), "{}", server.output());
        Ok(tokio::net::TcpStream::connect("127.0.0.1:3306").await.is_ok())
    })
    .await?;
    Ok(server)
}

async fn refuses_what_cannot_work(debian: &Debian) -> Result<()> {
    let front = nginx_starts(debian).await?;
    // A folder where Chaffer's account cannot write.
    let elsewhere = [&UPGRADE[..], &["--database", "sqlite:///srv/chat/chat.db"]].concat();
    let (status, output) = debian.try_install(&elsewhere).await?;
    let command = output.lines().find(|line| line.trim().starts_with("install -d"));
    let command = command.with_context(|| format!("{status}: {output}"))?.trim();
    ensure!(!status.success() && command.ends_with("/srv/chat"), "{status}: {output}");
    let (status, output) = debian.run(&["sh", "-c", command]).await?;
    ensure!(status.success(), "{command}: {output}");

    // The PHP daemon still runs.
    let php = tokio::net::TcpListener::bind("127.0.0.1:8091").await?;
    let (status, output) = debian.try_install(&elsewhere).await?;
    let says = "something else listens at 127.0.0.1:8091";
    ensure!(!status.success() && output.contains(says), "{status}: {output}");
    for absent in ["/usr/local/bin/chaffer-api", "/etc/supervisor/conf.d/chaffer.conf"] {
        ensure!(!debian.path(absent).exists(), "{absent} is there");
    }
    drop(php);

    // The shop's site has a location of that name already: all but nginx is done, and the key is named.
    let site = "/etc/nginx/sites-enabled/default";
    let before = debian.read(site)?;
    let text = before.replacen("server {", "server {\n\tlocation = /ws { return 200; }", 1);
    std::fs::write(debian.path("/etc/nginx/sites-available/default"), &text)?;
    let options = [&elsewhere[..], &["--nginx-site", "default"]].concat();
    let (status, output) = debian.try_install(&options).await?;
    ensure!(!status.success() && output.contains("has been undone"), "{status}: {output}");
    ensure!(output.contains("/etc/chaffer/api-key"), "{output}");
    assert_eq!(debian.read("/etc/nginx/sites-available/default")?, text);
    assert_eq!(front.get("/").await?.status, 200);
    // And the database is where it was wanted.
    shop(debian)?.vendor("v1", vendor("One")).await?;
    let (owner, _, mode) = debian.owner_and_mode("/srv/chat/chat.db")?;
    assert_eq!((owner, mode), (debian.owner_and_mode("/var/lib/chaffer")?.0, 0o600));
    debian.install(&["--uninstall", "--purge"]).await?;
    Ok(())
}

/// At once: the installer waits until no worker of nginx is left that knows nothing of Chaffer.
async fn nginx_knows_the_chat(front: &Api) -> Result<()> {
    for _ in 0..20 {
        let page = front.get("/").await?.status;
        let chat = front.get("/chat/readyz").await?.status;
        let private = front.get("/chat/metrics").await?.status;
        assert_eq!((page, chat, private), (200, 200, 403));
    }
    Ok(())
}

/// As the account that the daemons run as, from whatever folder.
async fn the_doctor_finds_nothing(debian: &Debian) -> Result<()> {
    let doctor = "runuser -u chaffer -- chaffer-api --config /etc/chaffer/chaffer.toml doctor";
    let (status, output) = debian.run(&["sh", "-c", doctor]).await?;
    ensure!(status.success(), "{output}");
    Ok(())
}

fn the_secrets_are_kept(debian: &Debian) -> Result<()> {
    let group = debian.group()?.context("no group")?;
    assert_eq!(debian.owner_and_mode("/etc/chaffer")?, (0, group, 0o750));
    assert_eq!(debian.owner_and_mode("/etc/chaffer/chaffer.toml")?, (0, group, 0o640));
    assert_eq!(debian.owner_and_mode("/etc/chaffer/api-key")?.2, 0o600);
    assert_eq!(debian.owner_and_mode("/var/lib/chaffer")?.2, 0o750);
    assert_eq!(debian.owner_and_mode("/var/lib/chaffer/chaffer.db")?.2, 0o600);
    Ok(())
}

async fn nginx_is_never_broken(debian: &Debian, front: &Api) -> Result<()> {
    let site = "/etc/nginx/sites-available/default";
    let before = debian.read(site)?;
    // Another site has a location of that name already.
    let other = "/etc/nginx/sites-available/other";
    let text = "server { listen 81; location = /ws { return 200; } }\n";
    std::fs::write(debian.path(other), text)?;
    std::os::unix::fs::symlink(other, debian.path("/etc/nginx/sites-enabled/other"))?;
    let options = [&UPGRADE[..], &["--nginx-site", "other"]].concat();
    let (status, output) = debian.try_install(&options).await?;
    ensure!(!status.success() && output.contains("has been undone"), "{status}: {output}");
    assert_eq!(debian.read(other)?, text);
    assert_eq!(debian.read(site)?, before);
    assert_eq!(front.get("/chat/readyz").await?.status, 200);
    for file in [other, "/etc/nginx/sites-enabled/other"] {
        std::fs::remove_file(debian.path(file))?;
    }
    Ok(())
}

fn nothing_is_left(debian: &Debian, shop_before: &str) -> Result<()> {
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if name.starts_with("chaffer-api") || name.starts_with("chaffer-push") {
            bail!("{name} still runs");
        }
    }
    for gone in [
        "/usr/local/bin/chaffer-api",
        "/usr/local/bin/chaffer-push",
        "/usr/local/lib/chaffer",
        "/etc/supervisor/conf.d/chaffer.conf",
        "/etc/nginx/conf.d/chaffer.conf",
        "/etc/nginx/snippets/chaffer-locations.conf",
    ] {
        ensure!(debian.path(gone).symlink_metadata().is_err(), "{gone} is still there");
    }
    assert_eq!(debian.read("/etc/nginx/sites-available/default")?, shop_before);
    Ok(())
}
