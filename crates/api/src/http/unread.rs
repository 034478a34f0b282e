//! What is unread, and that it has been read.

use actix_web::web::{Json, Path};
use actix_web::{HttpRequest, get, post};

use super::Shared;
use super::error::Problem;
use super::extract::{Body, Nothing, Query, Sender, context, thread_id};
use super::openapi::{BodyErrors, Errors};
use crate::chat::unread::{
    self, ReadUpTo, Unread, UnreadBatch, UnreadCount, UnreadCounts, UnreadFrom,
};

/// Notes how far the caller has read a thread. Never goes back.
#[utoipa::path(
    tag = "unread",
    request_body = ReadUpTo,
    params(("id" = i64, Path, description = "The ticket number"), super::ActingUser),
    responses((status = 200, body = UnreadCount), Errors, BodyErrors),
)]
#[post("/v1/threads/{id}/read")]
pub(super) async fn mark_read(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    _: Query<Nothing>,
    id: Path<String>,
    body: Body<ReadUpTo>,
) -> Result<Json<UnreadCount>, Problem> {
    let id = thread_id(&id)?;
    let context = context(&request);
    Ok(Json(
        state
            .store
            .write(move |writer| unread::read(writer, &sender.0, &context, id, &body.value))
            .await?,
    ))
}

/// Marks a thread as unread for the caller alone, from a message on, or from the last one of the others.
#[utoipa::path(
    tag = "unread",
    request_body = UnreadFrom,
    params(("id" = i64, Path, description = "The ticket number"), super::ActingUser),
    responses((status = 200, body = UnreadCount), Errors, BodyErrors),
)]
#[post("/v1/threads/{id}/unread")]
pub(super) async fn mark_unread(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    _: Query<Nothing>,
    id: Path<String>,
    body: Body<UnreadFrom>,
) -> Result<Json<UnreadCount>, Problem> {
    let id = thread_id(&id)?;
    let context = context(&request);
    Ok(Json(
        state
            .store
            .write(move |writer| unread::mark_unread(writer, &sender.0, &context, id, &body.value))
            .await?,
    ))
}

/// What the caller has not read.
#[utoipa::path(
    tag = "unread",
    params(super::ActingUser),
    responses((status = 200, body = Unread), Errors),
)]
#[get("/v1/unread")]
pub(super) async fn get_unread(
    state: Shared,
    sender: Sender,
    _: Query<Nothing>,
) -> Result<Json<Unread>, Problem> {
    Ok(Json(state.store.read(move |reader| unread::overview(reader, &sender.0)).await?))
}

/// The badges of several users, for the shop's pages.
#[utoipa::path(
    tag = "unread",
    request_body = UnreadBatch,
    responses((status = 200, body = UnreadCounts), Errors, BodyErrors),
)]
#[post("/v1/unread/batch")]
pub(super) async fn get_unread_batch(
    state: Shared,
    sender: Sender,
    _: Query<Nothing>,
    body: Body<UnreadBatch>,
) -> Result<Json<UnreadCounts>, Problem> {
    Ok(Json(state.store.read(move |reader| unread::batch(reader, &sender.0, &body.value)).await?))
}
