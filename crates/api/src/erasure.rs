//! Erases a person: who it was, at once; then, in pieces between which others write, what the person had and wrote, which may
//! be very much. Each piece can be made again, and the person is marked until the last one: what was cut short is gone on with
//! at the next start, and every now and then.

use crate::chat::{ChatError, Context, Credentials, erasure};
use crate::pace;
use crate::store::{Id, Store, StoreError};

/// Threads that one commit ends, each with an entry and events.
const THREADS: usize = 20;
/// Messages that one commit goes through.
const MESSAGES: usize = 256;
/// Read states that one commit forgets.
const READ_STATES: i64 = 1000;

/// Erases a person. Goes on when the caller does not wait for the end.
///
/// # Errors
/// Why the caller may not, or that there is no such user.
pub(crate) async fn erase(
    store: &Store,
    credentials: Credentials,
    context: Context,
    id: String,
) -> Result<(), ChatError> {
    let (at, user) = (context.clone(), id.clone());
    store.write(move |writer| erasure::begin(writer, &credentials, &at, &user)).await?;
    let store = store.clone();
    let rest = tokio::spawn(async move { finish(&store, &context, &id).await });
    // Ended by the end of the process, which makes up for it.
    rest.await.unwrap_or(Err(StoreError::Closed.into()))
}

/// Goes on with what was cut short, each by itself.
///
/// # Errors
/// When it cannot be told whose erasure has not ended.
pub(crate) async fn resume(store: &Store) -> Result<(), StoreError> {
    let context = Context { now: chaffer_shared::time::now(), request_id: "erasure".into() };
    for id in pace::read(store, |reader| reader.being_erased()).await? {
        if let Err(error) = finish(store, &context, &id).await {
            tracing::warn!(user = id, %error, "cannot end an erasure; trying again later");
        }
    }
    Ok(())
}

async fn finish(store: &Store, context: &Context, id: &str) -> Result<(), ChatError> {
    let user = id.to_owned();
    let threads = pace::read(store, move |reader| reader.threads_joined(&user)).await?;
    for some in threads.chunks(THREADS) {
        let (context, user, threads) = (context.clone(), id.to_owned(), some.to_vec());
        pace::write(store, move |writer| erasure::leave(writer, &context, &user, &threads)).await?;
        let (user, threads) = (id.to_owned(), some.to_vec());
        let written = pace::read(store, move |reader| reader.written_in(&threads, &user)).await?;
        erase_written(store, &written).await?;
    }
    let user = id.to_owned();
    let written = pace::read(store, move |reader| reader.written_for_vendors(&user)).await?;
    let written: Vec<Id> = written.into_iter().map(|(_, message)| message).collect();
    erase_written(store, &written).await?;
    let user = id.to_owned();
    pace::in_pieces(store, move |writer| writer.erase_read_states(&user, READ_STATES)).await?;
    let user = id.to_owned();
    let named = pace::read(store, move |reader| erasure::answers_that_name(reader, &user)).await?;
    for key in named {
        let user = id.to_owned();
        pace::write(store, move |writer| erasure::unname_answer(writer, &user, &key)).await?;
    }
    let user = id.to_owned();
    pace::write(store, move |writer| writer.end_erasure(&user)).await?;
    Ok(())
}

async fn erase_written(store: &Store, written: &[Id]) -> Result<(), StoreError> {
    for some in written.chunks(MESSAGES) {
        let some = some.to_vec();
        pace::write(store, move |writer| writer.erase_written(&some)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::chat::messages::MessageDraft;
    use crate::chat::screening::WordList;
    use crate::chat::{export, messages, users};
    use crate::store::testing::{Fresh, databases};
    use crate::store::{Role, ThreadStatus, Writer};
    use crate::testing::{about_product, acting, context, draft, person, say, shop, start};

    #[tokio::test]
    async fn an_erasure_that_was_cut_short_is_ended_however_long_ago_it_was() {
        for mut fresh in databases() {
            shop(&mut fresh, 1);
            let thread = start(&mut fresh, &acting("c"), &about_product("p1", "v")).unwrap();
            // More than one piece has.
            for number in 0..MESSAGES + 10 {
                say(&mut fresh, "c", thread, &format!("text {number}"));
            }
            let store = Store::open(&fresh.url, 1, 100).unwrap();
            let begin = |writer: &mut Writer<'_>| {
                let long_ago = context().now - TimeDelta::days(3);
                let context = Context { now: long_ago, ..context() };
                erasure::begin(writer, &acting("staff"), &context, "c")
            };
            store.write(begin).await.unwrap();
            let told = |fresh: &mut Fresh| {
                let messages = fresh.read(|reader| reader.messages_after(thread, 0, 1000)).unwrap();
                let status = fresh.read(|reader| reader.threads(&[thread])).unwrap()[0].status;
                let left = fresh.read(|reader| reader.being_erased()).unwrap().len();
                (messages.iter().filter(|it| it.request_hash.is_some()).count(), status, left)
            };
            assert_eq!(told(&mut fresh), (MESSAGES + 10, ThreadStatus::Open, 1));
            for _ in 0..2 {
                resume(&store).await.unwrap();
                assert_eq!(told(&mut fresh), (0, ThreadStatus::Closed, 0));
            }
        }
    }

    #[tokio::test]
    async fn what_was_written_for_a_vendor_is_found_when_its_author_has_left_the_vendor() {
        for mut fresh in databases() {
            shop(&mut fresh, 1);
            let thread = start(&mut fresh, &acting("c"), &about_product("p1", "v")).unwrap();
            say(&mut fresh, "a0", thread, "with an id of its own");
            fresh
                .write(|writer| {
                    let without = MessageDraft { client_id: None, ..draft("without one") };
                    let list = WordList::empty();
                    let (caller, at) = (acting("a0"), context());
                    messages::post(writer, &caller, &at, &list, None, thread, &without)?;
                    users::save(writer, &at, "a0", &person(Role::Customer, None))
                })
                .unwrap();
            let user = fresh.read(|reader| reader.user("a0")).unwrap().unwrap();
            let threads = fresh.read(|reader| export::threads(reader, &user)).unwrap();
            assert_eq!(threads, [thread]);
            let written = fresh.read(|reader| reader.written_for_vendors("a0")).unwrap();
            assert_eq!(written.len(), 2, "{}", fresh.url);

            let store = Store::open(&fresh.url, 1, 100).unwrap();
            erase(&store, acting("staff"), context(), "a0".into()).await.unwrap();
            let messages = fresh.read(|reader| reader.messages_after(thread, 0, 10)).unwrap();
            assert!(messages.iter().all(|it| it.request_hash.is_none()), "{messages:?}");
        }
    }
}
