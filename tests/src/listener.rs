//! A client as a page would have it: it stays connected, resumes after its last event, closes gaps from the
//! feed, and shows each event once. It records everything, so that a test can ask what reached the person.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::http::{Person, cursor};
use crate::socket::{Closed, Frame, Socket};
use crate::wait::{PATIENCE, eventually};

/// How long a client waits before it tries again, unless the server says.
const PAUSE: Duration = Duration::from_millis(50);

/// One event that reached the person.
#[derive(Debug, Clone)]
pub struct Heard {
    /// Its number; `None` when it is not stored.
    pub id: Option<i64>,
    /// Its name.
    pub event: String,
    /// Its data.
    pub data: Value,
}

/// What came over one connection.
#[derive(Debug, Clone, Default)]
pub struct SessionLog {
    /// The `resume` of its welcome.
    pub resume: String,
    /// The numbers of the events that it delivered, as they came.
    pub ids: Vec<i64>,
    /// How it ended, if it did.
    pub closed: Option<Closed>,
}

#[derive(Debug, Default)]
struct Record {
    heard: Vec<Heard>,
    seen: HashSet<i64>,
    after: Option<i64>,
    sessions: Vec<SessionLog>,
    from_feed: usize,
    faults: Vec<String>,
    connected: bool,
}

/// A client that listens until it is dropped.
#[derive(Debug)]
pub struct Listener {
    /// Who listens.
    pub person: Person,
    record: Arc<Mutex<Record>>,
    wanted: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Listener {
    /// Starts a client, without waiting for its connection; `after` is the last event that it has seen.
    #[must_use]
    pub fn start(person: Person, after: Option<i64>) -> Self {
        let record = Arc::new(Mutex::new(Record { after, ..Record::default() }));
        let (wanted, wants) = watch::channel(true);
        let task = tokio::spawn(stay_connected(person.clone(), Arc::clone(&record), wants));
        Self { person, record, wanted, task }
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        lock(&self.record)
    }

    /// Everything heard so far, in order.
    #[must_use]
    pub fn heard(&self) -> Vec<Heard> {
        self.record().heard.clone()
    }

    /// The data of every event of that name heard so far, in order.
    #[must_use]
    pub fn all(&self, event: &str) -> Vec<Value> {
        let record = self.record();
        let named = record.heard.iter().filter(|heard| heard.event == event);
        named.map(|heard| heard.data.clone()).collect()
    }

    /// The connections so far.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionLog> {
        self.record().sessions.clone()
    }

    /// How many events came from `GET /v1/events` and not over the socket.
    #[must_use]
    pub fn from_feed(&self) -> usize {
        self.record().from_feed
    }

    /// The last event that it has seen.
    #[must_use]
    pub fn after(&self) -> Option<i64> {
        self.record().after
    }

    /// Waits for the first event of that name whose data fits.
    ///
    /// # Errors
    /// When it does not come in time.
    pub async fn hears(&self, event: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        let what = format!("{} hears {event}", self.person.id);
        eventually(&what, PATIENCE, async || Ok(self.all(event).into_iter().find(&fits))).await
    }

