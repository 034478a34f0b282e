//! What the shop's backend and its staff did that others must be able to see later.

use diesel::prelude::*;

use super::schema::audit_log;
use super::{Id, Reader, StoreError, Timestamp, Writer};

/// One thing that was done.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = audit_log)]
pub struct AuditEntry {
    /// Its number, in the order of the commits.
    pub id: Id,
    /// The user who did it; `None`: the shop's backend as itself.
    pub actor_id: Option<String>,
    /// What was done, e.g. `message.original_read`.
    pub action: String,
    /// What to, e.g. `message:42`.
    pub target: String,
    /// More about it, as JSON; never texts of people.
    pub data: Option<String>,
    /// The HTTP request.
    pub request_id: String,
    /// When.
    pub at: Timestamp,
}

/// One thing to be noted.
#[derive(Debug, Clone)]
pub struct NewAuditEntry {
    pub actor_id: Option<String>,
    pub action: &'static str,
    pub target: String,
    pub data: Option<serde_json::Value>,
    pub request_id: String,
    pub at: Timestamp,
}

/// Which entries.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    pub actor_id: Option<String>,
    pub action: Option<String>,
    pub target: Option<String>,
    /// From this moment on.
    pub since: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
    /// The rest of a list.
    pub below: Option<Id>,
}

impl Reader<'_> {
    /// A page of the log, the newest first.
    pub(crate) fn audit_entries(
        &mut self,
        filter: &AuditFilter,
        limit: i64,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        let mut query = audit_log::table
            .filter(audit_log::id.lt(filter.below.unwrap_or(Id::MAX)))
            .order(audit_log::id.desc())
            .limit(limit)
            .select(AuditEntry::as_select())
            .into_boxed();
        if let Some(actor) = &filter.actor_id {
            query = query.filter(audit_log::actor_id.eq(actor));
        }
        if let Some(action) = &filter.action {
            query = query.filter(audit_log::action.eq(action));
        }
        if let Some(target) = &filter.target {
            query = query.filter(audit_log::target.eq(target));
        }
        if let Some(since) = filter.since {
            query = query.filter(audit_log::at.ge(since));
        }
        if let Some(until) = filter.until {
            query = query.filter(audit_log::at.lt(until));
        }
        Ok(query.load(self.database)?)
    }
}

impl Writer<'_> {
    /// Notes what was done, in the same commit as the thing itself.
    pub(crate) fn note(&mut self, new: NewAuditEntry) -> Result<(), StoreError> {
        self.counters.audit += 1;
        let entry = AuditEntry {
            id: self.counters.audit,
            actor_id: new.actor_id,
            action: new.action.to_owned(),
            target: new.target,
            data: new.data.map(|data| data.to_string()),
            request_id: new.request_id,
            at: new.at,
        };
        diesel::insert_into(audit_log::table).values(&entry).execute(self.database)?;
        Ok(())
    }
}
