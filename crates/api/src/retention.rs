//! Forgets what is kept for a time only: old events, first answers to calls with an `Idempotency-Key`, and what became of
//! mails.

use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::store::{Store, StoreError};

const EVERY: Duration = Duration::from_secs(600);
/// Rows that one commit forgets, so that no write waits long behind it.
const BATCH: i64 = 1000;
/// A century: longer is for ever.
const MAX_DAYS: u32 = 36_500;
/// How long a first answer is given again.
const ANSWERS: TimeDelta = TimeDelta::hours(24);

/// Runs until it is told to stop.
pub async fn run(store: Store, event_days: u32, mail_days: u32, stop: CancellationToken) {
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        if let Err(error) = forget(&store, event_days, mail_days).await {
            tracing::warn!(%error, "cannot forget what is old; trying again later");
        }
    }
}

async fn forget(store: &Store, event_days: u32, mail_days: u32) -> Result<(), StoreError> {
    let now = chaffer_shared::time::now().naive_utc();
    let events_before = now - TimeDelta::days(i64::from(event_days.clamp(1, MAX_DAYS)));
    store.write(move |writer| writer.prune_first_answers(now - ANSWERS)).await?;
    while store.write(move |writer| writer.prune_deliveries(events_before, BATCH)).await? > 0 {}
    let mails_before = now - TimeDelta::days(i64::from(mail_days.clamp(1, MAX_DAYS)));
    while store.write(move |writer| writer.prune_mails(mails_before, BATCH)).await? > 0 {}
    let mut forgotten = 0;
    loop {
        let batch = store.write(move |writer| writer.prune_events(events_before, BATCH)).await?;
        if batch == 0 {
            break;
        }
        forgotten += batch;
    }
    if forgotten > 0 {
        tracing::info!(events = forgotten, "forgot old events");
    }
    Ok(())
}
