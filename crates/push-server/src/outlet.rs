//! One client's socket, as everybody who writes to it sees it: [`Outlet::send`] writes a finished WebSocket frame
//! straight to the socket, and only what the socket does not take at once waits in a queue.
//!
//! Delivering therefore costs one system call and wakes no task; the bytes are shared between all sockets that
//! get the same frame. The queue is bounded in bytes: over the bound the connection is closed with 4408 and its
//! memory given back. The connection's own task ([`crate::websocket`]) writes out the queue when the socket takes
//! more, and reads through [`Outlet::try_read`]. Everything goes through the one queue, pongs and closes too, so
//! no frame is ever split by another.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use tokio::net::TcpStream;

use crate::metrics::Metrics;
use crate::websocket::frames::{self, close_code};

/// What a frame in the queue costs beside its bytes, which it may share with other sockets.
const QUEUE_ENTRY_BYTES: usize = size_of::<Bytes>();

/// So many frames are given to one system call when the queue is written out.
const MAX_SLICES: usize = 32;

/// One client's socket.
#[derive(Debug)]
pub struct Outlet {
    socket: TcpStream,
    limit: usize,
    metrics: Arc<Metrics>,
    backlog: Mutex<Backlog>,
    /// Wakes the connection's task when the queue is no longer empty or the phase changed.
    waker: AtomicWaker,
    /// Whether the peer sent anything since [`Outlet::take_heard`].
    heard: AtomicBool,
}

#[derive(Debug, Default)]
struct Backlog {
    queue: VecDeque<Bytes>,
    bytes: usize,
    /// The peer has the beginning of the first entry, so it must get the rest whatever happens.
    started: bool,
    phase: Phase,
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// Frames are taken.
    #[default]
    Open,
    /// The close frame was queued: nothing may follow it (RFC 6455, section 5.5.1).
    Closing,
    /// Over, without a word.
    Aborted,
}

/// What the connection's task should look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attention {
    /// There is something to read, or the peer has closed.
    Readable,
    /// The phase is no longer [`Phase::Open`].
    Ended,
}

