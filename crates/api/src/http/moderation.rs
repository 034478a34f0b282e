//! What administrators see besides: originals of masked messages, the log of who did what.

use actix_web::web::{Json, Path};
use actix_web::{HttpRequest, HttpResponse, get};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Shared;
use super::error::Problem;
use super::extract::{Nothing, Query, Sender, context, paging, path_number};
use super::openapi::Errors;
use super::threads::moment;
use crate::chat::audit::{self, AuditPage};
use crate::chat::changes::{self, HistoryView};
use crate::chat::originals::{self, OriginalView};
use crate::store::AuditFilter;

/// A masked message as it was written, for an administrator who manages messages. Each look is noted in the audit log.
#[utoipa::path(
    tag = "messages",
    params(("id" = i64, Path, description = "The message's number"), super::ActingUser),
    responses((status = 200, body = OriginalView), Errors),
)]
#[get("/v1/messages/{id}/original")]
pub(super) async fn get_original(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    _: Query<Nothing>,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let context = context(&request);
    let id = path_number(&id).unwrap_or(0);
    // It writes, too: who looked.
    let original =
        state.store.write(move |writer| originals::get(writer, &sender.0, &context, id)).await?;
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(original))
}

/// All that a message has said, taken back or not, for an administrator who manages messages. Each look is noted in the audit
/// log.
#[utoipa::path(
    tag = "messages",
    params(("id" = i64, Path, description = "The message's number"), super::ActingUser),
    responses((status = 200, body = HistoryView), Errors),
)]
#[get("/v1/messages/{id}/history")]
pub(super) async fn get_history(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    _: Query<Nothing>,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let context = context(&request);
    let id = path_number(&id).unwrap_or(0);
    // It writes, too: who looked.
    let history =
        state.store.write(move |writer| changes::history(writer, &sender.0, &context, id)).await?;
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(history))
}

/// Which entries of the log.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AuditQuery {
    /// By this user.
    actor_id: Option<String>,
    /// Of this kind, e.g. `message.original_read`.
    action: Option<String>,
    /// Done to this, e.g. `user:7`.
    target: Option<String>,
    /// From this moment on.
    since: Option<DateTime<Utc>>,
    /// Before this moment.
    until: Option<DateTime<Utc>>,
    /// Length of a page: 30 unless given, at most 100.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// What the shop's backend and its staff did, the newest first; for the backend and root administrators.
#[utoipa::path(
    tag = "audit",
    params(AuditQuery, super::ActingUser),
    responses((status = 200, body = AuditPage), Errors),
)]
#[get("/v1/audit-log")]
pub(super) async fn get_audit_log(
    state: Shared,
    sender: Sender,
    query: Query<AuditQuery>,
) -> Result<Json<AuditPage>, Problem> {
    let query = query.0;
    let (limit, below) = paging(query.limit, query.cursor.as_deref())?;
    let filter = AuditFilter {
        actor_id: query.actor_id,
        action: query.action,
        target: query.target,
        since: moment("since", query.since)?,
        until: moment("until", query.until)?,
        below,
    };
    Ok(Json(state.store.read(move |reader| audit::list(reader, &sender.0, &filter, limit)).await?))
}
