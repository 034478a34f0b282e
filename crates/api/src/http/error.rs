//! The one place where errors become HTTP answers: RFC 9457 problem documents.
//!
//! Rules end with [`ChatError`], extractors with [`Problem`] itself; `anyhow` is for `main` alone. What went wrong inside
//! is logged and never told.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use serde::Serialize;
use utoipa::ToSchema;

use super::middleware::RequestId;
use crate::chat::{ChatError, FieldError, Refusal, RefusalKind};
use crate::store::StoreError;

const JSON: &str = "application/json";
/// Seconds after which a call that was too much for the database may be tried again.
pub(super) const RETRY_AFTER_SECONDS: &str = "1";

/// An error as programs and people read it (RFC 9457).
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(
    example = json!({
        "type": "urn:chaffer:problem:thread_not_found", "title": "Not Found", "status": 404,
        "detail": "There is no such thread.", "code": "thread_not_found",
        "request_id": "9f2c61d0a4b8e7f35c1d2e3f4a5b6c7d"
    })
)]
pub struct Problem {
    /// A name of the kind of problem.
    #[serde(rename = "type")]
    #[schema(example = "urn:chaffer:problem:thread_not_found")]
    pub problem_type: String,
    /// The kind of problem, for people.
    #[schema(example = "Not Found")]
    pub title: String,
    /// The HTTP status.
    #[schema(example = 404)]
    pub status: u16,
    /// What is wrong with this call and what to do.
    #[schema(example = "There is no such thread.")]
    pub detail: String,
    /// What programs test.
    #[schema(example = "thread_not_found")]
    pub code: String,
    /// The id under which the logs know this call.
    pub request_id: String,
    /// What the path can do, of a 405 (RFC 9110, section 15.5.6).
    #[serde(skip)]
    pub allow: Option<String>,
    /// Seconds after which the call may be made again, of a 429.
    #[serde(skip)]
    pub retry_after: Option<u64>,
    /// The bad fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<FieldError>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.status, self.code)
    }
}

/// What is counted by the minute, in seconds.
const MINUTE: u64 = 60;

impl Problem {
    /// A problem of this status; the request's id is filled in on the way out.
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            problem_type: format!("urn:chaffer:problem:{code}"),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            code: code.to_owned(),
            request_id: String::new(),
            allow: None,
            retry_after: None,
            errors: Vec::new(),
        }
    }

    /// Fields that are wrong.
    #[must_use]
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = errors
            .iter()
            .map(|error| {
                let place = error.pointer.as_ref().or(error.parameter.as_ref());
                format!("{}: {}", place.map_or("", String::as_str), error.detail)
            })
            .collect::<Vec<_>>()
            .join("; ");
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", detail) }
    }

    fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal_error",
            "Something went wrong here; the log has more under this request_id.",
        )
    }

    fn unavailable() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "The database cannot be reached or has too much to do; try again in a moment. \
             A message that is sent again with its client_id is not written twice.",
        )
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal.kind() {
            RefusalKind::Unauthenticated => StatusCode::UNAUTHORIZED,
            RefusalKind::Forbidden => StatusCode::FORBIDDEN,
            RefusalKind::NotFound => StatusCode::NOT_FOUND,
            RefusalKind::Conflict => StatusCode::CONFLICT,
            RefusalKind::Gone => StatusCode::GONE,
            RefusalKind::Unprocessable => StatusCode::UNPROCESSABLE_ENTITY,
            RefusalKind::TooMany => StatusCode::TOO_MANY_REQUESTS,
        };
        let retry_after = (refusal.kind() == RefusalKind::TooMany).then_some(MINUTE);
        Self { retry_after, ..Self::new(status, refusal.code(), refusal.detail()) }
    }
}

impl From<ChatError> for Problem {
    fn from(error: ChatError) -> Self {
        match error {
            ChatError::Refused(refusal) => refusal.into(),
            ChatError::RefusedFor(refusal, errors) => Self { errors, ..refusal.into() },
            // The list changed again and again while the call was tried.
            ChatError::StaleWordList => Self::unavailable(),
            ChatError::Invalid(errors) => Self::invalid(errors),
            ChatError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if error.is_passing() {
            tracing::warn!(%error, "the store is not available");
            Self::unavailable()
        } else {
            tracing::error!(%error, "the store failed");
            Self::internal()
        }
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut answer = HttpResponse::build(self.status_code());
        match self.status_code() {
            StatusCode::SERVICE_UNAVAILABLE => {
                answer.insert_header((header::RETRY_AFTER, RETRY_AFTER_SECONDS));
            }
            StatusCode::UNAUTHORIZED => {
                answer.insert_header((header::WWW_AUTHENTICATE, "Bearer realm=\"chaffer\""));
            }
            _ => {}
        }
        if let Some(seconds) = self.retry_after {
            answer.insert_header((header::RETRY_AFTER, seconds));
        }
        if let Some(allow) = &self.allow {
            answer.insert_header((header::ALLOW, allow.as_str()));
        }
        // The middleware writes the body, when it knows the request's id.
        let mut answer = answer.finish();
        answer.extensions_mut().insert(self.clone());
        answer
    }
}

/// Writes a problem's body; what actix refuses by itself (a wrong method, a wrong path) gets one, too.
pub(super) fn write_body(
    request: &HttpRequest,
    answer: HttpResponse<actix_web::body::BoxBody>,
) -> HttpResponse<actix_web::body::BoxBody> {
    let status = answer.status();
    let known = answer.extensions().get::<Problem>().cloned();
    let mut problem = match known {
        Some(problem) => problem,
        None if status == StatusCode::NOT_FOUND => not_found(),
        // A handler's own answer, as that of /readyz.
        None if answer.headers().get(header::CONTENT_TYPE).is_some_and(|it| it == JSON) => {
            return answer;
        }
        None if status.is_server_error() => Problem::internal(),
        None if request.headers().contains_key(header::ORIGIN) => Problem::new(
            status,
            "origin_not_allowed",
            "Pages of this origin may not make this call; api.allowed_origins lists those that may.",
        ),
        None => Problem::new(status, "bad_request", "The request cannot be read."),
    };
    problem.request_id = RequestId::of(request);
    let body = serde_json::to_string(&problem).unwrap_or_default();
    let mut answer = answer.set_body(actix_web::body::BoxBody::new(body));
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    answer
}

/// The answer to a path or query that is no text once it is decoded.
pub(super) fn not_text() -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "malformed_url",
        "The path and the query must be percent-encoded UTF-8.",
    )
}

fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "There is nothing at this path; see /docs.")
}

/// The answer to a path that is none of ours, or to a method that a path of ours does not have.
pub(super) async fn no_such_call(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let methods = super::openapi::methods_of(request.path());
    let problem = if methods.is_empty() {
        not_found()
    } else {
        let problem = Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "This path has no such method; see /docs.",
        );
        Problem { allow: Some(methods.join(", ")), ..problem }
    };
    std::future::ready(Err(problem)).await
}
