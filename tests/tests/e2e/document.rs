//! What the OpenAPI document says, held against what is answered.

use anyhow::{Context, Result, ensure};
use chaffer_tests::{Answer, Api, Person, Scene};
use reqwest::Method;
use serde_json::{Value, json};

use crate::cast::{Cast, id_of, product};

stories!(b5_answers_are_what_the_document_says, b5_the_examples_of_bodies_are_understood);

/// The document as it is served.
struct Document(Value);

impl Document {
    async fn of(cast: &Cast) -> Result<Self> {
        Ok(Self(cast.stack.anonymous()?.get("/v1/openapi.json").await?.expect(200)?))
    }

    /// The operation behind a call, e.g. `get /v1/threads/{id}`.
    fn operation(&self, call: &str) -> Result<&Value> {
        let (method, path) = call.split_once(' ').context("no path")?;
        let operation = &self.0["paths"][path][method];
        ensure!(operation.is_object(), "the document has no {call}");
        Ok(operation)
    }

    fn validate(&self, schema: &Value, value: &Value) -> Result<()> {
        // The references lead into the components. What no schema mentions must not be there, either.
        let mut root = json!({"allOf": [schema], "components": self.0["components"]});
        for schema in root["components"]["schemas"].as_object_mut().into_iter().flatten() {
            let open = schema.1.get("properties").is_some()
                && schema.1.get("additionalProperties").is_none();
            if open {
                schema.1["additionalProperties"] = json!(false);
            }
        }
        let validator = jsonschema::draft202012::options()
            .should_validate_formats(true)
            .build(&root)
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        let wrong: Vec<String> = validator
            .iter_errors(value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        ensure!(wrong.is_empty(), "{value} is not as the document says: {wrong:?}");
        Ok(())
    }

    /// Checks status, content type, headers and body of an answer; returns the body.
    fn check(&self, call: &str, status: u16, answer: Answer) -> Result<Value> {
        ensure!(answer.status == status, "{call}: expected {status}: {answer}");
        let described = &self.operation(call)?["responses"][status.to_string()];
        ensure!(described.is_object(), "{call}: the document has no {status}");
        for (name, header) in described["headers"].as_object().into_iter().flatten() {
            let value = answer.header(name).with_context(|| format!("{call}: no {name}"))?;
            let value = value.parse::<i64>().map_or_else(|_| json!(value), |it| json!(it));
            self.validate(&header["schema"], &value).with_context(|| format!("{call}: {name}"))?;
        }
        let Some(content) = described["content"].as_object() else {
            ensure!(answer.text.is_empty(), "{call}: a body that is not in the document: {answer}");
            return Ok(Value::Null);
        };
        let kind = answer.header("content-type").unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default();
        if matches!(kind, "text/csv" | "application/zip") {
            ensure!(content.contains_key(kind), "{call}: answers {kind}");
            return Ok(json!(answer.text));
        }
        let media = content.get(kind).with_context(|| format!("{call}: answers {kind}"))?;
        let body = answer.body;
        self.validate(&media["schema"], &body).with_context(|| format!("{call} {status}"))?;
        Ok(body)
    }

    /// Makes a call with a body that is as the document says, and checks the answer.
    async fn send(
        &self,
        api: &Api,
        call: &str,
        path: &str,
        body: Value,
        status: u16,
    ) -> Result<Value> {
        let schema = &self.operation(call)?["requestBody"]["content"]["application/json"]["schema"];
        self.validate(schema, &body).with_context(|| format!("the body of {call}"))?;
        let method = call.split(' ').next().unwrap_or_default().to_uppercase();
        let request = api.request(Method::from_bytes(method.as_bytes())?, path).json(&body);
        self.check(call, status, api.send(request).await?)
    }
}

async fn b5_answers_are_what_the_document_says(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let document = Document::of(&cast).await?;
    let (shop, buyer, seller) = (&cast.shop, &cast.buyer, &cast.seller);
    let since = buyer.now().await?;

    // Mirrored: with everything, and with as little as will do.
    let call = "put /v1/vendors/{id}";
    let vendor = json!({"name": "Three", "avatar_url": "https://shop.example/3.png"});
    document.send(shop, call, "/v1/vendors/v3", vendor, 201).await?;
    document.send(shop, call, "/v1/vendors/v3", json!({"name": "Three"}), 200).await?;
    document.check("get /v1/vendors/{id}", 200, shop.get("/v1/vendors/v3").await?)?;
    let call = "put /v1/users/{id}";
    let user = json!({
        "role": "vendor_admin", "name": "Ann", "email": "ann@example.com", "phone": "+49 1",
        "avatar_url": "https://shop.example/a.png", "locale": "en", "vendor_id": "v3",
        "profiles": ["p"]
    });
    document.send(shop, call, "/v1/users/ann", user, 201).await?;
    let user = json!({"role": "customer", "name": "Ann"});
    document.send(shop, call, "/v1/users/ann", user, 200).await?;
    let changed = json!({"name": "Anne", "email": null});
    document.send(shop, "patch /v1/users/{id}", "/v1/users/ann", changed, 200).await?;
    document.check("get /v1/users/{id}", 200, shop.get("/v1/users/ann").await?)?;
    let call = "post /v1/users/{id}/tokens";
    document.send(shop, call, "/v1/users/ann/tokens", json!({"ttl_seconds": 60}), 201).await?;
    let empty = shop.send(shop.request(Method::POST, "/v1/users/ann/tokens")).await?;
    document.check(call, 201, empty)?;
    document.check("get /v1/users/{id}/export", 200, shop.get("/v1/users/ann/export").await?)?;
    let call = "delete /v1/users/{id}";
    document.check(call, 204, shop.delete("/v1/users/ann").await?)?;
    document.check("get /v1/users/{id}", 200, shop.get("/v1/users/ann").await?)?;
    document.check("get /v1/users/{id}/export", 409, shop.get("/v1/users/ann/export").await?)?;

    // A conversation.
    let (call, as_buyer) = ("post /v1/threads", shop.acting("buyer"));
    let start = json!({"subject": product("p1"), "vendor_id": "v1", "message": {"text": "Hello"}});
    let thread = document.send(&as_buyer, call, "/v1/threads", start.clone(), 201).await?;
    document.send(&as_buyer, call, "/v1/threads", start, 200).await?;
    let id = id_of(&thread)?;
    let path = format!("/v1/threads/{id}");
    let support = json!({"subject": {"type": "support", "id": "s"}});
    document.send(&as_buyer, call, "/v1/threads", support, 201).await?;
    let (call, messages) = ("post /v1/threads/{id}/messages", format!("{path}/messages"));
    let draft = json!({"text": "Is it blue?", "client_id": "c-1"});
    let said = document.send(buyer, call, &messages, draft.clone(), 201).await?;
    document.send(buyer, call, &messages, draft, 200).await?;
    let reply = json!({"text": "Yes", "reply_to": id_of(&said)?});
    let reply = document.send(seller, call, &messages, reply, 201).await?;
    document.check("post /v1/threads/{id}/typing", 204, {
        buyer.send(buyer.request(Method::POST, &format!("{path}/typing"))).await?
    })?;
    for person in [buyer, seller] {
        document.check("get /v1/unread", 200, person.get("/v1/unread").await?)?;
    }
    let call = "post /v1/threads/{id}/read";
    let read = json!({"up_to": id_of(&reply)?});
    document.send(seller, call, &format!("{path}/read"), read, 200).await?;
    let ids = json!({"user_ids": ["buyer", "seller", "nobody"]});
    document.send(shop, "post /v1/unread/batch", "/v1/unread/batch", ids, 200).await?;

    let (call, read) = ("post /v1/threads/{id}/unread", format!("{path}/unread"));
    document.send(seller, call, &read, json!({"from": id_of(&said)?}), 200).await?;
    document.send(seller, call, &read, json!({}), 200).await?;
    let call = "patch /v1/threads/{id}";
    document.send(seller, call, &path, json!({"status": "closed"}), 200).await?;
    let typing = buyer.request(Method::POST, &format!("{path}/typing"));
    document.check("post /v1/threads/{id}/typing", 409, buyer.send(typing).await?)?;
    document.send(buyer, call, &path, json!({"status": "open"}), 200).await?;

    // Changed, and taken back.
    let message = format!("/v1/messages/{}", id_of(&reply)?);
    let call = "patch /v1/messages/{id}";
    document.send(seller, call, &message, json!({"text": "No"}), 200).await?;
    document.check(call, 403, buyer.patch(&message, json!({"text": "x"})).await?)?;
    document.check(call, 404, cast.outsider.patch(&message, json!({"text": "x"})).await?)?;
    let call = "delete /v1/messages/{id}";
    document.check(call, 403, buyer.delete(&message).await?)?;
    document.check(call, 204, seller.delete(&message).await?)?;
    let call = "patch /v1/messages/{id}";
    document.check(call, 410, seller.patch(&message, json!({"text": "x"})).await?)?;
    let history = cast.boss.get(&format!("{message}/history")).await?;
    document.check("get /v1/messages/{id}/history", 200, history)?;

    // As both sides, page by page, read it.
    for person in [buyer, seller] {
        for query in ["", "?limit=1", "?status=open&subject_type=product&unread=false"] {
            let list = person.get(&format!("/v1/threads{query}")).await?;
            document.check("get /v1/threads", 200, list)?;
        }
        document.check("get /v1/threads/{id}", 200, person.get(&path).await?)?;
        for query in ["", "?limit=1", "?after=0&limit=2"] {
            let page = person.get(&format!("{messages}{query}")).await?;
            document.check("get /v1/threads/{id}/messages", 200, page)?;
        }
        let feed = person.get(&format!("/v1/events?after={since}&limit=100")).await?;
        let feed = document.check("get /v1/events", 200, feed)?;
        let events = feed["events"].as_array().context("no events")?;
        ensure!(events.len() > 5, "the feed of {} is short: {feed}", person.id);
        let message = json!({"$ref": "#/components/schemas/MessageView"});
        for event in events.iter().filter(|it| it["event"] == "message.created") {
            document.validate(&message, &event["data"])?;
        }
        // The yardstick itself: what is missing, of another type or not in the document is seen.
        for (field, value) in [("edited_at", None), ("id", Some(json!("1"))), ("x", Some(json!(1)))]
        {
            let mut wrong = said.clone();
            match value {
                Some(value) => wrong[field] = value,
                None => drop(wrong.as_object_mut().and_then(|it| it.remove(field))),
            }
            ensure!(document.validate(&message, &wrong).is_err(), "{field} is not checked");
        }
        let mut wrong = said.clone();
        wrong["author"]["role"] = json!("Customer");
        ensure!(document.validate(&message, &wrong).is_err(), "roles are not checked");
        let created = json!({"$ref": "#/components/schemas/ThreadView"});
        for event in events.iter().filter(|it| it["event"] == "thread.created") {
            document.validate(&created, &event["data"])?;
        }
    }
    for query in ["?q=blue", "?q=hello&limit=1&status=open", "?q=%22is+it%22&subject_type=product"]
    {
        for person in [buyer, seller] {
            let found = person.get(&format!("/v1/search{query}")).await?;
            let found = document.check("get /v1/search", 200, found)?;
            assert_eq!(found["results"].as_array().map(Vec::len), Some(1), "{query}: {found}");
        }
    }
    document.check("get /v1/search", 422, buyer.get("/v1/search?q=").await?)?;
    document.check("get /v1/threads", 200, buyer.get("/v1/threads?q=blue").await?)?;
    let presence = buyer.get("/v1/presence?user_ids=seller,rival").await?;
    document.check("get /v1/presence", 200, presence)?;

    // Mails: what they say, who wants them, what became of them.
    let template = "/v1/mail/templates/customer/new_message/en";
    let path = "/v1/mail/templates/{audience}/{kind}/{language}";
    let preferences = "/v1/users/buyer/mail-preferences";
    let call = "put /v1/users/{id}/mail-preferences";
    document.send(buyer, call, preferences, json!({"mails": "digest"}), 200).await?;
    let call = "get /v1/users/{id}/mail-preferences";
    document.check(call, 200, shop.get(preferences).await?)?;
    document.check("get /v1/mail/templates", 200, shop.get("/v1/mail/templates").await?)?;
    document.check(&format!("get {path}"), 200, shop.get(template).await?)?;
    let mine = json!({"subject": "{{ thread.id }}", "text": "x", "html": "<p>x</p>"});
    document.send(shop, &format!("put {path}"), template, mine.clone(), 200).await?;
    let call = format!("post {path}/preview");
    document.send(shop, &call, &format!("{template}/preview"), json!({}), 200).await?;
    let reset = shop.send(shop.request(Method::DELETE, template)).await?;
    document.check(&format!("delete {path}"), 200, reset)?;
    let german = template.replace("/en", "/de");
    document.send(shop, &format!("put {path}"), &german, mine, 200).await?;
    let reset = shop.send(shop.request(Method::DELETE, &german)).await?;
    document.check(&format!("delete {path}"), 204, reset)?;
    document.check("get /v1/mails", 200, shop.get("/v1/mails?state=failed&limit=5").await?)?;
    let retry = shop.send(shop.request(Method::POST, "/v1/mails/1/retry")).await?;
    document.check("post /v1/mails/{id}/retry", 404, retry)?;
    let inbound = shop.request(Method::POST, "/v1/mail/inbound").body("From: a@b\r\n\r\nx");
    document.check("post /v1/mail/inbound", 409, shop.send(inbound).await?)?;
    // What those who manage messages do.
    let path = format!("/v1/threads/{id}");
    forbidden_words(&cast, &document, &path).await?;

    // Refused.
    let nobody = cast.stack.anonymous()?;
    document.check("get /v1/unread", 401, nobody.get("/v1/unread").await?)?;
    document.check("get /v1/threads/{id}", 404, cast.outsider.get(&path).await?)?;
    document.check("get /v1/threads/{id}", 403, cast.clerk.get(&path).await?)?;
    document.check("get /v1/threads", 422, buyer.get("/v1/threads?colour=red").await?)?;
    let call = "post /v1/threads/{id}/messages";
    let answer = buyer.post(&messages, json!({"text": "x", "colour": "red"})).await?;
    document.check(call, 422, answer)?;
    let answer = buyer.post(&messages, json!({"text": "other", "client_id": "c-1"})).await?;
    document.check(call, 409, answer)?;
    let plain = buyer.request(Method::POST, &messages).body("x");
    document.check(call, 415, buyer.send(plain).await?)?;
    let broken = buyer.request(Method::POST, &messages).header("Content-Type", "application/json");
    document.check(call, 400, buyer.send(broken.body("{")).await?)?;
    let long = buyer.post(&messages, json!({"text": "x".repeat(300_000)})).await?;
    document.check(call, 413, long)?;
    document.check("get /v1/events", 410, buyer.get("/v1/events?after=99999999").await?)?;

    // And what needs no token.
    for path in ["/healthz", "/readyz", "/v1/openapi.json"] {
        document.check(&format!("get {path}"), 200, nobody.get(path).await?)?;
    }
    Ok(())
}

async fn forbidden_words(cast: &Cast, document: &Document, thread: &str) -> Result<()> {
    let (boss, list) = (&cast.boss, "/v1/forbidden-words");
    let keep = json!({"keep_originals": true});
    document.send(boss, "patch /v1/settings", "/v1/settings", keep, 200).await?;
    for path in ["", "/definitions", "/machine", "/history?name=keep_originals&limit=1"] {
        let call = format!("get /v1/settings{}", path.split('?').next().unwrap_or_default());
        document.check(&call, 200, boss.get(&format!("/v1/settings{path}")).await?)?;
    }
    let retention = boss.get("/v1/retention?retention_thread_days=30").await?;
    document.check("get /v1/retention", 200, retention)?;
    let nobody = cast.stack.anonymous()?;
    let call = "get /v1/settings/public";
    let public = nobody.get("/v1/settings/public").await?;
    let tag = public.header("etag").context("no ETag")?.to_owned();
    document.check(call, 200, public)?;
    let known = nobody.with("If-None-Match", &tag).get("/v1/settings/public").await?;
    document.check(call, 304, known)?;
    // Buttons and the operators' queue.
    let page = json!({"subjects": [
        {"subject": product("p1"), "vendor_id": "v1"}, {"subject": {"type": "user", "id": "ann"}}
    ], "language": "ru"});
    for api in [cast.shop.acting("buyer"), nobody.clone()] {
        document.send(&api, "post /v1/buttons", "/v1/buttons", page.clone(), 200).await?;
    }
    let (call, path) = ("post /v1/widget/sessions", "/v1/widget/sessions");
    let said = json!({"name": "V", "page_url": "https://shop.example/p/1"});
    let session = document.send(&nobody, call, path, said, 201).await?;
    let visitor = Person::visiting(&nobody, &session)?;
    document.send(&visitor, call, path, json!({}), 200).await?;
    document.check(call, 403, cast.buyer.post(path, json!({})).await?)?;
    document.check(call, 422, nobody.post(path, json!({"email": "x"})).await?)?;
    document.check("get /v1/threads", 200, visitor.get("/v1/threads").await?)?;
    let queue = cast.helper.get("/v1/support/queue?limit=1").await?;
    let queue = document.check("get /v1/support/queue", 200, queue)?;
    let asked = id_of(&queue["waiting"][0]["thread"])?;
    for (act, person, status) in [
        ("take", &cast.helper, 200),
        ("take", boss, 409),
        ("release", boss, 200),
        ("release", boss, 409),
    ] {
        let path = format!("/v1/threads/{asked}/{act}");
        let answer = person.send(person.request(Method::POST, &path)).await?;
        document.check(&format!("post /v1/threads/{{id}}/{act}"), status, answer)?;
    }
    let wrong = boss.patch("/v1/settings", json!({"message_length": 0})).await?;
    document.check("patch /v1/settings", 422, wrong)?;
    let call = "post /v1/forbidden-words";
    let link = json!({"kind": "link", "exceptions": ["shop.example"], "action": "refuse"});
    document.send(boss, call, list, link, 201).await?;
    let word = document.send(boss, call, list, json!({"phrase": "kumquat"}), 201).await?;
    document.check(call, 409, boss.post(list, json!({"phrase": "Kumquat"})).await?)?;
    document.check(call, 422, boss.post(list, json!({"phrase": ""})).await?)?;
    let entry = format!("{list}/{}", id_of(&word)?);
    let call = "patch /v1/forbidden-words/{id}";
    document.send(boss, call, &entry, json!({"action": "mask"}), 200).await?;
    document.check("get /v1/forbidden-words/{id}", 200, boss.get(&entry).await?)?;
    for query in ["", "?limit=1", "?kind=link&action=refuse&q=x"] {
        let page = boss.get(&format!("{list}{query}")).await?;
        document.check("get /v1/forbidden-words", 200, page)?;
    }
    let sample = json!({"text": "k.u.m.q.u.a.t see evil.com"});
    let call = "post /v1/forbidden-words/check";
    let checked = document.send(boss, call, &format!("{list}/check"), sample, 200).await?;
    assert_eq!(checked["findings"].as_array().map(Vec::len), Some(2));
    let said = cast.buyer.post(&format!("{thread}/messages"), json!({"text": "kumquat"})).await?;
    let said = document.check("post /v1/threads/{id}/messages", 201, said)?;
    let refused =
        cast.buyer.post(&format!("{thread}/messages"), json!({"text": "evil.com"})).await?;
    document.check("post /v1/threads/{id}/messages", 422, refused)?;
    let original = boss.get(&format!("/v1/messages/{}/original", id_of(&said)?)).await?;
    document.check("get /v1/messages/{id}/original", 200, original)?;
    document.check("get /v1/audit-log", 200, cast.shop.get("/v1/audit-log?limit=2").await?)?;
    let table = boss.get(&format!("{list}/export")).await?;
    let table = document.check("get /v1/forbidden-words/export", 200, table)?;
    let request = boss.request(Method::POST, &format!("{list}/import"));
    let request = request.header("Content-Type", "text/csv");
    let table = table.as_str().unwrap_or_default().to_owned() + "phrase,,,\n";
    let report = boss.send(request.body(table)).await?;
    document.check("post /v1/forbidden-words/import", 200, report)?;
    let deleted = boss.send(boss.request(Method::DELETE, &entry)).await?;
    document.check("delete /v1/forbidden-words/{id}", 204, deleted)?;
    Ok(())
}

async fn b5_the_examples_of_bodies_are_understood(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let document = Document::of(&cast).await?;
    let shop = &cast.shop;
    let example = |name: &str| {
        let example = document.0["components"]["schemas"][name]["example"].clone();
        ensure!(example.is_object(), "{name} has no example");
        Ok(example)
    };
    let vendor = example("VendorInput")?;
    document.send(shop, "put /v1/vendors/{id}", "/v1/vendors/3", vendor, 201).await?;
    let user = example("UserInput")?;
    document.send(shop, "put /v1/users/{id}", "/v1/users/7", user, 201).await?;
    let patch = example("UserPatch")?;
    document.send(shop, "patch /v1/users/{id}", "/v1/users/7", patch, 200).await?;
    let token = example("TokenRequest")?;
    document.send(shop, "post /v1/users/{id}/tokens", "/v1/users/7/tokens", token, 201).await?;
    let anna = shop.acting("7");
    let start = example("ThreadStart")?;
    let thread = document.send(&anna, "post /v1/threads", "/v1/threads", start, 201).await?;
    let path = format!("/v1/threads/{}", id_of(&thread)?);
    let (call, messages) = ("post /v1/threads/{id}/messages", format!("{path}/messages"));
    let said = document.send(&anna, call, &messages, example("MessageDraft")?, 201).await?;
    let (call, message) = ("patch /v1/messages/{id}", format!("/v1/messages/{}", said["id"]));
    document.send(&anna, call, &message, example("MessageChange")?, 200).await?;
    let mut from = example("UnreadFrom")?;
    from["from"] = said["id"].clone();
    let call = "post /v1/threads/{id}/unread";
    document.send(&anna, call, &format!("{path}/unread"), from, 200).await?;
    let mut read = example("ReadUpTo")?;
    read["up_to"] = said["id"].clone();
    let call = "post /v1/threads/{id}/read";
    document.send(&anna, call, &format!("{path}/read"), read, 200).await?;
    let patch = example("ThreadPatch")?;
    document.send(&anna, "patch /v1/threads/{id}", &path, patch, 200).await?;
    let preferences = example("MailPreferences")?;
    let call = "put /v1/users/{id}/mail-preferences";
    document.send(shop, call, "/v1/users/7/mail-preferences", preferences, 200).await?;
    let template = "/v1/mail/templates/customer/new_message/en";
    let call = "put /v1/mail/templates/{audience}/{kind}/{language}";
    document.send(shop, call, template, example("MailTemplateInput")?, 200).await?;
    let call = "post /v1/mail/templates/{audience}/{kind}/{language}/preview";
    let draft = example("MailTemplateDraft")?;
    document.send(shop, call, &format!("{template}/preview"), draft, 200).await?;
    let call = "post /v1/forbidden-words";
    let word = example("ForbiddenWordInput")?;
    let word = document.send(shop, call, "/v1/forbidden-words", word, 201).await?;
    let path = format!("/v1/forbidden-words/{}", id_of(&word)?);
    let patch = example("ForbiddenWordPatch")?;
    document.send(shop, "patch /v1/forbidden-words/{id}", &path, patch, 200).await?;
    let (call, sample) = ("post /v1/forbidden-words/check", example("SampleText")?);
    document.send(shop, call, "/v1/forbidden-words/check", sample, 200).await?;
    let settings = example("SettingsPatch")?;
    document.send(shop, "patch /v1/settings", "/v1/settings", settings, 200).await?;
    let said = example("VisitorInput")?;
    let (call, path) = ("post /v1/widget/sessions", "/v1/widget/sessions");
    document.send(&cast.stack.anonymous()?, call, path, said, 201).await?;
    let page = example("ButtonsQuery")?;
    document.send(&anna, "post /v1/buttons", "/v1/buttons", page, 200).await?;
    let batch = example("UnreadBatch")?;
    document.send(shop, "post /v1/unread/batch", "/v1/unread/batch", batch, 200).await?;
    Ok(())
}
