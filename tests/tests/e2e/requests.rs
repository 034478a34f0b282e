//! Requests that are not understood in full are refused, and every refusal is a problem document.

use anyhow::{Result, ensure};
use chaffer_tests::{Scene, Stack};
use reqwest::Method;
use serde_json::{Value, json};

use crate::cast::{Cast, product};

stories!(
    unknown_fields_are_named,
    malformed_bodies_are_refused,
    a_body_that_is_too_large_is_refused,
    unknown_paths_and_methods_are_problems,
    a_head_is_a_get_without_its_body,
    unknown_query_parameters_are_refused,
    a_message_has_limits,
    b5_the_document_is_openapi_31_and_has_every_call,
    health_needs_no_token,
);

fn pointers(body: &Value) -> Vec<&str> {
    body["errors"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|it| it["pointer"].as_str())
        .collect()
}

async fn unknown_fields_are_named(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let path = format!("/v1/threads/{thread}/messages");
    let answer = cast.buyer.post(&path, json!({"text": "x", "colour": "red"})).await?;
    assert_eq!(answer.status, 422, "{answer}");
    assert_eq!(pointers(&answer.body), ["/colour"]);
    let mut subject = product("p9");
    subject["price"] = json!(3);
    let answer = cast
        .shop
        .acting("buyer")
        .post("/v1/threads", json!({"subject": subject, "vendor_id": "v1"}))
        .await?;
    assert_eq!(answer.status, 422, "{answer}");
    assert_eq!(pointers(&answer.body), ["/subject/price"]);
    let answer = cast.buyer.post(&path, json!({"text": 5})).await?;
    assert_eq!(answer.status, 422, "{answer}");
    assert_eq!(pointers(&answer.body), ["/text"]);
    Ok(())
}

async fn malformed_bodies_are_refused(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let path = format!("/v1/threads/{thread}/messages");
    for body in ["{", "{\"text\": \"a\"} x", "\u{feff}", "{\"text\":\"\\ud800\"}"] {
        let request = cast.buyer.request(Method::POST, &path);
        let answer =
            cast.buyer.send(request.header("Content-Type", "application/json").body(body)).await?;
        assert_eq!(answer.status, 400, "{body:?}: {answer}");
        assert_eq!(answer.body["status"], 400, "{answer}");
    }
    let broken: Vec<u8> = b"{\"text\":\"\xff\xfe\"}".to_vec();
    let request =
        cast.buyer.request(Method::POST, &path).header("Content-Type", "application/json");
    assert_eq!(cast.buyer.send(request.body(broken)).await?.status, 400);
    let request = cast.buyer.request(Method::POST, &path).header("Content-Type", "text/plain");
    let answer = cast.buyer.send(request.body("{\"text\":\"x\"}")).await?;
    ensure!(matches!(answer.status, 400 | 415), "{answer}");
    Ok(())
}

async fn a_body_that_is_too_large_is_refused(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let path = format!("/v1/threads/{thread}/messages");
    let answer = cast.buyer.post(&path, json!({"text": "x".repeat(3 << 20)})).await?;
    assert_eq!(answer.status, 413, "{answer}");
    assert_eq!(answer.body["status"], 413, "{answer}");
    Ok(())
}

async fn unknown_paths_and_methods_are_problems(scene: &Scene) -> Result<()> {
    let stack = Stack::start(scene).await?;
    let shop = stack.shop()?;
    for path in ["/v1/nothing", "/v1", "/v2/threads", "/v1/threads/", "/nothing"] {
        let answer = shop.get(path).await?;
        assert_eq!(answer.status, 404, "{answer}");
        assert_eq!(answer.body["status"], 404, "no problem document: {answer}");
    }
    let answer = shop.send(shop.request(Method::DELETE, "/v1/threads")).await?;
    ensure!(matches!(answer.status, 404 | 405), "{answer}");
    assert_eq!(answer.body["status"], answer.status, "no problem document: {answer}");
    Ok(())
}

async fn a_head_is_a_get_without_its_body(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    for path in ["/healthz", "/v1/settings/public", "/v1/users/buyer", "/v1/nothing"] {
        let got = cast.shop.get(path).await?;
        let head = cast.shop.send(cast.shop.request(Method::HEAD, path)).await?;
        assert_eq!((head.status, head.text.as_str()), (got.status, ""), "{path}");
        for name in ["content-type", "content-length"] {
            assert_eq!(head.header(name), got.header(name), "{name} of {path}");
        }
    }
    let head = cast.shop.send(cast.shop.request(Method::HEAD, "/v1/attachments")).await?;
    assert_eq!((head.status, head.header("allow")), (405, Some("POST")));
    Ok(())
}

