//! Chaffer's push daemon: hears events on one port and fans them out to WebSocket clients on another.
//!
//! The way of an event, from module to module:
//!
//! - [`intake`] owns the pusher port: [`zmtp`] turns bytes into messages, signatures are checked, legacy messages
//!   told apart from the API's frames.
//! - [`repair`] is the one task that decides what goes on: [`order`] keeps stored events gapless, and [`api`] asks
//!   for those that were lost.
//! - [`hub`] finds the connections of a topic, and remembers the latest events for those who reconnect.
//! - [`outlet`] is one connection's socket with its bounded queue.
//!
//! [`gate`] says who may come in. [`websocket`] accepts clients and reads what they say, natively or in WAMP v1. [`presence`] knows who is
//! connected, [`last_seen`] has the API keep who was. [`side_door`] tells the machine how it all is. [`server`] puts the parts together on their
//! [`threads`].

pub mod accept;
pub mod api;
pub mod gate;
pub mod hub;
pub mod intake;
pub mod last_seen;
pub mod metrics;
pub mod order;
pub mod outlet;
pub mod presence;
pub mod repair;
pub mod server;
pub mod side_door;
pub mod threads;
pub mod throttle;
pub mod websocket;
pub mod zmtp;

pub use server::{Server, ServerError};
