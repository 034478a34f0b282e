//! `/v1/support`: threads that wait for an operator, and who has which.

use actix_web::web::{Json, Path};
use actix_web::{HttpRequest, get, post};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Shared;
use super::error::Problem;
use super::extract::{Nothing, Query, Sender, context, paging, thread_id};
use super::openapi::Errors;
use crate::chat::support::{self, SupportQueue};
use crate::chat::views::ThreadView;

/// Which part of the queue.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct QueueQuery {
    /// Length of a page: 30 unless given, at most 100.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Support threads that nobody has taken, the oldest first; for operators and administrators who manage messages. Each change
/// is told as `thread.updated`.
#[utoipa::path(
    tag = "support",
    params(QueueQuery, super::ActingUser),
    responses((status = 200, body = SupportQueue), Errors),
)]
#[get("/v1/support/queue")]
pub(super) async fn get_queue(
    state: Shared,
    sender: Sender,
    query: Query<QueueQuery>,
) -> Result<Json<SupportQueue>, Problem> {
    let (limit, after) = paging(query.0.limit, query.0.cursor.as_deref())?;
    Ok(Json(state.store.read(move |reader| support::queue(reader, &sender.0, after, limit)).await?))
}

/// Takes a support thread: of two who try, one has it and the other gets 409. Whoever answers one that waits has taken it, too.
#[utoipa::path(
    tag = "support",
    params(("id" = i64, Path, description = "The ticket number"), super::ActingUser),
    responses((status = 200, body = ThreadView), (status = 409, body = Problem, content_type = "application/problem+json", description = "Somebody else has it, or it is closed"), Errors),
)]
#[post("/v1/threads/{id}/take")]
pub(super) async fn take_thread(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    _: Query<Nothing>,
    id: Path<String>,
) -> Result<Json<ThreadView>, Problem> {
    let (id, context) = (thread_id(&id)?, context(&request));
    Ok(Json(state.store.write(move |writer| support::take(writer, &sender.0, &context, id)).await?))
}

/// Puts a support thread back into the queue; for who has it, and administrators who manage messages.
#[utoipa::path(
    tag = "support",
    params(("id" = i64, Path, description = "The ticket number"), super::ActingUser),
    responses((status = 200, body = ThreadView), (status = 409, body = Problem, content_type = "application/problem+json", description = "Nobody has it, or somebody else"), Errors),
)]
#[post("/v1/threads/{id}/release")]
pub(super) async fn release_thread(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    _: Query<Nothing>,
    id: Path<String>,
) -> Result<Json<ThreadView>, Problem> {
    let (id, context) = (thread_id(&id)?, context(&request));
    Ok(Json(
        state.store.write(move |writer| support::release(writer, &sender.0, &context, id)).await?,
    ))
}
