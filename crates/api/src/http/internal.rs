//! `/internal/v1`: how the push daemon closes gaps, and has it kept when people were last seen. Opened by a bearer that is derived from the key both daemons
//! share, and denied in the sample configuration of nginx besides.

use actix_web::web::Json;
use actix_web::{HttpRequest, HttpResponse, get, put};
use chaffer_shared::event::{Missed, Revocations, RevokedTopic};
use chaffer_shared::health::Presence;
use chaffer_shared::token::MAX_TTL_SECONDS;
use chaffer_shared::topic::Topic;
use chrono::TimeDelta;
use serde::Deserialize;

use super::error::Problem;
use super::extract::{Body, Query};
use super::{Shared, State};
use crate::chat::{Refusal, presence};
use crate::publish::read_frames;
use crate::store::StoreError;

const MAX_EVENTS: i64 = 1000;

#[derive(Debug, Deserialize)]
struct MissedQuery {
    after: Option<i64>,
    limit: Option<i64>,
}

fn require_push_daemon(request: &HttpRequest, state: &State) -> Result<(), Problem> {
    let bearer = request
        .headers()
        .get("authorization")
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    match bearer {
        Some(bearer) if state.link_keys.accepts_internal_bearer(bearer) => Ok(()),
        _ => Err(Refusal::NoCredentials.into()),
    }
}

/// Stored events after an id; without one only where they begin and end.
#[get("/internal/v1/events")]
pub(super) async fn missed_events(
    state: Shared,
    request: HttpRequest,
    query: Query<MissedQuery>,
) -> Result<Json<Missed>, Problem> {
    require_push_daemon(&request, &state)?;
    let limit = query.0.limit.unwrap_or(MAX_EVENTS).clamp(1, MAX_EVENTS);
    let events = match query.0.after {
        Some(after) => read_frames(&state.store, &state.config.api.name, after, limit).await?,
        None => Vec::new(),
    };
    // After the events: so `last` is never behind them.
    let (last, oldest) = state
        .store
        .read(|reader| Ok::<_, StoreError>((reader.last_event()?, reader.oldest_event()?)))
        .await?;
    Ok(Json(Missed { events, last, oldest }))
}

/// The revocations whose tokens may still be alive.
#[get("/internal/v1/revocations")]
pub(super) async fn revocations(
    state: Shared,
    request: HttpRequest,
) -> Result<Json<Revocations>, Problem> {
    require_push_daemon(&request, &state)?;
    let since = chaffer_shared::time::now() - TimeDelta::seconds(MAX_TTL_SECONDS);
    let users = state.store.read(move |reader| reader.revoked_since(since.naive_utc())).await?;
    let revoked = |(user, before): (String, Option<chrono::NaiveDateTime>)| {
        Some(RevokedTopic { topic: Topic::of_person(&user), before: before?.and_utc() })
    };
    Ok(Json(Revocations { revocations: users.into_iter().filter_map(revoked).collect() }))
}

/// Keeps when the people were last seen who have gone.
#[put("/internal/v1/last-seen")]
pub(super) async fn keep_last_seen(
    state: Shared,
    request: HttpRequest,
    gone: Body<Presence>,
) -> Result<HttpResponse, Problem> {
    require_push_daemon(&request, &state)?;
    state.store.write(move |writer| presence::keep(writer, &gone.value.users)).await?;
    Ok(HttpResponse::NoContent().finish())
}
