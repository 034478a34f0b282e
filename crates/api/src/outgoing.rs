//! The one HTTP client for addresses that somebody gave us: webhooks, and later avatars, callbacks and previews.
//!
//! Such an address may lead anywhere, so the client goes to the public internet alone, unless the configuration names
//! more (`outgoing.allowed_networks`): names are resolved once, by a resolver that leaves out every other address, and the
//! connection is made to what is left. It follows no redirects, and bounds time and size.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::web::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::TokioExecutor;
use ipnet::IpNet;
use tower_service::Service;
use url::{Host, Url};

/// The longest answer that is read, in bytes; what follows is left unread.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// Connections to one host that are kept for later.
const IDLE: usize = 2;
const AGENT: HeaderValue = HeaderValue::from_static(concat!("Chaffer/", env!("CARGO_PKG_VERSION")));
/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why an address was not reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutgoingError {
    /// It is no address of the public internet, and not allowed.
    #[error(
        "this address is not on the public internet; name its network in outgoing.allowed_networks if it is meant"
    )]
    NotAllowed,
    /// The address is not one that can be called.
    #[error("{0}")]
    Address(&'static str),
    /// It took too long.
    #[error("it did not answer in time")]
    TimedOut,
    /// It could not be reached, or broke off.
    #[error("{0}")]
    Failed(String),
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingAnswer {
    /// The HTTP status.
    pub status: u16,
    /// Seconds after which it may be tried again, of a 429 or 503.
    pub retry_after: Option<u64>,
}

type HttpClient = Client<HttpsConnector<HttpConnector<Allowed>>, Full<Bytes>>;

/// The client; cheap to clone. It is built when it is first used: most shops never call out.
#[derive(Debug, Clone)]
pub struct Outgoing {
    allowed: Allowed,
    timeout: Duration,
    client: Arc<OnceLock<Result<HttpClient, String>>>,
}

impl Outgoing {
    /// A client that may go to the public internet and to these networks.
    #[must_use]
    pub fn new(allowed: &[IpNet], timeout: Duration) -> Self {
        Self { allowed: Allowed(allowed.into()), timeout, client: Arc::default() }
    }

    /// The longest that a call takes.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whether an address can be called at all, as far as it shows without asking anybody. For the moment when it is
    /// given to us; a name may still resolve to what is not allowed.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, url: &Url) -> Result<(), OutgoingError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(OutgoingError::Address("must be a full http or https URL"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(OutgoingError::Address("must not hold a name or a password"));
        }
        let address = match url.host() {
            None => return Err(OutgoingError::Address("must name a host")),
            Some(Host::Domain(_)) => return Ok(()),
            // The URL parser has turned 127.1, 0x7f.1 and the like into the address that they mean.
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
        };
        if self.allowed.permits(address) { Ok(()) } else { Err(OutgoingError::NotAllowed) }
    }

    /// Posts a JSON body.
    ///
    /// # Errors
    /// Why there was no answer; one of any status is no error.
    pub async fn post(
        &self,
        url: &Url,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Result<OutgoingAnswer, OutgoingError> {
        // The resolver is not asked about addresses, so they are checked here.
        self.check(url)?;
        let client = self.client.get_or_init(|| build(self.allowed.clone()));
        let client = client.as_ref().map_err(|error| OutgoingError::Failed(error.clone()))?;
        let target: Uri =
            url.as_str().parse().map_err(|_| OutgoingError::Address("must be a valid URL"))?;
        let mut request = Request::post(target)
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| OutgoingError::Address("must be a valid URL"))?;
        *request.headers_mut() = headers;
        request.headers_mut().insert(USER_AGENT, AGENT);
        let call = async {
            let answer = client.request(request).await.map_err(|error| why(&error))?;
            let retry_after = answer.headers().get(RETRY_AFTER);
            let outcome = OutgoingAnswer {
                status: answer.status().as_u16(),
                retry_after: retry_after.and_then(|it| it.to_str().ok()?.trim().parse().ok()),
            };
            // Read to the end, if it is near, so that the connection can be used again.
            let _ = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
            Ok(outcome)
        };
        let answered = tokio::time::timeout(self.timeout, call).await;
        answered.unwrap_or(Err(OutgoingError::TimedOut))
    }
}

fn build(allowed: Allowed) -> Result<HttpClient, String> {
    let mut tcp = HttpConnector::new_with_resolver(allowed);
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let connector = HttpsConnectorBuilder::new()
        .with_native_roots()
        .map_err(|error| format!("cannot read the system's certificates: {error}"))?
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    Ok(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(IDLE).build(connector))
}

