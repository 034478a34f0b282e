//! The way into a shard: a queue, and a bell that wakes it.
//!
//! An event that nobody in a shard hears need not wake it, and most events are for the few whom a message concerns:
//! it waits in the queue until the shard is woken for something else, by its clock if nothing comes before. To
//! wake a thread on another core costs more than to write a frame.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed, Ordering::SeqCst, fence};

use tokio::sync::mpsc::error::{TryRecvError, TrySendError};
use tokio::sync::{Notify, mpsc};

use super::{Audience, Command, Published, Room};

/// So many commands may wait for a shard before whoever sends them waits, too.
const COMMANDS: usize = 4096;

/// How many numbers the topics of a shard are spread over. Two that share one cost a wake-up now and then.
const NUMBERS: usize = 8192;

/// Where commands are put in.
#[derive(Debug, Clone)]
pub(super) struct Inlet {
    queue: mpsc::Sender<Command>,
    bell: Arc<Notify>,
    heard: Arc<Heard>,
}

/// Where a shard takes them out.
pub(super) struct Inbox {
    queue: mpsc::Receiver<Command>,
    bell: Arc<Notify>,
}

/// Which topics somebody in a shard hears, as far as others have to know: it may say yes where nobody does.
#[derive(Debug)]
pub(super) struct Heard {
    hasher: RandomState,
    topics: Box<[AtomicU32]>,
}

/// The way to a new shard, and what that shard keeps of it.
pub(super) fn inbox() -> (Inlet, Inbox, Arc<Heard>) {
    let (sender, receiver) = mpsc::channel(COMMANDS);
    let bell = Arc::<Notify>::default();
    let heard = Arc::<Heard>::default();
    let inlet = Inlet { queue: sender, bell: bell.clone(), heard: heard.clone() };
    (inlet, Inbox { queue: receiver, bell }, heard)
}

impl Inlet {
    /// Puts a command in and wakes the shard; waits while the queue is full. False when the shard has ended.
    pub(super) async fn send(&self, command: Command) -> bool {
        let sent = self.put(command).await;
        self.ring();
        sent
    }

    /// Puts an event in and wakes the shard if somebody there hears it; waits while the queue is full.
    pub(super) async fn deliver(&self, event: &Arc<Published>, room: &Room) {
        self.put(Command::Deliver(event.clone(), room.clone())).await;
        // In this order: whoever begins to hear says so first and looks into the queue afterwards.
        fence(SeqCst);
        if self.heard.any(&event.audience) {
            self.ring();
        }
    }

    /// Puts a command in if there is room, and wakes the shard.
    ///
    /// # Errors
    /// When there is none, or the shard has ended.
    pub(super) fn try_send(&self, command: Command) -> Result<(), TrySendError<Command>> {
        self.queue.try_send(command)?;
        self.ring();
        Ok(())
    }

    /// Wakes the shard.
    pub(super) fn ring(&self) {
        self.bell.notify_one();
    }

    async fn put(&self, command: Command) -> bool {
        match self.queue.try_send(command) {
            Ok(()) => true,
            Err(TrySendError::Closed(_)) => false,
            Err(TrySendError::Full(command)) => {
                self.ring();
                self.queue.send(command).await.is_ok()
            }
        }
    }
}

impl Inbox {
    /// Has [`Inbox::rung`] return once more.
    pub(super) fn ring(&self) {
        self.bell.notify_one();
    }

    /// Waits until the bell rings.
    pub(super) async fn rung(&self) {
        self.bell.notified().await;
    }

    /// Takes out up to `limit` commands, if there are any; false when none can come any more.
    pub(super) fn take(&mut self, batch: &mut Vec<Command>, limit: usize) -> bool {
        while batch.len() < limit {
            match self.queue.try_recv() {
                Ok(command) => batch.push(command),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return !batch.is_empty(),
            }
        }
        true
    }

    /// Whether nothing waits. To be asked after each command, before waiting for the bell: what nobody heard when it was put
    /// in came without.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

impl Default for Heard {
    fn default() -> Self {
        let topics = std::iter::repeat_with(AtomicU32::default).take(NUMBERS).collect();
        Self { hasher: RandomState::new(), topics }
    }
}

impl Heard {
    /// The first one hears a topic.
    pub(super) fn enter<T: Hash + ?Sized>(&self, topic: &T) {
        if let Some(count) = self.number(topic) {
            count.fetch_add(1, Relaxed);
        }
        // See `Inlet::deliver`.
        fence(SeqCst);
    }

    /// The last one hears it no more.
    pub(super) fn exit<T: Hash + ?Sized>(&self, topic: &T) {
        if let Some(count) = self.number(topic) {
            count.fetch_sub(1, Relaxed);
        }
    }

    fn any(&self, audience: &Audience) -> bool {
        let is_heard = |count: &AtomicU32| count.load(Relaxed) > 0;
        match audience {
            Audience::Native(topics) => {
                topics.iter().any(|topic| self.number(topic).is_some_and(is_heard))
            }
            Audience::Legacy { topic, .. } => self.number(topic.as_str()).is_some_and(is_heard),
        }
    }

    fn number<T: Hash + ?Sized>(&self, topic: &T) -> Option<&AtomicU32> {
        let hash = usize::try_from(self.hasher.hash_one(topic) % NUMBERS as u64).ok()?;
        self.topics.get(hash)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::sync::Semaphore;

    use super::*;

    async fn deliver(inlet: &Inlet, topic: &str) {
        let event = Arc::new(Published::legacy(topic.into(), "{}"));
        let room = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        // The permit of one that is only a bound elsewhere.
        inlet.deliver(&event, &Arc::new(room)).await;
    }

    #[tokio::test]
    async fn what_nobody_hears_waits_for_the_next_that_somebody_does() {
        let (inlet, mut inbox, heard) = inbox();
        let mut batch = Vec::new();
        let mut taken = |inbox: &mut Inbox| {
            assert!(inbox.take(&mut batch, 10));
            batch.drain(..).count()
        };
        deliver(&inlet, "kittens").await;
        assert!(inbox.rung().now_or_never().is_none());

        heard.enter("kittens");
        assert!(!inbox.is_empty());
        deliver(&inlet, "kittens").await;
        assert!(inbox.rung().now_or_never().is_some());
        assert_eq!(taken(&mut inbox), 2);

        heard.exit("kittens");
        deliver(&inlet, "kittens").await;
        assert!(inbox.rung().now_or_never().is_none());
        assert!(inlet.send(Command::Doubt).await);
        assert!(inbox.rung().now_or_never().is_some());
        assert_eq!(taken(&mut inbox), 2);
    }

    #[tokio::test]
    async fn a_full_queue_wakes_the_shard_whoever_hears() {
        let (inlet, mut inbox, _heard) = inbox();
        for _ in 0..COMMANDS {
            deliver(&inlet, "kittens").await;
        }
        assert!(inbox.rung().now_or_never().is_none());
        let (sent, ()) = tokio::join!(inlet.send(Command::Doubt), async {
            inbox.rung().await;
            assert!(inbox.take(&mut Vec::new(), 1));
        });
        assert!(sent);
    }

    #[test]
    fn a_shard_hears_that_nothing_can_come_any_more() {
        let (inlet, mut inbox, _heard) = inbox();
        inlet.try_send(Command::Doubt).unwrap();
        drop(inlet);
        let mut batch = Vec::new();
        assert!(inbox.take(&mut batch, 10));
        assert_eq!(batch.len(), 1);
        assert!(!inbox.take(&mut Vec::new(), 10));
    }
}
