//! Nothing of a thread that is not theirs: one walk through every call of the API's own document, and the
//! socket, with the tokens of those whom the thread does not concern.
//!
//! A call that the document has and [`rule`] does not fails the walk: whoever adds one says here what a
//! stranger may get from it.

use anyhow::{Context, Result, ensure};
use chaffer_tests::{Answer, Person, Scene, Socket};
use reqwest::Method;
use serde_json::{Value, json};

use crate::cast::{Cast, id_of};

stories!(a_stranger_can_read_hear_count_and_guess_nothing);

/// Stands in every text of the thread, and must stand in nothing that a stranger gets.
const SECRET: &str = "kumquat";

/// Long gone, or never there: what a call says about it is what it must say about the thread.
const MISSING: i64 = 987_654_321;

/// What a stranger may get from a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Names a thread: answered exactly as if there were no such thread.
    Thread,
    /// Names a message: answered exactly as if there were no such message.
    Message,
    /// A list or a sum: the same as before the thread was there.
    Same,
    /// The shop's backend alone, or with it those who manage messages.
    Backend,
    /// Starts something of the caller's own.
    Own,
    /// For everybody, and says nothing of anybody.
    Public,
}

fn rule(method: &str, path: &str) -> Option<Rule> {
    Some(match (method, path) {
        ("put" | "patch" | "get" | "delete", "/v1/users/{id}") => Rule::Backend,
        ("post", "/v1/users/{id}/tokens") | ("get", "/v1/users/{id}/export") => Rule::Backend,
        ("put" | "patch" | "get", "/v1/vendors/{id}") => Rule::Backend,
        ("post", "/v1/unread/batch") => Rule::Backend,
        (_, path) if path.starts_with("/v1/webhooks") => Rule::Backend,
        ("get" | "put", "/v1/users/{id}/mail-preferences") => Rule::Backend,
        ("get", "/v1/mails" | "/v1/mail/templates") => Rule::Backend,
        ("post", "/v1/mails/{id}/retry" | "/v1/mail/inbound") => Rule::Backend,
        ("get" | "put" | "delete", "/v1/mail/templates/{audience}/{kind}/{language}") => {
            Rule::Backend
        }
        ("post", "/v1/mail/templates/{audience}/{kind}/{language}/preview") => Rule::Backend,
        // Whoever has the link of a mail; a guessed one is nobody's.
        ("get" | "post", "/v1/mail/unsubscribe/{token}") => Rule::Public,
        (_, "/v1/forbidden-words" | "/v1/forbidden-words/{id}") => Rule::Backend,
        ("post", "/v1/forbidden-words/check" | "/v1/forbidden-words/import") => Rule::Backend,
        ("get", "/v1/forbidden-words/export") => Rule::Backend,
        ("get", "/v1/messages/{id}/original" | "/v1/messages/{id}/history") => Rule::Backend,
        ("get", "/v1/audit-log") => Rule::Backend,
        ("patch" | "delete", "/v1/messages/{id}") => Rule::Message,
        ("get", "/v1/retention") => Rule::Backend,
        ("get" | "patch", "/v1/settings") => Rule::Backend,
        ("get", "/v1/settings/definitions" | "/v1/settings/machine" | "/v1/settings/history") => {
            Rule::Backend
        }
        ("get", "/v1/settings/public") => Rule::Public,
        // One's own files; the addresses of others' are signed, and a guessed one is nobody's.
        ("post", "/v1/attachments") | ("get", "/v1/attachments/{id}/{part}") => Rule::Public,
        ("post", "/v1/threads") => Rule::Own,
        ("get", "/v1/threads" | "/v1/search") => Rule::Same,
        ("get", "/v1/unread" | "/v1/events" | "/v1/presence") => Rule::Same,
        ("post", "/v1/widget/sessions") => Rule::Public,
        ("post", "/v1/buttons") => Rule::Same,
        ("get", "/v1/support/queue") => Rule::Same,
        ("post", "/v1/threads/{id}/take" | "/v1/threads/{id}/release") => Rule::Thread,
        ("get" | "patch", "/v1/threads/{id}") => Rule::Thread,
        ("get" | "post", "/v1/threads/{id}/messages") => Rule::Thread,
        ("post", "/v1/threads/{id}/read" | "/v1/threads/{id}/unread") => Rule::Thread,
        ("post", "/v1/threads/{id}/typing") => Rule::Thread,
        ("get", "/healthz" | "/readyz" | "/metrics" | "/v1/openapi.json" | "/docs") => Rule::Public,
        _ => return None,
    })
}

