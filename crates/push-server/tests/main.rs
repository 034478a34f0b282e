//! The daemon from outside: real sockets, a fake API, one binary for all.
#![expect(unreachable_pub, reason = "one crate, whose modules share a harness")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

#[cfg(feature = "echo")]
mod autobahn;
mod interop;
mod limits;
mod native;
mod presence;
mod pusher;
mod repair;
mod side_door;
mod support;
mod wamp;
mod websocket;
