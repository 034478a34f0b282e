//! The deliveries that are being made. Each one holds a place of its webhook's until it has ended, however it ends.

use std::collections::HashMap;

use tokio::task::{Id, JoinSet};

/// The deliveries that are being made.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    running: JoinSet<()>,
    /// The webhook that each task delivers to.
    webhooks: HashMap<Id, String>,
}

impl UnderWay {
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// How many go to each webhook; none of those without any.
    pub(super) fn counts(&self) -> HashMap<String, usize> {
        let mut counts = HashMap::new();
        for webhook in self.webhooks.values() {
            *counts.entry(webhook.clone()).or_default() += 1;
        }
        counts
    }

    pub(super) fn start(
        &mut self,
        webhook: String,
        delivery: impl Future<Output = ()> + Send + 'static,
    ) {
        let task = self.running.spawn(delivery);
        self.webhooks.insert(task.id(), webhook);
    }

    /// Waits until one has ended.
    pub(super) async fn ended(&mut self) {
        let task = match self.running.join_next_with_id().await {
            Some(Ok((task, ()))) => task,
            // It panicked, and has said so; its lease runs out, and it is tried again.
            Some(Err(error)) => error.id(),
            None => return,
        };
        self.webhooks.remove(&task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_delivery_that_panics_frees_its_place() {
        let mut under_way = UnderWay::default();
        under_way.start("a".into(), async { panic!("on purpose") });
        under_way.start("a".into(), async {});
        assert_eq!(under_way.counts(), HashMap::from([("a".to_owned(), 2)]));
        under_way.ended().await;
        under_way.ended().await;
        assert!(under_way.is_empty() && under_way.counts().is_empty());
    }
}
