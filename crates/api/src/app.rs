//! The API daemon as a whole: builds its parts from the settings, runs them, and stops them in order.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::from_fn;
use actix_web::web::Data;
use actix_web::{App, HttpServer};
use anyhow::{Context, Result, ensure};
use chaffer_shared::config::{Config, Loaded};
use chaffer_shared::descriptors;
use chaffer_shared::handover::Inherited;
use chaffer_shared::link::{LinkKeys, MIN_KEY_CHARS};
use chaffer_shared::signals::{HandOver, Signals};
use chaffer_shared::telemetry;
use chaffer_shared::token::TokenKeys;
use tokio::net::TcpSocket;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::chat::attachments;
use crate::chat::retention::MachineDays;
use crate::feed;
use crate::files::{self, Files};
use crate::http::verified::VerifiedTokens;
use crate::http::{self, State};
use crate::limits::Limits;
use crate::metrics::Calls;
use crate::notify::addresses::MailKeys;
use crate::notify::settings::MailSettings;
use crate::notify::{self, MailCounters, Mailer};
use crate::outgoing::Outgoing;
use crate::presence::SideDoor;
use crate::publish::{Publisher, ZmqPush};
use crate::retention;
use crate::search::indexer;
use crate::store::{DatabaseUrl, Store};
use crate::webhooks::Worker;
use crate::word_list::WordListCache;

/// How long calls that have begun may take after the signal to stop.
const SHUTDOWN_SECONDS: u64 = 5;
/// How long the tasks, which may be sending a mail, may take to end after that.
const TASKS_PATIENCE: Duration = Duration::from_secs(10);
/// How long the database may then take with what it has begun, before its connections are cut.
const STORE_PATIENCE: Duration = Duration::from_secs(1);
/// More connections than that only fight for the cores.
const MAX_READERS: usize = 64;
/// The longest that an address which somebody gave us may take.
const MAX_OUTGOING_SECONDS: u64 = 30;
/// The longest wait before a webhook is tried again: thirty days.
const MAX_RETRY_SECONDS: u64 = 30 * 86_400;
/// How long a caller may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than any proxy keeps an idle connection to us, so that it never meets one that is being closed.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// Before a hand-over every answer closes its connection, and this passes: longer than the one second for which
/// nginx keeps an idle connection to us (`deploy/nginx`), so that it has none left that would end under a call.
const LAST_CALLS: Duration = Duration::from_millis(1500);
/// How long it may take, on a busy machine, until no more connections are accepted and the last one has come to the
/// thread that serves it.
const PASSING_ON: Duration = Duration::from_millis(250);
/// Connections that may wait to be accepted: during a hand-over all callers do.
const BACKLOG: u32 = 4096;

/// Connections that all workers together take at once, idle ones among them.
const MAX_CONNECTIONS: usize = 100_000;
/// File descriptors that are not for callers: the database's connections, the link, logs.
const SPARE_DESCRIPTORS: usize = 512;

/// The daemon, bound to its port and ready to run.
pub struct Api {
    server: Server,
    /// The port once more, for a successor.
    listener: TcpListener,
    address: SocketAddr,
    /// Ends the long polls.
    stopping: CancellationToken,
    /// Ends the tasks, after the last call has been answered.
    stop: CancellationToken,
    publisher: Arc<Mutex<Publisher<ZmqPush>>>,
    tasks: Vec<JoinHandle<()>>,
    store: Store,
}

/// Connections that a worker takes at once; more of them wait to be accepted. Never so many that no file
/// descriptors are left for the database.
fn connections_per_worker(descriptors: Option<u64>, workers: usize) -> usize {
    let descriptors = descriptors.and_then(|it| usize::try_from(it).ok()).unwrap_or(usize::MAX);
    let room = descriptors.saturating_sub(SPARE_DESCRIPTORS).max(descriptors / 2);
    (room.min(MAX_CONNECTIONS) / workers.max(1)).max(1)
}

/// For half of the cores an HTTP worker, four at the most: the other half is for the database, the publisher and the push daemon
/// beside it. Each costs two megabytes, and takes its calls with colder caches.
fn workers(cores: usize) -> usize {
    (cores / 2).clamp(1, 4)
}

