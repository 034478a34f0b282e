//! Tokens: what the API gives a browser, and the push daemon accepts without asking anybody.
//!
//! JWTs (RFC 7519), signed with HS256 and nothing else, with a `kid` so that two keys can live during a
//! rotation. A second kind, the presence grant, names the people whose coming and going a socket may watch.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::topic::Topic;

/// The longest life of a token, in seconds.
pub const MAX_TTL_SECONDS: i64 = 3600;

/// The shortest secret of a token key, in characters (RFC 7518, section 3.2: at least the hash's 256 bits).
pub const MIN_SECRET_CHARS: usize = 32;

const ISSUER: &str = "chaffer";
const AUDIENCE: &str = "chaffer";
const GRANT_AUDIENCE: &str = "chaffer-presence";

/// Who bears a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bearer {
    /// One of the shop's users; `sub` is the shop's id.
    User,
    /// A visitor without an account; `sub` is Chaffer's own id, with [`crate::topic::VISITOR_PREFIX`].
    Visitor,
}

/// What a visitor says of itself. It travels in the token, so that nothing has to be stored of people who only look.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Profile {
    /// The name that operators see.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where answers go by mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The language of mails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// The page that the visitor looks at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_url: Option<String>,
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// Always `chaffer`.
    pub iss: String,
    /// Always `chaffer`.
    pub aud: String,
    /// The bearer's id.
    pub sub: String,
    /// What `sub` is an id of.
    pub kind: Bearer,
    /// What the bearer hears.
    pub topics: Vec<Topic>,
    /// When it was issued, in seconds since 1970 with milliseconds, so that a revocation a moment before or
    /// after can be told apart.
    pub iat: f64,
    /// When it ends, in seconds since 1970.
    pub exp: i64,
    /// The token's own id.
    pub jti: String,
    /// Of a visitor: what it says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Box<Profile>>,
}

/// What a presence grant says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    /// Always `chaffer`.
    pub iss: String,
    /// Always `chaffer-presence`.
    pub aud: String,
    /// Who may use it: the `sub` of the token that the socket authenticated with.
    pub sub: String,
    /// The users whose presence may be watched.
    pub users: Vec<String>,
    /// When those of them were last seen of whom the API knows it, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub seen: BTreeMap<String, i64>,
    /// When it was issued, in seconds since 1970.
    pub iat: i64,
    /// When it ends, in seconds since 1970.
    pub exp: i64,
}

/// Why a token is not accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenError {
    /// It was good once; fetch another.
    #[error("the token has expired")]
    Expired,
    /// It never was good: not ours, of an unknown key, or changed.
    #[error("the token is not valid: {0}")]
    Invalid(String),
    /// No key is configured.
    #[error("no token key is configured (keys.token)")]
    NoKey,
}

/// Why a text in `keys.token` is no key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "keys.token: each entry is `<kid>:<secret>` with a secret of at least 32 characters; make one with `chaffer-api init`"
)]
pub struct InvalidTokenKey;

struct Key {
    kid: String,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

/// The token keys: the first one signs, all of them verify.
#[derive(Default)]
pub struct TokenKeys(Vec<Key>);

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.kid)).finish()
    }
}

impl Claims {
    /// A new token's claims; the times are cut to what a token can say.
    #[must_use]
    pub fn new(
        kind: Bearer,
        sub: &str,
        topics: Vec<Topic>,
        jti: &str,
        now: DateTime<Utc>,
        ttl_seconds: i64,
    ) -> Self {
        Self {
            iss: ISSUER.into(),
            aud: AUDIENCE.into(),
            sub: sub.into(),
            kind,
            topics,
            iat: seconds(now),
            exp: now.timestamp() + ttl_seconds.clamp(1, MAX_TTL_SECONDS),
            jti: jti.into(),
            profile: None,
        }
    }

    /// When it ends.
    #[must_use]
    pub fn expires_at(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.exp, 0).unwrap_or(DateTime::<Utc>::MIN_UTC)
    }

    /// Whether a revocation of tokens issued at or before that moment hits this one.
    #[must_use]
    pub fn is_revoked_by(&self, before: DateTime<Utc>) -> bool {
        self.iat <= seconds(before)
    }
}

