//! Forgets what is kept for a time only, in small pieces and with rests, so that no write waits long behind it. How
//! long is said by `chat/retention.rs`, whose dry run tells what this would do.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::chat::retention::{self, MachineDays, TrialDays};
use crate::files::Files;
use crate::store::{Aged, Id, Store, StoreError, Timestamp, Writer};
use crate::webhooks::bulk;
use crate::{erasure, pace};

const EVERY: Duration = Duration::from_secs(600);
/// Rows that one commit forgets.
const BATCH: i64 = 1000;

/// Runs until it is told to stop.
pub async fn run(store: Store, files: Arc<Files>, machine: MachineDays, stop: CancellationToken) {
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let work = async {
            if let Err(error) = resume(&store).await {
                tracing::warn!(%error, "cannot go on with what was cut short; trying again later");
            }
            if let Err(error) = forget(&store, machine).await {
                tracing::warn!(%error, "cannot forget what is old; trying again later");
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = work => {}
        }
        // Of threads that are gone.
        files.sweep();
    }
}

/// Goes on with other long work that a stop, or the database, cut short.
async fn resume(store: &Store) -> Result<(), StoreError> {
    erasure::resume(store).await?;
    bulk::resume(store).await
}

async fn forget(store: &Store, machine: MachineDays) -> Result<(), StoreError> {
    let now = chaffer_shared::time::now().naive_utc();
    let terms =
        store.read(move |reader| retention::terms(reader, machine, TrialDays::default())).await?;
    for term in terms {
        let Some(before) = term.before(now) else { continue };
        let forgotten = match term.aged {
            Aged::Threads => forget_threads(store, before, now).await?,
            aged => forget_rows(store, aged, before).await?,
        };
        if forgotten > 0 {
            tracing::info!(kind = ?term.aged, forgotten, "forgot what is old");
        }
    }
    Ok(())
}

async fn forget_threads(
    store: &Store,
    before: Timestamp,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let (mut forgotten, mut after): (usize, Id) = (0, 0);
    loop {
        let page = store.read(move |reader| reader.idle_threads(before, after, BATCH)).await?;
        let Some(last) = page.last() else { return Ok(forgotten) };
        after = *last;
        for thread in page {
            let piece = move |writer: &mut Writer<'_>| {
                retention::forget_thread(writer, thread, before, now)
            };
            while !pace::write(store, piece).await? {}
            forgotten += 1;
        }
    }
}

async fn forget_rows(store: &Store, aged: Aged, before: Timestamp) -> Result<usize, StoreError> {
    pace::in_pieces(store, move |writer| match aged {
        Aged::AuditLog => writer.prune_audit_log(before, BATCH),
        Aged::Events => writer.prune_events(before, BATCH),
        Aged::WebhookDeliveries => writer.prune_deliveries(before, BATCH),
        Aged::Mails => writer.prune_mails(before, BATCH),
        Aged::FirstAnswers => writer.prune_first_answers(before, BATCH),
        Aged::Threads => Ok(0),
    })
    .await
}
