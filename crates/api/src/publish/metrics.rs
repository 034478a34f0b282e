//! What the publisher counts about itself.

use chaffer_shared::event::EventId;
use chaffer_shared::metrics::{Counter, Gauge, Text};

/// The counters of one publisher.
#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) connections: Counter,
    pub(super) published: Counter,
    pub(super) dropped: Counter,
    /// The last stored event sent, or -1.
    pub(super) position: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let position = Gauge::default();
        position.set(-1);
        let counter = Counter::new;
        Self { connections: counter(), published: counter(), dropped: counter(), position }
    }
}

impl Metrics {
    pub(super) fn render(&self, text: &mut Text, connected: bool, last_event: Option<EventId>) {
        let name = "chaffer_api_push_connected";
        text.gauge(name, "Whether there is a link to the push daemon.", u8::from(connected));
        let name = "chaffer_api_push_connections_total";
        text.counter(name, "Times that the link was made.", &self.connections);
        let name = "chaffer_api_events_published_total";
        text.counter(name, "Events sent to the push daemon.", &self.published);
        let name = "chaffer_api_ephemeral_dropped_total";
        text.counter(name, "Typing signs that were not worth waiting with.", &self.dropped);
        let position = self.position.get();
        let name = "chaffer_api_published_event_id";
        text.gauge(name, "The last stored event sent; -1 before the first link.", position);
        if let Some(last) = last_event {
            text.gauge("chaffer_api_last_event_id", "The last event stored.", last);
            let name = "chaffer_api_publish_lag_events";
            let help =
                "Stored events not sent; the push daemon fetches those of a lost link itself.";
            text.gauge(name, help, (last - position.max(0)).max(0));
        }
    }
}
