//! `/v1/users`: the shop mirrors its users and fetches their tokens.

use actix_web::web::{Json, Path};
use actix_web::{HttpRequest, HttpResponse, delete, get, patch, post, put};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::Problem;
use super::extract::{Body, Nothing, Query, Sender, context};
use super::middleware::random_id;
use super::openapi::{BodyErrors, Errors};
use super::{Shared, answer};
use crate::chat::erasure;
use crate::chat::users::{self, TokenRequest, UserInput, UserPatch};
use crate::chat::views::UserView;

/// A user's token.
#[derive(Debug, Serialize, ToSchema)]
#[schema(
    example = json!({
        "token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI3In0.c2lnbmF0dXJl",
        "expires_at": "2026-03-01T10:30:00.000Z", "websocket_url": "wss://shop.example/ws"
    })
)]
pub(super) struct Token {
    /// What the browser sends as `Authorization: Bearer`, and to the socket.
    token: String,
    /// When it ends.
    #[serde(with = "chaffer_shared::time")]
    expires_at: DateTime<Utc>,
    /// Where the browser opens its socket.
    #[schema(example = "wss://shop.example/ws")]
    websocket_url: String,
}

/// Mirrors a user of the shop; replaces all fields.
#[utoipa::path(
    tag = "users",
    request_body = UserInput,
    params(("id" = String, Path, description = "The shop's id of the user", max_length = 128), super::ActingUser),
    responses((status = 200, body = UserView, description = "Changed"), (status = 201, body = UserView, description = "New"), Errors, BodyErrors),
)]
#[put("/v1/users/{id}")]
pub(super) async fn put_user(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    _: Query<Nothing>,
    id: Path<String>,
    body: Body<UserInput>,
) -> Result<HttpResponse, Problem> {
    let context = context(&request);
    let done = state
        .store
        .write(move |writer| users::put(writer, &sender.0, &context, &id, &body.value))
        .await?;
    Ok(answer(done))
}

/// Changes some fields of a user.
#[utoipa::path(
    tag = "users",
    request_body = UserPatch,
    params(("id" = String, Path, description = "The shop's id of the user", max_length = 128), super::ActingUser),
    responses((status = 200, body = UserView), Errors, BodyErrors),
)]
#[patch("/v1/users/{id}")]
pub(super) async fn patch_user(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    _: Query<Nothing>,
    id: Path<String>,
    body: Body<UserPatch>,
) -> Result<Json<UserView>, Problem> {
    let context = context(&request);
    Ok(Json(
        state
            .store
            .write(move |writer| users::patch(writer, &sender.0, &context, &id, body.value.clone()))
            .await?,
    ))
}

/// One user, as the shop mirrored it.
#[utoipa::path(
    tag = "users",
    params(("id" = String, Path, description = "The shop's id of the user", max_length = 128), super::ActingUser),
    responses((status = 200, body = UserView), Errors),
)]
#[get("/v1/users/{id}")]
pub(super) async fn get_user(
    state: Shared,
    sender: Sender,
    _: Query<Nothing>,
    id: Path<String>,
) -> Result<Json<UserView>, Problem> {
    Ok(Json(state.store.read(move |reader| users::get(reader, &sender.0, &id)).await?))
}

/// Erases a person, for good: what the person wrote stays with those it was written to, as that of a "Deleted user". For the
/// shop's backend and root administrators; noted in the audit log. Again is the same as once.
#[utoipa::path(
    tag = "users",
    params(("id" = String, Path, description = "The shop's id of the user", max_length = 128), super::ActingUser),
    responses((status = 204, description = "Erased, now or before"), Errors),
)]
#[delete("/v1/users/{id}")]
pub(super) async fn erase_user(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    _: Query<Nothing>,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let context = context(&request);
    state.store.write(move |writer| erasure::erase(writer, &sender.0, &context, &id)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// A short-lived token for a user's browser. Not kept, so it takes no `Idempotency-Key`.
#[utoipa::path(
    tag = "users",
    request_body = TokenRequest,
    params(("id" = String, Path, description = "The shop's id of the user", max_length = 128), super::ActingUser),
    responses((status = 201, body = Token), Errors, BodyErrors),
)]
#[post("/v1/users/{id}/tokens")]
pub(super) async fn create_token(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    _: Query<Nothing>,
    id: Path<String>,
    body: Body<TokenRequest>,
) -> Result<HttpResponse, Problem> {
    let context = context(&request);
    let jti = random_id();
    let claims = state
        .store
        .read(move |reader| users::token(reader, &sender.0, &context, &id, &jti, &body.value))
        .await?;
    Ok(HttpResponse::Created().json(Token {
        token: super::sign(&state, &claims)?,
        expires_at: claims.expires_at(),
        websocket_url: state.config.websocket_url(),
    }))
}