/// What went wrong, in the words of the innermost error: those around it only say that there is one.
fn why(error: &Error) -> OutgoingError {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    let mut innermost = String::new();
    while let Some(error) = source {
        if let Some(refused) = error.downcast_ref::<OutgoingError>() {
            return refused.clone();
        }
        innermost = error.to_string();
        source = error.source();
    }
    OutgoingError::Failed(innermost)
}

/// The networks that may be reached besides the public internet.
#[derive(Debug, Clone)]
struct Allowed(Arc<[IpNet]>);

impl Allowed {
    fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.0.iter().any(|network| network.contains(&address))
    }
}

impl Service<Name> for Allowed {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let allowed = self.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let addresses: Vec<SocketAddr> =
                found.filter(|address| allowed.permits(address.ip())).collect();
            if addresses.is_empty() {
                return Err(OutgoingError::NotAllowed.into());
            }
            Ok(addresses.into_iter())
        })
    }
}

/// Whether an address is one of the public internet's: no private network, no link, no machine's own, no metadata
/// service, nothing reserved (IANA's registries of special-purpose addresses; RFC 6890).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            let special = matches!(
                (a, b, c),
                (0 | 10 | 127 | 224..=255, _, _)
                    | (100, 64..=127, _)
                    | (169, 254, _)
                    | (172, 16..=31, _)
                    | (192, 0, 0 | 2)
                    | (192, 88, 99)
                    | (192, 168, _)
                    | (198, 18 | 19, _)
                    | (198, 51, 100)
                    | (203, 0, 113)
            );
            !special
        }
        // Of IPv6 the global unicast block alone, without what stands for an IPv4 address or for documentation.
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    let is_global = a & 0xe000 == 0x2000;
    let teredo_and_other_protocols = a == 0x2001 && b < 0x0200;
    let documentation = (a == 0x2001 && b == 0x0db8) || (a == 0x3fff && b < 0x1000);
    let six_to_four = a == 0x2002;
    is_global && !teredo_and_other_protocols && !documentation && !six_to_four
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn outgoing(allowed: &[&str]) -> Outgoing {
        let allowed: Vec<IpNet> = allowed.iter().map(|it| it.parse().unwrap()).collect();
        Outgoing::new(&allowed, Duration::from_secs(5))
    }

    fn check(url: &str) -> Result<(), OutgoingError> {
        outgoing(&[]).check(&Url::parse(url).unwrap())
    }

    #[test]
    fn only_the_public_internet_is_called() {
        for url in ["https://shop.example/hook", "http://8.8.8.8/", "https://[2a00:1450::1]:8443/"]
        {
            assert_eq!(check(url), Ok(()), "{url}");
        }
        for url in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://0x7f000001/",
            "http://2130706433/",
            "http://0/",
            "http://10.1.2.3/",
            "http://172.31.0.1/",
            "http://192.168.0.1/",
            "http://169.254.169.254/latest/meta-data/",
            "http://100.100.100.200/",
            "http://[::1]/",
            "http://[::]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::127.0.0.1]/",
            "http://[fe80::1]/",
            "http://[fd00:ec2::254]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[2002:7f00:1::]/",
            "http://[2001:0:1::]/",
            "http://224.0.0.1/",
            "http://255.255.255.255/",
        ] {
            assert_eq!(check(url), Err(OutgoingError::NotAllowed), "{url}");
        }
        for url in ["ftp://shop.example/", "https://me:secret@shop.example/"] {
            assert!(matches!(check(url), Err(OutgoingError::Address(_))), "{url}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_not_followed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = Url::parse(&format!("http://localhost:{port}/")).unwrap();
        let post =
            async |outgoing: Outgoing| outgoing.post(&url, HeaderMap::new(), b"{}".to_vec()).await;
        assert_eq!(post(outgoing(&["192.0.2.0/24"])).await, Err(OutgoingError::NotAllowed));

        let serve = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = [0; 4];
            socket.read_exact(&mut request).await.unwrap();
            assert_eq!(&request, b"POST");
            let reply = b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n";
            socket.write_all(reply).await.unwrap();
            socket
        };
        let (answer, _socket) = tokio::join!(post(outgoing(&["127.0.0.0/8", "::1/128"])), serve);
        let answer = answer.unwrap();
        assert_eq!(answer, OutgoingAnswer { status: 302, retry_after: None });
    }
}