impl Api {
    /// Brings the tables up to date, starts the store and binds the port.
    ///
    /// # Errors
    /// With a sentence on what to mend.
    pub fn build(loaded: Loaded) -> Result<Self> {
        let shown = loaded.show();
        let config = loaded.config;
        check(&config)?;
        let token_keys = TokenKeys::parse(&config.keys.token)?;
        let link_keys = LinkKeys::parse(&config.keys.link)?;
        let url = DatabaseUrl::parse(&config.database.url)?;
        let report = url.migrate().with_context(|| format!("cannot use the database {url}"))?;
        for migration in report.run {
            tracing::info!(migration, "brought the tables up to date");
        }
        let readers = config.database.readers.clamp(1, MAX_READERS);
        let store = Store::open(&url, readers, config.database.queue)?;
        let closing = store.clone();
        warn_about(&config, &token_keys, &link_keys);

        let stop = CancellationToken::new();
        let stopping = CancellationToken::new();
        let (publisher, handle) = Publisher::new(
            store.clone(),
            ZmqPush::new(config.publish_to()),
            link_keys.clone(),
            &config.api.name,
            Duration::from_millis(config.api.heartbeat_ms.clamp(50, 10_000)),
        );
        let outgoing = Outgoing::new(
            &config.outgoing.allowed_networks,
            Duration::from_secs(config.outgoing.timeout_seconds.clamp(1, MAX_OUTGOING_SECONDS)),
        );
        let retries = config.webhooks.retry_seconds.iter();
        let retries = retries.map(|it| Duration::from_secs((*it).min(MAX_RETRY_SECONDS)));
        let webhooks = Worker::new(store.clone(), outgoing.clone(), retries.collect());
        let webhooks_handle = webhooks.handle();
        let side_door = SideDoor::new(config.push_http_url(), link_keys.clone())
            .context("cannot build the HTTP client")?;
        // On the thread that answers the calls: a message that was stored wakes one thread then, which tells the push daemon
        // and the author. Of several such threads the first has it, and if that ends, the next.
        let publisher = Arc::new(Mutex::new(publisher));
        let mut tasks = vec![
            tokio::spawn(webhooks.run(stop.clone())),
            tokio::spawn(indexer::run(store.clone(), stop.clone())),
            tokio::spawn(feed::run(store.clone(), stop.clone())),
        ];
        let files = Arc::new(Files::open(&config.files)?);
        tasks.push(tokio::spawn(retention::run(
            store.clone(),
            Arc::clone(&files),
            MachineDays::of(&config),
            stop.clone(),
        )));
        tasks.push(tokio::spawn(files::sweep::run(
            store.clone(),
            Arc::clone(&files),
            stop.clone(),
        )));
        if !config.mail.public_url.is_empty() {
            attachments::set_public_url(&config.mail.public_url);
        }
        let mail = MailSettings::read(&config)?.map(Arc::new);
        let mail_counters = Arc::<MailCounters>::default();
        if let Some(settings) = &mail {
            settings.warnings(&config).iter().for_each(|text| tracing::warn!("{text}"));
            let mailer = Mailer::new(
                store.clone(),
                Arc::clone(settings),
                notify::connect(&config.mail)?,
                side_door.clone(),
                &config.api.name,
                Arc::clone(&mail_counters),
            );
            tasks.push(tokio::spawn(mailer.clone().gather(stop.clone())));
            tasks.push(tokio::spawn(mailer.send(stop.clone())));
        }
        let listen = config.api.listen;
        let state = Arc::new(State {
            store,
            word_list: WordListCache::default(),
            token_keys,
            verified: VerifiedTokens::default(),
            link_keys,
            publisher: handle,
            calls: Calls::default(),
            limits: Limits::new(&config.limits),
            outgoing,
            files,
            webhooks: webhooks_handle,
            side_door,
            mail,
            mail_counters,
            mail_keys: MailKeys::parse(&config.keys.mail)?,
            stopping: stopping.clone(),
            config,
            shown,
        });
        let workers = workers(std::thread::available_parallelism().map_or(2, usize::from));
        let connections = connections_per_worker(descriptors::raise_limit(), workers);
        let (publishing, until) = (Arc::clone(&publisher), stop.clone());
        let server = HttpServer::new(move || {
            let state = Arc::clone(&state);
            actix_web::rt::spawn(publish(Arc::clone(&publishing), until.clone()));
            App::new()
                .app_data(Data::from(Arc::clone(&state)))
                .configure(http::api)
                .configure(|config| http::beside(config, &state))
                // Inside of CORS, so that a page can read why it is refused.
                .wrap(from_fn(http::limit))
                .wrap(http::cors(&state.config.api.allowed_origins))
                .wrap(from_fn(http::limit_preflights))
                .wrap(from_fn(http::observe))
        })
        .workers(workers)
        .max_connections(connections)
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEAD_TIMEOUT)
        .shutdown_timeout(SHUTDOWN_SECONDS)
        .disable_signals();
        let listener =
            open(listen).with_context(|| format!("cannot listen on {listen} (api.listen)"))?;
        let server = server.listen(listener.try_clone()?)?;
        let address = listener.local_addr()?;
        let server = server.run();
        let store = closing;
        Ok(Self { server, listener, address, stopping, stop, publisher, tasks, store })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until it is told to stop, then lets the calls that have begun end. For a hand-over it returns the port,
    /// which is still open then.
    ///
    /// # Errors
    /// When the server fails.
    pub async fn run(self, signals: Signals) -> Result<Option<(HandOver, TcpListener)>> {
        let Self { server, listener, stopping, stop, publisher, mut tasks, store, .. } = self;
        let asked = tokio::spawn(stop_on_signal(signals, server.handle(), stopping));
        server.await?;
        stop.cancel();
        // The threads for calls are gone or about to go: what the last calls stored may not have gone out yet.
        tasks.push(tokio::spawn(publish(publisher, stop)));
        let ended = async {
            for task in tasks {
                // A task that panicked has said so already.
                let _ = task.await;
            }
        };
        if timeout(TASKS_PATIENCE, ended).await.is_err() {
            tracing::warn!("some tasks did not end in time");
        }
        if !store.close(STORE_PATIENCE).await {
            tracing::warn!("the database did not end in time what it had begun");
        }
        tracing::info!("stopped");
        Ok(asked.await?.map(|hand_over| (hand_over, listener)))
    }
}

