//! Webhooks: where the shop wants to be told what happens, and the deliveries to there.

use chaffer_shared::event::EventId;
use diesel::prelude::*;

use super::connection::on_backend;
use super::schema::{webhook_deliveries as deliveries, webhooks};
use super::text_enum::text_enum;
use super::{Id, Reader, StoreError, Timestamp, Writer};

text_enum! {
    /// Whether a webhook is told anything.
    WebhookStatus {
        /// It is.
        Active = "active",
        /// It is not: switched off by the shop, or because it answered 410.
        Disabled = "disabled",
    }
}

text_enum! {
    /// How far a delivery has come.
    DeliveryState {
        /// It will be tried, for the first time or again.
        Pending = "pending",
        /// The shop has it.
        Delivered = "delivered",
        /// It was tried often enough, or cannot be delivered any more.
        Failed = "failed",
    }
}

/// An address of the shop's.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = webhooks, treat_none_as_null = true)]
pub struct Webhook {
    /// Its id.
    pub id: String,
    /// Where to post.
    pub url: String,
    /// What the shop calls it.
    pub description: Option<String>,
    /// The names of the events, a JSON list.
    pub events: String,
    /// Signs.
    pub secret: String,
    /// Signed before the last rotation.
    pub previous_secret: Option<String>,
    /// Until when that one still signs as well.
    pub previous_until: Option<Timestamp>,
    /// Whether it is told anything.
    pub status: WebhookStatus,
    /// Why it was switched off, if Chaffer did it.
    pub disabled_reason: Option<String>,
    /// The events up to this one have been turned into deliveries.
    pub position: EventId,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it was deleted: its deliveries are to be forgotten, and then this row.
    pub deleted_at: Option<Timestamp>,
}

/// One message to one webhook.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = deliveries)]
pub struct Delivery {
    /// Its number: deliveries are listed by it.
    pub id: Id,
    /// To which webhook.
    pub webhook_id: String,
    /// Names the message to the receiver.
    pub message_id: String,
    /// The name of the event.
    pub event: String,
    /// The event; none of a test call.
    pub event_id: Option<EventId>,
    /// How far it has come.
    pub state: DeliveryState,
    /// What came of each attempt, a JSON list.
    pub attempts: String,
    /// How many there were since it was last asked for.
    pub tries: i32,
    /// When it is tried next.
    pub next_attempt_at: Option<Timestamp>,
    /// When it was caused.
    pub created_at: Timestamp,
}

/// A message that is to be delivered.
#[derive(Debug, Clone, Insertable)]
#[diesel(table_name = deliveries)]
pub struct NewDelivery {
    pub webhook_id: String,
    pub message_id: String,
    pub event: String,
    pub event_id: Option<EventId>,
    pub state: DeliveryState,
    pub attempts: String,
    pub tries: i32,
    pub next_attempt_at: Option<Timestamp>,
    pub created_at: Timestamp,
}

