//! The whole as a shop runs it: real supervisord and real nginx, with the files of `deploy/`.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use chaffer_tests::{
    Api, PATIENCE, Process, Scene, Setup, Shop, Stack, descendants, free_port, repository, signal,
    until,
};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cast::{id_of, product, vendor};

stories!(r15_the_shops_server_runs_it);

#[test]
fn r15_systemd_accepts_the_units() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut units = Vec::new();
    for name in ["chaffer-api", "chaffer-push"] {
        let source = repository().join(format!("deploy/systemd/{name}.service"));
        let text = std::fs::read_to_string(source)?;
        let program = chaffer_tests::target(name)?.display().to_string();
        let unit = folder.path().join(format!("{name}.service"));
        std::fs::write(&unit, text.replace(&format!("/usr/local/bin/{name}"), &program))?;
        units.push(unit);
    }
    let checked =
        std::process::Command::new("systemd-analyze").arg("verify").args(&units).output()?;
    let said = String::from_utf8_lossy(&checked.stderr);
    ensure!(checked.status.success() && said.is_empty(), "{said}");
    Ok(())
}

/// The only address whose calls with a key are accepted; one of this machine's own, as seen by nginx.
pub(crate) const BACKEND: &str = "127.0.0.5";

async fn r15_the_shops_server_runs_it(scene: &Scene) -> Result<()> {
    let port = free_port()?;
    let setup = Setup::new(scene)?
        .set("api.trusted_ips", vec![BACKEND])
        .set("api.websocket_url", format!("ws://127.0.0.1:{port}/ws"));
    let mut stack = setup.prepare(scene).await?;
    let mut supervisord = supervisord(&stack)?;
    supervisord.start()?;
    let mut nginx = nginx(&stack, port)?;
    nginx.start()?;
    let base = format!("http://127.0.0.1:{port}/chat");
    let backend = Api::with_source(&base, Some(BACKEND.parse()?))?;
    until("the API is ready behind nginx", async || {
        ensure!(nginx.is_running(), "{}", nginx.output());
        ensure!(supervisord.is_running(), "{}", supervisord.output());
        let answer = backend.get("/readyz").await?;
        ensure!(answer.status == 200, "{answer}");
        Ok(true)
    })
    .await?;

    only_the_backends_address_counts(&stack, &base).await?;
    // The cast's calls all go through nginx.
    stack.key = stack.new_key("nginx").await?;
    let shop = Shop::new(&backend, &stack.key);
    shop.vendor("v1", vendor("One")).await?;
    let buyer = shop.new_person("buyer", json!({"role": "customer", "name": "B"})).await?;
    let admin = json!({"role": "vendor_admin", "name": "S", "vendor_id": "v1"});
    let seller = shop.new_person("seller", admin).await?;
    let body = json!({"subject": product("p1"), "vendor_id": "v1"});
    let thread = shop.acting("buyer").post("/v1/threads", body).await?.expect(201)?;
    let thread = id_of(&thread)?;
    assert_eq!(buyer.websocket_url, format!("ws://127.0.0.1:{port}/ws"));
    let listener = seller.listen().await?;
    buyer.say(thread, "through nginx").await?;
    listener.hears("message.created", |data| data["text"] == "through nginx").await?;

    let bearer = stack.internal_bearer()?;
    nothing_internal_is_reached(port, &bearer).await?;

    // Killed, they come back; nothing is lost.
    for name in ["chaffer-push", "chaffer-api"] {
        let before = pid_of(&supervisord, name)?;
        signal(before, "KILL")?;
        until("supervisord starts it again", async || {
            Ok(pid_of(&supervisord, name)? != before && backend.get("/readyz").await?.status == 200)
        })
        .await?;
        let text = format!("{name} was killed");
        let path = format!("/v1/threads/{thread}/messages");
        let message = json!({"text": text, "client_id": text});
        until("it is posted", async || Ok(buyer.post(&path, message.clone()).await?.status == 201))
            .await?;
        listener.hears("message.created", |data| data["text"] == text.as_str()).await?;
    }
    listener.check()?;

    let daemons = descendants(supervisord.pid()?);
    ensure!(daemons.len() >= 2, "{daemons:?}");
    let status = supervisord.stop(PATIENCE).await?;
    ensure!(status.success(), "supervisord: {status}");
    for (pid, name) in daemons {
        ensure!(!chaffer_tests::alive(pid), "{name} is left running");
    }
    for name in ["chaffer-push", "chaffer-api"] {
        let log = std::fs::read_to_string(stack.folder().join(format!("{name}.log")))?;
        ensure!(!log.is_empty(), "{name} wrote no log");
        ensure!(!log.contains("panicked"), "{name}: {log}");
    }
    // What is left of the browser's way when the daemons are away.
    let answer = backend.get("/healthz").await?;
    assert_eq!(answer.status, 502);
    nginx.stop(PATIENCE).await?;
    Ok(())
}

