//! Keeps the index up to date, in batches and behind the posts. What is newer than the index is read by each search itself,
//! so nothing waits for this task; it only keeps that part short.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::index::{message_tokens, participant_token, subject_token};
use crate::store::{Id, Message, Participant, Reader, SearchBatch, Store, StoreError, Thread};

/// So many new messages are worth a commit: with fewer, the same few rows would be written again and again.
pub(crate) const WORTH_IT: usize = 256;
/// The most messages of one commit, so that no post waits long behind it.
const BATCH: i64 = 512;
/// How long new messages are gathered.
const GATHER: Duration = Duration::from_millis(500);
/// How often it looks without having heard of anything: another node may have stopped.
const RARELY: Duration = Duration::from_secs(60);
/// The longest pause between two commits while it catches up. It lasts as long as the one before it took, so that half of the
/// writer's time is left to others.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Runs until it is told to stop.
pub(crate) async fn run(store: Store, stop: CancellationToken) {
    loop {
        if let Err(error) = catch_up(&store, &stop).await {
            tracing::warn!(%error, "cannot index messages for the search; trying again");
        }
        // Listens only while it waits: what a listener has not taken is kept in memory. What is committed between the
        // look and this waits for the next commit; until then a search reads it by itself.
        let mut commits = store.subscribe();
        tokio::select! {
            () = stop.cancelled() => return,
            _ = commits.recv() => {}
            () = sleep(RARELY) => {}
        }
        drop(commits);
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(GATHER) => {}
        }
    }
}

async fn catch_up(store: &Store, stop: &CancellationToken) -> Result<(), StoreError> {
    while !stop.is_cancelled() {
        let Some(batch) = store.read(|reader| gather(reader, WORTH_IT)).await? else { break };
        let begun = Instant::now();
        store.write(move |writer| writer.add_to_search(&batch)).await?;
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(begun.elapsed().min(LONGEST_PAUSE)) => {}
        }
    }
    Ok(())
}

/// The next messages that are not in the index, if there are so many of them.
pub(crate) fn gather(
    reader: &mut Reader<'_>,
    worth_it: usize,
) -> Result<Option<SearchBatch>, StoreError> {
    let position = reader.search_position()?;
    let messages = reader.messages_to_index(position, BATCH)?;
    let Some(last) = messages.last().map(|it| it.id).filter(|_| messages.len() >= worth_it) else {
        return Ok(None);
    };
    let mut ids: Vec<Id> = messages.iter().map(|message| message.thread_id).collect();
    ids.sort_unstable();
    ids.dedup();
    let threads = reader.threads(&ids)?;
    let participants = reader.participants(&ids)?;
    let scopes = scopes(&threads, &participants);
    let mut tokens: BTreeMap<String, Vec<Id>> = BTreeMap::new();
    for Message { id, thread_id, text, deleted_at, .. } in &messages {
        let text = if deleted_at.is_some() { "" } else { text };
        let scopes = scopes.get(thread_id).into_iter().flatten().cloned();
        for token in message_tokens(text).into_iter().chain(scopes) {
            tokens.entry(token).or_default().push(*id);
        }
    }
    Ok(Some(SearchBatch { after: position, up_to: last, tokens }))
}

/// The tokens of who may see a thread and of what it is about. Staff see threads for what they are, not for having
/// joined.
fn scopes(threads: &[Thread], participants: &[Participant]) -> HashMap<Id, Vec<String>> {
    let mut scopes: HashMap<Id, Vec<String>> = HashMap::new();
    for thread in threads {
        scopes.entry(thread.id).or_default().push(subject_token(thread.subject_type));
    }
    for it in participants {
        let token = participant_token(it.kind, &it.participant_id);
        scopes.entry(it.thread_id).or_default().push(token);
    }
    scopes
}