async fn unknown_query_parameters_are_refused(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let paths = [
        "/v1/threads?unraed=true".to_owned(),
        "/v1/threads?limit=0".into(),
        "/v1/threads?limit=101".into(),
        "/v1/threads?limit=many".into(),
        "/v1/threads?cursor=nonsense".into(),
        format!("/v1/threads/{thread}/messages?after=1&before=2"),
        format!("/v1/threads/{thread}/messages?after=x"),
        "/v1/events?after=-1".into(),
        "/v1/events?after=1&wait=31".into(),
    ];
    for path in paths {
        let answer = cast.buyer.get(&path).await?;
        ensure!(matches!(answer.status, 400 | 422), "{answer}");
        ensure!(answer.body["code"].is_string(), "no problem document: {answer}");
    }
    cast.buyer.get("/v1/threads/abc").await?.refused(404, "thread_not_found")?;
    Ok(())
}

async fn a_message_has_limits(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let path = format!("/v1/threads/{thread}/messages");
    // Characters, not bytes.
    let longest = "ж".repeat(10_000);
    let said = cast.buyer.say(thread, &longest).await?;
    assert_eq!(said["text"], longest.as_str());
    for body in [
        json!({"text": "ж".repeat(10_001)}),
        json!({"text": ""}),
        json!({"text": " \n"}),
        json!({}),
    ] {
        let answer = cast.buyer.post(&path, body).await?;
        assert_eq!(answer.status, 422, "{}", answer.status);
        assert_eq!(pointers(&answer.body), ["/text"], "{}", answer.body);
    }
    for text in [
        "emoji 👩‍👩‍👧 \u{202e}rtl",
        "<script>alert(1)</script>",
        "a\nb\tc",
        "'; DROP TABLE messages; --",
    ] {
        assert_eq!(cast.buyer.say(thread, text).await?["text"], text);
    }
    let page = cast.seller.get(&path).await?.expect(200)?;
    assert_eq!(page["messages"].as_array().map(Vec::len), Some(5));
    Ok(())
}

async fn b5_the_document_is_openapi_31_and_has_every_call(scene: &Scene) -> Result<()> {
    let stack = Stack::start(scene).await?;
    let document = stack.anonymous()?.get("/v1/openapi.json").await?.expect(200)?;
    ensure!(document["openapi"].as_str().is_some_and(|it| it.starts_with("3.1")), "not 3.1");
    let calls = [
        ("/v1/users/{id}", "put"),
        ("/v1/users/{id}", "patch"),
        ("/v1/users/{id}/tokens", "post"),
        ("/v1/vendors/{id}", "put"),
        ("/v1/threads", "post"),
        ("/v1/threads", "get"),
        ("/v1/threads/{id}", "get"),
        ("/v1/threads/{id}/messages", "get"),
        ("/v1/threads/{id}/messages", "post"),
        ("/v1/threads/{id}/read", "post"),
        ("/v1/threads/{id}/typing", "post"),
        ("/v1/unread", "get"),
        ("/v1/unread/batch", "post"),
        ("/v1/events", "get"),
    ];
    for (path, method) in calls {
        ensure!(document["paths"][path][method].is_object(), "{method} {path} is not documented");
    }
    let printed = stack.command(&["openapi"])?.run().await?;
    assert_eq!(
        serde_json::from_str::<Value>(&printed)?,
        document,
        "the command prints another one"
    );
    let page = stack.anonymous()?.get("/docs").await?;
    assert_eq!(page.status, 307, "it leads to /docs/");
    let page = stack.anonymous()?.get("/docs/").await?;
    ensure!(page.status == 200 && page.text.contains("<html"), "{}", page.status);
    Ok(())
}

async fn health_needs_no_token(scene: &Scene) -> Result<()> {
    let stack = Stack::start(scene).await?;
    let api = stack.anonymous()?;
    assert_eq!(api.get("/healthz").await?.status, 200);
    let ready = api.get("/readyz").await?.expect(200)?;
    assert_eq!(ready["ready"], true);
    let push = api.at(&stack.push_url());
    assert_eq!(push.get("/healthz").await?.status, 200);
    assert_eq!(push.get("/readyz").await?.status, 200);
    Ok(())
}
