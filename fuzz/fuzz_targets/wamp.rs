//! WAMP v1: what pages say, prefixes and patterns.
#![no_main]

use chaffer_push::websocket::wamp::{Message, Patterns, Prefixes, parse};
use chaffer_shared::topic::Topic;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &str| {
    let mut prefixes = Prefixes::default();
    let patterns = Patterns::new(&["*".to_owned(), "a*b*".to_owned(), data.to_owned()]);
    for line in data.lines() {
        let topic = match parse(line) {
            Ok(Message::Prefix { prefix, uri }) => {
                prefixes.define(prefix, uri);
                continue;
            }
            Ok(Message::Subscribe(topic) | Message::Unsubscribe(topic)) => topic,
            Ok(Message::Publish(publication)) => publication.topic,
            Ok(Message::Call { .. }) | Err(_) => continue,
        };
        let topic = prefixes.expand(topic);
        assert!(!(patterns.allow(&topic) && Topic::is_reserved(&topic)));
    }
});
