//! Mails as bytes, and the way to the SMTP server.

use std::time::Duration;

use anyhow::{Context, Result};
use chaffer_shared::config::{self, SmtpTls};
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::PoolConfig;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use super::addresses::{message_id, thread_message_id};
use super::letter::Ready;
use super::settings::MailSettings;
use crate::store::Mail;

/// How long the server may take for one answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long one mail may take.
const MAIL_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a connection is kept for the next mail.
const IDLE: Duration = Duration::from_secs(30);
/// Marks our own mails, so that one that comes back is known.
pub const OWN_HEADER: &str = "X-Chaffer-Mail";
/// The longest reason that is kept, in characters.
const MAX_REASON_CHARS: usize = 500;

/// The way to the SMTP server.
pub type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// Why a mail was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotSent {
    /// What to tell those who look after the shop; may hold the recipient's address.
    pub reason: String,
    /// The server's status, which may be logged.
    pub status: Option<String>,
    /// Whether trying again is in vain.
    pub is_final: bool,
}

/// The way to the server that is set. Connects when the first mail is sent.
///
/// # Errors
/// When the certificate cannot be read.
pub fn connect(settings: &config::Mail) -> Result<Transport> {
    let host = settings.smtp_host.clone();
    let parameters = || -> Result<TlsParameters> {
        let mut builder = TlsParameters::builder(host.clone());
        if !settings.smtp_ca_file.is_empty() {
            let file = &settings.smtp_ca_file;
            let pem = std::fs::read(file)
                .with_context(|| format!("mail.smtp_ca_file: cannot read {file}"))?;
            let certificate = Certificate::from_pem(&pem)
                .with_context(|| format!("mail.smtp_ca_file: {file} is no PEM certificate"))?;
            builder = builder.add_root_certificate(certificate);
        }
        builder.build_rustls().context("mail.smtp_host: cannot be used with TLS")
    };
    let (tls, port) = match settings.smtp_tls {
        SmtpTls::Starttls => (Tls::Required(parameters()?), 587),
        SmtpTls::Tls => (Tls::Wrapper(parameters()?), 465),
        SmtpTls::None => (Tls::None, 25),
    };
    let pool = PoolConfig::new().max_size(settings.connections.clamp(1, 100)).idle_timeout(IDLE);
    let mut builder = Transport::builder_dangerous(host)
        .port(settings.smtp_port.unwrap_or(port))
        .tls(tls)
        .timeout(Some(TIMEOUT))
        .pool_config(pool);
    if !settings.smtp_user.is_empty() {
        let (user, password) = (settings.smtp_user.clone(), settings.smtp_password.clone());
        builder = builder.credentials(Credentials::new(user, password));
    }
    Ok(builder.build())
}

/// Sends a mail.
///
/// # Errors
/// Why it was not taken, and whether to try again.
pub async fn send(transport: &Transport, message: Message) -> Result<(), NotSent> {
    match tokio::time::timeout(MAIL_TIMEOUT, transport.send(message)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(classify(&error)),
        Err(_) => Err(NotSent {
            reason: "the SMTP server does not answer in time".into(),
            status: None,
            is_final: false,
        }),
    }
}

fn classify(error: &lettre::transport::smtp::Error) -> NotSent {
    let status = error.status().map(|code| code.to_string());
    // 53x: we are not let in, which says nothing of the mail and can be mended (RFC 4954, section 6).
    let is_about_us = status.as_ref().is_some_and(|code| code.starts_with("53"));
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let text = cause.to_string();
        if !reason.contains(&text) {
            reason = format!("{reason}: {text}");
        }
        source = cause.source();
    }
    NotSent {
        reason: reason.chars().take(MAX_REASON_CHARS).collect(),
        status,
        is_final: error.is_permanent() && !is_about_us,
    }
}

