//! `/v1/settings`: the settings of the shop, who changed them, and what pages need of them.

use actix_web::http::header::{self, EntityTag, HeaderMap};
use actix_web::web::{Bytes, Json};
use actix_web::{HttpRequest, HttpResponse, get, patch};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use utoipa::IntoParams;

use super::Shared;
use super::error::Problem;
use super::extract::{Body, Nothing, Query, Sender, context, paging};
use super::openapi::{BodyErrors, Errors};
use crate::chat::settings::{
    self, MachineSettings, PublicSettings, SettingHistory, SettingViews, Settings, SettingsPatch,
};

/// How long a page may go on with what it fetched before it asks again.
const CACHING: &str = "public, max-age=60";

/// The settings that are changed while the daemons run, and their values.
#[utoipa::path(
    tag = "settings",
    params(super::ActingUser),
    responses((status = 200, body = Settings), Errors),
)]
#[get("/v1/settings")]
pub(super) async fn get_settings(
    state: Shared,
    sender: Sender,
    _: Query<Nothing>,
) -> Result<Json<Settings>, Problem> {
    Ok(Json(state.store.read(move |reader| settings::get(reader, &sender.0)).await?))
}

/// Changes some settings, all of them or none; null goes back to the default. In force from the next call on, on every
/// node; each change is kept in the history.
#[utoipa::path(
    tag = "settings",
    request_body = SettingsPatch,
    params(super::ActingUser),
    responses((status = 200, body = Settings), Errors, BodyErrors),
)]
#[patch("/v1/settings")]
pub(super) async fn patch_settings(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    _: Query<Nothing>,
    body: Body<SettingsPatch>,
) -> Result<Json<Settings>, Problem> {
    let context = context(&request);
    Ok(Json(
        state
            .store
            .write(move |writer| settings::patch(writer, &sender.0, &context, &body.value))
            .await?,
    ))
}

/// What of an earlier answer is known.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only its description is used")]
struct Known {
    /// The `ETag` of the answer that is at hand: 304 when it still holds.
    #[param(rename = "If-None-Match", required = false)]
    if_none_match: String,
}

/// What pages need to show: the button, colours, lengths, the address of the socket. For everybody; may be kept for a minute, and
/// asked for again with `If-None-Match`.
#[utoipa::path(
    tag = "settings",
    security(()),
    params(Known),
    responses(
        (status = 200, body = PublicSettings, headers(("ETag" = String, description = "Names this very answer"), ("Cache-Control" = String, description = "How long it may be kept"))),
        (status = 304, description = "It still holds", headers(("ETag" = String, description = "Names the answer"), ("Cache-Control" = String, description = "How long it may be kept"))),
        Errors
    ),
)]
#[get("/v1/settings/public")]
pub(super) async fn get_public_settings(
    state: Shared,
    request: HttpRequest,
    _: Query<Nothing>,
) -> Result<HttpResponse, Problem> {
    let url = state.config.websocket_url();
    let public = state.store.read(move |reader| settings::public(reader, &url)).await?;
    let body = Bytes::from(serde_json::to_vec(&public).unwrap_or_default());
    let digest = hex::encode(Sha256::digest(&body));
    let tag = EntityTag::new_strong(digest.get(..32).unwrap_or_default().to_owned());
    let is_known = is_known(request.headers(), &tag);
    let mut answer = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    answer.insert_header(header::ETag(tag)).insert_header((header::CACHE_CONTROL, CACHING));
    if is_known {
        return Ok(answer.finish());
    }
    Ok(answer.content_type("application/json").body(body))
}

/// Whether the caller has the answer already (RFC 9110, section 13.1.2).
fn is_known(headers: &HeaderMap, tag: &EntityTag) -> bool {
    let lists = headers.get_all(header::IF_NONE_MATCH).filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim).any(|known| {
        known == "*" || known.parse::<EntityTag>().is_ok_and(|known| known.weak_eq(tag))
    })
}

/// All settings with what a form needs to show them: what each is, the JSON Schema of its values, its default, who changed
/// it last.
#[utoipa::path(
    tag = "settings",
    params(super::ActingUser),
    responses((status = 200, body = SettingViews), Errors),
)]
#[get("/v1/settings/definitions")]
pub(super) async fn get_definitions(
    state: Shared,
    sender: Sender,
    _: Query<Nothing>,
) -> Result<Json<SettingViews>, Problem> {
    Ok(Json(state.store.read(move |reader| settings::definitions(reader, &sender.0)).await?))
}

/// The settings of the machine, such as ports and addresses, as this process was started with them; secrets hidden. They are
/// changed in the configuration file.
#[utoipa::path(
    tag = "settings",
    params(super::ActingUser),
    responses((status = 200, body = MachineSettings), Errors),
)]
#[get("/v1/settings/machine")]
pub(super) async fn get_machine_settings(
    state: Shared,
    sender: Sender,
    _: Query<Nothing>,
) -> Result<Json<MachineSettings>, Problem> {
    let shown = state.shown.clone();
    Ok(Json(state.store.read(move |reader| settings::machine(reader, &sender.0, &shown)).await?))
}

/// Which changes.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct HistoryQuery {
    /// Of this setting.
    name: Option<String>,
    /// Length of a page: 30 unless given, at most 100.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Who changed which setting from what to what, the newest first.
#[utoipa::path(
    tag = "settings",
    params(HistoryQuery, super::ActingUser),
    responses((status = 200, body = SettingHistory), Errors),
)]
#[get("/v1/settings/history")]
pub(super) async fn get_settings_history(
    state: Shared,
    sender: Sender,
    query: Query<HistoryQuery>,
) -> Result<Json<SettingHistory>, Problem> {
    let HistoryQuery { name, limit, cursor } = query.0;
    let (limit, below) = paging(limit, cursor.as_deref())?;
    Ok(Json(
        state
            .store
            .read(move |reader| settings::history(reader, &sender.0, name.as_deref(), below, limit))
            .await?,
    ))
}
