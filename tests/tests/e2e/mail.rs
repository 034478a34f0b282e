//! E-mails (R4, R6, R12, B11): a real SMTP server receives them, and answers come back.

use anyhow::{Context, Result, ensure};
use chaffer_tests::{Answer, Api, MailServer, PATIENCE, Process, Scene, Setup, eventually, until};
use reqwest::Method;
use serde_json::{Value, json};

use crate::cast::{Cast, id_of, product, texts};

stories!(
    r4_r6_people_get_mails_of_new_threads_and_messages,
    r6_every_administrator_of_the_vendor_gets_the_mail_and_nobody_else,
    r4_customers_get_the_operators_answers_and_operators_no_mail,
    r4_visitors_get_answers_by_mail_if_they_gave_an_address,
    r4_mails_to_visitors_hold_nothing_that_the_visitor_said,
    b11_messages_are_gathered_and_skipped_when_read,
    b11_who_looks_at_the_thread_gets_no_mail,
    b11_each_person_chooses_and_one_click_unsubscribes,
    b11_the_page_behind_the_link_speaks_the_persons_language,
    b11_a_visitors_address_is_left_alone_whoever_comes_with_it,
    r12_templates_are_edited_checked_previewed_and_reset,
    r12_a_subject_is_one_line_whatever_people_write,
    b1_no_mail_is_lost_when_daemons_and_servers_die,
    b11_a_mail_that_is_given_up_is_seen_and_tried_again,
    b11_an_answer_by_mail_goes_into_the_thread,
    b11_answers_come_through_the_mail_servers_pipe,
    b11_a_flood_of_answers_waits_at_the_mail_server,
);

const BUYER: &str = "bea@example.com";
const SELLER: &str = "seller@example.com";

/// Changes a setting of the shop.
async fn set(cast: &Cast, name: &str, value: i64) -> Result<()> {
    cast.shop.patch("/v1/settings", json!({name: value})).await?.expect(200)?;
    Ok(())
}

/// A shop with a mail server; buyer and seller have addresses.
struct Mailing {
    cast: Cast,
    server: MailServer,
}

impl Mailing {
    async fn new(scene: &Scene) -> Result<Self> {
        Self::with(scene, |setup| setup).await
    }

    async fn with(scene: &Scene, set: impl FnOnce(Setup) -> Setup) -> Result<Self> {
        let server = MailServer::start(scene).await?;
        let setup = set(server.configure(Setup::new(scene)?));
        let cast = Cast::with(scene, setup).await?;
        // At once, unless a story says otherwise.
        let at_once = json!({"mail_gather_seconds": 0});
        cast.shop.patch("/v1/settings", at_once).await?.expect(200)?;
        for (id, email) in [("buyer", BUYER), ("seller", SELLER)] {
            let path = format!("/v1/users/{id}");
            cast.shop.patch(&path, json!({"email": email})).await?.expect(200)?;
        }
        Ok(Self { cast, server })
    }

    /// A thread of the buyer's with a first message.
    async fn thread(&self, product_id: &str, text: &str) -> Result<i64> {
        let body = json!({
            "subject": product(product_id), "vendor_id": "v1", "message": {"text": text}
        });
        id_of(&self.cast.shop.acting("buyer").post("/v1/threads", body).await?.expect(201)?)
    }

    /// What became of the mails, the newest first.
    async fn queue(&self, query: &str) -> Result<Vec<Value>> {
        let page = self.cast.shop.get(&format!("/v1/mails{query}")).await?.expect(200)?;
        Ok(page["mails"].as_array().context("no mails")?.clone())
    }

    /// Waits until the newest mail of a query is in a state.
    async fn state(&self, query: &str, state: &str) -> Result<Value> {
        eventually(&format!("a mail is {state}"), PATIENCE, async || {
            let mails = self.queue(query).await?;
            let last = mails.first().context("no mail")?;
            ensure!(last["state"] == state, "{last}");
            Ok(Some(last.clone()))
        })
        .await
    }

    /// Waits until all that was written so far has been looked at for mails: those of somebody else, who writes last,
    /// come after the others.
    async fn settle(&self, marker: &str) -> Result<()> {
        let email = json!({"email": format!("{marker}@example.com")});
        self.cast.shop.patch("/v1/users/rival", email).await?.expect(200)?;
        let body = json!({"subject": {"type": "vendor", "id": "v2"}, "message": {"text": marker}});
        let started = self.cast.shop.acting("outsider").post("/v1/threads", body).await?;
        let thread = id_of(&started.body)?;
        let query = format!("?user_id=rival&thread_id={thread}");
        until("the marker is queued", async || Ok(!self.queue(&query).await?.is_empty())).await
    }

    /// Has what is waiting be due now.
    async fn hurry(&self) -> Result<()> {
        let sql = "UPDATE mails SET due_at = created_at WHERE state = 'waiting'";
        self.cast.stack.database.query(sql).await.map(drop)
    }

    /// Waits until Prometheus would read these lines.
    async fn counted(&self, lines: &[&str]) -> Result<()> {
        until("the mails are counted", async || {
            let page = self.cast.stack.anonymous()?.get("/metrics").await?;
            let has = |line: &&&str| page.text.lines().any(|it| it == **line);
            match lines.iter().find(|line| !has(line)) {
                Some(line) => anyhow::bail!("no `{line}` in {}", page.text),
                None => Ok(true),
            }
        })
        .await
    }

    async fn inbound(&self, query: &str, raw: &str) -> Result<Answer> {
        let shop = &self.cast.shop;
        let call = shop.request(Method::POST, &format!("/v1/mail/inbound{query}"));
        shop.send(call.header("Content-Type", "message/rfc822").body(raw.to_owned())).await
    }

    async fn history(&self, thread: i64) -> Result<Value> {
        let path = format!("/v1/threads/{thread}/messages");
        Ok(self.cast.buyer.get(&path).await?.expect(200)?["messages"].clone())
    }
}

fn header<'a>(mail: &'a Value, name: &str) -> &'a str {
    mail["headers"][name].as_str().unwrap_or_default()
}

/// The path of the unsubscribe link in a mail.
fn unsubscribe_path(mail: &Value) -> Result<&str> {
    let link = header(mail, "list-unsubscribe").trim_matches(['<', '>']);
    link.strip_prefix("https://shop.example/chat").context("another link")
}

