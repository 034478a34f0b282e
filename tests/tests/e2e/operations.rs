//! Starting, stopping, migrating, and living without the other daemon.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chaffer_tests::{
    Database, PATIENCE, Process, Scene, Setup, Stack, eventually, free_port, signal, target, until,
};
use serde_json::json;

use crate::cast::Cast;

stories!(
    migrations_run_once_whoever_comes_first,
    daemons_that_start_at_once_share_a_new_database,
    a_newer_database_is_refused,
    b1_a_post_never_waits_for_the_push_daemon,
    b1_a_post_never_waits_for_a_hung_push_daemon,
    the_api_stops_gracefully,
    the_daemons_refuse_what_they_do_not_understand,
    presence_is_known_at_the_side_door,
    b2_when_people_were_last_seen_outlives_the_daemons,
);

async fn migrations_run_once_whoever_comes_first(scene: &Scene) -> Result<()> {
    let stack = Setup::new(scene)?.prepare(scene).await?;
    let fresh = scene.new_database().await?;
    let migrate = || -> Result<Process> {
        Ok(stack.command(&["migrate"])?.env("CHAFFER_DATABASE_URL", fresh.url.clone()))
    };
    let commands = (0..6).map(|_| migrate()).collect::<Result<Vec<_>>>()?;
    let outcomes = futures_util::future::join_all(commands.iter().map(Process::run)).await;
    for outcome in outcomes {
        outcome?;
    }
    migrate()?.run().await?;
    same_as(&stack.database, &fresh).await
}

/// Whether a database has been migrated as the other was, and no more.
async fn same_as(expected: &Database, found: &Database) -> Result<()> {
    for sql in ["SELECT COUNT(*) FROM __diesel_schema_migrations", "SELECT COUNT(*) FROM counters"]
    {
        assert_eq!(found.number(sql).await?, expected.number(sql).await?, "{sql}");
    }
    Ok(())
}

async fn daemons_that_start_at_once_share_a_new_database(scene: &Scene) -> Result<()> {
    let stack = Setup::new(scene)?.prepare(scene).await?;
    let fresh = scene.new_database().await?;
    let mut daemons = Vec::new();
    for number in 0..3 {
        let port = free_port()?;
        let log = scene.folder().join(format!("api-{number}.log"));
        let mut daemon = Process::new(target("chaffer-api")?, scene.folder(), log)
            .args(["serve".to_owned(), "--config".to_owned(), stack.config.display().to_string()])
            .env("CHAFFER_DATABASE_URL", fresh.url.clone())
            .env("CHAFFER_API_NAME", format!("api-{number}"))
            .env("CHAFFER_API_LISTEN", format!("127.0.0.1:{port}"));
        daemon.start()?;
        daemons.push((daemon, port));
    }
    for (daemon, port) in &mut daemons {
        let api = chaffer_tests::Api::new(&format!("http://127.0.0.1:{port}"))?;
        until("each of them answers", async || {
            ensure!(daemon.is_running(), "{}", daemon.output());
            Ok(api.get("/healthz").await?.status == 200)
        })
        .await?;
    }
    same_as(&stack.database, &fresh).await
}

async fn a_newer_database_is_refused(scene: &Scene) -> Result<()> {
    let stack = Setup::new(scene)?.prepare(scene).await?;
    let newer = "INSERT INTO __diesel_schema_migrations (version, run_on) VALUES ('99991231235959', '2026-11-21 00:00:00')";
    stack.database.query(newer).await?;
    for command in ["serve", "migrate"] {
        let process = stack.command(&[command])?;
        let (status, _, errors) =
            tokio::time::timeout(PATIENCE, process.outcome()).await.context("it goes on")??;
        ensure!(!status.success(), "{command} takes a database from the future");
        ensure!(
            errors.contains("newer") && errors.contains("99991231235959"),
            "{command}: {errors}"
        );
    }
    Ok(())
}

