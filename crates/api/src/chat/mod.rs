//! The rules of the chat: who may do what, what is written, which events follow and for whom, and how things look
//! to a viewer. They know neither HTTP nor SQL, and time comes in with the [`Context`]: so each rule is a plain
//! function over a reader or a writer of the store.

mod addressing;
mod caller;
mod error;
mod idempotency;
pub(crate) mod rights;
mod validate;

pub mod api_keys;
pub mod attachments;
pub mod audit;
pub mod buttons;
pub mod changes;
pub mod erasure;
pub mod events;
pub mod export;
pub mod forbidden_words;
pub mod forbidden_words_csv;
pub mod messages;
pub mod object;
pub mod originals;
pub mod presence;
pub mod retention;
pub mod screening;
pub mod search;
pub mod settings;
pub mod starting;
pub mod support;
pub mod threads;
pub mod unread;
pub mod users;
pub mod vendors;
pub mod views;
pub mod visitors;
pub mod webhooks;

pub use caller::{Caller, Credentials};
pub use error::{ChatError, FieldError, Refusal, RefusalKind};
pub use idempotency::IdempotencyKey;
pub(crate) use idempotency::once;
pub use starting::subject_signature;

use chrono::{DateTime, Utc};

use crate::store::Timestamp;

/// What a call brings along besides its body.
#[derive(Debug, Clone)]
pub struct Context {
    /// When it came in.
    pub now: DateTime<Utc>,
    /// Its id, kept with the events that it causes.
    pub request_id: String,
}

impl Context {
    pub(crate) fn timestamp(&self) -> Timestamp {
        self.now.naive_utc()
    }
}
