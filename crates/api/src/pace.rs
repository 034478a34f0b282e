//! Long work on the writer, in pieces with rests between them: other writes wait for one piece at most, and have at least half
//! of the writer's time. Who is in no hurry gives way: where too much is waiting, a piece is made later. And work that follows
//! the commits, in batches and behind them.

use std::time::{Duration, Instant};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::store::{JobError, Reader, Store, StoreError, Writer};

/// The longest rest.
const LONGEST: Duration = Duration::from_secs(1);
/// How long commits are gathered.
const GATHER: Duration = Duration::from_millis(500);
/// How often those who follow look without having heard of any: another node may have stopped.
const RARELY: Duration = Duration::from_secs(60);

/// Reads.
///
/// # Errors
/// The job's own.
pub(crate) async fn read<T, E, F>(store: &Store, job: F) -> Result<T, E>
where
    T: Send + 'static,
    E: JobError,
    F: FnMut(&mut Reader<'_>) -> Result<T, E> + Clone + Send + 'static,
{
    loop {
        let answer = store.read(job.clone()).await;
        if !is_busy(&answer) {
            return answer;
        }
        sleep(LONGEST).await;
    }
}

/// Writes, and rests for as long as that took.
///
/// # Errors
/// The job's own.
pub(crate) async fn write<T, E, F>(store: &Store, job: F) -> Result<T, E>
where
    T: Send + 'static,
    E: JobError,
    F: FnMut(&mut Writer<'_>) -> Result<T, E> + Clone + Send + 'static,
{
    loop {
        let begun = Instant::now();
        let answer = store.write(job.clone()).await;
        if !is_busy(&answer) {
            sleep(begun.elapsed().min(LONGEST)).await;
            return answer;
        }
        sleep(LONGEST).await;
    }
}

/// Has somebody catch up with what was committed, some time after it was, until told to stop. A failure is logged as that of
/// `task`.
pub(crate) async fn follow<F: Future<Output = Result<(), StoreError>>>(
    store: Store,
    stop: CancellationToken,
    task: &str,
    catch_up: impl Fn(Store, CancellationToken) -> F,
) {
    loop {
        if let Err(error) = catch_up(store.clone(), stop.clone()).await {
            tracing::warn!(%error, "cannot {task}; trying again");
        }
        // Listens only while it waits: what a listener has not taken is kept in memory. What is committed between the
        // look and this waits for the next commit; until then its readers read it as it is.
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

fn is_busy<T, E: JobError>(answer: &Result<T, E>) -> bool {
    matches!(answer.as_ref().err().and_then(E::store_error), Some(StoreError::Busy))
}

/// Writes piece after piece, until one finds nothing to do; each tells how many rows it changed. Tells how many it were.
///
/// # Errors
/// Those of the first piece that fails.
pub(crate) async fn in_pieces<E, F>(store: &Store, piece: F) -> Result<usize, E>
where
    E: JobError,
    F: FnMut(&mut Writer<'_>) -> Result<usize, E> + Clone + Send + 'static,
{
    let mut changed = 0;
    loop {
        match write(store, piece.clone()).await? {
            0 => return Ok(changed),
            some => changed += some,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::databases;

    #[tokio::test]
    async fn a_piece_for_which_there_is_no_room_is_made_later() {
        for fresh in databases() {
            let store = Store::open(&fresh.url, 1, 1).unwrap();
            let (begun, mut has_begun) = tokio::sync::mpsc::unbounded_channel();
            let (release, held) = std::sync::mpsc::channel::<()>();
            // One write that lasts, and one that waits: there is no room for a third.
            let lasting = move |_: &mut Writer<'_>| {
                begun.send(()).unwrap();
                held.recv().unwrap();
                Ok::<_, StoreError>(())
            };
            let lasting = tokio::spawn({
                let store = store.clone();
                async move { store.write(lasting).await }
            });
            has_begun.recv().await.unwrap();
            let mut waiting = Box::pin(store.write(|_| Ok::<_, StoreError>(())));
            let mut late = Box::pin(write(&store, |_| Ok::<_, StoreError>(7)));
            tokio::select! {
                biased;
                done = &mut waiting => panic!("{done:?}"),
                done = &mut late => panic!("{done:?}"),
                () = std::future::ready(()) => {}
            }
            release.send(()).unwrap();
            assert_eq!(late.await.unwrap(), 7, "{}", fresh.url);
            waiting.await.unwrap();
            lasting.await.unwrap().unwrap();
        }
    }
}
