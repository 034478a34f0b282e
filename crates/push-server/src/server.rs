//! The daemon as a whole: binds the ports, starts the parts, stops them in order.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use chaffer_shared::config::{Config, fingerprint};
use chaffer_shared::descriptors;
use chaffer_shared::handover::Inherited;
use chaffer_shared::link::{InvalidLinkKey, LinkKeys};
use chaffer_shared::token::{InvalidTokenKey, TokenKeys};
use chrono::Utc;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::api::{Api, ApiError};
use crate::gate::{Gate, Limits};
use crate::hub::{Command, Hub};
use crate::intake::Intake;
use crate::last_seen;
use crate::metrics::Metrics;
use crate::presence::{self, Presence};
use crate::repair::{LinkStatus, Sequencer};
use crate::side_door::SideDoor;
use crate::threads::{self, Crowd};
use crate::websocket::Clients;

/// Connections that may wait to be accepted: after a restart everybody comes back at once.
const LISTEN_BACKLOG: u32 = 4096;

/// How long clients wait at start for the API to tell where its events stand. Without an answer they are served
/// all the same, but those who resume are sent to the feed.
const START_PATIENCE: Duration = Duration::from_secs(3);

/// How long the pusher port may take to finish what its peers were saying, and then the clients to close.
const DRAIN: Duration = Duration::from_millis(500);
const FAREWELL: Duration = Duration::from_millis(2500);

/// And how long the API may take after that to keep who was there.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How often it is forgotten who was last seen long ago.
const FORGET_INTERVAL: Duration = Duration::from_secs(3600);