impl Outlet {
    /// Takes over a socket whose handshake is done.
    #[must_use]
    pub fn new(socket: TcpStream, limit: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            socket,
            limit,
            metrics,
            backlog: Mutex::default(),
            waker: AtomicWaker::new(),
            heard: AtomicBool::new(true),
        })
    }

    /// Sends one whole WebSocket frame; never blocks. Frames for a connection that is ending are let go.
    pub fn send(&self, frame: &Bytes) {
        let mut backlog = self.lock();
        if backlog.phase != Phase::Open {
            return;
        }
        if !backlog.queue.is_empty() {
            if backlog.bytes + frame.len() + QUEUE_ENTRY_BYTES > self.limit {
                self.overflow(&mut backlog);
            } else {
                backlog.push(frame.clone());
            }
            return;
        }
        // Past tokio, which would look up first whether the socket was ready when last heard of.
        match send(&self.socket, frame, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(written) if written == frame.len() => return,
            Ok(written) => {
                backlog.push(frame.slice(written..));
                backlog.started = written > 0;
            }
            Err(Errno::WOULDBLOCK | Errno::INTR) => backlog.push(frame.clone()),
            Err(_) => backlog.abort(),
        }
        drop(backlog);
        self.waker.wake();
    }

    /// Puts one whole frame behind what waits: [`Outlet::flush`] writes several in one system call.
    pub fn enqueue(&self, frame: &Bytes) {
        let mut backlog = self.lock();
        if backlog.phase != Phase::Open {
            return;
        }
        let bytes = frame.len() + QUEUE_ENTRY_BYTES;
        if backlog.bytes + bytes > self.limit {
            // What the socket would take is no sign of a slow peer.
            self.write_out(&mut backlog);
        }
        if backlog.phase != Phase::Open {
            drop(backlog);
            self.waker.wake();
        } else if !backlog.queue.is_empty() && backlog.bytes + bytes > self.limit {
            self.overflow(&mut backlog);
        } else {
            backlog.push(frame.clone());
        }
    }

    /// Writes what waits.
    pub fn flush(&self) {
        let mut backlog = self.lock();
        self.write_out(&mut backlog);
        let unfinished = !backlog.queue.is_empty() || backlog.phase == Phase::Aborted;
        drop(backlog);
        if unfinished {
            self.waker.wake();
        }
    }

    /// Sends several whole frames with as few system calls as possible. The caller has seen to it that they fit
    /// the limit.
    pub fn send_all(&self, frames: impl IntoIterator<Item = Bytes>) {
        let mut backlog = self.lock();
        if backlog.phase != Phase::Open {
            return;
        }
        let before = backlog.queue.len();
        frames.into_iter().for_each(|frame| backlog.push(frame));
        if backlog.bytes > self.limit {
            self.overflow(&mut backlog);
        } else if before == 0 {
            self.write_out(&mut backlog);
        }
        drop(backlog);
        self.waker.wake();
    }

    /// Sends a close frame behind what waits, and nothing after it. Only the first close counts.
    pub fn close(&self, code: u16, reason: &str) {
        self.finish(Some(frames::close(code, reason)));
    }

    /// Answers a close frame of the peer with the code that it sent (RFC 6455, section 5.5.1).
    pub fn answer_close(&self, code: Option<u16>) {
        self.finish(Some(
            code.map_or_else(frames::close_without_code, |code| frames::close(code, "")),
        ));
    }

    /// Ends the connection without a close frame.
    pub fn abort(&self) {
        self.finish(None);
    }

    fn finish(&self, close_frame: Option<Bytes>) {
        let mut backlog = self.lock();
        match close_frame {
            Some(frame) if backlog.phase == Phase::Open => {
                backlog.push(frame);
                backlog.phase = Phase::Closing;
                self.write_out(&mut backlog);
            }
            Some(_) => return,
            None => backlog.abort(),
        }
        drop(backlog);
        self.waker.wake();
    }

    /// Whether the peer sent anything since this was last asked.
    pub fn take_heard(&self) -> bool {
        self.heard.swap(false, Relaxed)
    }

    /// Reads what is there (for the connection's task alone).
    ///
    /// # Errors
    /// The socket's, [`ErrorKind::WouldBlock`] included.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.socket.try_read(buffer)?;
        self.heard.store(true, Relaxed);
        Ok(read)
    }

    /// Waits until there is something to read or the connection ends; meanwhile writes out the queue whenever the
    /// socket takes more (for the connection's task alone).
    pub async fn attention(&self) -> Attention {
        poll_fn(|cx| {
            self.waker.register(cx.waker());
            if self.poll_write_out(cx) != Phase::Open {
                return Poll::Ready(Attention::Ended);
            }
            // An error shows again when reading.
            self.socket.poll_read_ready(cx).map(|_| Attention::Readable)
        })
        .await
    }

    /// Waits until the close frame has left, or can no longer leave (for the connection's task alone).
    pub async fn flushed(&self) {
        poll_fn(|cx| {
            self.waker.register(cx.waker());
            let phase = self.poll_write_out(cx);
            if phase == Phase::Aborted || self.lock().queue.is_empty() {
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }

    /// Waits until there is something to read, however the connection stands (for the connection's task alone).
    pub async fn readable(&self) {
        // An error shows again when reading.
        let _ = poll_fn(|cx| self.socket.poll_read_ready(cx)).await;
    }

    /// The phase that the connection is in.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.lock().phase
    }

    fn poll_write_out(&self, cx: &mut Context<'_>) -> Phase {
        let mut backlog = self.lock();
        while !backlog.queue.is_empty() {
            match ready_or_stop(self.socket.poll_write_ready(cx)) {
                Some(true) => self.write_out(&mut backlog),
                Some(false) => backlog.abort(),
                None => break,
            }
        }
        backlog.phase
    }

    /// Writes until the queue is empty or the socket takes no more.
    fn write_out(&self, backlog: &mut Backlog) {
        while !backlog.queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let mut count = 0;
            for (slice, frame) in slices.iter_mut().zip(&backlog.queue) {
                *slice = IoSlice::new(frame);
                count += 1;
            }
            match self.socket.try_write_vectored(slices.get(..count).unwrap_or_default()) {
                Ok(0) => return backlog.abort(),
                Ok(written) => backlog.advance(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return backlog.abort(),
            }
        }
        // Buffers grown in a burst are given back.
        backlog.queue = VecDeque::new();
    }

    fn overflow(&self, backlog: &mut Backlog) {
        self.metrics.too_slow.increment();
        let rest = if backlog.started { backlog.queue.pop_front() } else { None };
        backlog.queue = VecDeque::with_capacity(2);
        backlog.bytes = 0;
        rest.into_iter().for_each(|rest| backlog.push(rest));
        backlog.push(frames::close(close_code::TOO_SLOW, "too slow: reconnect and resume"));
        backlog.phase = Phase::Closing;
        self.waker.wake();
    }

    fn lock(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `None` to wait, else whether the socket is sound.
fn ready_or_stop(poll: Poll<io::Result<()>>) -> Option<bool> {
    match poll {
        Poll::Ready(result) => Some(result.is_ok()),
        Poll::Pending => None,
    }
}

impl Backlog {
    fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len() + QUEUE_ENTRY_BYTES;
        self.queue.push_back(frame);
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(front) = self.queue.front_mut() {
            if written < front.len() {
                front.advance(written);
                self.bytes -= written;
                self.started |= written > 0;
                return;
            }
            written -= front.len();
            self.bytes -= front.len() + QUEUE_ENTRY_BYTES;
            self.started = false;
            self.queue.pop_front();
        }
    }

    fn abort(&mut self) {
        *self = Self { phase: Phase::Aborted, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_peer_that_reads_gets_more_at_once_than_its_queue_may_hold() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (peer, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let outlet = Outlet::new(accepted.unwrap().0, 10_000, Arc::default());
        for _ in 0..5 {
            outlet.enqueue(&Bytes::from(vec![b'x'; 6_000]));
        }
        outlet.enqueue(&Bytes::from(vec![b'y'; 20_000]));
        outlet.flush();
        assert_eq!(outlet.phase(), Phase::Open);
        let mut heard = vec![0; 50_000];
        peer.unwrap().read_exact(&mut heard).await.unwrap();
        assert!(heard[..30_000].iter().all(|byte| *byte == b'x'));
        assert!(heard[30_000..].iter().all(|byte| *byte == b'y'));
    }
}
