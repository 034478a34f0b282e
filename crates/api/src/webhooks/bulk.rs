//! What concerns all deliveries of a webhook, a week's worth of events: piece by piece.

use chrono::{DateTime, Utc};

use super::PIECE;
use crate::chat::webhooks::{self, Replayed};
use crate::chat::{ChatError, Context, Credentials};
use crate::pace;
use crate::store::{Id, Store, StoreError};

/// Gives up all that still waits for a webhook that was switched off.
///
/// # Errors
/// The store's own.
pub(crate) async fn give_up(store: &Store, id: String) -> Result<(), StoreError> {
    pace::in_pieces(store, move |writer| writer.give_up_deliveries(&id, PIECE)).await?;
    Ok(())
}

/// Forgets a webhook that was switched off, and its deliveries.
///
/// # Errors
/// The store's own.
pub(crate) async fn delete(store: &Store, id: String) -> Result<(), StoreError> {
    let webhook = id.clone();
    pace::in_pieces(store, move |writer| writer.delete_deliveries(&webhook, PIECE)).await?;
    store.write(move |writer| writer.delete_webhook(&id)).await
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
