//! Vendors, mirrored from the shop.

use diesel::prelude::*;

use super::connection::on_backend;
use super::fixed::{columns, fixed_query};
use super::moment::Moment;
use super::prepared::{padded, pieces, prepared};
use super::schema::vendors;
use super::text_enum::text_enum;
use super::{Reader, StoreError, Timestamp, Writer};

text_enum! {
    /// Whether a vendor may use messaging at all (R9).
    VendorStatus {
        /// It may.
        Active = "active",
        /// Its threads can be read, not written to.
        Disabled = "disabled",
    }
}

/// A seller company.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = vendors)]
pub struct Vendor {
    /// The shop's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether it may use messaging.
    pub status: VendorStatus,
    /// Whether its plan has messaging (R10).
    pub plan_includes_messaging: bool,
    /// Its logo.
    pub avatar_url: Option<String>,
    /// When it was first mirrored.
    #[diesel(deserialize_as = Moment)]
    pub created_at: Timestamp,
    /// When it last changed.
    #[diesel(deserialize_as = Moment)]
    pub updated_at: Timestamp,
}

/// What the shop says of a vendor.
#[derive(Debug, Clone, Insertable, AsChangeset)]
#[diesel(table_name = vendors, treat_none_as_null = true)]
pub struct VendorFields {
    /// Its name.
    pub name: String,
    /// Whether it may use messaging.
    pub status: VendorStatus,
    /// Whether its plan has messaging.
    pub plan_includes_messaging: bool,
    /// Its logo.
    pub avatar_url: Option<String>,
}

impl Vendor {
    /// Whether it can be written to and write (R9, R10).
    #[must_use]
    pub fn may_message(&self) -> bool {
        self.status == VendorStatus::Active && self.plan_includes_messaging
    }
}

impl Reader<'_> {
    /// One vendor.
    pub(crate) fn vendor(&mut self, id: &str) -> Result<Option<Vendor>, StoreError> {
        let shared = self.shared.as_ref().and_then(|it| it.vendor(id));
        if shared.is_some() {
            return Ok(shared);
        }
        let vendor = fixed_query!(vendors::table.find("").select(columns::<Vendor>()), id);
        Ok(on_backend!(&mut *self.database, connection => vendor.get_result(connection))
            .optional()?)
    }

    /// Several vendors, in no order.
    pub(crate) fn vendors(&mut self, ids: &[&str]) -> Result<Vec<Vendor>, StoreError> {
        let mut found = Vec::new();
        for ids in pieces(ids) {
            let query = vendors::table.filter(vendors::id.eq_any(padded(ids)));
            found.extend(prepared(query.select(Vendor::as_select())).load(self.database)?);
        }
        Ok(found)
    }
}

impl Writer<'_> {
    /// Mirrors a vendor that is not there yet.
    pub(crate) fn insert_vendor(
        &mut self,
        id: &str,
        fields: &VendorFields,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        diesel::insert_into(vendors::table)
            .values((
                vendors::id.eq(id),
                fields,
                vendors::created_at.eq(now),
                vendors::updated_at.eq(now),
            ))
            .execute(self.database)?;
        Ok(())
    }

    /// Changes a vendor.
    pub(crate) fn update_vendor(
        &mut self,
        id: &str,
        fields: &VendorFields,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        diesel::update(vendors::table.find(id))
            .set((fields, vendors::updated_at.eq(now)))
            .execute(self.database)?;
        Ok(())
    }
}