/// What a mail program does when its person clicks, or a browser with the form of the page.
async fn click(cast: &Cast, path: &str, body: &'static str) -> Result<Answer> {
    let anybody = cast.stack.anonymous()?;
    let call = anybody.request(Method::POST, path).body(body);
    anybody.send(call.header("Content-Type", "application/x-www-form-urlencoded")).await
}

/// An answer as a mail program writes it.
fn answer(mail: &Value, from: &str, id: &str, text: &str) -> String {
    let quoted = mail["text"].as_str().unwrap_or_default().replace('\n', "\r\n> ");
    format!(
        "From: Somebody <{from}>\r\nTo: {}\r\nSubject: Re: {}\r\nMessage-ID: <{id}@example.com>\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
         {text}\r\n\r\nOn Mon, 2 Mar 2026 at 10:00, Kiln Shop <chat@shop.example> wrote:\r\n> {quoted}\r\n",
        header(mail, "reply-to"),
        "x"
    )
}

async fn r4_r6_people_get_mails_of_new_threads_and_messages(scene: &Scene) -> Result<()> {
    let mailing = Mailing::new(scene).await?;
    let (cast, server) = (&mailing.cast, &mailing.server);
    let colleague = json!({"role": "vendor_admin", "name": "Олег", "vendor_id": "v1",
        "email": "oleg@example.com", "locale": "ru-RU"});
    cast.shop.user("oleg", colleague).await?;
    let subject = json!({"type": "product", "id": "p1", "title": "Кружка «Анна» & <Co>",
        "url": "https://shop.example/p/1"});
    let body = json!({"subject": subject, "vendor_id": "v1",
        "message": {"text": "<b>Синяя</b>?\nOr & green?"}});
    let thread = cast.shop.acting("buyer").post("/v1/threads", body).await?.expect(201)?;
    let thread = id_of(&thread)?;

    let mail = server.wait_for(SELLER, 1).await?;
    assert_eq!(mail["tls"], true);
    assert_eq!(mail["user"], "chaffer");
    assert_eq!(mail["sender"], "chat@shop.example");
    assert_eq!(mail["content_type"], "multipart/alternative");
    assert_eq!(mail["defects"], json!([]));
    let subject = format!("New question from Bea Buyer: Кружка «Анна» & <Co> [#{thread}]");
    assert_eq!(header(&mail, "subject"), subject);
    ensure!(mail["raw"].as_str().is_some_and(str::is_ascii), "bytes beyond ASCII: {mail}");
    assert_eq!(header(&mail, "from"), "Kiln Shop <chat@shop.example>");
    assert_eq!(header(&mail, "to"), "An admin <seller@example.com>");
    assert_eq!(header(&mail, "auto-submitted"), "auto-generated");
    assert_eq!(header(&mail, "list-unsubscribe-post"), "List-Unsubscribe=One-Click");
    let reference = format!("<chaffer.thread.{thread}@shop.example>");
    assert_eq!(header(&mail, "references"), reference);
    ensure!(header(&mail, "reply-to").contains("<reply+"), "{mail}");
    let (text, html) =
        (mail["text"].as_str().context("text")?, mail["html"].as_str().context("html")?);
    ensure!(text.contains("<b>Синяя</b>?\nOr & green?"), "{text}");
    ensure!(text.contains(&format!("https://shop.example/vendor/messages/{thread}")), "{text}");
    ensure!(html.contains("&lt;b&gt;Синяя&lt;"), "{html}");
    ensure!(html.contains("<br>\nOr &amp; green?") && !html.contains("<b>Синяя"), "{html}");

    // In each person's language; and the author gets none.
    let russian = server.wait_for("oleg@example.com", 1).await?;
    ensure!(
        header(&russian, "subject").starts_with("Новый вопрос от Bea Buyer: Кружка"),
        "{russian}"
    );
    assert_eq!(header(&russian, "to"), "Олег <oleg@example.com>");
    ensure!(russian["html"].as_str().is_some_and(|it| it.contains("Прочитать и ответить")));
    assert!(server.mails_to(BUYER)?.is_empty());

    // The other way round, once until it is read again; the vendor's own people hear nothing of it.
    let said = cast.seller.say(thread, "Синяя").await?;
    let mail = server.wait_for(BUYER, 1).await?;
    ensure!(header(&mail, "subject").starts_with("New message from An admin: Кружка"), "{mail}");
    assert_eq!(header(&mail, "references"), reference);
    ensure!(
        mail["text"].as_str().is_some_and(|it| it.contains("An admin of Vendor One")),
        "{mail}"
    );
    cast.seller.say(thread, "And large").await?;
    mailing.settle("one").await?;
    assert_eq!(mailing.queue(&format!("?user_id=buyer&thread_id={thread}")).await?.len(), 1);
    let read = format!("/v1/threads/{thread}/read");
    cast.buyer.post(&read, json!({"up_to": id_of(&said)? + 1})).await?.expect(200)?;
    cast.seller.say(thread, "And heavy").await?;
    let mail = server.wait_for(BUYER, 2).await?;
    let text = mail["text"].as_str().unwrap_or_default();
    ensure!(text.contains("And heavy") && !text.contains("And large"), "{text}");
    assert_eq!(server.mails_to(SELLER)?.len(), 1);
    Ok(())
}

async fn r6_every_administrator_of_the_vendor_gets_the_mail_and_nobody_else(
    scene: &Scene,
) -> Result<()> {
    let mailing = Mailing::new(scene).await?;
    let (cast, server) = (&mailing.cast, &mailing.server);
    let oleg = |vendor: &str| json!({"role": "vendor_admin", "name": "Oleg", "vendor_id": vendor, "email": "oleg@example.com"});
    cast.shop.user("oleg", oleg("v1")).await?;
    for id in ["helper", "boss", "rival"] {
        let email = json!({"email": format!("{id}@example.com")});
        cast.shop.patch(&format!("/v1/users/{id}"), email).await?.expect(200)?;
    }
    let first = mailing.thread("p1", "Is it dishwasher-safe?").await?;
    for address in [SELLER, "oleg@example.com"] {
        let mail = server.wait_for(address, 1).await?;
        ensure!(header(&mail, "subject").ends_with(&format!("[#{first}]")), "{mail}");
    }
    // Whoever goes to another vendor hears of this one's threads no more.
    cast.shop.user("oleg", oleg("v2")).await?;
    let second = mailing.thread("p2", "And this one?").await?;
    server.wait_for(SELLER, 2).await?;
    mailing.settle("marker").await?;
    for (id, thread) in
        [("oleg", second), ("rival", first), ("rival", second), ("boss", first), ("helper", first)]
    {
        let mails = mailing.queue(&format!("?user_id={id}&thread_id={thread}")).await?;
        assert_eq!(mails, Vec::<Value>::new(), "{id}");
    }
    Ok(())
}

