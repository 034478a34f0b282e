//! What a mail carries to be recognised by when it comes back: the tag in its reply address, which stands for one thread
//! and one person and expires, the token of its unsubscribe link, and its Message-Id. Signed with keys of their own
//! (`keys.mail`): the first one signs, all of them verify.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::store::{Id, Mail};

/// The shortest key accepted, in characters.
const MIN_KEY_CHARS: usize = 32;
/// Bytes of a signature: half of SHA-256's, so that a tag fits into the 64 bytes of an address's local part
/// (RFC 5321, section 4.5.3.1.1).
const MAC_BYTES: usize = 16;
const SECONDS_PER_HOUR: i64 = 3600;
const REPLY: &str = "chaffer reply v1";
const UNSUBSCRIBE: &str = "chaffer unsubscribe v1";

/// The keys behind reply addresses and unsubscribe links.
#[derive(Clone, Default)]
pub struct MailKeys(Vec<String>);

impl fmt::Debug for MailKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MailKeys({} hidden)", self.0.len())
    }
}

/// Why a text in `keys.mail` is no key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("keys.mail: each key has at least 32 characters; make one with `chaffer-api init`")]
pub struct InvalidMailKey;

/// The tag of a reply address, not verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyTag {
    /// The mail that is answered.
    pub mail: Id,
    /// Until when, in hours since 1970.
    expires: i64,
    mac: Vec<u8>,
}

impl ReplyTag {
    /// Reads a tag; case does not count, since mail servers may change it.
    #[must_use]
    pub fn parse(tag: &str) -> Option<Self> {
        let mut parts = tag.split('-');
        let number = |part: Option<&str>| {
            part.filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))
                .and_then(|text| i64::from_str_radix(text, 16).ok())
        };
        let mail = number(parts.next())?;
        let expires = number(parts.next())?;
        let mac = hex::decode(parts.next()?).ok().filter(|mac| mac.len() == MAC_BYTES)?;
        parts.next().is_none().then_some(Self { mail, expires, mac })
    }

    /// Whether it can be answered no more.
    #[must_use]
    pub fn has_expired(&self, now: DateTime<Utc>) -> bool {
        now.timestamp() / SECONDS_PER_HOUR >= self.expires
    }
}

/// What an unsubscribe link is signed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsubscribeLink {
    /// The person.
    pub user: String,
    /// A hash of the address that the mail went to, in hex, where the choice counts for that.
    pub address: Option<String>,
}

impl UnsubscribeLink {
    fn parts(&self) -> Vec<String> {
        let parts = [UNSUBSCRIBE.to_owned(), self.user.clone()];
        parts.into_iter().chain(self.address.clone()).collect()
    }
}

impl MailKeys {
    /// Reads the keys, the signing one first.
    ///
    /// # Errors
    /// [`InvalidMailKey`] when one is too short to be safe.
    pub fn parse(keys: &[String]) -> Result<Self, InvalidMailKey> {
        if keys.iter().any(|key| key.chars().count() < MIN_KEY_CHARS) {
            return Err(InvalidMailKey);
        }
        Ok(Self(keys.to_vec()))
    }

    /// Whether there is none: then mails cannot be answered, nor unsubscribed from with a click.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tag by which an answer to this mail is known; `None` without a key, and for a digest.
    #[must_use]
    pub fn reply_tag(&self, mail: &Mail, now: DateTime<Utc>, days: u32) -> Option<String> {
        let expires = now.timestamp() / SECONDS_PER_HOUR + i64::from(days.max(1)) * 24;
        let mac = mac(self.0.first()?, &reply_parts(mail, expires)?)?;
        Some(format!(
            "{:x}-{expires:x}-{}",
            mail.id,
            hex::encode(cut(&mac.finalize().into_bytes()))
        ))
    }

    /// Whether a tag was made for this mail, its thread and its person.
    #[must_use]
    pub fn verifies_reply(&self, tag: &ReplyTag, mail: &Mail) -> bool {
        let Some(parts) = reply_parts(mail, tag.expires) else { return false };
        tag.mail == mail.id && self.verifies(&parts, &tag.mac)
    }

    /// The token of the unsubscribe link in a mail to a person. It does not expire: a mail may lie unread for years. `address`: what
    /// stands for the address that the mail goes to, where that can have several persons; the person's may be another one by then.
    #[must_use]
    pub fn unsubscribe_token(&self, link: &UnsubscribeLink) -> Option<String> {
        let mac = mac(self.0.first()?, &link.parts())?;
        let mac = hex::encode(cut(&mac.finalize().into_bytes()));
        let user = URL_SAFE_NO_PAD.encode(&link.user);
        Some(match &link.address {
            Some(address) => format!("{user}.{address}.{mac}"),
            None => format!("{user}.{mac}"),
        })
    }

    /// Whose unsubscribe link it is.
    #[must_use]
    pub fn read_unsubscribe_token(&self, token: &str) -> Option<UnsubscribeLink> {
        let (rest, mac) = token.rsplit_once('.')?;
        let (user, address) = match rest.split_once('.') {
            Some((user, address)) => (user, Some(address.to_owned())),
            None => (rest, None),
        };
        let user = String::from_utf8(URL_SAFE_NO_PAD.decode(user).ok()?).ok()?;
        let mac = hex::decode(mac).ok().filter(|mac| mac.len() == MAC_BYTES)?;
        let link = UnsubscribeLink { user, address };
        self.verifies(&link.parts(), &mac).then_some(link)
    }

