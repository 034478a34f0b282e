//! `/v1/buttons`: which button is shown where.

use actix_web::post;
use actix_web::web::Json;

use super::Shared;
use super::error::Problem;
use super::extract::{Body, MaybeSender, Nothing, Query};
use super::openapi::{BodyErrors, Errors};
use crate::chat::buttons::{self, Buttons, ButtonsQuery};

/// Which button a page shows for each of its subjects, with its text, type and colour, or none, and the thread that is open
/// already. For whoever looks at the page: a user's token, the shop's backend with `Chaffer-User`, or nobody in particular (no token, or the backend as
/// itself). Changes nothing; a POST since a page has many subjects.
#[utoipa::path(
    tag = "buttons",
    request_body = ButtonsQuery,
    security((), ("bearer" = []), ("basic" = [])),
    params(super::ActingUser),
    responses((status = 200, body = Buttons), Errors, BodyErrors),
)]
#[post("/v1/buttons")]
pub(super) async fn show_buttons(
    state: Shared,
    sender: MaybeSender,
    _: Query<Nothing>,
    body: Body<ButtonsQuery>,
) -> Result<Json<Buttons>, Problem> {
    let shop_keys = state.config.keys.shop.clone();
    Ok(Json(
        state
            .store
            .read(move |reader| buttons::show(reader, sender.0.as_ref(), &shop_keys, &body.value))
            .await?,
    ))
}
