//! Who gets none: what was read meanwhile is left out, and each person chooses (B11).

use anyhow::{Result, ensure};
use chaffer_tests::{Answer, Scene};
use reqwest::Method;
use serde_json::{Value, json};

use super::{BUYER, Mailing, SELLER, click, header, set, unsubscribe_path};
use crate::cast::id_of;

stories!(
    b11_messages_are_gathered_and_skipped_when_read,
    b11_who_looks_at_the_thread_gets_no_mail,
    b11_each_person_chooses_and_one_click_unsubscribes,
    b11_the_page_behind_the_link_speaks_the_persons_language,
    b11_a_visitors_address_is_left_alone_whoever_comes_with_it,
);

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
