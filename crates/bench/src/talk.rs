//! People who talk two by two over a server that stores before it delivers.
//!
//! Few messages and few connections, so threads with blocking sockets do: what comes is only searched for the
//! marker that every text carries.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::Processes;
use crate::sheet::percentile;
use crate::traffic::due_and_number;

const MARKER: &[u8] = b"bench:";
/// The marker, when it was due, and its number.
const STAMP_BYTES: usize = MARKER.len() + 16 + 8;
const PATIENCE: Duration = Duration::from_secs(10);
/// Chaffer indexes for the search half a second after a commit, on the disk that the other server uses, too.
const REST: Duration = Duration::from_secs(1);

/// Posts a text.
pub type Send = Box<dyn FnMut(&str) -> Result<()> + std::marker::Send>;

/// Somebody who posts, and somebody who hears.
pub struct Pair {
    /// The first one's way to do it.
    pub send: Send,
    /// What the other one hears.
    pub receive: TcpStream,
}

/// A server that stores, then delivers.
pub trait Talk {
    /// Its processes, the database's included.
    fn processes(&self) -> Processes;
    /// Two more people.
    ///
    /// # Errors
    /// When they are not let in.
    fn pair(&mut self, number: usize) -> Result<Pair>;
}

/// All pairs of a server, and what came of what they said.
pub struct Talkers {
    pairs: Vec<Pair>,
    processes: Processes,
    /// The server's CPU seconds before anything was said.
    cpu_before: Option<f64>,
    /// Messages sent; each has a number, so that none counts twice.
    sent: u32,
    /// Nanoseconds from when it was due to when it came, for each message that came.
    latencies: Vec<u64>,
}

impl Talkers {
    /// So many pairs.
    ///
    /// # Errors
    /// When they are not let in.
    pub fn meet(server: &mut dyn Talk, pairs: u32) -> Result<Self> {
        let pairs = (0..pairs as usize).map(|n| server.pair(n)).collect::<Result<_>>()?;
        let processes = server.processes();
        Ok(Self { pairs, processes, cpu_before: None, sent: 0, latencies: Vec::new() })
    }

    /// Messages sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.into()
    }

    /// Messages that came.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.latencies.len() as u64
    }

    /// In milliseconds.
    pub fn percentile(&mut self, percent: usize) -> f64 {
        percentile(&mut self.latencies, percent)
    }

    /// CPU seconds of the server since they began to talk: with what it puts off until nobody talks.
    #[must_use]
    pub fn cpu(&self) -> f64 {
        let now = self.processes.cpu();
        now - self.cpu_before.unwrap_or(now)
    }

    /// They talk for so long, together at this rate. Then the server has a moment for what it puts off.
    ///
    /// # Errors
    /// When a message is refused.
    pub fn talk(&mut self, rate: u32, seconds: u32) -> Result<()> {
        let pairs = u32::try_from(self.pairs.len())?;
        let each = seconds * rate / pairs;
        let interval = Duration::from_secs(1) * pairs / rate;
        let first = self.sent;
        self.cpu_before.get_or_insert(self.processes.cpu());
        self.sent += each * pairs;
        let base = Instant::now() + Duration::from_millis(100);
        std::thread::scope(|scope| {
            let (mut mouths, mut ears) = (Vec::new(), Vec::new());
            for (place, pair) in (0..).zip(&mut self.pairs) {
                let Pair { send, receive } = pair;
                receive.set_read_timeout(Some(PATIENCE))?;
                let number = move |nth: u32| first + nth * pairs + place;
                let expected = (0..each).map(number).collect();
                ears.push(scope.spawn(move || hear(receive, base, expected)));
                mouths.push(scope.spawn(move || -> Result<()> {
                    for nth in 0..each {
                        let due = Duration::from_secs(1) * place / rate + interval * nth;
                        std::thread::sleep((base + due).saturating_duration_since(Instant::now()));
                        send(&text(due, number(nth)))?;
                    }
                    Ok(())
                }));
            }
            for mouth in mouths {
                mouth.join().ok().context("a sender panicked")??;
            }
            for ear in ears {
                self.latencies.extend(ear.join().ok().context("a receiver panicked")?);
            }
            anyhow::Ok(())
        })?;
        std::thread::sleep(REST);
        Ok(())
    }
}

/// A text of the usual length.
fn text(due: Duration, number: u32) -> String {
    let due = u64::try_from(due.as_nanos()).unwrap_or(u64::MAX);
    format!(
        "bench:{due:016x}{number:08x} Is it still there, and would you send it to Hamburg by Friday?"
    )
}

/// Listens until all of these numbers have come, or nothing comes any more; tells how late each was.
fn hear(mut socket: &TcpStream, base: Instant, mut expected: HashSet<u32>) -> Vec<u64> {
    let mut latencies = Vec::new();
    let (mut kept, mut piece) = (Vec::new(), vec![0; 65536]);
    while !expected.is_empty()
        && let Ok(read @ 1..) = socket.read(&mut piece)
    {
        let now = Instant::now();
        kept.extend_from_slice(&piece[..read]);
        let mut from = 0;
        while let Some(at) = find(&kept[from..], MARKER)
            && let Some(stamp) = kept.get(from + at..from + at + STAMP_BYTES)
        {
            from += at + STAMP_BYTES;
            if let Some((due, number)) = due_and_number(&stamp[MARKER.len()..])
                && expected.remove(&number)
            {
                let late = now.saturating_duration_since(base + due);
                latencies.push(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX));
            }
        }
        // What is left may end with the beginning of a marker.
        let keep = from.max(kept.len().saturating_sub(STAMP_BYTES - 1));
        kept.drain(..keep);
    }
    latencies
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Says something and waits for the answer that holds these bytes.
///
/// # Errors
/// When it does not come.
pub fn say(socket: &mut TcpStream, what: &[u8], answer: &[u8]) -> Result<()> {
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.write_all(what)?;
    let (mut heard, mut piece) = (Vec::new(), [0; 4096]);
    while find(&heard, answer).is_none() {
        match socket.read(&mut piece) {
            Ok(read @ 1..) => heard.extend_from_slice(&piece[..read]),
            _ => bail!("instead of an answer came {:?}", String::from_utf8_lossy(&heard)),
        }
    }
    Ok(())
}
