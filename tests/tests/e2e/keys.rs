//! Keys change while people talk, and what is in force can be looked at.

use anyhow::{Context, Result, ensure};
use chaffer_tests::{Scene, Setup, Shop, Stack, until};
use serde_json::{Value, json};

use crate::cast::{Cast, product};

stories!(
    a_rotation_of_daemon_keys_loses_no_session,
    a_rotation_of_the_shops_keys_refuses_no_call,
    keys_change_where_they_stand_and_nowhere_else,
    settings_are_shown_with_their_sources_and_without_secrets,
);

async fn key(stack: &Stack, arguments: &[&str]) -> Result<String> {
    stack.command(&[&["key"], arguments].concat())?.run().await
}

async fn restart_push(cast: &mut Cast) -> Result<()> {
    cast.stack.push.stop(Stack::STOP).await?;
    cast.stack.push.start()?;
    cast.stack.push_ready().await
}

async fn restart_api(cast: &mut Cast) -> Result<()> {
    cast.stack.api.stop(Stack::STOP).await?;
    cast.stack.api.start()?;
    cast.stack.ready().await
}

async fn a_rotation_of_daemon_keys_loses_no_session(scene: &Scene) -> Result<()> {
    let mut cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let seller = cast.seller.listen().await?;
    let mut said = 0;
    for kind in ["token", "link"] {
        key(&cast.stack, &["rotate", "--kind", kind]).await?;
        let listed = key(&cast.stack, &["list", "--kind", kind]).await?;
        ensure!(listed.lines().count() == 2, "{listed}");
        // Ready means that it could ask the API, which knows the older key alone.
        restart_push(&mut cast).await?;
        cast.buyer.say(thread, &format!("{kind}: one daemon has the new key")).await?;
        restart_api(&mut cast).await?;
        cast.buyer.say(thread, &format!("{kind}: both have it")).await?;
        said += 2;
        let all = async || Ok(seller.all("message.created").len() == said);
        until("the session goes on", all).await?;
        seller.check()?;
        // A third would drop the older one unseen.
        let (status, _, errors) =
            cast.stack.command(&["key", "rotate", "--kind", kind])?.outcome().await?;
        ensure!(!status.success() && errors.contains("key revoke"), "{errors}");
    }
    // Tokens of both keys are good, on both ports, until the older one ends.
    let fresh = cast.shop.person("seller").await?;
    ensure!(kid(&fresh.token)? == "k2" && kid(&cast.seller.token)? == "k1", "no other kid");
    fresh.socket(None).await?;
    cast.seller.socket(None).await?;
    for kind in ["token", "link"] {
        key(&cast.stack, &["revoke", "--kind", kind]).await?;
        let (status, _, errors) =
            cast.stack.command(&["key", "revoke", "--kind", kind])?.outcome().await?;
        ensure!(!status.success() && errors.contains("the only"), "{errors}");
    }
    restart_api(&mut cast).await?;
    restart_push(&mut cast).await?;
    cast.seller.get("/v1/threads").await?.refused(401, "invalid_token")?;
    ensure!(
        cast.seller.socket(None).await.is_err(),
        "the push daemon takes a token of an ended key"
    );
    fresh.socket(None).await?;
    fresh.get("/v1/threads").await?.expect(200)?;
    Ok(())
}

/// The key that a token names.
fn kid(token: &str) -> Result<String> {
    let head = token.split('.').next().context("no token")?;
    // `{"typ":"JWT","alg":"HS256","kid":"k1"}` in base64: the test needs no library for it.
    let mut bits = 0u32;
    let mut count = 0;
    let mut bytes = Vec::new();
    for digit in head.bytes() {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let value = alphabet.iter().position(|it| *it == digit).context("no base64url")?;
        bits = bits << 6 | u32::try_from(value)?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff)?);
        }
    }
    let head: Value = serde_json::from_slice(&bytes)?;
    Ok(head["kid"].as_str().context("no kid")?.to_owned())
}

