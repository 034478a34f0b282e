//! The demo page in a real browser, and `make run` from the first command to Ctrl-C.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chaffer_tests::{
    Api, Kind, PATIENCE, Ports, Process, Scene, Shop, alive, descendants, eventually, play,
    repository, signal, target, until,
};
use serde_json::json;

stories!(r2_the_demo_page_works_in_a_browser);

/// How long `make run` may build, where nothing was built before.
const BUILDING: Duration = Duration::from_secs(480);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn make_run_shows_the_demo_and_leaves_nothing_behind() -> Result<()> {
    play("make_run", Kind::Sqlite, make_run).await
}

/// The variables that put a daemon on these ports.
fn on(ports: &Ports, process: Process) -> Process {
    let listen = |port: u16| format!("127.0.0.1:{port}");
    process
        .env("CHAFFER_API_LISTEN", listen(ports.api))
        .env("CHAFFER_PUSH_WEBSOCKET_LISTEN", listen(ports.websocket))
        .env("CHAFFER_PUSH_PUSHER_LISTEN", listen(ports.pusher))
        .env("CHAFFER_PUSH_HTTP_LISTEN", listen(ports.http))
}

async fn r2_the_demo_page_works_in_a_browser(scene: &Scene) -> Result<()> {
    let folder = scene.new_folder("demo")?;
    let database = scene.new_database().await?;
    let ports = Ports::free()?;
    let process = |program: &str, log: &str| -> Result<Process> {
        let process = Process::new(target(program)?, &folder, folder.join(log));
        Ok(on(&ports, process).env("CHAFFER_DATABASE_URL", database.url.clone()))
    };
    let here = folder.display().to_string();
    process("chaffer-api", "init.log")?.args(["init", "--dir", &here, "--demo"]).run().await?;
    let config = format!("{here}/chaffer.toml");
    let mut push = process("chaffer-push", "push.log")?.args(["--config", &config]);
    let api = process("chaffer-api", "api.log")?.args(["serve", "--config", &config]);
    let mut api = api.args(["--api-demo", "true"]);
    push.start()?;
    api.start()?;
    let url = format!("http://127.0.0.1:{}", ports.api);
    let client = Api::new(&url)?;
    until("the demo is ready", async || Ok(client.get("/readyz").await?.status == 200)).await?;
    let tests = repository().join("web/tests/demo.e2e.mjs");
    let browser = Process::new("node", &repository().join("web"), folder.join("node.log"))
        .args(["--test".to_owned(), tests.display().to_string()])
        .env("DEMO_URL", url);
    let (status, output, errors) = browser.outcome().await?;
    ensure!(status.success(), "{output}\n{errors}");
    Ok(())
}

async fn make_run(scene: &Scene) -> Result<()> {
    let copy = scene.new_folder("copy")?;
    copy_repository(&copy).await?;
    let ports = Ports::free()?;
    let build = target("chaffer-api")?;
    let build = build.ancestors().nth(2).context("no target folder")?.join("make-run");
    // The shell makes way for make; only its standard output is the answer.
    let make = Process::new("sh", &copy, scene.folder().join("make-run-stdout.log"))
        .args(["-c", "exec make run 2>make-run-stderr.log"])
        .env("CARGO_TARGET_DIR", build.display().to_string());
    // Built as a release, but quickly: what is shown here is the script.
    let cargo = std::env::vars().filter(|(name, _)| name.starts_with("CARGO_PROFILE_RELEASE_"));
    let make = cargo.fold(make, |make, (name, value)| make.env(&name, value));
    let mut make = on(&ports, make);
    make.start()?;
    let ready = format!("ready http://127.0.0.1:{}/demo", ports.api);
    let last = eventually("make run is ready", BUILDING, async || {
        let output = make.output();
        let last = output.lines().last().unwrap_or_default().to_owned();
        if last.starts_with("ready") || !make.is_running() { Ok(Some(last)) } else { Ok(None) }
    });
    let last = last.await?;
    assert_eq!(last, ready);

    let api = Api::new(&format!("http://127.0.0.1:{}", ports.api))?;
    let door = api.at(&format!("http://127.0.0.1:{}", ports.http));
    let page = api.get("/demo").await?;
    ensure!(page.status == 200 && page.text.contains("<html"), "{page}");
    let key = std::fs::read_to_string(copy.join("data/api-key"))?;
    let user = json!({"role": "customer", "name": "x"});
    Shop::new(&api, key.trim()).put("/v1/users/x", user).await?.expect(201)?;

    let root = make.pid()?;
    for (name, client) in [("chaffer-push", &door), ("chaffer-api", &api)] {
        let pid = || descendants(root).into_iter().find(|(_, program)| program == name);
        let (before, _) = pid().with_context(|| format!("{name} does not run"))?;
        signal(before, "KILL")?;
        until("make run starts it again", async || {
            let back = pid().is_some_and(|(now, _)| now != before);
            Ok(back && client.get("/readyz").await?.status == 200)
        })
        .await?;
    }

    let all = descendants(root);
    ensure!(all.len() >= 3, "{all:?}");
    make.stop(PATIENCE).await?;
    until("nothing is left running", async || {
        let left: Vec<_> = all.iter().filter(|(pid, _)| alive(*pid)).collect();
        ensure!(left.is_empty(), "{left:?}");
        Ok(true)
    })
    .await?;
    for port in [ports.api, ports.websocket, ports.pusher, ports.http] {
        std::net::TcpListener::bind(("127.0.0.1", port)).with_context(|| format!("{port}"))?;
    }
    assert_eq!(make.output().lines().last(), Some(ready.as_str()), "the last line is the address");
    Ok(())
}

/// What a clone would have, changes not yet committed included, and the packages that npm has brought already.
async fn copy_repository(copy: &Path) -> Result<()> {
    let script = "git ls-files -z --cached --others --exclude-standard | xargs -0 -r ls -d 2>/dev/null \
        | tar -cf - -T - | tar -xf - -C \"$0\" && \
        if [ -d web/node_modules ]; then cp -a web/node_modules \"$0/web/\"; fi";
    let here = copy.display().to_string();
    let shell =
        Process::new("sh", &repository(), copy.join("copy.log")).args(["-c", script, &here]);
    shell.run().await?;
    Ok(())
}
