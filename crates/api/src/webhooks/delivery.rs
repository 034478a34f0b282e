//! One attempt to deliver a message, and what follows from its outcome.

use std::time::Duration;

use chaffer_shared::time;
use chrono::TimeDelta;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use rand::RngExt;
use serde_json::{Value, json};
use url::Url;

use super::{bulk, signature};
use crate::chat::events::render;
use crate::outgoing::{Outgoing, OutgoingAnswer, OutgoingError};
use crate::store::{
    Delivery, DeliveryState, Store, StoreError, Timestamp, Webhook, WebhookStatus, Writer,
};

/// The name of the event of a test call.
pub const TEST: &str = "webhook.test";
/// How long an attempt belongs to the node that makes it, beyond what it may take at most.
const LEASE: TimeDelta = TimeDelta::seconds(5);
/// The longest wait that an endpoint may ask for.
const MAX_RETRY_AFTER: u64 = 24 * 3600;
/// How much a wait may differ from the one that is set, so that what failed together does not come back together.
const JITTER: f64 = 0.2;
/// Attempts that are remembered with a delivery.
const MAX_LOG: usize = 50;

/// Makes deliveries.
pub(super) struct Sender {
    store: Store,
    outgoing: Outgoing,
    retries: Vec<Duration>,
}

/// What came of an attempt.
struct Outcome {
    verdict: Verdict,
    status: Option<u16>,
    error: Option<String>,
}

enum Verdict {
    Delivered,
    /// To be tried again, not before so many seconds.
    Failed {
        retry_after: Option<u64>,
    },
    /// There is nothing to be sent any more.
    Hopeless,
    /// The endpoint wants no more messages.
    Gone,
}

impl Sender {
    pub(super) fn new(store: Store, outgoing: Outgoing, retries: Vec<Duration>) -> Self {
        Self { store, outgoing, retries }
    }

    /// How long a claimed delivery is left alone by others.
    pub(super) fn lease(&self) -> TimeDelta {
        LEASE + TimeDelta::from_std(self.outgoing.timeout()).unwrap_or_default()
    }

    /// Makes one attempt and writes down what came of it.
    pub(super) async fn deliver(&self, webhook: &Webhook, delivery: Delivery) {
        let began = time::now();
        let outcome = match self.attempt(webhook, &delivery).await {
            Ok(outcome) => outcome,
            Err(error) => {
                // The lease runs out, and it is tried again.
                tracing::warn!(%error, webhook = webhook.id, "cannot read what to deliver");
                return;
            }
        };
        let took = (time::now() - began).num_milliseconds();
        let entry = json!({
            "at": time::format(&began),
            "status": outcome.status,
            "error": outcome.error,
            "duration_ms": took,
        });
        if let Err(error) = self.settle(webhook, delivery, outcome, entry).await {
            tracing::warn!(%error, webhook = webhook.id, "cannot write down a delivery");
        }
    }

    async fn attempt(&self, webhook: &Webhook, delivery: &Delivery) -> Result<Outcome, StoreError> {
        let hopeless = |error: &str| Outcome {
            verdict: Verdict::Hopeless,
            status: None,
            error: Some(error.to_owned()),
        };
        let Some(body) = self.body(delivery).await? else {
            return Ok(hopeless("the event is no longer kept"));
        };
        let Ok(url) = Url::parse(&webhook.url) else { return Ok(hopeless("this is no URL")) };
        let Some(headers) = headers(webhook, delivery, &body) else {
            return Ok(hopeless("the secret cannot be used; rotate it"));
        };
        Ok(judge(self.outgoing.post(&url, headers, body).await))
    }

    /// The body: the event as it looks now.
    async fn body(&self, delivery: &Delivery) -> Result<Option<Vec<u8>>, StoreError> {
        let (name, at, data) = match delivery.event_id {
            None => (delivery.event.clone(), delivery.created_at, json!({})),
            Some(id) => {
                let found = self
                    .store
                    .read(move |reader| {
                        let mut events = reader.events_after(id - 1, 1)?;
                        events.retain(|event| event.id == id);
                        let data: Option<Value> = render(reader, &events)?.pop();
                        Ok::<_, StoreError>(events.pop().zip(data))
                    })
                    .await?;
                let Some((event, data)) = found else { return Ok(None) };
                (event.name, event.at, data)
            }
        };
        let timestamp = time::format(&at.and_utc());
        let body = json!({"type": name, "timestamp": timestamp, "data": data});
        Ok(Some(body.to_string().into_bytes()))
    }

    async fn settle(
        &self,
        webhook: &Webhook,
        mut delivery: Delivery,
        outcome: Outcome,
        entry: Value,
    ) -> Result<(), StoreError> {
        let now = time::now().naive_utc();
        delivery.tries += 1;
        let mut log: Vec<Value> = serde_json::from_str(&delivery.attempts).unwrap_or_default();
        log.push(entry);
        let drop = log.len().saturating_sub(MAX_LOG);
        delivery.attempts = Value::from_iter(log.into_iter().skip(drop)).to_string();
        delivery.next_attempt_at = None;
        let gone = matches!(outcome.verdict, Verdict::Gone);
        delivery.state = match outcome.verdict {
            Verdict::Delivered => DeliveryState::Delivered,
            Verdict::Hopeless | Verdict::Gone => DeliveryState::Failed,
            Verdict::Failed { retry_after } => match self.wait(delivery.tries, retry_after) {
                Some(wait) => {
                    delivery.next_attempt_at = Some(now + wait);
                    DeliveryState::Pending
                }
                None => DeliveryState::Failed,
            },
        };
        if delivery.state == DeliveryState::Failed {
            tracing::warn!(
                webhook = webhook.id,
                message = delivery.message_id,
                "a webhook's delivery was given up"
            );
        }
        let asked = webhook.url.clone();
        let note = move |writer: &mut Writer<'_>| note(writer, delivery.clone(), gone, &asked, now);
        let is_off = self.store.write(note).await?;
        // What else waits for it goes, too.
        if is_off { bulk::give_up(&self.store, webhook.id.clone()).await } else { Ok(()) }
    }

