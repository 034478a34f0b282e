//! `/v1/threads/{id}/messages`: what is written, and what was.

use actix_web::web::{Json, Path};
use actix_web::{HttpRequest, HttpResponse, delete, get, patch, post};
use serde::Deserialize;
use utoipa::IntoParams;

use super::error::Problem;
use super::extract::{Body, Nothing, Query, Sender, context, paging, path_number, thread_id};
use super::openapi::{BodyErrors, Errors};
use super::{Shared, answer, limits};
use crate::chat::changes::{self, MessageChange};
use crate::chat::messages::{self, History, HistoryCursor, MessageDraft, MessagePage};
use crate::chat::screening::WordList;
use crate::chat::views::MessageView;
use crate::chat::{FieldError, Refusal};
use crate::store::Writer;

/// Which part of the history; at most one of `before`, `after`, `around` and `cursor`.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct HistoryQuery {
    /// Right before this message.
    before: Option<i64>,
    /// Right after this message; 0 for the beginning.
    after: Option<i64>,
    /// With this message in the middle.
    around: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Length of a page: 30 unless given, at most 100.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<i64>,
}

impl HistoryQuery {
    /// The length of the page, and where it is.
    fn wanted(&self) -> Result<(i64, History), Problem> {
        let (limit, cursor) = paging(self.limit, self.cursor.as_deref())?;
        let given = [
            self.before.map(History::Before),
            self.after.map(History::After),
            self.around.map(History::Around),
            cursor.map(|HistoryCursor(history)| history),
        ];
        let mut given = given.into_iter().flatten();
        let wanted = given.next().unwrap_or(History::Newest);
        if given.next().is_some() {
            let detail = "give only one of before, after, around and cursor";
            return Err(Problem::invalid(vec![FieldError::parameter("before", detail)]));
        }
        Ok((limit, wanted))
    }
}

/// A page of a thread's history: the newest unless asked otherwise; oldest to newest within the page.
#[utoipa::path(
    tag = "messages",
    params(("id" = i64, Path, description = "The ticket number"), HistoryQuery, super::ActingUser),
    responses((status = 200, body = MessagePage), Errors),
)]
#[get("/v1/threads/{id}/messages")]
pub(super) async fn list_messages(
    state: Shared,
    sender: Sender,
    id: Path<String>,
    query: Query<HistoryQuery>,
) -> Result<Json<MessagePage>, Problem> {
    let id = thread_id(&id)?;
    let (limit, wanted) = query.0.wanted()?;
    Ok(Json(
        state
            .store
            .read(move |reader| messages::history(reader, &sender.0, id, wanted, limit))
            .await?,
    ))
}

/// Writes a message. Sent again with the same `client_id` it is the same message.
#[utoipa::path(
    tag = "messages",
    request_body = MessageDraft,
    params(("id" = i64, Path, description = "The ticket number"), super::CallHeaders),
    responses((status = 200, body = MessageView, description = "Written before, with this client_id"), (status = 201, body = MessageView, description = "Written"), Errors, BodyErrors),
)]
#[post("/v1/threads/{id}/messages")]
pub(super) async fn post_message(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    _: Query<Nothing>,
    id: Path<String>,
    body: Body<MessageDraft>,
) -> Result<HttpResponse, Problem> {
    let id = thread_id(&id)?;
    let context = context(&request);
    let key = body.idempotency_key(&request)?;
    limits::of_message(&request, &sender.0, id.to_string())?;
    let (sender, draft) = (sender.0, body.value);
    let rule = move |writer: &mut Writer<'_>, list: &WordList| {
        messages::post(writer, &sender, &context, list, key.as_ref(), id, &draft)
    };
    Ok(answer(state.word_list.write_into(&state.store, Some(id), rule).await?))
}

/// A message's number in the path. A text that is no number is no message.
pub(super) fn message_id(text: &str) -> Result<i64, Problem> {
    path_number(text).ok_or_else(|| Refusal::MessageNotFound.into())
}

/// Changes what one's own message says, for as long as the setting `edit_seconds` allows. It goes through the list of forbidden
/// words like a new one.
#[utoipa::path(
    tag = "messages",
    request_body = MessageChange,
    params(("id" = i64, Path, description = "The message's number"), super::ActingUser),
    responses((status = 200, body = MessageView), (status = 410, body = Problem, content_type = "application/problem+json", description = "It was taken back"), Errors, BodyErrors),
)]
#[patch("/v1/messages/{id}")]
pub(super) async fn edit_message(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    _: Query<Nothing>,
    id: Path<String>,
    body: Body<MessageChange>,
) -> Result<Json<MessageView>, Problem> {
    let id = message_id(&id)?;
    let context = context(&request);
    limits::of_edit(&request, &sender.0)?;
    let (sender, change) = (sender.0, body.value);
    let rule = move |writer: &mut Writer<'_>, list: &WordList| {
        changes::edit(writer, &sender, &context, list, id, &change)
    };
    Ok(Json(state.word_list.write(&state.store, rule).await?))
}

/// Takes a message back: one's own, for as long as the setting `edit_seconds` allows; for an administrator who manages messages
/// any, which is noted in the audit log. An empty one is left in its place.
#[utoipa::path(
    tag = "messages",
    params(("id" = i64, Path, description = "The message's number"), super::ActingUser),
    responses((status = 204, description = "Taken back, now or before"), Errors),
)]
#[delete("/v1/messages/{id}")]
pub(super) async fn delete_message(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    _: Query<Nothing>,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let id = message_id(&id)?;
    let context = context(&request);
    state.store.write(move |writer| changes::delete(writer, &sender.0, &context, id)).await?;
    state.files.sweep();
    Ok(HttpResponse::NoContent().finish())
}
