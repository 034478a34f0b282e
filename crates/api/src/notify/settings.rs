//! The settings of the mails that belong to the machine, read once and held together; those of the shop are in `chat/settings.rs`.

use chaffer_shared::config::{Config, SmtpTls};
use chrono::TimeDelta;
use lettre::message::Mailbox;

use super::addresses::{MailKeys, UnsubscribeLink};
use crate::chat::settings::Settings;
use crate::store::{Audience, Id};

/// What stands in the addresses of pages for the number of the thread.
const THREAD: &str = "{thread_id}";

/// The settings of the mails.
#[derive(Debug, Clone)]
pub struct MailSettings {
    /// The sender.
    pub from: Mailbox,
    /// The address that answers go to: before and after the `@`.
    pub reply_address: Option<(String, String)>,
    /// How long a mail can be answered.
    pub reply_days: u32,
    /// How many messages a person may write in one thread a minute; 0: as many as it likes.
    pub messages_per_minute: u32,
    /// How long to wait before the second attempt.
    pub retry: TimeDelta,
    /// After how many attempts a mail is given up.
    pub max_attempts: i32,
    /// How many mails are sent at the same time.
    pub connections: usize,
    /// The keys behind reply addresses and unsubscribe links.
    pub keys: MailKeys,
    public_url: Option<String>,
    customer_url: Option<String>,
    vendor_url: Option<String>,
    /// Where the shop's own pages are.
    origins: Vec<url::Origin>,
}

/// Why the settings of the mails cannot be meant.
#[derive(Debug, thiserror::Error)]
pub enum MailSettingsError {
    /// One of them.
    #[error("{setting}: `{value}` {problem}")]
    Value {
        /// Which one.
        setting: &'static str,
        /// What it is.
        value: String,
        /// What it must be.
        problem: &'static str,
    },
    /// The keys.
    #[error(transparent)]
    Keys(#[from] super::addresses::InvalidMailKey),
}

impl MailSettings {
    /// Reads the settings; `None` when no SMTP server is set, so that no mail is sent.
    ///
    /// # Errors
    /// Which setting cannot be meant.
    pub fn read(config: &Config) -> Result<Option<Self>, MailSettingsError> {
        let mail = &config.mail;
        let keys = MailKeys::parse(&config.keys.mail)?;
        if mail.smtp_host.is_empty() {
            return Ok(None);
        }
        let wrong = |setting, value: &str, problem| MailSettingsError::Value {
            setting,
            value: value.to_owned(),
            problem,
        };
        let from: Mailbox = mail.from.parse().map_err(|_| {
            wrong(
                "mail.from",
                &mail.from,
                "is no sender; write it as Kiln Shop <chat@shop.example>",
            )
        })?;
        let reply_address = match mail.reply_address.as_str() {
            "" => None,
            text => {
                let address: lettre::Address = text.parse().map_err(|_| {
                    wrong(
                        "mail.reply_address",
                        text,
                        "is no address; write it as reply@shop.example",
                    )
                })?;
                Some((address.user().to_owned(), address.domain().to_owned()))
            }
        };
        let page = |setting, text: &str| match text {
            "" => Ok(None),
            text if is_url(text) => Ok(Some(text.trim_end_matches('/').to_owned())),
            text => Err(wrong(setting, text, "is no http or https URL")),
        };
        let pages = [&mail.public_url, &mail.customer_url];
        let pages = pages.into_iter().chain(&config.api.allowed_origins);
        Ok(Some(Self {
            origins: pages.filter_map(|it| Some(url::Url::parse(it).ok()?.origin())).collect(),
            reply_address,
            reply_days: mail.reply_days.clamp(1, 3650),
            messages_per_minute: config.limits.messages_per_minute_per_thread,
            retry: TimeDelta::seconds(i64::from(mail.retry_seconds)),
            max_attempts: i32::try_from(mail.max_attempts.clamp(1, 1000)).unwrap_or(1),
            connections: usize::try_from(mail.connections.clamp(1, 100)).unwrap_or(1),
            keys,
            public_url: page("mail.public_url", &mail.public_url)?,
            customer_url: page("mail.customer_url", &mail.customer_url)?,
            vendor_url: page("mail.vendor_url", &mail.vendor_url)?,
            from,
        }))
    }

