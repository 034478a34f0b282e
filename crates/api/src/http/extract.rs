//! What handlers take from a request: who sends it, its body, its query. Each refuses what it does not understand
//! in full, and says which field it is.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap};
use actix_web::web::Bytes;
use actix_web::{FromRequest, HttpRequest};
use base64::Engine;
use chaffer_shared::token::{Claims, TokenError};
use chaffer_shared::{address, topic};
use futures_util::StreamExt;
use futures_util::future::{LocalBoxFuture, Ready, ready};
use ipnet::IpNet;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use super::error::Problem;
use super::middleware::RequestId;
use super::{Shared, State, limits};
use crate::chat::object::Object;
use crate::chat::visitors::RETURN_SECONDS;
use crate::chat::{Context, Credentials, FieldError, IdempotencyKey, Refusal, api_keys};

/// The longest body, in bytes: a message of 10,000 characters with every one escaped, and room to spare.
const MAX_BODY_BYTES: usize = 256 * 1024;
/// The longest table, in bytes: 20,000 phrases, and long ones.
const MAX_TABLE_BYTES: usize = 4 * 1024 * 1024;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest `Idempotency-Key`, in bytes.
const MAX_KEY_BYTES: usize = 200;
const ACTING_USER: &str = "chaffer-user";
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Who sends the request, as far as it can be told without the store.
pub(super) struct Sender(pub(super) Credentials);

impl FromRequest for Sender {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(sender(request).map(Self))
    }
}

/// Who sends the request; `None`: nobody in particular.
pub(super) struct MaybeSender(pub(super) Option<Credentials>);

impl FromRequest for MaybeSender {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let is_nobody = !request.headers().contains_key(header::AUTHORIZATION);
        ready(if is_nobody { Ok(Self(None)) } else { sender(request).map(|it| Self(Some(it))) })
    }
}

/// The visitor who comes back, by a token that may have ended lately; `None`: a new one.
pub(super) struct Returning(pub(super) Option<Box<Claims>>);

impl FromRequest for Returning {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(returning(request).map(Self))
    }
}

fn returning(request: &HttpRequest) -> Result<Option<Box<Claims>>, Problem> {
    let Some(value) = header_text(request.headers(), "authorization")? else { return Ok(None) };
    let state = request.app_data::<Shared>().ok_or(Refusal::NoCredentials)?;
    let token = match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => return Err(Refusal::NotAVisitor.into()),
    };
    if !token.contains('.') {
        return Err(Refusal::NotAVisitor.into());
    }
    let now = chaffer_shared::time::now();
    let claims = match state.token_keys.verify_late(token, now, RETURN_SECONDS) {
        Ok(claims) if topic::is_visitor(&claims.sub) => Box::new(claims),
        Ok(_) => return Err(Refusal::NotAVisitor.into()),
        Err(TokenError::Expired) => return Err(Refusal::ExpiredToken.into()),
        Err(_) => return Err(Refusal::InvalidToken.into()),
    };
    limits::of_person(request, &Credentials::Token(claims.clone()))?;
    Ok(Some(claims))
}

/// Who sends the request, and may send one more.
fn sender(request: &HttpRequest) -> Result<Credentials, Problem> {
    let credentials = credentials(request)?;
    limits::of_person(request, &credentials)?;
    Ok(credentials)
}

