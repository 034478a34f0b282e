//! Writes events by topic, in batches and behind the posts: by that the feed finds what somebody missed. The latest events
//! each feed looks through by itself, so nothing waits for this task; it only keeps that part short.

use tokio_util::sync::CancellationToken;

use crate::pace;
use crate::store::{Store, StoreError};

/// So many new events are worth a commit: with fewer, the same pages would be written again and again.
const WORTH_IT: i64 = 256;
/// The most events of one commit.
const BATCH: i64 = 512;

/// Runs until it is told to stop.
pub(crate) async fn run(store: Store, stop: CancellationToken) {
    pace::follow(store, stop, "write events by topic", catch_up).await;
}

async fn catch_up(store: Store, stop: CancellationToken) -> Result<(), StoreError> {
    while !stop.is_cancelled() && store.read(|reader| reader.has_to_index_events(WORTH_IT)).await? {
        pace::write(&store, |writer| writer.index_events(BATCH)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::chat::events;
    use crate::store::testing::{Fresh, databases};
    use crate::testing::{about_product, acting, say, shop, start};

    /// The numbers of what somebody hears after an event, page by page.
    fn heard(fresh: &mut Fresh, user: &str, mut after: i64, limit: i64) -> Vec<i64> {
        let mut ids = Vec::new();
        loop {
            let page = fresh
                .read(|reader| events::feed(reader, &acting(user), Some(after), limit))
                .unwrap();
            assert!(page.events.len() <= usize::try_from(limit).unwrap());
            ids.extend(page.events.iter().map(|event| event.id));
            if page.events.is_empty() {
                return ids;
            }
            after = page.next_cursor;
        }
    }

    #[test]
    fn a_feed_tells_the_same_whatever_of_it_has_been_written_by_topic() {
        for mut fresh in databases() {
            shop(&mut fresh, 2);
            let mine = start(&mut fresh, &acting("c"), &about_product("p", "v")).unwrap();
            let begin = fresh.read(|reader| reader.last_event()).unwrap();
            // A stranger's messages lie between.
            let other = start(&mut fresh, &acting("d"), &about_product("p", "v")).unwrap();
            for nth in 0..300 {
                let (who, thread) = if nth % 3 == 0 { ("d", other) } else { ("c", mine) };
                say(&mut fresh, who, thread, &format!("number {nth}"));
            }
            let before = heard(&mut fresh, "c", begin, 7);
            assert_eq!(before.len(), 200);
            let mut position = fresh.read(|reader| reader.feed_position()).unwrap();
            assert_eq!(position, 0);
            let last = fresh.read(|reader| reader.last_event()).unwrap();
            while position < last {
                fresh.write(|writer| writer.index_events(40)).unwrap();
                let next = fresh.read(|reader| reader.feed_position()).unwrap();
                assert!(position < next && next <= position + 40);
                position = next;
                for limit in [7, 500] {
                    assert_eq!(heard(&mut fresh, "c", begin, limit), before, "{}", fresh.url);
                }
            }
            assert!(!fresh.read(|reader| reader.has_to_index_events(1)).unwrap());
            fresh.write(|writer| writer.index_events(40)).unwrap();
            // The newest are looked through again; the vendor hears of both.
            say(&mut fresh, "c", mine, "one more");
            let new = fresh.read(|reader| reader.last_event()).unwrap() - last;
            assert!(fresh.read(|reader| reader.has_to_index_events(new)).unwrap());
            assert!(!fresh.read(|reader| reader.has_to_index_events(new + 1)).unwrap());
            assert_eq!(heard(&mut fresh, "c", begin, 500).len(), 201);
            assert_eq!(heard(&mut fresh, "d", begin, 500).len(), 101);
            assert!(heard(&mut fresh, "a0", begin, 500).len() >= 301, "{}", fresh.url);
        }
    }
}
