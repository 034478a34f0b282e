//! Webhooks: which addresses the shop wants to be told what happens (B4), and what became of it.

use chaffer_shared::event::name;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::audit::{self, action};
use super::messages::cut;
use super::object;
use super::validate::Problems;
use super::{Caller, ChatError, Context, Credentials, Refusal};
use crate::outgoing::Outgoing;
use crate::store::{
    Delivery, DeliveryState, Id, NewDelivery, Reader, Timestamp, Webhook, WebhookStatus, Writer,
};

/// The events that a webhook may subscribe to.
pub(crate) const EVENTS: [&str; 8] = [
    name::THREAD_CREATED,
    name::THREAD_UPDATED,
    name::MESSAGE_CREATED,
    name::MESSAGE_UPDATED,
    name::MESSAGE_DELETED,
    name::MESSAGE_FLAGGED,
    name::THREAD_READ,
    name::UNREAD_CHANGED,
];
/// Each is told everything it subscribes to, so more of them cost more.
const MAX_WEBHOOKS: usize = 20;
/// How long the secret before a rotation still signs as well.
const ROTATION: TimeDelta = TimeDelta::hours(24);
/// How old a delivery may be that is asked for again: older events may be kept no more.
const MAX_REPLAY: TimeDelta = TimeDelta::days(7);

/// A webhook to be made.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "url": "https://shop.example/hooks/chat", "events": ["message.created"],
    "description": "The CRM"
}))]
pub struct WebhookInput {
    /// Where to post.
    #[schema(example = "https://shop.example/hooks/chat", max_length = 2048)]
    pub url: String,
    /// What about; see the list of events.
    #[schema(example = json!(["message.created"]), min_items = 1)]
    pub events: Vec<String>,
    /// What the shop calls it.
    #[schema(max_length = 255)]
    pub description: Option<String>,
}

/// What is to change of a webhook; absent fields stay.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(example = json!({"status": "disabled"}))]
pub struct WebhookPatch {
    /// Where to post.
    #[serde(deserialize_with = "object::not_null")]
    #[schema(nullable = false)]
    pub url: Option<String>,
    /// What about.
    #[serde(deserialize_with = "object::not_null")]
    #[schema(nullable = false)]
    pub events: Option<Vec<String>>,
    /// What the shop calls it; null takes it away.
    #[serde(deserialize_with = "object::nullable")]
    #[schema(value_type = Option<String>)]
    pub description: Option<Option<String>>,
    /// Whether it is told anything. What still waits for one that is switched off is given up; switched on again it hears of
    /// what happens from then on, and what failed can be asked for.
    #[serde(deserialize_with = "object::not_null")]
    #[schema(nullable = false)]
    pub status: Option<WebhookStatus>,
}

/// A webhook.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({
    "id": "wh_9f2c61d0a4b8", "url": "https://shop.example/hooks/chat",
    "events": ["message.created"], "description": "The CRM", "status": "active",
    "disabled_reason": null, "created_at": "2026-03-01T09:30:00.000Z",
    "updated_at": "2026-03-01T09:30:00.000Z"
}))]
pub struct WebhookView {
    /// Its id.
    pub id: String,
    /// Where is posted.
    pub url: String,
    /// What about.
    pub events: Vec<String>,
    /// What the shop calls it.
    #[schema(required = true)]
    pub description: Option<String>,
    /// Whether it is told anything.
    pub status: WebhookStatus,
    /// Why it was switched off, where Chaffer did it.
    #[schema(required = true)]
    pub disabled_reason: Option<String>,
    /// When it was made.
    #[serde(with = "chaffer_shared::time")]
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    #[serde(with = "chaffer_shared::time")]
    pub updated_at: DateTime<Utc>,
    /// What verifies the signatures, as the libraries of Standard Webhooks take it. Shown when it is made, never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub secret: Option<String>,
}

/// All webhooks.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct WebhookList {
    /// The oldest first.
    pub webhooks: Vec<WebhookView>,
}

/// One attempt to deliver a message.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "at": "2026-03-01T09:30:00.000Z", "status": 200, "error": null, "duration_ms": 41
}))]
pub struct AttemptView {
    /// When it began.
    #[serde(with = "chaffer_shared::time")]
    pub at: DateTime<Utc>,
    /// The HTTP status of the answer, if there was one.
    #[schema(required = true)]
    pub status: Option<u16>,
    /// Why there was none.
    #[schema(required = true)]
    pub error: Option<String>,
    /// How long it took, in milliseconds.
    pub duration_ms: i64,
}