fn credentials(request: &HttpRequest) -> Result<Credentials, Problem> {
    let state = request.app_data::<Shared>().ok_or(Refusal::NoCredentials)?;
    let value = header_text(request.headers(), "authorization")?.ok_or(Refusal::NoCredentials)?;
    let (scheme, secret) = value.split_once(' ').ok_or(Refusal::NoCredentials)?;
    let secret = secret.trim();
    if scheme.eq_ignore_ascii_case("basic") {
        // The shop platform's own clients: any e-mail, and the key as password.
        let decoded = base64::engine::general_purpose::STANDARD
            .decode(secret)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or(Refusal::InvalidApiKey)?;
        let (_, key) = decoded.split_once(':').ok_or(Refusal::InvalidApiKey)?;
        return with_api_key(request, state, key);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::NoCredentials.into());
    }
    // A JWT has two dots (RFC 7515, section 7.1); an API key has none.
    if !secret.contains('.') {
        return with_api_key(request, state, secret);
    }
    if request.headers().contains_key(ACTING_USER) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            Refusal::BackendOnly.code(),
            "Only the shop's backend may act as another user: leave the header Chaffer-User out.",
        ));
    }
    match state.verified.verify(&state.token_keys, secret, chaffer_shared::time::now()) {
        Ok(claims) => Ok(Credentials::Token(Box::new(claims))),
        Err(TokenError::Expired) => Err(Refusal::ExpiredToken.into()),
        Err(_) => Err(Refusal::InvalidToken.into()),
    }
}

fn with_api_key(request: &HttpRequest, state: &State, key: &str) -> Result<Credentials, Problem> {
    let client = client_address(request, &state.config.api.trusted_proxies);
    let trusted = &state.config.api.trusted_ips;
    Ok(Credentials::ApiKey {
        hash: api_keys::hash(key),
        trusted_address: client.is_some_and(|it| address::contains(trusted, it)),
        acting_user: header_text(request.headers(), ACTING_USER)?.map(str::to_owned),
    })
}

/// Whether the request comes from where the shop's backend does.
pub(super) fn is_trusted(request: &HttpRequest, api: &chaffer_shared::config::Api) -> bool {
    let client = client_address(request, &api.trusted_proxies);
    client.is_some_and(|it| address::contains(&api.trusted_ips, it))
}

/// The address the request comes from, whatever proxies the operator trusts stand in between.
pub(super) fn client_address(request: &HttpRequest, proxies: &[IpNet]) -> Option<IpAddr> {
    let headers: Vec<_> = request.headers().get_all("x-forwarded-for").collect();
    let forwarded = headers.iter().map(|value| value.as_bytes());
    address::client_address(request.peer_addr()?.ip(), forwarded, proxies)
}

/// A header that may be there once, as text.
fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name);
    let Some(value) = values.next() else { return Ok(None) };
    let bad = |detail: &str| Problem::invalid(vec![FieldError::parameter(name, detail)]);
    if values.next().is_some() {
        return Err(bad("must be sent once"));
    }
    // Ids are UTF-8; HTTP itself promises nothing beyond ASCII.
    std::str::from_utf8(value.as_bytes()).map(Some).map_err(|_| bad("must be UTF-8"))
}

/// What a call brings along: the moment and its id.
pub(super) fn context(request: &HttpRequest) -> Context {
    Context { now: chaffer_shared::time::now(), request_id: RequestId::of(request) }
}

/// A JSON body, and its bytes.
pub(super) struct Body<T> {
    pub(super) value: T,
    bytes: Bytes,
}

impl<T> Body<T> {
    /// The caller's `Idempotency-Key`, tied to this very request.
    pub(super) fn idempotency_key(
        &self,
        request: &HttpRequest,
    ) -> Result<Option<IdempotencyKey>, Problem> {
        let Some(key) = header_text(request.headers(), IDEMPOTENCY_KEY)? else { return Ok(None) };
        if !(1..=MAX_KEY_BYTES).contains(&key.len()) {
            return Err(Problem::invalid(vec![FieldError::parameter(
                "Idempotency-Key",
                format!("must be 1 to {MAX_KEY_BYTES} bytes long"),
            )]));
        }
        let method = request.method().as_str();
        Ok(Some(IdempotencyKey::new(key.to_owned(), method, request.path(), &self.bytes)))
    }
}

impl<T: DeserializeOwned + 'static> FromRequest for Body<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_json = has_type(request, "application/json");
        let reading = read(request, payload.take(), MAX_BODY_BYTES);
        Box::pin(async move {
            let bytes = reading.await?;
            // An empty body stands for an empty object where nothing is required.
            let json: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
            if !is_json && !bytes.is_empty() {
                return Err(wrong_type("JSON", "application/json"));
            }
            let value = parse(json)?;
            Ok(Self { value, bytes })
        })
    }
}

