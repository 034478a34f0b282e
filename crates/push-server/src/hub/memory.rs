//! The replay memory: the latest stored events, for clients that reconnect.

use std::collections::VecDeque;
use std::sync::Arc;

use chaffer_shared::event::EventId;

use super::Published;

/// What an event costs beside its frame.
const ENTRY_BYTES: usize = 256;

/// The latest stored events, bounded in bytes. The events themselves are shared between the shards.
#[derive(Debug)]
pub(super) struct Memory {
    events: VecDeque<(EventId, Arc<Published>)>,
    bytes: usize,
    limit: usize,
    /// Everything after this event, up to the position, is here.
    floor: EventId,
}

impl Memory {
    pub(super) fn new(limit: usize) -> Self {
        Self { events: VecDeque::new(), bytes: 0, limit, floor: 0 }
    }

    /// Forgets everything; memory goes on after this event.
    pub(super) fn restart(&mut self, floor: EventId) {
        *self = Self { floor, ..Self::new(self.limit) };
    }

    /// Sets how far back memory reaches at most, once that is known.
    pub(super) fn set_floor(&mut self, floor: EventId) {
        self.floor = self.floor.max(floor);
    }

    /// Adds the next event; the oldest ones make room.
    pub(super) fn push(&mut self, id: EventId, event: Arc<Published>) {
        self.bytes += cost(&event);
        self.events.push_back((id, event));
        while self.bytes > self.limit {
            let Some((id, event)) = self.events.pop_front() else { break };
            self.bytes -= cost(&event);
            self.floor = id;
        }
    }

    /// All events after that one; `None` when memory does not reach back so far.
    pub(super) fn after(&self, after: EventId) -> Option<impl Iterator<Item = &Arc<Published>>> {
        (after >= self.floor).then(|| {
            let start = self.events.partition_point(|(id, _)| *id <= after);
            self.events.range(start..).map(|(_, event)| event)
        })
    }

    /// The events that happened at or after that moment.
    pub(super) fn since(
        &self,
        at: chrono::DateTime<chrono::Utc>,
    ) -> impl Iterator<Item = &Arc<Published>> {
        self.events.iter().map(|(_, event)| event).filter(move |event| event.at >= at)
    }
}

fn cost(event: &Published) -> usize {
    let request_id = event.request_id.as_ref().map_or(0, String::len);
    event.frame.len() + request_id + ENTRY_BYTES
}

#[cfg(test)]
mod tests {
    use super::super::Audience;
    use super::*;

    fn event(id: EventId) -> Arc<Published> {
        Arc::new(Published {
            id: Some(id),
            at: chrono::Utc::now(),
            request_id: None,
            audience: Audience::Native(Vec::new()),
            frame: vec![0; 100].into(),
        })
    }

    fn after(memory: &Memory, after: EventId) -> Option<Vec<EventId>> {
        Some(memory.after(after)?.filter_map(|event| event.id).collect())
    }

    #[test]
    fn memory_gives_what_follows_and_says_when_it_does_not_reach() {
        let mut memory = Memory::new(1 << 20);
        memory.restart(40);
        for id in 41..=43 {
            memory.push(id, event(id));
        }
        assert_eq!(after(&memory, 40), Some(vec![41, 42, 43]));
        assert_eq!(after(&memory, 42), Some(vec![43]));
        assert_eq!(after(&memory, 43), Some(vec![]));
        assert_eq!(after(&memory, 39), None);
    }

    #[test]
    fn memory_is_bounded_in_bytes() {
        let mut memory = Memory::new(10 * (100 + ENTRY_BYTES));
        for id in 1..=1000 {
            memory.push(id, event(id));
        }
        assert_eq!(memory.events.len(), 10);
        assert_eq!(after(&memory, 989), None);
        assert_eq!(after(&memory, 990).map(|ids| ids.len()), Some(10));
    }
}
