//! Webhooks: tells the shop's own programs what happened (B4). A consumer of the stored events: each webhook has its
//! position among them; what it subscribes to becomes a delivery, in the same transaction that moves the position, and a
//! delivery is tried until the shop has it or the attempts are used up. So a crash loses none; one that was under way
//! is made again, under the same id.

pub(crate) mod bulk;
mod delivery;
mod signature;
mod under_way;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chaffer_shared::event::EventId;
use chaffer_shared::time;
use tokio::sync::Notify;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::outgoing::Outgoing;
use crate::store::{
    Commit, Delivery, DeliveryState, NewDelivery, Reader, Store, StoreError, Timestamp, Webhook,
    WebhookStatus,
};
use delivery::Sender;
use under_way::UnderWay;

pub use delivery::TEST;
pub use signature::new_secret;

/// Events that are looked at in one go.
const PAGE: i64 = 500;
/// Deliveries that one commit changes, of all those of a webhook.
const PIECE: i64 = 500;
/// Deliveries to one webhook at the same time: a slow one holds up itself alone.
const AT_ONCE: usize = 8;
/// How often is looked for what another API node, or nobody, gave notice of.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Lets calls wake the worker when they cause deliveries without an event.
#[derive(Debug, Clone, Default)]
pub struct WebhooksHandle(Arc<Notify>);

impl WebhooksHandle {
    /// There is something to deliver.
    pub fn wake(&self) {
        self.0.notify_one();
    }
}

/// Turns events into deliveries, and makes them.
pub struct Worker {
    store: Store,
    sender: Arc<Sender>,
    handle: WebhooksHandle,
    /// Events up to here were looked at for a webhook, though it had no reason to write down so.
    looked_at: HashMap<String, EventId>,
}

/// What follows for one webhook from the events behind its position.
struct Step {
    webhook: String,
    deliveries: Vec<NewDelivery>,
    /// The last event that was looked at.
    position: EventId,
    /// How many were.
    looked_at: i64,
}

impl Worker {
    /// A worker that does not run yet; `retries` are the waits before each further attempt.
    #[must_use]
    pub fn new(store: Store, outgoing: Outgoing, retries: Vec<Duration>) -> Self {
        let sender = Arc::new(Sender::new(store.clone(), outgoing, retries));
        Self { store, sender, handle: WebhooksHandle::default(), looked_at: HashMap::new() }
    }

    /// What wakes it.
    #[must_use]
    pub fn handle(&self) -> WebhooksHandle {
        self.handle.clone()
    }