/// One message to one webhook.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({
    "id": "msg_1207", "event": "message.created", "event_id": 1207, "state": "delivered",
    "attempts": [{
        "at": "2026-03-01T09:30:00.000Z", "status": 200, "error": null, "duration_ms": 41
    }],
    "next_attempt_at": null, "created_at": "2026-03-01T09:30:00.000Z"
}))]
pub struct DeliveryView {
    /// What the receiver knows it by (`webhook-id`), the same in every attempt.
    pub id: String,
    /// What about.
    pub event: String,
    /// The number of the event; null of a test call.
    #[schema(required = true)]
    pub event_id: Option<i64>,
    /// How far it has come.
    pub state: DeliveryState,
    /// What came of each attempt.
    pub attempts: Vec<AttemptView>,
    /// When it is tried next.
    #[serde(serialize_with = "chaffer_shared::time::option::serialize")]
    #[schema(required = true)]
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// When it was caused.
    #[serde(with = "chaffer_shared::time")]
    pub created_at: DateTime<Utc>,
}

/// A page of a webhook's deliveries.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct DeliveryPage {
    /// The newest first.
    pub deliveries: Vec<DeliveryView>,
    /// Where the next page begins; null at the end.
    #[schema(required = true, example = "1207")]
    pub next_cursor: Option<String>,
}

/// Which failed deliveries are to be made after all.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"since": "2026-03-01T09:30:00.000Z"}))]
pub struct ReplayInput {
    /// Those from this moment on, at most seven days ago.
    pub since: DateTime<Utc>,
}

/// How many they are.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({"replayed": 12}))]
pub struct Replayed {
    /// Deliveries that will be tried again.
    pub replayed: usize,
}

impl From<Webhook> for WebhookView {
    fn from(webhook: Webhook) -> Self {
        Self {
            id: webhook.id,
            url: webhook.url,
            events: serde_json::from_str(&webhook.events).unwrap_or_default(),
            description: webhook.description,
            status: webhook.status,
            disabled_reason: webhook.disabled_reason,
            created_at: webhook.created_at.and_utc(),
            updated_at: webhook.updated_at.and_utc(),
            secret: None,
        }
    }
}

impl From<Delivery> for DeliveryView {
    fn from(delivery: Delivery) -> Self {
        Self {
            id: delivery.message_id,
            event: delivery.event,
            event_id: delivery.event_id,
            state: delivery.state,
            attempts: serde_json::from_str(&delivery.attempts).unwrap_or_default(),
            next_attempt_at: delivery.next_attempt_at.map(|at| at.and_utc()),
            created_at: delivery.created_at.and_utc(),
        }
    }
}

fn may(reader: &mut Reader<'_>, credentials: &Credentials) -> Result<(), ChatError> {
    Caller::resolve(reader, credentials)?.require_backend_or_root()
}

/// Notes what was done to a webhook: never its address or secret.
fn note(
    writer: &mut Writer<'_>,
    credentials: &Credentials,
    context: &Context,
    action: &'static str,
    id: &str,
    data: Option<serde_json::Value>,
) -> Result<(), ChatError> {
    let caller = Caller::resolve(writer, credentials)?;
    audit::note(writer, &caller, context, action, format!("webhook:{id}"), data)
}

/// One webhook, for a caller who may look after it.
fn open(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
    id: &str,
) -> Result<Webhook, ChatError> {
    may(reader, credentials)?;
    Ok(reader.webhook(id)?.ok_or(Refusal::WebhookNotFound)?)
}

/// The same, for a call that makes it be told something.
fn open_active(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
    id: &str,
) -> Result<Webhook, ChatError> {
    let webhook = open(reader, credentials, id)?;
    match webhook.status {
        WebhookStatus::Active => Ok(webhook),
        WebhookStatus::Disabled => Err(Refusal::WebhookDisabled.into()),
    }
}

fn check_url(problems: &mut Problems, outgoing: &Outgoing, text: &str) {
    problems.url("/url", Some(text));
    if let Ok(url) = url::Url::parse(text)
        && let Err(error) = outgoing.check(&url)
    {
        problems.add("/url", error.to_string());
    }
}

fn check_events(problems: &mut Problems, events: &[String]) {
    if events.is_empty() {
        problems.add("/events", "must name at least one event");
    }
    for (number, event) in events.iter().enumerate() {
        if events.iter().take(number).any(|before| before == event) {
            problems.add(&format!("/events/{number}"), "is named twice");
            // Whatever follows: there are no more than there are events.
            break;
        }
        if !EVENTS.contains(&event.as_str()) {
            let known = EVENTS.join(", ");
            problems.add(&format!("/events/{number}"), format!("must be one of {known}"));
        }
    }
}

fn check_description(problems: &mut Problems, description: Option<&str>) {
    problems.optional_line("/description", description);
}

