//! Answers by mail (B11).

use anyhow::{Context, Result, ensure};
use chaffer_tests::{Api, Process, Scene};
use reqwest::Method;
use serde_json::json;

use super::{BUYER, Mailing, SELLER, answer, header};
use crate::cast::texts;

stories!(
    b11_an_answer_by_mail_goes_into_the_thread,
    b11_answers_come_through_the_mail_servers_pipe,
    b11_a_flood_of_answers_waits_at_the_mail_server,
);

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
