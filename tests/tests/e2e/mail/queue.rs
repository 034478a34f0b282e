//! No mail is lost, and one that is given up is seen (B1, B11).

use anyhow::{Result, ensure};
use chaffer_tests::{Scene, Setup, until};
use reqwest::Method;
use serde_json::json;

use super::{Mailing, SELLER, header, set};

stories!(
    b1_no_mail_is_lost_when_daemons_and_servers_die,
    b11_a_mail_that_is_given_up_is_seen_and_tried_again,
);

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
