//! What the API counts about itself, for `GET /metrics`. Each layer counts its own; here they are put together.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chaffer_shared::event::EventId;
use chaffer_shared::metrics::{Counter, Histogram, SECONDS, Text};

use crate::limits::Limits;
use crate::notify::MailCounters;
use crate::publish::PublisherHandle;
use crate::store::{MailQueue, Store};

/// The calls so far. Labels come from our own route patterns and known methods, so nobody can make more of them.
#[derive(Debug, Default)]
pub struct Calls(Mutex<BTreeMap<(&'static str, String), Route>>);

#[derive(Debug)]
struct Route {
    statuses: BTreeMap<u16, Counter>,
    seconds: Histogram,
}

impl Calls {
    /// Counts a call that was answered.
    pub fn count(&self, method: &str, route: Option<String>, status: u16, time: Duration) {
        let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
        let method = known.into_iter().find(|it| *it == method).unwrap_or("other");
        let route = route.unwrap_or_else(|| "none".to_owned());
        let mut routes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let route = routes.entry((method, route)).or_insert_with(|| Route {
            statuses: BTreeMap::new(),
            seconds: Histogram::new(SECONDS),
        });
        route.statuses.entry(status).or_default().increment();
        route.seconds.observe_time(time);
    }

    fn render(&self, text: &mut Text) {
        let routes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = "chaffer_api_http_requests_total";
        text.metric(name, "counter", "Calls answered.");
        for ((method, path), route) in routes.iter() {
            for (status, count) in &route.statuses {
                let status = status.to_string();
                let labels = [("method", *method), ("route", path), ("status", &status)];
                text.value(name, &labels, count.get());
            }
        }
        let name = "chaffer_api_http_request_duration_seconds";
        text.metric(
            name,
            "histogram",
            "Time until the head of an answer; long polls wait up to 30 s.",
        );
        for ((method, path), route) in routes.iter() {
            text.histogram(name, &[("method", *method), ("route", path)], &route.seconds);
        }
    }
}

/// What the database tells of itself.
#[derive(Debug, Clone, Copy)]
pub struct Stored {
    /// The last stored event.
    pub last_event: EventId,
    /// What stands in the queue of mails.
    pub mails: MailQueue,
}

/// Everything in Prometheus' text format. What the database told is passed in, where it did.
pub fn render(
    calls: &Calls,
    limits: &Limits,
    store: &Store,
    publisher: &PublisherHandle,
    mails: &MailCounters,
    stored: Option<Stored>,
) -> String {
    let mut text = Text::default();
    text.metric("chaffer_api_build_info", "gauge", "The version of this build; always 1.");
    text.value("chaffer_api_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    calls.render(&mut text);
    limits.render(&mut text);
    store.render_metrics(&mut text);
    publisher.render_metrics(&mut text, stored.map(|it| it.last_event));
    mails.render(&mut text, stored.map(|it| it.mails).as_ref());
    text.process();
    text.finish()
}
