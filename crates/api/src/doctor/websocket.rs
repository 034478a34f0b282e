//! The way of a browser's socket, as `api.websocket_url` says: name, port, TLS, the shop's own nginx, the upgrade, and
//! a token of ours that the push daemon behind it must accept.

use std::sync::Arc;
use std::time::Duration;

use chaffer_shared::config::Config;
use chaffer_shared::token::{Bearer, Claims, TokenKeys};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Response};
use tokio_tungstenite::tungstenite::{self, Message};
use url::Url;

use super::{PATIENCE, Report, origin, reasons};

const CHECK: &str = "websocket";
/// How long the token of the check may live.
const TOKEN_SECONDS: i64 = 60;

/// What is wrong, and how to mend it.
struct Trouble(String, String);

fn trouble<T>(detail: impl Into<String>, mend: impl Into<String>) -> Result<T, Trouble> {
    Err(Trouble(detail.into(), mend.into()))
}

pub(super) async fn check(config: &Config, report: &mut Report) {
    let url = config.websocket_url();
    if config.api.websocket_url.is_none() {
        report.warn(
            "websocket_url",
            format!("browsers are told to open {url}, which no other machine reaches"),
            "set api.websocket_url to the shop's address, e.g. wss://shop.example/ws",
        );
    }
    match walk(config, &url).await {
        Ok(what) => report.ok(CHECK, what),
        Err(Trouble(detail, mend)) => report.fail(CHECK, format!("{url}: {detail}"), mend),
    }
}

async fn walk(config: &Config, address: &str) -> Result<String, Trouble> {
    let url = match Url::parse(address) {
        Ok(url) if matches!(url.scheme(), "ws" | "wss") => url,
        _ => {
            return trouble(
                "this is no ws or wss URL",
                "write api.websocket_url as wss://shop.example/ws",
            );
        }
    };
    let secure = url.scheme() == "wss";
    let host = url.host_str().unwrap_or_default().to_owned();
    let port = url.port().unwrap_or(if secure { 443 } else { 80 });
    let bare = host.trim_matches(['[', ']']);
    let tcp = match timeout(PATIENCE, TcpStream::connect((bare, port))).await {
        Ok(Ok(tcp)) => tcp,
        Ok(Err(error)) => {
            return trouble(
                format!("cannot connect to {host}:{port}: {error}"),
                "does the name lead here, does nginx run, and does it listen at this port?",
            );
        }
        Err(_) => {
            return trouble(
                format!("{host}:{port} does not answer"),
                "does the name lead here, and does a firewall let this machine through?",
            );
        }
    };
    if !secure {
        return upgrade(config, address, tcp).await;
    }
    let name = match ServerName::try_from(bare.to_owned()) {
        Ok(name) => name,
        Err(error) => return trouble(error.to_string(), "correct api.websocket_url"),
    };
    let mend = "does the shop's certificate hold for this name and this day, with the whole chain in nginx?";
    let connector = match connector() {
        Ok(connector) => connector,
        Err(error) => return trouble(error, "install the package ca-certificates"),
    };
    match timeout(PATIENCE, connector.connect(name, tcp)).await {
        Ok(Ok(tls)) => upgrade(config, address, tls).await,
        Ok(Err(error)) => trouble(format!("no TLS: {error}"), mend),
        Err(_) => trouble("no TLS: nothing answers", mend),
    }
}

/// TLS that trusts whom this machine trusts.
fn connector() -> Result<TlsConnector, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err("this machine trusts no certificate at all".to_owned());
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn upgrade<S>(config: &Config, address: &str, stream: S) -> Result<String, Trouble>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = match address.into_client_request() {
        Ok(request) => request,
        Err(error) => return trouble(error.to_string(), "correct api.websocket_url"),
    };
    let headers = request.headers_mut();
    headers.insert("Sec-WebSocket-Protocol", HeaderValue::from_static("chaffer.v1"));
    if let Some(origin) = origin(config).and_then(|origin| origin.parse().ok()) {
        headers.insert("Origin", origin);
    }
    match timeout(PATIENCE, tokio_tungstenite::client_async(request, stream)).await {
        Ok(Ok((socket, _))) => sign_in(config, socket).await,
        Ok(Err(tungstenite::Error::Http(answer))) => Err(refused(&answer)),
        Ok(Err(error)) => trouble(
            format!("no upgrade: {}", reasons(&error)),
            "is this the address of the shop's nginx, with the location /ws of deploy/nginx?",
        ),
        Err(_) => trouble(
            "the request for an upgrade is not answered",
            "is this the address of the shop's nginx, with the location /ws of deploy/nginx?",
        ),
    }
}

