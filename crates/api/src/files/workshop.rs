//! Where pictures are worked on: so many at once, so many pixels in all, at a low priority, and nobody waits there for long.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use super::{FileError, MEGAPIXELS};
use crate::chat::Refusal;

/// How long an upload waits for its turn before it is told to come back.
const PATIENCE: Duration = Duration::from_secs(20);
/// How much the kernel puts other threads before these (setpriority(2)): calls do not wait behind pictures.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// Pictures that are worked on, and those that wait for it.
#[derive(Debug)]
pub(super) struct Workshop {
    /// Half of the cores are left for everything else.
    hands: Arc<Semaphore>,
    megapixels: Arc<Semaphore>,
    patience: Duration,
}

/// What one picture takes up, until it is dropped.
#[derive(Debug)]
struct Bench {
    _hand: OwnedSemaphorePermit,
    _megapixels: OwnedSemaphorePermit,
}

impl Workshop {
    pub(super) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            hands: Arc::new(Semaphore::new((cores / 2).max(1))),
            megapixels: Arc::new(Semaphore::new(usize::try_from(MEGAPIXELS).unwrap_or(1))),
            patience: PATIENCE,
        }
    }

    /// Works on a picture of so many megapixels, once it is its turn. What panics there is a file that cannot be read.
    ///
    /// # Errors
    /// [`FileError::Busy`] when others take too long; and the work's own.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        megapixels: u32,
        work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
    ) -> Result<T, FileError> {
        let turn = timeout(self.patience, self.enter(megapixels));
        let bench = turn.await.map_err(|_| FileError::Busy)??;
        let (done, result) = oneshot::channel();
        // A thread of its own, as a priority cannot be raised again.
        std::thread::Builder::new().name("picture".into()).spawn(move || {
            #[cfg(target_os = "linux")]
            let _ = rustix::process::setpriority_process(None, NICENESS);
            let made = work();
            // The place is taken until the work has ended, also when nobody waits for it any more.
            drop(bench);
            let _ = done.send(made);
        })?;
        result.await.unwrap_or_else(|_| Err(Refusal::FileUnreadable.into()))
    }

    async fn enter(&self, megapixels: u32) -> std::io::Result<Bench> {
        let many = Arc::clone(&self.megapixels).acquire_many_owned(megapixels).await;
        let one = Arc::clone(&self.hands).acquire_owned().await;
        Ok(Bench {
            _megapixels: many.map_err(std::io::Error::other)?,
            _hand: one.map_err(std::io::Error::other)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    fn workshop(hands: usize, patience: Duration) -> Arc<Workshop> {
        let hands = Arc::new(Semaphore::new(hands));
        Arc::new(Workshop { hands, patience, ..Workshop::new() })
    }

    #[tokio::test]
    async fn no_more_pictures_and_pixels_are_worked_on_at_once_than_there_is_room_for() {
        let long = Duration::from_secs(600);
        for (hands, megapixels, most) in [(3, 1, 3), (8, 15, 2), (8, MEGAPIXELS, 1)] {
            let workshop = workshop(hands, long);
            let now = Arc::new(AtomicUsize::new(0));
            let peak = Arc::new(AtomicUsize::new(0));
            let all = (0..12).map(|_| {
                let (workshop, now, peak) =
                    (Arc::clone(&workshop), Arc::clone(&now), Arc::clone(&peak));
                tokio::spawn(async move {
                    let work = move || {
                        peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        now.fetch_sub(1, Ordering::SeqCst);
                        Ok(())
                    };
                    workshop.run(megapixels, work).await
                })
            });
            for done in all.collect::<Vec<_>>() {
                done.await.unwrap().unwrap();
            }
            assert!(peak.load(Ordering::SeqCst) <= most, "{hands} {megapixels}");
        }
    }

    #[tokio::test]
    async fn who_waits_for_too_long_is_told_and_who_gives_up_leaves_the_place_taken_until_the_work_ends()
     {
        let workshop = workshop(1, Duration::from_millis(20));
        let (go_on, wait) = mpsc::channel::<()>();
        let (begun, has_begun) = oneshot::channel();
        let first = {
            let workshop = Arc::clone(&workshop);
            tokio::spawn(async move {
                let work = move || {
                    let _ = begun.send(());
                    let _ = wait.recv();
                    Ok(())
                };
                workshop.run(36, work).await
            })
        };
        has_begun.await.unwrap();
        assert!(matches!(workshop.run(36, || Ok(())).await, Err(FileError::Busy)));
        assert!(matches!(workshop.run(1, || Ok(())).await, Err(FileError::Busy)));
        first.abort();
        assert!(first.await.is_err());
        assert!(matches!(workshop.run(1, || Ok(())).await, Err(FileError::Busy)));
        drop(go_on);
        while workshop.run(MEGAPIXELS, || Ok(())).await.is_err() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn work_that_panics_is_a_file_that_cannot_be_read_and_frees_its_place() {
        let workshop = workshop(1, Duration::from_secs(600));
        for _ in 0..3 {
            let done: Result<(), _> = workshop.run(MEGAPIXELS, || panic!("on purpose")).await;
            assert!(matches!(done, Err(FileError::Refused(Refusal::FileUnreadable))));
        }
    }
}
