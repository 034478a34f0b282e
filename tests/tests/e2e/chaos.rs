//! Nothing is lost or shown twice, whatever is killed or cut.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use chaffer_tests::{Link, Listener, Person, Proxy, Scene, Setup, eventually};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::cast::{Cast, id_of};

stories!(b1_killed_daemons_lose_nothing, b1_a_cut_link_loses_nothing);

const CUSTOMERS: usize = 10;
const THREADS_EACH: usize = 5;
const POSTERS: usize = 8;
const MESSAGES_EACH: usize = 400;

/// How long it may take until everybody has heard everything, after the last disturbance.
const SETTLING: Duration = Duration::from_secs(90);

/// Fifty threads, those who listen, and those who write.
struct Storm {
    seed: u64,
    cast: Cast,
    /// Thread and the number of its customer.
    threads: Vec<(i64, usize)>,
    customers: Vec<Person>,
    /// Each with the number of the customer that it is; `None` hears all threads.
    listeners: Vec<(Listener, Option<usize>)>,
    acknowledged: Arc<AtomicUsize>,
    posters: Vec<JoinHandle<Result<Vec<Said>>>>,
}

/// One acknowledged message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Said {
    thread: i64,
    id: i64,
    text: String,
}

async fn b1_killed_daemons_lose_nothing(scene: &Scene) -> Result<()> {
    let mut storm = Storm::gather(Cast::new(scene).await?, seed()).await?;
    storm.start_posting();
    let mut rng = storm.rng(0);
    let mut victims = [true, true, true, false, false, false];
    for last in (1..victims.len()).rev() {
        victims.swap(last, rng.random_range(0..=last));
    }
    let moments = storm.moments(&mut rng, victims.len());
    for (moment, is_api) in moments.into_iter().zip(victims) {
        storm.reached(moment).await?;
        // At any point of what goes on, not only right after an answer.
        tokio::time::sleep(Duration::from_micros(rng.random_range(0..30_000))).await;
        let stack = &mut storm.cast.stack;
        if is_api {
            stack.crash_api()?
        } else {
            stack.crash_push()?
        }
        if rng.random_bool(0.5) {
            stack.ready().await?;
        }
    }
    storm.cast.stack.ready().await?;
    for (listener, _) in &storm.listeners {
        listener.welcomed(2).await?;
    }
    storm.settle().await
}

async fn b1_a_cut_link_loses_nothing(scene: &Scene) -> Result<()> {
    let setup = Setup::new(scene)?;
    let proxy = Proxy::to(setup.ports.pusher).await?;
    let setup = setup.set("api.publish_to", format!("tcp://127.0.0.1:{}", proxy.port));
    let mut storm = Storm::gather(Cast::with(scene, setup).await?, seed()).await?;
    storm.start_posting();
    let mut rng = storm.rng(0);
    let moments = storm.moments(&mut rng, 6);
    for pair in moments.chunks(2) {
        storm.reached(pair[0]).await?;
        proxy.set(if rng.random_bool(0.5) { Link::Stalled } else { Link::Cut });
        storm.reached(pair[1]).await?;
        // A stalled machine comes back, or its connections are gone.
        proxy.set(if rng.random_bool(0.5) { Link::Cut } else { Link::Whole });
        proxy.set(Link::Whole);
    }
    storm.settle().await
}