/// What a web server says instead of upgrading, and what it means.
fn refused(answer: &Response<Option<Vec<u8>>>) -> Trouble {
    let status = answer.status().as_u16();
    let server = answer.headers().get("server").and_then(|it| it.to_str().ok()).unwrap_or("it");
    let (detail, mend) = match status {
        // Only chaffer-push answers so here.
        426 => (
            "the request reaches chaffer-push, and the `Upgrade` header was lost on the way"
                .to_owned(),
            "in the location of nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; \
             proxy_set_header Connection \"upgrade\"; (see deploy/nginx); a load balancer before it must pass them on, too",
        ),
        301 | 302 | 307 | 308 => {
            let to = answer.headers().get("location").and_then(|it| it.to_str().ok());
            (
                format!(
                    "{server} redirects to {}, which browsers do not follow here",
                    to.unwrap_or("?")
                ),
                "set api.websocket_url to the address at the end of the redirect",
            )
        }
        403 => (
            "403: the origin is not let in".to_owned(),
            "list the shop's pages in push.allowed_origins; does nginx itself deny this path?",
        ),
        404 => (
            format!("404: {server} knows no such path"),
            "include deploy/nginx/chaffer-locations.conf in the shop's server { ... }, and reload nginx; does the path in \
             api.websocket_url match its location?",
        ),
        502..=504 => (
            format!("{status}: {server} does not reach chaffer-push"),
            "is chaffer-push running, and does the upstream chaffer_push of nginx lead to push.websocket_listen?",
        ),
        500 | 501 | 505.. => {
            (format!("{server} answers {status}"), "look into the logs of nginx and chaffer-push")
        }
        _ => (
            format!(
                "{server} answers {status} in place of an upgrade: a page of the shop, perhaps"
            ),
            "the location /ws of deploy/nginx must come before the shop's own ones",
        ),
    };
    Trouble(detail, mend.to_owned())
}

/// Says who it is, as a browser would.
async fn sign_in<S>(
    config: &Config,
    mut socket: tokio_tungstenite::WebSocketStream<S>,
) -> Result<String, Trouble>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Ok(keys) = TokenKeys::parse(&config.keys.token) else {
        return Ok("upgrades; no token key to sign in with".to_owned());
    };
    // A visitor without topics: nobody hears of it, and it hears nothing.
    let id = format!("doctor-{}", hex::encode(rand::random::<[u8; 8]>()));
    let now = chaffer_shared::time::now();
    let claims = Claims::new(Bearer::Visitor, &id, Vec::new(), &id, now, TOKEN_SECONDS);
    let Ok(token) = keys.sign(&claims) else {
        return Ok("upgrades; no token key to sign in with".to_owned());
    };
    let auth = serde_json::json!({"type": "auth", "token": token}).to_string();
    let silent = || {
        trouble(
            "upgraded, and then nothing comes back",
            "a proxy on the way buffers: proxy_buffering off; is chaffer-push waiting for the API? See its /readyz",
        )
    };
    let talk = async {
        socket.send(Message::text(auth)).await?;
        loop {
            match socket.next().await {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(other) => return other.map(Some),
                None => return Ok(None),
            }
        }
    };
    // At its start the push daemon asks the API first.
    let answer = timeout(PATIENCE + Duration::from_secs(3), talk).await;
    let found = match answer {
        Ok(Ok(Some(Message::Text(text)))) if text.contains("\"welcome\"") => {
            Ok("upgrades, and chaffer-push accepts our token".to_owned())
        }
        Ok(Ok(Some(Message::Close(Some(close))))) if u16::from(close.code) == 4401 => trouble(
            format!("upgraded, and our token is refused: {}", close.reason),
            "the chaffer-push behind this address runs with another keys.token: restart it, with the same configuration file; \
             or is it another shop's?",
        ),
        Ok(Ok(Some(Message::Close(close)))) => trouble(
            format!(
                "upgraded and closed again: {}",
                close.map(|it| it.to_string()).unwrap_or_default()
            ),
            "look into the log of chaffer-push",
        ),
        Ok(Ok(Some(other))) => trouble(
            format!("upgraded, and it does not speak chaffer.v1: {:.100}", other.to_string()),
            "another WebSocket server is behind this address: does nginx lead to push.websocket_listen?",
        ),
        Ok(Ok(None)) | Err(_) => silent(),
        Ok(Err(error)) => trouble(
            format!("upgraded and cut off: {}", reasons(&error)),
            "look into the logs of nginx and chaffer-push",
        ),
    };
    // It is over either way.
    let _ = timeout(Duration::from_millis(500), socket.close(None)).await;
    found
}
