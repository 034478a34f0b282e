//! The settings of both daemons: one TOML file, a second file that overrides it, environment variables, flags,
//! in that order. A setting has one name: `push.websocket_listen` in the files is `CHAFFER_PUSH_WEBSOCKET_LISTEN`
//! in the environment and `--push-websocket-listen` on the command line. What is not known is refused. A secret may
//! stand in a file of its own, as Docker and systemd give them: `keys.link_file`, `CHAFFER_KEYS_LINK_FILE`.
//!
//! Both daemons read the same file, so that what one needs to know of the other is said once.

mod load;
mod settings;
mod show;

use std::net::SocketAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use load::{ConfigError, Flags, Loaded, Origin, load, load_with};
pub use settings::{Kind, SETTINGS, Setting};
pub use show::{Shown, fingerprint};

/// All settings. [`SETTINGS`] says what each of them means.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The API daemon.
    pub api: Api,
    /// Where the API keeps everything.
    pub database: Database,
    /// The push daemon.
    pub push: Push,
    /// How often somebody may call the API.
    pub limits: Limits,
    /// Attached files.
    pub files: Files,
    /// Calls to addresses that somebody gave.
    pub outgoing: Outgoing,
    /// Telling the shop's own programs.
    pub webhooks: Webhooks,
    /// E-mails about messages.
    pub mail: Mail,
    /// The secrets.
    pub keys: Keys,
    /// The logs of both.
    pub log: Log,
}

/// Settings of the API daemon.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "each one is described in SETTINGS, where users read it, too")]
pub struct Api {
    pub listen: SocketAddr,
    pub name: String,
    #[serde(deserialize_with = "networks")]
    pub trusted_ips: Vec<IpNet>,
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
    pub allowed_origins: Vec<String>,
    pub websocket_url: Option<String>,
    pub publish_to: Option<String>,
    pub push_http_url: Option<String>,
    pub heartbeat_ms: u64,
    pub event_days: u32,
    pub demo: bool,
}

/// Settings of the database.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "each one is described in SETTINGS, where users read it, too")]
pub struct Database {
    pub url: String,
    pub readers: usize,
    pub queue: usize,
}

/// Settings of the push daemon.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "each one is described in SETTINGS, where users read it, too")]
pub struct Push {
    pub websocket_listen: SocketAddr,
    pub pusher_listen: SocketAddr,
    pub http_listen: SocketAddr,
    pub api_url: Option<String>,
    pub allowed_origins: Vec<String>,
    pub legacy_topics: Vec<String>,
    pub legacy_publish_topics: Vec<String>,
    pub legacy_topic_key: String,
    pub max_frame_bytes: usize,
    pub client_queue_bytes: usize,
    pub replay_bytes: usize,
    pub ping_seconds: u64,
    pub auth_seconds: u64,
    pub handshake_seconds: u64,
    pub restart_spread_ms: u64,
    pub max_connections: usize,
    pub max_connections_per_address: usize,
    pub max_unauthenticated: usize,
    pub max_unauthenticated_per_address: usize,
    pub handshakes_per_second: usize,
    pub handshakes_per_second_per_address: usize,
    pub max_pushers: usize,
}

/// Settings of how often somebody may call the API.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "each one is described in SETTINGS, where users read it, too")]
pub struct Limits {
    pub calls_per_minute: u32,
    pub calls_per_minute_per_address: u32,
    pub calls_per_minute_of_the_shop: u32,
    pub messages_per_minute_per_thread: u32,
    pub visitor_threads_per_minute_per_address: u32,
}

/// Settings of attached files.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "each one is described in SETTINGS, where users read it, too")]
pub struct Files {
    pub folder: String,
    pub s3_endpoint: String,
    pub s3_region: String,
    pub s3_bucket: String,
    pub s3_access_key: String,
    pub s3_secret_key: String,
}

/// Settings of calls to addresses that somebody gave, such as webhooks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "each one is described in SETTINGS, where users read it, too")]
pub struct Outgoing {
    #[serde(deserialize_with = "networks")]
    pub allowed_networks: Vec<IpNet>,
    pub timeout_seconds: u64,
}

/// Settings of webhooks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "each one is described in SETTINGS, where users read it, too")]
pub struct Webhooks {
    #[serde(deserialize_with = "numbers")]
    pub retry_seconds: Vec<u64>,
}