#[expect(clippy::print_stderr, reason = "by the seed a failure can be played again")]
fn seed() -> u64 {
    let given = std::env::var("TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(rand::random);
    eprintln!("TEST_SEED={seed}");
    seed
}

impl Storm {
    async fn gather(cast: Cast, seed: u64) -> Result<Self> {
        let (mut threads, mut customers, mut listeners) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..CUSTOMERS {
            let id = format!("customer-{number}");
            let user = json!({"role": "customer", "name": id});
            let person = cast.shop.new_person(&id, user).await?;
            listeners.push((person.listen().await?, Some(number)));
            for product in 0..THREADS_EACH {
                threads.push((cast.thread_of(&id, &format!("p{product}")).await?, number));
            }
            customers.push(person);
        }
        for person in [&cast.seller, &cast.boss] {
            listeners.push((person.listen().await?, None));
        }
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let posters = Vec::new();
        Ok(Self { seed, cast, threads, customers, listeners, acknowledged, posters })
    }

    fn rng(&self, stream: usize) -> StdRng {
        StdRng::seed_from_u64(self.seed.wrapping_add(u64::try_from(stream).unwrap_or_default()))
    }

    fn start_posting(&mut self) {
        for poster in 0..POSTERS {
            let mut rng = self.rng(1 + poster);
            let threads = self.threads.clone();
            let customers = self.customers.clone();
            let seller = self.cast.seller.clone();
            let acknowledged = Arc::clone(&self.acknowledged);
            self.posters.push(tokio::spawn(async move {
                let mut said = Vec::new();
                for number in 0..MESSAGES_EACH {
                    let (thread, customer) = threads[rng.random_range(0..threads.len())];
                    let who = if rng.random_bool(0.5) { &seller } else { &customers[customer] };
                    let text = format!("{poster}-{number}");
                    let id = insist(who, thread, &text).await?;
                    said.push(Said { thread, id, text });
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                Ok(said)
            }));
        }
    }

    /// Random numbers of acknowledged messages, rising, at which something happens.
    fn moments(&self, rng: &mut StdRng, count: usize) -> Vec<usize> {
        let all = POSTERS * MESSAGES_EACH;
        let mut moments: Vec<usize> =
            (0..count).map(|_| rng.random_range(all / 20..all * 9 / 10)).collect();
        moments.sort_unstable();
        moments
    }

    async fn reached(&self, moment: usize) -> Result<()> {
        let what = format!("{moment} messages are acknowledged");
        eventually(&what, SETTLING, async || {
            Ok((self.acknowledged.load(Ordering::Relaxed) >= moment).then_some(()))
        })
        .await
    }

    /// Waits for the posters, then until everybody has heard everything, and compares.
    async fn settle(self) -> Result<()> {
        let mut said = Vec::new();
        for poster in self.posters {
            said.extend(poster.await??);
        }
        said.sort();
        assert_eq!(said.len(), POSTERS * MESSAGES_EACH);
        let ids: BTreeSet<i64> = said.iter().map(|message| message.id).collect();
        assert_eq!(ids.len(), said.len(), "two acknowledgements name one message");

        let of: BTreeMap<i64, usize> = self.threads.iter().copied().collect();
        for (listener, customer) in &self.listeners {
            let concerns =
                |it: &&Said| customer.is_none_or(|number| of.get(&it.thread) == Some(&number));
            let expected: Vec<Said> = said.iter().filter(concerns).cloned().collect();
            let who = &listener.person.id;
            let what = format!("{who} has heard {} messages", expected.len());
            eventually(&what, SETTLING, async || {
                let heard = listener.all("message.created").len();
                ensure!(heard >= expected.len(), "{heard} so far");
                Ok(Some(()))
            })
            .await?;
            listener.check()?;
            // Per thread in the order of their ids, each once; and nothing else.
            let mut heard: BTreeMap<i64, Vec<Said>> = BTreeMap::new();
            for data in listener.all("message.created") {
                let message = as_said(&data)?;
                heard.entry(message.thread).or_default().push(message);
            }
            let heard: Vec<Said> = heard.into_values().flatten().collect();
            ensure!(heard == expected, "{who} heard something else than was said");
            let feed = listener.person.feed(0).await?;
            let created = feed.iter().filter(|event| event["event"] == "message.created");
            let mut told =
                created.map(|event| as_said(&event["data"])).collect::<Result<Vec<_>>>()?;
            told.sort_by_key(|message| message.thread);
            ensure!(told == expected, "the feed of {who} tells something else than was said");
            let counts = listener.person.get("/v1/unread").await?.expect(200)?;
            let each = counts["threads"].as_array().context("no threads")?.iter();
            let sum: i64 = each.filter_map(|thread| thread["unread_count"].as_i64()).sum();
            assert_eq!(counts["total"], sum, "the unread counts of {who} do not add up");
        }
        let rows = self.cast.stack.database.number("SELECT COUNT(*) FROM messages").await?;
        assert_eq!(usize::try_from(rows)?, said.len());
        let gaps = "SELECT MAX(id) - MIN(id) + 1 - COUNT(*) FROM events";
        assert_eq!(self.cast.stack.database.number(gaps).await?, 0, "event ids have no gap");
        Ok(())
    }
}

fn as_said(data: &serde_json::Value) -> Result<Said> {
    let thread = data["thread_id"].as_i64().context("no thread_id")?;
    let text = data["text"].as_str().context("no text")?.to_owned();
    Ok(Said { thread, id: id_of(data)?, text })
}

/// Posts until it is acknowledged, always under the same `client_id`; returns the message's id.
async fn insist(who: &Person, thread: i64, text: &str) -> Result<i64> {
    let path = format!("/v1/threads/{thread}/messages");
    let body = json!({"text": text, "client_id": text});
    let deadline = Instant::now() + SETTLING;
    loop {
        let trouble = match who.post(&path, body.clone()).await {
            Ok(answer) if matches!(answer.status, 200 | 201) => return id_of(&answer.body),
            // Come again: the daemon is stopping, starting, or its queue is full.
            Ok(answer) if matches!(answer.status, 502..=504) => answer.to_string(),
            Ok(answer) => bail!("{answer}"),
            Err(error) => format!("{error:#}"),
        };
        ensure!(Instant::now() < deadline, "`{text}` is not acknowledged: {trouble}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
