//! Who commits what, and when.

use std::time::Instant;

use super::*;
use crate::store::committer::AT_ONCE;
use crate::store::testing::databases;
use crate::store::{Cause, NewEvent};

/// A post that tells which thread writes it.
async fn post(store: &Store) -> String {
    let job = |_: &mut Writer<'_>| {
        Ok::<_, StoreError>(std::thread::current().name().unwrap_or_default().to_owned())
    };
    store.write_into(Some(1), job).await.unwrap()
}

#[tokio::test]
async fn a_post_that_finds_the_writer_at_rest_is_committed_where_it_is() {
    for fresh in databases() {
        let store = Store::open(&fresh.url, 1, 8).unwrap();
        let refused = |_: &mut Writer<'_>| Err::<(), _>(StoreError::Busy);
        assert!(matches!(store.write_into(Some(1), refused).await, Err(StoreError::Busy)));
        let until = Instant::now() + Duration::from_secs(10);
        // On MariaDB never: a server may take long to answer.
        while (post(&store).await == "store-write") == fresh.is_sqlite() {
            assert!(fresh.is_sqlite() && Instant::now() < until, "{}", fresh.url);
        }
        let other = |_: &mut Writer<'_>| {
            Ok::<_, StoreError>(std::thread::current().name() == Some("store-write"))
        };
        assert!(store.write(other).await.unwrap(), "{}: not a post", fresh.url);
    }
}

#[tokio::test]
async fn a_post_does_not_overtake_what_waits_already() {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    for fresh in databases() {
        let store = Store::open(&fresh.url, 1, 8).unwrap();
        let ended = Arc::new(AtomicU32::new(0));
        for before in 0..200 {
            let (first, second) = (Arc::clone(&ended), Arc::clone(&ended));
            let other = store.write(move |_| {
                first.store(before + 1, Relaxed);
                Ok::<_, StoreError>(())
            });
            let post =
                store.write_into(Some(1), move |_| Ok::<_, StoreError>(second.load(Relaxed)));
            let (other, seen) = tokio::join!(other, post);
            other.unwrap();
            assert_eq!(seen.unwrap(), before + 1, "{}", fresh.url);
        }
    }
}

/// A post that takes so long and, as all do, has an event.
async fn lasting(store: &Store, time: Duration) {
    let job = move |writer: &mut Writer<'_>| {
        let start = Instant::now();
        while start.elapsed() <= time {
            std::thread::yield_now();
        }
        writer.emit(NewEvent {
            name: "message.created",
            topics: &[],
            cause: Cause::default(),
            shown: None,
            request_id: "",
            at: chrono::DateTime::UNIX_EPOCH.naive_utc(),
        });
        Ok::<_, StoreError>(())
    };
    store.write_into(Some(1), job).await.unwrap();
}

#[tokio::test]
async fn after_a_slow_commit_a_post_is_left_to_the_writers_thread() {
    for fresh in databases() {
        let store = Store::open(&fresh.url, 1, 8).unwrap();
        lasting(&store, AT_ONCE).await;
        // However quick it is to write nothing.
        for _ in 0..3 {
            assert_eq!(post(&store).await, "store-write", "{}", fresh.url);
            tokio::time::sleep(AT_ONCE).await;
        }
    }
}

#[tokio::test]
async fn a_post_that_closely_follows_a_commit_is_left_to_the_writers_thread() {
    for fresh in databases() {
        let store = Store::open(&fresh.url, 1, 8).unwrap();
        let mut left = 0;
        for _ in 0..20 {
            lasting(&store, AT_ONCE / 5).await;
            left += u32::from(post(&store).await == "store-write");
        }
        // Not all: this thread itself may be held up between the two.
        assert!(left > 10, "{left} of 20, {}", fresh.url);
    }
}

#[tokio::test]
async fn a_post_waits_for_another_process_that_writes_without_holding_up_who_brought_it() {
    for mut fresh in databases().into_iter().filter(|it| it.is_sqlite()) {
        let store = Store::open(&fresh.url, 1, 8).unwrap();
        fresh.database.begin_writing().unwrap();
        let start = Instant::now();
        let mut post = Box::pin(post(&store));
        tokio::select! {
            biased;
            thread = &mut post => panic!("written by {thread}, beside another writer"),
            // SQLite's own patience is ten seconds.
            () = std::future::ready(()) => assert!(start.elapsed() < Duration::from_secs(5)),
        }
        fresh.database.rollback().unwrap();
        assert_eq!(post.await, "store-write");
    }
}

#[tokio::test]
async fn no_post_is_committed_at_once_while_the_log_cannot_be_emptied() {
    for mut fresh in databases().into_iter().filter(|it| it.is_sqlite()) {
        let store = Store::open(&fresh.url, 1, 8).unwrap();
        // A reader of the past, as a backup is for a long time.
        fresh.database.begin_reading().unwrap();
        fresh.read(|reader| reader.last_event()).unwrap();
        for _ in 0..200 {
            lasting(&store, Duration::ZERO).await;
        }
        // The checkpoint has come, after the answer to the commit before it, when the writer's thread takes another.
        store.write(|_| Ok::<_, StoreError>(())).await.unwrap();
        tokio::time::sleep(AT_ONCE).await;
        assert_eq!(post(&store).await, "store-write");

        fresh.database.commit().unwrap();
        for _ in 0..200 {
            lasting(&store, Duration::ZERO).await;
        }
        let until = Instant::now() + Duration::from_secs(10);
        while post(&store).await == "store-write" {
            assert!(Instant::now() < until);
        }
    }
}

#[tokio::test]
async fn a_post_that_panics_takes_nothing_with_it() {
    for fresh in databases() {
        let store = Store::open(&fresh.url, 1, 8).unwrap();
        let panics = |_: &mut Writer<'_>| -> Result<(), StoreError> { panic!("on purpose") };
        let failed = store.write_into(Some(1), panics).await;
        assert!(matches!(failed, Err(StoreError::Closed)), "{}", fresh.url);
        assert_eq!(post(&store).await, "store-write", "connects anew: {}", fresh.url);
    }
}

#[tokio::test]
async fn nothing_is_committed_after_the_end() {
    for fresh in databases() {
        let store = Store::open(&fresh.url, 1, 8).unwrap();
        assert!(store.close(Duration::from_secs(10)).await, "{}", fresh.url);
        let late = store.write_into(Some(1), |_| Ok::<_, StoreError>(())).await;
        assert!(matches!(late, Err(StoreError::Closed)), "{}", fresh.url);
    }
}