fn list_of(events: &[String]) -> String {
    serde_json::Value::from_iter(events.iter().cloned()).to_string()
}

/// All webhooks.
///
/// # Errors
/// Why the caller may not.
pub(crate) fn list(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
) -> Result<WebhookList, ChatError> {
    may(reader, credentials)?;
    Ok(WebhookList { webhooks: reader.webhooks()?.into_iter().map(Into::into).collect() })
}

/// One webhook.
///
/// # Errors
/// Why the caller may not, or that there is none.
pub(crate) fn get(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
    id: &str,
) -> Result<WebhookView, ChatError> {
    Ok(open(reader, credentials, id)?.into())
}

/// Makes a webhook; it hears of what happens from now on. Id and secret are made by the caller, who may draw lots.
///
/// # Errors
/// What is wrong with the fields, or why the caller may not.
pub(crate) fn create(
    writer: &mut Writer<'_>,
    credentials: &Credentials,
    context: &Context,
    outgoing: &Outgoing,
    (id, secret): (&str, &str),
    input: &WebhookInput,
) -> Result<WebhookView, ChatError> {
    may(writer, credentials)?;
    let mut problems = Problems::default();
    check_url(&mut problems, outgoing, &input.url);
    check_events(&mut problems, &input.events);
    check_description(&mut problems, input.description.as_deref());
    problems.finish()?;
    if writer.webhooks()?.len() >= MAX_WEBHOOKS {
        return Err(Refusal::TooManyWebhooks.into());
    }
    let webhook = Webhook {
        id: id.to_owned(),
        url: input.url.clone(),
        description: input.description.clone(),
        events: list_of(&input.events),
        secret: secret.to_owned(),
        previous_secret: None,
        previous_until: None,
        status: WebhookStatus::Active,
        disabled_reason: None,
        position: writer.current_event(),
        created_at: context.timestamp(),
        updated_at: context.timestamp(),
        deleted_at: None,
    };
    writer.insert_webhook(&webhook)?;
    let data = serde_json::json!({"events": input.events});
    note(writer, credentials, context, action::WEBHOOK_CREATED, id, Some(data))?;
    Ok(WebhookView { secret: Some(secret.to_owned()), ..webhook.into() })
}

/// Changes a webhook.
///
/// # Errors
/// What is wrong with the fields, or why the caller may not.
pub(crate) fn patch(
    writer: &mut Writer<'_>,
    credentials: &Credentials,
    context: &Context,
    outgoing: &Outgoing,
    id: &str,
    input: &WebhookPatch,
) -> Result<WebhookView, ChatError> {
    let mut webhook = open(writer, credentials, id)?;
    let mut problems = Problems::default();
    if let Some(url) = &input.url {
        check_url(&mut problems, outgoing, url);
        webhook.url.clone_from(url);
    }
    if let Some(events) = &input.events {
        check_events(&mut problems, events);
        webhook.events = list_of(events);
    }
    if let Some(description) = &input.description {
        check_description(&mut problems, description.as_deref());
        webhook.description.clone_from(description);
    }
    problems.finish()?;
    if let Some(status) = input.status
        && status != webhook.status
    {
        webhook.status = status;
        webhook.disabled_reason = None;
        match status {
            WebhookStatus::Active => webhook.position = writer.current_event(),
            // What still waits is given up behind this, in pieces.
            WebhookStatus::Disabled => {}
        }
    }
    webhook.updated_at = context.timestamp();
    writer.update_webhook(&webhook)?;
    let data = serde_json::json!({
        "url": input.url.is_some(),
        "description": input.description.is_some(),
        "events": input.events,
        "status": input.status,
    });
    note(writer, credentials, context, action::WEBHOOK_CHANGED, id, Some(data))?;
    Ok(webhook.into())
}

/// Takes a webhook away for good: what is left of it is forgotten behind this, in pieces.
///
/// # Errors
/// Why the caller may not, or that there is none.
pub(crate) fn delete(
    writer: &mut Writer<'_>,
    credentials: &Credentials,
    context: &Context,
    id: &str,
) -> Result<(), ChatError> {
    let mut webhook = open(writer, credentials, id)?;
    webhook.status = WebhookStatus::Disabled;
    webhook.deleted_at = Some(context.timestamp());
    writer.update_webhook(&webhook)?;
    note(writer, credentials, context, action::WEBHOOK_DELETED, id, None)
}

