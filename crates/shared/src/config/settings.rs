//! The list of all settings: their names, what they mean, and how a text from the environment is read.

/// What kind of value a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A text, an address or a URL.
    Text,
    /// A whole number.
    Number,
    /// `true` or `false`.
    Switch,
    /// Texts; separated by commas in the environment and on the command line.
    List,
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// `section.name`, as in the files.
    pub key: &'static str,
    /// What kind of value it takes.
    pub kind: Kind,
    /// Whether its value must never be shown; a secret has no flag, since flags are seen in the process list.
    pub secret: bool,
    /// What it does.
    pub help: &'static str,
}

impl Setting {
    /// The environment variable: `push.http_listen` is `CHAFFER_PUSH_HTTP_LISTEN`.
    #[must_use]
    pub fn env(&self) -> String {
        format!("CHAFFER_{}", self.key.replace('.', "_").to_uppercase())
    }

    /// The name under which a secret's value is replaced by the path of a file that holds it: `keys.link_file`.
    #[must_use]
    pub fn file_key(&self) -> Option<String> {
        self.secret.then(|| format!("{}_file", self.key))
    }

    /// The same in the environment: `CHAFFER_KEYS_LINK_FILE`.
    #[must_use]
    pub fn file_env(&self) -> Option<String> {
        self.secret.then(|| format!("{}_FILE", self.env()))
    }

    /// The flag, without its dashes: `push.http_listen` is `push-http-listen`.
    #[must_use]
    pub fn flag(&self) -> String {
        self.key.replace(['.', '_'], "-")
    }
}

const fn setting(key: &'static str, kind: Kind, help: &'static str) -> Setting {
    Setting { key, kind, secret: false, help }
}

const fn secret(key: &'static str, kind: Kind, help: &'static str) -> Setting {
    Setting { key, kind, secret: true, help }
}

