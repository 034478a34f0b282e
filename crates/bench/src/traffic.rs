//! Events at a steady rate, and whether and when each of them comes.
//!
//! Latency is counted from the moment that an event was due, not from when it was sent, so that a server that
//! holds up its publisher cannot hide it.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::one_core::OneCore;
use crate::process::Processes;
use crate::servers::{Audience, Fanout};
use crate::sheet::percentile;
use crate::swarm::{Happening, Swarm};

/// So many clients at most are being let in at once, unless a scenario wants more.
pub const AT_ONCE: usize = 256;

/// How long to wait for what is missing.
const PATIENCE: Duration = Duration::from_secs(10);

/// Moments are counted from here.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Events a second.
    pub rate: u32,
    /// For so long.
    pub seconds: u32,
    /// The length of an event's data.
    pub bytes: usize,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Deliveries that should have come, and that came.
    pub expected: u64,
    /// Deliveries that came, each once and in order.
    pub delivered: u64,
    /// Nanoseconds from when it was due to when it came, for each delivery.
    pub latencies: Vec<u64>,
    /// CPU seconds of this program.
    pub own_cpu: f64,
}

impl Outcome {
    /// In milliseconds.
    #[must_use]
    pub fn percentile(&mut self, percent: usize) -> f64 {
        percentile(&mut self.latencies, percent)
    }

    /// What came of more of the same.
    pub fn add(&mut self, more: Self) {
        self.expected += more.expected;
        self.delivered += more.delivered;
        self.latencies.extend(more.latencies);
        self.own_cpu += more.own_cpu;
    }
}

/// Lets people in; returns the clients in the order of `people`, and how long it took.
///
/// # Errors
/// When one is refused, or it takes longer than a minute.
pub fn join(
    swarm: &mut Swarm,
    server: &dyn Fanout,
    people: &[(usize, Audience)],
    at_once: usize,
) -> Result<(Vec<usize>, Duration)> {
    // Tokens are made beforehand: that is the API's work.
    let hellos = people.iter().map(|(person, audience)| server.hello(*person, *audience, None));
    let hellos: Vec<_> = hellos.collect::<Result<_>>()?;
    let mut clients = Vec::with_capacity(people.len());
    let mut hellos = hellos.into_iter();
    let (start, mut joined) = (Instant::now(), 0);
    while joined < people.len() {
        while clients.len() < joined + at_once
            && let Some(hello) = hellos.next()
        {
            clients.push(swarm.connect(server.address(), hello)?);
        }
        let mut ended = None;
        swarm.turn(
            Instant::now() + Duration::from_secs(1),
            &mut |_, happening| match happening {
                Happening::Joined(_) => joined += 1,
                Happening::Ended(code) => ended = Some(code),
                Happening::Text(_) => {}
            },
        )?;
        if let Some(code) = ended {
            bail!("a client was closed while joining, with {code:?}");
        }
        if start.elapsed() > Duration::from_secs(60) {
            bail!("only {joined} of {} clients are in after a minute", people.len());
        }
    }
    Ok((clients, start.elapsed()))
}

/// Sends events at a steady rate to whom `audience` says; `hearers` tells how many of the clients hear each.
///
/// # Errors
/// When the server fails.
pub fn run(
    swarm: &mut Swarm,
    server: &mut dyn Fanout,
    plan: Plan,
    mut audience: impl FnMut(u32) -> Vec<Audience>,
    hearers: impl Fn(&[Audience]) -> u64,
    counts: impl Fn(usize) -> bool,
) -> Result<Outcome> {
    let (total, interval) = (plan.rate * plan.seconds, Duration::from_secs(1) / plan.rate);
    let own = Processes::own();
    let own_cpu = own.cpu();
    let trailing = server.trailing();
    let _one_core = OneCore::take();
    let mut outcome = Outcome::default();
    // Deliveries that came twice or out of order.
    let mut disordered = 0;
    let mut seen: HashMap<usize, u32> = HashMap::new();
    let mut last_came = Instant::now();
    let epoch = *EPOCH;
    let base = Instant::now() + Duration::from_millis(20);
    let mut sent = 0;
    let mut due = base;
    loop {
        while sent < total && Instant::now() >= due {
            let to = audience(sent);
            outcome.expected += hearers(&to);
            sent += 1;
            server.publish(&to, &data(plan.bytes, due - epoch, sent))?;
            due = base + interval * sent;
        }
        if sent == total {
            if outcome.delivered + disordered >= outcome.expected {
                break;
            }
            if last_came.elapsed() > PATIENCE {
                break;
            }
        }
        let until = if sent < total { due } else { Instant::now() + Duration::from_millis(100) };
        let Outcome { delivered, latencies, .. } = &mut outcome;
        let mut broken = false;
        swarm.turn(until, &mut |client, happening| match happening {
            Happening::Text(text) => {
                let Some((due, number)) = stamp(text, plan.bytes + trailing) else { return };
                if !counts(client) {
                    return;
                }
                // Given up in an earlier run.
                if epoch + due < base {
                    return;
                }
                last_came = Instant::now();
                let before = seen.entry(client).or_default();
                if number > *before {
                    *before = number;
                    *delivered += 1;
                    let late = last_came.saturating_duration_since(epoch + due);
                    latencies.push(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX));
                } else {
                    disordered += 1;
                }
            }
            // What it does not hear is missing in the end.
            Happening::Ended(_) => {}
            Happening::Joined(_) => broken = true,
        })?;
        if broken {
            bail!("somebody joined while events were sent");
        }
    }
    outcome.own_cpu = own.cpu() - own_cpu;
    if outcome.latencies.is_empty() {
        bail!("nothing was delivered");
    }
    Ok(outcome)
}

/// JSON text of that length that carries when it was due and its number.
#[must_use]
pub fn data(bytes: usize, due: Duration, number: u32) -> String {
    let due = u64::try_from(due.as_nanos()).unwrap_or(u64::MAX);
    let head = format!("{{\"s\":\"{due:016x}{number:08x}");
    let padding = bytes.saturating_sub(head.len() + 2);
    format!("{head}{}\"}}", "x".repeat(padding))
}

/// Reads what [`data`] wrote, which begins so many bytes before the end.
#[must_use]
pub fn stamp(text: &[u8], from_end: usize) -> Option<(Duration, u32)> {
    let stamp = text.get(text.len().checked_sub(from_end)?..)?.strip_prefix(b"{\"s\":\"")?;
    due_and_number(stamp)
}

/// When something was due, in 16 hexadecimal digits, and its number, in eight.
#[must_use]
pub fn due_and_number(stamp: &[u8]) -> Option<(Duration, u32)> {
    let number = |digits: &[u8]| u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
    let due = Duration::from_nanos(number(stamp.get(..16)?)?);
    Some((due, u32::try_from(number(stamp.get(16..24)?)?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stamped_is_read_back() {
        let data = data(128, Duration::from_nanos(77), 5);
        assert_eq!(data.len(), 128);
        let text = format!("{{\"type\":\"event\",\"data\":{data}}}");
        assert_eq!(stamp(text.as_bytes(), 129), Some((Duration::from_nanos(77), 5)));
        assert_eq!(stamp(b"{\"type\":\"cursor\",\"id\":60}", 129), None);
    }
}
