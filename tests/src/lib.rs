//! What the end-to-end tests stand on: the real daemons on free ports with a database of their own, clients for
//! their calls and sockets, and the means to cut, kill and start again. No test logic is here.
//!
//! A story is an `async fn(&Scene) -> anyhow::Result<()>`; [`play`] runs it on one kind of database, and shows
//! the tail of every log when it fails. `scripts/test` builds the daemons and starts MariaDB before.

#![expect(clippy::indexing_slicing, reason = "a missing field of a JSON value reads as null")]

mod bucket;
mod database;
mod guide;
mod http;
mod listener;
mod ports;
mod process;
mod proxy;
mod receiver;
mod scene;
mod smtp;
mod socket;
mod stack;
mod wait;

pub use bucket::ObjectStorage;
pub use database::{Database, Kind};
pub use guide::{Block, Page, Php, Shell};
pub use http::{Answer, Api, Person, Shop};
pub use listener::{Heard, Listener, SessionLog};
pub use ports::free_port;
pub use process::{Process, alive, descendants, signal};
pub use proxy::{Link, Proxy};
pub use receiver::{Posted, Receiver};
pub use scene::{Scene, installed, play, repository, target};
pub use smtp::MailServer;
pub use socket::{Closed, Frame, Socket};
pub use stack::{Ports, Setup, Stack};
pub use wait::{PATIENCE, eventually, until};