async fn r4_customers_get_the_operators_answers_and_operators_no_mail(scene: &Scene) -> Result<()> {
    let mailing = Mailing::new(scene).await?;
    let cast = &mailing.cast;
    for id in ["helper", "boss"] {
        let email = json!({"email": format!("{id}@example.com")});
        cast.shop.patch(&format!("/v1/users/{id}"), email).await?.expect(200)?;
    }
    let body = json!({"subject": {"type": "support", "id": "support"},
        "message": {"text": "Where is my parcel?"}});
    let thread = id_of(&cast.buyer.post("/v1/threads", body).await?.expect(201)?)?;
    cast.helper.post(&format!("/v1/threads/{thread}/take"), json!({})).await?.expect(200)?;
    cast.helper.say(thread, "It comes tomorrow.").await?;
    let mail = mailing.server.wait_for(BUYER, 1).await?;
    ensure!(mail["text"].as_str().is_some_and(|it| it.contains("It comes tomorrow.")), "{mail}");
    mailing.settle("marker").await?;
    for id in ["helper", "boss"] {
        assert_eq!(mailing.queue(&format!("?user_id={id}")).await?, Vec::<Value>::new(), "{id}");
    }
    Ok(())
}

async fn r4_visitors_get_answers_by_mail_if_they_gave_an_address(scene: &Scene) -> Result<()> {
    const VERA: &str = "vera@example.com";
    let mailing = Mailing::new(scene).await?;
    let (cast, server) = (&mailing.cast, &mailing.server);
    let nobody = cast.stack.anonymous()?;
    let page = "https://shop.example/p/1042";
    let said = json!({"name": "Вера", "email": VERA, "locale": "ru", "page_url": page});
    let (vera, shy) = (nobody.visitor(said).await?, nobody.visitor(json!({})).await?);
    let question = json!({"subject": {"type": "support", "id": "support"},
        "message": {"text": "Is it blue?"}});
    for visitor in [&shy, &vera] {
        let thread = visitor.post("/v1/threads", question.clone()).await?.expect(201)?;
        cast.helper.say(id_of(&thread)?, "It is green.").await?;
    }
    let mail = server.wait_for(VERA, 1).await?;
    let text = mail["text"].as_str().unwrap_or_default();
    // Where it was begun: the shop's own pages of messages take an account.
    ensure!(text.contains("It is green.") && text.contains(page), "{text}");
    ensure!(header(&mail, "list-unsubscribe").contains("http"), "{mail}");
    let posted = mailing.inbound("", &answer(&mail, VERA, "v1", "Даже лучше")).await?;
    assert_eq!(posted.expect(200)?["outcome"], "posted");
    let seen = vera.get("/v1/search?q=лучше").await?.expect(200)?;
    assert_eq!(seen["results"][0]["message"]["author"]["id"], vera.id.as_str());
    mailing.settle("marker").await?;
    assert_eq!(mailing.queue(&format!("?user_id={}", shy.id)).await?, Vec::<Value>::new());

    // An address may be given later, and whoever gives one chooses like anybody else.
    let (path, late) = ("/v1/widget/sessions", json!({"email": "shy@example.com"}));
    shy.post(path, late).await?.expect(200)?;
    let thread = id_of(&shy.get("/v1/threads").await?.expect(200)?["threads"][0])?;
    shy.say(thread, "Still there?").await?;
    cast.helper.say(thread, "Always.").await?;
    server.wait_for("shy@example.com", 1).await?;
    let preferences = format!("/v1/users/{}/mail-preferences", shy.id);
    shy.put(&preferences, json!({"mails": "none"})).await?.expect(200)?;
    shy.get(&preferences).await?.expect(200)?;
    Ok(())
}

/// Nobody has checked that the address is the visitor's.
async fn r4_mails_to_visitors_hold_nothing_that_the_visitor_said(scene: &Scene) -> Result<()> {
    const VICTIM: &str = "victim@example.com";
    let mailing = Mailing::new(scene).await?;
    let (cast, server) = (&mailing.cast, &mailing.server);
    let said = json!({"name": "Your payment failed, confirm it below", "email": VICTIM,
        "page_url": "https://evil.example/login"});
    let visitor = cast.stack.anonymous()?.visitor(said).await?;
    let question = json!({"subject": {"type": "support", "id": "support"},
        "message": {"text": "Pay at evil.example"}});
    let thread = id_of(&visitor.post("/v1/threads", question).await?.expect(201)?)?;
    cast.helper.say(thread, "How can I help?").await?;
    let is_clean = |mail: &Value, answer: &str| -> Result<()> {
        let text = mail["text"].as_str().unwrap_or_default();
        ensure!(text.contains(answer) && text.contains("Hello,"), "{mail}");
        // What is sent as base64 stands in the parts alone.
        let all = mail.to_string();
        ensure!(!all.contains("evil.example") && !all.contains("payment"), "{mail}");
        Ok(())
    };
    is_clean(&server.wait_for(VICTIM, 1).await?, "How can I help?")?;

    // Nor in a digest, where the visitor has spoken last.
    let preferences = format!("/v1/users/{}/mail-preferences", visitor.id);
    visitor.put(&preferences, json!({"mails": "digest"})).await?.expect(200)?;
    cast.helper.say(thread, "Are you there?").await?;
    visitor.say(thread, "Pay at evil.example").await?;
    visitor.post(&format!("/v1/threads/{thread}/unread"), json!({})).await?.expect(200)?;
    mailing.settle("digest").await?;
    mailing.hurry().await?;
    is_clean(&server.wait_for(VICTIM, 2).await?, "Are you there?")
}

