//! The opening handshake (RFC 6455, section 4.2): reads the request's head, decides, answers.
//!
//! Done here rather than by tungstenite, whose parser stops at 124 headers and whose errors say nothing to those
//! who set up a proxy: a plain HTTP request gets a sentence that names what is missing.

use std::net::IpAddr;

use chaffer_shared::address::client_address;
use httparse::{Header, Status};
use ipnet::IpNet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::metrics::Limited;

/// The longest head of a request: shops carry large cookies.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// More headers than fit a head of that size in practice.
const MAX_HEADERS: usize = 512;

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `chaffer.v1`, or none.
    Native,
    /// `wamp`: WAMP v1.
    Wamp,
    /// Path `/echo`, in builds for tests: what the Autobahn cases talk to.
    #[cfg(feature = "echo")]
    Echo,
}

/// A request that may become a WebSocket.
#[derive(Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// What the client speaks.
    pub protocol: Protocol,
    /// The token of `Authorization: Bearer`.
    pub bearer: Option<String>,
    /// Bytes behind the head: the client did not wait for the answer.
    pub rest: Vec<u8>,
    answer: String,
}

/// A request that may not.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: &'static str,
    headers: &'static str,
    body: &'static str,
}

/// What a request is judged by.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'r> {
    /// Origins whose pages may connect; all when empty.
    pub allowed_origins: &'r [String],
    /// Proxies that are believed when they say whom they forward.
    pub proxies: &'r [IpNet],
    /// The other end of the socket.
    pub peer: IpAddr,
}

/// A request whose head was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// Whose it is: the peer's, or the one's whom a trusted proxy forwards.
    pub client: IpAddr,
    /// What becomes of it.
    pub verdict: Result<Upgrade, Refusal>,
}

const PLAIN_HTTP: Refusal = Refusal {
    status: "426 Upgrade Required",
    headers: "Upgrade: websocket\r\n",
    body: "This is a WebSocket server, and the request came without `Upgrade: websocket` and `Connection: Upgrade`. \
A proxy in between must pass them on; nginx does with these three lines: \
proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection \"upgrade\";\n",
};

/// The answer to one that a limit turns away: 429 when it is about the address, 503 when it is about all.
#[must_use]
pub fn limited(why: Limited) -> Refusal {
    let (status, headers, body) = match why {
        Limited::Connections => (
            UNAVAILABLE,
            "Retry-After: 10\r\n",
            "The server has as many connections as it takes (push.max_connections, and no more than its file descriptors). Try again later.\n",
        ),
        Limited::Handshakes => (
            UNAVAILABLE,
            "Retry-After: 1\r\n",
            "More connections are being opened than the server takes at a time (push.handshakes_per_second). Try again in a second.\n",
        ),
        Limited::Unauthenticated => (
            UNAVAILABLE,
            "Retry-After: 5\r\n",
            "Too many connections are waiting to authenticate (push.max_unauthenticated). Try again later.\n",
        ),
        Limited::ConnectionsPerAddress => (
            TOO_MANY,
            "Retry-After: 10\r\n",
            "Your address has as many connections as it may have (push.max_connections_per_address). If it is a proxy's, list it in api.trusted_proxies.\n",
        ),
        Limited::HandshakesPerAddress => (
            TOO_MANY,
            "Retry-After: 1\r\n",
            "Your address opens connections faster than it may (push.handshakes_per_second_per_address). If it is a proxy's, list it in api.trusted_proxies.\n",
        ),
        Limited::UnauthenticatedPerAddress => (
            TOO_MANY,
            "Retry-After: 5\r\n",
            "Your address has too many connections that have not authenticated (push.max_unauthenticated_per_address). If it is a proxy's, list it in api.trusted_proxies.\n",
        ),
    };
    Refusal { status, headers, body }
}

const TOO_MANY: &str = "429 Too Many Requests";
const UNAVAILABLE: &str = "503 Service Unavailable";

const fn refusal(status: &'static str, body: &'static str) -> Refusal {
    Refusal { status, headers: "", body }
}

