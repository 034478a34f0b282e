//! What concerns all deliveries of a webhook, a week's worth of events: piece by piece.

use chrono::{DateTime, Utc};

use super::PIECE;
use crate::chat::webhooks::{self, Replayed};
use crate::chat::{ChatError, Context, Credentials};
use crate::pace;
use crate::store::{Id, Store, StoreError, WebhookStatus};

/// Gives up all that still waits for a webhook that was switched off.
///
/// # Errors
/// The store's own.
pub(crate) async fn give_up(store: &Store, id: String) -> Result<(), StoreError> {
    pace::in_pieces(store, move |writer| writer.give_up_deliveries(&id, PIECE)).await?;
    Ok(())
}

/// Forgets a webhook that was deleted, and its deliveries.
///
/// # Errors
/// The store's own.
pub(crate) async fn delete(store: &Store, id: String) -> Result<(), StoreError> {
    let webhook = id.clone();
    pace::in_pieces(store, move |writer| writer.delete_deliveries(&webhook, PIECE)).await?;
    pace::write(store, move |writer| writer.delete_webhook(&id)).await
}

/// Goes on with what was cut short, each by itself.
///
/// # Errors
/// When it cannot be told which webhooks there are.
pub(crate) async fn resume(store: &Store) -> Result<(), StoreError> {
    for webhook in pace::read(store, |reader| reader.webhooks_and_deleted()).await? {
        let id = webhook.id.clone();
        let done = match (webhook.deleted_at, webhook.status) {
            (Some(_), _) => delete(store, id).await,
            (None, WebhookStatus::Disabled) => give_up(store, id).await,
            (None, WebhookStatus::Active) => Ok(()),
        };
        if let Err(error) = done {
            tracing::warn!(webhook = webhook.id, %error, "cannot go on with a webhook; trying again later");
        }
    }
    Ok(())
}

/// Makes the deliveries that failed since a moment again: the receiver was down for longer than is tried.
///
/// # Errors
/// Why the caller may not, that there is no such webhook, or that it is switched off.
pub(crate) async fn replay_failed(
    store: &Store,
    credentials: Credentials,
    context: Context,
    id: String,
    since: DateTime<Utc>,
) -> Result<Replayed, ChatError> {
    let (caller, at, webhook) = (credentials.clone(), context.clone(), id.clone());
    let first = store
        .read(move |reader| webhooks::replayable(reader, &caller, &at, &webhook, since))
        .await?;
    let now = context.timestamp();
    let mut replayed = 0;
    let mut after: Option<Id> = first.map(|id| id.saturating_sub(1));
    while let Some(last) = after {
        let webhook = id.clone();
        let revive = move |writer: &mut crate::store::Writer<'_>| {
            writer.revive_deliveries(&webhook, since.naive_utc(), last, PIECE, now)
        };
        let some = pace::write(store, revive).await?;
        replayed += some.len();
        // What fails again meanwhile stands before the next ones.
        after = some.last().copied();
    }
    store
        .write(move |writer| {
            webhooks::note_replay(writer, &credentials, &context, &id, since, replayed)
        })
        .await?;
    Ok(Replayed { replayed })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::chat::Refusal;
    use crate::chat::webhooks::WebhookPatch;
    use crate::outgoing::Outgoing;
    use crate::store::testing::{Fresh, databases};
    use crate::store::{DeliveryState, NewDelivery, Webhook};
    use crate::testing::{acting, context, shop};

    /// A webhook for which more waits than one piece has.
    pub(in crate::webhooks) fn with_much_waiting(fresh: &mut Fresh) {
        shop(fresh, 0);
        let at = context().timestamp();
        let webhook = Webhook {
            id: "wh".into(),
            url: "https://shop.example/hook".into(),
            description: None,
            events: "[]".into(),
            secret: "secret".into(),
            previous_secret: None,
            previous_until: None,
            status: WebhookStatus::Active,
            disabled_reason: None,
            position: 0,
            created_at: at,
            updated_at: at,
            deleted_at: None,
        };
        let delivery = |number: i64| NewDelivery {
            webhook_id: "wh".into(),
            message_id: format!("msg_{number}"),
            event: "message.created".into(),
            event_id: Some(number),
            state: DeliveryState::Pending,
            attempts: "[]".into(),
            tries: 0,
            next_attempt_at: Some(at),
            created_at: at,
        };
        let deliveries: Vec<NewDelivery> = (0..PIECE + 1).map(delivery).collect();
        fresh
            .write(|writer| {
                writer.insert_webhook(&webhook)?;
                writer.insert_deliveries(&deliveries)
            })
            .unwrap();
    }

    fn change(fresh: &mut Fresh, patch: &WebhookPatch) -> Result<(), ChatError> {
        let outgoing = Outgoing::new(&[], std::time::Duration::from_secs(1));
        fresh
            .write(|writer| {
                webhooks::patch(writer, &acting("staff"), &context(), &outgoing, "wh", patch)
            })
            .map(|_| ())
    }

    fn of_state(fresh: &mut Fresh, state: Option<DeliveryState>) -> usize {
        fresh.read(|reader| reader.deliveries("wh", state, None, 10_000)).unwrap().len()
    }

    #[tokio::test]
    async fn a_deleted_webhook_is_gone_at_once_and_what_is_left_of_it_later() {
        for mut fresh in databases() {
            with_much_waiting(&mut fresh);
            // As far as it comes when the process ends in the middle.
            fresh
                .write(|writer| webhooks::delete(writer, &acting("staff"), &context(), "wh"))
                .unwrap();
            fresh.write(|writer| writer.delete_deliveries("wh", PIECE)).unwrap();
            let status = Some(WebhookStatus::Active);
            let refused = change(&mut fresh, &WebhookPatch { status, ..WebhookPatch::default() });
            assert!(matches!(refused, Err(ChatError::Refused(Refusal::WebhookNotFound))));
            assert!(fresh.read(|reader| reader.webhooks()).unwrap().is_empty());

            resume(&Store::open(&fresh.url, 1, 100).unwrap()).await.unwrap();
            assert!(fresh.read(|reader| reader.webhooks_and_deleted()).unwrap().is_empty());
            assert_eq!(of_state(&mut fresh, None), 0, "{}", fresh.url);
        }
    }

    #[tokio::test]
    async fn what_waits_for_a_webhook_that_is_switched_off_is_given_up_after_a_stop() {
        for mut fresh in databases() {
            with_much_waiting(&mut fresh);
            let status = Some(WebhookStatus::Disabled);
            change(&mut fresh, &WebhookPatch { status, ..WebhookPatch::default() }).unwrap();
            fresh.write(|writer| writer.give_up_deliveries("wh", PIECE)).unwrap();
            assert_eq!(of_state(&mut fresh, Some(DeliveryState::Pending)), 1);

            resume(&Store::open(&fresh.url, 1, 100).unwrap()).await.unwrap();
            assert_eq!(of_state(&mut fresh, Some(DeliveryState::Pending)), 0, "{}", fresh.url);
        }
    }
}
