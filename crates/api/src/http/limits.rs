//! Holds callers to the limits, and tells each of them in the headers of every answer how it stands.
//!
//! A call counts for the address that it comes from, and for the person that its token names; the shop's own
//! addresses have a limit of their own, since its backend speaks for everybody. Where several limits count, the
//! headers tell of the one that is nearest.

use std::net::IpAddr;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, HttpRequest, ResponseError};
use chaffer_shared::address;

use super::Shared;
use super::error::Problem;
use super::extract::client_address;
use crate::chat::Credentials;
use crate::limits::Standing;

/// What may come at once.
pub(super) const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
/// What is left of it.
pub(super) const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
/// Seconds until nothing of it is used any more.
pub(super) const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
/// The push daemon's own calls, which are as many as it needs.
const INTERNAL: &str = "/internal/";

/// Counts a call for its address, and puts the headers on its answer.
///
/// # Errors
/// None of its own.
pub async fn limit(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let answer = match of_address(request.request()) {
        Ok(()) => next.call(request).await?.map_into_boxed_body(),
        Err(problem) => request.into_response(problem.error_response()),
    };
    let (request, mut answer) = answer.into_parts();
    let standing = request.extensions().get::<Standing>().copied();
    if let Some(Standing { limit, remaining, reset, .. }) = standing {
        let headers = answer.headers_mut();
        headers.insert(LIMIT, HeaderValue::from(limit));
        headers.insert(REMAINING, HeaderValue::from(remaining));
        headers.insert(RESET, HeaderValue::from(seconds(reset)));
    }
    Ok(ServiceResponse::new(request, answer))
}

/// Whole seconds, after which the time has passed for sure.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// Remembers how a call stands with a limit for the headers, or says that it is refused.
fn hold(
    request: &HttpRequest,
    standing: Option<Standing>,
    code: &str,
    what: &str,
) -> Result<(), Problem> {
    let Some(standing) = standing else { return Ok(()) };
    let mut extensions = request.extensions_mut();
    let known = extensions.get::<Standing>();
    if known.is_none_or(|known| standing.remaining <= known.remaining) {
        extensions.insert(standing);
    }
    let Some(wait) = standing.refused_for else { return Ok(()) };
    let wait = seconds(wait).max(1);
    let problem = Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        code,
        format!("{what}; try again in {wait} seconds."),
    );
    Err(Problem { retry_after: Some(wait), ..problem })
}

const TOO_MANY_CALLS: &str = "too_many_calls";

fn of_address(request: &HttpRequest) -> Result<(), Problem> {
    let Some(state) = request.app_data::<Shared>() else { return Ok(()) };
    if request.path().starts_with(INTERNAL) {
        return Ok(());
    }
    let api = &state.config.api;
    // Behind a proxy that names nobody, the proxy itself is who calls, and no friend of ours.
    let client = client_address(request, &api.trusted_proxies);
    let is_own = |it: IpAddr| {
        address::contains(&api.trusted_proxies, it) || address::contains(&api.trusted_ips, it)
    };
    let standing = match client {
        Some(client) if is_own(client) => state.limits.shop.take(&client),
        _ => {
            let peer = || request.peer_addr().map(|it| it.ip());
            let Some(client) = client.or_else(peer) else { return Ok(()) };
            state.limits.addresses.take(&address::account_of(client))
        }
    };
    hold(request, standing, TOO_MANY_CALLS, "There are too many calls from this address")
}

/// Counts a call for the person whose token it brings.
pub(super) fn of_person(request: &HttpRequest, credentials: &Credentials) -> Result<(), Problem> {
    let Some(state) = request.app_data::<Shared>() else { return Ok(()) };
    let Credentials::Token(claims) = credentials else { return Ok(()) };
    let standing = state.limits.people.take(&claims.sub);
    hold(request, standing, TOO_MANY_CALLS, "This user makes too many calls")
}

/// Counts a message for the person who writes it in a thread; `thread` is what names it.
pub(super) fn of_message(
    request: &HttpRequest,
    credentials: &Credentials,
    thread: String,
) -> Result<(), Problem> {
    let Some(state) = request.app_data::<Shared>() else { return Ok(()) };
    let Credentials::Token(claims) = credentials else { return Ok(()) };
    let standing = state.limits.messages.take(&(claims.sub.clone(), thread));
    let what = "You have written too many messages in this thread in a short time, and this one was not taken";
    hold(request, standing, "too_many_messages", what)
}
