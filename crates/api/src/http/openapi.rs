//! The OpenAPI document, generated from the handlers, and the page to try it.

use std::sync::LazyLock;

use actix_web::web::{Bytes, Redirect};
use actix_web::{App, HttpResponse, get};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{OpenApi, PathItem, SecurityRequirement};
use utoipa::{IntoResponses, Modify, OpenApi as _};
use utoipa_actix_web::AppExt;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::error::Problem;

/// What may happen to every call that needs a caller; each handler adds its own.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only its description is used")]
pub(super) enum Errors {
    /// The request is malformed.
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(Problem),
    /// Who are you?
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthenticated(Problem),
    /// You may not.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// Not there, or not yours to see.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(Problem),
    /// The request is understood, but not valid.
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(Problem),
    /// The database is not available; see `Retry-After`.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Problem),
}

/// What may happen besides to a call with a body.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only its description is used")]
pub(super) enum BodyErrors {
    /// It does not fit what is there.
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(Problem),
    /// The body is too long.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(Problem),
    /// The body is not sent as JSON.
    #[response(status = 415, content_type = "application/problem+json")]
    UnsupportedMediaType(Problem),
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Chaffer",
        description = "The chat of a shop: customers, vendors and operators, on the shop's own server.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    // Relative to where the document is fetched, so that it holds behind nginx's /chat/ as well.
    servers((url = "..", description = "Where this document was fetched")),
    modifiers(&Security),
    components(schemas(Problem)),
)]
struct Base;

struct Security;

impl Modify for Security {
    fn modify(&self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_default();
        components.add_security_scheme(
            "bearer",
            SecurityScheme::Http(
                Http::builder()
                    .scheme(HttpAuthScheme::Bearer)
                    .description(Some("An API key of the shop's backend, or a user token"))
                    .build(),
            ),
        );
        components.add_security_scheme(
            "basic",
            SecurityScheme::Http(
                Http::builder()
                    .scheme(HttpAuthScheme::Basic)
                    .description(Some("Any e-mail address, and an API key as password"))
                    .build(),
            ),
        );
        document.security = Some(vec![
            SecurityRequirement::new("bearer", Vec::<String>::new()),
            SecurityRequirement::new("basic", Vec::<String>::new()),
        ]);
    }
}

/// The OpenAPI 3.1 document of this build.
#[must_use]
pub fn document() -> OpenApi {
    let (_, document) = App::new()
        .into_utoipa_app()
        .openapi(Base::openapi())
        .configure(super::api)
        .split_for_parts();
    document
}

/// The segments of a path, and its methods.
type Route = (Vec<String>, Vec<&'static str>);

/// The document as it is served, and the paths it has: made once.
static DOCUMENT: LazyLock<(Bytes, Vec<Route>)> = LazyLock::new(|| {
    let document = document();
    let json = serde_json::to_vec(&document).unwrap_or_default();
    let route = |(path, item): (&String, &PathItem)| {
        let methods = [
            ("GET", &item.get),
            ("POST", &item.post),
            ("PUT", &item.put),
            ("PATCH", &item.patch),
            ("DELETE", &item.delete),
        ];
        let there = methods.iter().filter(|(_, operation)| operation.is_some());
        (path.split('/').map(str::to_owned).collect(), there.map(|(name, _)| *name).collect())
    };
    (json.into(), document.paths.paths.iter().map(route).collect())
});

/// The methods of a path; none when it is no call's.
pub(super) fn methods_of(path: &str) -> &'static [&'static str] {
    let segments: Vec<&str> = path.split('/').collect();
    let matches = |known: &[String]| {
        known.len() == segments.len()
            && known.iter().zip(&segments).all(|(known, segment)| {
                known == segment || (known.starts_with('{') && !segment.is_empty())
            })
    };
    DOCUMENT.1.iter().find(|(known, _)| matches(known)).map_or(&[], |(_, methods)| methods)
}

/// The OpenAPI document.
#[utoipa::path(tag = "about", security(()), responses((status = 200, body = Object)))]
#[get("/v1/openapi.json")]
pub(super) async fn get_document() -> HttpResponse {
    let answer = HttpResponse::Ok().content_type("application/json").body(DOCUMENT.0.clone());
    std::future::ready(answer).await
}

/// `/docs` itself leads to the page; relative, since there may be a prefix before it.
#[get("/docs")]
pub(super) async fn docs_without_slash() -> Redirect {
    std::future::ready(Redirect::to("docs/")).await
}

/// The page to try the API, below `/docs/`.
pub(super) fn docs() -> SwaggerUi {
    // Relative, so that it holds behind a prefix as well.
    SwaggerUi::new("/docs/{_:.*}").config(Config::from("../v1/openapi.json"))
}
