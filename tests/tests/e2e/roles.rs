//! Who may do what (R5 to R10): every role against every call of the API's own document, in one table.
//!
//! A call that the document has and [`TABLE`] does not fails the story, and so does a row that no call has any more.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use chaffer_tests::{Api, Person, Scene};
use reqwest::Method;
use serde_json::{Value, json};

use crate::cast::{Cast, id_of, vendor};

stories!(r8_every_role_may_do_what_the_table_says_and_no_more);

/// The columns of [`TABLE`].
const ROLES: [&str; 12] = [
    "nobody", "visitor", "buyer", "outsider", "seller", "rival", "clerk", "boss", "root", "helper",
    "shop", "acting",
];

/// What each call answers to: nobody in particular; a visitor without an account, who has a thread with the operators; the customer of the thread (or whose data it is) and another
/// one; an admin of the thread's vendor and of another one; an administrator without `manage_messages`, one with it, and a
/// root administrator; an operator; the shop's backend as itself, and acting as the customer.
#[rustfmt::skip]
const TABLE: &[(&str, [u16; 12])] = &[
    // call                                                            none visi buyr otsd sell rivl clrk boss root help shop actg
    ("get /healthz",                                                    [200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200]),
    ("get /metrics",                                                    [200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200]),
    ("get /readyz",                                                     [200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200]),
    ("post /v1/attachments",                                            [401, 403, 201, 201, 201, 201, 403, 201, 201, 201, 422, 201]),
    ("get /v1/attachments/{id}/{part}",                                 [404, 404, 404, 404, 404, 404, 404, 404, 404, 404, 404, 404]),
    ("get /v1/audit-log",                                               [401, 403, 403, 403, 403, 403, 403, 403, 200, 403, 200, 403]),
    ("post /v1/buttons",                                                [200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200]),
    ("get /v1/events",                                                  [401, 200, 200, 200, 200, 200, 403, 200, 200, 200, 422, 200]),
    ("get /v1/forbidden-words",                                         [401, 403, 403, 403, 403, 403, 403, 200, 200, 403, 200, 403]),
    ("post /v1/forbidden-words",                                        [401, 403, 403, 403, 403, 403, 403, 201, 201, 403, 201, 403]),
    ("post /v1/forbidden-words/check",                                  [401, 403, 403, 403, 403, 403, 403, 200, 200, 403, 200, 403]),
    ("get /v1/forbidden-words/export",                                  [401, 403, 403, 403, 403, 403, 403, 200, 200, 403, 200, 403]),
    ("post /v1/forbidden-words/import",                                 [401, 403, 403, 403, 403, 403, 403, 200, 200, 403, 200, 403]),
    ("delete /v1/forbidden-words/{id}",                                 [401, 403, 403, 403, 403, 403, 403, 204, 204, 403, 204, 403]),
    ("get /v1/forbidden-words/{id}",                                    [401, 403, 403, 403, 403, 403, 403, 200, 200, 403, 200, 403]),
    ("patch /v1/forbidden-words/{id}",                                  [401, 403, 403, 403, 403, 403, 403, 200, 200, 403, 200, 403]),
    ("post /v1/mail/inbound",                                           [401, 403, 403, 403, 403, 403, 403, 403, 403, 403, 409, 403]),
    ("get /v1/mail/templates",                                          [401, 403, 403, 403, 403, 403, 403, 200, 200, 403, 200, 403]),
    ("delete /v1/mail/templates/{audience}/{kind}/{language}",          [401, 403, 403, 403, 403, 403, 403, 200, 200, 403, 200, 403]),
    ("get /v1/mail/templates/{audience}/{kind}/{language}",             [401, 403, 403, 403, 403, 403, 403, 200, 200, 403, 200, 403]),
    ("put /v1/mail/templates/{audience}/{kind}/{language}",             [401, 403, 403, 403, 403, 403, 403, 200, 200, 403, 200, 403]),
    ("post /v1/mail/templates/{audience}/{kind}/{language}/preview",    [401, 403, 403, 403, 403, 403, 403, 200, 200, 403, 200, 403]),
    ("get /v1/mail/unsubscribe/{token}",                                [404, 404, 404, 404, 404, 404, 404, 404, 404, 404, 404, 404]),
    ("post /v1/mail/unsubscribe/{token}",                               [404, 404, 404, 404, 404, 404, 404, 404, 404, 404, 404, 404]),
    ("get /v1/mails",                                                   [401, 403, 403, 403, 403, 403, 403, 200, 200, 403, 200, 403]),
    ("post /v1/mails/{id}/retry",                                       [401, 403, 403, 403, 403, 403, 403, 404, 404, 403, 404, 403]),
    ("delete /v1/messages/{id}",                                        [401, 404, 204, 404, 403, 404, 403, 204, 204, 404, 422, 204]),
    ("patch /v1/messages/{id}",                                         [401, 404, 200, 404, 403, 404, 403, 403, 403, 404, 422, 200]),
    ("get /v1/messages/{id}/history",                                   [401, 403, 403, 403, 403, 403, 403, 200, 200, 403, 422, 403]),
    ("get /v1/messages/{id}/original",                                  [401, 403, 403, 403, 403, 403, 403, 404, 404, 403, 422, 403]),
    ("get /v1/openapi.json",                                            [200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200]),
    ("get /v1/presence",                                                [401, 200, 200, 200, 200, 200, 403, 200, 200, 200, 422, 200]),
    ("get /v1/search",                                                  [401, 200, 200, 200, 200, 200, 403, 200, 200, 200, 422, 200]),
    ("get /v1/retention",                                               [401, 403, 403, 403, 403, 403, 403, 200, 200, 403, 200, 403]),
    ("get /v1/settings",                                                [401, 403, 403, 403, 403, 403, 403, 200, 200, 403, 200, 403]),
    ("patch /v1/settings",                                              [401, 403, 403, 403, 403, 403, 403, 200, 200, 403, 200, 403]),
    ("get /v1/settings/definitions",                                    [401, 403, 403, 403, 403, 403, 403, 200, 200, 403, 200, 403]),
    ("get /v1/settings/history",                                        [401, 403, 403, 403, 403, 403, 403, 200, 200, 403, 200, 403]),
    ("get /v1/settings/machine",                                        [401, 403, 403, 403, 403, 403, 403, 200, 200, 403, 200, 403]),
    ("get /v1/settings/public",                                         [200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200]),
    ("get /v1/support/queue",                                           [401, 403, 403, 403, 403, 403, 403, 200, 200, 200, 422, 403]),
    ("get /v1/threads",                                                 [401, 200, 200, 200, 200, 200, 403, 200, 200, 200, 422, 200]),
    ("post /v1/threads",                                                [401, 403, 201, 403, 201, 403, 403, 201, 201, 403, 201, 201]),
    ("get /v1/threads/{id}",                                            [401, 404, 200, 404, 200, 404, 403, 200, 200, 404, 422, 200]),
    ("patch /v1/threads/{id}",                                          [401, 404, 200, 404, 200, 404, 403, 200, 200, 404, 422, 200]),
    ("get /v1/threads/{id}/messages",                                   [401, 404, 200, 404, 200, 404, 403, 200, 200, 404, 422, 200]),
    ("post /v1/threads/{id}/messages",                                  [401, 404, 201, 404, 201, 404, 403, 201, 201, 404, 422, 201]),
    ("post /v1/threads/{id}/read",                                      [401, 404, 200, 404, 200, 404, 403, 200, 200, 404, 422, 200]),
    ("post /v1/threads/{id}/release",                                   [401, 404, 403, 404, 404, 404, 403, 200, 200, 200, 422, 403]),
    ("post /v1/threads/{id}/take",                                      [401, 404, 403, 404, 404, 404, 403, 200, 200, 200, 422, 403]),
    ("post /v1/threads/{id}/typing",                                    [401, 404, 204, 404, 204, 404, 403, 204, 204, 404, 422, 204]),
    ("post /v1/threads/{id}/unread",                                    [401, 404, 200, 404, 200, 404, 403, 200, 200, 404, 422, 200]),
    ("get /v1/unread",                                                  [401, 200, 200, 200, 200, 200, 403, 200, 200, 200, 422, 200]),
    ("post /v1/unread/batch",                                           [401, 403, 403, 403, 403, 403, 403, 403, 403, 403, 200, 403]),
    ("get /v1/users/{id}",                                              [401, 403, 200, 403, 403, 403, 403, 403, 403, 403, 200, 200]),
    ("delete /v1/users/{id}",                                           [401, 403, 403, 403, 403, 403, 403, 403, 204, 403, 204, 403]),
    ("patch /v1/users/{id}",                                            [401, 403, 403, 403, 403, 403, 403, 403, 403, 403, 200, 403]),
    ("put /v1/users/{id}",                                              [401, 403, 403, 403, 403, 403, 403, 403, 403, 403, 200, 403]),
    ("get /v1/users/{id}/export",                                       [401, 403, 200, 403, 403, 403, 403, 403, 200, 403, 200, 200]),
    ("get /v1/users/{id}/mail-preferences",                             [401, 403, 200, 403, 403, 403, 403, 403, 403, 403, 200, 200]),
    ("put /v1/users/{id}/mail-preferences",                             [401, 403, 200, 403, 403, 403, 403, 403, 403, 403, 200, 200]),
    ("post /v1/users/{id}/tokens",                                      [401, 403, 403, 403, 403, 403, 403, 403, 403, 403, 201, 403]),
    ("get /v1/vendors/{id}",                                            [401, 403, 403, 403, 403, 403, 403, 403, 403, 403, 200, 403]),
    ("put /v1/vendors/{id}",                                            [401, 403, 403, 403, 403, 403, 403, 403, 403, 403, 200, 403]),
    ("get /v1/webhooks",                                                [401, 403, 403, 403, 403, 403, 403, 403, 403, 403, 200, 403]),
    ("post /v1/webhooks",                                               [401, 403, 403, 403, 403, 403, 403, 403, 403, 403, 201, 403]),
    ("delete /v1/webhooks/{id}",                                        [401, 403, 403, 403, 403, 403, 403, 403, 403, 403, 204, 403]),
    ("get /v1/webhooks/{id}",                                           [401, 403, 403, 403, 403, 403, 403, 403, 403, 403, 200, 403]),
    ("patch /v1/webhooks/{id}",                                         [401, 403, 403, 403, 403, 403, 403, 403, 403, 403, 200, 403]),
    ("get /v1/webhooks/{id}/deliveries",                                [401, 403, 403, 403, 403, 403, 403, 403, 403, 403, 200, 403]),
    ("get /v1/webhooks/{id}/deliveries/{delivery}",                     [401, 403, 403, 403, 403, 403, 403, 403, 403, 403, 404, 403]),
    ("post /v1/webhooks/{id}/deliveries/{delivery}/replay",             [401, 403, 403, 403, 403, 403, 403, 403, 403, 403, 404, 403]),
    ("post /v1/webhooks/{id}/replay-failed",                            [401, 403, 403, 403, 403, 403, 403, 403, 403, 403, 202, 403]),
    ("post /v1/webhooks/{id}/rotate-secret",                            [401, 403, 403, 403, 403, 403, 403, 403, 403, 403, 200, 403]),
    ("post /v1/webhooks/{id}/test",                                     [401, 403, 403, 403, 403, 403, 403, 403, 403, 403, 202, 403]),
    ("post /v1/widget/sessions",                                          [201, 200, 403, 403, 403, 403, 403, 403, 403, 403, 403, 403]),
];

