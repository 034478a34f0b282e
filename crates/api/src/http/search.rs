//! `/v1/search`: what was said, in all that the caller may see.

use actix_web::get;
use actix_web::web::Json;

use super::Shared;
use super::error::Problem;
use super::extract::{Query, Sender};
use super::openapi::Errors;
use super::threads::{Asked, SearchQuery};
use crate::chat::search::{self, SearchPage};

/// Messages that say something, the newest first, in the threads that the filters take. Words are looked for by their beginning
/// and all have to be in the message; `"words in quotes"` as they stand there; Chinese, Japanese, Korean and Thai anywhere in
/// it. Case, accents and width make no difference.
#[utoipa::path(
    tag = "search",
    params(SearchQuery, super::ActingUser),
    responses((status = 200, body = SearchPage), Errors),
)]
#[get("/v1/search")]
pub(super) async fn search_messages(
    state: Shared,
    sender: Sender,
    query: Query<SearchQuery>,
) -> Result<Json<SearchPage>, Problem> {
    let mut query = query.0;
    let q = std::mem::take(&mut query.q);
    let Asked { filter, unread, below, limit } = query.rest()?;
    let found = state
        .store
        .read(move |reader| search::search(reader, &sender.0, &q, &filter, unread, below, limit));
    Ok(Json(found.await?))
}