async fn b11_messages_are_gathered_and_skipped_when_read(scene: &Scene) -> Result<()> {
    let mailing = Mailing::new(scene).await?;
    let (cast, server) = (&mailing.cast, &mailing.server);
    set(cast, "mail_gather_seconds", 3600).await?;
    let thread = mailing.thread("p1", "first").await?;
    for text in ["second", "third"] {
        cast.buyer.say(thread, text).await?;
    }
    mailing.settle("gathered").await?;
    let waiting = mailing.queue("?user_id=seller").await?;
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    assert_eq!(waiting[0]["state"], "waiting");
    assert_eq!(waiting[0]["kind"], "new_thread");
    mailing.hurry().await?;
    let mail = server.wait_for(SELLER, 1).await?;
    let text = mail["text"].as_str().unwrap_or_default();
    for word in ["first", "second", "third"] {
        ensure!(text.contains(word), "{text}");
    }

    // What was read in time needs no mail.
    let said = cast.seller.say(thread, "an answer").await?;
    mailing.settle("answered").await?;
    mailing.state("?user_id=buyer", "waiting").await?;
    let read = format!("/v1/threads/{thread}/read");
    cast.buyer.post(&read, json!({"up_to": id_of(&said)?})).await?.expect(200)?;
    mailing.hurry().await?;
    let skipped = mailing.state("?user_id=buyer", "skipped").await?;
    assert_eq!(skipped["reason"], "read");

    // Nor does what was answered.
    cast.seller.say(thread, "another").await?;
    mailing.state("?user_id=buyer", "waiting").await?;
    cast.buyer.say(thread, "I saw it").await?;
    assert_eq!(mailing.state("?user_id=buyer", "skipped").await?["reason"], "answered");
    // The answer is news to the seller, who wrote since the last mail.
    assert_eq!(mailing.state("?user_id=seller", "waiting").await?["kind"], "new_message");
    assert!(server.mails_to(BUYER)?.is_empty());
    Ok(())
}

async fn b11_who_looks_at_the_thread_gets_no_mail(scene: &Scene) -> Result<()> {
    let mailing = Mailing::new(scene).await?;
    let (cast, server) = (&mailing.cast, &mailing.server);
    let thread = mailing.thread("p1", "hello").await?;
    let said = cast.seller.say(thread, "one").await?;
    server.wait_for(BUYER, 1).await?;
    let read = format!("/v1/threads/{thread}/read");
    cast.buyer.post(&read, json!({"up_to": id_of(&said)?})).await?.expect(200)?;

    // Somebody who is there and has read everything gets a moment, though mails are sent at once.
    let (mut socket, _) = cast.buyer.socket(None).await?;
    let said = cast.seller.say(thread, "two").await?;
    socket.event("message.created").await?;
    mailing.state("?user_id=buyer", "waiting").await?;
    cast.buyer.post(&read, json!({"up_to": id_of(&said)?})).await?.expect(200)?;
    mailing.hurry().await?;
    assert_eq!(mailing.state("?user_id=buyer", "skipped").await?["reason"], "read");
    assert_eq!(server.mails_to(BUYER)?.len(), 1);

    // Being there is not reading.
    cast.seller.say(thread, "three").await?;
    server.wait_for(BUYER, 2).await?;
    Ok(())
}

async fn b11_each_person_chooses_and_one_click_unsubscribes(scene: &Scene) -> Result<()> {
    let mailing = Mailing::new(scene).await?;
    let (cast, server) = (&mailing.cast, &mailing.server);
    set(cast, "mail_digest_hours", 0).await?;
    let preferences = "/v1/users/buyer/mail-preferences";
    assert_eq!(cast.buyer.get(preferences).await?.expect(200)?, json!({"mails": "all"}));
    cast.outsider.get(preferences).await?.refused(403, "backend_only")?;
    let wrong = cast.buyer.put(preferences, json!({"mails": "often"})).await?;
    wrong.refused(422, "invalid_request")?;

    let chosen = cast.buyer.put(preferences, json!({"mails": "digest"})).await?.expect(200)?;
    assert_eq!(chosen, json!({"mails": "digest"}));
    let thread = mailing.thread("p1", "hello").await?;
    cast.seller.say(thread, "an answer").await?;
    let digest = server.wait_for(BUYER, 1).await?;
    assert_eq!(header(&digest, "subject"), "1 unread message at Kiln Shop");
    ensure!(digest["text"].as_str().is_some_and(|it| it.contains("An admin: an answer")));

    // The link: looking changes nothing, one click does (RFC 8058).
    let path = unsubscribe_path(&digest)?;
    let anybody = cast.stack.anonymous()?;
    let page = anybody.get(path).await?;
    assert_eq!(page.status, 200);
    ensure!(page.text.contains("value=digest checked"), "{page}");
    assert_eq!(cast.buyer.get(preferences).await?.expect(200)?["mails"], "digest");
    assert_eq!(click(cast, path, "List-Unsubscribe=One-Click").await?.status, 200);
    assert_eq!(cast.buyer.get(preferences).await?.expect(200)?["mails"], "none");
    for forged in [format!("{path}0"), "/v1/mail/unsubscribe/YnV5ZXI.00".to_owned()] {
        let answer = anybody.send(anybody.request(Method::POST, &forged)).await?;
        answer.refused(404, "mail_link_invalid")?;
    }

    cast.seller.say(thread, "are you there?").await?;
    mailing.settle("none").await?;
    assert_eq!(mailing.queue("?user_id=buyer").await?.len(), 1);
    assert_eq!(click(cast, path, "mails=all").await?.status, 200);
    cast.seller.say(thread, "hello?").await?;
    server.wait_for(BUYER, 2).await?;
    Ok(())
}

