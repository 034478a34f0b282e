//! In which order stored events go on: each once, by id, none skipped. No sockets and no clock here.
//!
//! Ids are gapless, so an event whose id does not follow the last one means that others were lost on the way.
//! Such an event waits here until [`crate::repair`] has asked the API for the missing ones: a client's cursor
//! must never step over an event that it did not get.

use std::collections::BTreeMap;

use chaffer_shared::event::{Event, EventId, Frame, Missed};

/// What a held event costs beside its data, roughly.
const EVENT_OVERHEAD: usize = 512;

/// The events passed on so far, and those that wait.
#[derive(Debug)]
pub struct Order {
    /// The last event passed on; `None` until the API was asked once.
    last: Option<EventId>,
    /// The highest id known to be stored.
    known: EventId,
    held: BTreeMap<EventId, Event>,
    held_bytes: usize,
    held_limit: usize,
}

/// What became of an event that arrived by the link.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// It and perhaps some that waited for it go on.
    Passed,
    /// It waits for others.
    Held,
    /// It had been passed on before.
    Duplicate,
}

/// What an answer of the API means.
#[derive(Debug, PartialEq, Eq)]
pub enum Answered {
    /// The events asked for, as far as the API gave them.
    Filled,
    /// The API no longer keeps what is missing: everything up to this id is lost to this daemon.
    Expired(EventId),
    /// The API has fewer events than were passed on: its database was restored or replaced.
    StartedOver(EventId),
    /// The answer contradicts itself.
    Nonsense,
}

impl Order {
    /// Nothing is known yet; at most so many bytes of events are held.
    #[must_use]
    pub fn new(held_limit: usize) -> Self {
        Self { last: None, known: 0, held: BTreeMap::new(), held_bytes: 0, held_limit }
    }

    /// The last event passed on.
    #[must_use]
    pub fn last(&self) -> Option<EventId> {
        self.last
    }

    /// Whether events are known to be missing, the very first question included.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.last.is_none_or(|last| last < self.known)
    }

    /// Takes a stored event from the link; `pass` gets those that may go on, in order.
    pub fn take(&mut self, id: EventId, event: Event, pass: &mut Vec<Event>) -> Taken {
        self.known = self.known.max(id);
        match self.last {
            Some(last) if id <= last => Taken::Duplicate,
            Some(last) if id == last + 1 => {
                self.pass(id, event, pass);
                self.release(pass);
                Taken::Passed
            }
            _ => {
                self.hold(id, event);
                Taken::Held
            }
        }
    }

    /// Takes a heartbeat; says whether its API has fewer events than were passed on, which is worth a question.
    pub fn heartbeat(&mut self, last: EventId) -> bool {
        self.known = self.known.max(last);
        self.last.is_some_and(|passed| last < passed)
    }

    /// Sets where the stream begins: everything up to `last` is history.
    pub fn start(&mut self, last: EventId, pass: &mut Vec<Event>) {
        self.last = Some(last);
        self.held = self.held.split_off(&(last + 1));
        self.held_bytes = self.held.values().map(size).sum();
        self.release(pass);
    }

    /// Takes the API's answer to a question that was asked when `asked_at` was the last event.
    pub fn answer(&mut self, asked_at: EventId, missed: Missed, pass: &mut Vec<Event>) -> Answered {
        let Some(mut last) = self.last else { return Answered::Nonsense };
        // Everything up to `asked_at` had been committed before the question, so an honest API knows it.
        if missed.last < asked_at {
            self.known = missed.last;
            self.start(missed.last, pass);
            return Answered::StartedOver(missed.last);
        }
        // The API's word counts, also downwards: a heartbeat from before a restored database may have been higher.
        self.known = self.held.last_key_value().map_or(0, |(&id, _)| id).max(missed.last).max(last);
        let expired = missed.oldest > last + 1 && missed.last > last;
        if expired {
            last = missed.oldest - 1;
            self.last = Some(last);
        }
        let before = pass.len();
        for frame in missed.events {
            let Frame::Event(event) = frame else { continue };
            let Some(id) = event.id else { continue };
            if self.last.is_some_and(|last| id > last) {
                self.pass(id, event, pass);
            }
        }
        self.held = self.held.split_off(&(self.last.unwrap_or(last) + 1));
        self.held_bytes = self.held.values().map(size).sum();
        self.release(pass);
        match (expired, pass.len() > before || missed.last <= last) {
            (true, _) => Answered::Expired(last),
            (false, true) => Answered::Filled,
            (false, false) => Answered::Nonsense,
        }
    }

    fn pass(&mut self, id: EventId, event: Event, pass: &mut Vec<Event>) {
        self.last = Some(id);
        pass.push(event);
    }

    fn hold(&mut self, id: EventId, event: Event) {
        self.held_bytes += size(&event);
        if let Some(twin) = self.held.insert(id, event) {
            self.held_bytes -= size(&twin);
        }
        // The latest ones are let go: the API will give them again.
        while self.held_bytes > self.held_limit {
            let Some((_, event)) = self.held.pop_last() else { break };
            self.held_bytes -= size(&event);
        }
    }

    /// Passes on those that wait and now follow.
    fn release(&mut self, pass: &mut Vec<Event>) {
        while let Some(entry) = self.held.first_entry() {
            if self.last.is_some_and(|last| *entry.key() == last + 1) {
                let (id, event) = entry.remove_entry();
                self.held_bytes -= size(&event);
                self.pass(id, event, pass);
            } else {
                break;
            }
        }
    }
}

