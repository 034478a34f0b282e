//! First answers to calls made with an `Idempotency-Key`, so that the same call again gives the same answer.

use diesel::prelude::*;

use super::schema::idempotency_keys;
use super::{Reader, StoreError, Timestamp, Writer};

/// What was answered to the first call with a key.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = idempotency_keys)]
pub struct FirstAnswer {
    /// Who called.
    pub caller: String,
    /// The caller's key.
    pub idempotency_key: String,
    /// SHA-256 of the call and its body, in hex.
    pub request_hash: String,
    /// The HTTP status.
    pub status: i32,
    /// The body.
    pub answer: String,
    /// When.
    pub created_at: Timestamp,
}

impl Reader<'_> {
    /// The first answer to this caller under this key.
    pub(crate) fn first_answer(
        &mut self,
        caller: &str,
        key: &str,
    ) -> Result<Option<FirstAnswer>, StoreError> {
        Ok(idempotency_keys::table
            .find((caller, key))
            .select(FirstAnswer::as_select())
            .first(self.database)
            .optional()?)
    }
}

impl Writer<'_> {
    /// Keeps a first answer.
    pub(crate) fn insert_first_answer(&mut self, answer: &FirstAnswer) -> Result<(), StoreError> {
        diesel::insert_into(idempotency_keys::table).values(answer).execute(self.database)?;
        Ok(())
    }

    /// Forgets up to `limit` answers from before that moment; tells how many.
    pub(crate) fn prune_first_answers(
        &mut self,
        before: Timestamp,
        limit: i64,
    ) -> Result<usize, StoreError> {
        let old: Vec<(String, String)> = idempotency_keys::table
            .filter(idempotency_keys::created_at.lt(before))
            .order(idempotency_keys::created_at)
            .limit(limit)
            .select((idempotency_keys::caller, idempotency_keys::idempotency_key))
            .load(self.database)?;
        for (caller, key) in &old {
            diesel::delete(idempotency_keys::table.find((caller, key))).execute(self.database)?;
        }
        Ok(old.len())
    }
}
