//! `/v1/widget/sessions`: tokens for visitors, who have no account.

use actix_web::{HttpRequest, HttpResponse, post};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::Problem;
use super::extract::{Body, Nothing, Query, Returning, context};
use super::middleware::random_id;
use super::openapi::{BodyErrors, Errors};
use super::{Shared, answer};
use crate::chat::visitors::{self, VisitorInput};

/// A visitor's session.
#[derive(Debug, Serialize, ToSchema)]
#[schema(
    example = json!({
        "visitor_id": "visitor:0f8c2a6be1d94f0a9c3d5e7f81a2b3c4",
        "token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ2aXNpdG9yOjBmIn0.c2lnbmF0dXJl",
        "expires_at": "2026-03-01T10:30:00.000Z", "websocket_url": "wss://shop.example/ws"
    })
)]
pub(super) struct VisitorSession {
    /// Who the visitor is in threads and messages.
    visitor_id: String,
    /// What the browser sends as `Authorization: Bearer`, and to the socket; kept, it brings the visitor back.
    token: String,
    /// When it ends.
    #[serde(with = "chaffer_shared::time")]
    expires_at: DateTime<Utc>,
    /// Where the browser opens its socket.
    #[schema(example = "wss://shop.example/ws")]
    websocket_url: String,
}

/// A token for a visitor without an account, for whoever asks: it opens support threads of its own, and nothing else. With the
/// token of before, for a month after its end, the visitor stays the same. Nothing is stored until the first thread is
/// started. The setting `visitors_may_write` switches it off.
#[utoipa::path(
    tag = "visitors",
    request_body = VisitorInput,
    security((), ("bearer" = [])),
    responses((status = 200, body = VisitorSession, description = "The same visitor, with a new token"), (status = 201, body = VisitorSession, description = "A new visitor"), Errors, BodyErrors),
)]
#[post("/v1/widget/sessions")]
pub(super) async fn begin_session(
    state: Shared,
    request: HttpRequest,
    returning: Returning,
    _: Query<Nothing>,
    body: Body<VisitorInput>,
) -> Result<HttpResponse, Problem> {
    let (context, jti, input) = (context(&request), random_id(), body.value);
    let is_new = returning.0.is_none();
    let claims = match returning.0 {
        None => {
            let unique = random_id();
            state
                .store
                .read(move |reader| visitors::begin(reader, &context, &unique, &jti, &input))
                .await?
        }
        Some(before) => {
            state
                .store
                .write(move |writer| visitors::renew(writer, &before, &context, &jti, &input))
                .await?
        }
    };
    let session = VisitorSession {
        token: super::sign(&state, &claims)?,
        expires_at: claims.expires_at(),
        visitor_id: claims.sub,
        websocket_url: state.config.websocket_url(),
    };
    Ok(answer((session, is_new)))
}
