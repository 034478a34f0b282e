//! The demo page's back door: a token for one of the two people of the demo, for whoever asks. It is there only with
//! `api.demo`, and these two are all that it ever gives away.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, post};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Shared;
use super::error::Problem;
use super::extract::{Body, context};
use super::middleware::random_id;
use crate::chat::starting::SubjectInput;
use crate::chat::{subject_signature, users};
use crate::demo;
use crate::store::StoreError;

const TTL_SECONDS: i64 = 600;

/// Which of the two.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Part {
    Customer,
    Vendor,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SessionRequest {
    r#as: Part,
}

#[derive(Debug, Serialize)]
struct Named {
    id: &'static str,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<crate::store::Role>,
}

#[derive(Debug, Serialize)]
struct Subject {
    r#type: &'static str,
    id: &'static str,
    title: &'static str,
}

#[derive(Debug, Serialize)]
struct Session {
    token: String,
    #[serde(with = "chaffer_shared::time")]
    expires_at: DateTime<Utc>,
    websocket_url: String,
    user: Named,
    vendor: Named,
    subject: Subject,
    subject_signature: Option<String>,
}

/// A session of the demo's customer or vendor.
#[post("/demo/session")]
pub(super) async fn session(
    state: Shared,
    request: HttpRequest,
    body: Body<SessionRequest>,
) -> Result<HttpResponse, Problem> {
    let id = match body.value.r#as {
        Part::Customer => demo::CUSTOMER_ID,
        Part::Vendor => demo::VENDOR_ADMIN_ID,
    };
    let people = state
        .store
        .read(|reader| {
            let users = reader.users(&[demo::CUSTOMER_ID, demo::VENDOR_ADMIN_ID])?;
            Ok::<_, StoreError>((users, reader.vendor(demo::VENDOR_ID)?))
        })
        .await?;
    let (user, vendor) =
        people.0.into_iter().find(|user| user.id == id).zip(people.1).ok_or_else(|| {
            Problem::new(
                StatusCode::NOT_FOUND,
                "demo_not_set_up",
                "The demo's people are not there: run `chaffer-api init --demo`.",
            )
        })?;
    let claims = users::claims(&user, &random_id(), context(&request).now, TTL_SECONDS);
    let subject = SubjectInput {
        subject_type: crate::store::SubjectType::Product,
        id: demo::PRODUCT_ID.into(),
        title: Some(demo::PRODUCT_TITLE.into()),
        url: None,
        image_url: None,
    };
    let signature = state.config.keys.shop.first().and_then(|key| {
        subject_signature(key, &subject, demo::CUSTOMER_ID, Some(demo::VENDOR_ID), None)
    });
    Ok(HttpResponse::Created().json(Session {
        token: super::sign(&state, &claims)?,
        expires_at: claims.expires_at(),
        websocket_url: state.config.websocket_url(),
        user: Named { id, name: user.name, role: Some(user.role) },
        vendor: Named { id: demo::VENDOR_ID, name: vendor.name, role: None },
        subject: Subject { r#type: "product", id: demo::PRODUCT_ID, title: demo::PRODUCT_TITLE },
        subject_signature: signature,
    }))
}
