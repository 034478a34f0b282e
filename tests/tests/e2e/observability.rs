//! B7: what an operator can see. One request id from the call to the socket, and numbers that Prometheus can read.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use chaffer_tests::{Api, Process, Scene, Setup, Stack, repository, until};
use serde_json::{Value, json};

use crate::cast::Cast;

stories!(
    b7_one_request_id_runs_from_the_call_to_the_socket,
    b7_logs_hold_no_secrets,
    b7_prometheus_reads_both_daemons,
);

/// The lines of a log, every one of which must be JSON.
fn lines(log: &str) -> Result<Vec<Value>> {
    let parse = |line: &str| serde_json::from_str(line).with_context(|| format!("no JSON: {line}"));
    log.lines().map(parse).collect()
}

/// The line with this message, this request id, and what else fits.
fn line(log: &str, message: &str, id: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
    let found = lines(log)?
        .into_iter()
        .find(|line| line["message"] == message && line["request_id"] == id && fits(line));
    found.with_context(|| format!("no `{message}` of {id} in {log}"))
}

async fn b7_one_request_id_runs_from_the_call_to_the_socket(scene: &Scene) -> Result<()> {
    let setup = Setup::new(scene)?.set("log.format", "json").set("log.level", "debug");
    let cast = Cast::with(scene, setup).await?;
    let thread = cast.thread("p1").await?;
    let seller = cast.seller.listen().await?;
    let buyer = cast.buyer.api().with("X-Request-Id", "order-page-17");
    buyer.say(thread, "Is it dishwasher-safe?").await?;
    seller.hears("message.created", |_| true).await?;
    let typing = cast.buyer.api().with("X-Request-Id", "typing-18");
    typing.post(&format!("/v1/threads/{thread}/typing"), json!({})).await?.expect(204)?;
    seller.hears("typing", |_| true).await?;

    let (api, push) = (&cast.stack.api, &cast.stack.push);
    let id = "order-page-17";
    let told = |line: &Value| line["event"] == "message.created";
    until("the logs are written", async || {
        let published = line(&api.output(), "published", id, told)?;
        let passed = line(&push.output(), "passing on", id, told)?;
        ensure!(
            published["id"].is_i64() && published["id"] == passed["id"],
            "{published} {passed}"
        );
        let same = |line: &Value| line["id"] == published["id"];
        let given = line(&push.output(), "given to the socket", id, same)?;
        // The connection leads to the session that the client was told.
        let session = lines(&push.output())?.into_iter().find(|line| {
            line["message"] == "authenticated" && line["connection"] == given["connection"]
        });
        ensure!(session.is_some_and(|it| it["session"].is_string()), "nobody's socket: {given}");
        let answered = line(&api.output(), "answered", id, |_| true)?;
        ensure!(answered["http.status"] == 201, "{answered}");
        ensure!(answered["http.route"] == "/v1/threads/{id}/messages", "{answered}");
        // What is not stored has no number, and its id all the same.
        let nothing = |line: &Value| line["id"].is_null();
        line(&api.output(), "published", "typing-18", nothing)?;
        line(&push.output(), "given to the socket", "typing-18", nothing)?;
        Ok(true)
    })
    .await
}

async fn b7_logs_hold_no_secrets(scene: &Scene) -> Result<()> {
    let setup = Setup::new(scene)?.set("log.format", "json").set("log.level", "trace");
    let mut cast = Cast::with(scene, setup).await?;
    let thread = cast.thread("p1").await?;
    let seller = cast.seller.listen().await?;
    cast.buyer.say(thread, "between the two of us").await?;
    seller.hears("message.created", |_| true).await?;
    let basic = cast.stack.anonymous()?.with("Authorization", "Basic aHVudGVyOmh1bnRlcjI=");
    basic.get("/v1/users/buyer").await?.refused(401, "invalid_api_key")?;
    // What is refused is not told either.
    let forged = format!("{}x", cast.buyer.token);
    cast.stack
        .anonymous()?
        .with_bearer(&forged)
        .get("/v1/threads")
        .await?
        .refused(401, "invalid_token")?;
    cast.stack.push.stop(Stack::STOP).await?;
    cast.stack.api.stop(Stack::STOP).await?;
    let config: toml::Table = std::fs::read_to_string(&cast.stack.config)?.parse()?;
    let mut secrets = vec![
        ("an API key", cast.stack.key.clone()),
        ("a token", cast.buyer.token.clone()),
        ("a token", cast.seller.token.clone()),
        ("the bearer between the daemons", cast.stack.internal_bearer()?),
        ("a password", "aHVudGVyOmh1bnRlcjI".to_owned()),
        ("a message", "between the two of us".to_owned()),
    ];
    for kind in ["token", "link", "shop"] {
        let key = config["keys"][kind][0].as_str().context("no key")?;
        secrets.push(("a key", key.split_once(':').map_or(key, |it| it.1).to_owned()));
    }
    for daemon in [&cast.stack.api, &cast.stack.push] {
        let log = daemon.output();
        ensure!(log.lines().count() > 10, "it logs nothing: {log}");
        for (what, secret) in &secrets {
            let line = log.lines().find(|line| line.contains(secret.as_str()));
            ensure!(line.is_none(), "{} holds {what}: {line:?}", daemon.log().display());
        }
    }
    Ok(())
}

