//! HTTP: takes a request apart, calls a rule, answers. No decision is taken here and no query is made.

pub mod error;

mod attachments;
mod buttons;
mod choices;
mod demo;
mod events;
mod extract;
mod forbidden_words;
mod health;
mod internal;
mod limits;
mod mail;
mod messages;
mod metrics;
mod middleware;
mod moderation;
mod openapi;
mod pages;
mod presence;
mod retention;
mod search;
mod settings;
mod support;
mod threads;
mod unread;
mod users;
mod vendors;
pub mod verified;
mod visitors;
mod webhooks;

use std::sync::Arc;

use actix_cors::Cors;
use chaffer_shared::config::{Config, Shown};
use chaffer_shared::link::LinkKeys;
use chaffer_shared::token::TokenKeys;
use tokio_util::sync::CancellationToken;
use utoipa_actix_web::service_config::ServiceConfig;

use self::verified::VerifiedTokens;
use crate::files::Files;
use crate::limits::Limits;
use crate::metrics::Calls;
use crate::notify::MailCounters;
use crate::notify::addresses::MailKeys;
use crate::notify::settings::MailSettings;
use crate::outgoing::Outgoing;
use crate::presence::SideDoor;
use crate::publish::PublisherHandle;
use crate::store::Store;
use crate::webhooks::WebhooksHandle;
use crate::word_list::WordListCache;

pub use limits::{limit, limit_preflights};
pub use middleware::observe;
pub use openapi::document;

/// What the handlers share.
pub struct State {
    /// The way to the database.
    pub store: Store,
    /// The list of forbidden words, compiled.
    pub word_list: WordListCache,
    /// The settings of the machine.
    pub config: Config,
    /// The same, as they may be shown.
    pub shown: Vec<Shown>,
    /// Signs and verifies user tokens.
    pub token_keys: TokenKeys,
    /// The tokens that were found good lately.
    pub verified: VerifiedTokens,
    /// Shows that a caller of `/internal/v1` is our push daemon.
    pub link_keys: LinkKeys,
    /// Tells what is not stored.
    pub publisher: PublisherHandle,
    /// The calls so far.
    pub calls: Calls,
    /// How often somebody may call.
    pub limits: Limits,
    /// Asks the push daemon's side door.
    pub side_door: SideDoor,
    /// Goes to addresses that somebody gave us.
    pub outgoing: Outgoing,
    /// The bytes of attachments.
    pub files: Arc<Files>,
    /// Wakes what delivers webhooks.
    pub webhooks: WebhooksHandle,
    /// The settings of the mails, when any are sent.
    pub mail: Option<Arc<MailSettings>>,
    /// The mails so far.
    pub mail_counters: Arc<MailCounters>,
    /// Knows the links in mails.
    pub mail_keys: MailKeys,
    /// Ends the long polls when the server stops.
    pub stopping: CancellationToken,
}

/// The state as handlers extract it.
pub type Shared = actix_web::web::Data<State>;

/// Mounts the calls, and describes them. The description is megabytes of small pieces, so the workers, of which each mounts
/// all, do without it.
macro_rules! calls {
    ($($call:path),* $(,)?) => {
        /// All calls, for a worker.
        pub fn api(config: &mut actix_web::web::ServiceConfig) {
            config$(.service($call))*;
        }

        /// The same for the OpenAPI document.
        fn described(config: &mut ServiceConfig<'_>) {
            config$(.service($call))*;
        }
    };
}

