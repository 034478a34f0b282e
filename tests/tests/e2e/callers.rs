//! Who may call: the shop's keys, its addresses, proxies in front, and acting for a person.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use chaffer_tests::{Api, Scene, Setup, Shop, Stack};
use serde_json::json;

use crate::cast::Cast;

stories!(
    no_credentials_open_nothing,
    the_key_works_as_a_basic_password,
    two_keys_live_side_by_side,
    s16_only_trusted_addresses_may_use_a_key,
    s16_without_trusted_addresses_no_key_works,
    s16_the_rightmost_untrusted_forwarded_address_counts,
    the_backend_acts_with_the_persons_rights,
    the_backend_alone_writes_and_reads_nothing,
    keys_are_not_stored,
);

const UNTRUSTED: &str = "untrusted_address";

async fn no_credentials_open_nothing(scene: &Scene) -> Result<()> {
    let stack = Stack::start(scene).await?;
    let nobody = stack.anonymous()?;
    for path in
        ["/v1/threads", "/v1/unread", "/v1/events", "/v1/threads/1", "/v1/threads/1/messages"]
    {
        let answer = nobody.get(path).await?;
        assert_eq!(answer.status, 401, "{answer}");
        ensure!(answer.header("www-authenticate").is_some(), "{answer}: no WWW-Authenticate");
    }
    let wrong = Shop::new(&nobody, "not-the-key");
    assert_eq!(
        wrong.put("/v1/users/7", json!({"role": "customer", "name": "x"})).await?.status,
        401
    );
    for scheme in ["Bearer", "Basic !!!", "Digest x", "Basic Og=="] {
        let answer = nobody.with("Authorization", scheme).get("/v1/threads").await?;
        assert_eq!(answer.status, 401, "{scheme}: {answer}");
    }
    Ok(())
}

async fn the_key_works_as_a_basic_password(scene: &Scene) -> Result<()> {
    let stack = Stack::start(scene).await?;
    let api = stack.anonymous()?;
    let put = |password: &str| {
        let request = api.request(reqwest::Method::PUT, "/v1/users/7");
        request
            .basic_auth("anybody@shop.example", Some(password))
            .json(&json!({"role": "customer", "name": "x"}))
    };
    api.send(put(&stack.key)).await?.expect(201)?;
    assert_eq!(api.send(put("not-the-key")).await?.status, 401);
    Ok(())
}

async fn two_keys_live_side_by_side(scene: &Scene) -> Result<()> {
    let stack = Stack::start(scene).await?;
    let second = stack.new_key("next").await?;
    ensure!(second != stack.key);
    for (number, key) in [&stack.key, &second].into_iter().enumerate() {
        let shop = Shop::new(&stack.anonymous()?, key);
        shop.put(&format!("/v1/users/{number}"), json!({"role": "customer", "name": "x"}))
            .await?
            .expect(201)?;
    }
    Ok(())
}

async fn s16_only_trusted_addresses_may_use_a_key(scene: &Scene) -> Result<()> {
    let setup = Setup::new(scene)?.set("api.trusted_ips", vec!["127.0.0.5", "10.1.0.0/16"]);
    let stack = setup.set("api.trusted_proxies", vec!["127.0.0.9"]).start(scene).await?;
    let user = json!({"role": "customer", "name": "x"});
    let from = |address: &str| -> Result<Shop> {
        let source: IpAddr = address.parse()?;
        Ok(Shop::new(&Api::with_source(&stack.api_url(), Some(source))?, &stack.key))
    };
    let refused = from("127.0.0.1")?;
    refused.put("/v1/users/7", user.clone()).await?.refused(403, UNTRUSTED)?;
    // A header from somebody who is no proxy is only a claim.
    let claiming = refused.with("X-Forwarded-For", "127.0.0.5");
    claiming.put("/v1/users/7", user.clone()).await?.refused(403, UNTRUSTED)?;
    from("127.0.0.5")?.put("/v1/users/7", user).await?.expect(201)?;
    Ok(())
}

async fn s16_without_trusted_addresses_no_key_works(scene: &Scene) -> Result<()> {
    let empty: Vec<String> = Vec::new();
    let stack = Setup::new(scene)?.set("api.trusted_ips", empty).start(scene).await?;
    let user = json!({"role": "customer", "name": "x"});
    stack.shop()?.put("/v1/users/7", user).await?.refused(403, UNTRUSTED)?;
    Ok(())
}