/// Settings of the e-mails about messages.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "each one is described in SETTINGS, where users read it, too")]
pub struct Mail {
    pub smtp_host: String,
    pub smtp_port: Option<u16>,
    pub smtp_tls: SmtpTls,
    pub smtp_user: String,
    pub smtp_password: String,
    pub smtp_ca_file: String,
    pub connections: u32,
    pub from: String,
    pub public_url: String,
    pub customer_url: String,
    pub vendor_url: String,
    pub reply_address: String,
    pub reply_days: u32,
    pub retry_seconds: u32,
    pub max_attempts: u32,
    pub keep_days: u32,
}

/// How the connection to the SMTP server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SmtpTls {
    /// Plain at first, then TLS, or no mail at all (RFC 3207).
    Starttls,
    /// TLS from the first byte (RFC 8314).
    Tls,
    /// Not at all: for a server on the same machine.
    None,
}

/// The secrets that both daemons share.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "each one is described in SETTINGS, where users read it, too")]
pub struct Keys {
    pub token: Vec<String>,
    pub link: Vec<String>,
    pub shop: Vec<String>,
    pub mail: Vec<String>,
}

/// Settings of the logs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "each one is described in SETTINGS, where users read it, too")]
pub struct Log {
    pub level: String,
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: one JSON object a line.
    Json,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8090)),
            name: "api-1".into(),
            trusted_ips: Vec::new(),
            // The sample configurations put nginx on the same machine. Without this, a forwarded request would
            // seem to come from loopback itself.
            trusted_proxies: vec![
                IpNet::from(std::net::IpAddr::from([127, 0, 0, 1])),
                IpNet::from(std::net::IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])),
            ],
            allowed_origins: Vec::new(),
            websocket_url: None,
            publish_to: None,
            push_http_url: None,
            heartbeat_ms: 300,
            event_days: 7,
            demo: false,
        }
    }
}

impl Default for Database {
    fn default() -> Self {
        Self { url: "sqlite://data/chaffer.db".into(), readers: 4, queue: 1024 }
    }
}

impl Default for Push {
    fn default() -> Self {
        Self {
            websocket_listen: SocketAddr::from(([127, 0, 0, 1], 8091)),
            pusher_listen: SocketAddr::from(([127, 0, 0, 1], 8092)),
            http_listen: SocketAddr::from(([127, 0, 0, 1], 8093)),
            api_url: None,
            allowed_origins: Vec::new(),
            legacy_topics: Vec::new(),
            legacy_publish_topics: Vec::new(),
            legacy_topic_key: "category".into(),
            max_frame_bytes: 1 << 20,
            client_queue_bytes: 1 << 20,
            replay_bytes: 16 << 20,
            ping_seconds: 25,
            auth_seconds: 10,
            handshake_seconds: 5,
            restart_spread_ms: 5000,
            // Per address generous, because an office, a mobile network or a proxy that nobody listed is one.
            max_connections: 100_000,
            max_connections_per_address: 5000,
            max_unauthenticated: 20_000,
            max_unauthenticated_per_address: 500,
            handshakes_per_second: 5000,
            handshakes_per_second_per_address: 100,
            max_pushers: 10_000,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Several pages of one person, each reading as fast as somebody clicks.
            calls_per_minute: 1200,
            // An office or a mobile network is one address.
            calls_per_minute_per_address: 6000,
            // A shop's backend asks for each of its pages: only what cannot be meant is refused.
            calls_per_minute_of_the_shop: 600_000,
            // Faster than anybody types; what was written without a network arrives at once.
            messages_per_minute_per_thread: 120,
            // What a visitor starts is stored, and stands before the operators.
            visitor_threads_per_minute_per_address: 20,
        }
    }
}

impl Default for Files {
    fn default() -> Self {
        Self {
            folder: "data/files".into(),
            s3_endpoint: String::new(),
            s3_region: "us-east-1".into(),
            s3_bucket: String::new(),
            s3_access_key: String::new(),
            s3_secret_key: String::new(),
        }
    }
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { folder, s3_endpoint, s3_bucket, .. } = self;
        write!(f, "Files {{ folder: {folder:?}, s3: {s3_endpoint:?} {s3_bucket:?}, .. }}")
    }
}

impl Default for Outgoing {
    fn default() -> Self {
        Self { allowed_networks: Vec::new(), timeout_seconds: 15 }
    }
}

impl Default for Webhooks {
    fn default() -> Self {
        // The schedule that Standard Webhooks recommends: three days in all.
        let retry_seconds = vec![5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400];
        Self { retry_seconds }
    }
}

