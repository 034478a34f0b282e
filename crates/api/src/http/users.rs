//! `/v1/users`: the shop mirrors its users and fetches their tokens.

use actix_web::body::SizedStream;
use actix_web::http::{StatusCode, header};
use actix_web::web::{Bytes, Json, Path};
use actix_web::{HttpRequest, HttpResponse, delete, get, patch, post, put};
use chrono::{DateTime, Utc};
use futures_util::stream;
use serde::Serialize;
use tokio::io::AsyncReadExt;
use utoipa::ToSchema;

use super::attachments::unavailable;
use super::error::Problem;
use super::extract::{Body, Nothing, Query, Sender, context};
use super::middleware::random_id;
use super::openapi::{BodyErrors, Errors};
use super::{Shared, answer};
use crate::chat::users::{self, TokenRequest, UserInput, UserPatch};
use crate::chat::views::UserView;
use crate::chat::{ChatError, export as person};
use crate::erasure;
use crate::export::{self, ExportError};
use crate::store::StoreError;

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
    erasure::erase(&state.store, sender.0, context, id.into_inner()).await?;
    state.files.sweep();
    Ok(HttpResponse::NoContent().finish())
}

/// All that is kept of one person, as a ZIP of JSON files: profile, read states, mails, what the audit log says that the person
/// did, each thread with its messages as the person may see them, and the files that the person uploaded. For the person, the shop's backend and root
/// administrators; noted in the audit log.
#[utoipa::path(
    tag = "users",
    params(("id" = String, Path, description = "The shop's id of the user", max_length = 128), super::ActingUser),
    responses((status = 200, body = Vec<u8>, content_type = "application/zip", description = "The archive"), (status = 409, body = Problem, content_type = "application/problem+json", description = "The person was erased"), Errors),
)]
#[get("/v1/users/{id}/export")]
pub(super) async fn export_user(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    _: Query<Nothing>,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let (context, turn) = (context(&request), export::Turn::take()?);
    let begin = move |writer: &mut crate::store::Writer<'_>| {
        person::begin(writer, &sender.0, &context, &id)
    };
    let user = state.store.write(begin).await?;
    let bounds = export::Bounds::default();
    let packed =
        export::pack(state.store.clone(), std::sync::Arc::clone(&state.files), user, turn, bounds)
            .await;
    let file = packed.map_err(not_packed)?;
    let failed = |error| ChatError::from(StoreError::File("cannot read an export".into(), error));
    let length = file.metadata().map_err(failed)?.len();
    let file = tokio::fs::File::from_std(file);
    let chunks = stream::try_unfold(file, async |mut file| {
        let mut chunk = vec![0; CHUNK];
        let count = file.read(&mut chunk).await?;
        chunk.truncate(count);
        Ok::<_, std::io::Error>((count > 0).then(|| (Bytes::from(chunk), file)))
    });
    Ok(HttpResponse::Ok()
        .content_type("application/zip")
        .insert_header((header::CONTENT_DISPOSITION, "attachment; filename=\"export.zip\""))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(SizedStream::new(length, chunks)))
}

fn not_packed(error: ExportError) -> Problem {
    match error {
        ExportError::Chat(error) => error.into(),
        ExportError::Files(error) => unavailable(&error),
        ExportError::TooLong(longest) => {
            tracing::error!(?longest, "an export was given up: is the storage for files too slow?");
            let detail = format!(
                "The export took longer than {} minutes and was given up; nothing of it is kept. \
                 The storage for files, or the database, is too slow at the moment: try again later.",
                longest.as_secs() / 60
            );
            let status = StatusCode::SERVICE_UNAVAILABLE;
            Problem { retry_after: Some(60), ..Problem::new(status, "export_too_long", detail) }
        }
    }
}

/// How much of an export is read and sent at a time.
const CHUNK: usize = 64 * 1024;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b6_whoever_waits_for_an_export_that_takes_too_long_is_told_so() {
        let half_an_hour = std::time::Duration::from_secs(1800);
        let problem = not_packed(ExportError::TooLong(half_an_hour));
        assert_eq!((problem.status, problem.code.as_str()), (503, "export_too_long"));
        assert!(problem.detail.contains("longer than 30 minutes"), "{}", problem.detail);
        assert_eq!(problem.retry_after, Some(60));
    }
}