    /// Works until it is told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        // Shops without webhooks do not pay for each commit, nor for keeping what this worker has not taken.
        let mut commits = None;
        let mut under_way = UnderWay::default();
        loop {
            let (idle, wait) = match self.work(&mut under_way).await {
                Ok(Some(wait)) => (false, wait),
                Ok(None) => (true, LOOK_EVERY),
                Err(error) => {
                    tracing::warn!(%error, "cannot look for webhooks' deliveries; trying again");
                    (true, Duration::from_secs(1))
                }
            };
            if idle {
                commits = None;
            } else if commits.is_none() {
                commits = Some(self.store.subscribe());
                // Once more: something may have been committed since the look.
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.handle.0.notified() => {}
                () = tokio::time::sleep(wait) => {}
                () = under_way.ended(), if !under_way.is_empty() => {}
                commit = next_commit(&mut commits) => match commit {
                    // One look serves all commits so far.
                    Ok(_) | Err(RecvError::Lagged(_)) => {
                        while commits.as_mut().is_some_and(|it| it.try_recv().is_ok()) {}
                    }
                    Err(RecvError::Closed) => return,
                },
            }
        }
    }

    /// Looks for new events and starts what is due; tells how long to wait, or `None` when there is no webhook.
    async fn work(&mut self, under_way: &mut UnderWay) -> Result<Option<Duration>, StoreError> {
        self.turn_events_into_deliveries().await?;
        let now = time::now().naive_utc();
        let busy = under_way.counts();
        let (webhooks, next) = self
            .store
            .read(move |reader| {
                let mut due = Vec::new();
                let mut next: Option<Timestamp> = None;
                for webhook in active(reader)? {
                    let busy = busy.get(&webhook.id).copied().unwrap_or(0);
                    let room = i64::try_from(AT_ONCE.saturating_sub(busy)).unwrap_or(0);
                    if room > 0 {
                        let found = reader.due_deliveries(&webhook.id, now, room)?;
                        let soon = reader.next_delivery(&webhook.id)?;
                        next = [next, soon].into_iter().flatten().min();
                        due.push((webhook, found));
                    }
                }
                Ok::<_, StoreError>((due, next))
            })
            .await?;
        if webhooks.is_empty() && under_way.is_empty() {
            return Ok(None);
        }
        let mut started = false;
        for (webhook, due) in webhooks {
            for delivery in self.claim(due, now).await? {
                started = true;
                let (sender, webhook) = (Arc::clone(&self.sender), webhook.clone());
                let id = webhook.id.clone();
                under_way.start(id, async move { sender.deliver(&webhook, delivery).await });
            }
        }
        if started {
            // What was due has been taken: there may be more behind it.
            return Ok(Some(Duration::from_millis(10)));
        }
        let wait = next.map(|at| (at - time::now().naive_utc()).to_std().unwrap_or_default());
        Ok(Some(wait.unwrap_or(LOOK_EVERY).clamp(Duration::from_millis(10), LOOK_EVERY)))
    }

    async fn claim(&self, due: Vec<Delivery>, now: Timestamp) -> Result<Vec<Delivery>, StoreError> {
        if due.is_empty() {
            return Ok(due);
        }
        let until = now + self.sender.lease();
        self.store
            .write(move |writer| {
                let mut claimed = Vec::new();
                for delivery in &due {
                    if writer.claim_delivery(delivery, until)? {
                        claimed.push(delivery.clone());
                    }
                }
                Ok::<_, StoreError>(claimed)
            })
            .await
    }

    async fn turn_events_into_deliveries(&mut self) -> Result<(), StoreError> {
        loop {
            let looked_at = self.looked_at.clone();
            let steps = self.store.read(move |reader| steps(reader, &looked_at)).await?;
            let more = steps.iter().any(|step| step.looked_at >= PAGE);
            // A position is written down with deliveries, and now and then; else it is enough to remember it.
            if steps.iter().any(|step| !step.deliveries.is_empty() || step.looked_at >= PAGE) {
                let looked_at = self.looked_at.clone();
                self.store
                    .write(move |writer| {
                        // Once more: another node may have been faster.
                        for step in self::steps(writer, &looked_at)? {
                            writer.insert_deliveries(&step.deliveries)?;
                            writer.advance_webhook(&step.webhook, step.position)?;
                        }
                        Ok::<_, StoreError>(())
                    })
                    .await?;
            }
            self.looked_at = steps.into_iter().map(|step| (step.webhook, step.position)).collect();
            if !more {
                return Ok(());
            }
        }
    }
}

/// The next commit, or never.
async fn next_commit(commits: &mut Option<Receiver<Commit>>) -> Result<Commit, RecvError> {
    match commits {
        Some(commits) => commits.recv().await,
        None => std::future::pending().await,
    }
}

fn active(reader: &mut Reader<'_>) -> Result<Vec<Webhook>, StoreError> {
    let mut webhooks = reader.webhooks()?;
    webhooks.retain(|webhook| webhook.status == WebhookStatus::Active);
    Ok(webhooks)
}

fn steps(
    reader: &mut Reader<'_>,
    looked_at: &HashMap<String, EventId>,
) -> Result<Vec<Step>, StoreError> {
    let mut steps = Vec::new();
    for webhook in active(reader)? {
        let remembered = looked_at.get(&webhook.id).copied().unwrap_or(0);
        let position = webhook.position.max(remembered);
        let wanted: Vec<String> = serde_json::from_str(&webhook.events).unwrap_or_default();
        let events = reader.events_after(position, PAGE)?;
        let deliveries = events
            .iter()
            .filter(|event| wanted.contains(&event.name))
            .map(|event| NewDelivery {
                webhook_id: webhook.id.clone(),
                message_id: format!("msg_{}", event.id),
                event: event.name.clone(),
                event_id: Some(event.id),
                state: DeliveryState::Pending,
                attempts: "[]".into(),
                tries: 0,
                next_attempt_at: Some(event.at),
                created_at: event.at,
            })
            .collect();
        steps.push(Step {
            webhook: webhook.id,
            deliveries,
            position: events.last().map_or(position, |event| event.id),
            looked_at: i64::try_from(events.len()).unwrap_or(PAGE),
        });
    }
    Ok(steps)
}
