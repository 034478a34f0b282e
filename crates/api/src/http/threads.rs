//! `/v1/threads`: conversations.

use actix_web::web::{Json, Path};
use actix_web::{HttpRequest, HttpResponse, get, patch, post};
use chrono::{DateTime, Datelike, Utc};
use serde::Deserialize;
use utoipa::IntoParams;

use super::error::Problem;
use super::extract::{Body, Nothing, Query, Sender, context, paging, thread_id};
use super::openapi::{BodyErrors, Errors};
use super::{Shared, answer, limits};
use crate::chat::FieldError;
use crate::chat::screening::WordList;
use crate::chat::starting::{self, ThreadStart};
use crate::chat::threads::{self, ThreadPage, ThreadPatch};
use crate::chat::views::ThreadView;
use crate::store::{SubjectType, ThreadFilter, ThreadStatus, Writer};

/// Which threads are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// With something unread, or without.
    unread: Option<bool>,
    /// With a flagged message, or without (R11).
    flagged: Option<bool>,
    /// With this vendor.
    vendor_id: Option<String>,
    /// With this customer.
    customer_id: Option<String>,
    /// About this kind of thing.
    subject_type: Option<SubjectType>,
    /// Open or closed.
    status: Option<ThreadStatus>,
    /// Started after this moment.
    created_after: Option<DateTime<Utc>>,
    /// Started before this moment.
    created_before: Option<DateTime<Utc>>,
    /// Length of a page: 30 unless given, at most 100.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Starts a thread, or goes on with the open one that the customer has for this subject.
#[utoipa::path(
    tag = "threads",
    request_body = ThreadStart,
    params(super::CallHeaders),
    responses((status = 200, body = ThreadView, description = "The open thread, with the message appended"), (status = 201, body = ThreadView, description = "A new thread"), Errors, BodyErrors),
)]
#[post("/v1/threads")]
pub(super) async fn create_thread(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    _: Query<Nothing>,
    body: Body<ThreadStart>,
) -> Result<HttpResponse, Problem> {
    let context = context(&request);
    let key = body.idempotency_key(&request)?;
    if body.value.message.is_some() {
        // It may go into a thread that is there, which only the rule finds.
        let subject = &body.value.subject;
        let named = format!("{}:{}", subject.subject_type.as_str(), subject.id);
        limits::of_message(&request, &sender.0, named)?;
    }
    let shop_keys = state.config.keys.shop.clone();
    let (sender, input) = (sender.0, body.value);
    let rule = move |writer: &mut Writer<'_>, list: &WordList| {
        starting::start(writer, &sender, &context, list, key.as_ref(), &shop_keys, &input)
    };
    Ok(answer(state.word_list.write(&state.store, rule).await?))
}

/// The caller's threads, latest activity first.
#[utoipa::path(
    tag = "threads",
    params(ListQuery, super::ActingUser),
    responses((status = 200, body = ThreadPage), Errors),
)]
#[get("/v1/threads")]
pub(super) async fn list_threads(
    state: Shared,
    sender: Sender,
    query: Query<ListQuery>,
) -> Result<Json<ThreadPage>, Problem> {
    let query = query.0;
    let (limit, below) = paging(query.limit, query.cursor.as_deref())?;
    let naive = |name: &str, at: Option<DateTime<Utc>>| {
        // What both databases can hold.
        let known = at.is_none_or(|at| (1..=9999).contains(&at.year()));
        let problem = || FieldError::parameter(name, "must be in the years 1 to 9999");
        if known { Ok(at.map(|at| at.naive_utc())) } else { Err(Problem::invalid(vec![problem()])) }
    };
    let filter = ThreadFilter {
        unread: None,
        flagged: query.flagged,
        vendor_id: query.vendor_id,
        customer_id: query.customer_id,
        subject_type: query.subject_type,
        status: query.status,
        created_after: naive("created_after", query.created_after)?,
        created_before: naive("created_before", query.created_before)?,
        below,
    };
    let unread = query.unread;
    Ok(Json(
        state
            .store
            .read(move |reader| threads::list(reader, &sender.0, &filter, unread, limit))
            .await?,
    ))
}

/// One thread, with its participants and how far they have read.
#[utoipa::path(
    tag = "threads",
    params(("id" = i64, Path, description = "The ticket number"), super::ActingUser),
    responses((status = 200, body = ThreadView), Errors),
)]
#[get("/v1/threads/{id}")]
pub(super) async fn get_thread(
    state: Shared,
    sender: Sender,
    _: Query<Nothing>,
    id: Path<String>,
) -> Result<Json<ThreadView>, Problem> {
    let id = thread_id(&id)?;
    Ok(Json(state.store.read(move |reader| threads::get(reader, &sender.0, id)).await?))
}

/// Closes a thread, or opens it again. Whoever sits in it may; in a closed one nothing can be written. An entry with `system`
/// set says who did it.
#[utoipa::path(
    tag = "threads",
    request_body = ThreadPatch,
    params(("id" = i64, Path, description = "The ticket number"), super::ActingUser),
    responses((status = 200, body = ThreadView), Errors, BodyErrors),
)]
#[patch("/v1/threads/{id}")]
pub(super) async fn patch_thread(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    _: Query<Nothing>,
    id: Path<String>,
    body: Body<ThreadPatch>,
) -> Result<Json<ThreadView>, Problem> {
    let id = thread_id(&id)?;
    let context = context(&request);
    Ok(Json(
        state
            .store
            .write(move |writer| threads::patch(writer, &sender.0, &context, id, &body.value))
            .await?,
    ))
}

/// Tells the others that the caller is writing. Kept nowhere.
#[utoipa::path(
    tag = "threads",
    params(("id" = i64, Path, description = "The ticket number"), super::ActingUser),
    responses((status = 204, description = "Told"), (status = 409, body = Problem, content_type = "application/problem+json", description = "The thread is closed"), Errors),
)]
#[post("/v1/threads/{id}/typing")]
pub(super) async fn tell_typing(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    _: Query<Nothing>,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let id = thread_id(&id)?;
    let context = context(&request);
    let ephemeral = state.store.read(move |reader| threads::typing(reader, &sender.0, id)).await?;
    state.publisher.tell(ephemeral, context.now, &context.request_id);
    Ok(HttpResponse::NoContent().finish())
}