/// One who calls, with what a call needs to make sense for each.
struct Caller {
    role: &'static str,
    api: Api,
}

async fn r8_every_role_may_do_what_the_table_says_and_no_more(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let root = json!({"role": "admin", "name": "R", "root": true});
    let root = cast.shop.new_person("root", root).await?;
    let guest = cast.stack.anonymous()?.visitor(json!({"name": "V"})).await?;
    let support = json!({"subject": {"type": "support", "id": "support"}});
    guest.post("/v1/threads", support).await?.expect(201)?;
    let callers = callers(&cast, &guest, &root)?;
    let document = cast.stack.anonymous()?.get("/v1/openapi.json").await?.expect(200)?;
    let known: BTreeMap<&str, [u16; 12]> = TABLE.iter().copied().collect();
    let calls = calls(&document)?;
    let mut wrong = Vec::new();
    for (number, call) in calls.iter().enumerate() {
        let mut answered = [0; 12];
        for (caller, answered) in callers.iter().zip(&mut answered) {
            *answered = ask(&cast, caller, number, call)
                .await
                .with_context(|| format!("{} asks {call}", caller.role))?;
        }
        if known.get(call.as_str()) != Some(&answered) {
            let expected = known.get(call.as_str()).map_or("no row".into(), |it| format!("{it:?}"));
            wrong.push(format!("(\"{call}\", {answered:?}), // {expected}"));
        }
    }
    let gone = known.keys().filter(|call| !calls.contains(**call));
    wrong.extend(gone.map(|call| format!("{call} is in no document")));
    ensure!(wrong.is_empty(), "columns {ROLES:?}; answered // expected:\n{}", wrong.join("\n"));
    Ok(())
}

