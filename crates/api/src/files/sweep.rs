//! Removes the bytes of files that were given up: uploads that nobody sent, files of messages that were taken back. The rows say
//! which; each goes after its bytes, so that a crash in between loses nothing.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::TimeDelta;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use super::{Files, blocking};
use crate::store::{Store, StoreError};

/// How often it is looked for what is to go, and what could not be removed is tried again.
const EVERY: Duration = Duration::from_secs(60);
/// How long an upload may wait to be sent.
const UNSENT: TimeDelta = TimeDelta::hours(24);
/// How old a file is that an upload left behind when the daemon crashed.
const LEFT_BEHIND: Duration = Duration::from_secs(6 * 3600);
/// Files of one round.
const BATCH: i64 = 100;

/// Runs until it is told to stop.
pub async fn run(store: Store, files: Arc<Files>, stop: CancellationToken) {
    // No reason not to serve: messages go on, and everybody who uploads is told.
    tokio::select! {
        () = stop.cancelled() => return,
        tried = files.try_out() => if let Err(error) = tried {
            tracing::error!(%error, "the storage for files does not work: nothing can be attached; see `chaffer-api doctor`");
        }
    }
    let mut tick = interval(EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = files.removed.notified() => {}
            _ = tick.tick() => {
                let now = chaffer_shared::time::now().naive_utc();
                let given_up = store.write(move |writer| writer.remove_unsent(now - UNSENT, now));
                if let Err(error) = given_up.await {
                    tracing::warn!(%error, "cannot give up old uploads; trying again later");
                }
                remove_left_behind(&files).await;
            }
        }
        if let Err(error) = remove(&store, &files).await {
            tracing::warn!(%error, "cannot remove files; trying again later");
        }
    }
}

async fn remove(store: &Store, files: &Files) -> Result<(), StoreError> {
    loop {
        let batch = store.read(|reader| reader.removed_attachments(BATCH)).await?;
        let mut removed = Vec::new();
        for attachment in &batch {
            let keys = [Some(&attachment.file), attachment.thumbnail.as_ref()];
            let mut is_gone = true;
            for key in keys.into_iter().flatten() {
                if let Err(error) = files.storage.remove(key).await {
                    tracing::warn!(attachment = attachment.id, %error, "cannot remove a file");
                    is_gone = false;
                }
            }
            if is_gone {
                removed.push(attachment.id);
            }
        }
        if removed.is_empty() {
            return Ok(());
        }
        let forget = move |writer: &mut crate::store::Writer<'_>| {
            removed.iter().try_for_each(|id| writer.delete_attachment(*id))
        };
        store.write(forget).await?;
    }
}

async fn remove_left_behind(files: &Files) {
    let folder = files.uploads.clone();
    let done = blocking(move || {
        for entry in std::fs::read_dir(folder)?.flatten() {
            let age = entry.metadata()?.modified().map(|at| SystemTime::now().duration_since(at));
            if matches!(age, Ok(Ok(age)) if age > LEFT_BEHIND) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    });
    if let Err(error) = done.await {
        tracing::debug!(%error, "cannot look for uploads that were left behind");
    }
}