    /// Waits until it has been welcomed so many times and is connected.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn welcomed(&self, times: usize) -> Result<()> {
        let what = format!("{} is welcomed {times} times", self.person.id);
        eventually(&what, PATIENCE, async || {
            let record = self.record();
            Ok((record.connected && record.sessions.len() >= times).then_some(()))
        })
        .await
    }

    /// Drops the connection without a word and stays away.
    ///
    /// # Errors
    /// When it does not go in time.
    pub async fn leave(&self) -> Result<()> {
        self.wanted.send_replace(false);
        let what = format!("{} goes", self.person.id);
        eventually(&what, PATIENCE, async || Ok((!self.record().connected).then_some(()))).await
    }

    /// Comes back after [`Listener::leave`].
    pub fn come_back(&self) {
        self.wanted.send_replace(true);
    }

    /// Checks what must hold at any time: no connection delivered an event twice or out of order, nothing was
    /// malformed, and what was shown is in order.
    ///
    /// # Errors
    /// Naming what went wrong.
    pub fn check(&self) -> Result<()> {
        let record = self.record();
        let who = &self.person.id;
        ensure!(record.faults.is_empty(), "{who}: {:?}", record.faults);
        for (number, session) in record.sessions.iter().enumerate() {
            for (before, after) in session.ids.iter().zip(session.ids.iter().skip(1)) {
                ensure!(
                    before < after,
                    "{who}, connection {number}: event {after} came after event {before}"
                );
            }
        }
        let ids: Vec<i64> = record.heard.iter().filter_map(|heard| heard.id).collect();
        for (before, after) in ids.iter().zip(ids.iter().skip(1)) {
            ensure!(before < after, "{who} was shown event {after} after event {before}");
        }
        Ok(())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Record {
    fn take(&mut self, event: &Value) {
        let id = event["id"].as_i64();
        let name = event["event"].as_str().unwrap_or_default().to_owned();
        if name.is_empty() || event["at"].as_str().is_none() || event["data"].is_null() {
            self.faults.push(format!("not an event: {event}"));
        }
        if let Some(id) = id {
            self.after = self.after.max(Some(id));
            if !self.seen.insert(id) {
                return;
            }
        }
        self.heard.push(Heard { id, event: name, data: event["data"].clone() });
    }
}

fn lock(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn stay_connected(
    person: Person,
    record: Arc<Mutex<Record>>,
    mut wants: watch::Receiver<bool>,
) {
    loop {
        if wants.wait_for(|wanted| *wanted).await.is_err() {
            return;
        }
        let end = tokio::select! {
            end = session(&person, &record) => end,
            _ = wants.wait_for(|wanted| !*wanted) => Ok(Closed { code: 1006, reason: "left".into() }),
        };
        let mut pause = PAUSE;
        {
            let mut record = lock(&record);
            let was_connected = std::mem::take(&mut record.connected);
            if let Ok(closed) = &end {
                let told = closed.reason.strip_prefix("retry_after_ms=");
                if let Some(told) = told.and_then(|told| told.parse().ok()) {
                    pause = Duration::from_millis(told);
                }
                if was_connected && let Some(session) = record.sessions.last_mut() {
                    session.closed = Some(closed.clone());
                }
                if matches!(closed.code, 4400..=4403) {
                    return;
                }
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// One connection, from the handshake to its end.
async fn session(person: &Person, record: &Mutex<Record>) -> Result<Closed> {
    let after = lock(record).after;
    let mut socket = Socket::open(&person.websocket_url).await?;
    let mut auth = serde_json::json!({"type": "auth", "token": person.token});
    if let Some(after) = after {
        auth["after"] = after.into();
    }
    socket.send(&auth).await?;
    let welcome = match socket.next().await? {
        Frame::Json(frame) => frame,
        Frame::Closed(closed) => {
            let mut record = lock(record);
            record.sessions.push(SessionLog { closed: Some(closed.clone()), ..Default::default() });
            return Ok(closed);
        }
    };
    let resume = welcome["resume"].as_str().unwrap_or_default().to_owned();
    if resume == "gap"
        && let Some(after) = after
    {
        close_gap(person, record, after).await?;
    }
    {
        let mut record = lock(record);
        if welcome["type"] != "welcome" || !["none", "replayed", "gap"].contains(&resume.as_str()) {
            record.faults.push(format!("not a welcome: {welcome}"));
        }
        if resume == "none" {
            record.after = record.after.max(welcome["last"].as_i64());
        }
        record.sessions.push(SessionLog { resume, ..Default::default() });
        record.connected = true;
    }
    loop {
        let frame = match socket.next().await? {
            Frame::Closed(closed) => return Ok(closed),
            Frame::Json(frame) => frame,
        };
        let mut record = lock(record);
        match frame["type"].as_str() {
            Some("event") => {
                if let (Some(id), Some(session)) =
                    (frame["id"].as_i64(), record.sessions.last_mut())
                {
                    session.ids.push(id);
                }
                record.take(&frame);
            }
            Some("cursor") => record.after = record.after.max(frame["id"].as_i64()),
            _ => record.faults.push(format!("unexpected frame: {frame}")),
        }
    }
}

/// Reads what the socket could not replay. What arrives on the socket meanwhile waits there and is compared.
async fn close_gap(person: &Person, record: &Mutex<Record>, after: i64) -> Result<()> {
    let mut after = after;
    loop {
        let page = person.get(&format!("/v1/events?after={after}&limit=100")).await?.expect(200)?;
        let events = page["events"].as_array().cloned().unwrap_or_default();
        let mut record = lock(record);
        for event in &events {
            record.from_feed += 1;
            record.take(event);
        }
        if events.is_empty() {
            return Ok(());
        }
        after = cursor(&page)?;
    }
}
