//! `GET /metrics`, for Prometheus at a trusted address.

use actix_web::{HttpRequest, HttpResponse, route};
use chaffer_shared::metrics::CONTENT_TYPE;
use tokio::time::timeout;

use super::error::Problem;
use super::extract::is_trusted;
use super::health::PATIENCE;
use super::{Shared, State};
use crate::chat::Refusal;
use crate::metrics::{Stored, render};
use crate::store::{Reader, StoreError};

/// The counters of this node in Prometheus' text format 0.0.4; only for `api.trusted_ips`.
#[utoipa::path(get, path = "/metrics", tag = "about", security(()), responses((status = 200, body = String, content_type = "text/plain", description = "The counters"), (status = 403, body = Problem, content_type = "application/problem+json", description = "Not from this address")))]
#[route("/metrics", method = "GET", method = "HEAD")]
pub(super) async fn metrics(state: Shared, request: HttpRequest) -> Result<HttpResponse, Problem> {
    if !is_trusted(&request, &state.config.api) {
        return Err(Refusal::UntrustedAddress.into());
    }
    let State { store, publisher, calls, limits, mail_counters, .. } = state.as_ref();
    let look = |reader: &mut Reader<'_>| {
        let now = chaffer_shared::time::now().naive_utc();
        let (last_event, mails) = (reader.last_event()?, reader.mail_queue(now)?);
        Ok::<_, StoreError>(Stored { last_event, mails })
    };
    // A database that does not answer is a reason to look at the rest.
    let stored = timeout(PATIENCE, store.read(look)).await.ok().and_then(Result::ok);
    let text = render(calls, limits, store, publisher, mail_counters, stored);
    Ok(HttpResponse::Ok().content_type(CONTENT_TYPE).body(text))
}
