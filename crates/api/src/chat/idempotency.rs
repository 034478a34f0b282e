//! `Idempotency-Key`: the same call again gives the first answer again, instead of doing the thing twice.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::{Caller, ChatError, Context, Refusal};
use crate::store::{FirstAnswer, Writer};

/// A caller's key together with what it was used for.
#[derive(Debug, Clone)]
pub struct IdempotencyKey {
    /// The key.
    pub key: String,
    /// SHA-256 of method, path and body, in hex.
    pub request_hash: String,
}

impl IdempotencyKey {
    /// Ties a key to a request.
    #[must_use]
    pub fn new(key: String, method: &str, path: &str, body: &[u8]) -> Self {
        let mut hash = Sha256::new();
        for part in [method.as_bytes(), path.as_bytes(), body] {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        Self { key, request_hash: hex::encode(hash.finalize()) }
    }
}

/// Runs a rule, unless this caller has run it with this key before: then it gives the first answer.
/// The answer comes with whether it is a new thing.
///
/// # Errors
/// [`Refusal::IdempotencyKeyReused`] when the key was used for another request; else the rule's own.
pub(crate) fn once<T, F>(
    writer: &mut Writer<'_>,
    caller: &Caller,
    context: &Context,
    key: Option<&IdempotencyKey>,
    rule: F,
) -> Result<(T, bool), ChatError>
where
    T: Serialize + DeserializeOwned,
    F: FnOnce(&mut Writer<'_>) -> Result<(T, bool), ChatError>,
{
    let Some(key) = key else { return rule(writer) };
    let name = caller.key();
    if let Some(first) = writer.first_answer(&name, &key.key)? {
        if first.request_hash != key.request_hash {
            return Err(Refusal::IdempotencyKeyReused.into());
        }
        if let Ok(answer) = serde_json::from_str(&first.answer) {
            return Ok((answer, first.status == CREATED));
        }
    }
    let (answer, created) = rule(writer)?;
    writer.insert_first_answer(&FirstAnswer {
        caller: name,
        idempotency_key: key.key.clone(),
        request_hash: key.request_hash.clone(),
        status: if created { CREATED } else { FOUND },
        answer: serde_json::to_string(&answer).unwrap_or_default(),
        created_at: context.timestamp(),
    })?;
    Ok((answer, created))
}

const CREATED: i32 = 201;
const FOUND: i32 = 200;
