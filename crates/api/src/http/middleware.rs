//! Around every call: its id, which runs through logs and events, the log line, and the body of errors.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::http::{ConnectionType, Method};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, HttpRequest};
use tracing::Instrument;

use super::{Shared, error};

const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// The longest request id that is taken over from a caller.
const MAX_BYTES: usize = 64;

/// The id of a call, from `X-Request-Id` or new.
#[derive(Debug, Clone)]
pub(super) struct RequestId(String);

impl RequestId {
    pub(super) fn of(request: &HttpRequest) -> String {
        request.extensions().get::<Self>().map(|id| id.0.clone()).unwrap_or_default()
    }
}

/// Sixteen random bytes as text.
pub(crate) fn random_id() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}

/// Gives the call its id, logs it, and puts a body to errors.
///
/// # Errors
/// None of its own.
pub async fn observe(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let given = request.headers().get(HEADER).and_then(|value| value.to_str().ok()).filter(|id| {
        (1..=MAX_BYTES).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
    });
    let id = given.map_or_else(random_id, str::to_owned);
    request.extensions_mut().insert(RequestId(id.clone()));
    let started = std::time::Instant::now();
    let method = request.method().clone();
    // A HEAD is a GET whose body stays here (RFC 9110, section 9.3.2): the server sends none, whatever the handler gives.
    if method == Method::HEAD {
        request.head_mut().method = Method::GET;
    }
    // Whatever the call logs stands under its id.
    let call = next.call(request).instrument(tracing::info_span!("call", request_id = id));
    let answer = call.await?.map_into_boxed_body();
    let (request, answer) = answer.into_parts();
    let status = answer.status();
    let mut answer = if status.is_client_error() || status.is_server_error() {
        error::write_body(&request, answer)
    } else {
        answer
    };
    if let Ok(value) = HeaderValue::from_str(&id) {
        answer.headers_mut().insert(HEADER, value);
    }
    // A client that keeps its connection would call a server that is gone.
    let state = request.app_data::<super::Shared>();
    if state.is_some_and(|state| state.stopping.is_cancelled()) {
        answer.head_mut().set_connection_type(ConnectionType::Close);
    }
    // The pattern, not the path: a query or an id may be personal.
    let pattern = request.match_pattern();
    let path = pattern.clone().unwrap_or_default();
    let time = started.elapsed();
    let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    if let Some(state) = request.app_data::<Shared>() {
        state.calls.count(method.as_str(), pattern, status.as_u16(), time);
    }
    tracing::debug!(
        http.method = %method,
        http.route = path,
        http.status = status.as_u16(),
        duration_ms = milliseconds,
        request_id = id,
        "answered"
    );
    Ok(ServiceResponse::new(request, answer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::middleware::from_fn;
    use actix_web::test::{TestRequest, call_service, init_service, read_body_json};
    use actix_web::{App, HttpResponse, web};
    use serde_json::{Value, json};

    async fn answer(path: &str) -> (u16, String, Value) {
        let not_ready =
            || async { HttpResponse::ServiceUnavailable().json(json!({"ready": false})) };
        let failing = || async { HttpResponse::InternalServerError().body("secret details") };
        let app = App::new()
            .wrap(from_fn(crate::http::limit))
            .wrap(from_fn(observe))
            .route("/not-ready", web::get().to(not_ready))
            .route("/failing", web::get().to(failing))
            .default_service(web::to(error::no_such_call));
        let service = init_service(app).await;
        let request = TestRequest::with_uri(path).insert_header(("X-Request-Id", "mine"));
        let answer = call_service(&service, request.to_request()).await;
        let id = answer.headers().get(HEADER).unwrap().to_str().unwrap().to_owned();
        (answer.status().as_u16(), id, read_body_json(answer).await)
    }

    #[actix_web::test]
    async fn a_handlers_own_error_answer_is_left_as_it_is() {
        let (status, id, body) = answer("/not-ready").await;
        assert_eq!((status, id.as_str()), (503, "mine"));
        assert_eq!(body, json!({"ready": false}));
    }

    #[actix_web::test]
    async fn what_went_wrong_inside_is_not_told() {
        let (status, _, body) = answer("/failing").await;
        assert_eq!((status, body["code"].as_str()), (500, Some("internal_error")));
        assert_eq!(body["request_id"], "mine");
        assert!(!body.to_string().contains("secret"));
    }

    #[actix_web::test]
    async fn a_path_that_is_no_text_is_refused() {
        assert_eq!(answer("/v1/users/%ff").await.2["code"], "malformed_url");
        assert_eq!(answer("/v1/users/%D0%B6/nothing").await.2["code"], "not_found");
    }
}
