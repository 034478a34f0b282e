//! Tests: what reaches the wire is what the database says, whoever stored it.

use std::time::Duration;

use chaffer_shared::event::Frame;
use chaffer_shared::link::LinkKeys;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Publisher, PublisherHandle, Transport, TransportError, read_frames};
use crate::chat::messages::{self, MessageDraft};
use crate::chat::screening::WordList;
use crate::chat::threads::{self, ThreadPatch};
use crate::store::testing::databases;
use crate::store::{Id, Store, ThreadStatus, Writer};
use crate::testing::{about_product, acting, context, draft, shop, start};

/// A link that stands always.
struct Wire(mpsc::UnboundedSender<Vec<u8>>);

impl Transport for Wire {
    async fn connect(&mut self) -> Result<(), TransportError> {
        Ok(())
    }

    async fn send(&mut self, frame: Vec<u8>) -> Result<(), TransportError> {
        self.0.send(frame).map_err(|error| TransportError(error.to_string()))
    }
}

/// What comes over it.
struct Heard {
    frames: mpsc::UnboundedReceiver<Vec<u8>>,
    keys: LinkKeys,
}

impl Heard {
    async fn frame(&mut self) -> Frame {
        let frame = timeout(Duration::from_secs(20), self.frames.recv()).await.unwrap().unwrap();
        Frame::from_json(self.keys.verify(&frame).unwrap()).unwrap()
    }

    /// How many heartbeats have come, and nothing else.
    fn rest_is_heartbeats(&mut self) -> usize {
        let rest = std::iter::from_fn(|| self.frames.try_recv().ok());
        let heartbeat = |frame: Vec<u8>| {
            let frame = Frame::from_json(self.keys.verify(&frame).unwrap()).unwrap();
            assert!(matches!(frame, Frame::Heartbeat { .. }), "{frame:?}");
        };
        rest.map(heartbeat).count()
    }

    /// All events up to that of this number, as JSON.
    async fn up_to(&mut self, last: Id) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            let frame = self.frame().await;
            events.push(serde_json::to_value(&frame).unwrap());
            if matches!(frame, Frame::Event(event) if event.id == Some(last)) {
                return events;
            }
        }
    }
}

/// A publisher of this node, and what it says. No heartbeat after the first one: what goes out, a commit of this node has
/// brought about.
fn publisher(store: &Store) -> (Publisher<Wire>, PublisherHandle, Heard) {
    let keys = LinkKeys::parse(&["0123456789abcdef0123456789abcdef".to_owned()]).unwrap();
    let (sender, frames) = mpsc::unbounded_channel();
    let rarely = Duration::from_secs(3600);
    let (publisher, handle) =
        Publisher::new(store.clone(), Wire(sender), keys.clone(), "node", rarely);
    (publisher, handle, Heard { frames, keys })
}

async fn post(store: &Store, thread: Id, draft: MessageDraft) -> Id {
    let post = move |writer: &mut Writer<'_>| {
        let words = WordList::empty();
        messages::post(writer, &acting("c"), &context(), &words, None, thread, &draft)
    };
    store.write(post).await.unwrap().0.id
}

async fn last_event(store: &Store) -> Id {
    store.read(|reader| reader.last_event()).await.unwrap()
}

#[tokio::test]
async fn what_two_nodes_store_goes_out_once_in_order_and_as_the_database_tells_it() {
    for mut fresh in databases() {
        shop(&mut fresh, 2);
        let thread = start(&mut fresh, &acting("c"), &about_product("p", "v")).unwrap();
        let store = Store::open(&fresh.url, 1, 100).unwrap();
        let other_node = Store::open(&fresh.url, 1, 100).unwrap();
        let before = last_event(&store).await;
        let (mut publisher, _handle, mut heard) = publisher(&store);
        let stop = CancellationToken::new();
        let until = stop.clone();
        let running = tokio::spawn(async move { publisher.run(&until).await });
        assert!(matches!(heard.frame().await, Frame::Heartbeat { last, .. } if last == before));

        let first = post(&store, thread, draft("from here")).await;
        post(&other_node, thread, draft("from there")).await;
        let reply_to = Some(first);
        post(&store, thread, MessageDraft { reply_to, ..draft("to the first") }).await;
        let close = ThreadPatch { status: Some(ThreadStatus::Closed) };
        store
            .write(move |writer| threads::patch(writer, &acting("c"), &context(), thread, &close))
            .await
            .unwrap();

        let published = heard.up_to(last_event(&store).await).await;
        let stored = read_frames(&store, "node", before, 100).await.unwrap();
        assert_eq!(serde_json::to_value(published).unwrap(), serde_json::to_value(stored).unwrap());
        stop.cancel();
        running.await.unwrap();
        assert!(heard.rest_is_heartbeats() > 0, "{}: something twice", fresh.url);
    }
}

#[tokio::test]
async fn a_publisher_whose_thread_has_ended_goes_on_from_where_it_was() {
    for mut fresh in databases() {
        shop(&mut fresh, 2);
        let thread = start(&mut fresh, &acting("c"), &about_product("p", "v")).unwrap();
        let store = Store::open(&fresh.url, 1, 100).unwrap();
        let (mut publisher, _handle, mut heard) = publisher(&store);
        let stop = CancellationToken::new();
        {
            let mut running = std::pin::pin!(publisher.run(&stop));
            let first = async {
                assert!(matches!(heard.frame().await, Frame::Heartbeat { .. }));
                post(&store, thread, draft("while it runs")).await;
                heard.up_to(last_event(&store).await).await
            };
            tokio::select! {
                () = &mut running => unreachable!(),
                events = first => assert!(!events.is_empty()),
            }
        }
        post(&store, thread, draft("while it does not")).await;
        stop.cancel();
        publisher.run(&stop).await;

        // With some of what it has told already, for what may not have left the socket.
        let published = heard.up_to(last_event(&store).await).await;
        let stored = read_frames(&store, "node", 0, 100).await.unwrap();
        let published = published.into_iter().filter(|frame| frame["event"].is_string());
        let published: Vec<Value> = published.collect();
        assert_eq!(serde_json::to_value(published).unwrap(), serde_json::to_value(stored).unwrap());
        assert!(heard.rest_is_heartbeats() > 0);
        // It has ended: what comes now, nobody is told by it.
        post(&store, thread, draft("afterwards")).await;
        publisher.run(&stop).await;
        assert!(heard.frames.try_recv().is_err(), "{}", fresh.url);
    }
}
