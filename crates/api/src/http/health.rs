//! Whether the daemon lives, and whether it can do its work.

use std::time::Duration;

use actix_web::http::header::RETRY_AFTER;
use actix_web::web::Json;
use actix_web::{HttpResponse, get};
use chaffer_shared::health::{Check, Readiness};
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::Shared;
use super::error::RETRY_AFTER_SECONDS;
use crate::store::StoreError;

/// How long the database may take to say that it is there.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// The daemon lives.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"status": "ok", "version": "0.1.0"}))]
pub(super) struct Health {
    /// Always `ok`.
    #[schema(example = "ok")]
    status: &'static str,
    /// The version of this build.
    version: &'static str,
}

/// One thing that the daemon needs: the shape of [`Check`], whose crate knows nothing of OpenAPI.
#[derive(ToSchema)]
#[schema(
    as = Check,
    example = json!({"name": "database", "ok": true, "detail": "answers"})
)]
#[expect(dead_code, reason = "only its description is used")]
struct CheckShape {
    /// What is checked.
    #[schema(example = "database")]
    name: String,
    /// Whether it works.
    ok: bool,
    /// What was seen, and, when it fails, what to do.
    #[schema(example = "answers")]
    detail: String,
}

/// Whether the daemon can do its work: the shape of [`Readiness`].
#[derive(ToSchema)]
#[schema(
    as = Readiness,
    example = json!({"ready": true, "checks": [{"name": "database", "ok": true, "detail": "answers"}]})
)]
#[expect(dead_code, reason = "only its description is used")]
struct ReadinessShape {
    /// Whether it can.
    ready: bool,
    /// Each thing that it needs.
    checks: Vec<CheckShape>,
}

/// Whether the daemon lives.
#[utoipa::path(tag = "about", security(()), responses((status = 200, body = Health)))]
#[get("/healthz")]
pub(super) async fn healthz() -> Json<Health> {
    let health = Health { status: "ok", version: env!("CARGO_PKG_VERSION") };
    std::future::ready(Json(health)).await
}

/// Whether it can do its work. Without the push daemon it can: messages are kept and told later.
#[utoipa::path(tag = "about", security(()), responses((status = 200, body = ReadinessShape, description = "Ready"), (status = 503, body = ReadinessShape, description = "Not ready")))]
#[get("/readyz")]
pub(super) async fn readyz(state: Shared) -> HttpResponse {
    let database = timeout(PATIENCE, state.store.read(|reader| reader.last_event())).await;
    let (database_ok, database) = match database {
        Ok(Ok(_)) => (true, "answers".to_owned()),
        Ok(Err(StoreError::Busy)) => (false, "has too much to do".to_owned()),
        Ok(Err(error)) => {
            tracing::warn!(%error, "not ready: the database");
            (false, "does not answer; see the log".to_owned())
        }
        Err(_) => (false, "does not answer in time".to_owned()),
    };
    let linked = state.publisher.is_connected();
    let link = if linked {
        "connected"
    } else {
        "not connected: messages are kept and told once chaffer-push is there"
    };
    let checks = vec![
        Check { name: "database".into(), ok: database_ok, detail: database },
        Check { name: "push_link".into(), ok: linked, detail: link.into() },
    ];
    let readiness = Readiness { ready: database_ok, checks };
    if database_ok {
        HttpResponse::Ok().json(readiness)
    } else {
        HttpResponse::ServiceUnavailable()
            .insert_header((RETRY_AFTER, RETRY_AFTER_SECONDS))
            .json(readiness)
    }
}