/// Publishes, as soon as nobody else does.
async fn publish(publisher: Arc<Mutex<Publisher<ZmqPush>>>, until: CancellationToken) {
    publisher.lock().await.run(&until).await;
}

/// The port that a predecessor left open, or a new one.
fn open(address: SocketAddr) -> std::io::Result<TcpListener> {
    if let Some(listener) = Inherited::receive().take(address) {
        return Ok(listener);
    }
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for old connections to time out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// Stops the server when a signal asks for it; tells whether a successor takes over.
async fn stop_on_signal(
    mut signals: Signals,
    server: ServerHandle,
    stopping: CancellationToken,
) -> Option<HandOver> {
    let hand_over = signals.ending().await;
    tracing::info!(handing_over = hand_over.is_some(), "stopping");
    // Long polls answer what they have, then the server waits for the rest.
    stopping.cancel();
    if hand_over.is_some() {
        sleep(LAST_CALLS).await;
        // What was accepted before is served; what comes now waits for the successor.
        server.pause().await;
        sleep(PASSING_ON).await;
    }
    server.stop(true).await;
    hand_over
}

/// Refuses settings with which the daemon would not start, as far as that can be told without opening anything.
///
/// # Errors
/// With a sentence on what to mend.
pub fn check(config: &Config) -> Result<()> {
    telemetry::filter(&config.log)?;
    TokenKeys::parse(&config.keys.token)?;
    let link_keys = LinkKeys::parse(&config.keys.link)?;
    DatabaseUrl::parse(&config.database.url)?;
    SideDoor::new(config.push_http_url(), link_keys).context("cannot build the HTTP client")?;
    if MailSettings::read(config)?.is_some() {
        notify::connect(&config.mail)?;
    }
    for origin in config.api.allowed_origins.iter().filter(|origin| *origin != "*") {
        let is_origin =
            url::Url::parse(origin).is_ok_and(|url| url.origin().ascii_serialization() == *origin);
        ensure!(
            is_origin,
            "api.allowed_origins: `{origin}` is no origin; write it as https://shop.example"
        );
    }
    let websocket_url = config.websocket_url();
    ensure!(
        url::Url::parse(&websocket_url).is_ok_and(|url| matches!(url.scheme(), "ws" | "wss")),
        "api.websocket_url: `{websocket_url}` is no ws or wss URL; write it as wss://shop.example/ws"
    );
    ensure!(
        config.keys.shop.iter().all(|key| key.chars().count() >= MIN_KEY_CHARS),
        "keys.shop: each key has at least {MIN_KEY_CHARS} characters; make one with `chaffer-api init`"
    );
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workers_together_take_what_the_machine_has_room_for_however_many_they_are() {
        for (cores, expected) in [(1, 1), (2, 1), (3, 1), (4, 2), (8, 4), (64, 4)] {
            let workers = workers(cores);
            assert_eq!(workers, expected, "{cores} cores");
            let taken = |descriptors| workers * connections_per_worker(descriptors, workers);
            assert_eq!(taken(None), MAX_CONNECTIONS);
            let room = 65_536 - SPARE_DESCRIPTORS;
            assert!((room - workers..=room).contains(&taken(Some(65_536))), "{cores} cores");
            assert!(taken(Some(64)) <= 32.max(workers), "{cores} cores");
        }
    }
}