    /// What is set, and yet lacks something.
    #[must_use]
    pub fn warnings(&self, config: &Config) -> Vec<&'static str> {
        let mail = &config.mail;
        let has_password = !mail.smtp_user.is_empty() && mail.smtp_tls == SmtpTls::None;
        let cases = [
            (
                self.keys.is_empty(),
                "keys.mail is empty: mails cannot be answered, nor unsubscribed from with a click",
            ),
            (
                self.public_url.is_none(),
                "mail.public_url is not set: mails have no link to unsubscribe",
            ),
            (
                has_password,
                "mail.smtp_tls is none: the password for the SMTP server travels in clear",
            ),
        ];
        cases.into_iter().filter(|(applies, _)| *applies).map(|(_, text)| text).collect()
    }

    /// What the mails call the shop: as its settings say, or else as its sender does.
    #[must_use]
    pub fn shop_name(&self, settings: &Settings) -> String {
        let named = Some(settings.shop_name.clone()).filter(|name| !name.trim().is_empty());
        named
            .or_else(|| self.from.name.clone())
            .unwrap_or_else(|| self.from.email.domain().to_owned())
    }

    /// The page on which a thread is read.
    #[must_use]
    pub fn thread_url(&self, audience: Audience, thread: Id) -> Option<String> {
        let page = match audience {
            Audience::Customer => &self.customer_url,
            Audience::Vendor => &self.vendor_url,
        };
        Some(page.as_ref()?.replace(THREAD, &thread.to_string()))
    }

    /// Whether a page is one of the shop's own: of its addresses here, or among `api.allowed_origins`.
    #[must_use]
    pub fn is_own_page(&self, page: &str) -> bool {
        url::Url::parse(page).is_ok_and(|url| self.origins.contains(&url.origin()))
    }

    /// Where a person chooses which mails come.
    #[must_use]
    pub fn unsubscribe_url(&self, link: &UnsubscribeLink) -> Option<String> {
        let base = self.public_url.as_ref()?;
        Some(format!("{base}/v1/mail/unsubscribe/{}", self.keys.unsubscribe_token(link)?))
    }
}

fn is_url(text: &str) -> bool {
    let text = text.replace(THREAD, "1");
    url::Url::parse(&text)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        && !text.chars().any(|c| c.is_control() || c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_others_are_not_the_shops() {
        let mut config = Config::default();
        config.mail.smtp_host = "localhost".into();
        config.mail.from = "chat@shop.example".into();
        config.mail.public_url = "https://chat.shop.example/api".into();
        config.mail.customer_url = "https://shop.example/messages/{thread_id}".into();
        config.api.allowed_origins = vec!["https://other.example".into()];
        let settings = MailSettings::read(&config).unwrap().unwrap();
        for own in [
            "https://shop.example/p/1042?a=b",
            "https://shop.example:443",
            "https://chat.shop.example/p",
            "https://other.example/p",
        ] {
            assert!(settings.is_own_page(own), "{own}");
        }
        for other in [
            "https://evil.example/login",
            "https://shop.example.evil.example/",
            "https://shop.example@evil.example/",
            "https://shop.example:8443/",
            "http://shop.example/",
            "https://evil.example/https://shop.example/",
            "data:text/html,x",
            "nothing",
        ] {
            assert!(!settings.is_own_page(other), "{other}");
        }
        config.api.allowed_origins = vec!["*".into()];
        let open = MailSettings::read(&config).unwrap().unwrap();
        assert!(!open.is_own_page("https://other.example/p"), "what may be any is nobody's");
    }
}
