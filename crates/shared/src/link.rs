//! The link between the daemons: how the API's frames are signed, and how the push daemon shows that it is one
//! of ours when it asks for what it missed.
//!
//! The pusher port is open to whatever runs on the shop's machine, so a frame counts as the API's only with an
//! HMAC-SHA256 (RFC 2104) under the key that both daemons share. Several keys may be live during a rotation:
//! the first one signs, all of them verify.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What the first line of a signed frame starts with.
pub const MAGIC: &[u8] = b"chaffer1 ";

/// The shortest link key accepted, in characters.
pub const MIN_KEY_CHARS: usize = 32;

/// What the bearer of `/internal/v1` signs, so that the key itself never travels.
const INTERNAL_CONTEXT: &[u8] = b"chaffer internal api v1";

/// The keys that both daemons share.
#[derive(Clone, Default)]
pub struct LinkKeys(Vec<String>);

/// Why a signed frame is dropped.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidSignature {
    /// No key is configured, so nothing can be checked.
    #[error("no link key is configured (keys.link)")]
    NoKey,
    /// The first line is not `chaffer1 <64 hex digits>`.
    #[error("malformed signature line")]
    Malformed,
    /// Signed with another key, or changed on the way.
    #[error("wrong signature: both daemons need the same keys.link")]
    Wrong,
}

impl fmt::Debug for LinkKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LinkKeys({} hidden)", self.0.len())
    }
}

/// Why a text in `keys.link` is no key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("keys.link: each key has at least 32 characters; make one with `chaffer-api init`")]
pub struct InvalidLinkKey;

impl LinkKeys {
    /// Reads the keys, the signing one first.
    ///
    /// # Errors
    /// [`InvalidLinkKey`] when one is too short to be safe.
    pub fn parse(keys: &[String]) -> Result<Self, InvalidLinkKey> {
        if keys.iter().any(|key| key.chars().count() < MIN_KEY_CHARS) {
            return Err(InvalidLinkKey);
        }
        Ok(Self(keys.to_vec()))
    }

    /// Whether there is none: then nothing can be signed or verified.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts the signature line before a frame's JSON; `None` without a key.
    #[must_use]
    pub fn sign(&self, json: &[u8]) -> Option<Vec<u8>> {
        let signature = hex::encode(mac(self.0.first()?, json)?.finalize().into_bytes());
        Some([MAGIC, signature.as_bytes(), b"\n", json].concat())
    }

    /// Checks a frame's signature line and returns the JSON behind it.
    ///
    /// # Errors
    /// [`InvalidSignature`] says why the frame is to be dropped.
    pub fn verify<'a>(&self, frame: &'a [u8]) -> Result<&'a [u8], InvalidSignature> {
        if self.is_empty() {
            return Err(InvalidSignature::NoKey);
        }
        let rest = frame.strip_prefix(MAGIC).ok_or(InvalidSignature::Malformed)?;
        let (signature, json) = rest.split_at_checked(64).ok_or(InvalidSignature::Malformed)?;
        let json = json.strip_prefix(b"\n").ok_or(InvalidSignature::Malformed)?;
        let signature = hex::decode(signature).map_err(|_| InvalidSignature::Malformed)?;
        let matches =
            |key: &String| mac(key, json).is_some_and(|mac| mac.verify_slice(&signature).is_ok());
        if self.0.iter().any(matches) { Ok(json) } else { Err(InvalidSignature::Wrong) }
    }

    /// The bearer token for `/internal/v1`, derived from the first key; `None` without a key.
    #[must_use]
    pub fn internal_bearer(&self) -> Option<String> {
        self.internal_bearers().next()
    }

    /// One of each key: during a rotation the API may not know the first key yet.
    pub fn internal_bearers(&self) -> impl Iterator<Item = String> {
        let bearer = |key| Some(hex::encode(mac(key, INTERNAL_CONTEXT)?.finalize().into_bytes()));
        self.0.iter().filter_map(move |key: &String| bearer(key))
    }

    /// Whether a bearer token for `/internal/v1` was derived from one of the keys.
    #[must_use]
    pub fn accepts_internal_bearer(&self, bearer: &str) -> bool {
        let Ok(bearer) = hex::decode(bearer) else { return false };
        self.0.iter().any(|key| {
            mac(key, INTERNAL_CONTEXT).is_some_and(|mac| mac.verify_slice(&bearer).is_ok())
        })
    }
}

fn mac(key: &str, text: &[u8]) -> Option<Hmac<Sha256>> {
    // HMAC takes a key of any length, so this is always `Some`.
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).ok()?;
    mac.update(text);
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys(keys: &[&str]) -> LinkKeys {
        LinkKeys(keys.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn short_keys_are_refused() {
        assert_eq!(LinkKeys::parse(&["x".repeat(31)]).unwrap_err(), InvalidLinkKey);
        assert!(LinkKeys::parse(&["x".repeat(32)]).is_ok());
    }

    #[test]
    fn the_signature_is_hmac_sha256_in_hex() {
        // RFC 4231, test case 2.
        let frame = keys(&["Jefe"]).sign(b"what do ya want for nothing?").unwrap();
        assert_eq!(
            String::from_utf8(frame).unwrap(),
            "chaffer1 5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843\nwhat do ya want for nothing?"
        );
    }

    #[test]
    fn during_a_rotation_both_keys_verify() {
        let frame = keys(&["old"]).sign(b"{}").unwrap();
        assert_eq!(keys(&["new", "old"]).verify(&frame), Ok(b"{}".as_slice()));
        assert_eq!(keys(&["new"]).verify(&frame), Err(InvalidSignature::Wrong));
        let bearer = keys(&["old"]).internal_bearer().unwrap();
        assert!(keys(&["new", "old"]).accepts_internal_bearer(&bearer));
        assert!(!keys(&["new"]).accepts_internal_bearer(&bearer));
    }

    #[test]
    fn without_a_key_nothing_passes() {
        assert_eq!(keys(&[]).sign(b"{}"), None);
        assert_eq!(keys(&[]).verify(b"chaffer1 00\n{}"), Err(InvalidSignature::NoKey));
        assert!(!keys(&[]).accepts_internal_bearer(""));
    }

    #[test]
    fn keys_never_show_in_logs() {
        assert!(!format!("{:?}", keys(&["secret"])).contains("secret"));
    }

    proptest! {
        #[test]
        fn hostile_frames_are_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let frame = [MAGIC, &bytes].concat();
            prop_assert!(keys(&["k"]).verify(&frame).is_err());
            prop_assert!(keys(&["k"]).verify(&bytes).is_err());
        }

        #[test]
        fn a_changed_frame_is_refused(json in ".{1,40}", at in 0usize..40) {
            let mut frame = keys(&["k"]).sign(json.as_bytes()).unwrap();
            let at = MAGIC.len() + 65 + at % json.len();
            frame[at] ^= 1;
            prop_assert_eq!(keys(&["k"]).verify(&frame), Err(InvalidSignature::Wrong));
        }
    }
}