    /// How long to wait after so many tries; `None` when they were enough.
    fn wait(&self, tries: i32, retry_after: Option<u64>) -> Option<TimeDelta> {
        let number = usize::try_from(tries).ok()?.checked_sub(1)?;
        let wait = self.retries.get(number)?;
        let jitter = rand::rng().random_range(1.0 - JITTER..=1.0 + JITTER);
        let wait = wait.mul_f64(jitter);
        let asked = Duration::from_secs(retry_after.unwrap_or(0).min(MAX_RETRY_AFTER));
        TimeDelta::from_std(wait.max(asked)).ok()
    }
}

/// Writes down what came of an attempt; tells whether the webhook is switched off. If it was while this one was under way, this was
/// the last attempt, also when it is on again by the time that the others are given up.
fn note(
    writer: &mut Writer<'_>,
    mut delivery: Delivery,
    gone: bool,
    asked: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let mut webhook = writer.webhook(&delivery.webhook_id)?;
    // Another address may have been given meanwhile, which said nothing of the kind.
    if let Some(webhook) = webhook.as_mut().filter(|it| gone && it.url == asked) {
        webhook.status = WebhookStatus::Disabled;
        webhook.disabled_reason = Some("it answered 410 Gone".into());
        webhook.updated_at = now;
        writer.update_webhook(webhook)?;
    }
    let is_off = webhook.is_some_and(|it| it.status == WebhookStatus::Disabled);
    if is_off && delivery.state == DeliveryState::Pending {
        delivery.state = DeliveryState::Failed;
        delivery.next_attempt_at = None;
    }
    writer.update_delivery(&delivery)?;
    Ok(is_off)
}

fn headers(webhook: &Webhook, delivery: &Delivery, body: &[u8]) -> Option<HeaderMap> {
    let now = time::now();
    let previous = webhook
        .previous_secret
        .as_deref()
        .filter(|_| webhook.previous_until.is_some_and(|until| now.naive_utc() < until));
    let secrets = std::iter::once(webhook.secret.as_str()).chain(previous);
    let timestamp = now.timestamp();
    let signature = signature::sign(secrets, &delivery.message_id, timestamp, body)?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in [
        ("webhook-id", delivery.message_id.as_str()),
        ("webhook-timestamp", &timestamp.to_string()),
        ("webhook-signature", &signature),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).ok()?);
    }
    Some(headers)
}

fn judge(answer: Result<OutgoingAnswer, OutgoingError>) -> Outcome {
    match answer {
        Ok(OutgoingAnswer { status, retry_after }) => Outcome {
            verdict: match status {
                200..=299 => Verdict::Delivered,
                410 => Verdict::Gone,
                _ => Verdict::Failed { retry_after },
            },
            status: Some(status),
            error: None,
        },
        Err(error) => Outcome {
            verdict: Verdict::Failed { retry_after: None },
            status: None,
            error: Some(error.to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::webhooks::{self, WebhookPatch};
    use crate::store::testing::databases;
    use crate::testing::{acting, context};
    use crate::webhooks::bulk::tests::with_much_waiting;

    #[tokio::test]
    async fn an_attempt_that_fails_while_the_webhook_is_off_is_the_last_one_even_if_it_is_on_again()
    {
        for mut fresh in databases() {
            with_much_waiting(&mut fresh);
            let outgoing = Outgoing::new(&[], Duration::from_secs(1));
            let switch = |fresh: &mut crate::store::testing::Fresh, status| {
                let patch = WebhookPatch { status: Some(status), ..WebhookPatch::default() };
                fresh
                    .write(|writer| {
                        webhooks::patch(
                            writer,
                            &acting("staff"),
                            &context(),
                            &outgoing,
                            "wh",
                            &patch,
                        )
                    })
                    .unwrap();
            };
            let now = context().timestamp();
            // Failed, to be tried again in an hour.
            let mut tried = fresh.read(|reader| reader.delivery("wh", "msg_0")).unwrap().unwrap();
            tried.tries = 1;
            tried.next_attempt_at = Some(now + TimeDelta::hours(1));
            let url = "https://shop.example/hook";
            let is_off = fresh.write(|it| note(it, tried.clone(), false, url, now)).unwrap();
            let state = |fresh: &mut crate::store::testing::Fresh| {
                let found = fresh.read(|it| it.delivery("wh", "msg_0")).unwrap().unwrap();
                (found.state, found.next_attempt_at.is_some())
            };
            assert_eq!((is_off, state(&mut fresh)), (false, (DeliveryState::Pending, true)));
            switch(&mut fresh, WebhookStatus::Disabled);
            let is_off = fresh.write(|it| note(it, tried.clone(), false, url, now)).unwrap();
            switch(&mut fresh, WebhookStatus::Active);
            let store = Store::open(&fresh.url, 1, 100).unwrap();
            bulk::give_up(&store, "wh".into()).await.unwrap();
            assert_eq!(
                (is_off, state(&mut fresh)),
                (true, (DeliveryState::Failed, false)),
                "{}",
                fresh.url
            );
        }
    }
}
