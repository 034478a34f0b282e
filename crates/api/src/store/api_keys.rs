//! The keys of the shop's backends, as hashes.

use diesel::prelude::*;

use super::connection::on_backend;
use super::schema::{api_keys, users};
use super::{Reader, StoreError, Timestamp, User, Writer};

/// One API key; the key itself is known to the shop alone.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = api_keys)]
pub struct ApiKey {
    /// SHA-256 of the key, in hex.
    pub hash: String,
    /// What the shop calls it.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stopped to count.
    pub revoked_at: Option<Timestamp>,
}

impl Reader<'_> {
    /// Whether a live key has this hash.
    pub(crate) fn is_live_api_key(&mut self, hash: &str) -> Result<bool, StoreError> {
        let found: Option<Option<Timestamp>> = api_keys::table
            .find(hash)
            .select(api_keys::revoked_at)
            .first(self.database)
            .optional()?;
        Ok(found == Some(None))
    }

    /// Whether a live key has this hash, and the user that is meant: `None` when there is no such key. One look-up, since
    /// every call of the shop's backend begins with it.
    pub(crate) fn acting_user(
        &mut self,
        hash: &str,
        user: &str,
    ) -> Result<Option<Option<User>>, StoreError> {
        if let Some(found) = self.shared.as_ref().and_then(|it| it.user(user)) {
            return Ok(self.is_shared_live_key(hash)?.then_some(Some(found)));
        }
        let user = api_keys::table
            .left_join(users::table.on(users::id.eq(user)))
            .filter(api_keys::hash.eq(hash))
            .filter(api_keys::revoked_at.is_null());
        Ok(on_backend!(&mut *self.database, connection => {
            user.select(Option::<User>::as_select()).first(connection)
        })
        .optional()?)
    }

    /// Whether a live key has this hash, asked once for all posts of a commit.
    fn is_shared_live_key(&mut self, hash: &str) -> Result<bool, StoreError> {
        if self.shared.as_ref().is_some_and(|it| it.knows_live_key(hash)) {
            return Ok(true);
        }
        let is_live = self.is_live_api_key(hash)?;
        if let (true, Some(shared)) = (is_live, &mut self.shared) {
            shared.note_live_key(hash);
        }
        Ok(is_live)
    }

    /// All keys, live or not.
    pub(crate) fn api_keys(&mut self) -> Result<Vec<ApiKey>, StoreError> {
        Ok(api_keys::table
            .order(api_keys::created_at)
            .select(ApiKey::as_select())
            .load(self.database)?)
    }
}

impl Writer<'_> {
    /// Keeps a new key.
    pub(crate) fn insert_api_key(&mut self, key: &ApiKey) -> Result<(), StoreError> {
        diesel::insert_into(api_keys::table).values(key).execute(self.database)?;
        Ok(())
    }

    /// Ends a key.
    pub(crate) fn revoke_api_key(&mut self, hash: &str, at: Timestamp) -> Result<(), StoreError> {
        diesel::update(api_keys::table.find(hash))
            .set(api_keys::revoked_at.eq(at))
            .execute(self.database)?;
        Ok(())
    }
}
