//! The tokens that were found good lately. A page sends the same one with every call for a quarter of an hour, and to check
//! and read it anew each time is two fifths of what the HTTP side of a post does.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chaffer_shared::token::{Bearer, Claims, TokenError, TokenKeys};
use chrono::{DateTime, Utc};

/// How many a generation holds.
const GENERATION: usize = 500;
/// Longer ones are not remembered: with what they say, a thousand of those that are take two megabytes at the most.
const LONGEST: usize = 1024;

/// Tokens of people with an account, so that visitors, of whom anybody may make any number, push nobody out.
#[derive(Default)]
pub struct VerifiedTokens(Mutex<Generations>);

/// When the young ones are full they become the old ones, and who is in use is young again at its next call.
#[derive(Default)]
struct Generations {
    young: HashMap<Box<str>, Claims>,
    old: HashMap<Box<str>, Claims>,
}

impl Generations {
    fn get(&mut self, token: &str) -> Option<Claims> {
        if let Some(claims) = self.young.get(token) {
            return Some(claims.clone());
        }
        let (token, claims) = self.old.remove_entry(token)?;
        self.put(token, claims.clone());
        Some(claims)
    }

    fn put(&mut self, token: Box<str>, claims: Claims) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(token, claims);
    }
}

impl fmt::Debug for VerifiedTokens {
    /// Without the tokens, which are as good as passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifiedTokens(hidden)")
    }
}

impl VerifiedTokens {
    /// Checks a token as [`TokenKeys::verify`] does. What does not change is remembered; whether it has ended is looked at
    /// each time, and whether it was revoked is the rules' to ask.
    ///
    /// # Errors
    /// The same.
    pub fn verify(
        &self,
        keys: &TokenKeys,
        token: &str,
        now: DateTime<Utc>,
    ) -> Result<Claims, TokenError> {
        let known = self.known().get(token);
        if let Some(claims) = known {
            return if claims.expires_at() <= now { Err(TokenError::Expired) } else { Ok(claims) };
        }
        let claims = keys.verify(token, now)?;
        if token.len() <= LONGEST && claims.kind == Bearer::User {
            self.known().put(token.into(), claims.clone());
        }
        Ok(claims)
    }

    fn known(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    const KEY: &str = "a:0123456789abcdef0123456789abcdef";

    fn signed(keys: &TokenKeys, user: &str, now: DateTime<Utc>, seconds: i64) -> String {
        keys.sign(&Claims::new(Bearer::User, user, vec![], "j", now, seconds)).unwrap()
    }

    #[test]
    fn a_token_that_was_good_is_good_until_it_ends() {
        let (keys, verified) =
            (TokenKeys::parse(&[KEY.into()]).unwrap(), VerifiedTokens::default());
        let now = chaffer_shared::time::now();
        let token = signed(&keys, "7", now, 60);
        for at in [0, 1, 59] {
            let found = verified.verify(&keys, &token, now + TimeDelta::seconds(at));
            assert_eq!(found, keys.verify(&token, now));
        }
        let end = now + TimeDelta::seconds(61);
        assert_eq!(verified.verify(&keys, &token, end), Err(TokenError::Expired));
    }

    #[test]
    fn a_changed_token_is_not_the_one_that_was_good() {
        let (keys, verified) =
            (TokenKeys::parse(&[KEY.into()]).unwrap(), VerifiedTokens::default());
        let now = chaffer_shared::time::now();
        let token = signed(&keys, "7", now, 60);
        verified.verify(&keys, &token, now).unwrap();
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(verified.verify(&keys, &changed, now), keys.verify(&changed, now));
        }
        assert!(verified.known().young.len() <= 2, "what was refused is not remembered");
    }

    #[test]
    fn who_is_in_use_stays_however_many_come_and_no_more_are_kept_than_there_is_room_for() {
        let (keys, verified) =
            (TokenKeys::parse(&[KEY.into()]).unwrap(), VerifiedTokens::default());
        let now = chaffer_shared::time::now();
        let busy = signed(&keys, "busy", now, 60);
        for user in 0..3 * GENERATION {
            let token = signed(&keys, &user.to_string(), now, 60);
            assert_eq!(verified.verify(&keys, &token, now).unwrap().sub, user.to_string());
            assert_eq!(verified.verify(&keys, &busy, now).unwrap().sub, "busy");
            let mut known = verified.known();
            assert!(known.get(&busy).is_some());
            assert!(known.young.len() <= GENERATION && known.old.len() <= GENERATION);
        }
    }

    #[test]
    fn visitors_and_long_tokens_push_nobody_out() {
        let (keys, verified) =
            (TokenKeys::parse(&[KEY.into()]).unwrap(), VerifiedTokens::default());
        let now = chaffer_shared::time::now();
        let visitor = Claims::new(Bearer::Visitor, "visitor-1", vec![], "j", now, 60);
        let long = Claims::new(Bearer::User, &"7".repeat(LONGEST), vec![], "j", now, 60);
        for claims in [visitor, long] {
            let token = keys.sign(&claims).unwrap();
            assert_eq!(verified.verify(&keys, &token, now), keys.verify(&token, now));
            assert!(verified.known().young.is_empty());
        }
    }
}