async fn a_rotation_of_the_shops_keys_refuses_no_call(scene: &Scene) -> Result<()> {
    let mut cast = Cast::new(scene).await?;
    // The key of the backend.
    let old = Shop::new(&cast.stack.anonymous()?, &cast.stack.key);
    let new = key(&cast.stack, &["rotate", "--name", "test"]).await?;
    let new = Shop::new(&cast.stack.anonymous()?, new.trim());
    for shop in [&old, &new] {
        shop.get("/v1/users/buyer").await?.expect(200)?;
    }
    key(&cast.stack, &["revoke", "--name", "test"]).await?;
    old.get("/v1/users/buyer").await?.refused(401, "invalid_api_key")?;
    new.get("/v1/users/buyer").await?.expect(200)?;
    let listed: Value = serde_json::from_str(&key(&cast.stack, &["list", "--json"]).await?)?;
    let states: Vec<_> = listed.as_array().into_iter().flatten().map(|it| &it["state"]).collect();
    ensure!(states == ["revoked", "live", "in use", "in use", "in use"], "{listed}");

    // What its pages were signed with before is good until the older key is ended.
    let parts = ["product", "p9", "Product p9", "https://shop.example/p/p9", "", "buyer", "v1"];
    let signature = cast.stack.subject_signature(parts)?;
    let start = |id: &str| json!({"subject": product(id), "vendor_id": "v1", "subject_signature": signature});
    let printed = key(&cast.stack, &["rotate", "--kind", "shop"]).await?;
    ensure!(printed.lines().next().is_some_and(|key| key.len() == 64), "{printed}");
    restart_api(&mut cast).await?;
    let answer = cast.buyer.post("/v1/threads", start("p9")).await?;
    ensure!(matches!(answer.status, 200 | 201), "{answer}");
    key(&cast.stack, &["revoke", "--kind", "shop"]).await?;
    restart_api(&mut cast).await?;
    let answer = cast.buyer.post("/v1/threads", start("p9")).await?;
    ensure!(answer.status == 403, "{answer}");
    Ok(())
}

async fn keys_change_where_they_stand_and_nowhere_else(scene: &Scene) -> Result<()> {
    let stack = Setup::new(scene)?.prepare(scene).await?;
    let secret = stack.folder().join("link-key");
    std::fs::write(&secret, "the-first-link-key-0123456789abcdef\n")?;
    let command = |arguments: &[&str], name: &str, value: &str| {
        anyhow::Ok(stack.command(&[&["key"], arguments].concat())?.env(name, value))
    };
    let file = secret.display().to_string();
    let rotate = ["rotate", "--kind", "link"];
    let before = std::fs::read_to_string(&stack.config)?;
    let told = command(&rotate, "CHAFFER_KEYS_LINK_FILE", &file)?.run().await?;
    ensure!(!told.contains("0123456789abcdef"), "it shows a key: {told}");
    let lines = std::fs::read_to_string(&secret)?;
    ensure!(lines.lines().count() == 2, "{lines}");
    ensure!(lines.ends_with("the-first-link-key-0123456789abcdef\n"), "{lines}");
    ensure!(std::fs::read_to_string(&stack.config)? == before, "the wrong file was changed");
    // What the environment holds cannot be changed from here.
    let given = "another-link-key-0123456789abcdef0";
    let (status, _, errors) = command(&rotate, "CHAFFER_KEYS_LINK", given)?.outcome().await?;
    ensure!(!status.success() && errors.contains("CHAFFER_KEYS_LINK"), "{errors}");
    ensure!(!errors.contains(given), "it shows a key: {errors}");
    Ok(())
}

async fn settings_are_shown_with_their_sources_and_without_secrets(scene: &Scene) -> Result<()> {
    let stack = Setup::new(scene)?.prepare(scene).await?;
    let shown = stack.command(&["config", "show", "--json"])?.env("CHAFFER_API_NAME", "here");
    let shown = shown.args(["--log-level", "debug"]);
    let text = shown.run().await?;
    let all: Value = serde_json::from_str(&text)?;
    let of = |key: &str| -> Result<Value> {
        let found = all.as_array().into_iter().flatten().find(|it| it["key"] == key);
        found.cloned().with_context(|| format!("no {key}: {text}"))
    };
    ensure!(of("api.name")?["value"] == "here", "{text}");
    ensure!(of("api.name")?["source"] == "environment variable CHAFFER_API_NAME", "{text}");
    ensure!(of("log.level")?["source"] == "flag --log-level", "{text}");
    ensure!(of("api.listen")?["source"] == stack.config.display().to_string(), "{text}");
    ensure!(of("push.ping_seconds")?["is_default"] == true, "{text}");
    let plain = stack.command(&["config", "show"])?.run().await?;
    ensure!(plain.contains("api.listen = ") && plain.contains("# default"), "{plain}");
    let config: toml::Table = std::fs::read_to_string(&stack.config)?.parse()?;
    for kind in ["token", "link", "shop"] {
        let key = config["keys"][kind][0].as_str().context("no key")?;
        let secret = key.split_once(':').map_or(key, |(_, secret)| secret);
        ensure!(!text.contains(secret) && !plain.contains(secret), "{kind}: {text}");
    }
    if scene.kind == chaffer_tests::Kind::Mariadb {
        ensure!(
            of("database.url")?["value"].as_str().is_some_and(|it| it.contains(":***@")),
            "{text}"
        );
    }
    Ok(())
}