    fn verifies(&self, parts: &[String], signature: &[u8]) -> bool {
        self.0.iter().any(|key| {
            mac(key, parts).is_some_and(|mac| mac.verify_truncated_left(signature).is_ok())
        })
    }
}

fn reply_parts(mail: &Mail, expires: i64) -> Option<[String; 5]> {
    let thread = mail.thread_id?;
    Some([
        REPLY.to_owned(),
        mail.id.to_string(),
        thread.to_string(),
        mail.user_id.clone(),
        expires.to_string(),
    ])
}

fn mac(key: &str, parts: &[String]) -> Option<Hmac<Sha256>> {
    // HMAC takes a key of any length, so this is always `Some`.
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).ok()?;
    for part in parts {
        mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        mac.update(part.as_bytes());
    }
    Some(mac)
}

fn cut(mac: &[u8]) -> &[u8] {
    mac.get(..MAC_BYTES).unwrap_or(mac)
}

/// The Message-Id of a mail: the same at each attempt, so that a mail that arrives twice is known to be one. The number
/// alone would not do: after a restore numbers come again.
#[must_use]
pub fn message_id(mail: &Mail, domain: &str) -> String {
    let created = mail.created_at.and_utc().timestamp_millis();
    format!("<chaffer.mail.{}.{created}@{domain}>", mail.id)
}

/// What all mails about a thread refer to, so that mail programs show them as one conversation.
#[must_use]
pub fn thread_message_id(thread: Id, domain: &str) -> String {
    format!("<chaffer.thread.{thread}@{domain}>")
}

/// Whether a Message-Id is one of ours.
#[must_use]
pub fn is_own_message_id(id: &str) -> bool {
    id.trim_start_matches('<').starts_with("chaffer.mail.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MailKind, MailState};
    use proptest::prelude::*;

    fn keys(names: &[&str]) -> MailKeys {
        MailKeys::parse(&names.iter().map(|name| name.repeat(32)).collect::<Vec<_>>()).unwrap()
    }

    fn mail(id: Id, user: &str, thread: Option<Id>) -> Mail {
        let now = chaffer_shared::time::now().naive_utc();
        Mail {
            id,
            user_id: user.into(),
            thread_id: thread,
            kind: MailKind::NewMessage,
            state: MailState::Sent,
            first_message_id: 1,
            last_message_id: None,
            read_position: None,
            due_at: now,
            claimed_by: None,
            attempts: 1,
            reason: None,
            created_at: now,
            ended_at: None,
        }
    }

    #[test]
    fn a_tag_counts_for_its_mail_person_and_thread_alone() {
        let now = chaffer_shared::time::now();
        let tag = keys(&["a"]).reply_tag(&mail(5, "7", Some(12)), now, 30).unwrap();
        let parsed = ReplyTag::parse(&tag.to_uppercase()).unwrap();
        assert!(keys(&["b", "a"]).verifies_reply(&parsed, &mail(5, "7", Some(12))));
        assert!(!keys(&["b"]).verifies_reply(&parsed, &mail(5, "7", Some(12))));
        for other in [mail(6, "7", Some(12)), mail(5, "8", Some(12)), mail(5, "7", Some(13))] {
            assert!(!keys(&["a"]).verifies_reply(&parsed, &other), "{other:?}");
        }
        let later = ReplyTag { expires: parsed.expires + 1, ..parsed.clone() };
        assert!(!keys(&["a"]).verifies_reply(&later, &mail(5, "7", Some(12))));
        assert!(!parsed.has_expired(now + chrono::TimeDelta::days(29)));
        assert!(parsed.has_expired(now + chrono::TimeDelta::days(30)));
    }

    #[test]
    fn the_longest_tag_fits_into_an_address() {
        let tag = keys(&["a"]).reply_tag(
            &mail(i64::from(u32::MAX), "7", Some(Id::MAX)),
            chaffer_shared::time::now(),
            36_500,
        );
        assert!("reply+".len() + tag.unwrap().len() <= 64);
        assert_eq!(
            keys(&["a"]).reply_tag(&mail(1, "7", None), chaffer_shared::time::now(), 1),
            None
        );
    }

    proptest! {
        #[test]
        fn only_what_was_signed_unsubscribes(
            user in "\\PC{1,40}", address in proptest::option::of("[0-9a-f]{64}"), junk in "\\PC{0,60}"
        ) {
            let link = UnsubscribeLink { user, address };
            let token = keys(&["a"]).unsubscribe_token(&link).unwrap();
            prop_assert_eq!(keys(&["a"]).read_unsubscribe_token(&token), Some(link.clone()));
            // The address cannot be taken away, nor another one put in its place.
            let (mut parts, other) = (token.split('.').collect::<Vec<_>>(), "0".repeat(64));
            if let [_, address, _] = parts.as_mut_slice() {
                *address = &other;
                prop_assert_eq!(keys(&["a"]).read_unsubscribe_token(&parts.join(".")), None);
                parts.remove(1);
                prop_assert_eq!(keys(&["a"]).read_unsubscribe_token(&parts.join(".")), None);
            }
            prop_assert_eq!(keys(&["b"]).read_unsubscribe_token(&token), None);
            prop_assert_eq!(keys(&["a"]).read_unsubscribe_token(&junk), None);
            prop_assert!(ReplyTag::parse(&junk).is_none() || junk.contains('-'));
        }
    }
}