async fn b11_the_page_behind_the_link_speaks_the_persons_language(scene: &Scene) -> Result<()> {
    let mailing = Mailing::new(scene).await?;
    let (cast, server) = (&mailing.cast, &mailing.server);
    mailing.thread("p1", "hello").await?;
    let mail = server.wait_for(SELLER, 1).await?;
    let path = unsubscribe_path(&mail)?;
    let anybody = cast.stack.anonymous()?;
    let speaks = |page: &Answer, language: &str, words: &[&str]| -> Result<()> {
        assert_eq!(page.status, 200);
        assert_eq!(page.header("content-language"), Some(language));
        ensure!(page.text.contains(&format!("<html lang={language}>")), "{page}");
        ensure!(words.iter().all(|word| page.text.contains(word)), "{page}");
        // Whatever it says, nothing in it runs and nobody keeps it.
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
        assert_eq!(page.header("cache-control"), Some("no-store"));
        assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
        let policy = page.header("content-security-policy").unwrap_or_default();
        ensure!(policy.contains("default-src 'none'"), "{policy}");
        Ok(())
    };
    let english = ["Which e-mails do you want?", "value=all checked", "Save"];
    speaks(&anybody.get(path).await?, "en", &english)?;
    // The person's own language, then the shop's, as in the mails.
    let russian = ["Какие письма вы хотите получать?", "value=all checked", "Сохранить"];
    for (locale, shop, language, words) in [
        (json!("ru-RU"), "en", "ru", russian),
        (json!("de"), "ru", "ru", russian),
        (json!("en_US"), "ru", "en", english),
        (Value::Null, "ru", "ru", russian),
        (json!("de"), "fr", "en", english),
    ] {
        cast.shop.patch("/v1/users/seller", json!({"locale": locale})).await?.expect(200)?;
        cast.shop.patch("/v1/settings", json!({"language": shop})).await?.expect(200)?;
        speaks(&anybody.get(path).await?, language, &words)?;
    }
    cast.shop.patch("/v1/users/seller", json!({"locale": "ru"})).await?.expect(200)?;
    let kept = click(cast, path, "mails=none").await?;
    speaks(&kept, "ru", &["Ваш выбор сохранён.", "value=none checked"])
}

async fn b11_a_visitors_address_is_left_alone_whoever_comes_with_it(scene: &Scene) -> Result<()> {
    const VERA: &str = "vera@example.com";
    let mailing = Mailing::new(scene).await?;
    let (cast, server) = (&mailing.cast, &mailing.server);
    let question = json!({"subject": {"type": "support", "id": "support"},
        "message": {"text": "Is it blue?"}});
    let asks = async |email: &str| -> Result<(String, i64)> {
        let visitor = cast.stack.anonymous()?.visitor(json!({"email": email})).await?;
        let thread = visitor.post("/v1/threads", question.clone()).await?.expect(201)?;
        let thread = id_of(&thread)?;
        cast.helper.say(thread, "It is green.").await?;
        Ok((visitor.id.clone(), thread))
    };
    let (_, first) = asks(VERA).await?;
    let mail = server.wait_for(VERA, 1).await?;
    let path = unsubscribe_path(&mail)?;
    // A mail for somebody of this address waits when it is unsubscribed.
    set(cast, "mail_gather_seconds", 3600).await?;
    let (waiting, _) = asks(VERA).await?;
    mailing.state(&format!("?user_id={waiting}"), "waiting").await?;
    assert_eq!(click(cast, path, "List-Unsubscribe=One-Click").await?.status, 200);
    mailing.hurry().await?;
    let skipped = mailing.state(&format!("?user_id={waiting}"), "skipped").await?;
    assert_eq!(skipped["reason"], "unwanted");
    set(cast, "mail_gather_seconds", 0).await?;

    // The same person with a new session, whatever it says it wants; an address is the same in capitals.
    let (again, thread) = asks("Vera@Example.com").await?;
    let visitor = cast.stack.anonymous()?.visitor(json!({"email": VERA})).await?;
    visitor.post("/v1/threads", question.clone()).await?.expect(201)?;
    let preferences = format!("/v1/users/{}/mail-preferences", visitor.id);
    visitor.put(&preferences, json!({"mails": "all"})).await?.expect(200)?;
    let own = visitor.get("/v1/threads").await?.expect(200)?;
    cast.helper.say(id_of(&own["threads"][0])?, "It is green.").await?;
    cast.helper.say(first, "Are you there?").await?;
    // Another address is not concerned, nor is who has an account.
    asks("other@example.com").await?;
    server.wait_for("other@example.com", 1).await?;
    cast.shop.patch("/v1/users/buyer", json!({"email": VERA})).await?.expect(200)?;
    let theirs = mailing.thread("p1", "hello").await?;
    cast.seller.say(theirs, "an answer").await?;
    server.wait_for(VERA, 2).await?;
    mailing.settle("marker").await?;
    for visitor in [&again, &visitor.id] {
        assert_eq!(mailing.queue(&format!("?user_id={visitor}")).await?, Vec::<Value>::new());
    }

    // What a visitor chooses without a mail is that visitor's own: anybody may name any address.
    let stranger = cast.stack.anonymous()?.visitor(json!({"email": "other@example.com"})).await?;
    stranger.post("/v1/threads", question.clone()).await?.expect(201)?;
    let preferences = format!("/v1/users/{}/mail-preferences", stranger.id);
    stranger.put(&preferences, json!({"mails": "none"})).await?.expect(200)?;
    asks("other@example.com").await?;
    server.wait_for("other@example.com", 2).await?;
    // Nor does who has a link to an own address, and then names another's, speak for that one.
    let eve = cast.stack.anonymous()?.visitor(json!({"email": "eve@example.com"})).await?;
    eve.post("/v1/threads", question.clone()).await?.expect(201)?;
    let own = eve.get("/v1/threads").await?.expect(200)?;
    cast.helper.say(id_of(&own["threads"][0])?, "It is green.").await?;
    let to_eve = server.wait_for("eve@example.com", 1).await?;
    let renewed = json!({"email": "other@example.com"});
    eve.post("/v1/widget/sessions", renewed).await?.expect(200)?;
    let path_of_eve = unsubscribe_path(&to_eve)?;
    assert_eq!(click(cast, path_of_eve, "List-Unsubscribe=One-Click").await?.status, 200);
    asks("other@example.com").await?;
    server.wait_for("other@example.com", 3).await?;

    // The link tells how it stands, and takes it back.
    let page = cast.stack.anonymous()?.get(path).await?;
    ensure!(page.text.contains("value=none checked"), "{page}");
    assert_eq!(click(cast, path, "mails=all").await?.status, 200);
    cast.helper.say(thread, "Welcome back").await?;
    server.wait_for("Vera@Example.com", 1).await?;
    Ok(())
}

