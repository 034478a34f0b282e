//! Erases a person: who it was, at once; then, in pieces between which others write, what the person had and wrote, which may
//! be very much. Each piece can be made again, so what a stop cut short is made up for at the next start, or by the next call.

use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;

use crate::chat::{ChatError, Context, Credentials, erasure};
use crate::pace;
use crate::store::{Id, Store, StoreError};

/// Threads that one commit ends, each with an entry and events.
const THREADS: usize = 20;
/// Messages that one commit goes through.
const MESSAGES: usize = 256;
/// Read states that one commit forgets.
const READ_STATES: i64 = 1000;
/// Who was erased so long before a start is looked at again.
const AGAIN: TimeDelta = TimeDelta::days(1);

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

/// Makes up for what was cut short when the process ended.
pub(crate) async fn resume(store: Store, stop: CancellationToken) {
    let now = chaffer_shared::time::now();
    let context = Context { now, request_id: "erasure".into() };
    let since = (now - AGAIN).naive_utc();
    let all = async {
        for id in store.read(move |reader| reader.erased_since(since)).await? {
            finish(&store, &context, &id).await?;
        }
        Ok::<_, ChatError>(())
    };
    tokio::select! {
        () = stop.cancelled() => {}
        done = all => if let Err(error) = done {
            tracing::warn!(%error, "cannot end the erasure of people; trying again at the next start");
        }
    }
}

async fn finish(store: &Store, context: &Context, id: &str) -> Result<(), ChatError> {
    let user = id.to_owned();
    let threads = store.read(move |reader| reader.threads_joined(&user)).await?;
    for some in threads.chunks(THREADS) {
        let (context, user, some) = (context.clone(), id.to_owned(), some.to_vec());
        pace::write(store, move |writer| erasure::leave(writer, &context, &user, &some)).await?;
    }
    let user = id.to_owned();
    let written = store.read(move |reader| reader.messages_by(&user)).await?;
    for some in written.chunks(MESSAGES) {
        let some: Vec<Id> = some.to_vec();
        pace::write(store, move |writer| writer.erase_written(&some)).await?;
    }
    let user = id.to_owned();
    pace::in_pieces(store, move |writer| writer.erase_read_states(&user, READ_STATES)).await?;
    let user = id.to_owned();
    let named = store.read(move |reader| erasure::answers_that_name(reader, &user)).await?;
    for key in named {
        let user = id.to_owned();
        pace::write(store, move |writer| erasure::unname_answer(writer, &user, &key)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ThreadStatus;
    use crate::store::testing::databases;
    use crate::testing::{about_product, acting, context, say, shop, start};

    #[tokio::test]
    async fn an_erasure_that_was_cut_short_is_ended_at_the_next_start() {
        for mut fresh in databases() {
            shop(&mut fresh, 1);
            let thread = start(&mut fresh, &acting("c"), &about_product("p1", "v")).unwrap();
            // More than one piece has.
            for number in 0..MESSAGES + 10 {
                say(&mut fresh, "c", thread, &format!("text {number}"));
            }
            let store = Store::open(&fresh.url, 1, 100).unwrap();
            let begin = |writer: &mut crate::store::Writer<'_>| {
                erasure::begin(writer, &acting("staff"), &context(), "c")
            };
            store.write(begin).await.unwrap();
            let told = |fresh: &mut crate::store::testing::Fresh| {
                let messages = fresh.read(|reader| reader.messages_after(thread, 0, 1000)).unwrap();
                let status = fresh.read(|reader| reader.threads(&[thread])).unwrap()[0].status;
                (messages.iter().filter(|it| it.request_hash.is_some()).count(), status)
            };
            assert_eq!(told(&mut fresh), (MESSAGES + 10, ThreadStatus::Open));
            for _ in 0..2 {
                resume(store.clone(), CancellationToken::new()).await;
                assert_eq!(told(&mut fresh), (0, ThreadStatus::Closed));
            }
        }
    }
}
