//! `/v1/mails` and `/v1/mail`: the queue, what mails say, who wants them, and answers that come in.

use std::sync::Arc;

use actix_web::web::{Json, Path};
use actix_web::{HttpRequest, HttpResponse, delete, get, post, put};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::Shared;
use super::choices;
use super::error::Problem;
use super::extract::{Body, Nothing, Query, RawBody, Sender, context, paging};
use super::openapi::{BodyErrors, Errors};
use crate::chat::screening::WordList;
use crate::notify::admin::{
    self, MailPage, MailPreview, MailTemplateDraft, MailTemplateInput, MailTemplateView,
    MailTemplates, MailView, TemplatePath,
};
use crate::notify::inbound::{self, Envelope, Inbound, InboundView, MAX_MAIL_BYTES};
use crate::notify::preferences::{self, MailPreferences};
use crate::store::{MailChoice, MailFilter, MailState, StoreError, Writer};

/// The longest form that a mail program or a browser sends to unsubscribe, in bytes.
const MAX_FORM_BYTES: usize = 16 * 1024;

/// Which mails.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MailQuery {
    /// What became of them: `failed` for those that were given up.
    state: Option<MailState>,
    /// To this user.
    user_id: Option<String>,
    /// About this thread.
    thread_id: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Length of a page: 30 unless given, at most 100.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<i64>,
}

/// The queue of mails and what became of earlier ones, the newest first. For the shop's backend and administrators who
/// may manage messages.
#[utoipa::path(
    tag = "mail",
    params(MailQuery, super::ActingUser),
    responses((status = 200, body = MailPage), Errors),
)]
#[get("/v1/mails")]
pub(super) async fn list_mails(
    state: Shared,
    sender: Sender,
    query: Query<MailQuery>,
) -> Result<Json<MailPage>, Problem> {
    let (limit, below) = paging(query.0.limit, query.0.cursor.as_deref())?;
    let filter = MailFilter {
        state: query.0.state,
        user_id: query.0.user_id,
        thread_id: query.0.thread_id,
        below,
    };
    let list = state.store.read(move |reader| admin::list(reader, &sender.0, &filter, limit));
    Ok(Json(list.await?))
}

/// Tries a mail again that was given up.
#[utoipa::path(
    tag = "mail",
    params(("id" = i64, Path, description = "The mail's number"), super::ActingUser),
    responses(
        (status = 200, body = MailView, description = "Waiting to be sent"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "It was not given up"),
        Errors,
    ),
)]
#[post("/v1/mails/{id}/retry")]
pub(super) async fn retry_mail(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    _: Query<Nothing>,
    id: Path<String>,
) -> Result<Json<MailView>, Problem> {
    let context = context(&request);
    let tried = state.store.write(move |writer| admin::retry(writer, &sender.0, &context, &id));
    Ok(Json(tried.await?))
}

/// Which mails a user wants. For the user and the shop's backend.
#[utoipa::path(
    tag = "mail",
    params(("id" = String, Path, description = "The shop's id of the user", max_length = 128), super::ActingUser),
    responses((status = 200, body = MailPreferences), Errors),
)]
#[get("/v1/users/{id}/mail-preferences")]
pub(super) async fn get_preferences(
    state: Shared,
    sender: Sender,
    _: Query<Nothing>,
    id: Path<String>,
) -> Result<Json<MailPreferences>, Problem> {
    Ok(Json(state.store.read(move |reader| preferences::get(reader, &sender.0, &id)).await?))
}

/// Chooses which mails a user gets.
#[utoipa::path(
    tag = "mail",
    request_body = MailPreferences,
    params(("id" = String, Path, description = "The shop's id of the user", max_length = 128), super::ActingUser),
    responses((status = 200, body = MailPreferences), Errors, BodyErrors),
)]
#[put("/v1/users/{id}/mail-preferences")]
pub(super) async fn put_preferences(
    state: Shared,
    sender: Sender,
    _: Query<Nothing>,
    id: Path<String>,
    body: Body<MailPreferences>,
) -> Result<Json<MailPreferences>, Problem> {
    let kept =
        state.store.write(move |writer| preferences::put(writer, &sender.0, &id, body.value));
    Ok(Json(kept.await?))
}

