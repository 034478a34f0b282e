//! The keys of the shop's backends: made and revoked on the machine itself, never over HTTP.

use sha2::{Digest, Sha256};

use super::audit::{self, action};
use super::{Caller, ChatError, Context, Refusal};
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
    if live(writer)?.iter().any(|key| key.name == name) {
        return Err(Refusal::ApiKeyNameTaken.into());
    }
    keep(writer, context, name, key)
}

/// Keeps another key of the same name; the one before it stays live until it is revoked.
///
/// # Errors
/// [`Refusal::ApiKeyNotFound`] when there is none of that name, [`Refusal::TooManyApiKeys`] when two are live already.
pub(crate) fn rotate(
    writer: &mut Writer<'_>,
    context: &Context,
    name: &str,
    key: &str,
) -> Result<(), ChatError> {
    if !live(writer)?.iter().any(|key| key.name == name) {
        return Err(Refusal::ApiKeyNotFound.into());
    }
    keep(writer, context, name, key)
}

/// Ends the live key of a name; of two the older one.
///
/// # Errors
/// [`Refusal::ApiKeyNotFound`] when there is none.
pub(crate) fn revoke(
    writer: &mut Writer<'_>,
    context: &Context,
    name: &str,
) -> Result<(), ChatError> {
    let mut keys = live(writer)?;
    keys.retain(|key| key.name == name);
    let oldest = keys.into_iter().min_by_key(|key| key.created_at);
    let oldest = oldest.ok_or(Refusal::ApiKeyNotFound)?;
    writer.revoke_api_key(&oldest.hash, context.timestamp())?;
    let target = format!("api_key:{name}");
    audit::note(writer, &Caller::Backend, context, action::API_KEY_REVOKED, target, None)
}

fn live(writer: &mut Writer<'_>) -> Result<Vec<ApiKey>, ChatError> {
    let mut keys = writer.api_keys()?;
    keys.retain(|key| key.revoked_at.is_none());
    Ok(keys)
}

fn keep(
    writer: &mut Writer<'_>,
    context: &Context,
    name: &str,
    key: &str,
) -> Result<(), ChatError> {
    if live(writer)?.len() >= MAX_LIVE {
        return Err(Refusal::TooManyApiKeys.into());
    }
    writer.insert_api_key(&ApiKey {
        hash: hash(key),
        name: name.to_owned(),
        created_at: context.timestamp(),
        revoked_at: None,
    })?;
    let target = format!("api_key:{name}");
    audit::note(writer, &Caller::Backend, context, action::API_KEY_CREATED, target, None)
}
