//! Who gets a mail, and what it says (R4, R6, R12).

use anyhow::{Context, Result, ensure};
use chaffer_tests::Scene;
use reqwest::Method;
use serde_json::{Value, json};

use super::{BUYER, Mailing, SELLER, answer, header};
use crate::cast::id_of;

stories!(
    r4_r6_people_get_mails_of_new_threads_and_messages,
    r6_every_administrator_of_the_vendor_gets_the_mail_and_nobody_else,
    r4_customers_get_the_operators_answers_and_operators_no_mail,
    r4_visitors_get_answers_by_mail_if_they_gave_an_address,
    r4_mails_to_visitors_hold_nothing_that_the_visitor_said,
    r12_templates_are_edited_checked_previewed_and_reset,
    r12_a_subject_is_one_line_whatever_people_write,
);

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