/// Why the daemon cannot start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A port cannot be opened.
    #[error("cannot listen on {address} ({setting}): {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The setting that holds it.
        setting: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A key for tokens cannot be used.
    #[error(transparent)]
    TokenKey(#[from] InvalidTokenKey),
    /// A key of the link cannot be used.
    #[error(transparent)]
    LinkKey(#[from] InvalidLinkKey),
    /// The client for the API cannot be made.
    #[error("cannot make an HTTP client: {0}")]
    Api(#[from] ApiError),
    /// The threads for the clients cannot be started.
    #[error("cannot start the threads for the clients: {0}")]
    Threads(std::io::Error),
    /// A part of the daemon ended by itself, which none should.
    #[error("a part of the daemon failed: {0}")]
    Part(String),
}

/// A daemon whose ports are open.
pub struct Server {
    config: Config,
    tokens: TokenKeys,
    link: LinkKeys,
    websocket: TcpListener,
    pusher: TcpListener,
    http: TcpListener,
    metrics: Arc<Metrics>,
    /// How many this process may have; `None`: any number.
    descriptors: Option<u64>,
}

impl Server {
    /// Refuses settings with which the daemon would not start, as far as that can be told without opening anything.
    ///
    /// # Errors
    /// [`ServerError`] names the setting to change.
    pub fn check(config: &Config) -> Result<(), ServerError> {
        TokenKeys::parse(&config.keys.token)?;
        let link = LinkKeys::parse(&config.keys.link)?;
        Api::new(config.api_url(), &link)?;
        Ok(())
    }

    /// Opens the ports, or takes over those that its predecessor left open, and raises the process's limit of file
    /// descriptors, for every client is one. Must be called within a runtime.
    ///
    /// # Errors
    /// [`ServerError`] names the setting to change.
    pub fn bind(config: Config) -> Result<Self, ServerError> {
        let tokens = TokenKeys::parse(&config.keys.token)?;
        let link = LinkKeys::parse(&config.keys.link)?;
        let push = &config.push;
        let mut inherited = Inherited::receive();
        let mut open = |address, setting| listen(&mut inherited, address, setting);
        Ok(Self {
            websocket: open(push.websocket_listen, "push.websocket_listen")?,
            pusher: open(push.pusher_listen, "push.pusher_listen")?,
            http: open(push.http_listen, "push.http_listen")?,
            metrics: Arc::default(),
            descriptors: descriptors::raise_limit(),
            tokens,
            link,
            config,
        })
    }

    /// Where clients connect.
    #[must_use]
    pub fn websocket_address(&self) -> SocketAddr {
        self.websocket.local_addr().unwrap_or(self.config.push.websocket_listen)
    }

    /// Where pushers connect.
    #[must_use]
    pub fn pusher_address(&self) -> SocketAddr {
        self.pusher.local_addr().unwrap_or(self.config.push.pusher_listen)
    }

    /// The side door.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.http.local_addr().unwrap_or(self.config.push.http_listen)
    }

    /// The open ports once more, for the successor: as long as these are not dropped, nobody is refused.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn listeners(&self) -> std::io::Result<Vec<std::net::TcpListener>> {
        let ports = [&self.websocket, &self.pusher, &self.http];
        ports.into_iter().map(|port| Ok(port.as_fd().try_clone_to_owned()?.into())).collect()
    }

    /// The counters.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// Serves until `stop`, on this thread and those of the [`Crowd`], then stops in order: no new connections, what was
    /// being pushed goes out, clients are told to come back.
    ///
    /// # Errors
    /// When a part fails that should live for ever.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ServerError> {
        self.warn();
        let push = &self.config.push;
        let (presence, ahead) = (Arc::<Presence>::default(), Arc::<Notify>::default());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let crowd = Crowd::start(cores).map_err(ServerError::Threads)?;
        let (hub, shards) =
            Hub::new(threads::shards(cores), push, &presence, &self.metrics, &ahead);
        let api = Api::new(self.config.api_url(), &self.link)?;
        let status = Arc::<LinkStatus>::default();
        let has_link = api.is_some();
        let sequencer = Sequencer::new(
            api.clone(),
            hub.clone(),
            self.metrics.clone(),
            status.clone(),
            push.replay_bytes,
        );
        let mut tried = sequencer.tried();
        let (websocket_limits, pusher_limits) = Limits::of(push, self.descriptors);
        let proxies = &self.config.api.trusted_proxies;
        let gate = Gate::new(websocket_limits, proxies);
        let pusher_gate = Gate::new(pusher_limits, &[]);
        let (intake, incoming) = Intake::new(push, self.link, self.metrics.clone(), pusher_gate);
        let door = Arc::new(SideDoor {
            hub: hub.clone(),
            presence: presence.clone(),
            metrics: self.metrics.clone(),
            keys: (fingerprints(&self.config.keys.token), fingerprints(&self.config.keys.link)),
            link: has_link.then_some(status),
        });
        let clients = Clients::new(push, self.tokens, hub.clone(), self.metrics.clone(), gate);
        info!(
            websocket = %local(&self.websocket), pusher = %local(&self.pusher), http = %local(&self.http),
            "listening"
        );

        // None of these may end before `stop`: then the first ones end by themselves, the others at the very end.
        let mut parts = JoinSet::new();
        let mut closing = JoinSet::new();
        // The first one on this thread, with all that an event passes before.
        let mut shards = shards.into_iter();
        if let Some(first) = shards.next() {
            closing.spawn(first.run());
        }
        shards.for_each(|shard| drop(closing.spawn_on(shard.run(), crowd.handle())));
        let door_stop = CancellationToken::new();
        closing.spawn(door.run(self.http, door_stop.clone()));
        parts.spawn(intake.run(self.pusher, stop.clone()));
        parts.spawn(sequencer.run(incoming, ahead));
        parts.spawn(keep_presence(presence.clone(), stop.clone()));
        if let Some(api) = api.clone() {
            parts.spawn(last_seen::keep(presence.clone(), api, stop.clone()));
        }
        let revocations = api.clone().map(|api| tokio::spawn(api.load_revocations(hub.clone())));
        let sockets = TaskTracker::new();
        let (accept_stop, tasks) = (stop.clone(), sockets.clone());
        let websocket = crowd.take(self.websocket).map_err(ServerError::Threads)?;
        let accepting = async move {
            let known = tried.wait_for(|tried| *tried);
            tokio::select! {
                // Either way it is time to serve.
                _ = timeout(START_PATIENCE, known) => {}
                () = accept_stop.cancelled() => {}
            }
            clients.run(websocket, accept_stop, tasks).await;
        };
        parts.spawn_on(accepting, crowd.handle());

        let failed = tokio::select! {
            // First: parts that end because of `stop` have not failed.
            biased;
            () = stop.cancelled() => None,
            ended = parts.join_next() => Some(describe(ended)),
            ended = closing.join_next() => Some(describe(ended)),
        };
        info!("stopping");
        stop.cancel();
        // The intake ends first, then the sequencer for want of messages, so that all that came in goes out.
        let drain = async { while parts.join_next().await.is_some() {} };
        let _ = timeout(DRAIN, drain).await;
        revocations.inspect(tokio::task::JoinHandle::abort);
        parts.shutdown().await;
        hub.tell_all(|| Command::Stop).await;
        sockets.close();
        if timeout(FAREWELL, sockets.wait()).await.is_err() {
            warn!(sockets = sockets.len(), "some clients did not close in time");
        }
        presence.close(Utc::now());
        if let Some(api) = api
            && timeout(LAST_WORDS, last_seen::tell(&presence, &api)).await.is_err()
        {
            warn!("the API took too long to keep when people were last seen");
        }
        door_stop.cancel();
        closing.shutdown().await;
        crowd.end().await;
        info!("stopped");
        failed.map_or(Ok(()), |what| Err(ServerError::Part(what)))
    }

    fn warn(&self) {
        if self.tokens.is_empty() || self.link.is_empty() {
            warn!(
                keys_token = !self.tokens.is_empty(),
                keys_link = !self.link.is_empty(),
                "keys are missing: native clients need keys.token, events of the API need keys.link; legacy pushers and pages work"
            );
        }
        let push = &self.config.push;
        let (websocket, pusher) = Limits::of(push, self.descriptors);
        if websocket.connections() < push.max_connections || pusher.connections() < push.max_pushers
        {
            warn!(
                descriptors = self.descriptors,
                websocket = websocket.connections(),
                pusher = pusher.connections(),
                "the limit of file descriptors allows fewer connections than push.max_connections and push.max_pushers: \
raise LimitNOFILE (systemd), minfds (supervisor) or the hard limit (ulimit -Hn), or lower the settings"
            );
        }
        for (setting, address, danger) in [
            (
                "push.pusher_listen",
                push.pusher_listen,
                "whoever reaches this port can push legacy events to every page",
            ),
            (
                "push.http_listen",
                push.http_listen,
                "whoever reaches this port sees who is online and what goes on",
            ),
        ] {
            if !address.ip().is_loopback() {
                warn!(setting, %address, "DANGER: not a loopback address: {danger}; it has no authentication, so a firewall must guard it");
            }
        }
    }
}

/// Sends presence out in rounds, and forgets the old.
async fn keep_presence(presence: Arc<Presence>, stop: CancellationToken) {
    let mut round = tokio::time::interval(presence::ROUND);
    let mut forget = tokio::time::interval(FORGET_INTERVAL);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = round.tick() => presence.round(Utc::now()),
            _ = forget.tick() => presence.forget(Utc::now()),
        }
    }
}

fn fingerprints(keys: &[String]) -> Vec<String> {
    keys.iter().map(|key| fingerprint(key)).collect()
}

fn describe(ended: Option<Result<(), JoinError>>) -> String {
    match ended {
        Some(Err(error)) => error.to_string(),
        _ => "it ended by itself".into(),
    }
}

fn listen(
    inherited: &mut Inherited,
    address: SocketAddr,
    setting: &'static str,
) -> Result<TcpListener, ServerError> {
    let mut open = || {
        if let Some(listener) = inherited.take(address) {
            return TcpListener::from_std(listener);
        }
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restart must not wait for old connections to time out.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(LISTEN_BACKLOG)
    };
    open().map_err(|source| ServerError::Listen { address, setting, source })
}

fn local(listener: &TcpListener) -> String {
    listener.local_addr().map(|address| address.to_string()).unwrap_or_default()
}