/// All mail templates (R12): the shop's own and those that come with the program.
#[utoipa::path(tag = "mail", params(super::ActingUser), responses((status = 200, body = MailTemplates), Errors))]
#[get("/v1/mail/templates")]
pub(super) async fn list_templates(
    state: Shared,
    sender: Sender,
    _: Query<Nothing>,
) -> Result<Json<MailTemplates>, Problem> {
    Ok(Json(state.store.read(move |reader| admin::templates(reader, &sender.0)).await?))
}

/// One mail template.
#[utoipa::path(
    tag = "mail",
    params(TemplateParams, super::ActingUser),
    responses((status = 200, body = MailTemplateView), Errors),
)]
#[get("/v1/mail/templates/{audience}/{kind}/{language}")]
pub(super) async fn get_template(
    state: Shared,
    sender: Sender,
    _: Query<Nothing>,
    path: Path<TemplatePath>,
) -> Result<Json<MailTemplateView>, Problem> {
    Ok(Json(state.store.read(move |reader| admin::template(reader, &sender.0, &path)).await?))
}

/// Changes a mail template. It is checked first: an unknown variable is an error that names it.
#[utoipa::path(
    tag = "mail",
    request_body = MailTemplateInput,
    params(TemplateParams, super::ActingUser),
    responses((status = 200, body = MailTemplateView), Errors, BodyErrors),
)]
#[put("/v1/mail/templates/{audience}/{kind}/{language}")]
pub(super) async fn put_template(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    _: Query<Nothing>,
    path: Path<TemplatePath>,
    body: Body<MailTemplateInput>,
) -> Result<Json<MailTemplateView>, Problem> {
    let context = context(&request);
    let kept = state
        .store
        .write(move |writer| admin::put_template(writer, &sender.0, &context, &path, &body.value));
    Ok(Json(kept.await?))
}

/// Resets a mail template to the one that comes with the program; one in another language is deleted.
#[utoipa::path(
    tag = "mail",
    params(TemplateParams, super::ActingUser),
    responses(
        (status = 200, body = MailTemplateView, description = "The one that comes with the program"),
        (status = 204, description = "Deleted: none comes with the program in this language"),
        Errors,
    ),
)]
#[delete("/v1/mail/templates/{audience}/{kind}/{language}")]
pub(super) async fn reset_template(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    _: Query<Nothing>,
    path: Path<TemplatePath>,
) -> Result<HttpResponse, Problem> {
    let context = context(&request);
    let reset =
        state.store.write(move |writer| admin::reset_template(writer, &sender.0, &context, &path));
    Ok(match reset.await? {
        Some(template) => HttpResponse::Ok().json(template),
        None => HttpResponse::NoContent().finish(),
    })
}

/// Shows a mail template filled in with sample data: the one in use, or a draft of it.
#[utoipa::path(
    tag = "mail",
    request_body = MailTemplateDraft,
    params(TemplateParams, super::ActingUser),
    responses((status = 200, body = MailPreview), Errors, BodyErrors),
)]
#[post("/v1/mail/templates/{audience}/{kind}/{language}/preview")]
pub(super) async fn preview_template(
    state: Shared,
    sender: Sender,
    _: Query<Nothing>,
    path: Path<TemplatePath>,
    body: Body<MailTemplateDraft>,
) -> Result<Json<MailPreview>, Problem> {
    let shown =
        state.store.read(move |reader| admin::preview(reader, &sender.0, &path, &body.value));
    Ok(Json(shown.await?))
}

/// The path of a template.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only its description is used")]
struct TemplateParams {
    /// `customer`, or `vendor` for a vendor's administrators.
    #[param(example = "customer")]
    audience: String,
    /// `new_thread`, `new_message` or `digest`.
    #[param(example = "new_message")]
    kind: String,
    /// In lower case: `en`, `ru`, `pt-br`.
    #[param(example = "en")]
    language: String,
}

/// The page behind the unsubscribe link of a mail, in the person's language: English or Russian. Looking at it changes nothing.
#[utoipa::path(
    tag = "mail",
    security(()),
    params(("token" = String, Path, description = "From the link")),
    responses((status = 200, body = String, content_type = "text/html"), Errors),
)]
#[get("/v1/mail/unsubscribe/{token}")]
pub(super) async fn unsubscribe_page(
    state: Shared,
    token: Path<String>,
) -> Result<HttpResponse, Problem> {
    let keys = state.mail_keys.clone();
    let now = state.store.read(move |reader| preferences::by_link(reader, &keys, &token)).await?;
    Ok(choices::page(&now, false))
}

