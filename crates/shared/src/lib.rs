//! What both daemons of Chaffer must agree on, and nothing else.
//!
//! The API writes [`event`]s, signs them ([`link`]) and issues [`token`]s that name [`topic`]s; the push daemon
//! checks the signature, verifies the tokens and matches topic with topic. Both read their settings through
//! [`config`] and log through [`telemetry`]. Neither a database nor a socket is known here.

pub mod config;
pub mod event;
pub mod health;
pub mod link;
pub mod telemetry;
pub mod time;
pub mod token;
pub mod topic;
