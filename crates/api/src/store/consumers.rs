//! How far each consumer of the stored events has come.

use chaffer_shared::event::EventId;
use diesel::prelude::*;

use super::schema::consumers;
use super::{Reader, StoreError, Writer};

impl Reader<'_> {
    /// The last event that a consumer has dealt with; none before its first.
    pub(crate) fn consumer(&mut self, name: &str) -> Result<Option<EventId>, StoreError> {
        Ok(consumers::table
            .find(name)
            .select(consumers::event_id)
            .first(self.database)
            .optional()?)
    }
}

impl Writer<'_> {
    /// Notes the last event that a consumer has dealt with.
    pub(crate) fn set_consumer(&mut self, name: &str, event: EventId) -> Result<(), StoreError> {
        let row = consumers::table.find(name);
        let there =
            diesel::update(row).set(consumers::event_id.eq(event)).execute(self.database)?;
        // MySQL counts the rows that changed, not those that were found.
        if there == 0 && self.consumer(name)?.is_none() {
            diesel::insert_into(consumers::table)
                .values((consumers::name.eq(name), consumers::event_id.eq(event)))
                .execute(self.database)?;
        }
        Ok(())
    }
}