/// The metrics that a text names, and the samples in it, as the Python client of Prometheus reads them.
async fn read(scene: &Scene, text: &str) -> Result<BTreeSet<String>> {
    let file = scene.new_folder("metrics")?.join("metrics.txt");
    std::fs::write(&file, text)?;
    let script = "import sys\nfrom prometheus_client.parser import text_string_to_metric_families as parse\n\
                  for family in parse(open(sys.argv[1]).read()):\n\
                  \tassert family.documentation and family.type in ('counter', 'gauge', 'histogram'), family\n\
                  \tassert family.samples, family\n\
                  \tfor sample in family.samples: print(sample.name)\n";
    // Debian's own, which has Debian's packages.
    let output =
        Process::new("/usr/bin/python3", scene.folder(), scene.folder().join("python.log"))
            .args(["-c".to_owned(), script.to_owned(), file.display().to_string()])
            .run()
            .await
            .with_context(|| text.to_owned())?;
    Ok(output.lines().map(str::to_owned).collect())
}

/// The rules of Prometheus for names: prefix, base units, `_total` on counters and on nothing else.
fn follows_the_rules(text: &str) -> Result<()> {
    for declared in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = declared.split_once(' ').context("no type")?;
        ensure!(name.starts_with("chaffer_") || name.starts_with("process_"), "{declared}");
        ensure!((kind == "counter") == name.ends_with("_total"), "{declared}");
        ensure!(
            !["_ms", "_milliseconds", "_kb", "_mb"].iter().any(|unit| name.ends_with(unit)),
            "{declared}"
        );
    }
    Ok(())
}

/// The metrics that a file of `deploy/` names.
fn named(file: &str) -> Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(repository().join("deploy").join(file))?;
    let words = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    let ours = |word: &&str| {
        ["chaffer_api_", "chaffer_push_", "process_"].iter().any(|it| word.starts_with(it))
    };
    Ok(words.filter(ours).map(str::to_owned).collect())
}

async fn b7_prometheus_reads_both_daemons(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let seller = cast.seller.listen().await?;
    cast.buyer.say(thread, "hello").await?;
    seller.hears("message.created", |_| true).await?;
    cast.buyer.get("/v1/threads/999999").await?.expect(404)?;
    cast.buyer.get("/v1/no/such/call").await?.expect(404)?;
    // Only where the shop's backend is.
    let elsewhere = Api::with_source(&cast.stack.api_url(), Some("127.0.0.9".parse()?))?;
    elsewhere.get("/metrics").await?.refused(403, "untrusted_address")?;
    let page = cast.stack.anonymous()?.get("/metrics").await?;
    ensure!(page.status == 200, "{page}");
    let kind = page.header("content-type").unwrap_or_default();
    ensure!(kind.starts_with("text/plain") && kind.contains("version=0.0.4"), "{kind}");
    let door = cast.stack.anonymous()?.at(&cast.stack.push_url()).get("/metrics").await?;
    let mut exported = BTreeSet::new();
    for text in [&page.text, &door.text] {
        follows_the_rules(text)?;
        exported.extend(read(scene, text).await?);
    }
    let has = |line: &str| page.text.lines().any(|it| it == line);
    let posted = "chaffer_api_http_requests_total{method=\"POST\",route=\"/v1/threads/{id}/messages\",status=\"201\"} 1";
    ensure!(has(posted), "{}", page.text);
    // No path that a stranger makes up becomes a label.
    let unknown = "chaffer_api_http_requests_total{method=\"GET\",route=\"none\",status=\"404\"} 1";
    ensure!(has(unknown) && !page.text.contains("no/such"), "{}", page.text);
    ensure!(has("chaffer_api_push_connected 1"), "{}", page.text);
    // What becomes of mails; `b11_a_mail_that_is_given_up_is_seen_and_tried_again` watches the numbers move.
    for outcome in ["sent", "skipped", "failed"] {
        let line = format!("chaffer_api_mails_total{{outcome=\"{outcome}\"}} 0");
        ensure!(has(&line), "no `{line}` in {}", page.text);
    }
    until("all that is stored is sent", async || {
        let page = cast.stack.anonymous()?.get("/metrics").await?;
        Ok(page.text.lines().any(|line| line == "chaffer_api_publish_lag_events 0"))
    })
    .await?;
    let dashboard = named("grafana/chaffer.json")?;
    ensure!(dashboard.len() > 25, "the dashboard shows little: {dashboard:?}");
    for name in dashboard.into_iter().chain(named("prometheus/chaffer.yml")?) {
        ensure!(exported.contains(&name), "{name} is shown, and neither daemon exports it");
    }
    Ok(())
}