async fn r12_templates_are_edited_checked_previewed_and_reset(scene: &Scene) -> Result<()> {
    let mailing = Mailing::new(scene).await?;
    let (cast, server) = (&mailing.cast, &mailing.server);
    let path = "/v1/mail/templates/vendor/new_thread/en";
    let all = cast.boss.get("/v1/mail/templates").await?.expect(200)?;
    assert_eq!(all["templates"].as_array().map(Vec::len), Some(12));
    cast.clerk.get(path).await?.refused(403, "manage_messages_required")?;
    cast.seller.get(path).await?.refused(403, "not_allowed")?;
    let default = cast.boss.get(path).await?.expect(200)?;
    assert_eq!(default["is_default"], true);

    let mine = |text: &str| json!({"subject": "Ticket {{ thread.id }}", "text": text, "html": "<p>{{ messages[0].text }}</p>"});
    let wrong = cast.boss.put(path, mine("{{ custmer.name }}")).await?;
    let wrong = wrong.refused(422, "invalid_request")?;
    assert_eq!(wrong["errors"][0]["pointer"], "/text");
    ensure!(
        wrong["errors"][0]["detail"].as_str().is_some_and(|it| it.contains("`custmer.name`")),
        "{wrong}"
    );
    let preview = format!("{path}/preview");
    let shown = cast.boss.post(&preview, mine("Dear {{ recipient.name }}")).await?.expect(200)?;
    assert_eq!(shown["subject"], "Ticket 12");
    assert_eq!(shown["text"], "Dear Anna");
    ensure!(shown["html"].as_str().is_some_and(|it| it.contains("&lt;b&gt;how")), "{shown}");
    assert_eq!(cast.boss.get(path).await?.expect(200)?, default);

    cast.boss.put(path, mine("Dear {{ recipient.name }}")).await?.expect(200)?;
    let thread = mailing.thread("p1", "<i>hello</i>").await?;
    let mail = server.wait_for(SELLER, 1).await?;
    assert_eq!(header(&mail, "subject"), format!("Ticket {thread}"));
    assert_eq!(mail["text"].as_str().map(str::trim), Some("Dear An admin"));
    ensure!(mail["html"].as_str().is_some_and(|it| it.contains("<p>&lt;i&gt;hello")), "{mail}");

    let reset = cast.boss.send(cast.boss.request(Method::DELETE, path)).await?.expect(200)?;
    assert_eq!(reset, default);
    mailing.thread("p2", "again").await?;
    let mail = server.wait_for(SELLER, 2).await?;
    ensure!(header(&mail, "subject").starts_with("New question from Bea Buyer"), "{mail}");
    // A language of the shop's own comes, and goes again.
    let german = "/v1/mail/templates/vendor/new_thread/de";
    cast.boss.get(german).await?.refused(404, "mail_template_not_found")?;
    cast.boss.put(german, mine("Hallo")).await?.expect(200)?;
    cast.shop.patch("/v1/users/seller", json!({"locale": "de-AT"})).await?.expect(200)?;
    mailing.thread("p3", "noch einmal").await?;
    let mail = server.wait_for(SELLER, 3).await?;
    assert_eq!(mail["text"].as_str().map(str::trim), Some("Hallo"));
    let gone = cast.boss.send(cast.boss.request(Method::DELETE, german)).await?;
    assert_eq!(gone.status, 204);
    Ok(())
}

async fn r12_a_subject_is_one_line_whatever_people_write(scene: &Scene) -> Result<()> {
    let mailing = Mailing::new(scene).await?;
    let path = "/v1/mail/templates/vendor/new_thread/en";
    let with = |subject: &str| json!({"subject": subject, "text": "x", "html": "x"});
    let preview = format!("{path}/preview");
    for subject in ["{{ thread.id }}\nBcc: evil@example.com", "{{ thread.id }}\r\n", "a\tb"] {
        for answer in [
            mailing.cast.boss.put(path, with(subject)).await?,
            mailing.cast.boss.post(&preview, with(subject)).await?,
        ] {
            let wrong = answer.refused(422, "invalid_request")?;
            assert_eq!(wrong["errors"][0]["pointer"], "/subject");
        }
    }
    assert_eq!(mailing.cast.boss.get(path).await?.expect(200)?["is_default"], true);

    let said = "{{ author.name }}: {{ messages[0].text }}";
    mailing.cast.boss.put(path, with(said)).await?.expect(200)?;
    mailing.thread("p1", "Hello\nBcc: evil@example.com\n\nX-Evil: yes").await?;
    let mail = mailing.server.wait_for(SELLER, 1).await?;
    let subject = "Bea Buyer: Hello Bcc: evil@example.com X-Evil: yes";
    assert_eq!(header(&mail, "subject"), subject);
    let headers = &mail["headers"];
    ensure!(headers.get("bcc").is_none() && headers.get("x-evil").is_none(), "{mail}");
    Ok(())
}

async fn b1_no_mail_is_lost_when_daemons_and_servers_die(scene: &Scene) -> Result<()> {
    let mut mailing = Mailing::new(scene).await?;
    // The mail server is down: the mail waits, and says why.
    mailing.server.kill()?;
    mailing.thread("p1", "hello").await?;
    until("it was tried", async || {
        let queue = mailing.queue("?user_id=seller").await?;
        Ok(queue.first().is_some_and(|mail| mail["attempts"] != 0 && mail["reason"].is_string()))
    })
    .await?;
    // The API dies, too; both come back.
    mailing.cast.stack.crash_api()?;
    mailing.cast.stack.api_ready().await?;
    mailing.server.begin().await?;
    mailing.server.wait_for(SELLER, 1).await?;
    mailing.state("?user_id=seller", "sent").await?;

    // Dies after queueing and before sending.
    set(&mailing.cast, "mail_gather_seconds", 3600).await?;
    mailing.thread("p2", "still there?").await?;
    mailing.state("?user_id=seller", "waiting").await?;
    mailing.cast.stack.crash_api()?;
    mailing.cast.stack.api_ready().await?;
    mailing.hurry().await?;
    mailing.server.wait_for(SELLER, 2).await?;
    mailing.state("?user_id=seller", "sent").await?;

    // Dies while the mail server has the mail and has not said so: it comes again, and can be told to be the same.
    mailing.server.hold(true)?;
    mailing.thread("p3", "and now?").await?;
    mailing.state("?user_id=seller", "waiting").await?;
    mailing.hurry().await?;
    let first = mailing.server.wait_for(SELLER, 3).await?;
    assert_eq!(mailing.queue("?user_id=seller").await?[0]["state"], "sending");
    mailing.cast.stack.api.kill()?;
    mailing.server.hold(false)?;
    mailing.cast.stack.api.start()?;
    mailing.cast.stack.api_ready().await?;
    let second = mailing.server.wait_for(SELLER, 4).await?;
    assert_eq!(header(&first, "message-id"), header(&second, "message-id"));
    mailing.state("?user_id=seller", "sent").await?;
    Ok(())
}