impl Grant {
    /// A new grant's claims.
    #[must_use]
    pub fn new(sub: &str, users: Vec<String>, now: DateTime<Utc>, ttl_seconds: i64) -> Self {
        let iat = now.timestamp();
        Self {
            iss: ISSUER.into(),
            aud: GRANT_AUDIENCE.into(),
            sub: sub.into(),
            users,
            seen: BTreeMap::new(),
            iat,
            exp: iat + ttl_seconds.clamp(1, MAX_TTL_SECONDS),
        }
    }
}

/// A moment as a JWT's NumericDate, with milliseconds (RFC 7519, section 2 allows fractions).
#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit 53 bits")]
fn seconds(at: DateTime<Utc>) -> f64 {
    at.timestamp_millis() as f64 / 1000.0
}

impl TokenKeys {
    /// Reads `<kid>:<secret>` entries, the signing one first.
    ///
    /// # Errors
    /// [`InvalidTokenKey`] when an entry has no kid or too short a secret.
    pub fn parse(entries: &[String]) -> Result<Self, InvalidTokenKey> {
        let key = |entry: &String| {
            let (kid, secret) = entry.split_once(':').ok_or(InvalidTokenKey)?;
            if kid.is_empty() || secret.chars().count() < MIN_SECRET_CHARS {
                return Err(InvalidTokenKey);
            }
            Ok(Key {
                kid: kid.to_owned(),
                encoding: EncodingKey::from_secret(secret.as_bytes()),
                decoding: DecodingKey::from_secret(secret.as_bytes()),
            })
        };
        entries.iter().map(key).collect::<Result<_, _>>().map(Self)
    }

    /// Whether there is none: then no token can be issued or accepted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Signs a token.
    ///
    /// # Errors
    /// [`TokenError::NoKey`] without a key.
    pub fn sign(&self, claims: &Claims) -> Result<String, TokenError> {
        self.encode(claims)
    }

    /// Signs a presence grant.
    ///
    /// # Errors
    /// [`TokenError::NoKey`] without a key.
    pub fn sign_grant(&self, grant: &Grant) -> Result<String, TokenError> {
        self.encode(grant)
    }

    /// Checks a token: signature, key, issuer, audience, life.
    ///
    /// # Errors
    /// [`TokenError`] says whether another token would help.
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<Claims, TokenError> {
        self.verify_late(token, now, 0)
    }

    /// The same of a token that may have ended up to so many seconds ago: for those who come back with nothing else.
    ///
    /// # Errors
    /// [`TokenError`], [`TokenError::Expired`] when it ended before that.
    pub fn verify_late(
        &self,
        token: &str,
        now: DateTime<Utc>,
        seconds: i64,
    ) -> Result<Claims, TokenError> {
        let claims: Claims = self.decode(token, AUDIENCE)?;
        if claims.exp.saturating_sub(MAX_TTL_SECONDS + 1) as f64 > claims.iat {
            return Err(TokenError::Invalid("it lives longer than an hour".into()));
        }
        if claims.exp.saturating_add(seconds) <= now.timestamp() {
            return Err(TokenError::Expired);
        }
        Ok(claims)
    }

    /// Checks a presence grant.
    ///
    /// # Errors
    /// [`TokenError`] says whether another grant would help.
    pub fn verify_grant(&self, grant: &str, now: DateTime<Utc>) -> Result<Grant, TokenError> {
        let grant: Grant = self.decode(grant, GRANT_AUDIENCE)?;
        if grant.exp <= now.timestamp() {
            return Err(TokenError::Expired);
        }
        Ok(grant)
    }