/// The thread as its own people know it.
struct Secret {
    thread: i64,
    message: i64,
    customer: &'static str,
}

struct Stranger {
    person: Person,
    socket: Socket,
    /// What the calls of [`Rule::Same`] answered before.
    before: Vec<(String, Answer)>,
}

async fn a_stranger_can_read_hear_count_and_guess_nothing(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    // The ids that strangers might compare with have been given out already.
    let decoy = cast.thread_of("outsider", "decoy").await?;
    let (mut told, _) = cast.outsider.socket(None).await?;
    cast.outsider.say(decoy, "decoy").await?;
    told.event("message.created").await?;

    let document = cast.stack.anonymous()?.get("/v1/openapi.json").await?.expect(200)?;
    let calls = calls(&document)?;
    let mut strangers = Vec::new();
    let visitor = cast.stack.anonymous()?.visitor(json!({})).await?;
    let support = json!({"subject": {"type": "support", "id": "support"}});
    visitor.post("/v1/threads", support).await?.expect(201)?;
    for person in [&cast.outsider, &cast.rival, &cast.clerk, &cast.helper, &visitor] {
        let socket = person.socket(None).await?.0;
        let before = same(person, &calls).await?;
        strangers.push(Stranger { person: person.clone(), socket, before });
    }

    let secret = whisper(&cast).await?;
    for stranger in &mut strangers {
        let who = stranger.person.id.clone();
        hears_nothing(stranger).await.with_context(|| who.clone())?;
        counts_nothing(stranger, &calls).await.with_context(|| who.clone())?;
        for (method, path) in &calls {
            let rule = rule(method, path).with_context(|| {
                format!("{method} {path} has no rule: say in tests/e2e/strangers.rs what a stranger gets")
            })?;
            let walked = walk(&cast, &stranger.person, &secret, rule, method, path).await;
            walked.with_context(|| format!("{who}: {method} {path}"))?;
        }
        // Its own threads it may hear now.
        for frame in stranger.socket.pending().await? {
            let data = &frame["data"];
            ensure!(
                data["thread_id"] != secret.thread && data["id"] != secret.thread,
                "{who} heard {frame}"
            );
        }
    }
    // And nothing of all this changed what the thread's own people see.
    let page =
        cast.buyer.get(&format!("/v1/threads/{}/messages", secret.thread)).await?.expect(200)?;
    assert_eq!(page["messages"].as_array().map(Vec::len), Some(3));
    assert_eq!(cast.buyer.get("/v1/unread").await?.expect(200)?["total"], 1);
    Ok(())
}

/// Every call of the document.
fn calls(document: &Value) -> Result<Vec<(String, String)>> {
    let paths = document["paths"].as_object().context("no paths")?;
    let methods = ["get", "post", "put", "patch", "delete", "head", "options", "trace"];
    let calls: Vec<_> = paths
        .iter()
        .flat_map(|(path, item)| {
            let named = methods.iter().filter(|method| item.get(**method).is_some());
            named.map(|method| ((*method).to_owned(), path.clone()))
        })
        .collect();
    ensure!(calls.len() >= 14, "the document has only {calls:?}");
    Ok(calls)
}