/// Gives a webhook another secret. For a day both sign, so that the receiver can be changed without a pause.
///
/// # Errors
/// Why the caller may not, or that there is none.
pub(crate) fn rotate(
    writer: &mut Writer<'_>,
    credentials: &Credentials,
    context: &Context,
    id: &str,
    secret: &str,
) -> Result<WebhookView, ChatError> {
    let mut webhook = open(writer, credentials, id)?;
    webhook.previous_secret = Some(std::mem::replace(&mut webhook.secret, secret.to_owned()));
    webhook.previous_until = Some(context.timestamp() + ROTATION);
    webhook.updated_at = context.timestamp();
    writer.update_webhook(&webhook)?;
    note(writer, credentials, context, action::WEBHOOK_SECRET_ROTATED, id, None)?;
    Ok(WebhookView { secret: Some(secret.to_owned()), ..webhook.into() })
}

/// Sends a webhook a message that says nothing, so that the receiver can be tried.
///
/// # Errors
/// Why the caller may not, that there is none, or that it is switched off.
pub(crate) fn test(
    writer: &mut Writer<'_>,
    credentials: &Credentials,
    context: &Context,
    id: &str,
    message: &str,
) -> Result<DeliveryView, ChatError> {
    open_active(writer, credentials, id)?;
    writer.insert_deliveries(&[NewDelivery {
        webhook_id: id.to_owned(),
        message_id: message.to_owned(),
        event: crate::webhooks::TEST.into(),
        event_id: None,
        state: DeliveryState::Pending,
        attempts: "[]".into(),
        tries: 0,
        next_attempt_at: Some(context.timestamp()),
        created_at: context.timestamp(),
    }])?;
    Ok(writer.delivery(id, message)?.ok_or(Refusal::DeliveryNotFound)?.into())
}

/// A page of what was delivered, or was to be.
///
/// # Errors
/// Why the caller may not, or that there is no such webhook.
pub(crate) fn deliveries(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
    id: &str,
    state: Option<DeliveryState>,
    below: Option<Id>,
    limit: i64,
) -> Result<DeliveryPage, ChatError> {
    open(reader, credentials, id)?;
    let mut found = reader.deliveries(id, state, below, limit + 1)?;
    let more = cut(&mut found, limit);
    let last = found.last().map(|delivery| delivery.id.to_string());
    Ok(DeliveryPage {
        deliveries: found.into_iter().map(Into::into).collect(),
        next_cursor: last.filter(|_| more),
    })
}

/// One delivery.
///
/// # Errors
/// Why the caller may not, or that there is none.
pub(crate) fn delivery(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
    id: &str,
    message: &str,
) -> Result<DeliveryView, ChatError> {
    open(reader, credentials, id)?;
    Ok(reader.delivery(id, message)?.ok_or(Refusal::DeliveryNotFound)?.into())
}

/// Makes one delivery again, under the same id: whether it failed or the receiver lost it.
///
/// # Errors
/// Why the caller may not, that there is none, or that the webhook is switched off.
pub(crate) fn replay(
    writer: &mut Writer<'_>,
    credentials: &Credentials,
    context: &Context,
    id: &str,
    message: &str,
) -> Result<DeliveryView, ChatError> {
    open_active(writer, credentials, id)?;
    let mut delivery = writer.delivery(id, message)?.ok_or(Refusal::DeliveryNotFound)?;
    delivery.state = DeliveryState::Pending;
    delivery.tries = 0;
    delivery.next_attempt_at = Some(context.timestamp());
    writer.update_delivery(&delivery)?;
    let data = serde_json::json!({"delivery": message});
    note(writer, credentials, context, action::WEBHOOK_REPLAYED, id, Some(data))?;
    Ok(delivery.into())
}

/// The first delivery that may have failed since a moment: the receiver was down for longer than is tried.
///
/// # Errors
/// Why the caller may not, that there is no such webhook, or that it is switched off.
pub(crate) fn replayable(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
    context: &Context,
    id: &str,
    since: DateTime<Utc>,
) -> Result<Option<Id>, ChatError> {
    open_active(reader, credentials, id)?;
    let earliest: Timestamp = context.timestamp() - MAX_REPLAY;
    let mut problems = Problems::default();
    if since.naive_utc() < earliest {
        problems.add("/since", "must not be more than seven days ago");
    }
    problems.finish()?;
    Ok(reader.first_delivery_since(since.naive_utc())?)
}

/// Notes that deliveries are made again, and how many.
///
/// # Errors
/// Why the caller may not.
pub(crate) fn note_replay(
    writer: &mut Writer<'_>,
    credentials: &Credentials,
    context: &Context,
    id: &str,
    since: DateTime<Utc>,
    replayed: usize,
) -> Result<(), ChatError> {
    let data = serde_json::json!({"since": since, "deliveries": replayed});
    note(writer, credentials, context, action::WEBHOOK_REPLAYED, id, Some(data))
}