calls! {
    // The most frequent first, since an address is compared with one after the other.
    messages::post_message,
    messages::list_messages,
    unread::mark_read,
    unread::get_unread,
    users::put_user,
    users::patch_user,
    users::get_user,
    users::erase_user,
    users::export_user,
    users::create_token,
    vendors::put_vendor,
    vendors::get_vendor,
    threads::create_thread,
    threads::list_threads,
    threads::get_thread,
    threads::patch_thread,
    search::search_messages,
    threads::tell_typing,
    buttons::show_buttons,
    visitors::begin_session,
    support::get_queue,
    support::take_thread,
    support::release_thread,
    messages::edit_message,
    messages::delete_message,
    moderation::get_history,
    attachments::upload_attachment,
    attachments::get_attachment,
    moderation::get_original,
    // Before `{id}`, which would take their names for numbers.
    forbidden_words::check_text,
    forbidden_words::export_forbidden_words,
    forbidden_words::import_forbidden_words,
    forbidden_words::list_forbidden_words,
    forbidden_words::create_forbidden_word,
    forbidden_words::get_forbidden_word,
    forbidden_words::patch_forbidden_word,
    forbidden_words::delete_forbidden_word,
    moderation::get_audit_log,
    retention::get_retention,
    settings::get_settings,
    settings::patch_settings,
    settings::get_public_settings,
    settings::get_definitions,
    settings::get_machine_settings,
    settings::get_settings_history,
    unread::mark_unread,
    unread::get_unread_batch,
    events::get_events,
    presence::get_presence,
    webhooks::list_webhooks,
    webhooks::create_webhook,
    webhooks::get_webhook,
    webhooks::patch_webhook,
    webhooks::delete_webhook,
    webhooks::rotate_secret,
    webhooks::test_webhook,
    webhooks::list_deliveries,
    webhooks::get_delivery,
    webhooks::replay_delivery,
    webhooks::replay_failed,
    mail::list_mails,
    mail::retry_mail,
    mail::get_preferences,
    mail::put_preferences,
    mail::list_templates,
    mail::get_template,
    mail::put_template,
    mail::reset_template,
    mail::preview_template,
    mail::unsubscribe_page,
    mail::unsubscribe,
    mail::receive_mail,
    health::healthz,
    health::readyz,
    metrics::metrics,
    openapi::get_document,
}

/// What stands beside the API: pages, and the push daemon's own calls.
pub fn beside(config: &mut actix_web::web::ServiceConfig, state: &Arc<State>) {
    config
        .service(internal::missed_events)
        .service(internal::revocations)
        .service(internal::keep_last_seen)
        .service(openapi::docs_without_slash)
        .service(openapi::docs());
    if state.config.api.demo {
        config
            .service(demo::session)
            .service(pages::demo)
            .service(pages::demo_slash)
            .service(pages::asset);
    }
    config.default_service(actix_web::web::to(error::no_such_call));
}

/// Which pages may call from a browser.
pub fn cors(origins: &[String]) -> Cors {
    let cors = Cors::default()
        .allowed_methods(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
        .allowed_headers(["authorization", "content-type", "idempotency-key", "x-request-id"])
        .expose_headers(["x-request-id", "retry-after"])
        .expose_headers([limits::LIMIT, limits::REMAINING, limits::RESET])
        .max_age(3600);
    if origins.iter().any(|origin| origin == "*") {
        return cors.allow_any_origin();
    }
    origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin))
}

/// The answer to a call that may create: 201 for a new thing, 200 for one that was there.
fn answer<T: serde::Serialize>((thing, created): (T, bool)) -> actix_web::HttpResponse {
    if created {
        actix_web::HttpResponse::Created().json(thing)
    } else {
        actix_web::HttpResponse::Ok().json(thing)
    }
}

/// Signs a user's token.
fn sign(state: &State, claims: &chaffer_shared::token::Claims) -> Result<String, error::Problem> {
    state.token_keys.sign(claims).map_err(|error| {
        tracing::error!(%error, "cannot sign a token");
        error::Problem::new(
            actix_web::http::StatusCode::SERVICE_UNAVAILABLE,
            "no_token_key",
            "No token key is configured: run `chaffer-api init`, or set keys.token.",
        )
    })
}

/// Who a call of the shop's backend is made as.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only its description is used")]
struct ActingUser {
    /// With an API key: the user to act as.
    #[param(rename = "Chaffer-User", required = false)]
    chaffer_user: String,
}

/// What a call that creates takes besides.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only its description is used")]
struct CallHeaders {
    /// With an API key: the user to act as.
    #[param(rename = "Chaffer-User", required = false)]
    chaffer_user: String,
    /// The same call again with the same key gives the first answer again.
    #[param(rename = "Idempotency-Key", required = false, max_length = 200)]
    idempotency_key: String,
}
