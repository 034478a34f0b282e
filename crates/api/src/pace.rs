//! Long work on the writer, in pieces with rests between them: other writes wait for one piece at most, and have at least half
//! of the writer's time.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::store::{JobError, Store, Writer};

/// The longest rest.
const LONGEST: Duration = Duration::from_secs(1);

/// Writes, and rests for as long as that took.
///
/// # Errors
/// The job's own.
pub(crate) async fn write<T, E, F>(store: &Store, job: F) -> Result<T, E>
where
    T: Send + 'static,
    E: JobError,
    F: FnMut(&mut Writer<'_>) -> Result<T, E> + Send + 'static,
{
    let begun = Instant::now();
    let answer = store.write(job).await;
    sleep(begun.elapsed().min(LONGEST)).await;
    answer
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