async fn b11_a_mail_that_is_given_up_is_seen_and_tried_again(scene: &Scene) -> Result<()> {
    let twice = |setup: Setup| setup.set("mail.max_attempts", 2).set("mail.retry_seconds", 0);
    let mailing = Mailing::with(scene, twice).await?;
    // The server says that it is in vain: once is enough.
    mailing.server.refuse(Some("550 5.1.1 nobody of that name"))?;
    mailing.thread("p1", "hello").await?;
    let failed = mailing.state("?state=failed", "failed").await?;
    assert_eq!(failed["user_id"], "seller");
    assert_eq!(failed["attempts"], 1);
    ensure!(
        failed["reason"].as_str().is_some_and(|it| it.contains("nobody of that name")),
        "{failed}"
    );
    let log = mailing.cast.stack.api.output();
    ensure!(log.contains("gave a mail up") && !log.contains(SELLER), "{log}");

    // The server says that it may work later: so many times, and no more.
    mailing.server.refuse(Some("451 4.3.0 later"))?;
    mailing.thread("p2", "hello").await?;
    let failed = mailing.state("?state=failed", "failed").await?;
    until("the second one is given up", async || {
        Ok(mailing.queue("?state=failed").await?.len() == 2)
    })
    .await?;
    let failed = mailing.queue("?state=failed").await?.first().cloned().unwrap_or(failed);
    assert_eq!(failed["attempts"], 2);
    let counted = [
        "chaffer_api_mails_total{outcome=\"sent\"} 0",
        "chaffer_api_mails_total{outcome=\"failed\"} 2",
        "chaffer_api_mail_retries_total 1",
        "chaffer_api_mail_queue_mails{state=\"waiting\"} 0",
        "chaffer_api_mail_queue_mails{state=\"sending\"} 0",
        "chaffer_api_mail_queue_mails{state=\"failed\"} 2",
        "chaffer_api_mail_overdue_seconds 0",
    ];
    mailing.counted(&counted).await?;

    // Mended, it is tried again.
    mailing.server.refuse(None)?;
    let path = format!("/v1/mails/{}/retry", failed["id"]);
    let (shop, seller) = (&mailing.cast.shop, &mailing.cast.seller);
    seller.send(seller.request(Method::POST, &path)).await?.refused(403, "not_allowed")?;
    let retry = async || shop.send(shop.request(Method::POST, &path)).await;
    assert_eq!(retry().await?.expect(200)?["state"], "waiting");
    mailing.server.wait_for(SELLER, 1).await?;
    mailing.state("?user_id=seller", "sent").await?;
    retry().await?.refused(409, "mail_not_failed")?;
    let counted = [
        "chaffer_api_mails_total{outcome=\"sent\"} 1",
        "chaffer_api_mails_total{outcome=\"failed\"} 2",
        "chaffer_api_mail_queue_mails{state=\"failed\"} 1",
    ];
    mailing.counted(&counted).await?;

    // One that is answered before its time counts, too, and one that waits.
    set(&mailing.cast, "mail_gather_seconds", 3600).await?;
    let thread = mailing.thread("p3", "hello").await?;
    mailing.counted(&["chaffer_api_mail_queue_mails{state=\"waiting\"} 1"]).await?;
    let read = format!("/v1/threads/{thread}/read");
    seller.post(&read, json!({"up_to": 1_000_000})).await?.expect(200)?;
    mailing.hurry().await?;
    let counted = [
        "chaffer_api_mails_total{outcome=\"skipped\"} 1",
        "chaffer_api_mail_queue_mails{state=\"waiting\"} 0",
    ];
    mailing.counted(&counted).await
}

async fn b11_an_answer_by_mail_goes_into_the_thread(scene: &Scene) -> Result<()> {
    let mailing = Mailing::new(scene).await?;
    let (cast, server) = (&mailing.cast, &mailing.server);
    let thread = mailing.thread("p1", "Is it blue?").await?;
    let mail = server.wait_for(SELLER, 1).await?;

    let raw = answer(&mail, SELLER, "a1", "Да, синяя.\r\nAnd large.");
    let posted = mailing.inbound("", &raw).await?.expect(200)?;
    assert_eq!(posted["outcome"], "posted");
    assert_eq!(posted["thread_id"], thread);
    let history = mailing.history(thread).await?;
    assert_eq!(texts(&history), ["Is it blue?", "Да, синяя.\nAnd large."]);
    assert_eq!(history[1]["author"]["id"], "seller");
    // Brought again, by a mail server that is not sure: the same message.
    let again = mailing.inbound("", &format!("Received: by mx\r\n{raw}")).await?.expect(200)?;
    assert_eq!(again["message_id"], posted["message_id"]);
    // The answer is news to the buyer, and the next question to the seller.
    server.wait_for(BUYER, 1).await?;
    cast.buyer.say(thread, "And heavy?").await?;
    server.wait_for(SELLER, 2).await?;

    // Not from anybody else, nor with another tag, nor for another person.
    let from = |who: &str| answer(&mail, who, "a2", "Let me in");
    mailing.inbound("", &from("evil@example.com")).await?.refused(403, "reply_sender_mismatch")?;
    mailing.inbound("", &from(BUYER)).await?.refused(403, "reply_sender_mismatch")?;
    let two = raw.replace("From: ", "From: evil@example.com, ");
    mailing.inbound("", &two).await?.refused(403, "reply_sender_mismatch")?;
    let twice = format!("From: evil@example.com\r\n{raw}");
    mailing.inbound("", &twice).await?.refused(403, "reply_sender_mismatch")?;
    let address = header(&mail, "reply-to");
    let address = address.split(['<', '>']).find(|it| it.contains('@')).context("no address")?;
    let (local, host) = address.split_once('@').context("no address")?;
    let last = local.chars().last().context("no tag")?;
    let other = if last == '0' { '1' } else { '0' };
    let forged = format!("{}{other}@{host}", local.trim_end_matches(last));
    for wrong in [forged, "reply@shop.example".to_owned(), format!("{local}@other.example")] {
        let raw = raw.replace(address, &wrong).replace("a1@", "a3@");
        mailing.inbound("", &raw).await?.refused(404, "reply_address_invalid")?;
    }
    // The envelope says where it really went to.
    let elsewhere = mailing.inbound("?recipient=chat@shop.example", &raw).await?;
    elsewhere.refused(404, "reply_address_invalid")?;
    let shouted = address.to_uppercase().replace('+', "%2B");
    let raw = raw.replace("a1@", "a4@").replace("To: ", "Cc: ");
    mailing.inbound(&format!("?recipient={shouted}"), &raw).await?.expect(200)?;

    // What no person wrote is ignored: notices, bounces, lists, our own.
    let marked = |line: &str| format!("{line}\r\n{}", answer(&mail, SELLER, "a5", "I am away"));
    for (raw, query, reason) in [
        (marked("Auto-Submitted: auto-replied"), "", "auto_submitted"),
        (marked("Precedence: bulk"), "", "precedence"),
        (marked("List-Id: <news.example.com>"), "", "list"),
        (marked("X-Autoreply: yes"), "", "auto_reply"),
        (marked("Return-Path: <>"), "", "empty_return_path"),
        (marked("X-Nothing: x"), "?sender=", "empty_return_path"),
        (mail["raw"].as_str().unwrap_or_default().to_owned(), "", "own_mail"),
    ] {
        let ignored = mailing.inbound(query, &raw).await?.expect(200)?;
        assert_eq!(ignored["outcome"], "ignored", "{reason}");
        assert_eq!(ignored["reason"], reason);
    }
    // Nothing but the quotation is nothing to say; and what is no mail is none.
    let empty = mailing.inbound("", &answer(&mail, SELLER, "a6", "")).await?;
    empty.refused(422, "invalid_request")?;
    mailing.inbound("", "").await?.refused(422, "mail_unreadable")?;
    assert_eq!(mailing.history(thread).await?.as_array().map(Vec::len), Some(4));

    // Only the shop's backend brings mails.
    let call = cast.seller.request(Method::POST, "/v1/mail/inbound").body("x");
    cast.seller.send(call).await?.refused(403, "backend_only")?;
    // A vendor that is switched off cannot answer by mail, either (R9).
    let off = json!({"name": "Vendor One", "status": "disabled"});
    cast.shop.vendor("v1", off).await?;
    let refused = mailing.inbound("", &answer(&mail, SELLER, "a7", "Hello")).await?;
    refused.refused(403, "messaging_disabled")?;
    Ok(())
}

