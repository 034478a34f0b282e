//! Signatures as Standard Webhooks has them (<https://github.com/standard-webhooks/standard-webhooks>, "Webhook
//! metadata" and "Signature scheme"): HMAC-SHA256 of id, time and body, joined by full stops.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What every secret begins with.
const PREFIX: &str = "whsec_";

/// A new secret: 32 random bytes, of the 24 to 64 that the specification asks for.
#[must_use]
pub fn new_secret() -> String {
    format!("{PREFIX}{}", STANDARD.encode(rand::random::<[u8; 32]>()))
}

/// The header `webhook-signature`: one signature for each secret, so that either opens it during a rotation.
/// `None` when a secret is not one of ours.
#[must_use]
pub fn sign<'s>(
    secrets: impl IntoIterator<Item = &'s str>,
    message_id: &str,
    timestamp: i64,
    body: &[u8],
) -> Option<String> {
    let signatures: Option<Vec<String>> = secrets
        .into_iter()
        .map(|secret| {
            let key = STANDARD.decode(secret.strip_prefix(PREFIX)?).ok()?;
            let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
            mac.update(format!("{message_id}.{timestamp}.").as_bytes());
            mac.update(body);
            Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
        })
        .collect();
    Some(signatures?.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that the reference libraries test themselves with.
    #[test]
    fn the_signature_is_that_of_the_specification() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let body = br#"{"test": 2432232314}"#;
        let signature = sign([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signature.as_deref(), Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
    }

    #[test]
    fn two_secrets_give_two_signatures() {
        let (one, two) = (new_secret(), new_secret());
        let both = sign([one.as_str(), two.as_str()], "msg_1", 1, b"{}").unwrap();
        let single = |secret: &str| sign([secret], "msg_1", 1, b"{}").unwrap();
        assert_eq!(both, format!("{} {}", single(&one), single(&two)));
        assert_ne!(one, two);
    }
}