    fn encode(&self, claims: &impl Serialize) -> Result<String, TokenError> {
        let key = self.0.first().ok_or(TokenError::NoKey)?;
        let header = Header { kid: Some(key.kid.clone()), ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(&header, claims, &key.encoding)
            .map_err(|error| TokenError::Invalid(error.to_string()))
    }

    fn decode<T: DeserializeOwned + Clone>(
        &self,
        token: &str,
        audience: &str,
    ) -> Result<T, TokenError> {
        if self.is_empty() {
            return Err(TokenError::NoKey);
        }
        let invalid = |error: jsonwebtoken::errors::Error| TokenError::Invalid(error.to_string());
        let kid = jsonwebtoken::decode_header(token).map_err(invalid)?.kid;
        let key = self.0.iter().find(|key| Some(&key.kid) == kid.as_ref()).ok_or_else(|| {
            TokenError::Invalid("signed with a key that is not known here".into())
        })?;
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // The life is checked by the callers, against a clock that tests can set.
        validation.validate_exp = false;
        Ok(jsonwebtoken::decode::<T>(token, &key.decoding, &validation).map_err(invalid)?.claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn keys(kids: &[&str]) -> TokenKeys {
        TokenKeys::parse(&kids.iter().map(|kid| format!("{kid}:{SECRET}{kid}")).collect::<Vec<_>>())
            .unwrap()
    }

    fn claims(now: DateTime<Utc>) -> Claims {
        Claims::new(Bearer::User, "7", vec![Topic::User("7".into())], "j", now, 60)
    }

    #[test]
    fn a_token_comes_back_as_it_was_signed() {
        let now = crate::time::now();
        let token = keys(&["a"]).sign(&claims(now)).unwrap();
        assert_eq!(keys(&["b", "a"]).verify(&token, now), Ok(claims(now)));
    }

    #[test]
    fn a_token_of_an_unknown_key_is_refused() {
        let now = crate::time::now();
        let token = keys(&["a"]).sign(&claims(now)).unwrap();
        assert!(matches!(keys(&["b"]).verify(&token, now), Err(TokenError::Invalid(_))));
        assert_eq!(keys(&[]).verify(&token, now), Err(TokenError::NoKey));
    }

    #[test]
    fn a_token_ends() {
        let now = crate::time::now();
        let token = keys(&["a"]).sign(&claims(now)).unwrap();
        let later = now + TimeDelta::seconds(60);
        assert_eq!(keys(&["a"]).verify(&token, later), Err(TokenError::Expired));
        assert!(keys(&["a"]).verify_late(&token, later, 1).is_ok());
        let later = later + TimeDelta::seconds(1);
        assert_eq!(keys(&["a"]).verify_late(&token, later, 1), Err(TokenError::Expired));
    }

    #[test]
    fn a_token_that_lives_too_long_is_refused() {
        let now = crate::time::now();
        let long = Claims { exp: now.timestamp() + 7200, ..claims(now) };
        let token = keys(&["a"]).sign(&long).unwrap();
        assert!(matches!(keys(&["a"]).verify(&token, now), Err(TokenError::Invalid(_))));
    }

    #[test]
    fn no_algorithm_but_hs256() {
        let now = crate::time::now();
        let secret = EncodingKey::from_secret(format!("{SECRET}a").as_bytes());
        let header = Header { kid: Some("a".into()), ..Header::new(Algorithm::HS512) };
        let token = jsonwebtoken::encode(&header, &claims(now), &secret).unwrap();
        assert!(matches!(keys(&["a"]).verify(&token, now), Err(TokenError::Invalid(_))));
        // {"alg":"none","kid":"a"}
        let none =
            format!("eyJhbGciOiJub25lIiwia2lkIjoiYSJ9.{}.", token.split('.').nth(1).unwrap());
        assert!(matches!(keys(&["a"]).verify(&none, now), Err(TokenError::Invalid(_))));
    }

    #[test]
    fn a_grant_is_no_token_and_a_token_no_grant() {
        let now = crate::time::now();
        let keys = keys(&["a"]);
        let grant = keys.sign_grant(&Grant::new("7", vec!["8".into()], now, 60)).unwrap();
        let token = keys.sign(&claims(now)).unwrap();
        assert!(keys.verify_grant(&grant, now).is_ok());
        assert!(keys.verify(&grant, now).is_err());
        assert!(keys.verify_grant(&token, now).is_err());
    }

    #[test]
    fn a_revocation_hits_tokens_issued_before_it_only() {
        let now = crate::time::now();
        assert!(claims(now).is_revoked_by(now));
        assert!(!claims(now + TimeDelta::milliseconds(1)).is_revoked_by(now));
    }

    #[test]
    fn short_secrets_are_refused() {
        assert!(TokenKeys::parse(&["a:short".into()]).is_err());
        assert!(TokenKeys::parse(&[SECRET.into()]).is_err());
    }
}