async fn b11_answers_come_through_the_mail_servers_pipe(scene: &Scene) -> Result<()> {
    let mailing = Mailing::new(scene).await?;
    let thread = mailing.thread("p1", "Is it blue?").await?;
    let mail = mailing.server.wait_for(SELLER, 1).await?;
    let (mut socket, _) = mailing.cast.buyer.socket(None).await?;
    let pipe = |name: &str, raw: &str, arguments: &[&str]| -> Result<Process> {
        let file = scene.folder().join(name);
        std::fs::write(&file, raw)?;
        let all: Vec<&str> = ["mail-in"].iter().chain(arguments).copied().collect();
        Ok(mailing.cast.stack.command(&all)?.stdin(file))
    };
    let html = format!(
        "From: {SELLER}\r\nTo: {}\r\nMessage-ID: <h1@example.com>\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/html; charset=windows-1251\r\nContent-Transfer-Encoding: base64\r\n\r\n\
         PHA+xOAg/+Q8L3A+PGJsb2NrcXVvdGU+b2xkPC9ibG9ja3F1b3RlPg==\r\n",
        header(&mail, "reply-to")
    );
    let (status, output, _) = pipe("html", &html, &[])?.outcome().await?;
    assert_eq!((status.code(), output.trim()), (Some(0), "posted"));
    let history = mailing.history(thread).await?;
    assert_eq!(texts(&history), ["Is it blue?", "Да яд"]);
    // The daemon finds and tells what the command stored.
    socket.event("message.created").await?;

    let good = answer(&mail, SELLER, "p1", "Yes");
    let evil = answer(&mail, "evil@example.com", "p2", "Yes");
    let empty = answer(&mail, SELLER, "p3", "");
    let cases: [(&str, &str, &[&str], i32); 5] = [
        ("nobody", &good, &["--recipient", "reply+1-2-3@shop.example"], 67),
        ("evil", &evil, &[], 77),
        ("empty", &empty, &[], 65),
        ("bounce", &good, &["--sender", ""], 0),
        ("broken", &good, &["--database-readers", "x"], 75),
    ];
    for (name, raw, arguments, code) in cases {
        let (status, output, errors) = pipe(name, raw, arguments)?.outcome().await?;
        assert_eq!(status.code(), Some(code), "{name}: {output} {errors}");
        ensure!(code == 0 || !errors.trim().is_empty(), "{name} says nothing");
    }
    assert_eq!(mailing.history(thread).await?.as_array().map(Vec::len), Some(2));
    let _: &Api = &mailing.cast.shop;
    Ok(())
}

async fn b11_a_flood_of_answers_waits_at_the_mail_server(scene: &Scene) -> Result<()> {
    let mailing =
        Mailing::with(scene, |setup| setup.set("limits.messages_per_minute_per_thread", 3)).await?;
    let (cast, server) = (&mailing.cast, &mailing.server);
    let thread = mailing.thread("p1", "Is it blue?").await?;
    let mail = server.wait_for(SELLER, 1).await?;
    let raw = |number: usize| answer(&mail, SELLER, &format!("f{number}"), "Buy now!");
    for number in 0..3 {
        let posted = mailing.inbound("", &raw(number)).await?.expect(200)?;
        assert_eq!(posted["outcome"], "posted");
    }
    let refused = mailing.inbound("", &raw(3)).await?;
    assert_eq!(refused.header("retry-after"), Some("60"));
    refused.refused(429, "too_many_messages")?;
    let file = scene.folder().join("flood.eml");
    std::fs::write(&file, raw(3))?;
    let pipe = cast.stack.command(&["mail-in"])?.stdin(file).outcome().await?;
    assert_eq!(pipe.0.code(), Some(75), "the mail server keeps it: {}", pipe.2);
    // What was taken is no news, and others are not concerned.
    mailing.inbound("", &raw(0)).await?.expect(200)?;
    cast.buyer.say(thread, "Thank you").await?;
    // Its time comes.
    let sql =
        "UPDATE messages SET created_at = '2020-02-02 02:02:02.000' WHERE author_id = 'seller'";
    cast.stack.database.query(sql).await?;
    mailing.inbound("", &raw(3)).await?.expect(200)?;
    Ok(())
}