/// What a mail program, or the page's form, sends.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(example = json!({"List-Unsubscribe": "One-Click"}))]
struct UnsubscribeForm {
    /// Which mails are wanted; `none` when absent.
    mails: Option<MailChoice>,
    /// `One-Click` from a mail program (RFC 8058).
    #[serde(rename = "List-Unsubscribe")]
    #[expect(dead_code, reason = "says the same whatever it is: RFC 8058 knows one value")]
    list_unsubscribe: Option<String>,
}

/// Unsubscribes with one click (RFC 8058), or keeps another choice of the page's form. For a visitor, who has no account, the
/// address gets no mail then, whoever comes with it.
#[utoipa::path(
    tag = "mail",
    security(()),
    request_body(content = UnsubscribeForm, content_type = "application/x-www-form-urlencoded"),
    params(("token" = String, Path, description = "From the link")),
    responses((status = 200, body = String, content_type = "text/html", description = "Kept"), Errors, RawErrors),
)]
#[post("/v1/mail/unsubscribe/{token}")]
pub(super) async fn unsubscribe(
    state: Shared,
    request: HttpRequest,
    token: Path<String>,
    body: RawBody<MAX_FORM_BYTES>,
) -> Result<HttpResponse, Problem> {
    let keys = state.mail_keys.clone();
    // Mail programs may send the form in other ways: that they send it is enough.
    let form: UnsubscribeForm = serde_urlencoded::from_bytes(&body.0).unwrap_or_default();
    let (wanted, context) = (form.mails.unwrap_or(MailChoice::None), context(&request));
    let kept = state
        .store
        .write(move |writer| preferences::put_by_link(writer, &context, &keys, &token, wanted))
        .await?;
    Ok(choices::page(&kept, true))
}

/// What may happen to a body that is no JSON.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "only its description is used")]
enum RawErrors {
    /// The body did not arrive in time.
    #[response(status = 408, content_type = "application/problem+json")]
    TooSlow(Problem),
    /// The body is too long.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(Problem),
}

/// What the mail server says besides the message.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EnvelopeQuery {
    /// The address it was sent to; else from the message's headers.
    #[param(example = "reply+5-7a1b3-0123456789abcdef0123456789abcdef@shop.example")]
    recipient: Option<String>,
    /// The envelope's sender; empty for mails about mails.
    sender: Option<String>,
}

/// Takes an answer from the mail server's pipe: the raw message as the body. Posted into the thread whose reply address it
/// was sent to, without what was quoted; automatic answers are ignored. Sent again, it is the same message.
#[utoipa::path(
    tag = "mail",
    request_body(
        content((String = "message/rfc822"), (String = "application/octet-stream")),
        description = "The raw message (RFC 5322), whatever its Content-Type says",
    ),
    params(EnvelopeQuery),
    responses(
        (status = 200, body = InboundView),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "Mails cannot be answered here, or the thread is closed"),
        (status = 410, body = Problem, content_type = "application/problem+json", description = "The reply address has expired"),
        Errors,
        RawErrors,
    ),
)]
#[post("/v1/mail/inbound")]
pub(super) async fn receive_mail(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    query: Query<EnvelopeQuery>,
    payload: actix_web::web::Payload,
) -> Result<Json<InboundView>, Problem> {
    let context = context(&request);
    let settings = state.mail.clone();
    let envelope = Envelope { recipient: query.0.recipient, sender: query.0.sender };
    // A mail may be long: it is read for those alone who may bring one, and taken apart beside the other calls.
    let credentials = sender.0.clone();
    state.store.read(move |reader| inbound::require_caller(reader, &credentials)).await?;
    let raw = super::extract::read(&request, payload.into_inner(), MAX_MAIL_BYTES).await?;
    let parse = {
        let settings = settings.clone();
        move || Inbound::parse(&raw, &envelope, settings.as_deref())
    };
    let inbound = actix_web::web::block(parse).await.map_err(|_| StoreError::Closed)??;
    let inbound = Arc::new(inbound);
    let rule = move |writer: &mut Writer<'_>, list: &WordList| {
        inbound::require_caller(writer, &sender.0)?;
        inbound::post(writer, &context, list, settings.as_deref(), &inbound)
    };
    Ok(Json(state.word_list.write(&state.store, rule).await?))
}
