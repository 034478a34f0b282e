//! `/v1/presence`: who of the people one talks with is there. The push daemon knows; the API says who may ask.

use actix_web::get;
use actix_web::http::StatusCode;
use actix_web::web::Json;
use chaffer_shared::health::UserPresence;
use chaffer_shared::token::{Grant, MAX_TTL_SECONDS};
use chrono::{DateTime, NaiveDateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::Problem;
use super::extract::{Query, Sender};
use super::openapi::Errors;
use super::{Shared, State};
use crate::chat::FieldError;
use crate::chat::presence::{self, Visible};

const MAX_USERS: usize = 100;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PresenceQuery {
    /// At most 100 users, separated by commas; those the caller shares no thread with are left out.
    #[param(example = "7,8")]
    user_ids: String,
}

/// Whether one user is connected: the shape of [`UserPresence`], whose crate knows nothing of OpenAPI.
#[derive(ToSchema)]
#[schema(
    as = UserPresence,
    example = json!({"user_id": "7", "online": true, "last_seen_at": null})
)]
#[expect(dead_code, reason = "only its description is used")]
struct UserPresenceShape {
    /// The shop's id of the user.
    user_id: String,
    /// Whether at least one socket of the user is open.
    online: bool,
    /// When the last socket closed; null while online, or when the user was not seen yet.
    #[schema(required = true)]
    last_seen_at: Option<DateTime<Utc>>,
}

/// Who is there.
#[derive(Debug, Serialize, ToSchema)]
#[schema(
    example = json!({
        "users": [{"user_id": "7", "online": false, "last_seen_at": "2026-03-01T09:30:00.000Z"}],
        "grant": "eyJhbGciOiJIUzI1NiJ9.eyJ1c2VycyI6WyI3Il19.c2lnbmF0dXJl"
    })
)]
pub(super) struct PresenceAnswer {
    /// Of those asked for, the ones the caller may know of.
    #[schema(value_type = Vec<UserPresenceShape>)]
    users: Vec<UserPresence>,
    /// What the socket's `watch` takes.
    grant: String,
}

/// Whether people the caller shares a thread with are connected.
#[utoipa::path(
    tag = "presence",
    params(PresenceQuery, super::ActingUser),
    responses((status = 200, body = PresenceAnswer), Errors),
)]
#[get("/v1/presence")]
pub(super) async fn get_presence(
    state: Shared,
    sender: Sender,
    query: Query<PresenceQuery>,
) -> Result<Json<PresenceAnswer>, Problem> {
    let wanted: Vec<String> =
        query.0.user_ids.split(',').filter(|id| !id.is_empty()).map(str::to_owned).collect();
    if wanted.len() > MAX_USERS {
        let detail = format!("must not be more than {MAX_USERS}");
        return Err(Problem::invalid(vec![FieldError::parameter("user_ids", detail)]));
    }
    let Visible { asker, users: visible, last_seen } =
        state.store.read(move |reader| presence::visible(reader, &sender.0, &wanted)).await?;
    let mut users = if visible.is_empty() { Vec::new() } else { ask(&state, &visible).await? };
    for user in users.iter_mut().filter(|it| !it.online) {
        // What the push daemon knows may be from before it started, by an old grant.
        let kept = last_seen.get(&user.user_id).map(NaiveDateTime::and_utc);
        user.last_seen_at = user.last_seen_at.max(kept);
    }
    let now = chaffer_shared::time::now();
    // The socket tells the same as this answer.
    let seen = |it: &UserPresence| Some((it.user_id.clone(), it.last_seen_at?.timestamp_millis()));
    let grant = Grant {
        seen: users.iter().filter_map(seen).collect(),
        ..Grant::new(&asker, visible, now, MAX_TTL_SECONDS)
    };
    let grant = state.token_keys.sign_grant(&grant).map_err(|error| {
        tracing::error!(%error, "cannot sign a presence grant");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no_token_key", "No token key is configured.")
    })?;
    Ok(Json(PresenceAnswer { users, grant }))
}

async fn ask(state: &State, users: &[String]) -> Result<Vec<UserPresence>, Problem> {
    state.side_door.presence(users).await.map_err(|error| {
        tracing::warn!(error = %error.without_url(), "the push daemon does not tell who is there");
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "presence_unavailable",
            "The push daemon cannot be asked at the moment; try again.",
        )
    })
}