impl Reader<'_> {
    /// All webhooks, the oldest first; there are a few.
    pub(crate) fn webhooks(&mut self) -> Result<Vec<Webhook>, StoreError> {
        let mut found = self.webhooks_and_deleted()?;
        found.retain(|it| it.deleted_at.is_none());
        Ok(found)
    }

    /// The same, with those of which something is left.
    pub(crate) fn webhooks_and_deleted(&mut self) -> Result<Vec<Webhook>, StoreError> {
        let mut found: Vec<Webhook> =
            webhooks::table.select(Webhook::as_select()).load(self.database)?;
        found.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        Ok(found)
    }

    /// One webhook.
    pub(crate) fn webhook(&mut self, id: &str) -> Result<Option<Webhook>, StoreError> {
        Ok(webhooks::table
            .find(id)
            .filter(webhooks::deleted_at.is_null())
            .select(Webhook::as_select())
            .first(self.database)
            .optional()?)
    }

    /// A page of a webhook's deliveries, the newest first.
    pub(crate) fn deliveries(
        &mut self,
        webhook: &str,
        state: Option<DeliveryState>,
        below: Option<Id>,
        limit: i64,
    ) -> Result<Vec<Delivery>, StoreError> {
        let mut query = deliveries::table
            .filter(deliveries::webhook_id.eq(webhook))
            .filter(deliveries::id.lt(below.unwrap_or(Id::MAX)))
            .order(deliveries::id.desc())
            .limit(limit)
            .select(Delivery::as_select())
            .into_boxed();
        if let Some(state) = state {
            query = query.filter(deliveries::state.eq(state));
        }
        Ok(query.load(self.database)?)
    }

    /// One delivery.
    pub(crate) fn delivery(
        &mut self,
        webhook: &str,
        message: &str,
    ) -> Result<Option<Delivery>, StoreError> {
        Ok(deliveries::table
            .filter(deliveries::webhook_id.eq(webhook))
            .filter(deliveries::message_id.eq(message))
            .select(Delivery::as_select())
            .first(self.database)
            .optional()?)
    }

    /// The deliveries of a webhook that are to be tried by now, the longest due first.
    pub(crate) fn due_deliveries(
        &mut self,
        webhook: &str,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<Delivery>, StoreError> {
        Ok(deliveries::table
            .filter(deliveries::webhook_id.eq(webhook))
            .filter(deliveries::next_attempt_at.le(now))
            .order(deliveries::next_attempt_at)
            .limit(limit)
            .select(Delivery::as_select())
            .load(self.database)?)
    }

    /// The oldest delivery since a moment, to whatever webhook.
    pub(crate) fn first_delivery_since(
        &mut self,
        since: Timestamp,
    ) -> Result<Option<Id>, StoreError> {
        Ok(deliveries::table
            .filter(deliveries::created_at.ge(since))
            .order(deliveries::created_at)
            .select(deliveries::id)
            .first(self.database)
            .optional()?)
    }

    /// When the next delivery of a webhook is due.
    pub(crate) fn next_delivery(&mut self, webhook: &str) -> Result<Option<Timestamp>, StoreError> {
        Ok(deliveries::table
            .filter(deliveries::webhook_id.eq(webhook))
            .filter(deliveries::next_attempt_at.is_not_null())
            .order(deliveries::next_attempt_at)
            .select(deliveries::next_attempt_at)
            .first(self.database)
            .optional()?
            .flatten())
    }
}

