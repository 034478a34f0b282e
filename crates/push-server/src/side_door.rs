//! The third port, for the machine itself: health, readiness, presence for the API, counters.
//!
//! It has no authentication, because it binds to loopback; whoever opens it further is warned at start
//! ([`crate::server`]) and must close it by other means.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chaffer_shared::health::{About, Check, Presence as PresenceAnswer, Readiness};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::accept::Acceptor;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::presence::Presence;
use crate::repair::LinkStatus;

/// The API sends a heartbeat several times a second, so a silence of this length means that the link is down.
const SILENCE: Duration = Duration::from_secs(10);

/// A client of this port gets this long to send its request's head.
const HEAD_LIMIT: Duration = Duration::from_secs(10);

/// What the answers are made from.
pub struct SideDoor {
    /// The topics.
    pub hub: Arc<Hub>,
    /// Who is there.
    pub presence: Arc<Presence>,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// The fingerprints of `keys.token` and of `keys.link`.
    pub keys: (Vec<String>, Vec<String>),
    /// How the link stands; `None` without a link key.
    pub link: Option<Arc<LinkStatus>>,
}

impl SideDoor {
    /// Serves until `stop`.
    pub async fn run(self: Arc<Self>, listener: TcpListener, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        let mut acceptor = Acceptor::new(listener, "http", stop.clone());
        while let Some((stream, _)) = acceptor.accept().await {
            let (door, stop) = (self.clone(), stop.clone());
            tasks.spawn(async move {
                let service = service_fn(|request| door.answer(request));
                let connection = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_LIMIT)
                    .serve_connection(TokioIo::new(stream), service);
                tokio::select! {
                    result = connection => {
                        if let Err(error) = result {
                            debug!(%error, "a connection of the side door broke");
                        }
                    }
                    () = stop.cancelled() => {}
                }
            });
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let answer = match request.uri().path() {
            "/healthz" | "/readyz" | "/about" | "/presence" | "/debug/topics" | "/metrics"
                if !is_read =>
            {
                let mut answer =
                    plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is allowed here\n");
                answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
                answer
            }
            "/healthz" => plain(StatusCode::OK, "ok\n"),
            "/readyz" => {
                let readiness = self.readiness();
                let ready = readiness.ready;
                let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                json(status, &readiness)
            }
            "/about" => json(StatusCode::OK, &self.about()),
            "/presence" => self.presence(request.uri().query().unwrap_or_default()),
            "/debug/topics" => json(StatusCode::OK, &self.hub.topics().await),
            "/metrics" => {
                let mut answer = plain(StatusCode::OK, self.metrics.render());
                let kind = HeaderValue::from_static(chaffer_shared::metrics::CONTENT_TYPE);
                answer.headers_mut().insert(CONTENT_TYPE, kind);
                answer
            }
            _ => plain(
                StatusCode::NOT_FOUND,
                "nothing here: there are /healthz, /readyz, /about, /presence?user_ids=7,8, /debug/topics and /metrics\n",
            ),
        };
        Ok(answer)
    }

    fn about(&self) -> About {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        About {
            version: env!("CARGO_PKG_VERSION").into(),
            token_keys: self.keys.0.clone(),
            link_keys: self.keys.1.clone(),
            file_limit: limit.unwrap_or(u64::MAX),
            now: chaffer_shared::time::now(),
        }
    }

    fn readiness(&self) -> Readiness {
        let check = |name: &str, ok: bool, detail: String| Check { name: name.into(), ok, detail };
        let mut checks = vec![check("listening", true, "all three ports are open".into())];
        if let Some(link) = &self.link {
            let heard = link.heard();
            let detail = match heard {
                Some(ago) => format!("last heard from the API {} ms ago", ago.as_millis()),
                None => "nothing heard from the API: is it running, with this daemon's pusher port in api.publish_to, and the same keys.link?".into(),
            };
            checks.push(check("link", heard.is_some_and(|ago| ago < SILENCE), detail));
            let position = self.metrics.position.get();
            let (ok, detail) = match (position, link.is_behind()) {
                (..0, _) => (
                    false,
                    "the API could not be asked yet where its events stand: see push.api_url"
                        .into(),
                ),
                (_, true) => (false, format!("events after {position} are being repaired")),
                (_, false) => (true, format!("at event {position}")),
            };
            checks.push(check("events", ok, detail));
        } else {
            let detail = "no keys.link is set: only legacy events pass".into();
            checks.push(check("link", true, detail));
        }
        Readiness::of(checks)
    }

    /// `user_ids` is separated by commas; an id that holds one comes as a `user_id` of its own.
    fn presence(&self, query: &str) -> Response<Full<Bytes>> {
        let mut users = Vec::new();
        let mut asked = false;
        for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match key.as_ref() {
                "user_ids" => {
                    asked = true;
                    let ids = value.split(',').filter(|id| !id.is_empty());
                    users.extend(ids.map(|id| self.presence.of(id)));
                }
                "user_id" => {
                    asked = true;
                    users.push(self.presence.of(&value));
                }
                _ => {}
            }
        }
        if !asked {
            return plain(StatusCode::BAD_REQUEST, "say whose: /presence?user_ids=7,8\n");
        }
        json(StatusCode::OK, &PresenceAnswer { users })
    }
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    answer(status, "text/plain; charset=utf-8", text.into())
}

fn json(status: StatusCode, body: &impl Serialize) -> Response<Full<Bytes>> {
    answer(status, "application/json", serde_json::to_vec(body).unwrap_or_default().into())
}

fn answer(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