/// A body that is a table.
pub(super) struct Table(pub(super) Bytes);

impl FromRequest for Table {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_csv = has_type(request, "text/csv");
        let reading = read(request, payload.take(), MAX_TABLE_BYTES);
        Box::pin(async move {
            let bytes = reading.await?;
            if is_csv { Ok(Self(bytes)) } else { Err(wrong_type("CSV", "text/csv")) }
        })
    }
}

fn has_type(request: &HttpRequest, wanted: &str) -> bool {
    request.headers().get(header::CONTENT_TYPE).is_some_and(|value| {
        let essence = value.to_str().unwrap_or_default().split(';').next();
        essence.unwrap_or_default().trim().eq_ignore_ascii_case(wanted)
    })
}

fn wrong_type(name: &str, wanted: &str) -> Problem {
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        format!("Send the body as {name}, with the header Content-Type: {wanted}."),
    )
}

/// Reads a body of up to so many bytes, within a bound of time.
pub(super) fn read(
    request: &HttpRequest,
    mut payload: Payload,
    limit: usize,
) -> impl Future<Output = Result<Bytes, Problem>> + use<> {
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    async move {
        if announced.is_some_and(|length| length > limit) {
            return Err(too_large(limit));
        }
        let mut bytes = actix_web::web::BytesMut::new();
        let deadline = Instant::now() + BODY_TIMEOUT;
        while let Some(chunk) =
            timeout_at(deadline, payload.next()).await.map_err(|_| too_slow())?
        {
            let chunk = chunk.map_err(|error| malformed(&error.to_string()))?;
            if bytes.len() + chunk.len() > limit {
                return Err(too_large(limit));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }
}

/// A body of any kind, of up to so many bytes.
pub(super) struct RawBody<const LIMIT: usize>(pub(super) Bytes);

impl<const LIMIT: usize> FromRequest for RawBody<LIMIT> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let reading = read(request, payload.take(), LIMIT);
        Box::pin(async move { reading.await.map(Self) })
    }
}

pub(super) fn too_slow() -> Problem {
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        "request_timeout",
        format!("The body did not arrive within {} seconds.", BODY_TIMEOUT.as_secs()),
    )
}

pub(super) fn too_large(limit: usize) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too_large",
        format!("The body must not be longer than {limit} bytes."),
    )
}

fn malformed(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "malformed", format!("The body is not JSON: {detail}"))
}

fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value: Object<T> =
        serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
            let mut pointer = pointer(error.path());
            let inner = error.into_inner();
            let message = inner.to_string();
            if inner.is_data() {
                if let Some(missing) = missing_field(&message) {
                    pointer = format!("{pointer}/{missing}");
                }
                Problem::invalid(vec![FieldError::body(pointer, without_place(&message))])
            } else {
                malformed(&message)
            }
        })?;
    deserializer.end().map_err(|error| malformed(&error.to_string()))?;
    Ok(value.0)
}

/// The field that serde misses: it names the object that should have it, not the field itself.
fn missing_field(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.split('`').next()
}

/// serde_json's message without its line and column, which say little of a body on one line.
fn without_place(message: &str) -> &str {
    message.rsplit_once(" at line ").map_or(message, |(text, _)| text)
}

/// A path as a JSON pointer (RFC 6901).
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
            Segment::Enum { variant } => format!("/{variant}"),
            Segment::Unknown => "/?".to_owned(),
        })
        .collect()
}

/// The parameters of the query.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest for Query<T> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let pairs = url::form_urlencoded::parse(request.query_string().as_bytes());
        let deserializer = serde_urlencoded::Deserializer::new(pairs);
        ready(serde_path_to_error::deserialize(deserializer).map(Self).map_err(|error| {
            let name = error.path().to_string();
            Problem::invalid(vec![FieldError::parameter(name, error.into_inner().to_string())])
        }))
    }
}