/// A thread with everything that a thread can have.
async fn whisper(cast: &Cast) -> Result<Secret> {
    let subject = json!({"type": "product", "id": SECRET, "title": format!("A {SECRET}"),
        "url": format!("https://shop.example/{SECRET}")});
    let body = json!({"subject": subject, "vendor_id": "v1"});
    let thread = cast.shop.acting("buyer").post("/v1/threads", body).await?.expect(201)?;
    let thread = id_of(&thread)?;
    let mut seller = cast.seller.socket(None).await?.0;
    cast.buyer.say(thread, &format!("How much is the {SECRET}?")).await?;
    let said = cast.seller.say(thread, &format!("The {SECRET} is free.")).await?;
    let message = id_of(&said)?;
    let path = |rest: &str| format!("/v1/threads/{thread}/{rest}");
    cast.buyer.post(&path("read"), json!({"up_to": message})).await?.expect(200)?;
    cast.buyer.post(&path("typing"), json!({})).await?.expect(204)?;
    seller.event("typing").await?;
    let last = json!({"text": format!("{SECRET}!"), "client_id": "the-sellers-own"});
    cast.seller.post(&path("messages"), last).await?.expect(201)?;
    Ok(Secret { thread, message, customer: "buyer" })
}

async fn hears_nothing(stranger: &mut Stranger) -> Result<()> {
    let heard = stranger.socket.pending().await?;
    ensure!(heard.is_empty(), "heard {heard:?}");
    // Nor by asking for what was missed, however far back.
    for after in [Some(0), Some(1), None] {
        let (mut socket, welcome) = stranger.person.socket(after).await?;
        let frames = format!("{welcome} {:?}", socket.pending().await?);
        ensure!(!frames.contains(SECRET), "after {after:?}: {frames}");
    }
    // Nor by watching somebody without the API's grant.
    let (mut socket, _) = stranger.person.socket(None).await?;
    for grant in [json!("buyer"), json!(stranger.person.token), json!(["buyer"]), json!(null)] {
        socket.send(&json!({"type": "watch", "grant": grant})).await?;
        let answer = socket.answer().await?;
        ensure!(answer["type"] == "error", "watch {grant}: {answer}");
    }
    Ok(())
}

/// The questions that a stranger may ask, and whose answers must not depend on the thread.
async fn same(person: &Person, calls: &[(String, String)]) -> Result<Vec<(String, Answer)>> {
    let filters = [
        "",
        "?customer_id=buyer",
        "?vendor_id=v1",
        "?subject_type=product",
        "?unread=true",
        "?status=open",
        "?operator_id=helper",
        "?limit=1",
        "?vendor_id=v1&customer_id=buyer",
        "?q=kumquat",
    ];
    let mut answers = Vec::new();
    let asked = calls.iter().filter(|(method, path)| rule(method, path) == Some(Rule::Same));
    for (_, path) in asked {
        let questions: Vec<String> = match path.as_str() {
            "/v1/threads" => filters.map(|filter| format!("{path}{filter}")).to_vec(),
            "/v1/search" => ["kumquat", "kum", "decoy", "free", "k"]
                .into_iter()
                .flat_map(|q| {
                    filters.map(|filter| format!("{path}?q={q}&{}", filter.trim_start_matches('?')))
                })
                .map(|question| question.trim_end_matches('&').to_owned())
                .collect(),
            "/v1/events" => vec![format!("{path}?after=0&limit=100")],
            "/v1/presence" => vec![format!("{path}?user_ids=buyer")],
            _ => vec![path.clone()],
        };
        for question in questions {
            let answer = match question.as_str() {
                "/v1/buttons" => person.post(&question, buttons()).await?,
                _ => person.get(&question).await?,
            };
            answers.push((question, answer));
        }
    }
    Ok(answers)
}

async fn counts_nothing(stranger: &Stranger, calls: &[(String, String)]) -> Result<()> {
    let after = same(&stranger.person, calls).await?;
    for ((question, before), (_, after)) in stranger.before.iter().zip(&after) {
        let (mut earlier, mut later) = (plain(before, None), plain(after, None));
        if question.starts_with("/v1/events") {
            // The cursor is the number of the last event of all: it tells that the shop lives, no more.
            earlier.1["next_cursor"] = Value::Null;
            later.1["next_cursor"] = Value::Null;
        }
        ensure!(earlier == later, "{question}: {earlier:?} before, {later:?} after");
        // What was asked about stands in the answer; what was found does not.
        let text = if question == "/v1/buttons" { String::new() } else { after.text.clone() };
        ensure!(!text.contains(SECRET), "{after}");
    }
    Ok(())
}

