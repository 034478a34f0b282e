//! Removes the bytes of files that were given up: uploads that nobody sent, files of messages that were taken back. The rows say
//! which; each goes after its bytes, so that a crash in between loses nothing.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, TimeDelta};
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use super::{Files, blocking};
use crate::store::{Id, Store, StoreError, Timestamp};

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
    let mut last = start();
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
        if let Err(error) = remove(&store, &files, &mut last).await {
            tracing::warn!(%error, "cannot remove files; trying again later");
        }
    }
}

/// Before all that was given up.
fn start() -> (Timestamp, Id) {
    (DateTime::UNIX_EPOCH.naive_utc(), 0)
}

/// Goes on behind `last`, to where nothing can be removed; from there the next round does, so that what cannot keeps nothing
/// else from going. Behind the end it begins anew, as long as the storage takes anything away.
async fn remove(
    store: &Store,
    files: &Files,
    last: &mut (Timestamp, Id),
) -> Result<(), StoreError> {
    let mut worked = false;
    loop {
        let behind = *last;
        let batch = store.read(move |reader| reader.removed_attachments(behind, BATCH)).await?;
        let end = batch.last().and_then(|it| Some((it.removed_at?, it.id)));
        *last = end.unwrap_or(start());
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
            if end.is_none() && std::mem::take(&mut worked) {
                continue;
            }
            return Ok(());
        }
        worked = true;
        let forget = move |writer: &mut crate::store::Writer<'_>| {
            removed.iter().try_for_each(|id| writer.delete_attachment(*id))
        };
        store.write(forget).await?;
    }
}

/// Removes all that was given up.
#[cfg(test)]
pub(crate) async fn remove_all(store: &Store, files: &Files) -> Result<(), StoreError> {
    remove(store, files, &mut start()).await
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::databases;
    use crate::testing::{context, file_of, shop};

    #[tokio::test]
    async fn what_cannot_be_removed_keeps_nothing_else_from_going() {
        for mut fresh in databases() {
            shop(&mut fresh, 0);
            let folder = tempfile::tempdir().unwrap();
            let config = chaffer_shared::config::Files {
                folder: folder.path().display().to_string(),
                ..chaffer_shared::config::Files::default()
            };
            let files = Files::open(&config).unwrap();
            let at = folder.path().join("ab").join("abc");
            std::fs::create_dir_all(at.parent().unwrap()).unwrap();
            std::fs::write(&at, "abc").unwrap();
            fresh
                .write(|writer| {
                    for number in 0..=BATCH {
                        // No key of ours, so it is none that can be removed.
                        let key = if number < BATCH { "../abc" } else { "abc" };
                        writer.insert_attachment(file_of("c", key))?;
                    }
                    writer.remove_attachments_by("c", context().timestamp())
                })
                .unwrap();
            let store = Store::open(&fresh.url, 1, 100).unwrap();
            let mut last = start();
            for _ in 0..2 {
                remove(&store, &files, &mut last).await.unwrap();
            }
            assert!(!at.exists(), "{}", fresh.url);
            let left = fresh.read(|reader| reader.removed_attachments(start(), 1000)).unwrap();
            assert_eq!(left.len(), usize::try_from(BATCH).unwrap());
            // They are tried again from the first one on.
            remove(&store, &files, &mut last).await.unwrap();
            assert_eq!(last, start());
        }
    }
}
