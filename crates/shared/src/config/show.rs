//! The settings in force, for people to look at: each value, where it came from, and of a secret no more than what
//! tells two of them apart.

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Loaded, SETTINGS, Setting};

/// One setting in force.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Shown {
    /// `section.name`.
    pub key: &'static str,
    /// The value; of a secret what [`fingerprint`] tells.
    pub value: Value,
    /// Where it came from.
    pub source: String,
    /// Whether nobody set it.
    pub is_default: bool,
    /// Whether the value is hidden.
    pub is_secret: bool,
}

/// Eight digits by which two keys are told apart, on two machines or in two daemons, without showing them. A key has
/// 32 characters at least, so there is nothing to guess.
#[must_use]
pub fn fingerprint(secret: &str) -> String {
    let digest = Sha256::digest(format!("chaffer fingerprint\n{secret}"));
    hex::encode(digest).chars().take(8).collect()
}

impl Loaded {
    /// Every setting, in the order of [`SETTINGS`].
    #[must_use]
    pub fn show(&self) -> Vec<Shown> {
        let values = serde_json::to_value(&self.config).unwrap_or_default();
        SETTINGS.iter().map(|setting| self.show_one(setting, &values)).collect()
    }

    fn show_one(&self, setting: &Setting, values: &Value) -> Shown {
        let pointer = format!("/{}", setting.key.replace('.', "/"));
        let value = values.pointer(&pointer).cloned().unwrap_or_default();
        let origin = self.origins.get(setting.key);
        let (value, source) = match (origin, self.follows(setting.key)) {
            (Some(origin), _) => (value, origin.to_string()),
            (None, Some((value, of))) => (value.into(), format!("default, from {of}")),
            (None, None) => (value, "default".to_owned()),
        };
        Shown {
            key: setting.key,
            value: if setting.secret { mask(setting.key, &value) } else { value },
            source,
            is_default: origin.is_none(),
            is_secret: setting.secret,
        }
    }

    /// What a setting is that nobody set and that follows from another one.
    fn follows(&self, key: &str) -> Option<(String, &'static str)> {
        let config = &self.config;
        match key {
            "api.websocket_url" => Some((config.websocket_url(), "push.websocket_listen")),
            "api.publish_to" => Some((config.publish_to(), "push.pusher_listen")),
            "api.push_http_url" => Some((config.push_http_url(), "push.http_listen")),
            "push.api_url" => Some((config.api_url(), "api.listen")),
            _ => None,
        }
    }
}

fn mask(key: &str, value: &Value) -> Value {
    match value {
        Value::Array(entries) => {
            entries.iter().filter_map(Value::as_str).map(|entry| mask_key(key, entry)).collect()
        }
        Value::String(url) if key == "database.url" => mask_url(url).into(),
        Value::Null => Value::Null,
        _ => "(hidden)".into(),
    }
}

fn mask_key(key: &str, entry: &str) -> Value {
    match entry.split_once(':') {
        // The kid stands in every token.
        Some((kid, _)) if key == "keys.token" => {
            format!("{kid}:*** ({})", fingerprint(entry)).into()
        }
        _ => format!("*** ({})", fingerprint(entry)).into(),
    }
}

/// A URL without its password, which may hold any character.
fn mask_url(url: &str) -> String {
    let masked = || {
        let (scheme, rest) = url.split_once("://").filter(|(scheme, _)| *scheme != "sqlite")?;
        let (login, place) = rest.rsplit_once('@')?;
        let user = login.split_once(':').map_or(login, |(user, _)| user);
        Some(format!("{scheme}://{user}:***@{place}"))
    };
    masked().unwrap_or_else(|| url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::{Flags, load_with};
    use super::*;

    #[test]
    fn every_setting_shows_its_value_and_its_source_and_no_secret() {
        let env = [
            ("CHAFFER_KEYS_TOKEN", "k1:hunter2hunter2"),
            ("CHAFFER_KEYS_LINK", "hunter2hunter2"),
            ("CHAFFER_DATABASE_URL", "mysql://chaffer:hun/ter2@x@db:3306/chaffer"),
            ("CHAFFER_API_LISTEN", "127.0.0.1:1"),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let shown = load_with(&Flags::default(), env).unwrap().show();
        assert_eq!(shown.len(), SETTINGS.len());
        assert!(!serde_json::to_string(&shown).unwrap().contains("ter2"));
        let of = |key: &str| shown.iter().find(|it| it.key == key).unwrap();
        assert_eq!(of("database.url").value, "mysql://chaffer:***@db:3306/chaffer");
        assert_eq!(of("keys.token").value[0].as_str().unwrap().get(..7), Some("k1:*** "));
        assert_eq!(of("api.listen").source, "environment variable CHAFFER_API_LISTEN");
        assert_eq!(of("push.api_url").value, "http://127.0.0.1:1");
        assert_eq!(of("push.api_url").source, "default, from api.listen");
        assert!(of("push.api_url").is_default && !of("api.listen").is_default);
    }

    #[test]
    fn fingerprints_tell_keys_apart() {
        assert_eq!(fingerprint("a").len(), 8);
        assert_ne!(fingerprint("a"), fingerprint("b"));
    }
}
