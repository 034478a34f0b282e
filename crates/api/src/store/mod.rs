//! Where everything is kept. Only this folder knows diesel and SQL; it takes no decisions.
//!
//! [`Store::read`] and [`Store::write`] run jobs on threads of their own ([`executor`]), but for a post at rest: a job
//! gets a [`Reader`] or a [`Writer`] inside a transaction, whose methods stand in the file of the thing they are about. A
//! write shares its commit with the writes that waited beside it ([`committer`]); the events that it [`Writer::emit`]s are stored in
//! the same commit and told to those who [`Store::subscribe`].

mod api_keys;
mod attachments;
mod audit_log;
#[cfg(feature = "sqlite")]
mod backup;
mod committer;
mod connection;
mod consumers;
#[cfg(feature = "sqlite")]
mod copy;
mod erasure;
mod error;
mod events;
mod executor;
mod feed;
mod fixed;
mod forbidden_words;
mod id_set;
mod idempotency;
mod jobs;
mod mail_templates;
mod mails;
mod messages;
mod metrics;
mod migrations;
mod moment;
#[cfg(feature = "mysql")]
mod moving;
#[cfg(feature = "sqlite")]
mod ndjson;
mod participants;
#[cfg(feature = "mysql")]
mod platform;
mod prepared;
mod probe;
mod read_states;
mod retention;
mod schema;
mod search;
mod settings;
mod shared_rows;
mod support_queue;
#[cfg(test)]
pub(crate) mod testing;
mod text_enum;
mod threads;
#[cfg(feature = "sqlite")]
mod told;
mod users;
mod vendors;
mod webhooks;

pub use api_keys::ApiKey;
pub use attachments::{Attachment, NewAttachment};
pub use audit_log::{AuditEntry, AuditFilter, NewAuditEntry};
#[cfg(feature = "sqlite")]
pub use backup::BackupReport;
pub use committer::Commit;
pub use connection::DatabaseUrl;
#[cfg(feature = "mysql")]
pub(crate) use erasure::IMPORTED;
pub use error::StoreError;
pub use events::{Cause, NewEvent, StoredEvent};
pub use executor::Store;
pub use forbidden_words::{ForbiddenWord, ForbiddenWordFilter, WordAction, WordKind};
pub use idempotency::FirstAnswer;
pub use jobs::JobError;
pub use mail_templates::{Audience, MailTemplate};
pub use mails::{Mail, MailChoice, MailFilter, MailKind, MailQueue, MailState, NewMail};
pub use messages::{Message, MessageOriginal, MessageVersion, NewMessage, SystemEntry};
#[cfg(feature = "sqlite")]
pub use ndjson::LineReport;
pub use participants::{ASSIGNEE, Participant, ParticipantKind, Side};
#[cfg(feature = "mysql")]
pub use platform::{Platform, PlatformMessage, PlatformThread, PlatformUser};
pub use read_states::{Badge, ReadState};
pub use retention::Aged;
pub use threads::{SubjectType, Thread, ThreadFilter, ThreadScope, ThreadStatus};
pub use users::{Role, User, UserFields};
pub use vendors::{Vendor, VendorFields, VendorStatus};
pub use webhooks::{Delivery, DeliveryState, NewDelivery, Webhook, WebhookStatus};

pub(crate) use executor::{Reader, Writer};
pub(crate) use id_set::{IdSet, epoch_of};
#[cfg(feature = "mysql")]
pub(crate) use moving::MovedRows;
pub(crate) use search::{SearchBatch, SearchChange, SearchTerm, Tokens};

/// A moment in UTC, to the millisecond, as both databases keep it.
pub type Timestamp = chrono::NaiveDateTime;

/// The number of a thread or a message.
pub type Id = i64;
