//! `/v1/retention`: what is kept how long, and what would go.

use actix_web::web::Json;
use actix_web::{HttpRequest, get};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Shared;
use super::error::Problem;
use super::extract::{Query, Sender, context};
use super::openapi::Errors;
use crate::chat::FieldError;
use crate::chat::retention::{self, MAX_DAYS, MachineDays, Retention, TrialDays};

/// Times to be tried.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RetentionQuery {
    /// As if the setting were this.
    #[param(minimum = 0, maximum = 36500)]
    retention_thread_days: Option<i64>,
    /// As if the setting were this.
    #[param(minimum = 0, maximum = 36500)]
    retention_audit_days: Option<i64>,
}

/// What is kept how long, how many of each kind would be forgotten now, and how old the oldest is. A dry run: nothing is
/// forgotten by it, and times can be tried that are not set. For the shop's backend and those who manage messages.
#[utoipa::path(
    tag = "settings",
    params(RetentionQuery, super::ActingUser),
    responses((status = 200, body = Retention), Errors),
)]
#[get("/v1/retention")]
pub(super) async fn get_retention(
    state: Shared,
    request: HttpRequest,
    sender: Sender,
    query: Query<RetentionQuery>,
) -> Result<Json<Retention>, Problem> {
    let (context, machine) = (context(&request), MachineDays::of(&state.config));
    let checked = |name: &str, days: Option<i64>| {
        let known = days.is_none_or(|days| (0..=MAX_DAYS).contains(&days));
        let problem = || FieldError::parameter(name, format!("must be from 0 to {MAX_DAYS}"));
        if known { Ok(days) } else { Err(Problem::invalid(vec![problem()])) }
    };
    let trial = TrialDays {
        threads: checked("retention_thread_days", query.0.retention_thread_days)?,
        audit_log: checked("retention_audit_days", query.0.retention_audit_days)?,
    };
    Ok(Json(
        state
            .store
            .read(move |reader| retention::dry_run(reader, &sender.0, &context, machine, trial))
            .await?,
    ))
}
