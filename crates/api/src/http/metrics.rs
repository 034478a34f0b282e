//! `GET /metrics`, for Prometheus at a trusted address.

use actix_web::{HttpRequest, HttpResponse, route};
use chaffer_shared::metrics::CONTENT_TYPE;
use tokio::time::timeout;

use super::error::Problem;
use super::extract::is_trusted;
use super::health::PATIENCE;
use super::{Shared, State};
use crate::chat::Refusal;
use crate::metrics::render;

/// The counters of this node in Prometheus' text format 0.0.4; only for `api.trusted_ips`.
#[utoipa::path(get, path = "/metrics", tag = "about", security(()), responses((status = 200, body = String, content_type = "text/plain", description = "The counters"), (status = 403, body = Problem, content_type = "application/problem+json", description = "Not from this address")))]
#[route("/metrics", method = "GET", method = "HEAD")]
pub(super) async fn metrics(state: Shared, request: HttpRequest) -> Result<HttpResponse, Problem> {
    if !is_trusted(&request, &state.config.api) {
        return Err(Refusal::UntrustedAddress.into());
    }
    let State { store, publisher, calls, limits, .. } = state.as_ref();
    // A database that does not answer is a reason to look at the rest.
    let last = timeout(PATIENCE, store.read(|reader| reader.last_event())).await;
    let text = render(calls, limits, store, publisher, last.ok().and_then(Result::ok));
    Ok(HttpResponse::Ok().content_type(CONTENT_TYPE).body(text))
}
