//! What the daemon counts about itself, for the side door's `/metrics` and for tests that ask what was dropped.

use std::fmt::Write;

use chaffer_shared::metrics::Text;
pub use chaffer_shared::metrics::{Counter, Gauge};

/// Why something that reached the pusher port goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// An empty message.
    Empty,
    /// A message in several parts.
    Multipart,
    /// Neither signed nor starting with `{`.
    NotAnObject,
    /// A legacy message that is no UTF-8.
    InvalidUtf8,
    /// A legacy message that is no JSON.
    InvalidJson,
    /// A legacy message without a topic under the configured key.
    NoTopic,
    /// A legacy message whose topic nobody may hear.
    NotListed,
    /// A signed message whose signature does not hold.
    WrongSignature,
    /// A signed message that is no frame of ours.
    InvalidFrame,
    /// Nothing is wrong with it, but more came in than could be passed on.
    Overload,
}

impl Dropped {
    const ALL: [Self; 10] = [
        Self::Empty,
        Self::Multipart,
        Self::NotAnObject,
        Self::InvalidUtf8,
        Self::InvalidJson,
        Self::NoTopic,
        Self::NotListed,
        Self::WrongSignature,
        Self::InvalidFrame,
        Self::Overload,
    ];

    /// The reason as logs and metrics name it.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Multipart => "multipart",
            Self::NotAnObject => "not_an_object",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::InvalidJson => "invalid_json",
            Self::NoTopic => "no_topic",
            Self::NotListed => "not_listed",
            Self::WrongSignature => "wrong_signature",
            Self::InvalidFrame => "invalid_frame",
            Self::Overload => "overload",
        }
    }
}

/// Why a peer of the pusher port was closed by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It did not finish its handshake in time.
    Timeout,
    /// It does not speak ZMTP, or speaks it wrongly.
    Protocol,
    /// Its message is over the limit.
    TooLong,
    /// It wants another mechanism than NULL, or is no PUSH socket.
    Handshake,
}

impl Refused {
    const ALL: [Self; 4] = [Self::Timeout, Self::Protocol, Self::TooLong, Self::Handshake];

    /// The reason as logs and metrics name it.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::TooLong => "too_long",
            Self::Handshake => "handshake",
        }
    }
}

/// Which limit a connection of either port was turned away by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    /// Connections in all.
    Connections,
    /// Connections of one address.
    ConnectionsPerAddress,
    /// Handshakes a second in all.
    Handshakes,
    /// Handshakes a second of one address.
    HandshakesPerAddress,
    /// Connections that have not authenticated, in all.
    Unauthenticated,
    /// Connections of one address that have not authenticated.
    UnauthenticatedPerAddress,
}

impl Limited {
    const ALL: [Self; 6] = [
        Self::Connections,
        Self::ConnectionsPerAddress,
        Self::Handshakes,
        Self::HandshakesPerAddress,
        Self::Unauthenticated,
        Self::UnauthenticatedPerAddress,
    ];

    /// The reason as logs and metrics name it.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ConnectionsPerAddress => "connections_per_address",
            Self::Handshakes => "handshakes",
            Self::HandshakesPerAddress => "handshakes_per_address",
            Self::Unauthenticated => "unauthenticated",
            Self::UnauthenticatedPerAddress => "unauthenticated_per_address",
        }
    }
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Peers of the pusher port now.
    pub pushers: Gauge,
    /// Peers of the pusher port so far.
    pub pushers_accepted: Counter,
    /// Messages on the pusher port so far, good and bad.
    pub messages: Counter,
    /// Stored and ephemeral events of the API passed on.
    pub events: Counter,
    /// Legacy events passed on.
    pub legacy_events: Counter,
    /// Stored events that came again and were let go.
    pub duplicates: Counter,
    /// Times that the API was asked for missed events.
    pub repairs: Counter,
    /// Times that asking failed.
    pub repairs_failed: Counter,
    /// Sockets of clients now.
    pub sockets: Gauge,
    /// Sockets of clients so far, whether or not they got through the handshake.
    pub sockets_accepted: Counter,
    /// WebSocket handshakes refused.
    pub handshakes_refused: Counter,
    /// Sessions now: native ones that are authenticated, and legacy ones.
    pub sessions: Gauge,
    /// Frames given to sockets.
    pub deliveries: Counter,
    /// Sockets closed because they did not read.
    pub too_slow: Counter,
    /// Legacy subscriptions and publications that the operator has not allowed.
    pub legacy_refused: Counter,
    /// The last stored event passed on, or -1.
    pub position: Gauge,
    dropped: [Counter; Dropped::ALL.len()],
    refused: [Counter; Refused::ALL.len()],
    limited: [Counter; Limited::ALL.len()],
}

impl Metrics {
    /// Counts a message that goes nowhere.
    pub fn count_dropped(&self, why: Dropped) {
        if let Some(counter) = self.dropped_counter(why) {
            counter.increment();
        }
    }

    /// How many messages went nowhere for that reason.
    #[must_use]
    pub fn dropped(&self, why: Dropped) -> u64 {
        self.dropped_counter(why).map_or(0, Counter::get)
    }

    /// Counts a peer that was closed.
    pub fn count_refused(&self, why: Refused) {
        if let Some(counter) = self.refused_counter(why) {
            counter.increment();
        }
    }

