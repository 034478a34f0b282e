//! The pages of `web/`, built by `make web` and embedded in the binary.

use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::web::{Path, Redirect};
use actix_web::{HttpResponse, get};
use rust_embed::Embed;

use super::error::Problem;

/// Only what comes from here runs or is shown; the socket may be elsewhere.
const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; style-src 'self'; img-src 'self' data:; \
     object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(Embed)]
#[folder = "../../web/dist"]
struct Pages;

/// The demo shop.
#[get("/demo")]
pub(super) async fn demo() -> Result<HttpResponse, Problem> {
    std::future::ready(file("demo.html")).await
}

/// Its links are relative to `/demo`.
#[get("/demo/")]
pub(super) async fn demo_slash() -> Redirect {
    std::future::ready(Redirect::to("../demo")).await
}

/// What its pages are made of.
#[get("/assets/{path:.*}")]
pub(super) async fn asset(path: Path<String>) -> Result<HttpResponse, Problem> {
    std::future::ready(file(&path)).await
}

fn file(path: &str) -> Result<HttpResponse, Problem> {
    let file = Pages::get(path).ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "page_not_built",
            "There is no such page in this build; `make web` builds the pages.",
        )
    })?;
    Ok(HttpResponse::Ok()
        .content_type(file.metadata.mimetype())
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .body(file.data.into_owned()))
}
