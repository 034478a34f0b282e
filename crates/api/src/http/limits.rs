//! Holds callers to the limits, and tells each of them in the headers of every answer how it stands.
//!
//! A call counts for the address that it comes from, and for the person that its token names; the shop's own
//! addresses have a limit of their own, since its backend speaks for everybody. Where several limits count, the
//! headers tell of the one that is nearest.

use std::net::IpAddr;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, HttpRequest, ResponseError};
use chaffer_shared::address;
use chaffer_shared::token::{Bearer, Claims};
use chaffer_shared::topic::VISITOR_PREFIX;
use percent_encoding::percent_decode_str;

use super::error::{self, Problem};
use super::extract::client_address;
use super::{Shared, State};
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

/// Counts a call for its address, refuses what is no URL, and puts the headers on the answer.
///
/// # Errors
/// None of its own.
pub async fn limit(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let is_text = request
        .uri()
        .path_and_query()
        .is_none_or(|it| percent_decode_str(it.as_str()).decode_utf8().is_ok());
    // Two different ids must never become one by what cannot be decoded.
    let check = of_address(request.request())
        .and_then(|()| if is_text { Ok(()) } else { Err(error::not_text()) });
    let answer = match check {
        Ok(()) => next.call(request).await?.map_into_boxed_body(),
        Err(problem) => request.into_response(problem.error_response()),
    };
    Ok(tell(answer))
}

/// The same for a preflight, which CORS answers before [`limit`] sees it, and which counts for its address apart from calls.
///
/// # Errors
/// None of its own.
pub async fn limit_preflights(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let is_preflight = request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if !is_preflight {
        return Ok(next.call(request).await?.map_into_boxed_body());
    }
    Ok(tell(match of_preflight(request.request()) {
        Ok(()) => next.call(request).await?.map_into_boxed_body(),
        Err(problem) => request.into_response(problem.error_response()),
    }))
}

/// Puts the headers on an answer.
fn tell(answer: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    let (request, mut answer) = answer.into_parts();
    let standing = request.extensions().get::<Standing>().copied();
    if let Some(Standing { limit, remaining, reset, .. }) = standing {
        let headers = answer.headers_mut();
        headers.insert(LIMIT, HeaderValue::from(limit));
        headers.insert(REMAINING, HeaderValue::from(remaining));
        headers.insert(RESET, HeaderValue::from(seconds(reset)));
    }
    ServiceResponse::new(request, answer)
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
    let client = client_address(request, &state.config.api.trusted_proxies);
    let standing = match client {
        Some(client) if is_own(state, client) => state.limits.shop.take(&client),
        _ => match account(request, state) {
            Some(account) => state.limits.addresses.take(&account),
            None => return Ok(()),
        },
    };
    hold(request, standing, TOO_MANY_CALLS, "There are too many calls from this address")
}

/// Whether it is the shop's own machine that calls.
fn is_own(state: &State, client: IpAddr) -> bool {
    let api = &state.config.api;
    address::contains(&api.trusted_proxies, client) || address::contains(&api.trusted_ips, client)
}

fn of_preflight(request: &HttpRequest) -> Result<(), Problem> {
    let Some(state) = request.app_data::<Shared>() else { return Ok(()) };
    let client = client_address(request, &state.config.api.trusted_proxies);
    let standing = match (client, account(request, state)) {
        (Some(client), _) if is_own(state, client) => state.limits.shop.take(&client),
        (_, Some(account)) => state.limits.preflights.take(&account),
        (_, None) => return Ok(()),
    };
    hold(request, standing, TOO_MANY_CALLS, "There are too many preflights from this address")
}

/// The address whose calls these are, an IPv6 network as one. Behind a proxy that names nobody, the proxy itself is who
/// calls, and no friend of ours.
fn account(request: &HttpRequest, state: &State) -> Option<IpAddr> {
    let client = client_address(request, &state.config.api.trusted_proxies);
    let peer = || request.peer_addr().map(|it| it.ip());
    client.or_else(peer).map(address::account_of)
}

/// Whose calls a token's are. Anybody can be as many visitors as it likes, so those of one address are one.
fn person(request: &HttpRequest, state: &State, claims: &Claims) -> String {
    match (claims.kind, account(request, state)) {
        (Bearer::Visitor, Some(account)) => format!("{VISITOR_PREFIX}{account}"),
        _ => claims.sub.clone(),
    }
}

/// Whose a token's uploads are; `None` without a token.
pub(super) fn uploader(request: &HttpRequest, credentials: &Credentials) -> Option<String> {
    let Credentials::Token(claims) = credentials else { return None };
    Some(person(request, request.app_data::<Shared>()?, claims))
}

/// Counts a call for the person whose token it brings.
pub(super) fn of_person(request: &HttpRequest, credentials: &Credentials) -> Result<(), Problem> {
    let Some(state) = request.app_data::<Shared>() else { return Ok(()) };
    let Credentials::Token(claims) = credentials else { return Ok(()) };
    let standing = state.limits.people.take(&person(request, state, claims));
    hold(request, standing, TOO_MANY_CALLS, "This user makes too many calls")
}

/// Counts what a visitor begins for its address; others have an account that answers for it.
pub(super) fn of_new_thread(
    request: &HttpRequest,
    credentials: &Credentials,
) -> Result<(), Problem> {
    let Some(state) = request.app_data::<Shared>() else { return Ok(()) };
    match (credentials, account(request, state)) {
        (Credentials::Token(claims), Some(account)) if claims.kind == Bearer::Visitor => {
            let standing = state.limits.visitor_threads.take(&account);
            let what = "There are too many new conversations from this address";
            hold(request, standing, "too_many_threads", what)
        }
        _ => Ok(()),
    }
}

/// Counts a message for the person who writes it in a thread; `thread` is what names it.
pub(super) fn of_message(
    request: &HttpRequest,
    credentials: &Credentials,
    thread: String,
) -> Result<(), Problem> {
    let what = "You have written too many messages in this thread in a short time, and this one was not taken";
    of_writing(request, credentials, thread, what)
}

/// Counts a change of a message for its author, whose changes in all threads count together: as a message costs.
pub(super) fn of_edit(request: &HttpRequest, credentials: &Credentials) -> Result<(), Problem> {
    let what = "You have changed too many messages in a short time, and this change was not taken";
    of_writing(request, credentials, "edits".to_owned(), what)
}

fn of_writing(
    request: &HttpRequest,
    credentials: &Credentials,
    place: String,
    what: &str,
) -> Result<(), Problem> {
    let Some(state) = request.app_data::<Shared>() else { return Ok(()) };
    let Credentials::Token(claims) = credentials else { return Ok(()) };
    // A visitor has one conversation; another thread of its address is another visitor's, and no more room.
    let place = if claims.kind == Bearer::Visitor { String::new() } else { place };
    let standing = state.limits.messages.take(&(person(request, state, claims), place));
    hold(request, standing, "too_many_messages", what)
}
