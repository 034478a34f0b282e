//! Users, mirrored from the shop.

use std::collections::BTreeMap;

use diesel::prelude::*;

use super::connection::{Database, on_backend};
#[cfg(feature = "sqlite")]
use super::fixed::fixed;
use super::fixed::{columns, fixed_query};
use super::moment::Moment;
#[cfg(feature = "mysql")]
use super::prepared::written;
use super::prepared::{padded, pieces, prepared};
use super::schema::users;
use super::text_enum::text_enum;
use super::{MailChoice, Reader, StoreError, Timestamp, Writer};

text_enum! {
    /// What a user is to the shop.
    Role {
        /// Buys.
        Customer = "customer",
        /// Acts for one vendor.
        VendorAdmin = "vendor_admin",
        /// The marketplace's staff.
        Admin = "admin",
        /// Answers visitors.
        Operator = "operator",
        /// Asks the operators, without an account.
        Visitor = "visitor",
    }
}

/// A user of the shop.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = users)]
pub struct User {
    /// The shop's id.
    pub id: String,
    /// What the user is to the shop.
    pub role: Role,
    /// The name others see.
    pub name: String,
    /// For mails; never shown to others.
    pub email: Option<String>,
    /// The picture others see.
    pub avatar_url: Option<String>,
    /// Never shown to others.
    pub phone: Option<String>,
    /// The language of mails and pages.
    pub locale: Option<String>,
    /// Of a vendor admin: the vendor.
    pub vendor_id: Option<String>,
    /// Of an admin: may grant rights (R8).
    pub root: bool,
    /// Of an admin: may see and write messages (R8).
    pub manage_messages: bool,
    /// The shop's user profiles, a JSON list (W2).
    pub profiles: String,
    /// Unread messages in all threads together.
    pub unread_total: i64,
    /// Which mails the user wants.
    pub mail_choice: MailChoice,
    /// Tokens issued at or before this moment count no longer.
    pub revoked_before: Option<Timestamp>,
    /// When the person was erased; what is personal is gone since.
    pub erased_at: Option<Timestamp>,
    /// When the user was first mirrored.
    #[diesel(deserialize_as = Moment)]
    pub created_at: Timestamp,
    /// When the user last changed.
    #[diesel(deserialize_as = Moment)]
    pub updated_at: Timestamp,
}

/// What the shop says of a user.
#[derive(Debug, Clone, PartialEq, Eq, Insertable, AsChangeset)]
#[diesel(table_name = users, treat_none_as_null = true)]
pub struct UserFields {
    pub role: Role,
    pub name: String,
    pub email: Option<String>,
    pub avatar_url: Option<String>,
    pub phone: Option<String>,
    pub locale: Option<String>,
    pub vendor_id: Option<String>,
    pub root: bool,
    pub manage_messages: bool,
    pub profiles: String,
}