fn pid_of(supervisord: &Process, name: &str) -> Result<u32> {
    let found = descendants(supervisord.pid()?).into_iter().find(|(_, program)| program == name);
    Ok(found.with_context(|| format!("{name} does not run"))?.0)
}

pub(crate) async fn only_the_backends_address_counts(stack: &Stack, base: &str) -> Result<()> {
    let user = json!({"role": "customer", "name": "x"});
    let from = |address: &str| -> Result<Shop> {
        Ok(Shop::new(&Api::with_source(base, Some(address.parse()?))?, &stack.key))
    };
    from(BACKEND)?.put("/v1/users/x", user.clone()).await?.expect(201)?;
    let elsewhere = from("127.0.0.6")?;
    elsewhere.put("/v1/users/x", user.clone()).await?.refused(403, "untrusted_address")?;
    for header in ["X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Client-IP"] {
        let value =
            if header == "Forwarded" { format!("for={BACKEND}") } else { BACKEND.to_owned() };
        let claiming = elsewhere.with(header, &value);
        claiming.put("/v1/users/x", user.clone()).await?.refused(403, "untrusted_address")?;
    }
    Ok(())
}

/// However the path is written: reqwest would tidy it up, so it is sent as it is.
pub(crate) async fn nothing_internal_is_reached(port: u16, bearer: &str) -> Result<()> {
    let disguises = [
        "/chat/{}",
        "/chat//{}",
        "/chat///{}",
        "/chat/./{}",
        "/chat/x/../{}",
        "/chat/v1/../{}",
        "/chat/%2e/{}",
        "/chat/x/%2e%2e/{}",
        "/chat/%2F{}",
        "/chat/;/{}",
        "/chat/{};x",
        "/chat/{}%00",
        "/chat/{}#x",
        "//chat/{}",
        "/chat/..;/{}",
        "/chat/%5c{}",
        "/chat/%252e/{}",
        "http://127.0.0.1/chat/{}",
        "/chat/{}/.",
        "/chat/{}?x=/y",
    ];
    let targets = [
        "internal/v1/events?after=0&limit=1",
        "internal/v1/revocations",
        "%69nternal/v1/events?after=0",
        "Internal/v1/events?after=0",
        "internal%2fv1/events?after=0",
        "metrics",
        "%6detrics",
        "METRICS",
        "metrics/",
    ];
    for target in targets {
        for disguise in disguises {
            let path = disguise.replace("{}", target);
            let answer = raw(port, &path, bearer).await?;
            let status: u16 = answer
                .get(9..12)
                .and_then(|it| it.parse().ok())
                .with_context(|| format!("{path}: {answer}"))?;
            ensure!((400..500).contains(&status), "{path}: {answer}");
            ensure!(
                !answer.contains("\"events\"") && !answer.contains("# TYPE"),
                "{path}: {answer}"
            );
        }
    }
    for plain in ["/chat/internal/v1/events", "/chat/metrics", "/chat/internal", "/chat/internal/"]
    {
        let answer = raw(port, plain, bearer).await?;
        ensure!(answer.starts_with("HTTP/1.1 403"), "{plain}: {answer}");
    }
    Ok(())
}