/// Reads the head of a request and decides on it; the caller sets a time limit. `None` when the client has gone.
pub async fn read(stream: &mut TcpStream, rules: &Rules<'_>) -> Option<Request> {
    let mut head = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
        if let Some(request) = decide(&head, rules) {
            return Some(request);
        }
    }
}

/// Answers a good request.
///
/// # Errors
/// The socket's.
pub async fn accept(stream: &mut TcpStream, upgrade: &Upgrade) -> std::io::Result<()> {
    stream.write_all(upgrade.answer.as_bytes()).await
}

/// Answers a bad request and closes the connection; the caller sets a time limit.
///
/// # Errors
/// The socket's.
pub async fn refuse(stream: &mut TcpStream, refusal: &Refusal) -> std::io::Result<()> {
    let Refusal { status, headers, body } = refusal;
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\n{headers}Connection: close\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // Closing with bytes unread would reset the connection, and the answer with it.
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// Decides on what was read so far; `None` when the head is not complete.
#[must_use]
pub fn decide(head: &[u8], rules: &Rules<'_>) -> Option<Request> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let too_large =
        refusal("431 Request Header Fields Too Large", "The request's head is over 16 KiB.\n");
    let unread = |refusal| Some(Request { client: rules.peer, verdict: Err(refusal) });
    let size = match request.parse(head) {
        Ok(Status::Complete(size)) if size <= MAX_HEAD_BYTES => size,
        Ok(Status::Partial) if head.len() <= MAX_HEAD_BYTES => return None,
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return unread(too_large),
        Err(_) => {
            return unread(refusal(
                "400 Bad Request",
                "This is a WebSocket server; that was no HTTP.\n",
            ));
        }
    };
    let forwarded: Vec<&[u8]> = Headers(request.headers).values("x-forwarded-for").collect();
    // Where nobody is behind the proxy, it is the proxy's own.
    let client = client_address(rules.peer, forwarded.into_iter(), rules.proxies);
    let rest = head.get(size..).unwrap_or_default();
    let verdict = judge(&request, rest, rules.allowed_origins);
    Some(Request { client: client.unwrap_or(rules.peer), verdict })
}

fn judge(
    request: &httparse::Request<'_, '_>,
    rest: &[u8],
    allowed_origins: &[String],
) -> Result<Upgrade, Refusal> {
    let headers = Headers(request.headers);
    if !headers.lists("upgrade", "websocket") || !headers.lists("connection", "upgrade") {
        return Err(PLAIN_HTTP);
    }
    if request.method != Some("GET") || request.version != Some(1) {
        return Err(Refusal {
            headers: "Allow: GET\r\n",
            ..refusal("405 Method Not Allowed", "A WebSocket begins with GET and HTTP/1.1.\n")
        });
    }
    if headers.one("sec-websocket-version") != Some("13") {
        return Err(Refusal {
            headers: "Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n",
            ..refusal("426 Upgrade Required", "Only version 13 of WebSocket is spoken here.\n")
        });
    }
    let Some(key) = headers.one("sec-websocket-key").filter(|key| is_key(key)) else {
        return Err(refusal(
            "400 Bad Request",
            "Sec-WebSocket-Key must be 16 bytes in base64, given once.\n",
        ));
    };
    if !origin_is_allowed(headers.one("origin"), headers.has("origin"), allowed_origins) {
        return Err(refusal(
            "403 Forbidden",
            "Pages of this origin may not connect: it is not among push.allowed_origins.\n",
        ));
    }
    let (protocol, name) = if headers.offers("wamp") {
        (Protocol::Wamp, Some("wamp"))
    } else {
        (Protocol::Native, headers.offers("chaffer.v1").then_some("chaffer.v1"))
    };
    #[cfg(feature = "echo")]
    let protocol = if request.path == Some("/echo") { Protocol::Echo } else { protocol };
    let name = name.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n")).unwrap_or_default();
    let accept = derive_accept_key(key.as_bytes());
    Ok(Upgrade {
        protocol,
        bearer: headers.one("authorization").and_then(bearer),
        rest: rest.to_vec(),
        answer: format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n{name}\r\n"
        ),
    })
}

struct Headers<'h, 'b>(&'h [Header<'b>]);

