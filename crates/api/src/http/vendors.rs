//! `/v1/vendors`: the shop mirrors its vendors.

use actix_web::web::{Json, Path};
use actix_web::{HttpRequest, HttpResponse, get, put};

use super::error::Problem;
use super::extract::{Body, Nothing, Query, Sender, context};
use super::openapi::{BodyErrors, Errors};
use super::{Shared, answer};
use crate::chat::vendors::{self, VendorInput};
use crate::chat::views::VendorView;

/// Mirrors a vendor of the shop; replaces all fields.
#[utoipa::path(
    tag = "vendors",
    request_body = VendorInput,
    params(("id" = String, Path, description = "The shop's id of the vendor", max_length = 128), super::ActingUser),
    responses((status = 200, body = VendorView, description = "Changed"), (status = 201, body = VendorView, description = "New"), Errors, BodyErrors),
)]
#[put("/v1/vendors/{id}")]
pub(super) async fn put_vendor(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    _: Query<Nothing>,
    id: Path<String>,
    body: Body<VendorInput>,
) -> Result<HttpResponse, Problem> {
    let context = context(&request);
    let done = state
        .store
        .write(move |writer| vendors::put(writer, &sender.0, &context, &id, &body.value))
        .await?;
    Ok(answer(done))
}

/// One vendor, as the shop mirrored it.
#[utoipa::path(
    tag = "vendors",
    params(("id" = String, Path, description = "The shop's id of the vendor", max_length = 128), super::ActingUser),
    responses((status = 200, body = VendorView), Errors),
)]
#[get("/v1/vendors/{id}")]
pub(super) async fn get_vendor(
    state: Shared,
    sender: Sender,
    _: Query<Nothing>,
    id: Path<String>,
) -> Result<Json<VendorView>, Problem> {
    Ok(Json(state.store.read(move |reader| vendors::get(reader, &sender.0, &id)).await?))
}