fn callers(cast: &Cast, guest: &Person, root: &Person) -> Result<Vec<Caller>> {
    let of = |role: &'static str, api: &Api| Caller { role, api: api.clone() };
    let callers = vec![
        of("nobody", &cast.stack.anonymous()?),
        of("visitor", guest),
        of("buyer", &cast.buyer),
        of("outsider", &cast.outsider),
        of("seller", &cast.seller),
        of("rival", &cast.rival),
        of("clerk", &cast.clerk),
        of("boss", &cast.boss),
        of("root", root),
        of("helper", &cast.helper),
        of("shop", &cast.shop),
        of("acting", &cast.shop.acting("buyer")),
    ];
    ensure!(callers.iter().map(|it| it.role).eq(ROLES), "the columns are in another order");
    Ok(callers)
}

/// Every call of the document, as `method path`.
fn calls(document: &Value) -> Result<BTreeSet<String>> {
    let paths = document["paths"].as_object().context("no paths")?;
    let methods = ["get", "post", "put", "patch", "delete"];
    let calls = paths.iter().flat_map(|(path, item)| {
        let here = methods.into_iter().filter(|method| item.get(*method).is_some());
        here.map(move |method| format!("{method} {path}"))
    });
    Ok(calls.collect())
}

/// Makes one call on things that were made for it, so that what an earlier caller did plays no part.
async fn ask(cast: &Cast, caller: &Caller, number: usize, call: &str) -> Result<u16> {
    let (method, path) = call.split_once(' ').context("no path")?;
    let unique = format!("{}-{number}", caller.role);
    let (path, body) = filled(cast, &unique, method, path).await?;
    let mut request = caller.api.request(method.to_uppercase().parse::<Method>()?, &path);
    match body {
        Value::Null => {}
        Value::String(text) if path.contains("import") => {
            request = request.header("Content-Type", "text/csv").body(text);
        }
        Value::String(text) if path == "/v1/attachments" => {
            request = request.header("Content-Type", "multipart/form-data; boundary=X").body(text);
        }
        Value::String(text) => {
            request = request.header("Content-Type", "message/rfc822").body(text);
        }
        body => request = request.json(&body),
    }
    Ok(caller.api.send(request).await?.status)
}

