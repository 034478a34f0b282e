//! `/v1/webhooks`: where the shop wants to be told what happens (B4).

use actix_web::web::{Json, Path};
use actix_web::{HttpRequest, HttpResponse, delete, get, patch, post};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Shared;
use super::error::Problem;
use super::extract::{Body, Nothing, Query, Sender, context, paging};
use super::openapi::{BodyErrors, Errors};
use crate::chat::webhooks::{
    self, DeliveryPage, DeliveryView, ReplayInput, Replayed, WebhookInput, WebhookList,
    WebhookPatch, WebhookView,
};
use crate::store::{DeliveryState, WebhookStatus};
use crate::webhooks::{bulk, new_secret};

/// Which deliveries are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeliveryQuery {
    /// Only those that have come so far.
    state: Option<DeliveryState>,
    /// Length of a page: 30 unless given, at most 100.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

fn random_id(prefix: &str) -> String {
    format!("{prefix}_{}", hex::encode(rand::random::<[u8; 8]>()))
}

/// All webhooks.
#[utoipa::path(
    tag = "webhooks",
    params(super::ActingUser),
    responses((status = 200, body = WebhookList), Errors),
)]
#[get("/v1/webhooks")]
pub(super) async fn list_webhooks(
    state: Shared,
    sender: Sender,
    _: Query<Nothing>,
) -> Result<Json<WebhookList>, Problem> {
    Ok(Json(state.store.read(move |reader| webhooks::list(reader, &sender.0)).await?))
}

/// Makes a webhook. Its messages are signed as Standard Webhooks says; the secret is in this answer alone.
#[utoipa::path(
    tag = "webhooks",
    request_body = WebhookInput,
    params(super::ActingUser),
    responses((status = 201, body = WebhookView, description = "Made; with its secret"), Errors, BodyErrors),
)]
#[post("/v1/webhooks")]
pub(super) async fn create_webhook(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    _: Query<Nothing>,
    body: Body<WebhookInput>,
) -> Result<HttpResponse, Problem> {
    let context = context(&request);
    let (id, secret, outgoing) = (random_id("wh"), new_secret(), state.outgoing.clone());
    let made = state
        .store
        .write(move |writer| {
            let lots = (id.as_str(), secret.as_str());
            webhooks::create(writer, &sender.0, &context, &outgoing, lots, &body.value)
        })
        .await?;
    state.webhooks.wake();
    Ok(HttpResponse::Created().json(made))
}

/// One webhook.
#[utoipa::path(
    tag = "webhooks",
    params(("id" = String, Path, description = "The webhook"), super::ActingUser),
    responses((status = 200, body = WebhookView), Errors),
)]
#[get("/v1/webhooks/{id}")]
pub(super) async fn get_webhook(
    state: Shared,
    sender: Sender,
    _: Query<Nothing>,
    id: Path<String>,
) -> Result<Json<WebhookView>, Problem> {
    Ok(Json(state.store.read(move |reader| webhooks::get(reader, &sender.0, &id)).await?))
}

/// Changes some fields of a webhook, or switches it on or off.
#[utoipa::path(
    tag = "webhooks",
    request_body = WebhookPatch,
    params(("id" = String, Path, description = "The webhook"), super::ActingUser),
    responses((status = 200, body = WebhookView), Errors, BodyErrors),
)]
#[patch("/v1/webhooks/{id}")]
pub(super) async fn patch_webhook(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    _: Query<Nothing>,
    id: Path<String>,
    body: Body<WebhookPatch>,
) -> Result<Json<WebhookView>, Problem> {
    let context = context(&request);
    let outgoing = state.outgoing.clone();
    let webhook = id.to_string();
    if body.value.status == Some(WebhookStatus::Active) {
        let (caller, id) = (sender.0.clone(), webhook.clone());
        state.store.read(move |reader| webhooks::get(reader, &caller, &id)).await?;
        // What waited when it was switched off must not go out now.
        bulk::give_up(&state.store, webhook.clone()).await?;
    }
    let changed = state
        .store
        .write(move |writer| {
            webhooks::patch(writer, &sender.0, &context, &outgoing, &id, &body.value)
        })
        .await?;
    if changed.status == WebhookStatus::Disabled {
        bulk::give_up(&state.store, webhook).await?;
    }
    state.webhooks.wake();
    Ok(Json(changed))
}

