//! R13, R14: the settings of the shop, changed while everything runs, and what pages see of them.

use anyhow::{Context, Result, ensure};
use chaffer_tests::{Api, PATIENCE, Scene, eventually, free_port};
use serde_json::{Value, json};

use crate::cast::Cast;

stories!(
    r13_the_button_and_the_lists_are_set_up_by_the_shop,
    r13_ports_and_addresses_are_shown_and_not_changed,
    r13_a_wrong_value_changes_nothing_and_says_what_is_right,
    r13_the_history_says_who_changed_what,
    r13_a_change_counts_at_once_on_every_node,
    r14_pages_fetch_colours_and_header_once_and_ask_whether_they_still_hold,
);

const SETTINGS: &str = "/v1/settings";
const PUBLIC: &str = "/v1/settings/public";

async fn r13_the_button_and_the_lists_are_set_up_by_the_shop(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let before = cast.boss.get(SETTINGS).await?.expect(200)?;
    assert_eq!(before["button_on_order_page"], true);
    assert_eq!(before["button_type"], "icon_and_text");
    assert_eq!(before["message_length"], 100);
    let wanted = json!({
        "button_on_order_page": false, "button_type": "icon", "button_colour": "#0a7D5a",
        "message_length": 40, "contact_vendor_label": {"en": "Ask the seller", "de": "Verkäufer fragen"}
    });
    let after = cast.boss.patch(SETTINGS, wanted.clone()).await?.expect(200)?;
    for (name, value) in wanted.as_object().into_iter().flatten() {
        assert_eq!(&after[name], value, "{name}");
    }
    assert_eq!(cast.shop.get(SETTINGS).await?.expect(200)?, after);
    assert_eq!(after["button_on_product_page"], true, "the others stay");
    for colour in ["secondary", "tertiary", "text", "primary"] {
        cast.shop.patch(SETTINGS, json!({"button_colour": colour})).await?.expect(200)?;
    }
    // Null is the way back, and nobody has changed it then.
    let back = json!({"button_type": null, "message_length": null, "contact_vendor_label": null});
    let back = cast.boss.patch(SETTINGS, back).await?.expect(200)?;
    for name in ["button_type", "message_length", "contact_vendor_label"] {
        assert_eq!(back[name], before[name], "{name}");
    }
    let definitions = cast.boss.get("/v1/settings/definitions").await?.expect(200)?;
    let definition = |name: &str| -> Result<Value> {
        let all = definitions["settings"].as_array().context("no settings")?;
        all.iter().find(|it| it["name"] == name).cloned().context("no such setting")
    };
    assert_eq!(definition("button_type")?["is_default"], true);
    let switch = definition("button_on_order_page")?;
    assert_eq!((&switch["default"], &switch["value"]), (&json!(true), &json!(false)));
    assert_eq!(switch["changed_by"], "boss");
    assert_eq!(definition("message_length")?["schema"]["maximum"], 10_000);

    // The shop's own staff alone, and of those who may (R8).
    for person in [&cast.buyer, &cast.seller, &cast.helper] {
        for path in ["", "/definitions", "/machine", "/history"] {
            person.get(&format!("{SETTINGS}{path}")).await?.refused(403, "not_allowed")?;
        }
        let patch = person.patch(SETTINGS, json!({"button_type": "text"})).await?;
        patch.refused(403, "not_allowed")?;
    }
    cast.clerk.get(SETTINGS).await?.refused(403, "manage_messages_required")?;
    cast.stack.anonymous()?.get(SETTINGS).await?.refused(401, "unauthenticated")?;
    Ok(())
}