async fn s16_the_rightmost_untrusted_forwarded_address_counts(scene: &Scene) -> Result<()> {
    let trusted = vec!["203.0.113.7", "2001:db8::/32"];
    let proxies = vec!["127.0.0.1", "10.0.0.0/8"];
    let setup = Setup::new(scene)?.set("api.trusted_ips", trusted);
    let stack = setup.set("api.trusted_proxies", proxies).start(scene).await?;
    let shop = stack.shop()?;
    let user = json!({"role": "customer", "name": "x"});
    let cases = [
        (vec![], 403),
        (vec!["203.0.113.7"], 200),
        (vec!["198.51.100.1"], 403),
        // What the caller itself wrote stands on the left, and does not count.
        (vec!["203.0.113.7, 198.51.100.1"], 403),
        (vec!["198.51.100.1, 203.0.113.7"], 200),
        // Proxies of our own on the right are stepped over.
        (vec!["203.0.113.7, 10.2.3.4"], 200),
        (vec!["198.51.100.1, 203.0.113.7, 10.2.3.4, 127.0.0.1"], 200),
        (vec!["2001:db8::1"], 200),
        (vec!["[2001:db8::1]:4711"], 200),
        (vec!["203.0.113.7:4711"], 200),
        // Several headers are one list.
        (vec!["203.0.113.7", "198.51.100.1"], 403),
        (vec!["198.51.100.1", "203.0.113.7"], 200),
        // What is no address is nobody's.
        (vec!["203.0.113.7, nonsense"], 403),
        (vec!["nonsense, 203.0.113.7"], 200),
        (vec!["203.0.113.7, "], 403),
    ];
    shop.with("X-Forwarded-For", "203.0.113.7")
        .put("/v1/users/7", user.clone())
        .await?
        .expect(201)?;
    for (headers, status) in cases {
        let request = shop.request(reqwest::Method::PUT, "/v1/users/7").json(&user);
        let request =
            headers.iter().fold(request, |it, value| it.header("X-Forwarded-For", *value));
        let answer = shop.send(request).await?;
        assert_eq!(answer.status, status, "{headers:?}: {answer}");
    }
    Ok(())
}

async fn the_backend_acts_with_the_persons_rights(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let said = cast.shop.acting("buyer").say(thread, "through the shop").await?;
    assert_eq!(said["author"]["id"], "buyer");
    for stranger in ["outsider", "rival", "helper"] {
        let acting = cast.shop.acting(stranger);
        acting.get(&format!("/v1/threads/{thread}")).await?.refused(404, "thread_not_found")?;
    }
    let clerk = cast.shop.acting("clerk");
    clerk.get(&format!("/v1/threads/{thread}")).await?.refused(403, "manage_messages_required")?;
    cast.shop.acting("boss").get(&format!("/v1/threads/{thread}")).await?.expect(200)?;
    let nobody = cast.shop.acting("nobody").get("/v1/threads").await?;
    ensure!((400..500).contains(&nobody.status), "acting as nobody: {nobody}");
    // A browser has no use for the header: whoever it names, the token counts.
    let other =
        cast.outsider.with("Chaffer-User", "buyer").get(&format!("/v1/threads/{thread}")).await?;
    ensure!((400..500).contains(&other.status), "{other}");
    Ok(())
}

async fn the_backend_alone_writes_and_reads_nothing(scene: &Scene) -> Result<()> {
    const CODE: &str = "acting_user_required";
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let shop = &cast.shop;
    let path = |rest: &str| format!("/v1/threads/{thread}{rest}");
    shop.post(&path("/messages"), json!({"text": "x"})).await?.refused(422, CODE)?;
    shop.post(&path("/read"), json!({"up_to": 1})).await?.refused(422, CODE)?;
    shop.post(&path("/typing"), json!({})).await?.refused(422, CODE)?;
    for read in [
        path("/messages"),
        path(""),
        "/v1/threads".into(),
        "/v1/unread".into(),
        "/v1/events".into(),
    ] {
        shop.get(&read).await?.refused(422, CODE)?;
    }
    Ok(())
}

async fn keys_are_not_stored(scene: &Scene) -> Result<()> {
    let stack = Stack::start(scene).await?;
    let rows = stack.database.query("SELECT * FROM api_keys").await?;
    assert_eq!(rows.len(), 1);
    ensure!(!format!("{rows:?}").contains(&stack.key), "the key itself is in the database");
    Ok(())
}
