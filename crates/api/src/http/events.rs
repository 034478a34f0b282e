//! `/v1/events`: what the caller would have heard; waits for it, when asked to.

use std::time::Duration;

use actix_web::get;
use actix_web::web::Json;
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout_at};
use utoipa::IntoParams;

use super::Shared;
use super::error::Problem;
use super::extract::{Query, Sender, page_length};
use super::openapi::Errors;
use crate::chat::FieldError;
use crate::chat::events::{self, EventPage};

/// The longest wait, in seconds.
const MAX_WAIT: u64 = 30;

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct FeedQuery {
    /// After this event; without it, from now on.
    #[param(minimum = 0)]
    after: Option<i64>,
    /// Length of a page: 30 unless given, at most 100.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<i64>,
    /// Seconds to wait for the first one, at most 30.
    #[param(minimum = 0, maximum = 30)]
    wait: Option<u64>,
}

/// What the caller would have heard after an event; with `wait`, as soon as there is something.
#[utoipa::path(
    tag = "events",
    params(FeedQuery, super::ActingUser),
    responses((status = 200, body = EventPage), Errors, (status = 410, body = super::error::Problem, content_type = "application/problem+json", description = "Too long ago")),
)]
#[get("/v1/events")]
pub(super) async fn get_events(
    state: Shared,
    sender: Sender,
    query: Query<FeedQuery>,
) -> Result<Json<EventPage>, Problem> {
    let FeedQuery { after, limit, wait } = query.0;
    let limit = page_length(limit)?;
    let invalid = |name, detail| Problem::invalid(vec![FieldError::parameter(name, detail)]);
    if after.is_some_and(|after| after < 0) {
        return Err(invalid("after", "must be the id of an event, or 0"));
    }
    let wait = wait.unwrap_or(0);
    if wait > MAX_WAIT {
        return Err(invalid("wait", "must be at most 30 seconds"));
    }
    let deadline = Instant::now() + Duration::from_secs(wait);
    // Listen first and look then, so that nothing commits in between unseen.
    let mut commits = state.store.subscribe();
    let sender = sender.0;
    let mut after = after;
    loop {
        let asker = sender.clone();
        let (page, heard) = state
            .store
            .read(move |reader| {
                let page = events::feed(reader, &asker, after, limit)?;
                Ok::<_, crate::chat::ChatError>((page, events::topics_of(reader, &asker)?))
            })
            .await?;
        if !page.events.is_empty() || Instant::now() >= deadline {
            return Ok(Json(page));
        }
        after = Some(page.next_cursor);
        // Sleeps until a commit that concerns the caller: thousands of waiting pages cost nothing meanwhile.
        loop {
            let commit = tokio::select! {
                () = state.stopping.cancelled() => return Ok(Json(page)),
                commit = timeout_at(deadline, commits.recv()) => commit,
            };
            match commit {
                Err(_) | Ok(Err(RecvError::Closed)) => return Ok(Json(page)),
                Ok(Err(RecvError::Lagged(_))) => break,
                Ok(Ok(commit)) => {
                    if commit.concerns(&heard) {
                        break;
                    }
                }
            }
        }
    }
}