/// The path with real ids in it, and a body that is as it should be: what is refused is refused for the role alone.
async fn filled(cast: &Cast, unique: &str, method: &str, path: &str) -> Result<(String, Value)> {
    let shop = &cast.shop;
    let said = async || -> Result<(i64, i64)> {
        let thread = cast.thread(unique).await?;
        Ok((thread, id_of(&cast.buyer.say(thread, "Hello?").await?)?))
    };
    let with = |id: String| path.replace("{id}", &id);
    Ok(match (method, path) {
        ("get", "/v1/search") => (format!("{path}?q=hello"), Value::Null),
        ("get", "/v1/presence") => (format!("{path}?user_ids=buyer"), Value::Null),
        ("get", "/v1/mail/unsubscribe/{token}") | ("post", "/v1/mail/unsubscribe/{token}") => {
            (path.replace("{token}", "guessed"), Value::Null)
        }
        ("post", "/v1/mail/inbound") => (
            format!("{path}?recipient=reply@shop.example&sender=a@b.example"),
            json!("A: b\r\n\r\nc"),
        ),
        ("post", "/v1/attachments") => (
            path.into(),
            json!(
                "--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\nHi\r\n--X--\r\n"
            ),
        ),
        ("get", "/v1/attachments/{id}/{part}") => {
            ("/v1/attachments/1/file?expires=1&signature=00".into(), Value::Null)
        }
        ("post", "/v1/mails/{id}/retry") => (with("1".into()), json!({})),
        (_, path) if path.contains("{audience}/{kind}/{language}") => {
            let letter = json!({"subject": "S", "text": "T {{ thread.url }}", "html": "<p>H</p>"});
            let named = path.replace("{audience}/{kind}/{language}", "customer/new_message/en");
            // There is something to take back.
            shop.put(named.trim_end_matches("/preview"), letter.clone()).await?;
            (named, if method == "get" { Value::Null } else { letter })
        }
        ("post", "/v1/threads") => {
            let subject = json!({"type": "product", "id": unique, "title": "P"});
            let parts = ["product", unique, "P", "", "", "buyer", "v1"];
            let signature = cast.stack.subject_signature(parts)?;
            let body = json!({"subject": subject, "vendor_id": "v1", "customer_id": "buyer",
                "subject_signature": signature});
            (path.into(), body)
        }
        ("post", "/v1/buttons") => {
            (path.into(), json!({"subjects": [{"subject": {"type": "support", "id": "support"}}]}))
        }
        ("post", "/v1/threads/{id}/take" | "/v1/threads/{id}/release") => {
            let body = json!({"subject": {"type": "support", "id": unique}});
            let thread = shop.acting("buyer").post("/v1/threads", body).await?.expect(201)?;
            let thread = id_of(&thread)?.to_string();
            if path.ends_with("release") {
                let take = format!("/v1/threads/{thread}/take");
                cast.helper.post(&take, json!({})).await?.expect(200)?;
            }
            (with(thread), json!({}))
        }
        (_, path) if path.starts_with("/v1/threads/{id}") => {
            let (thread, message) = said().await?;
            let body = match path.rsplit('/').next() {
                _ if method == "get" => Value::Null,
                Some("messages") => json!({"text": "Hello."}),
                Some("read") => json!({"up_to": message}),
                _ if method == "patch" => json!({"status": "closed"}),
                _ => json!({}),
            };
            (with(thread.to_string()), body)
        }
        (_, path) if path.starts_with("/v1/messages/{id}") => {
            let body = if method == "patch" { json!({"text": "Hi."}) } else { Value::Null };
            (with(said().await?.1.to_string()), body)
        }
        ("put", "/v1/users/{id}") => {
            (with("buyer".into()), json!({"role": "customer", "name": "Bea Buyer"}))
        }
        ("delete", "/v1/users/{id}") => {
            shop.put(&with(unique.into()), json!({"role": "customer", "name": "X"})).await?;
            (with(unique.into()), Value::Null)
        }
        ("put", "/v1/users/{id}/mail-preferences") => {
            (with("buyer".into()), json!({"mails": "all"}))
        }
        ("patch", "/v1/users/{id}") => (with("buyer".into()), json!({"name": "Bea Buyer"})),
        (_, path) if path.starts_with("/v1/users/{id}") => {
            (with("buyer".into()), if method == "get" { Value::Null } else { json!({}) })
        }
        ("put", "/v1/vendors/{id}") => (with("v1".into()), vendor("Vendor One")),
        (_, path) if path.starts_with("/v1/vendors/{id}") => (with("v1".into()), Value::Null),
        ("post", "/v1/unread/batch") => (path.into(), json!({"user_ids": ["buyer"]})),
        ("post", "/v1/forbidden-words") => (path.into(), json!({"phrase": unique})),
        ("post", "/v1/forbidden-words/check") => (path.into(), json!({"text": "Hello."})),
        ("post", "/v1/forbidden-words/import") => {
            (path.into(), json!(format!("phrase\n{unique}\n")))
        }
        (_, "/v1/forbidden-words/{id}") => {
            let phrase = json!({"phrase": format!("{unique}-{method}")});
            let entry = shop.post("/v1/forbidden-words", phrase).await?.expect(201)?;
            let change = json!({"action": "flag"});
            let body = if method == "patch" { change } else { Value::Null };
            (with(id_of(&entry)?.to_string()), body)
        }
        ("patch", "/v1/settings") => (path.into(), json!({"keep_originals": false})),
        (_, path) if path.starts_with("/v1/webhooks") => webhook(cast, method, path).await?,
        ("get" | "delete", path) => (path.into(), Value::Null),
        (_, path) => (path.into(), json!({})),
    })
}

/// A subscription of this call's own, with a delivery that failed.
async fn webhook(cast: &Cast, method: &str, path: &str) -> Result<(String, Value)> {
    let url = json!({"url": "https://shop.example/hook", "events": ["message.created"]});
    if path == "/v1/webhooks" {
        return Ok((path.into(), if method == "get" { Value::Null } else { url }));
    }
    // There may be only so many.
    let hooks = cast.shop.get("/v1/webhooks").await?.expect(200)?;
    for hook in hooks["webhooks"].as_array().into_iter().flatten() {
        let id = hook["id"].as_str().map_or_else(|| hook["id"].to_string(), str::to_owned);
        cast.shop.delete(&format!("/v1/webhooks/{id}")).await?.expect(204)?;
    }
    let hook = cast.shop.post("/v1/webhooks", url).await?.expect(201)?;
    let id = hook["id"].as_str().map_or_else(|| hook["id"].to_string(), str::to_owned);
    let path = path.replace("{id}", &id).replace("{delivery}", "1");
    let body = match method {
        "get" | "delete" => Value::Null,
        _ if path.ends_with("/replay-failed") => json!({"since": hook["created_at"]}),
        _ => json!({}),
    };
    Ok((path, body))
}
