//! The OpenAPI document, generated from the handlers, and the page to try it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Redirect};
use actix_web::{App, HttpResponse, get};
use utoipa::openapi::header::Header;
use utoipa::openapi::schema::Type;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{
    Content, Object, OpenApi, PathItem, RefOr, Required, Schema, SecurityRequirement,
};
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
    /// Something went wrong here; the log has more under the request's id.
    #[response(status = 500, content_type = "application/problem+json")]
    Failed(Problem),
    /// The database, or what else the call needs, is not available; see `Retry-After`.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Problem),
}

/// What may happen to every call.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only its description is used")]
enum Limited {
    /// Too many calls, or too many messages in one thread; see `Retry-After`.
    #[response(status = 429, content_type = "application/problem+json")]
    TooMany(Problem),
}

/// What may happen besides to a call with a body.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only its description is used")]
pub(super) enum BodyErrors {
    /// The body did not arrive in time.
    #[response(status = 408, content_type = "application/problem+json")]
    TooSlow(Problem),
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

/// What holds for every call, and is therefore said once, here.
struct Everywhere;

impl Modify for Everywhere {
    fn modify(&self, document: &mut OpenApi) {
        if let Some(components) = &mut document.components {
            components.schemas.values_mut().for_each(without_null_defaults);
        }
        let schemas = document.components.as_ref().map(|it| it.schemas.clone()).unwrap_or_default();
        for item in document.paths.paths.values_mut() {
            let operations =
                [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete];
            for operation in operations.into_iter().flatten() {
                if let Some(RefOr::T(body)) = &mut operation.request_body {
                    // An empty body stands for an empty object where nothing is required.
                    let required = body.content.values().any(|it| requires_a_field(it, &schemas));
                    body.required = Some(if required { Required::True } else { Required::False });
                }
                operation.responses.responses.extend(Limited::responses());
                for (status, response) in &mut operation.responses.responses {
                    let RefOr::T(response) = response else { continue };
                    if response.description.is_empty() {
                        // OpenAPI 3.1 wants one.
                        let status =
                            status.parse().ok().and_then(|it| StatusCode::from_u16(it).ok());
                        let reason = status.and_then(|it| it.canonical_reason());
                        reason.unwrap_or("The answer").clone_into(&mut response.description);
                    }
                    for (name, header) in headers(status) {
                        response.headers.insert(name.to_owned(), header.into());
                    }
                }
            }
        }
    }
}

/// A field that may be left out is not null then: it is not there.
fn without_null_defaults(schema: &mut RefOr<Schema>) {
    let RefOr::T(Schema::Object(object)) = schema else { return };
    for property in object.properties.values_mut() {
        match property {
            RefOr::T(Schema::Object(it)) => it.default.take_if(|it| it.is_null()),
            RefOr::T(Schema::Array(it)) => it.default.take_if(|it| it.is_null()),
            RefOr::T(Schema::OneOf(it)) => it.default.take_if(|it| it.is_null()),
            RefOr::Ref(it) => it.default.take_if(|it| it.is_null()),
            RefOr::T(_) => None,
        };
    }
}

/// Whether a body of this kind has a field that must be there.
fn requires_a_field(content: &RefOr<Content>, schemas: &BTreeMap<String, RefOr<Schema>>) -> bool {
    let RefOr::T(Content { schema: Some(schema), .. }) = content else { return false };
    let schema = match schema {
        RefOr::Ref(it) => it.ref_location.rsplit('/').next().and_then(|name| schemas.get(name)),
        RefOr::T(_) => Some(schema),
    };
    matches!(schema, Some(RefOr::T(Schema::Object(object))) if !object.required.is_empty())
}

/// The headers of an answer with this status.
fn headers(status: &str) -> Vec<(&'static str, Header)> {
    let header = |kind: Type, description: &str| {
        Header::builder()
            .schema(Some(Object::with_type(kind)))
            .description(Some(description))
            .build()
    };
    let mut headers = vec![(
        "X-Request-Id",
        header(
            Type::String,
            "The id under which the logs know this call: the one that was sent, or a new one",
        ),
    )];
    for (name, description) in [
        ("X-RateLimit-Limit", "How many calls may come at once, of the limit that is nearest"),
        ("X-RateLimit-Remaining", "How many of them are left"),
        ("X-RateLimit-Reset", "Seconds until all of them are there again"),
    ] {
        headers.push((name, header(Type::Integer, description)));
    }
    if matches!(status, "429" | "503") {
        let description = "Seconds after which the call may be made again";
        headers.push(("Retry-After", header(Type::Integer, description)));
    }
    if status == "401" {
        headers.push(("WWW-Authenticate", header(Type::String, "How to authenticate")));
    }
    headers
}

/// The OpenAPI 3.1 document of this build.
#[must_use]
pub fn document() -> OpenApi {
    let (_, mut document) = App::new()
        .into_utoipa_app()
        .openapi(Base::openapi())
        .configure(super::described)
        .split_for_parts();
    Everywhere.modify(&mut document);
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn json() -> Value {
        serde_json::to_value(document()).unwrap()
    }

    /// Every object within a value.
    fn objects<'a>(value: &'a Value, found: &mut Vec<&'a serde_json::Map<String, Value>>) {
        match value {
            Value::Object(object) => {
                found.push(object);
                object.values().for_each(|it| objects(it, found));
            }
            Value::Array(list) => list.iter().for_each(|it| objects(it, found)),
            _ => {}
        }
    }

    /// A validator of one schema of the document.
    fn validator(document: &Value, name: &str) -> jsonschema::Validator {
        let pointer = format!("#/components/schemas/{name}");
        let schema = serde_json::json!({"$ref": pointer, "components": document["components"]});
        jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap()
    }

