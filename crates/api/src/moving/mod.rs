//! Moving in (B12): the shop platform's own messages (`platform`). Run by the command line, beside an API that serves: what
//! comes in is written in transactions of the same store, behind the same lock of the counters, and causes no event.
//! Everything of an installation moves as lines of JSON: `store/ndjson.rs`.

#[cfg(feature = "mysql")]
mod encoding;
#[cfg(feature = "mysql")]
pub(crate) mod platform;
#[cfg(feature = "mysql")]
mod report;
#[cfg(feature = "mysql")]
mod rule;