async fn r13_ports_and_addresses_are_shown_and_not_changed(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let machine = cast.boss.get("/v1/settings/machine").await?.expect(200)?;
    let of = |key: &str| -> Result<&Value> {
        let all = machine["settings"].as_array().context("no settings")?;
        all.iter().find(|it| it["key"] == key).with_context(|| format!("no {key}"))
    };
    let ports = cast.stack.ports;
    let listens = |port: u16| format!("127.0.0.1:{port}");
    assert_eq!(of("push.websocket_listen")?["value"], listens(ports.websocket));
    assert_eq!(of("push.pusher_listen")?["value"], listens(ports.pusher));
    assert_eq!(of("api.websocket_url")?["value"], cast.stack.websocket_url());
    assert_eq!(of("push.ping_seconds")?["is_default"], true);
    ensure!(of("push.websocket_listen")?["source"].as_str().is_some_and(|it| !it.is_empty()));
    // No secret is among them.
    let text = machine.to_string();
    ensure!(of("keys.token")?["is_secret"] == true && !text.contains("for-tests"), "{text}");

    for name in ["push.websocket_listen", "websocket_url"] {
        let patch = cast.shop.patch(SETTINGS, json!({name: "x"})).await?;
        let problem = patch.refused(422, "invalid_request")?;
        assert_eq!(problem["errors"][0]["pointer"], format!("/{name}"));
        ensure!(problem.to_string().contains("configuration file"), "{problem}");
    }
    Ok(())
}

async fn r13_a_wrong_value_changes_nothing_and_says_what_is_right(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let before = cast.boss.get(SETTINGS).await?.expect(200)?;
    for (name, value) in [
        ("button_on_product_page", json!("yes")),
        ("button_type", json!("blinking")),
        ("button_colour", json!("red; background: url(https://evil.example)")),
        ("author_bubble_colour", json!("primary")),
        ("message_length", json!(9)),
        ("message_length", json!(1e20)),
        ("contact_vendor_label", json!({})),
        ("contact_vendor_label", json!({"en": "two\nlines"})),
        ("contact_vendor_label", json!({"en": "x".repeat(61)})),
        ("no_such_setting", json!(true)),
        ("a/b~c", json!(true)),
    ] {
        let body = json!({"messages_page_with_header": false, name: value});
        let problem = cast.boss.patch(SETTINGS, body).await?.refused(422, "invalid_request")?;
        let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{name}: {value}");
        assert_eq!(problem["errors"].as_array().map(Vec::len), Some(1), "{problem}");
    }
    // All that is wrong, at once.
    let body = json!({"button_type": 1, "message_length": "long", "keep_originals": 0});
    let problem = cast.boss.patch(SETTINGS, body).await?.refused(422, "invalid_request")?;
    assert_eq!(problem["errors"].as_array().map(Vec::len), Some(3), "{problem}");
    cast.boss.patch(SETTINGS, json!([])).await?.refused(422, "invalid_request")?;
    assert_eq!(cast.boss.get(SETTINGS).await?.expect(200)?, before);
    let history = cast.boss.get("/v1/settings/history").await?.expect(200)?;
    assert_eq!(history, json!({"changes": [], "next_cursor": null}));
    Ok(())
}