    #[test]
    fn it_is_openapi_3_1_and_every_reference_leads_somewhere() {
        let document = json();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1."), "{document}");
        let mut found = Vec::new();
        objects(&document, &mut found);
        for reference in found.iter().filter_map(|it| it.get("$ref")?.as_str()) {
            let target = document.pointer(reference.trim_start_matches('#'));
            assert!(target.is_some(), "{reference} leads nowhere");
        }
    }

    #[test]
    fn every_call_that_takes_a_body_says_which() {
        let document = json();
        let (mut bodies, mut without_body) = (Vec::new(), Vec::new());
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in ["post", "put", "patch"] {
                let Some(operation) = item.get(method) else { continue };
                // It says so by what may be wrong with a body.
                let takes_one = operation["responses"].get("415").is_some();
                let content = operation["requestBody"].get("content");
                if content.is_some_and(|it| it.get("application/json").is_none()) {
                    continue;
                }
                assert_eq!(operation.get("requestBody").is_some(), takes_one, "{method} {path}");
                let body = &operation["requestBody"];
                if !takes_one {
                    without_body.push(path.as_str());
                    continue;
                }
                let schema = body["content"]["application/json"]["schema"]["$ref"].as_str();
                let name = schema.unwrap().rsplit('/').next().unwrap();
                let schema = &document["components"]["schemas"][name];
                assert_eq!(schema["additionalProperties"], false, "{name} takes unknown fields");
                let empty_will_do = validator(&document, name).is_valid(&serde_json::json!({}));
                assert_eq!(body["required"], !empty_will_do, "{method} {path}");
                bodies.push(name.to_owned());
            }
        }
        without_body.sort_unstable();
        let known = [
            "/v1/mails/{id}/retry",
            "/v1/threads/{id}/release",
            "/v1/threads/{id}/take",
            "/v1/threads/{id}/typing",
            "/v1/webhooks/{id}/deliveries/{delivery}/replay",
            "/v1/webhooks/{id}/rotate-secret",
            "/v1/webhooks/{id}/test",
        ];
        assert_eq!(without_body, known);
        bodies.sort();
        let known = [
            "ButtonsQuery",
            "ForbiddenWordInput",
            "ForbiddenWordPatch",
            "MailPreferences",
            "MailTemplateDraft",
            "MailTemplateInput",
            "MessageChange",
            "MessageDraft",
            "ReadUpTo",
            "ReplayInput",
            "SampleText",
            "SettingsPatch",
            "ThreadPatch",
            "ThreadStart",
            "TokenRequest",
            "UnreadBatch",
            "UnreadFrom",
            "UserInput",
            "UserPatch",
            "VendorInput",
            "VisitorInput",
            "WebhookInput",
            "WebhookPatch",
        ];
        assert_eq!(bodies, known);
    }

    #[test]
    fn what_may_be_left_out_is_not_null() {
        let document = json();
        let patch = validator(&document, "UserPatch");
        assert!(patch.is_valid(&serde_json::json!({"phone": null})));
        for field in ["role", "name", "root", "profiles"] {
            assert!(!patch.is_valid(&serde_json::json!({field: null})), "{field}");
        }
        let mut found = Vec::new();
        objects(&document["components"]["schemas"]["UserPatch"]["properties"], &mut found);
        assert!(found.iter().all(|it| !it.contains_key("default")), "{found:?}");
    }

    #[test]
    fn enums_are_their_texts() {
        let document = json();
        let texts = |name: &str| document["components"]["schemas"][name]["enum"].clone();
        assert_eq!(
            texts("Role"),
            serde_json::json!(["customer", "vendor_admin", "admin", "operator", "visitor"])
        );
        assert_eq!(texts("VendorStatus"), serde_json::json!(["active", "disabled"]));
        assert_eq!(texts("ThreadStatus"), serde_json::json!(["open", "closed"]));
        let parameters = document["paths"]["/v1/threads"]["get"]["parameters"].as_array().unwrap();
        let status = parameters.iter().find(|it| it["name"] == "status").unwrap();
        assert_eq!(status["schema"]["$ref"], "#/components/schemas/ThreadStatus");
    }

    #[test]
    fn every_body_has_an_example_that_fits_it() {
        let document = json();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for (name, schema) in schemas.iter().filter(|(_, it)| it["type"] == "object") {
            let validator = validator(&document, name);
            // A page is shown as a list of its entries' examples.
            let Some(example) = schema.get("example") else {
                assert!(
                    schema["properties"].as_object().unwrap().values().all(|it| {
                        it.get("example").is_some()
                            || it["items"].get("$ref").is_some()
                            || it["type"] == "boolean"
                    }),
                    "{name} has no example"
                );
                continue;
            };
            let wrong: Vec<_> = validator.iter_errors(example).map(|it| it.to_string()).collect();
            assert!(wrong.is_empty(), "{name}: {wrong:?}");
        }
    }

    #[test]
    fn every_answer_has_a_description_and_its_headers() {
        let document = json();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                for (status, answer) in operation["responses"].as_object().unwrap() {
                    let has = |name: &str| answer["headers"].get(name).is_some();
                    assert!(has("X-Request-Id"), "{method} {path} {status}");
                    assert_ne!(answer["description"].as_str().unwrap_or_default(), "");
                    let passes = matches!(status.as_str(), "429" | "503");
                    assert_eq!(has("Retry-After"), passes, "{method} {path} {status}");
                    assert!(has("X-RateLimit-Remaining"), "{method} {path} {status}");
                }
            }
        }
    }
}