impl Writer<'_> {
    /// Keeps a new webhook.
    pub(crate) fn insert_webhook(&mut self, webhook: &Webhook) -> Result<(), StoreError> {
        diesel::insert_into(webhooks::table).values(webhook).execute(self.database)?;
        Ok(())
    }

    /// Changes a webhook.
    pub(crate) fn update_webhook(&mut self, webhook: &Webhook) -> Result<(), StoreError> {
        diesel::update(webhooks::table.find(&webhook.id)).set(webhook).execute(self.database)?;
        Ok(())
    }

    /// Forgets up to `limit` deliveries of a webhook, and tells how many they were.
    pub(crate) fn delete_deliveries(
        &mut self,
        webhook: &str,
        limit: i64,
    ) -> Result<usize, StoreError> {
        let some: Vec<Id> = deliveries::table
            .filter(deliveries::webhook_id.eq(webhook))
            .limit(limit)
            .select(deliveries::id)
            .load(self.database)?;
        self.delete_deliveries_by_id(&some)
    }

    fn delete_deliveries_by_id(&mut self, ids: &[Id]) -> Result<usize, StoreError> {
        if ids.is_empty() {
            return Ok(0);
        }
        Ok(diesel::delete(deliveries::table.filter(deliveries::id.eq_any(ids)))
            .execute(self.database)?)
    }

    /// Forgets a webhook, and its deliveries if there are some left.
    pub(crate) fn delete_webhook(&mut self, id: &str) -> Result<(), StoreError> {
        diesel::delete(webhooks::table.find(id)).execute(self.database)?;
        Ok(())
    }

    /// Notes that the events up to this one have been turned into deliveries.
    pub(crate) fn advance_webhook(
        &mut self,
        id: &str,
        position: EventId,
    ) -> Result<(), StoreError> {
        diesel::update(webhooks::table.find(id))
            .set(webhooks::position.eq(position))
            .execute(self.database)?;
        Ok(())
    }

    /// Keeps deliveries that are to be made.
    pub(crate) fn insert_deliveries(&mut self, new: &[NewDelivery]) -> Result<(), StoreError> {
        on_backend!(&mut *self.database, connection => {
            for rows in new.chunks(100) {
                diesel::insert_into(deliveries::table).values(rows).execute(connection)?;
            }
            Ok(())
        })
    }

    /// Notes how far a delivery has come.
    pub(crate) fn update_delivery(&mut self, delivery: &Delivery) -> Result<(), StoreError> {
        diesel::update(deliveries::table.find(delivery.id))
            .set((
                deliveries::state.eq(delivery.state),
                deliveries::attempts.eq(&delivery.attempts),
                deliveries::tries.eq(delivery.tries),
                deliveries::next_attempt_at.eq(delivery.next_attempt_at),
            ))
            .execute(self.database)?;
        Ok(())
    }

    /// Takes a delivery for a while, unless another node was faster.
    pub(crate) fn claim_delivery(
        &mut self,
        delivery: &Delivery,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        let claimed = diesel::update(
            deliveries::table
                .find(delivery.id)
                .filter(deliveries::next_attempt_at.eq(delivery.next_attempt_at)),
        )
        .set(deliveries::next_attempt_at.eq(until))
        .execute(self.database)?;
        Ok(claimed == 1)
    }

    /// Gives up to `limit` of what still waits for a webhook that is switched off up, and tells how many they were.
    pub(crate) fn give_up_deliveries(
        &mut self,
        webhook: &str,
        limit: i64,
    ) -> Result<usize, StoreError> {
        // It may have been switched on again meanwhile.
        if self.webhook(webhook)?.is_none_or(|it| it.status != WebhookStatus::Disabled) {
            return Ok(0);
        }
        let waiting: Vec<Id> = deliveries::table
            .filter(deliveries::webhook_id.eq(webhook))
            .filter(deliveries::state.eq(DeliveryState::Pending))
            .limit(limit)
            .select(deliveries::id)
            .load(self.database)?;
        if waiting.is_empty() {
            return Ok(0);
        }
        Ok(diesel::update(deliveries::table.filter(deliveries::id.eq_any(waiting)))
            .set((
                deliveries::state.eq(DeliveryState::Failed),
                deliveries::next_attempt_at.eq(None::<Timestamp>),
            ))
            .execute(self.database)?)
    }

    /// Makes up to `limit` failed deliveries since a moment due again, those behind one of them; tells which, in order.
    pub(crate) fn revive_deliveries(
        &mut self,
        webhook: &str,
        since: Timestamp,
        after: Id,
        limit: i64,
        now: Timestamp,
    ) -> Result<Vec<Id>, StoreError> {
        let failed: Vec<Id> = deliveries::table
            .filter(deliveries::webhook_id.eq(webhook))
            .filter(deliveries::state.eq(DeliveryState::Failed))
            .filter(deliveries::id.gt(after))
            .filter(deliveries::created_at.ge(since))
            .order(deliveries::id)
            .limit(limit)
            .select(deliveries::id)
            .load(self.database)?;
        if !failed.is_empty() {
            diesel::update(deliveries::table.filter(deliveries::id.eq_any(&failed)))
                .set((
                    deliveries::state.eq(DeliveryState::Pending),
                    deliveries::tries.eq(0),
                    deliveries::next_attempt_at.eq(now),
                ))
                .execute(self.database)?;
        }
        Ok(failed)
    }

    /// Forgets up to `limit` deliveries from before a moment, and tells how many they were.
    pub(crate) fn prune_deliveries(
        &mut self,
        before: Timestamp,
        limit: i64,
    ) -> Result<usize, StoreError> {
        let old: Vec<Id> = deliveries::table
            .filter(deliveries::created_at.lt(before))
            .order(deliveries::created_at)
            .limit(limit)
            .select(deliveries::id)
            .load(self.database)?;
        self.delete_deliveries_by_id(&old)
    }
}