fn size(event: &Event) -> usize {
    event.data.get().len() + EVENT_OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;
    use chaffer_shared::topic::Topic;
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    fn event(id: EventId) -> Event {
        Event {
            id: Some(id),
            prev: Some(id - 1),
            src: "api-1".into(),
            topics: vec![Topic::Staff],
            event: "message.created".into(),
            at: chaffer_shared::time::now(),
            request_id: None,
            data: RawValue::from_string("{}".into()).unwrap(),
        }
    }

    fn ids(events: &[Event]) -> Vec<EventId> {
        events.iter().filter_map(|event| event.id).collect()
    }

    fn missed(ids: impl IntoIterator<Item = EventId>, last: EventId, oldest: EventId) -> Missed {
        let events = ids.into_iter().map(|id| Frame::Event(event(id))).collect();
        Missed { events, last, oldest }
    }

    fn started_at(last: EventId) -> Order {
        let mut order = Order::new(1 << 20);
        order.start(last, &mut Vec::new());
        order
    }

    #[test]
    fn until_the_position_is_known_events_wait() {
        let (mut order, mut pass) = (Order::new(1 << 20), Vec::new());
        assert!(order.is_behind());
        assert_eq!(order.take(6, event(6), &mut pass), Taken::Held);
        assert_eq!(order.take(7, event(7), &mut pass), Taken::Held);
        order.start(6, &mut pass);
        assert_eq!(ids(&pass), [7]);
        assert_eq!(order.last(), Some(7));
        assert!(!order.is_behind());
    }

    #[test]
    fn events_after_a_gap_wait_until_it_is_closed() {
        let (mut order, mut pass) = (started_at(41), Vec::new());
        assert_eq!(order.take(42, event(42), &mut pass), Taken::Passed);
        assert_eq!(order.take(45, event(45), &mut pass), Taken::Held);
        assert!(order.is_behind());
        assert_eq!(order.answer(42, missed([43, 44], 45, 1), &mut pass), Answered::Filled);
        assert_eq!(ids(&pass), [42, 43, 44, 45]);
        assert!(!order.is_behind());
        assert_eq!(order.held_bytes, 0);
    }

    #[test]
    fn what_comes_twice_goes_on_once() {
        let (mut order, mut pass) = (started_at(41), Vec::new());
        order.take(42, event(42), &mut pass);
        assert_eq!(order.take(42, event(42), &mut pass), Taken::Duplicate);
        assert_eq!(order.answer(41, missed([42, 43], 43, 1), &mut pass), Answered::Filled);
        assert_eq!(ids(&pass), [42, 43]);
    }

    #[test]
    fn a_heartbeat_tells_of_lost_events() {
        let mut order = started_at(41);
        assert!(!order.heartbeat(41));
        assert!(!order.is_behind());
        order.heartbeat(43);
        assert!(order.is_behind());
        assert!(order.heartbeat(40));
    }

    #[test]
    fn what_the_api_no_longer_keeps_is_left_behind() {
        let (mut order, mut pass) = (started_at(41), Vec::new());
        let answer = order.answer(41, missed([90, 91], 91, 90), &mut pass);
        assert_eq!(answer, Answered::Expired(89));
        assert_eq!(ids(&pass), [90, 91]);
        assert_eq!(order.last(), Some(91));
        // With no events at all, the stream goes on from where the API stands.
        let answer = order.answer(91, missed([], 120, 121), &mut pass);
        assert_eq!(answer, Answered::Expired(120));
        assert_eq!(order.last(), Some(120));
    }

    #[test]
    fn a_database_that_started_over_is_followed() {
        let (mut order, mut pass) = (started_at(41), Vec::new());
        assert_eq!(order.take(6, event(6), &mut pass), Taken::Duplicate);
        assert_eq!(order.answer(41, missed([], 6, 1), &mut pass), Answered::StartedOver(6));
        assert_eq!(order.take(7, event(7), &mut pass), Taken::Passed);
        assert!(!order.is_behind());
    }

    #[test]
    fn events_that_arrive_while_the_question_travels_are_no_sign_of_a_new_database() {
        let (mut order, mut pass) = (started_at(41), Vec::new());
        order.take(42, event(42), &mut pass);
        assert_eq!(order.answer(41, missed([], 41, 1), &mut pass), Answered::Filled);
        assert_eq!(order.last(), Some(42));
    }

    #[test]
    fn what_waits_is_bounded() {
        let (mut order, mut pass) = (Order::new(10 * EVENT_OVERHEAD), Vec::new());
        order.start(0, &mut pass);
        for id in 2..1000 {
            order.take(id, event(id), &mut pass);
        }
        assert!(order.held.len() <= 10);
        assert!(order.is_behind());
        assert_eq!(order.answer(0, missed(1..=500, 999, 1), &mut pass), Answered::Filled);
        assert_eq!(order.last(), Some(500));
        assert!(order.is_behind());
    }

    proptest! {
        #[test]
        fn whatever_is_lost_or_doubled_each_event_goes_on_once_in_order(
            fates in prop::collection::vec(0u8..4, 1..120),
        ) {
            let (mut order, mut pass) = (started_at(0), Vec::new());
            let mut stored = 0;
            for fate in fates {
                stored += 1;
                match fate {
                    0 => {}
                    1 => { order.take(stored, event(stored), &mut pass); }
                    2 => {
                        order.take(stored, event(stored), &mut pass);
                        order.take(stored, event(stored), &mut pass);
                    }
                    _ => {
                        order.heartbeat(stored);
                        let last = order.last().unwrap();
                        let to = stored.min(last + 3);
                        order.answer(last, missed(last + 1..=to, stored, 1), &mut pass);
                    }
                }
            }
            order.heartbeat(stored);
            while order.is_behind() {
                let last = order.last().unwrap();
                order.answer(last, missed(last + 1..=stored, stored, 1), &mut pass);
            }
            prop_assert_eq!(ids(&pass), (1..=stored).collect::<Vec<_>>());
        }
    }
}
