//! The keys of the shop's backends: made and revoked on the machine itself, never over HTTP.

use sha2::{Digest, Sha256};

use super::{ChatError, Context, Refusal};
use crate::store::{ApiKey, Writer};

/// How many keys may be live at once: the one in use, and the next one during a rotation.
const MAX_LIVE: usize = 2;
/// The longest name of a key.
const MAX_NAME_BYTES: usize = 64;

/// What is kept of a key. A key is 256 random bits, so one round of SHA-256 is enough: there is nothing to guess.
#[must_use]
pub fn hash(key: &str) -> String {
    hex::encode(Sha256::digest(key))
}

/// Keeps a new key.
///
/// # Errors
/// [`Refusal::TooManyApiKeys`] when two are live already, or when the name is taken or cannot be one.
pub(crate) fn create(
    writer: &mut Writer<'_>,
    context: &Context,
    name: &str,
    key: &str,
) -> Result<(), ChatError> {
    if !(1..=MAX_NAME_BYTES).contains(&name.trim().len()) {
        return Err(Refusal::ApiKeyNameInvalid.into());
    }
    let keys = writer.api_keys()?;
    let live = || keys.iter().filter(|key| key.revoked_at.is_none());
    if live().any(|key| key.name == name) {
        return Err(Refusal::ApiKeyNameTaken.into());
    }
    if live().count() >= MAX_LIVE {
        return Err(Refusal::TooManyApiKeys.into());
    }
    writer.insert_api_key(&ApiKey {
        hash: hash(key),
        name: name.to_owned(),
        created_at: context.timestamp(),
        revoked_at: None,
    })?;
    Ok(())
}

/// Ends the live keys of a name.
///
/// # Errors
/// [`Refusal::ApiKeyNotFound`] when there is none.
pub(crate) fn revoke(
    writer: &mut Writer<'_>,
    context: &Context,
    name: &str,
) -> Result<(), ChatError> {
    let keys = writer.api_keys()?;
    let live: Vec<_> =
        keys.iter().filter(|key| key.name == name && key.revoked_at.is_none()).collect();
    if live.is_empty() {
        return Err(Refusal::ApiKeyNotFound.into());
    }
    for key in live {
        writer.revoke_api_key(&key.hash, context.timestamp())?;
    }
    Ok(())
}
