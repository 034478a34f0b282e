//! Settings that are changed while the daemon runs. Only those that differ from their defaults have a row.

use diesel::prelude::*;

use super::schema::settings;
use super::{Reader, StoreError, Timestamp, Writer};

/// A setting that was changed.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = settings)]
pub struct SettingRow {
    /// Its name.
    pub name: String,
    /// Its value, as JSON.
    pub value: String,
    /// The user who changed it last; `None`: the shop's backend as itself.
    pub changed_by: Option<String>,
    /// When.
    pub changed_at: Timestamp,
}

impl Reader<'_> {
    /// The settings that were changed.
    pub(crate) fn settings(&mut self) -> Result<Vec<SettingRow>, StoreError> {
        Ok(settings::table.select(SettingRow::as_select()).load(self.database)?)
    }
}

impl Writer<'_> {
    /// Changes a setting.
    pub(crate) fn save_setting(
        &mut self,
        name: &str,
        value: &serde_json::Value,
        changed_by: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let values = (
            settings::value.eq(value.to_string()),
            settings::changed_by.eq(changed_by),
            settings::changed_at.eq(now),
        );
        let row = settings::table.find(name);
        let known: Option<String> = row.select(settings::name).first(self.database).optional()?;
        if known.is_some() {
            diesel::update(row).set(values).execute(self.database)?;
        } else {
            diesel::insert_into(settings::table)
                .values((settings::name.eq(name), values.0, values.1, values.2))
                .execute(self.database)?;
        }
        Ok(())
    }
    /// Goes back to the default.
    pub(crate) fn delete_setting(&mut self, name: &str) -> Result<(), StoreError> {
        diesel::delete(settings::table.find(name)).execute(self.database)?;
        Ok(())
    }
}
