//! What both daemons of Chaffer must agree on, and nothing else.
//!
//! The API writes [`event`]s, signs them ([`link`]) and issues [`token`]s that name [`topic`]s; the push daemon
//! checks the signature, verifies the tokens and matches topic with topic. Both read their settings through
//! [`config`], log through [`telemetry`], look through proxies in the same way ([`address`]), need [`descriptors`],
//! obey the same [`signals`] and become their next version through [`handover`]. No database is known here, and a socket only to be passed on.

pub mod address;
pub mod config;
pub mod descriptors;
pub mod event;
pub mod handover;
pub mod health;
pub mod link;
pub mod metrics;
pub mod signals;
pub mod telemetry;
pub mod time;
pub mod token;
pub mod topic;