/// The button for the thread's own subject, asked for in every way.
fn buttons() -> Value {
    let subject = json!({"type": "product", "id": SECRET});
    let plain = json!({"subject": subject, "vendor_id": "v1"});
    let named = json!({"subject": subject, "vendor_id": "v1", "customer_id": "buyer"});
    let vendor = json!({"subject": {"type": "vendor", "id": "v1"}, "customer_id": "buyer"});
    json!({"subjects": [plain, named, vendor]})
}

/// An answer without what differs from call to call; `id` is taken out of its texts.
fn plain(answer: &Answer, id: Option<i64>) -> (u16, Value, Vec<String>) {
    let mut body = answer.body.clone();
    if let Some(body) = body.as_object_mut() {
        body.remove("request_id");
        // Signed with the time, so it differs each time; the users that it names stand beside it.
        body.remove("grant");
    }
    let text = without_number(&body.to_string(), id);
    let mut headers: Vec<String> = answer.headers.keys().map(ToString::to_string).collect();
    // Says whether the connection is kept, and nothing of the answer.
    headers.retain(|name| name != "connection");
    headers.sort();
    (answer.status, serde_json::from_str(&text).unwrap_or(Value::String(text)), headers)
}

/// Puts `ID` in the place of one number, wherever it stands alone.
fn without_number(text: &str, number: Option<i64>) -> String {
    let Some(number) = number.map(|number| number.to_string()) else { return text.to_owned() };
    let mut parts: Vec<String> = vec![String::new()];
    for letter in text.chars() {
        let part = parts.last().and_then(|part| part.chars().last());
        if part.is_some_and(|last| last.is_ascii_digit() != letter.is_ascii_digit()) {
            parts.push(String::new());
        }
        if let Some(part) = parts.last_mut() {
            part.push(letter);
        }
    }
    let place = |part: String| if part == number { "ID".to_owned() } else { part };
    parts.into_iter().map(place).collect()
}

async fn walk(
    cast: &Cast,
    person: &Person,
    secret: &Secret,
    rule: Rule,
    method: &str,
    path: &str,
) -> Result<()> {
    let verb: Method = method.to_uppercase().parse()?;
    match rule {
        Rule::Thread | Rule::Message => {
            let thing = if rule == Rule::Thread { secret.thread } else { secret.message };
            for (query, body) in questions(secret, method, path) {
                let ask = async |thing: i64| -> Result<Answer> {
                    let path = path.replace("{id}", &thing.to_string());
                    let request = person.request(verb.clone(), &format!("{path}{query}"));
                    let request = if body.is_null() { request } else { request.json(&body) };
                    person.send(request).await
                };
                let (missing, theirs) = (ask(MISSING).await?, ask(thing).await?);
                ensure!((400..500).contains(&theirs.status), "{query} {body}: {theirs}");
                let (this, that) = (plain(&theirs, Some(thing)), plain(&missing, Some(MISSING)));
                ensure!(this == that, "{query} {body}: {this:?} differs from {that:?}");
                let expected = if person.id == "clerk" { 403 } else { 404 };
                ensure!(
                    theirs.status == expected || theirs.status == 422,
                    "{query} {body}: {theirs}"
                );
            }
        }
        Rule::Backend => {
            let id = match path {
                path if path.starts_with("/v1/messages/") => secret.message.to_string(),
                _ => secret.customer.to_owned(),
            };
            let path = path
                .replace("{id}", &id)
                .replace("{audience}/{kind}/{language}", "customer/new_message/en");
            let body = match path.as_str() {
                "/v1/webhooks" => {
                    json!({"url": "https://shop.example/hook", "events": ["message.created"]})
                }
                path if path.ends_with("/replay-failed") => {
                    json!({"since": "2026-03-01T09:30:00.000Z"})
                }
                path if path.starts_with("/v1/webhooks/") => json!({}),
                path if path.ends_with("/mail-preferences") => json!({"mails": "none"}),
                path if path.ends_with("/preview") => json!({}),
                path if path.starts_with("/v1/mail/templates/") => {
                    json!({"subject": "Mine", "text": "Mine", "html": "Mine"})
                }
                "/v1/unread/batch" => json!({"user_ids": [secret.customer]}),
                path if path.ends_with("/tokens") => json!({}),
                "/v1/forbidden-words" => json!({"phrase": SECRET}),
                "/v1/forbidden-words/check" => json!({"text": SECRET}),
                "/v1/settings" => json!({"keep_originals": true}),
                path if path.starts_with("/v1/forbidden-words/") => json!({"action": "flag"}),
                path if path.starts_with("/v1/vendors") => crate::cast::vendor("Mine"),
                _ => json!({"role": "customer", "name": "Mine"}),
            };
            let request = person.request(verb, &path);
            let request = match path.as_str() {
                "/v1/forbidden-words/import" => {
                    request.header("Content-Type", "text/csv").body(SECRET)
                }
                _ => request.json(&body),
            };
            let answer = person.send(request).await?;
            ensure!(answer.status == 403, "{answer}");
        }
        Rule::Own => starts_its_own(cast, person, secret).await?,
        Rule::Same => {}
        Rule::Public => {
            let answer = person.get(path).await?;
            ensure!(!answer.text.contains(SECRET), "{answer}");
        }
    }
    Ok(())
}

