//! The API daemon as a whole: builds its parts from the settings, runs them, and stops them in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::from_fn;
use actix_web::web::Data;
use actix_web::{App, HttpServer};
use anyhow::{Context, Result};
use chaffer_shared::config::Config;
use chaffer_shared::link::LinkKeys;
use chaffer_shared::token::TokenKeys;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use utoipa_actix_web::AppExt;

use crate::http::{self, State};
use crate::publish::{Publisher, ZmqPush};
use crate::retention;
use crate::store::{DatabaseUrl, Store};

/// How long calls that have begun may take after the signal to stop.
const SHUTDOWN_SECONDS: u64 = 5;
/// How long the push daemon's side door may take.
const SIDE_DOOR_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a caller may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than nginx keeps an idle connection to us, so that it never meets one that is being closed.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// The daemon, bound to its port and ready to run.
pub struct Api {
    server: Server,
    address: SocketAddr,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Api {
    /// Brings the tables up to date, starts the store and binds the port.
    ///
    /// # Errors
    /// With a sentence on what to mend.
    pub fn build(config: Config) -> Result<Self> {
        let url = DatabaseUrl::parse(&config.database.url)?;
        let report = url.migrate().with_context(|| format!("cannot use the database {url}"))?;
        for migration in report.run {
            tracing::info!(migration, "brought the tables up to date");
        }
        let store = Store::open(&url, config.database.readers, config.database.queue)?;
        let token_keys = TokenKeys::parse(&config.keys.token)?;
        let link_keys = LinkKeys::parse(&config.keys.link)?;
        warn_about(&config, &token_keys, &link_keys);

        let stop = CancellationToken::new();
        let (publisher, handle) = Publisher::new(
            store.clone(),
            ZmqPush::new(config.publish_to()),
            link_keys.clone(),
            &config.api.name,
            Duration::from_millis(config.api.heartbeat_ms.clamp(50, 10_000)),
        );
        let tasks = vec![
            tokio::spawn(publisher.run(stop.clone())),
            tokio::spawn(retention::run(store.clone(), config.api.event_days, stop.clone())),
        ];
        let listen = config.api.listen;
        let state = Arc::new(State {
            store,
            token_keys,
            link_keys,
            publisher: handle,
            client: reqwest::Client::builder()
                .timeout(SIDE_DOOR_TIMEOUT)
                .no_proxy()
                .build()
                .context("cannot build the HTTP client")?,
            stopping: stop.clone(),
            config,
        });
        let server = HttpServer::new(move || {
            let state = Arc::clone(&state);
            App::new()
                .into_utoipa_app()
                .configure(http::api)
                .into_app()
                .app_data(Data::from(Arc::clone(&state)))
                .configure(|config| http::beside(config, &state))
                .wrap(http::cors(&state.config.api.allowed_origins))
                .wrap(from_fn(http::observe))
        })
        .workers(std::thread::available_parallelism().map_or(2, usize::from).min(4))
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEAD_TIMEOUT)
        .shutdown_timeout(SHUTDOWN_SECONDS)
        .disable_signals()
        .bind(listen)
        .with_context(|| format!("cannot listen on {listen} (api.listen)"))?;
        let address = server.addrs().first().copied().unwrap_or(listen);
        Ok(Self { server: server.run(), address, stop, tasks })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until SIGTERM or SIGINT, then lets the calls that have begun end.
    ///
    /// # Errors
    /// When the server fails, or the signals cannot be heard.
    pub async fn run(self) -> Result<()> {
        let Self { server, stop, tasks, .. } = self;
        tokio::spawn(stop_on_signal(server.handle(), stop.clone())?);
        let ended = server.await;
        stop.cancel();
        for task in tasks {
            // A task that panicked has said so already.
            let _ = task.await;
        }
        tracing::info!("stopped");
        Ok(ended?)
    }
}

fn stop_on_signal(
    server: ServerHandle,
    stop: CancellationToken,
) -> Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        // Long polls answer what they have, then the server waits for the rest.
        stop.cancel();
        server.stop(true).await;
    })
}

fn warn_about(config: &Config, token_keys: &TokenKeys, link_keys: &LinkKeys) {
    if token_keys.is_empty() {
        tracing::warn!("keys.token is empty: no browser can sign in; run `chaffer-api init`");
    }
    if link_keys.is_empty() {
        tracing::warn!(
            "keys.link is empty: nothing reaches the push daemon; run `chaffer-api init`"
        );
    }
    if config.api.trusted_ips.is_empty() {
        tracing::warn!("api.trusted_ips is empty: no API key is accepted from anywhere");
    }
    if !config.api.listen.ip().is_loopback() {
        tracing::warn!(listen = %config.api.listen, "api.listen is not loopback: the API is meant to stand behind nginx");
    }
    if config.api.demo {
        tracing::warn!("api.demo is on: anybody may write as the demo's people");
    }
}