impl Reader<'_> {
    /// One user.
    pub(crate) fn user(&mut self, id: &str) -> Result<Option<User>, StoreError> {
        let shared = self.shared.as_ref().and_then(|it| it.user(id));
        if shared.is_some() {
            return Ok(shared);
        }
        let user = fixed_query!(users::table.find("").select(columns::<User>()), id);
        Ok(on_backend!(&mut *self.database, connection => user.get_result(connection))
            .optional()?)
    }

    /// Several users, in no order.
    pub(crate) fn users(&mut self, ids: &[&str]) -> Result<Vec<User>, StoreError> {
        let mut found = Vec::new();
        for ids in pieces(ids) {
            let query = users::table.filter(users::id.eq_any(padded(ids)));
            found.extend(prepared(query.select(User::as_select())).load(self.database)?);
        }
        Ok(found)
    }

    /// Those who act for one vendor.
    pub(crate) fn users_of_vendor(&mut self, vendor: &str) -> Result<Vec<User>, StoreError> {
        let query = users::table.filter(users::vendor_id.eq(vendor));
        Ok(query.select(User::as_select()).load(self.database)?)
    }

    /// All operators.
    pub(crate) fn operator_ids(&mut self) -> Result<Vec<String>, StoreError> {
        Ok(users::table
            .filter(users::role.eq(Role::Operator))
            .filter(users::erased_at.is_null())
            .select(users::id)
            .load(self.database)?)
    }

    /// Unread messages of several users, kept, not counted.
    pub(crate) fn unread_totals(
        &mut self,
        ids: &[String],
    ) -> Result<Vec<(String, i64)>, StoreError> {
        let mut found = Vec::new();
        for ids in pieces(ids) {
            let query = users::table.filter(users::id.eq_any(padded(ids)));
            let totals = query.select((users::id, users::unread_total));
            found.extend(prepared(totals).load(self.database)?);
        }
        Ok(found)
    }

    /// When these users were last seen; those of whom it is not known are left out.
    pub(crate) fn last_seen(
        &mut self,
        ids: &[String],
    ) -> Result<BTreeMap<String, Timestamp>, StoreError> {
        let mut found = BTreeMap::new();
        for ids in pieces(ids) {
            let query = users::table.filter(users::id.eq_any(padded(ids)));
            let query = prepared(query.select((users::id, users::last_seen_at)));
            let rows: Vec<(String, Option<Timestamp>)> = query.load(self.database)?;
            found.extend(rows.into_iter().filter_map(|(id, at)| Some((id, at?))));
        }
        Ok(found)
    }

    /// Whose tokens were revoked since that moment.
    pub(crate) fn revoked_since(
        &mut self,
        since: Timestamp,
    ) -> Result<Vec<(String, Option<Timestamp>)>, StoreError> {
        Ok(users::table
            .filter(users::revoked_before.ge(since))
            .select((users::id, users::revoked_before))
            .load(self.database)?)
    }
}

impl Writer<'_> {
    /// Mirrors a user who is not there yet.
    pub(crate) fn insert_user(
        &mut self,
        id: &str,
        fields: &UserFields,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        diesel::insert_into(users::table)
            .values((
                users::id.eq(id),
                fields,
                users::created_at.eq(now),
                users::updated_at.eq(now),
                users::unread_total.eq(0_i64),
            ))
            .execute(self.database)?;
        Ok(())
    }

    /// Changes a user.
    pub(crate) fn update_user(
        &mut self,
        id: &str,
        fields: &UserFields,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        diesel::update(users::table.find(id))
            .set((fields, users::updated_at.eq(now)))
            .execute(self.database)?;
        Ok(())
    }

    /// Ends the tokens issued until now.
    pub(crate) fn revoke_tokens(&mut self, id: &str, now: Timestamp) -> Result<(), StoreError> {
        diesel::update(users::table.find(id))
            .set(users::revoked_before.eq(now))
            .execute(self.database)?;
        Ok(())
    }

    /// Notes that these users were last seen at a moment, unless they were seen later.
    pub(crate) fn note_last_seen(&mut self, ids: &[&str], at: Timestamp) -> Result<(), StoreError> {
        for ids in pieces(ids) {
            let is_older = users::last_seen_at.is_null().or(users::last_seen_at.lt(at));
            let rows = users::table
                .filter(users::id.eq_any(padded(ids)))
                .filter(users::erased_at.is_null())
                .filter(is_older.assume_not_null());
            prepared(diesel::update(rows).set(users::last_seen_at.eq(at)))
                .execute(self.database)?;
        }
        Ok(())
    }

    /// Moves the sums of unread messages of several users.
    pub(crate) fn add_unread_total(&mut self, ids: &[&str], by: i64) -> Result<(), StoreError> {
        match &mut *self.database {
            #[cfg(feature = "sqlite")]
            Database::Sqlite(connection) => {
                for id in ids {
                    fixed!(
                        "UPDATE `users` SET `unread_total` = `unread_total` + ? WHERE `id` = ?",
                        by,
                        *id
                    )
                    .execute(connection)?;
                }
            }
            #[cfg(feature = "mysql")]
            Database::Mysql(connection) => {
                for ids in pieces(ids) {
                    written("UPDATE `users` SET `unread_total` = `unread_total` + ")
                        .number(by)
                        .sql(" WHERE `id` IN ")
                        .texts(ids)
                        .execute(connection)?;
                }
            }
        }
        Ok(())
    }
}