async fn r13_the_history_says_who_changed_what(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let first = json!({"button_type": "text", "message_length": 50});
    cast.boss.patch(SETTINGS, first.clone()).await?.expect(200)?;
    // Once more is no change.
    cast.boss.patch(SETTINGS, first).await?.expect(200)?;
    cast.shop.patch(SETTINGS, json!({"button_type": "icon"})).await?.expect(200)?;
    cast.shop.acting("boss").patch(SETTINGS, json!({"button_type": null})).await?.expect(200)?;
    let all = cast.boss.get("/v1/settings/history?name=button_type").await?.expect(200)?;
    let changes: Vec<_> = all["changes"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|it| (it["actor_id"].as_str(), it["from"].as_str(), it["to"].as_str()))
        .collect();
    let expected = [
        (Some("boss"), Some("icon"), Some("icon_and_text")),
        (None, Some("text"), Some("icon")),
        (Some("boss"), Some("icon_and_text"), Some("text")),
    ];
    assert_eq!(changes, expected);
    ensure!(all["changes"][0]["at"].as_str().is_some_and(|it| it.ends_with('Z')), "{all}");

    // Page by page, each change once.
    let (mut seen, mut query) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/settings/history?limit=3{query}");
        let page = cast.boss.get(&path).await?.expect(200)?;
        let names = page["changes"].as_array().into_iter().flatten();
        seen.extend(names.map(|it| it["name"].as_str().unwrap_or_default().to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("&cursor={cursor}");
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
    assert_eq!(seen.iter().filter(|it| *it == "message_length").count(), 1);
    // The audit log has them, too.
    let log = cast.shop.get("/v1/audit-log?action=setting.changed").await?.expect(200)?;
    assert_eq!(log["entries"].as_array().map(Vec::len), Some(4));
    Ok(())
}

async fn r13_a_change_counts_at_once_on_every_node(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let listen = format!("127.0.0.1:{}", free_port()?);
    let mut node = cast.stack.command(&["serve"])?;
    node = node.args(["--api-name", "api-2", "--api-listen", &listen]);
    node.start()?;
    let base = format!("http://{listen}");
    let other = Api::new(&base)?;
    let ready = async || Ok((other.get("/readyz").await?.status == 200).then_some(()));
    eventually("the second node is ready", PATIENCE, ready).await?;
    for length in [20, 30, 40] {
        cast.shop.patch(SETTINGS, json!({"message_length": length})).await?.expect(200)?;
        assert_eq!(other.get(PUBLIC).await?.expect(200)?["message_length"], length);
        let there = cast.shop.at(&base);
        there.patch(SETTINGS, json!({"message_length": length + 1})).await?.expect(200)?;
        assert_eq!(cast.shop.get(SETTINGS).await?.expect(200)?["message_length"], length + 1);
    }
    node.stop(chaffer_tests::Stack::STOP).await?;
    Ok(())
}

async fn r14_pages_fetch_colours_and_header_once_and_ask_whether_they_still_hold(
    scene: &Scene,
) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let page = cast.stack.anonymous()?;
    let answer = page.get(PUBLIC).await?;
    let tag = answer.header("etag").context("no ETag")?.to_owned();
    assert_eq!(answer.header("cache-control"), Some("public, max-age=60"));
    let public = answer.expect(200)?;
    assert_eq!(public["messages_page_with_header"], true);
    assert_eq!(public["websocket_url"], cast.stack.websocket_url());
    ensure!(public.get("keep_originals").is_none(), "not for everybody: {public}");
    for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
        let answer = page.with("If-None-Match", &known).get(PUBLIC).await?;
        assert_eq!((answer.status, answer.text.as_str()), (304, ""), "{known}");
        assert_eq!(answer.header("etag"), Some(tag.as_str()));
        ensure!(answer.header("cache-control").is_some());
    }
    // What pages do not see does not wake them.
    cast.boss.patch(SETTINGS, json!({"keep_originals": true})).await?.expect(200)?;
    assert_eq!(page.with("If-None-Match", &tag).get(PUBLIC).await?.status, 304);

    let colours = json!({"author_bubble_colour": "#102030", "recipient_bubble_colour": "#ABCDEF",
        "messages_page_with_header": false});
    cast.boss.patch(SETTINGS, colours.clone()).await?.expect(200)?;
    let answer = page.with("If-None-Match", &tag).get(PUBLIC).await?;
    ensure!(answer.header("etag").is_some_and(|it| it != tag), "{answer}");
    let public = answer.expect(200)?;
    for (name, value) in colours.as_object().into_iter().flatten() {
        assert_eq!(&public[name], value, "{name}");
    }
    for broken in ["", "tag", "\"unfinished", "\u{ff}"] {
        let answer = page.with("If-None-Match", broken).get(PUBLIC).await?;
        assert_eq!(answer.status, 200, "{broken:?}");
    }
    Ok(())
}