/// Of a call that knows no parameters.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// Which page of a list: its length, and where it begins.
pub(super) fn paging<C: FromStr>(
    limit: Option<i64>,
    cursor: Option<&str>,
) -> Result<(i64, Option<C>), Problem> {
    let wrong =
        |_| Problem::invalid(vec![FieldError::parameter("cursor", "must be a next_cursor")]);
    Ok((page_length(limit)?, cursor.map(str::parse).transpose().map_err(wrong)?))
}

/// The length of a page: 30 unless asked, 100 at most.
pub(super) fn page_length(limit: Option<i64>) -> Result<i64, Problem> {
    match limit {
        None => Ok(30),
        Some(limit @ 1..=100) => Ok(limit),
        Some(_) => {
            Err(Problem::invalid(vec![FieldError::parameter("limit", "must be from 1 to 100")]))
        }
    }
}

/// A number in the path, as it is written.
pub(super) fn path_number(text: &str) -> Option<i64> {
    text.parse().ok().filter(|id: &i64| id.to_string() == text)
}

/// A thread's number in the path. A text that is no number is no thread.
pub(super) fn thread_id(text: &str) -> Result<i64, Problem> {
    path_number(text).ok_or_else(|| Refusal::ThreadNotFound.into())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::chat;

    /// The rule itself is tested where it stands; here, that all header lines reach it in their order.
    #[test]
    fn the_rightmost_untrusted_address_counts() {
        let request = TestRequest::default()
            .peer_addr("127.0.0.1:1000".parse().unwrap())
            .append_header(("X-Forwarded-For", "1.1.1.1"))
            .append_header(("X-Forwarded-For", "6.6.6.6, 10.1.1.1"))
            .to_http_request();
        let proxies = ["127.0.0.1/32", "10.0.0.0/8"].map(|it| it.parse().unwrap());
        assert_eq!(client_address(&request, &proxies), Some("6.6.6.6".parse().unwrap()));
        assert_eq!(client_address(&request, &[]), Some("127.0.0.1".parse().unwrap()));
    }

    /// JSON that looks like the bodies of our calls, whole or broken off, and bytes of any kind.
    fn bodies() -> impl Strategy<Value = Vec<u8>> {
        const NAMES: &str = "(text|subject|vendor_id|participants|type|id|title|url|up_to|role|name|email|status|manage_messages|ttl_seconds|thread_id|users|user_ids|x)";
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,20}".prop_map(Value::from),
            "(product|vendor_admin|customer|2026-01-01T00:00:00Z|\\u{0}|[7a-z]{1,5})"
                .prop_map(Value::from),
        ];
        let value = leaf.prop_recursive(4, 40, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::vec((NAMES, inner), 0..8)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        });
        prop_oneof![
            4 => value.prop_map(|value| value.to_string().into_bytes()),
            1 => prop::collection::vec(any::<u8>(), 0..200),
        ]
    }

    fn assert_read_or_refused<T: DeserializeOwned>(body: &[u8]) {
        let Err(problem) = parse::<T>(body) else { return };
        assert!([400, 422].contains(&problem.status), "{problem}: {}", problem.detail);
        let size = serde_json::to_vec(&problem).unwrap().len();
        assert!(size <= 1000 + 8 * body.len(), "an answer of {size} bytes to {}", body.len());
    }

    proptest! {
        #[test]
        fn no_body_panics_and_what_is_refused_is_refused_in_few_words(
            body in bodies(),
            cut in 0usize..400,
        ) {
            for body in [body.as_slice(), &body[..cut.min(body.len())]] {
                assert_read_or_refused::<chat::messages::MessageDraft>(body);
                assert_read_or_refused::<chat::starting::ThreadStart>(body);
                assert_read_or_refused::<chat::unread::ReadUpTo>(body);
                assert_read_or_refused::<chat::unread::UnreadBatch>(body);
                assert_read_or_refused::<chat::users::UserInput>(body);
                assert_read_or_refused::<chat::users::UserPatch>(body);
                assert_read_or_refused::<chat::users::TokenRequest>(body);
                assert_read_or_refused::<chat::vendors::VendorInput>(body);
            }
        }
    }
}
