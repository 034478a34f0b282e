//! People who talk two by two over a server that stores before it delivers.
//!
//! Few messages and few connections, so threads with blocking sockets do: what comes is only searched for the
//! marker that every text carries.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::Processes;
use crate::sheet::percentile;
use crate::traffic::due_and_number;

const MARKER: &[u8] = b"bench:";
/// The marker, when it was due, and its number.
const STAMP_BYTES: usize = MARKER.len() + 16 + 8;
const PATIENCE: Duration = Duration::from_secs(10);

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

/// What came of it.
pub struct Outcome {
    /// Messages sent, and messages that came.
    pub sent: u64,
    /// Messages that came.
    pub delivered: u64,
    latencies: Vec<u64>,
    /// CPU seconds of the server.
    pub cpu: f64,
}

impl Outcome {
    /// In milliseconds.
    pub fn percentile(&mut self, percent: usize) -> f64 {
        percentile(&mut self.latencies, percent)
    }
}

/// So many pairs talk for so long, together at this rate.
///
/// # Errors
/// When a message is refused.
pub fn run(server: &mut dyn Talk, pairs: u32, rate: u32, seconds: u32) -> Result<Outcome> {
    let all: Vec<Pair> = (0..pairs as usize).map(|n| server.pair(n)).collect::<Result<_>>()?;
    let processes = server.processes();
    let cpu = processes.cpu();
    let base = Instant::now() + Duration::from_millis(100);
    let (heard, ears) = mpsc::channel();
    let mut senders = Vec::new();
    for (number, pair) in (0..).zip(all) {
        let (Pair { mut send, receive }, heard) = (pair, heard.clone());
        receive.set_read_timeout(Some(PATIENCE))?;
        std::thread::spawn(move || hear(receive, base, &heard));
        senders.push(std::thread::spawn(move || -> Result<u64> {
            let interval = Duration::from_secs(1) * pairs / rate;
            let first = Duration::from_secs(1) * number / rate;
            let total = seconds * rate / pairs;
            for nth in 0..total {
                let due = first + interval * nth;
                std::thread::sleep((base + due).saturating_duration_since(Instant::now()));
                send(&text(due, nth * pairs + number))?;
            }
            Ok(total.into())
        }));
    }
    let mut sent = 0;
    for sender in senders {
        sent += sender.join().ok().context("a sender panicked")??;
    }
    let (mut seen, mut latencies) = (HashSet::new(), Vec::new());
    while (latencies.len() as u64) < sent {
        let Ok((number, latency)) = ears.recv_timeout(PATIENCE) else { break };
        if seen.insert(number) {
            latencies.push(latency);
        }
    }
    let cpu = processes.cpu() - cpu;
    Ok(Outcome { sent, delivered: latencies.len() as u64, latencies, cpu })
}

/// A text of the usual length.
fn text(due: Duration, number: u32) -> String {
    let due = u64::try_from(due.as_nanos()).unwrap_or(u64::MAX);
    format!(
        "bench:{due:016x}{number:08x} Is it still there, and would you send it to Hamburg by Friday?"
    )
}

fn hear(mut socket: TcpStream, base: Instant, heard: &mpsc::Sender<(u32, u64)>) {
    let (mut kept, mut piece) = (Vec::new(), vec![0; 65536]);
    while let Ok(read @ 1..) = socket.read(&mut piece) {
        let now = Instant::now();
        kept.extend_from_slice(&piece[..read]);
        let mut from = 0;
        while let Some(at) = find(&kept[from..], MARKER)
            && let Some(stamp) = kept.get(from + at..from + at + STAMP_BYTES)
        {
            from += at + STAMP_BYTES;
            if let Some((due, number)) = due_and_number(&stamp[MARKER.len()..]) {
                let late = now.saturating_duration_since(base + due);
                let late = u64::try_from(late.as_nanos()).unwrap_or(u64::MAX);
                if heard.send((number, late)).is_err() {
                    return;
                }
            }
        }
        // What is left may end with the beginning of a marker.
        let keep = from.max(kept.len().saturating_sub(STAMP_BYTES - 1));
        kept.drain(..keep);
    }
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