impl<'b> Headers<'_, 'b> {
    fn values(&self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        let of_name = move |header: &&Header<'b>| header.name.eq_ignore_ascii_case(name);
        self.0.iter().filter(of_name).map(|header| header.value)
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &'b str> {
        self.values(name).filter_map(|value| std::str::from_utf8(value).ok())
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|header| header.name.eq_ignore_ascii_case(name))
    }

    /// The value of a header that is there exactly once.
    fn one(&self, name: &str) -> Option<&'b str> {
        let mut values = self.all(name);
        let value = values.next()?;
        values.next().is_none().then_some(value.trim())
    }

    /// Whether a comma-separated list holds the word, in any case.
    fn lists(&self, name: &str, word: &str) -> bool {
        self.all(name)
            .flat_map(|list| list.split(','))
            .any(|item| item.trim().eq_ignore_ascii_case(word))
    }

    /// Whether the client offers the subprotocol, in any position; their names are case-sensitive.
    fn offers(&self, protocol: &str) -> bool {
        let offered = self.all("sec-websocket-protocol").flat_map(|list| list.split(','));
        offered.map(str::trim).any(|name| name == protocol)
    }
}

/// 16 bytes in base64: 22 characters and two `=` (RFC 6455, section 4.1).
fn is_key(key: &str) -> bool {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    key.len() == 24 && key.strip_suffix("==").is_some_and(|key| key.bytes().all(is_base64))
}

/// The list protects browsers' users from foreign pages; what is no browser sends no Origin (RFC 6454).
fn origin_is_allowed(origin: Option<&str>, present: bool, allowed: &[String]) -> bool {
    let matches = |entry: &String| {
        entry == "*"
            || origin.is_some_and(|origin| origin.eq_ignore_ascii_case(entry.trim_end_matches('/')))
    };
    allowed.is_empty() || !present || allowed.iter().any(matches)
}

