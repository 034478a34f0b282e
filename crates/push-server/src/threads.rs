//! Which thread does what. An event takes one thread from the pusher's socket to those of its hearers, the runtime that
//! [`crate::Server::run`] is called in: intake, sequencer and the first shard of the hub. What the clients say, tens of
//! thousands at once after a restart, is heard by the [`Crowd`]: handshakes, subscriptions, pongs. Shards that a larger machine
//! has besides live there, too.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::spawn_blocking;

/// How long they may take to end; nothing that they do takes as long.
const PATIENCE: Duration = Duration::from_secs(1);

/// Shards for half of the cores: the other half is for those who read what a shard writes, on the same machine as a rule
/// (nginx). More of them only get in their way (decision 30).
#[must_use]
pub fn shards(cores: usize) -> usize {
    (cores / 2).max(1)
}

/// The threads for what the clients say.
pub struct Crowd {
    /// Until it ends.
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Crowd {
    /// As many as there are cores: in a storm, handshakes are all that there is to do.
    ///
    /// # Errors
    /// When the machine gives no more threads.
    pub fn start(cores: usize) -> std::io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        let runtime =
            builder.worker_threads(cores.max(1)).thread_name("clients").enable_all().build()?;
        let handle = runtime.handle().clone();
        Ok(Self { runtime: Some(runtime), handle })
    }

    /// To spawn on them.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Has them hear who knocks.
    ///
    /// # Errors
    /// When the socket cannot be watched.
    pub fn take(&self, listener: TcpListener) -> std::io::Result<TcpListener> {
        let _here = self.handle.enter();
        TcpListener::from_std(listener.into_std()?)
    }

    /// Waits until the last of them is gone, but not for long: nothing of theirs may be left when a successor takes this process.
    pub async fn end(mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        // An error means that this runtime ends as well.
        let _ = spawn_blocking(|| runtime.shutdown_timeout(PATIENCE)).await;
    }
}

impl Drop for Crowd {
    /// Where something failed, without waiting: a runtime may not, within another.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn half_of_the_cores_are_left_to_those_who_read() {
        assert_eq!([1, 2, 3, 4, 8, 64].map(super::shards), [1, 1, 1, 2, 4, 32]);
    }
}
