//! `/v1/forbidden-words`: what must not stand in messages.

use actix_web::web::{Json, Path, block};
use actix_web::{HttpRequest, HttpResponse, delete, get, patch, post};
use serde::Deserialize;
use utoipa::IntoParams;

use super::error::Problem;
use super::extract::{Body, Nothing, Query, Sender, Table, context, paging, path_number};
use super::openapi::{BodyErrors, Errors};
use super::{Shared, answer};
use crate::chat::ChatError;
use crate::chat::forbidden_words::{
    self, CheckedText, ForbiddenWordInput, ForbiddenWordPage, ForbiddenWordPatch,
    ForbiddenWordView, SampleText,
};
use crate::chat::forbidden_words_csv::{self, ImportReport};
use crate::chat::screening::WordList;
use crate::store::{ForbiddenWordFilter, Reader, StoreError, WordAction, WordKind};

/// Which entries are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Of this kind.
    kind: Option<WordKind>,
    /// With this action.
    action: Option<WordAction>,
    /// With this in the phrase; disguises make no difference.
    #[param(max_length = 500)]
    q: Option<String>,
    /// Length of a page: 30 unless given, at most 100.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// The list of forbidden words, the newest first.
#[utoipa::path(
    tag = "forbidden words",
    params(ListQuery, super::ActingUser),
    responses((status = 200, body = ForbiddenWordPage), Errors),
)]
#[get("/v1/forbidden-words")]
pub(super) async fn list_forbidden_words(
    state: Shared,
    sender: Sender,
    query: Query<ListQuery>,
) -> Result<Json<ForbiddenWordPage>, Problem> {
    let query = query.0;
    let (limit, below) = paging(query.limit, query.cursor.as_deref())?;
    let filter = ForbiddenWordFilter {
        kind: query.kind,
        action: query.action,
        contains: query.q.filter(|q| !q.is_empty()),
        below,
    };
    Ok(Json(
        state
            .store
            .read(move |reader| forbidden_words::list(reader, &sender.0, &filter, limit))
            .await?,
    ))
}

/// Puts an entry on the list. It counts from the next message on.
#[utoipa::path(
    tag = "forbidden words",
    request_body = ForbiddenWordInput,
    params(super::CallHeaders),
    responses((status = 200, body = ForbiddenWordView, description = "Made before, with this Idempotency-Key"), (status = 201, body = ForbiddenWordView, description = "New"), Errors, BodyErrors),
)]
#[post("/v1/forbidden-words")]
pub(super) async fn create_forbidden_word(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    _: Query<Nothing>,
    body: Body<ForbiddenWordInput>,
) -> Result<HttpResponse, Problem> {
    let context = context(&request);
    let key = body.idempotency_key(&request)?;
    let done = state
        .store
        .write(move |writer| {
            forbidden_words::create(writer, &sender.0, &context, key.as_ref(), &body.value)
        })
        .await?;
    Ok(answer(done))
}

/// One entry.
#[utoipa::path(
    tag = "forbidden words",
    params(("id" = i64, Path, description = "The entry's number"), super::ActingUser),
    responses((status = 200, body = ForbiddenWordView), Errors),
)]
#[get("/v1/forbidden-words/{id}")]
pub(super) async fn get_forbidden_word(
    state: Shared,
    sender: Sender,
    _: Query<Nothing>,
    id: Path<String>,
) -> Result<Json<ForbiddenWordView>, Problem> {
    // A text that is no number is no entry; but first, whether the caller may ask at all.
    let id = path_number(&id).unwrap_or(0);
    Ok(Json(state.store.read(move |reader| forbidden_words::get(reader, &sender.0, id)).await?))
}