    /// How many peers were closed for that reason.
    #[must_use]
    pub fn refused(&self, why: Refused) -> u64 {
        self.refused_counter(why).map_or(0, Counter::get)
    }

    /// Counts a connection that a limit turned away.
    pub fn count_limited(&self, why: Limited) {
        if let Some(counter) = self.limited_counter(why) {
            counter.increment();
        }
    }

    /// How many connections that limit turned away.
    #[must_use]
    pub fn limited(&self, why: Limited) -> u64 {
        self.limited_counter(why).map_or(0, Counter::get)
    }

    fn limited_counter(&self, why: Limited) -> Option<&Counter> {
        self.limited.iter().zip(Limited::ALL).find_map(|(c, reason)| (reason == why).then_some(c))
    }

    fn dropped_counter(&self, why: Dropped) -> Option<&Counter> {
        self.dropped.iter().zip(Dropped::ALL).find_map(|(c, reason)| (reason == why).then_some(c))
    }

    fn refused_counter(&self, why: Refused) -> Option<&Counter> {
        self.refused.iter().zip(Refused::ALL).find_map(|(c, reason)| (reason == why).then_some(c))
    }

    /// All numbers in Prometheus' text format, version 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::with_capacity(4096);
        let gauges: [(&str, &str, &Gauge); 4] = [
            ("pushers", "Peers connected to the pusher port.", &self.pushers),
            ("sockets", "Client sockets open.", &self.sockets),
            (
                "sessions",
                "Client sessions: authenticated native ones and legacy ones.",
                &self.sessions,
            ),
            (
                "position",
                "Id of the last stored event passed on; -1 while unknown.",
                &self.position,
            ),
        ];
        for (name, help, gauge) in gauges {
            header(&mut text, name, help, "gauge");
            line(&mut text, name, "", gauge.get());
        }
        let counters: [(&str, &str, &Counter); 13] = [
            (
                "pushers_accepted_total",
                "Peers accepted on the pusher port.",
                &self.pushers_accepted,
            ),
            ("messages_total", "Messages received on the pusher port.", &self.messages),
            ("events_total", "Events of the API passed on.", &self.events),
            ("legacy_events_total", "Legacy events passed on.", &self.legacy_events),
            ("duplicates_total", "Stored events received again and let go.", &self.duplicates),
            ("repairs_total", "Requests to the API for missed events.", &self.repairs),
            (
                "repairs_failed_total",
                "Requests for missed events that failed.",
                &self.repairs_failed,
            ),
            ("sockets_accepted_total", "Client sockets accepted.", &self.sockets_accepted),
            ("handshakes_refused_total", "WebSocket handshakes refused.", &self.handshakes_refused),
            ("deliveries_total", "Frames given to client sockets.", &self.deliveries),
            ("too_slow_total", "Sockets closed because they did not read.", &self.too_slow),
            (
                "legacy_refused_total",
                "Legacy subscriptions and publications refused.",
                &self.legacy_refused,
            ),
            ("panics_total", "Tasks that panicked.", &PANICS),
        ];
        for (name, help, counter) in counters {
            header(&mut text, name, help, "counter");
            line(&mut text, name, "", counter.get());
        }
        header(
            &mut text,
            "dropped_total",
            "Messages of the pusher port that went nowhere.",
            "counter",
        );
        for (why, counter) in Dropped::ALL.iter().zip(&self.dropped) {
            line(&mut text, "dropped_total", why.reason(), counter.get());
        }
        header(&mut text, "refused_total", "Peers of the pusher port closed.", "counter");
        for (why, counter) in Refused::ALL.iter().zip(&self.refused) {
            line(&mut text, "refused_total", why.reason(), counter.get());
        }
        header(&mut text, "limited_total", "Connections turned away by a limit.", "counter");
        for (why, counter) in Limited::ALL.iter().zip(&self.limited) {
            line(&mut text, "limited_total", why.reason(), counter.get());
        }
        let mut more = Text::default();
        more.metric("chaffer_push_build_info", "gauge", "The version of this build; always 1.");
        more.value("chaffer_push_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        more.process();
        text.push_str(&more.finish());
        text
    }
}

/// Panics of the whole process: counted by the panic hook, which belongs to no server.
pub static PANICS: Counter = Counter::new();

// Writing to a String cannot fail.
fn header(text: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(text, "# HELP chaffer_push_{name} {help}\n# TYPE chaffer_push_{name} {kind}");
}

fn line(text: &mut String, name: &str, reason: &str, value: impl std::fmt::Display) {
    let _ = if reason.is_empty() {
        writeln!(text, "chaffer_push_{name} {value}")
    } else {
        writeln!(text, "chaffer_push_{name}{{reason=\"{reason}\"}} {value}")
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_counted_apart_and_shown() {
        let metrics = Metrics::default();
        for why in Dropped::ALL {
            metrics.count_dropped(why);
            assert_eq!(metrics.dropped(why), 1);
        }
        metrics.count_refused(Refused::TooLong);
        let text = metrics.render();
        for why in Dropped::ALL {
            let expected = format!("chaffer_push_dropped_total{{reason=\"{}\"}} 1\n", why.reason());
            assert!(text.contains(&expected), "{text}");
        }
        assert!(text.contains("chaffer_push_refused_total{reason=\"too_long\"} 1\n"));
        assert!(text.contains("# TYPE chaffer_push_sockets gauge\n"));
    }
}