async fn raw(port: u16, path: &str, bearer: &str) -> Result<String> {
    let talk = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: shop.example\r\nAuthorization: Bearer {bearer}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    tokio::time::timeout(PATIENCE, talk).await.with_context(|| format!("{path}: no answer"))?
}

/// A file of `deploy/` with places of this machine put in; every one of them must have stood there.
pub(crate) fn deployed(
    folder: &Path,
    file: &str,
    places: &BTreeMap<&str, String>,
) -> Result<PathBuf> {
    let source = repository().join("deploy").join(file);
    let mut text =
        std::fs::read_to_string(&source).with_context(|| format!("{}", source.display()))?;
    for (place, here) in places {
        ensure!(text.contains(place), "deploy/{file} says nothing of {place}");
        text = text.replace(place, here);
    }
    let target = folder.join(file.replace('/', "-"));
    std::fs::write(&target, text)?;
    Ok(target)
}

/// The programs of `deploy/supervisor`, with the places of this machine.
fn supervised(stack: &Stack) -> Result<PathBuf> {
    let folder = stack.folder();
    let binaries = chaffer_tests::target("chaffer-api")?;
    let user = std::process::Command::new("id").arg("-un").output()?;
    let user = String::from_utf8(user.stdout)?;
    let places = BTreeMap::from([
        ("/usr/local/bin", binaries.parent().context("no folder")?.display().to_string()),
        ("/etc/chaffer/chaffer.toml", stack.config.display().to_string()),
        ("/var/lib/chaffer", folder.display().to_string()),
        ("/var/log/chaffer", folder.display().to_string()),
        ("user=chaffer", format!("user={}", user.trim())),
    ]);
    deployed(folder, "supervisor/chaffer.conf", &places)
}

fn supervisord(stack: &Stack) -> Result<Process> {
    let folder = stack.folder();
    let programs = supervised(stack)?;
    let main = folder.join("supervisord.conf");
    let here = folder.display();
    std::fs::write(
        &main,
        format!(
            "[supervisord]\nnodaemon=true\nlogfile={here}/supervisord-own.log\npidfile={here}/supervisord.pid\n\
             childlogdir={here}\n[include]\nfiles={}\n",
            programs.display()
        ),
    )?;
    Ok(Process::new("supervisord", folder, folder.join("supervisord.log")).args([
        "-n".to_owned(),
        "-c".into(),
        main.display().to_string(),
    ]))
}

pub(crate) fn nginx(stack: &Stack, port: u16) -> Result<Process> {
    let folder = stack.folder();
    let here = folder.display();
    let upstreams = BTreeMap::from([
        ("127.0.0.1:8090", format!("127.0.0.1:{}", stack.ports.api)),
        ("127.0.0.1:8091", format!("127.0.0.1:{}", stack.ports.websocket)),
    ]);
    let http = deployed(folder, "nginx/chaffer.conf", &upstreams)?;
    let logs = BTreeMap::from([("/var/log/nginx", here.to_string())]);
    let server = deployed(folder, "nginx/chaffer-locations.conf", &logs)?;
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {here}/nginx-{kind};\n"))
        .concat();
    let main = folder.join("nginx.conf");
    std::fs::write(
        &main,
        format!(
            "daemon off;\npid {here}/nginx.pid;\nerror_log {here}/nginx-error.log;\nworker_processes 1;\n\
             events {{ worker_connections 256; }}\nhttp {{\n{temporary}access_log off;\ninclude {};\n\
             server {{\nlisten 127.0.0.1:{port};\ninclude {};\n}}\n}}\n",
            http.display(),
            server.display()
        ),
    )?;
    // The worker is another user where this is root, and has bodies to keep.
    for path in folder.ancestors().take(2) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    }
    Ok(Process::new("nginx", folder, folder.join("nginx.log")).args([
        "-c".to_owned(),
        main.display().to_string(),
        "-e".into(),
        format!("{here}/nginx-start.log"),
    ]))
}
