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
use crate::chat::screening::WordList;
use crate::chat::starting::{self, ThreadStart};
use crate::chat::threads::{self, ThreadPage, ThreadPatch};
use crate::chat::views::ThreadView;
use crate::chat::{FieldError, search};
use crate::store::{Reader, SubjectType, ThreadFilter, ThreadStatus, Timestamp, Writer};

/// The query of a list of threads, and of what is found in them: the same filters, and `q`, which only a search must have.
macro_rules! list_query {
    ($name:ident, $q:ty) => {
        #[derive(Debug, Deserialize, IntoParams)]
        #[serde(deny_unknown_fields)]
        #[into_params(parameter_in = Query)]
        pub(super) struct $name {
            /// Only where a message says this: each word, or the beginning of it, in any order; words in double quotes as they
            /// stand there. At most 200 characters.
            #[param(max_length = 200, example = "dishwasher \"blue mug\"")]
            pub(super) q: $q,
            /// With something unread, or without.
            unread: Option<bool>,
            /// With a flagged message, or without (R11).
            flagged: Option<bool>,
            /// With this vendor.
            vendor_id: Option<String>,
            /// With this customer.
            customer_id: Option<String>,
            /// Support threads that this operator, or administrator, has taken.
            operator_id: Option<String>,
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

        impl $name {
            /// What is asked for besides `q`.
            pub(super) fn rest(self) -> Result<Asked, Problem> {
                let (limit, below) = paging(self.limit, self.cursor.as_deref())?;
                Ok(Asked {
                    filter: ThreadFilter {
                        unread: None,
                        flagged: self.flagged,
                        vendor_id: self.vendor_id,
                        customer_id: self.customer_id,
                        operator_id: self.operator_id,
                        subject_type: self.subject_type,
                        status: self.status,
                        created_after: moment("created_after", self.created_after)?,
                        created_before: moment("created_before", self.created_before)?,
                        below: None,
                    },
                    unread: self.unread,
                    below,
                    limit,
                })
            }
        }
    };
}

list_query!(ListQuery, Option<String>);
list_query!(SearchQuery, String);

/// Which threads, and which page.
pub(super) struct Asked {
    pub(super) filter: ThreadFilter,
    pub(super) unread: Option<bool>,
    pub(super) below: Option<i64>,
    pub(super) limit: i64,
}

/// A moment that both databases can hold.
pub(super) fn moment(name: &str, at: Option<DateTime<Utc>>) -> Result<Option<Timestamp>, Problem> {
    let known = at.is_none_or(|at| (1..=9999).contains(&at.year()));
    let problem = || FieldError::parameter(name, "must be in the years 1 to 9999");
    if known { Ok(at.map(|at| at.naive_utc())) } else { Err(Problem::invalid(vec![problem()])) }
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
    limits::of_new_thread(&request, &sender.0)?;
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

/// The caller's threads, latest activity first; with `q`, those in which a message says it.
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
    let mut query = query.0;
    let q = query.q.take();
    let Asked { filter, unread, below, limit } = query.rest()?;
    let filter = ThreadFilter { below, ..filter };
    let list = move |reader: &mut Reader<'_>| match &q {
        Some(q) => search::list_threads(reader, &sender.0, q, &filter, unread, limit),
        None => threads::list(reader, &sender.0, &filter, unread, limit),
    };
    Ok(Json(state.store.read(list).await?))
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