/// Posts again and again; no post may take long.
async fn posts_quickly(cast: &Cast, thread: i64, count: usize) -> Result<()> {
    let mut times = Vec::new();
    for number in 0..count {
        let start = Instant::now();
        cast.buyer.say(thread, &format!("m{number}")).await?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let (middle, slowest) = (times[count / 2], times[count - 1]);
    ensure!(middle < Duration::from_millis(250), "half the posts took {middle:?} or more");
    ensure!(slowest < Duration::from_secs(3), "a post took {slowest:?}");
    Ok(())
}

async fn b1_a_post_never_waits_for_the_push_daemon(scene: &Scene) -> Result<()> {
    let mut cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let seller = cast.seller.listen().await?;
    cast.stack.push.kill()?;
    posts_quickly(&cast, thread, 100).await?;
    // An API that starts without it is as good.
    cast.stack.api.stop(Stack::STOP).await?;
    cast.stack.api.start()?;
    let api = cast.stack.anonymous()?;
    until("the API answers", async || Ok(api.get("/healthz").await?.status == 200)).await?;
    posts_quickly(&cast, thread, 100).await?;
    cast.stack.push.start()?;
    let all = async || Ok((seller.all("message.created").len() == 200).then_some(()));
    eventually("all of it is heard", PATIENCE, all).await?;
    seller.check()
}

async fn b1_a_post_never_waits_for_a_hung_push_daemon(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let seller = cast.seller.listen().await?;
    signal(cast.stack.push.pid()?, "STOP")?;
    let posted = posts_quickly(&cast, thread, 300).await;
    let gone = cast.seller.get("/v1/threads").await?.status;
    signal(cast.stack.push.pid()?, "CONT")?;
    posted?;
    assert_eq!(gone, 200);
    let all = async || Ok((seller.all("message.created").len() == 300).then_some(()));
    eventually("all of it is heard", PATIENCE, all).await?;
    seller.check()
}

async fn the_api_stops_gracefully(scene: &Scene) -> Result<()> {
    let mut cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let after = cast.seller.now().await?;
    let seller = cast.seller.clone();
    let poll =
        tokio::spawn(async move { seller.get(&format!("/v1/events?after={after}&wait=30")).await });
    let buyer = cast.buyer.clone();
    let poster = tokio::spawn(async move {
        let mut said = 0;
        while let Ok(answer) =
            buyer.post(&format!("/v1/threads/{thread}/messages"), json!({"text": "x"})).await
        {
            match answer.status {
                201 => said += 1,
                503 => {}
                _ => anyhow::bail!("{answer}"),
            }
        }
        Ok(said)
    });
    let database = &cast.stack.database;
    until("some are posted", async || {
        Ok(database.number("SELECT COUNT(*) FROM messages").await? > 10)
    })
    .await?;
    let start = Instant::now();
    let status = cast.stack.api.stop(Stack::STOP).await?;
    ensure!(status.success(), "{status}");
    ensure!(start.elapsed() < Duration::from_secs(15), "it took {:?}", start.elapsed());
    // The poll had events to tell, or is let go; it is not cut off.
    let poll = poll.await??;
    ensure!(matches!(poll.status, 200 | 503), "{poll}");
    let said: i64 = poster.await??;
    let stored = cast.stack.database.number("SELECT COUNT(*) FROM messages").await?;
    ensure!(stored == said || stored == said + 1, "{said} acknowledged, {stored} stored");
    Ok(())
}

async fn the_daemons_refuse_what_they_do_not_understand(scene: &Scene) -> Result<()> {
    let stack = Setup::new(scene)?.prepare(scene).await?;
    let config = ["--config".to_owned(), stack.config.display().to_string()];
    let fails = async |program: &str, variable: &str, value: &str, says: &str| -> Result<()> {
        let log = scene.folder().join("refused.log");
        let process = Process::new(target(program)?, scene.folder(), log).args(config.clone());
        let process = process.env(variable, value);
        let outcome = tokio::time::timeout(PATIENCE, process.outcome()).await;
        let (status, _, errors) =
            outcome.with_context(|| format!("{program} runs with {variable}={value}"))??;
        ensure!(!status.success(), "{program} {variable}={value}: {status}");
        ensure!(errors.contains(says), "{program} {variable}={value} says only: {errors}");
        Ok(())
    };
    for program in ["chaffer-api", "chaffer-push"] {
        fails(
            program,
            "CHAFFER_PUSH_WEBSOKET_LISTEN",
            "127.0.0.1:1",
            "CHAFFER_PUSH_WEBSOCKET_LISTEN",
        )
        .await?;
        fails(program, "CHAFFER_KEYS_LINK", "short", "keys.link").await?;
        fails(program, "CHAFFER_KEYS_TOKEN", "short", "keys.token").await?;
    }
    fails("chaffer-api", "CHAFFER_DATABASE_URL", "oracle://nowhere", "database.url").await?;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    fails("chaffer-api", "CHAFFER_API_LISTEN", &address, &address).await?;
    for variable in
        ["CHAFFER_PUSH_WEBSOCKET_LISTEN", "CHAFFER_PUSH_PUSHER_LISTEN", "CHAFFER_PUSH_HTTP_LISTEN"]
    {
        fails("chaffer-push", variable, &address, &address).await?;
    }
    Ok(())
}

async fn presence_is_known_at_the_side_door(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let door = cast.stack.anonymous()?.at(&cast.stack.push_url());
    let path = "/presence?user_ids=buyer,seller";
    let users = |body: &serde_json::Value| body["users"].as_array().cloned().unwrap_or_default();
    let nobody = users(&door.get(path).await?.expect(200)?);
    ensure!(nobody.len() == 2 && nobody.iter().all(|user| user["online"] == false), "{nobody:?}");
    let one = cast.buyer.listen().await?;
    let two = cast.buyer.listen().await?;
    let online = async |expected: bool| {
        until("presence follows", async || {
            Ok(users(&door.get(path).await?.expect(200)?)[0]["online"] == expected)
        })
        .await
    };
    online(true).await?;
    one.leave().await?;
    online(true).await?;
    two.leave().await?;
    online(false).await?;
    let seen = users(&door.get(path).await?.expect(200)?);
    ensure!(seen[0]["last_seen_at"].is_string() && seen[1]["last_seen_at"].is_null(), "{seen:?}");
    Ok(())
}

async fn b2_when_people_were_last_seen_outlives_the_daemons(scene: &Scene) -> Result<()> {
    let mut cast = Cast::new(scene).await?;
    cast.thread("p1").await?;
    let last_seen = async |cast: &Cast, id: &str| -> Result<Option<String>> {
        let path = format!("/v1/presence?user_ids={id}");
        let known = cast.boss.get(&path).await?.expect(200)?;
        ensure!(known["users"][0]["user_id"] == id, "{known}");
        Ok(known["users"][0]["last_seen_at"].as_str().map(str::to_owned))
    };
    // One has gone before the push daemon ends, another one is there until then, a third one never was.
    let seller = cast.seller.listen().await?;
    seller.leave().await?;
    let seen =
        eventually("the seller has gone", PATIENCE, async || last_seen(&cast, "seller").await)
            .await?;
    let (_open, _) = cast.buyer.socket(None).await?;
    let before = chrono::Utc::now().format("%Y-%m-%dT%H:%M:%S").to_string();
    cast.stack.push.stop(Stack::STOP).await?;
    cast.stack.push.start()?;
    cast.stack.push_ready().await?;
    let after = last_seen(&cast, "seller").await?.context("it is forgotten")?;
    // It is kept in whole seconds.
    assert_eq!(after.get(..19), seen.get(..19));
    let buyer = last_seen(&cast, "buyer").await?.context("nobody noticed the buyer go")?;
    ensure!(buyer >= before, "{buyer} is before {before}");
    assert_eq!(last_seen(&cast, "rival").await?, None);

    // The socket tells the same as the answer, by the grant in it; and a stranger gets neither.
    let known = cast.buyer.get("/v1/presence?user_ids=seller").await?.expect(200)?;
    assert_eq!(known["users"][0]["last_seen_at"], after);
    let (mut watcher, _) = cast.buyer.socket(None).await?;
    watcher.send(&json!({"type": "watch", "grant": known["grant"]})).await?;
    let told = watcher.event("presence.changed").await?;
    let expected = json!({"user_id": "seller", "online": false, "last_seen_at": after});
    assert_eq!(told["data"], expected);
    let nothing = cast.outsider.get("/v1/presence?user_ids=seller").await?.expect(200)?;
    assert_eq!(nothing["users"], json!([]));

    // Who has gone is kept in a while, whatever then dies.
    let (rival, _) = cast.rival.socket(None).await?;
    drop(rival);
    let sql = "SELECT id FROM users WHERE id = 'rival' AND last_seen_at IS NOT NULL";
    until("it is kept", async || Ok(!cast.stack.database.query(sql).await?.is_empty())).await?;
    cast.stack.crash_push()?;
    cast.stack.crash_api()?;
    cast.stack.ready().await?;
    ensure!(last_seen(&cast, "rival").await?.is_some(), "it is forgotten");
    // An erased person was never here.
    cast.shop.delete("/v1/users/rival").await?.expect(204)?;
    let known = cast.boss.get("/v1/presence?user_ids=rival").await?.expect(200)?;
    assert_eq!(known["users"], json!([]));
    assert_eq!(cast.stack.database.query(sql).await?, Vec::<Vec<String>>::new());
    Ok(())
}