/// What can be asked about a thread, in every way that could answer differently.
fn questions(secret: &Secret, method: &str, path: &str) -> Vec<(String, Value)> {
    let message = secret.message;
    let bare = |body: Value| (String::new(), body);
    match (method, path) {
        ("get", "/v1/threads/{id}/messages") => {
            let queries = ["", "?after=0", "?limit=1"].map(str::to_owned).into_iter();
            let named = ["before", "after", "around"].map(|name| format!("?{name}={message}"));
            queries.chain(named).map(|query| (query, Value::Null)).collect()
        }
        ("post", "/v1/threads/{id}/messages") => vec![
            bare(json!({"text": "hello?"})),
            bare(json!({"text": "hello?", "reply_to": message})),
            bare(json!({"text": "hello?", "client_id": "the-sellers-own"})),
            bare(json!({"text": ""})),
            bare(json!({"text": "hello?", "colour": "red"})),
        ],
        ("post", "/v1/threads/{id}/read") => {
            vec![bare(json!({"up_to": message})), bare(json!({"up_to": 0})), bare(json!({}))]
        }
        ("post", "/v1/threads/{id}/unread") => {
            vec![bare(json!({"from": message})), bare(json!({})), bare(Value::Null)]
        }
        ("patch", "/v1/threads/{id}") => {
            vec![bare(json!({"status": "closed"})), bare(json!({})), bare(json!({"status": 1}))]
        }
        ("patch", "/v1/messages/{id}") => {
            vec![bare(json!({"text": "mine"})), bare(json!({"text": ""})), bare(json!({}))]
        }
        ("post", _) => vec![bare(json!({}))],
        _ => vec![bare(Value::Null)],
    }
}

/// Opening "the same" thread opens another or none, and says nothing of the one that is there.
async fn starts_its_own(cast: &Cast, person: &Person, secret: &Secret) -> Result<()> {
    let subject = json!({"type": "product", "id": SECRET, "title": "mine"});
    let other = json!({"type": "product", "id": "never-seen", "title": "mine"});
    let open = async |subject: &Value, customer: Option<&str>| -> Result<Answer> {
        let mut body = json!({"subject": subject, "vendor_id": "v1"});
        if let Some(customer) = customer {
            body["customer_id"] = json!(customer);
        }
        let signature = [
            "product",
            subject["id"].as_str().unwrap_or(""),
            "mine",
            "",
            "",
            customer.unwrap_or(&person.id),
            "v1",
        ];
        body["subject_signature"] = json!(cast.stack.subject_signature(signature)?);
        person.post("/v1/threads", body).await
    };
    for customer in [None, Some(secret.customer)] {
        let (theirs, fresh) = (open(&subject, customer).await?, open(&other, customer).await?);
        ensure!(theirs.body["id"] != secret.thread, "was given the thread: {theirs}");
        ensure!(theirs.status == fresh.status, "{theirs} differs from {fresh}");
        ensure!(theirs.body["last_message"].is_null(), "{theirs}");
        // Whoever has an account may buy; but in nobody else's name.
        if customer.is_some() {
            ensure!((400..500).contains(&theirs.status), "{theirs}");
        }
    }
    Ok(())
}
