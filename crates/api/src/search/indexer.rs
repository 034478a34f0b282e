//! Keeps the index up to date, in batches and behind the posts. What is newer than the index is read by each search itself,
//! so nothing waits for this task; it only keeps that part short. What is changed, it follows; until then each search reads
//! that, too.

use std::collections::{BTreeSet, HashMap};

use tokio_util::sync::CancellationToken;

use super::index::{message_tokens, participant_token, subject_token};
use crate::pace;
use crate::store::{
    Id, Message, Participant, Reader, SearchBatch, SearchChange, Store, StoreError, Thread, Tokens,
    Writer,
};

/// So many new messages are worth a commit: with fewer, the same few rows would be written again and again.
pub(crate) const WORTH_IT: i64 = 256;
/// The most messages of one commit.
const BATCH: i64 = 512;
/// No more messages join a commit that changes so many tokens, each of which is a row: no post waits long behind it.
pub(crate) const TOKENS: usize = 4000;
/// The most changed messages of one commit.
const CHANGES: i64 = 128;

/// Runs until it is told to stop.
pub(crate) async fn run(store: Store, stop: CancellationToken) {
    pace::follow(store, stop, "index messages for the search", catch_up).await;
}

async fn catch_up(store: Store, stop: CancellationToken) -> Result<(), StoreError> {
    while !stop.is_cancelled() {
        if !store.read(|reader| reader.search_changes(1)).await?.is_empty() {
            pace::write(&store, follow).await?;
        } else if let Some(batch) = store.read(|reader| gather(reader, WORTH_IT)).await? {
            pace::write(&store, move |writer| writer.add_to_search(&batch)).await?;
        } else {
            break;
        }
    }
    Ok(())
}

/// Follows the next messages that were changed or taken back.
pub(crate) fn follow(writer: &mut Writer<'_>) -> Result<(), StoreError> {
    let changes = writer.search_changes(CHANGES)?;
    let ids: Vec<Id> = changes.iter().map(|change| change.message_id).collect();
    let now: HashMap<Id, Message> =
        writer.messages(&ids)?.into_iter().map(|message| (message.id, message)).collect();
    let (mut gone, mut come) = (Tokens::new(), Tokens::new());
    let mut followed = Vec::new();
    for SearchChange { message_id, indexed } in changes {
        if gone.len() + come.len() >= TOKENS {
            break;
        }
        let before = message_tokens(&indexed);
        let after = now.get(&message_id).map(tokens).unwrap_or_default();
        for token in before.difference(&after) {
            gone.entry(token.clone()).or_default().push(message_id);
        }
        for token in after.difference(&before) {
            come.entry(token.clone()).or_default().push(message_id);
        }
        followed.push(message_id);
    }
    writer.remove_from_search(&gone)?;
    writer.insert_in_search(&come)?;
    writer.delete_search_changes(&followed)
}

/// Takes messages that are about to be forgotten, the oldest first, from the index: as many of them as one commit may, and at
/// least one; tells how many.
pub(crate) fn forget(writer: &mut Writer<'_>, messages: &[Message]) -> Result<usize, StoreError> {
    let ids: Vec<Id> = messages.iter().map(|message| message.id).collect();
    let position = writer.search_position()?;
    let mut changed: HashMap<Id, String> =
        writer.search_changes_of(&ids)?.into_iter().map(|it| (it.message_id, it.indexed)).collect();
    let mut threads: Vec<Id> = messages.iter().map(|message| message.thread_id).collect();
    threads.sort_unstable();
    threads.dedup();
    let participants = writer.everybody_in(&threads)?;
    let scopes = scopes(&writer.threads(&threads)?, &participants);
    let mut gone = Tokens::new();
    let mut count = 0;
    for message in messages {
        if gone.len() >= TOKENS {
            break;
        }
        count += 1;
        let indexed = match changed.remove(&message.id) {
            Some(text) => message_tokens(&text),
            None if message.id <= position => tokens(message),
            None => continue,
        };
        for token in indexed.iter().chain(scopes.get(&message.thread_id).into_iter().flatten()) {
            gone.entry(token.clone()).or_default().push(message.id);
        }
    }
    writer.remove_from_search(&gone)?;
    writer.delete_search_changes(ids.get(..count).unwrap_or_default())?;
    Ok(count)
}

/// By which tokens a message is found: what was taken back, by none.
pub(crate) fn tokens(message: &Message) -> BTreeSet<String> {
    if message.deleted_at.is_some() { BTreeSet::new() } else { message_tokens(&message.text) }
}

/// The next messages that are not in the index, if there are so many of them.
pub(crate) fn gather(
    reader: &mut Reader<'_>,
    worth_it: i64,
) -> Result<Option<SearchBatch>, StoreError> {
    let position = reader.search_position()?;
    // Asked twice a second while people write: the rows are not read before they are needed.
    if !reader.has_to_index(position, worth_it)? {
        return Ok(None);
    }
    let mut messages = reader.messages_to_index(position, BATCH)?;
    let mut found = Tokens::new();
    let mut count = 0;
    for message in &messages {
        if found.len() >= TOKENS {
            break;
        }
        for token in tokens(message) {
            found.entry(token).or_default().push(message.id);
        }
        count += 1;
    }
    messages.truncate(count);
    let Some(last) = messages.last().map(|it| it.id) else { return Ok(None) };
    let mut ids: Vec<Id> = messages.iter().map(|message| message.thread_id).collect();
    ids.sort_unstable();
    ids.dedup();
    let threads = reader.threads(&ids)?;
    let participants = reader.participants(&ids)?;
    let scopes = scopes(&threads, &participants);
    for Message { id, thread_id, .. } in &messages {
        for token in scopes.get(thread_id).into_iter().flatten() {
            found.entry(token.clone()).or_default().push(*id);
        }
    }
    Ok(Some(SearchBatch { after: position, up_to: last, messages, tokens: found }))
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
