//! E-mails (R4, R6, R12, B11): a real SMTP server receives them, and answers come back.

mod answers;
mod choices;
mod letters;
mod queue;

use anyhow::{Context, Result, ensure};
use chaffer_tests::{Answer, MailServer, PATIENCE, Scene, Setup, eventually, until};
use reqwest::Method;
use serde_json::{Value, json};

use crate::cast::{Cast, id_of, product};

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