impl Default for Mail {
    fn default() -> Self {
        Self {
            smtp_host: String::new(),
            smtp_port: None,
            smtp_tls: SmtpTls::Starttls,
            smtp_user: String::new(),
            smtp_password: String::new(),
            smtp_ca_file: String::new(),
            connections: 2,
            from: String::new(),
            public_url: String::new(),
            customer_url: String::new(),
            vendor_url: String::new(),
            reply_address: String::new(),
            reply_days: 30,
            retry_seconds: 30,
            max_attempts: 16,
            keep_days: 90,
        }
    }
}

impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mail({} from {:?}; the rest hidden)", self.smtp_host, self.from)
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Keys(token: {}, link: {}, shop: {}, mail: {}; all hidden)",
            self.token.len(),
            self.link.len(),
            self.shop.len(),
            self.mail.len()
        )
    }
}

impl Config {
    /// The address that browsers open their socket at.
    #[must_use]
    pub fn websocket_url(&self) -> String {
        let default = || format!("ws://{}/ws", reachable(self.push.websocket_listen));
        match &self.api.websocket_url {
            None => default(),
            // Shops also write it as mysite.com/ws (R13).
            Some(url) if !url.contains(':') => format!("wss://{url}"),
            Some(url) => url.clone(),
        }
    }

    /// The push daemon's pusher port, where the API connects its PUSH socket to.
    #[must_use]
    pub fn publish_to(&self) -> String {
        let default = || format!("tcp://{}", reachable(self.push.pusher_listen));
        self.api.publish_to.clone().unwrap_or_else(default)
    }

    /// The push daemon's HTTP side door, without a slash at the end.
    #[must_use]
    pub fn push_http_url(&self) -> String {
        let default = || format!("http://{}", reachable(self.push.http_listen));
        without_slash(self.api.push_http_url.clone().unwrap_or_else(default))
    }

    /// The API, as the push daemon reaches it, without a slash at the end.
    #[must_use]
    pub fn api_url(&self) -> String {
        let default = || format!("http://{}", reachable(self.api.listen));
        without_slash(self.push.api_url.clone().unwrap_or_else(default))
    }
}

/// Networks as `10.0.0.0/8`, single addresses as `10.0.0.1`.
fn networks<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let parse = |text: String| {
        let address = || text.parse::<std::net::IpAddr>().map(IpNet::from);
        text.parse::<IpNet>().or_else(|_| address()).map_err(|_| {
            serde::de::Error::custom(format!("`{text}` is neither an address nor a network (CIDR)"))
        })
    };
    Vec::<String>::deserialize(deserializer)?.into_iter().map(parse).collect()
}

/// Whole numbers, each as a text or as a number.
fn numbers<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
    let parse = |value: toml::Value| {
        let number = match &value {
            toml::Value::Integer(number) => u64::try_from(*number).ok(),
            toml::Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| serde::de::Error::custom(format!("`{value}` is no whole number")))
    };
    Vec::<toml::Value>::deserialize(deserializer)?.into_iter().map(parse).collect()
}

/// Where a listener can be reached from the same machine: loopback when it listens everywhere.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let mut address = listen;
    if listen.ip().is_unspecified() {
        address.set_ip(match listen {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

fn without_slash(mut url: String) -> String {
    url.truncate(url.trim_end_matches('/').len());
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_follow_the_listeners() {
        let mut config = Config::default();
        assert_eq!(config.websocket_url(), "ws://127.0.0.1:8091/ws");
        assert_eq!(config.publish_to(), "tcp://127.0.0.1:8092");
        assert_eq!(config.push_http_url(), "http://127.0.0.1:8093");
        assert_eq!(config.api_url(), "http://127.0.0.1:8090");
        config.push.pusher_listen = "0.0.0.0:9000".parse().unwrap();
        config.push.api_url = Some("http://10.0.0.1:80/".into());
        assert_eq!(config.publish_to(), "tcp://127.0.0.1:9000");
        assert_eq!(config.api_url(), "http://10.0.0.1:80");
    }

    #[test]
    fn networks_may_be_single_addresses() {
        let api: Api = toml::from_str("trusted_ips = ['10.1.2.3', '10.0.0.0/8', '::1']").unwrap();
        assert_eq!(api.trusted_ips.len(), 3);
        assert!(toml::from_str::<Api>("trusted_ips = ['shop.example']").is_err());
    }

    #[test]
    fn secrets_never_show_in_logs() {
        let secret = || vec!["a:secret".into()];
        let keys = Keys { token: secret(), link: secret(), shop: secret(), mail: secret() };
        assert!(!format!("{keys:?}").contains("secret"));
        let mail = Mail { smtp_password: "secret".into(), ..Mail::default() };
        assert!(!format!("{mail:?}").contains("secret"));
    }
}