/// Every setting there is.
pub const SETTINGS: &[Setting] = &[
    setting("api.listen", Kind::Text, "Address and port of the API"),
    setting("api.name", Kind::Text, "Name of this API node in events"),
    setting(
        "api.trusted_ips",
        Kind::List,
        "Addresses (CIDR) that may call with an API key; none by default",
    ),
    setting(
        "api.trusted_proxies",
        Kind::List,
        "Proxies (CIDR) whose X-Forwarded-For both daemons believe",
    ),
    setting(
        "api.allowed_origins",
        Kind::List,
        "Origins of pages that may call the API from a browser, or *",
    ),
    setting(
        "api.websocket_url",
        Kind::Text,
        "Where browsers open their socket, e.g. wss://shop.example/ws",
    ),
    setting("api.publish_to", Kind::Text, "ZeroMQ endpoint of the push daemon's pusher port"),
    setting("api.push_http_url", Kind::Text, "URL of the push daemon's side door"),
    setting("api.heartbeat_ms", Kind::Number, "Milliseconds between heartbeats to the push daemon"),
    setting("api.event_days", Kind::Number, "Days that stored events are kept for replay"),
    setting(
        "api.demo",
        Kind::Switch,
        "Serves the demo page at /demo, open to everybody: never on a real shop",
    ),
    secret(
        "database.url",
        Kind::Text,
        "sqlite://path/to/file or mysql://user:password@host:port/database",
    ),
    setting("database.readers", Kind::Number, "Connections that read at the same time"),
    setting(
        "database.queue",
        Kind::Number,
        "Requests that may wait for the database before others get 503",
    ),
    setting(
        "files.folder",
        Kind::Text,
        "Folder for attached files, and for uploads until they are in the bucket",
    ),
    setting(
        "files.s3_endpoint",
        Kind::Text,
        "URL of a storage that speaks S3, e.g. https://s3.eu-central-1.amazonaws.com",
    ),
    setting("files.s3_region", Kind::Text, "Region of the storage"),
    setting(
        "files.s3_bucket",
        Kind::Text,
        "Bucket for attached files, which must be there; without one they are kept in the folder",
    ),
    setting("files.s3_access_key", Kind::Text, "Access key of the storage"),
    secret("files.s3_secret_key", Kind::Text, "Secret key of the storage"),
    setting("push.websocket_listen", Kind::Text, "Address and port of the WebSocket server"),
    setting("push.pusher_listen", Kind::Text, "Address and port of the pusher port (ZeroMQ PULL)"),
    setting(
        "push.http_listen",
        Kind::Text,
        "Address and port of the side door: health and presence",
    ),
    setting("push.api_url", Kind::Text, "URL of the API, to ask for missed events"),
    setting(
        "push.allowed_origins",
        Kind::List,
        "Origins of pages that may open a socket; all when empty",
    ),
    setting(
        "push.legacy_topics",
        Kind::List,
        "Topics (patterns with *) that legacy clients may hear; none by default",
    ),
    setting(
        "push.legacy_publish_topics",
        Kind::List,
        "Topics (patterns with *) that WAMP clients may publish to; none by default",
    ),
    setting("push.legacy_topic_key", Kind::Text, "Key of a legacy message that holds its topic"),
    setting("push.max_frame_bytes", Kind::Number, "Longest message on the pusher port"),
    setting(
        "push.client_queue_bytes",
        Kind::Number,
        "Bytes that may wait for one slow client before it is closed",
    ),
    setting(
        "push.replay_bytes",
        Kind::Number,
        "Memory for events that reconnecting clients may have missed",
    ),
    setting("push.ping_seconds", Kind::Number, "Seconds between WebSocket pings"),
    setting("push.auth_seconds", Kind::Number, "Seconds a client has to authenticate"),
    setting(
        "push.handshake_seconds",
        Kind::Number,
        "Seconds a peer has for the WebSocket or ZeroMQ handshake",
    ),
    setting(
        "push.restart_spread_ms",
        Kind::Number,
        "Clients come back within these milliseconds after a restart",
    ),
    setting(
        "push.max_connections",
        Kind::Number,
        "WebSocket connections in all, 0 for no limit; never more than the file descriptors allow",
    ),
    setting(
        "push.max_connections_per_address",
        Kind::Number,
        "WebSocket connections of one address (IPv6: one /64), 0 for no limit",
    ),
    setting(
        "push.max_unauthenticated",
        Kind::Number,
        "Connections in all that have not authenticated yet; the oldest gives way to a new one",
    ),
    setting("push.max_unauthenticated_per_address", Kind::Number, "The same, of one address"),
    setting(
        "push.handshakes_per_second",
        Kind::Number,
        "WebSocket handshakes a second in all, in bursts of five seconds' worth, 0 for no limit",
    ),
    setting("push.handshakes_per_second_per_address", Kind::Number, "The same, of one address"),
    setting("push.max_pushers", Kind::Number, "Connections to the pusher port, 0 for no limit"),
    setting(
        "limits.calls_per_minute",
        Kind::Number,
        "Calls that a user may make a minute, in bursts of five minutes' worth, 0 for no limit",
    ),
    setting(
        "limits.calls_per_minute_per_address",
        Kind::Number,
        "The same, from one address (IPv6: one /64)",
    ),
    setting(
        "limits.calls_per_minute_of_the_shop",
        Kind::Number,
        "The same, from one of api.trusted_ips and api.trusted_proxies themselves",
    ),
    setting(
        "limits.messages_per_minute_per_thread",
        Kind::Number,
        "Messages that a user may write in one thread a minute, in bursts of five minutes' worth, 0 for no limit",
    ),
    setting(
        "limits.visitor_threads_per_minute_per_address",
        Kind::Number,
        "Threads that visitors without an account may start from one address a minute, in bursts of five minutes' worth, 0 for no limit",
    ),
    setting(
        "outgoing.allowed_networks",
        Kind::List,
        "Networks (CIDR) that webhooks may reach besides the public internet; none by default",
    ),
    setting("outgoing.timeout_seconds", Kind::Number, "Seconds that a webhook has to answer"),
    setting(
        "webhooks.retry_seconds",
        Kind::List,
        "Seconds to wait before each further attempt to deliver a webhook",
    ),
    setting(
        "mail.smtp_host",
        Kind::Text,
        "SMTP server that takes the mails; without it none are sent",
    ),
    setting("mail.smtp_port", Kind::Number, "Its port; 587, 465 or 25 by mail.smtp_tls"),
    setting("mail.smtp_tls", Kind::Text, "starttls, tls, or none (for a server on this machine)"),
    setting("mail.smtp_user", Kind::Text, "User name for the SMTP server"),
    secret("mail.smtp_password", Kind::Text, "Password for the SMTP server"),
    setting(
        "mail.smtp_ca_file",
        Kind::Text,
        "PEM file with the certificate to trust besides the public ones",
    ),
    setting("mail.connections", Kind::Number, "Connections to the SMTP server at the same time"),
    setting("mail.from", Kind::Text, "Sender of the mails, e.g. Kiln Shop <chat@shop.example>"),
    setting(
        "mail.public_url",
        Kind::Text,
        "Where the API is reached from outside, e.g. https://shop.example/chat, for the links in mails",
    ),
    setting(
        "mail.customer_url",
        Kind::Text,
        "Page on which a customer reads a thread, with {thread_id} in it",
    ),
    setting(
        "mail.vendor_url",
        Kind::Text,
        "Page on which a vendor's administrator reads a thread, with {thread_id} in it",
    ),
    setting(
        "mail.reply_address",
        Kind::Text,
        "Address whose mail goes to `chaffer-api mail-in`, e.g. reply@shop.example; without it mails cannot be answered",
    ),
    setting("mail.reply_days", Kind::Number, "Days that a mail can be answered"),
    setting(
        "mail.retry_seconds",
        Kind::Number,
        "Seconds before a mail is tried again; doubled each time",
    ),
    setting("mail.max_attempts", Kind::Number, "Attempts before a mail is given up"),
    setting("mail.keep_days", Kind::Number, "Days that it is known what became of a mail"),
    secret(
        "keys.token",
        Kind::List,
        "Keys for user tokens, each <kid>:<secret>; the first one signs",
    ),
    secret("keys.link", Kind::List, "Keys that both daemons share; the first one signs"),
    secret(
        "keys.shop",
        Kind::List,
        "Keys that the shop's backend signs with (subject_signature); the first one is in use",
    ),
    secret(
        "keys.mail",
        Kind::List,
        "Keys that sign reply addresses and unsubscribe links in mails; the first one signs",
    ),
    setting("log.level", Kind::Text, "error, warn, info, debug or trace, or a filter"),
    setting("log.format", Kind::Text, "text or json"),
];
