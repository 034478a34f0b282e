//! The tokens that were found good lately. A page sends the same one with every call for a quarter of an hour, and to check
//! and read it anew each time costs a third of what the HTTP side of a post does.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chaffer_shared::token::{Claims, TokenError, TokenKeys};
use chrono::{DateTime, Utc};

/// How many are remembered: half a megabyte of them.
const MOST: usize = 1000;

/// Only tokens that our own keys have signed come in here, so nobody fills it but who has as many.
#[derive(Debug, Default)]
pub struct VerifiedTokens(Mutex<HashMap<Box<str>, Claims>>);

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
        let known = self.known().get(token).cloned();
        if let Some(claims) = known {
            return if claims.expires_at() <= now { Err(TokenError::Expired) } else { Ok(claims) };
        }
        let claims = keys.verify(token, now)?;
        let mut known = self.known();
        if known.len() >= MOST {
            known.retain(|_, claims| claims.expires_at() > now);
        }
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(token.into(), claims.clone());
        Ok(claims)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Box<str>, Claims>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use chaffer_shared::token::Bearer;
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
        assert!(verified.known().len() <= 2, "what was refused is not remembered");
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let (keys, verified) =
            (TokenKeys::parse(&[KEY.into()]).unwrap(), VerifiedTokens::default());
        let now = chaffer_shared::time::now();
        for user in 0..=MOST {
            let token = signed(&keys, &user.to_string(), now, 60);
            assert_eq!(verified.verify(&keys, &token, now).unwrap().sub, user.to_string());
            assert!(verified.known().len() <= MOST);
        }
    }
}