/// Forgets a webhook and its deliveries.
#[utoipa::path(
    tag = "webhooks",
    params(("id" = String, Path, description = "The webhook"), super::ActingUser),
    responses((status = 204, description = "Gone"), Errors),
)]
#[delete("/v1/webhooks/{id}")]
pub(super) async fn delete_webhook(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    _: Query<Nothing>,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let (context, webhook) = (context(&request), id.to_string());
    state.store.write(move |writer| webhooks::delete(writer, &sender.0, &context, &id)).await?;
    bulk::delete(&state.store, webhook).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Gives a webhook another secret; the one before signs as well for a day.
#[utoipa::path(
    tag = "webhooks",
    params(("id" = String, Path, description = "The webhook"), super::ActingUser),
    responses((status = 200, body = WebhookView, description = "With the new secret"), Errors),
)]
#[post("/v1/webhooks/{id}/rotate-secret")]
pub(super) async fn rotate_secret(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    _: Query<Nothing>,
    id: Path<String>,
) -> Result<Json<WebhookView>, Problem> {
    let (context, secret) = (context(&request), new_secret());
    let rotate = move |writer: &mut crate::store::Writer<'_>| {
        webhooks::rotate(writer, &sender.0, &context, &id, &secret)
    };
    Ok(Json(state.store.write(rotate).await?))
}

/// Sends the event `webhook.test`, so that the receiver can be tried; its outcome is in the log of deliveries.
#[utoipa::path(
    tag = "webhooks",
    params(("id" = String, Path, description = "The webhook"), super::ActingUser),
    responses((status = 202, body = DeliveryView, description = "Will be sent at once"), (status = 409, body = Problem, content_type = "application/problem+json", description = "The webhook is switched off"), Errors),
)]
#[post("/v1/webhooks/{id}/test")]
pub(super) async fn test_webhook(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    _: Query<Nothing>,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let (context, message) = (context(&request), random_id("msg_test"));
    let delivery = state
        .store
        .write(move |writer| webhooks::test(writer, &sender.0, &context, &id, &message))
        .await?;
    state.webhooks.wake();
    Ok(HttpResponse::Accepted().json(delivery))
}

/// What was delivered to a webhook, and what was not; the newest first.
#[utoipa::path(
    tag = "webhooks",
    params(("id" = String, Path, description = "The webhook"), DeliveryQuery, super::ActingUser),
    responses((status = 200, body = DeliveryPage), Errors),
)]
#[get("/v1/webhooks/{id}/deliveries")]
pub(super) async fn list_deliveries(
    state: Shared,
    sender: Sender,
    query: Query<DeliveryQuery>,
    id: Path<String>,
) -> Result<Json<DeliveryPage>, Problem> {
    let DeliveryQuery { state: wanted, limit, cursor } = query.0;
    let (limit, below) = paging(limit, cursor.as_deref())?;
    let page = state
        .store
        .read(move |reader| webhooks::deliveries(reader, &sender.0, &id, wanted, below, limit))
        .await?;
    Ok(Json(page))
}

/// One delivery.
#[utoipa::path(
    tag = "webhooks",
    params(("id" = String, Path, description = "The webhook"), ("delivery" = String, Path, description = "The delivery"), super::ActingUser),
    responses((status = 200, body = DeliveryView), Errors),
)]
#[get("/v1/webhooks/{id}/deliveries/{delivery}")]
pub(super) async fn get_delivery(
    state: Shared,
    sender: Sender,
    _: Query<Nothing>,
    path: Path<(String, String)>,
) -> Result<Json<DeliveryView>, Problem> {
    let (id, delivery) = path.into_inner();
    let find = move |reader: &mut crate::store::Reader<'_>| {
        webhooks::delivery(reader, &sender.0, &id, &delivery)
    };
    Ok(Json(state.store.read(find).await?))
}

/// Makes one delivery again, under the same id.
#[utoipa::path(
    tag = "webhooks",
    params(("id" = String, Path, description = "The webhook"), ("delivery" = String, Path, description = "The delivery"), super::ActingUser),
    responses((status = 202, body = DeliveryView, description = "Will be sent at once"), (status = 409, body = Problem, content_type = "application/problem+json", description = "The webhook is switched off"), Errors),
)]
#[post("/v1/webhooks/{id}/deliveries/{delivery}/replay")]
pub(super) async fn replay_delivery(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    _: Query<Nothing>,
    path: Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let context = context(&request);
    let (id, delivery) = path.into_inner();
    let delivery = state
        .store
        .write(move |writer| webhooks::replay(writer, &sender.0, &context, &id, &delivery))
        .await?;
    state.webhooks.wake();
    Ok(HttpResponse::Accepted().json(delivery))
}

/// Makes all deliveries again that failed since a moment.
#[utoipa::path(
    tag = "webhooks",
    request_body = ReplayInput,
    params(("id" = String, Path, description = "The webhook"), super::ActingUser),
    responses((status = 202, body = Replayed, description = "Will be sent at once"), Errors, BodyErrors),
)]
#[post("/v1/webhooks/{id}/replay-failed")]
pub(super) async fn replay_failed(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    _: Query<Nothing>,
    id: Path<String>,
    body: Body<ReplayInput>,
) -> Result<HttpResponse, Problem> {
    let context = context(&request);
    let id = id.into_inner();
    let replayed =
        bulk::replay_failed(&state.store, sender.0, context, id, body.value.since).await?;
    state.webhooks.wake();
    Ok(HttpResponse::Accepted().json(replayed))
}
