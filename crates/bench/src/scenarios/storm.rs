//! Ten thousand connections are cut and come back at once, each asking for what it missed, while events go on.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::in_folder;
use super::shop::some_people;
use crate::process::to_f64;
use crate::servers::push::Push;
use crate::servers::{Audience, Fanout};
use crate::sheet::{Bar, Sheet, Side};
use crate::swarm::{Happening, Hello, Swarm};
use crate::traffic::{self, AT_ONCE, data, stamp};

const PEOPLE: usize = 10_000;
const BYTES: usize = 128;
/// Messages while they are away, and then, every 10 ms, until everybody is back.
const MISSED: u32 = 2000;
const INTERVAL: Duration = Duration::from_millis(10);

/// Runs it.
///
/// # Errors
/// When the server fails.
pub fn run(repeats: usize) -> Result<Sheet> {
    let mut sheet = Sheet::new("storm: 10,000 clients cut and resumed at once", "");
    let people: Vec<_> = (0..PEOPLE).map(|person| (person, Audience::Person(person))).collect();
    for _ in 0..repeats {
        in_folder(|folder| {
            let mut server = Push::start(folder)?;
            let mut swarm = Swarm::new()?;
            traffic::join(&mut swarm, &server, &people, AT_ONCE)?;
            storm(&mut swarm, &mut server, &mut sheet)
        })?;
    }
    for what in ["events missed", "events seen twice", "clients sent to the feed"] {
        sheet.expect(what, Bar::Never);
    }
    Ok(sheet)
}

fn storm(swarm: &mut Swarm, server: &mut Push, sheet: &mut Sheet) -> Result<()> {
    // Nothing was sent before, so 0 is what everybody has seen.
    let hello = |person| server.hello(person, Audience::Person(person), Some(0));
    let hellos: Vec<Hello> = (0..PEOPLE).map(hello).collect::<Result<_>>()?;
    let processes = server.processes();
    let mut sent = 0;
    let mut expected: HashMap<(usize, u32), u32> = HashMap::new();
    let mut send = |server: &mut Push| -> Result<()> {
        let audience = some_people(sent);
        sent += 1;
        for one in &audience {
            if let Audience::Person(person) = one {
                expected.insert((*person, sent), 0);
            }
        }
        server.publish(&audience, &data(BYTES, Duration::ZERO, sent))
    };
    swarm.cut();
    for _ in 0..MISSED {
        send(server)?;
    }
    let cpu = processes.cpu();
    let start = Instant::now();
    let mut people = HashMap::new();
    for (person, hello) in hellos.into_iter().enumerate() {
        people.insert(swarm.connect(server.address(), hello)?, person);
    }
    let (mut back, mut gaps, mut next) = (Vec::with_capacity(PEOPLE), 0, start);
    let mut got: Vec<(usize, u32)> = Vec::new();
    let mut last_came = Instant::now();
    while back.len() < PEOPLE || last_came.elapsed() < Duration::from_secs(1) {
        if back.len() < PEOPLE && Instant::now() >= next {
            send(server)?;
            next = Instant::now() + INTERVAL;
        }
        if start.elapsed() > Duration::from_secs(60) {
            bail!("only {} of {PEOPLE} are back after a minute", back.len());
        }
        let mut ended = None;
        swarm.turn(Instant::now() + INTERVAL, &mut |client, happening| match happening {
            Happening::Joined(welcome) => {
                back.push(start.elapsed());
                let welcome = String::from_utf8_lossy(welcome);
                gaps += u64::from(!welcome.contains(r#""resume":"replayed""#));
            }
            Happening::Text(text) => {
                last_came = Instant::now();
                if let Some((_, number)) = stamp(text, BYTES + 1)
                    && let Some(person) = people.get(&client)
                {
                    got.push((*person, number));
                }
            }
            Happening::Ended(code) => ended = Some(code),
        })?;
        if let Some(code) = ended {
            bail!("a client was closed with {code:?}");
        }
    }
    let mut twice = 0;
    for delivery in got {
        match expected.get_mut(&delivery) {
            Some(times) => {
                twice += u64::from(*times > 0);
                *times += 1;
            }
            None => bail!("{delivery:?} went to the wrong person"),
        }
    }
    let missed = expected.values().filter(|times| **times == 0).count();
    let mut note = |what: &str, value: f64| sheet.note(what, Side::Ours, value);
    let seconds = |at: Option<&Duration>| at.map_or(f64::NAN, Duration::as_secs_f64);
    note("seconds until half are back", seconds(back.get(PEOPLE / 2)));
    note("seconds until the last is back", seconds(back.last()));
    note("CPU microseconds per client", (processes.cpu() - cpu) * 1e6 / to_f64(PEOPLE as u64));
    note("events missed", to_f64(missed as u64));
    note("events seen twice", to_f64(twice));
    note("clients sent to the feed", to_f64(gaps));
    Ok(())
}