fn bearer(authorization: &str) -> Option<String> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(extra: &str) -> String {
        format!(
            "GET /any/path?x HTTP/1.1\r\nHost: a\r\nupgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{extra}\r\n"
        )
    }

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn rules(allowed_origins: &[String]) -> Rules<'_> {
        Rules { allowed_origins, proxies: &[], peer: PEER }
    }

    fn decide(head: &[u8], allowed_origins: &[String]) -> Result<Option<Upgrade>, Refusal> {
        super::decide(head, &rules(allowed_origins)).map(|request| request.verdict).transpose()
    }

    fn upgrade(extra: &str) -> Upgrade {
        decide(head(extra).as_bytes(), &[]).unwrap().unwrap()
    }

    fn status(head: &str) -> &'static str {
        decide(head.as_bytes(), &["https://shop.example".into()]).unwrap_err().status
    }

    #[test]
    fn the_answer_is_that_of_rfc_6455() {
        // The example of RFC 6455, section 1.3.
        let answer = upgrade("").answer;
        assert!(answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(!answer.contains("Protocol:") && !answer.contains("Extensions"));
    }

    #[test]
    fn wamp_is_echoed_when_offered_in_any_position_in_its_own_case() {
        for offer in ["wamp", "a, wamp", "chaffer.v1,wamp, b"] {
            let upgrade = upgrade(&format!("Sec-WebSocket-Protocol: {offer}\r\n"));
            assert_eq!(upgrade.protocol, Protocol::Wamp);
            assert!(upgrade.answer.contains("Sec-WebSocket-Protocol: wamp\r\n"));
        }
        let twice = upgrade("Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: wamp\r\n");
        assert_eq!(twice.protocol, Protocol::Wamp);
        assert_eq!(upgrade("Sec-WebSocket-Protocol: WAMP\r\n").protocol, Protocol::Native);
        let native = upgrade("Sec-WebSocket-Protocol: chaffer.v1\r\n");
        assert!(native.answer.contains("Sec-WebSocket-Protocol: chaffer.v1\r\n"));
    }

    #[test]
    fn a_token_may_come_as_a_header() {
        let bearer = |extra: &str| upgrade(extra).bearer;
        assert_eq!(bearer("Authorization: Bearer a.b.c\r\n"), Some("a.b.c".into()));
        assert_eq!(bearer("Authorization: Basic YTpi\r\n"), None);
    }

    #[test]
    fn bytes_behind_the_head_are_kept() {
        let bytes = [head("").as_bytes(), b"\x81\x80"].concat();
        assert_eq!(decide(&bytes, &[]).unwrap().unwrap().rest, b"\x81\x80");
        assert_eq!(decide(&bytes[..100], &[]), Ok(None));
    }

    #[test]
    fn heads_of_16_kib_and_hundreds_of_headers_pass() {
        let cookie = format!("Cookie: {}\r\n", "x".repeat(16 * 1024 - head("").len() - 10));
        assert_eq!(head(&cookie).len(), 16 * 1024);
        assert!(decide(head(&cookie).as_bytes(), &[]).unwrap().is_some());
        let many: String = (0..300).map(|n| format!("X-{n}: {n}\r\n")).collect();
        assert!(decide(head(&many).as_bytes(), &[]).unwrap().is_some());
        assert_eq!(
            status(&head(&format!("{cookie}X: y\r\n"))),
            "431 Request Header Fields Too Large"
        );
        assert_eq!(
            status(&"GET / HTTP/1.1\r\nA: b".repeat(1000)),
            "431 Request Header Fields Too Large"
        );
    }

    #[test]
    fn the_client_is_the_one_whom_a_trusted_proxy_forwards() {
        let proxies = ["127.0.0.1/32".parse().unwrap()];
        let client = |head: &str, proxies: &[IpNet]| {
            let rules = Rules { allowed_origins: &[], proxies, peer: PEER };
            super::decide(head.as_bytes(), &rules).unwrap().client.to_string()
        };
        let forwarded = head("X-Forwarded-For: 1.1.1.1, 6.6.6.6\r\n");
        assert_eq!(client(&forwarded, &proxies), "6.6.6.6");
        assert_eq!(client(&forwarded, &[]), "127.0.0.1");
        assert_eq!(client(&head("X-Forwarded-For: nobody\r\n"), &proxies), "127.0.0.1");
        let plain = "GET / HTTP/1.1\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n";
        assert_eq!(client(plain, &proxies), "6.6.6.6", "also of what is refused");
    }

    #[test]
    fn a_plain_request_is_told_what_is_missing() {
        for request in
            ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.0\r\nConnection: close\r\n\r\n"]
        {
            let refusal = decide(request.as_bytes(), &[]).unwrap_err();
            assert_eq!(refusal.status, "426 Upgrade Required");
            assert!(refusal.body.contains("proxy_set_header Upgrade $http_upgrade"));
        }
    }

    #[test]
    fn other_requests_are_refused_with_their_reason() {
        assert_eq!(status(&head("").replace("GET", "POST")), "405 Method Not Allowed");
        assert_eq!(status(&head("").replace(": 13", ": 8")), "426 Upgrade Required");
        assert_eq!(status(&head("").replace("dGhl", "dGh")), "400 Bad Request");
        assert_eq!(status("\x16\x03\x01\0\0"), "400 Bad Request");
    }

    #[test]
    fn foreign_pages_are_refused_when_a_list_is_set() {
        let allowed = ["https://shop.example".to_owned()];
        let decide = |extra: &str| decide(head(extra).as_bytes(), &allowed).map(|_| ());
        assert_eq!(decide("Origin: https://evil.example\r\n").unwrap_err().status, "403 Forbidden");
        assert_eq!(decide("Origin: null\r\n").unwrap_err().status, "403 Forbidden");
        assert!(
            decide("Origin: https://shop.example\r\nOrigin: https://evil.example\r\n").is_err()
        );
        assert!(decide("Origin: https://Shop.example\r\n").is_ok());
        assert!(decide("").is_ok());
    }

    proptest! {
        #[test]
        fn no_head_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..250) {
            let _ = decide(&bytes, &[]);
            let head = head("");
            let _ = decide(&[&head.as_bytes()[..cut.min(head.len())], &bytes].concat(), &[]);
        }
    }
}