/// A mail as it is sent.
///
/// # Errors
/// When the person's address is none.
pub fn message(settings: &MailSettings, mail: &Mail, ready: &Ready) -> Result<Message, NotSent> {
    let bad = |error: &dyn std::fmt::Display| NotSent {
        reason: format!("the mail cannot be made: {error}"),
        status: None,
        is_final: true,
    };
    let address = ready.address.parse().map_err(|error| bad(&error))?;
    let domain = settings.from.email.domain();
    let raw = |name: &'static str, value: String| {
        HeaderValue::new(HeaderName::new_from_ascii_str(name), value)
    };
    let mut builder = Message::builder()
        .from(settings.from.clone())
        .to(Mailbox::new(Some(plain(&ready.name)).filter(|name| !name.is_empty()), address))
        .subject(plain(&ready.parts.subject))
        .date_now()
        .message_id(Some(message_id(mail, domain)))
        .raw_header(raw(OWN_HEADER, mail.id.to_string()))
        // RFC 3834, section 5: nobody's holiday notice is to answer this.
        .raw_header(raw("Auto-Submitted", "auto-generated".into()))
        .raw_header(raw("X-Auto-Response-Suppress", "All".into()));
    if let Some(thread) = mail.thread_id {
        let thread = thread_message_id(thread, domain);
        builder = builder.in_reply_to(thread.clone()).references(thread);
    }
    if let (Some((user, host)), Some(tag)) = (&settings.reply_address, &ready.reply_tag) {
        let address = lettre::Address::new(format!("{user}+{tag}"), host)
            .map_err(|error| bad(&format!("mail.reply_address: {error}")))?;
        builder = builder.reply_to(Mailbox::new(settings.from.name.clone(), address));
    }
    if let Some(url) = &ready.unsubscribe_url {
        // RFC 8058: one click, without a page to come to first.
        builder = builder
            .raw_header(raw("List-Unsubscribe", format!("<{url}>")))
            .raw_header(raw("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".into()));
    }
    let body =
        MultiPart::alternative_plain_html(ready.parts.text.clone(), ready.parts.html.clone());
    builder.multipart(body).map_err(|error| bad(&error))
}

/// A text of people's for a header: on one line, whatever it holds.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::addresses::MailKeys;
    use super::super::templates::Parts;
    use super::*;
    use crate::notify::addresses::UnsubscribeLink;
    use crate::store::{MailKind, MailState};
    use chaffer_shared::config::Config;
    use proptest::prelude::*;

    fn settings() -> MailSettings {
        let mut config = Config::default();
        config.mail.smtp_host = "localhost".into();
        config.mail.from = "Лавка <chat@shop.example>".into();
        config.mail.reply_address = "reply@shop.example".into();
        config.mail.public_url = "https://shop.example/chat".into();
        config.keys.mail = vec!["k".repeat(32)];
        MailSettings::read(&config).unwrap().unwrap()
    }

    fn formatted(name: &str, subject: &str, text: &str) -> String {
        let now = chaffer_shared::time::now();
        let mail = Mail {
            id: 5,
            user_id: "7".into(),
            thread_id: Some(12),
            kind: MailKind::NewMessage,
            state: MailState::Sending,
            first_message_id: 1,
            last_message_id: None,
            read_position: None,
            due_at: now.naive_utc(),
            claimed_by: None,
            attempts: 1,
            reason: None,
            created_at: now.naive_utc(),
            ended_at: None,
        };
        let keys: &MailKeys = &settings().keys;
        let ready = Ready {
            name: name.into(),
            address: "anna@example.com".into(),
            parts: Parts { subject: subject.into(), text: text.into(), html: text.into() },
            reply_tag: keys.reply_tag(&mail, now, 30),
            unsubscribe_url: settings()
                .unsubscribe_url(&UnsubscribeLink { user: "7".into(), address: None }),
            last_message: None,
            read_position: 0,
            caught_up: false,
        };
        let bytes = message(&settings(), &mail, &ready).unwrap().formatted();
        String::from_utf8(bytes).unwrap()
    }

    /// The names of a mail's headers.
    fn headers(mail: &str) -> Vec<&str> {
        let (head, _) = mail.split_once("\r\n\r\n").unwrap();
        let starts = head.split("\r\n").filter(|line| !line.starts_with([' ', '\t']));
        starts.map(|line| line.split(':').next().unwrap()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_text_of_people_becomes_a_header(
            name in "[a-zа-я\r\n:<>\"@,;\\\\ \u{85}\u{2028}]{0,80}",
            subject in "[a-zа-я\r\n:<>\"=?_ \u{85}\u{2028}]{0,200}",
        ) {
            let usual = formatted("Anna", "Hello", "x");
            let mail = formatted(&format!("{name}\r\nBcc: x@y"), &format!("{subject}\r\nBcc: x@y"), "x");
            prop_assert_eq!(headers(&mail), headers(&usual));
            prop_assert!(mail.split("\r\n\r\n").next().unwrap().is_ascii());
        }
    }
}