/// Changes an entry. It counts from the next message on.
#[utoipa::path(
    tag = "forbidden words",
    request_body = ForbiddenWordPatch,
    params(("id" = i64, Path, description = "The entry's number"), super::ActingUser),
    responses((status = 200, body = ForbiddenWordView), Errors, BodyErrors),
)]
#[patch("/v1/forbidden-words/{id}")]
pub(super) async fn patch_forbidden_word(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    _: Query<Nothing>,
    id: Path<String>,
    body: Body<ForbiddenWordPatch>,
) -> Result<Json<ForbiddenWordView>, Problem> {
    let context = context(&request);
    let id = path_number(&id).unwrap_or(0);
    Ok(Json(
        state
            .store
            .write(move |writer| {
                forbidden_words::patch(writer, &sender.0, &context, id, &body.value)
            })
            .await?,
    ))
}

/// Takes an entry off the list.
#[utoipa::path(
    tag = "forbidden words",
    params(("id" = i64, Path, description = "The entry's number"), super::ActingUser),
    responses((status = 204, description = "It is off the list"), Errors),
)]
#[delete("/v1/forbidden-words/{id}")]
pub(super) async fn delete_forbidden_word(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    _: Query<Nothing>,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let context = context(&request);
    let id = path_number(&id).unwrap_or(0);
    state
        .store
        .write(move |writer| forbidden_words::delete(writer, &sender.0, &context, id))
        .await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Tries a text: what would happen to it, by which entry, and how it was read. Nothing is sent or stored.
#[utoipa::path(
    tag = "forbidden words",
    request_body = SampleText,
    params(super::ActingUser),
    responses((status = 200, body = CheckedText), Errors, BodyErrors),
)]
#[post("/v1/forbidden-words/check")]
pub(super) async fn check_text(
    state: Shared,
    sender: Sender,
    _: Query<Nothing>,
    body: Body<SampleText>,
) -> Result<Json<CheckedText>, Problem> {
    let (sender, sample) = (sender.0, body.value);
    let rule = move |reader: &mut Reader<'_>, list: &WordList| {
        forbidden_words::check(reader, &sender, list, &sample)
    };
    Ok(Json(state.word_list.read(&state.store, rule).await?))
}

/// The whole list as CSV, with the columns `kind,phrase,action,exceptions`.
#[utoipa::path(
    tag = "forbidden words",
    params(super::ActingUser),
    responses((status = 200, body = String, content_type = "text/csv", description = "The table; what a spreadsheet would take for a formula begins with an apostrophe"), Errors),
)]
#[get("/v1/forbidden-words/export")]
pub(super) async fn export_forbidden_words(
    state: Shared,
    sender: Sender,
    _: Query<Nothing>,
) -> Result<HttpResponse, Problem> {
    let table =
        state.store.read(move |reader| forbidden_words_csv::export(reader, &sender.0)).await?;
    Ok(HttpResponse::Ok()
        .content_type("text/csv; charset=utf-8")
        .insert_header(("Content-Disposition", "attachment; filename=\"forbidden-words.csv\""))
        .body(table))
}

/// Puts the rows of a CSV table on the list: the columns of the export in any order, or phrases alone, one a line. A row that
/// cannot be used is named with its line; the others are taken.
#[utoipa::path(
    tag = "forbidden words",
    request_body(content = String, content_type = "text/csv", example = "kind,phrase,action,exceptions\nphrase,whatsapp,mask,\nlink,,mask,shop.example\n"),
    params(super::ActingUser),
    responses((status = 200, body = ImportReport), Errors, BodyErrors),
)]
#[post("/v1/forbidden-words/import")]
pub(super) async fn import_forbidden_words(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    _: Query<Nothing>,
    body: Table,
) -> Result<Json<ImportReport>, Problem> {
    let context = context(&request);
    // Whether the caller may comes first: megabytes of text are not read for everybody, nor by the thread that answers others.
    let credentials = sender.0.clone();
    state.store.read(move |reader| forbidden_words::require_keeper(reader, &credentials)).await?;
    let table = block(move || forbidden_words_csv::read(&body.0));
    let table = table.await.map_err(|_| StoreError::Closed)?;
    let table = table.map_err(|error| ChatError::Invalid(vec![error]))?;
    let done = state
        .store
        .write(move |writer| forbidden_words_csv::import(writer, &sender.0, &context, &table))
        .await?;
    Ok(Json(done))
}
