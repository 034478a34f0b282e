//! Settings that are changed while the daemon runs. Only those that differ from their defaults have a row.

use diesel::prelude::*;

use super::schema::settings;
use super::{Reader, StoreError, Timestamp, Writer};

impl Reader<'_> {
    /// A setting's JSON; `None` when it was never changed.
    pub(crate) fn setting(&mut self, name: &str) -> Result<Option<String>, StoreError> {
        Ok(settings::table.find(name).select(settings::value).first(self.database).optional()?)
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
        let exists = self.setting(name)?.is_some();
        let values = (
            settings::value.eq(value.to_string()),
            settings::changed_by.eq(changed_by),
            settings::changed_at.eq(now),
        );
        if exists {
            diesel::update(settings::table.find(name)).set(values).execute(self.database)?;
        } else {
            diesel::insert_into(settings::table)
                .values((settings::name.eq(name), values.0, values.1, values.2))
                .execute(self.database)?;
        }
        Ok(())
    }
}
