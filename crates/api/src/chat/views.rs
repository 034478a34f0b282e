//! How things look to those who read them: the shapes of answers and of event data, and the few queries that put
//! them together (one for each kind of thing, however many are shown).

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::attachments::{self, AttachmentView};
use super::support::{self, SupportState, SupportView};
use crate::store::{
    Attachment, Id, Message, Participant, ParticipantKind, Reader, Role, Side, StoreError,
    SubjectType, SystemEntry, Thread, ThreadStatus, Timestamp, User, Vendor, VendorStatus,
};

/// A person as others see it: no address, no phone number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"id": "7", "role": "customer", "name": "Anna", "avatar_url": null}))]
pub struct PersonView {
    /// The shop's id.
    #[schema(example = "7")]
    pub id: String,
    /// What the person is to the shop.
    #[schema(required = true)]
    pub role: Option<Role>,
    /// The name.
    #[schema(example = "Anna")]
    pub name: String,
    /// The picture.
    #[schema(required = true)]
    pub avatar_url: Option<String>,
    /// Only of somebody who was erased: pages show words of their reader's language in place of the name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub erased: bool,
}

/// A vendor as others see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"id": "3", "name": "Kiln & Clay", "avatar_url": null}))]
pub struct VendorBrief {
    /// The shop's id.
    #[schema(example = "3")]
    pub id: String,
    /// The name.
    #[schema(example = "Kiln & Clay")]
    pub name: String,
    /// The logo.
    #[schema(required = true)]
    pub avatar_url: Option<String>,
}

/// A message that another one answers, as it is now: what was masked, changed or taken back is so here as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(
    example = json!({
        "id": 41, "author": {"id": "9", "role": "vendor_admin", "name": "Ben", "avatar_url": null},
        "text": "We have it in blue and green.", "deleted_at": null
    })
)]
pub struct QuoteView {
    /// Its number.
    #[schema(value_type = i64, example = 41)]
    pub id: Id,
    /// Who wrote it.
    pub author: PersonView,
    /// The beginning of its text: at most 200 characters, cut with an ellipsis.
    #[schema(example = "We have it in blue and green.")]
    pub text: String,
    /// When it was taken back.
    #[serde(with = "chaffer_shared::time::option")]
    #[schema(required = true)]
    pub deleted_at: Option<DateTime<Utc>>,
}

/// One entry of a thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(
    example = json!({
        "id": 42, "thread_id": 12,
        "author": {"id": "7", "role": "customer", "name": "Anna", "avatar_url": null},
        "text": "Is it dishwasher-safe?", "flagged": false, "attachments": [], "reply_to": null,
        "quote": null,
        "client_id": "3f0c9a52-6d2b-4b0e-9f55-0a1a52a7c9d1",
        "created_at": "2026-03-01T09:30:00.000Z", "edited_at": null, "deleted_at": null, "read_at": null,
        "system": null
    })
)]
pub struct MessageView {
    /// Its number; within a thread in the order of writing.
    #[schema(value_type = i64, example = 42)]
    pub id: Id,
    /// The thread.
    #[schema(value_type = i64, example = 12)]
    pub thread_id: Id,
    /// Who wrote it.
    pub author: PersonView,
    /// The text.
    #[schema(example = "Is it dishwasher-safe?")]
    pub text: String,
    /// Whether something was found in it (R11); told to the vendor and the staff, false for others; absent in events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub flagged: Option<bool>,
    /// True where nothing is found in it any more, but was before its author changed it (R11); in the messages of a thread, for those
    /// who are told of flags. What it said, `GET /v1/messages/{id}/history` shows to administrators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub flagged_before: Option<bool>,
    /// What is attached.
    pub attachments: Vec<AttachmentView>,
    /// The message it answers.
    #[schema(value_type = Option<i64>, required = true)]
    pub reply_to: Option<Id>,
    /// What it says.
    #[serde(default)]
    #[schema(required = true)]
    pub quote: Option<QuoteView>,
    /// The sender's own id of it.
    #[schema(required = true)]
    pub client_id: Option<String>,
    /// When it was written.
    #[serde(with = "chaffer_shared::time")]
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    #[serde(with = "chaffer_shared::time::option")]
    #[schema(required = true)]
    pub edited_at: Option<DateTime<Utc>>,
    /// When it was taken back.
    #[serde(with = "chaffer_shared::time::option")]
    #[schema(required = true)]
    pub deleted_at: Option<DateTime<Utc>>,
    /// When the other side read it.
    #[serde(with = "chaffer_shared::time::option")]
    #[schema(required = true)]
    pub read_at: Option<DateTime<Utc>>,
    /// Set if nobody wrote it: what its author did to the thread. Its text is empty, and it is never unread.
    #[serde(default)]
    #[schema(required = true)]
    pub system: Option<SystemEntry>,
}

/// What a thread is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(
    example = json!({
        "type": "product", "id": "1042", "title": "Stoneware mug",
        "url": "https://shop.example/p/1042", "image_url": null
    })
)]
pub struct SubjectView {
    /// What kind of thing.
    #[serde(rename = "type")]
    pub subject_type: SubjectType,
    /// The shop's id of it.
    #[schema(example = "1042")]
    pub id: String,
    /// What it is called.
    #[schema(required = true, example = "Stoneware mug")]
    pub title: Option<String>,
    /// Where it is shown.
    #[schema(required = true)]
    pub url: Option<String>,
    /// How it looks.
    #[schema(required = true)]
    pub image_url: Option<String>,
}

/// One participant of a thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(
    example = json!({
        "kind": "user", "id": "7", "name": "Anna", "avatar_url": null, "side": "customer",
        "role": "customer", "joined_at": "2026-03-01T09:30:00.000Z", "last_read_message_id": 42
    })
)]
pub struct ParticipantView {
    /// What `id` is an id of.
    pub kind: ParticipantKind,
    /// The shop's id.
    pub id: String,
    /// The name.
    pub name: String,
    /// The picture.
    #[schema(required = true)]
    pub avatar_url: Option<String>,
    /// Only of somebody who was erased: pages show words of their reader's language in place of the name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub erased: bool,
    /// Which side of the conversation.
    pub side: Side,
    /// What the participant is in this thread.
    pub role: String,
    /// Since when.
    #[serde(with = "chaffer_shared::time")]
    pub joined_at: DateTime<Utc>,
    /// How far the participant has read; of a vendor, how far any of its admins has.
    #[schema(value_type = i64)]
    pub last_read_message_id: Id,
}

/// One conversation. Its id is the ticket number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(
    example = json!({
        "id": 12,
        "subject": {
            "type": "product", "id": "1042", "title": "Stoneware mug",
            "url": "https://shop.example/p/1042", "image_url": null
        },
        "customer": {"id": "7", "role": "customer", "name": "Anna", "avatar_url": null},
        "vendor": {"id": "3", "name": "Kiln & Clay", "avatar_url": null},
        "storefront_id": null, "status": "open", "support": null, "last_message": null,
        "unread_count": 0, "flagged": false,
        "created_at": "2026-03-01T09:30:00.000Z", "updated_at": "2026-03-01T09:30:00.000Z"
    })
)]
pub struct ThreadView {
    /// The ticket number.
    #[schema(value_type = i64, example = 12)]
    pub id: Id,
    /// What it is about.
    pub subject: SubjectView,
    /// The one who asks.
    #[schema(required = true)]
    pub customer: Option<PersonView>,
    /// The vendor, if it is with one.
    #[schema(required = true)]
    pub vendor: Option<VendorBrief>,
    /// Which of the shop's storefronts.
    #[schema(required = true)]
    pub storefront_id: Option<String>,
    /// Whether it goes on.
    pub status: ThreadStatus,
    /// Of a support thread, who looks after it.
    #[schema(required = true)]
    pub support: Option<SupportView>,
    /// The last message.
    #[schema(required = true)]
    pub last_message: Option<MessageView>,
    /// Messages of others that the caller has not read; absent in events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub unread_count: Option<i64>,
    /// Whether one of its messages is flagged, or was before its author changed it (R11): nobody writes the mark away. Told to the
    /// vendor and the staff, false for others; absent in events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub flagged: Option<bool>,
    /// Who takes part; in the answer about one thread only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub participants: Option<Vec<ParticipantView>>,
    /// When it was started.
    #[serde(with = "chaffer_shared::time")]
    pub created_at: DateTime<Utc>,
    /// When something was last written.
    #[serde(with = "chaffer_shared::time")]
    pub updated_at: DateTime<Utc>,
}

/// A user as the shop's backend and the user itself see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(
    example = json!({
        "id": "7", "role": "customer", "name": "Anna", "email": "anna@example.com",
        "avatar_url": null, "phone": null, "locale": "en", "vendor_id": null,
        "root": false, "manage_messages": false, "profiles": [], "erased_at": null,
        "created_at": "2026-03-01T09:30:00.000Z", "updated_at": "2026-03-01T09:30:00.000Z"
    })
)]
pub struct UserView {
    #[schema(example = "7")]
    pub id: String,
    pub role: Role,
    #[schema(example = "Anna")]
    pub name: String,
    #[schema(required = true)]
    pub email: Option<String>,
    #[schema(required = true)]
    pub avatar_url: Option<String>,
    #[schema(required = true)]
    pub phone: Option<String>,
    #[schema(required = true)]
    pub locale: Option<String>,
    #[schema(required = true)]
    pub vendor_id: Option<String>,
    pub root: bool,
    pub manage_messages: bool,
    pub profiles: Vec<String>,
    /// When the user was erased; what is personal is gone since.
    #[serde(with = "chaffer_shared::time::option")]
    #[schema(required = true)]
    pub erased_at: Option<DateTime<Utc>>,
    #[serde(with = "chaffer_shared::time")]
    pub created_at: DateTime<Utc>,
    #[serde(with = "chaffer_shared::time")]
    pub updated_at: DateTime<Utc>,
}

/// A vendor as the shop's backend sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(
    example = json!({
        "id": "3", "name": "Kiln & Clay", "status": "active", "plan_includes_messaging": true,
        "avatar_url": null,
        "created_at": "2026-03-01T09:30:00.000Z", "updated_at": "2026-03-01T09:30:00.000Z"
    })
)]
pub struct VendorView {
    #[schema(example = "3")]
    pub id: String,
    #[schema(example = "Kiln & Clay")]
    pub name: String,
    pub status: VendorStatus,
    pub plan_includes_messaging: bool,
    #[schema(required = true)]
    pub avatar_url: Option<String>,
    #[serde(with = "chaffer_shared::time")]
    pub created_at: DateTime<Utc>,
    #[serde(with = "chaffer_shared::time")]
    pub updated_at: DateTime<Utc>,
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            role: user.role,
            name: user.name,
            email: user.email,
            avatar_url: user.avatar_url,
            phone: user.phone,
            locale: user.locale,
            vendor_id: user.vendor_id,
            root: user.root,
            manage_messages: user.manage_messages,
            profiles: serde_json::from_str(&user.profiles).unwrap_or_default(),
            erased_at: user.erased_at.map(|at| at.and_utc()),
            created_at: user.created_at.and_utc(),
            updated_at: user.updated_at.and_utc(),
        }
    }
}

impl From<Vendor> for VendorView {
    fn from(vendor: Vendor) -> Self {
        Self {
            id: vendor.id,
            name: vendor.name,
            status: vendor.status,
            plan_includes_messaging: vendor.plan_includes_messaging,
            avatar_url: vendor.avatar_url,
            created_at: vendor.created_at.and_utc(),
            updated_at: vendor.updated_at.and_utc(),
        }
    }
}

impl PersonView {
    /// A mirrored user.
    pub(crate) fn of(user: &User) -> Self {
        Self {
            id: user.id.clone(),
            role: Some(user.role),
            name: user.name.clone(),
            avatar_url: user.avatar_url.clone(),
            erased: user.erased_at.is_some(),
        }
    }
}

/// The people and vendors that a page of things names, fetched at once.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    users: HashMap<String, User>,
    vendors: HashMap<String, Vendor>,
    /// What messages answer.
    quoted: HashMap<Id, Message>,
    /// What is attached to messages.
    attachments: Vec<Attachment>,
}

/// How much of a message a quote shows, in characters.
const QUOTE_CHARS: usize = 200;

impl Directory {
    /// Fetches all that these messages and participants name.
    pub(crate) fn of(
        reader: &mut Reader<'_>,
        messages: &[Message],
        participants: &[Participant],
    ) -> Result<Self, StoreError> {
        let quoted = quoted(reader, messages)?;
        let has_files = |it: &&Message| it.attachment_count > 0 && it.deleted_at.is_none();
        let with_files: Vec<Id> = messages.iter().filter(has_files).map(|it| it.id).collect();
        let written = messages.iter().chain(quoted.values());
        let authors = written.map(|it| (it.author_kind, it.author_id.as_str()));
        let members = participants.iter().map(|it| (it.kind, it.participant_id.as_str()));
        let named: BTreeSet<_> = authors.chain(members).map(|(k, id)| (k.as_str(), id)).collect();
        let of_kind = |kind: ParticipantKind| -> Vec<&str> {
            named.iter().filter(|(k, _)| *k == kind.as_str()).map(|(_, id)| *id).collect()
        };
        let users = reader.users(&of_kind(ParticipantKind::User))?;
        let vendors = reader.vendors(&of_kind(ParticipantKind::Vendor))?;
        Ok(Self {
            users: users.into_iter().map(|user| (user.id.clone(), user)).collect(),
            vendors: vendors.into_iter().map(|vendor| (vendor.id.clone(), vendor)).collect(),
            quoted,
            attachments: reader.attachments_of(&with_files)?,
        })
    }

    /// Knows one person, whom the caller has at hand already.
    pub(crate) fn of_author(author: &User) -> Self {
        let users = HashMap::from([(author.id.clone(), author.clone())]);
        Self { users, ..Self::default() }
    }

    /// A person; one that is no longer mirrored keeps its id and has no name.
    pub(crate) fn person(&self, id: &str) -> PersonView {
        let nameless = || PersonView {
            id: id.to_owned(),
            role: None,
            name: String::new(),
            avatar_url: None,
            erased: false,
        };
        self.users.get(id).map_or_else(nameless, PersonView::of)
    }

    fn vendor(&self, id: &str) -> VendorBrief {
        let vendor = self.vendors.get(id);
        VendorBrief {
            id: id.to_owned(),
            name: vendor.map(|vendor| vendor.name.clone()).unwrap_or_default(),
            avatar_url: vendor.and_then(|vendor| vendor.avatar_url.clone()),
        }
    }

    /// A message, the same for all.
    pub(crate) fn message(&self, message: &Message) -> MessageView {
        let utc = |at: Option<Timestamp>| at.map(|at| at.and_utc());
        MessageView {
            id: message.id,
            thread_id: message.thread_id,
            author: self.person(&message.author_id),
            text: shown_text(message).to_owned(),
            flagged: None,
            flagged_before: None,
            attachments: self.attachments(message),
            reply_to: message.reply_to,
            quote: message.reply_to.and_then(|id| self.quoted.get(&id)).map(|it| self.quote(it)),
            client_id: message.client_id.clone(),
            created_at: message.created_at.and_utc(),
            edited_at: utc(message.edited_at),
            deleted_at: utc(message.deleted_at),
            read_at: utc(message.read_at),
            system: message.system_entry,
        }
    }

    fn attachments(&self, message: &Message) -> Vec<AttachmentView> {
        let of_message = self.attachments.iter().filter(|it| it.message_id == Some(message.id));
        // Good from when it is read; the one clock here, since events are read by nobody in particular.
        of_message.map(|it| attachments::view(it, chaffer_shared::time::now())).collect()
    }

    fn quote(&self, message: &Message) -> QuoteView {
        let mut letters = shown_text(message).chars();
        let mut text: String = letters.by_ref().take(QUOTE_CHARS).collect();
        if letters.next().is_some() {
            text.push('…');
        }
        QuoteView {
            id: message.id,
            author: self.person(&message.author_id),
            text,
            deleted_at: message.deleted_at.map(|at| at.and_utc()),
        }
    }

    /// A thread, the same for all.
    pub(crate) fn thread(
        &self,
        thread: &Thread,
        participants: &[Participant],
        last_message: Option<&Message>,
    ) -> ThreadView {
        let of_side = |side: Side, kind: ParticipantKind| {
            participants
                .iter()
                .find(|it| it.thread_id == thread.id && it.side == side && it.kind == kind)
                .map(|it| it.participant_id.as_str())
        };
        ThreadView {
            id: thread.id,
            subject: SubjectView {
                subject_type: thread.subject_type,
                id: thread.subject_id.clone(),
                title: thread.subject_title.clone(),
                url: thread.subject_url.clone(),
                image_url: thread.subject_image_url.clone(),
            },
            customer: of_side(Side::Customer, ParticipantKind::User).map(|id| self.person(id)),
            vendor: of_side(Side::Vendor, ParticipantKind::Vendor).map(|id| self.vendor(id)),
            storefront_id: thread.storefront_id.clone(),
            status: thread.status,
            support: (thread.subject_type == SubjectType::Support).then(
                || match support::assignee(thread.id, participants) {
                    None => SupportView { state: SupportState::Waiting, operator: None },
                    Some(has_it) => SupportView {
                        state: SupportState::Assigned,
                        operator: Some(self.person(&has_it.participant_id)),
                    },
                },
            ),
            last_message: last_message.map(|message| self.message(message)),
            unread_count: None,
            flagged: None,
            participants: None,
            created_at: thread.created_at.and_utc(),
            updated_at: thread.updated_at.and_utc(),
        }
    }

    /// The participants of one thread.
    pub(crate) fn participants(&self, participants: &[Participant]) -> Vec<ParticipantView> {
        let view = |it: &Participant| {
            let (name, avatar_url, erased) = match it.kind {
                ParticipantKind::User => {
                    let person = self.person(&it.participant_id);
                    (person.name, person.avatar_url, person.erased)
                }
                ParticipantKind::Vendor => {
                    let vendor = self.vendor(&it.participant_id);
                    (vendor.name, vendor.avatar_url, false)
                }
            };
            ParticipantView {
                kind: it.kind,
                id: it.participant_id.clone(),
                name,
                avatar_url,
                erased,
                side: it.side,
                role: it.role.clone(),
                joined_at: it.joined_at.and_utc(),
                last_read_message_id: it.last_read_message_id,
            }
        };
        participants.iter().map(view).collect()
    }
}

/// What was taken back is not shown, wherever the row is read.
fn shown_text(message: &Message) -> &str {
    if message.deleted_at.is_some() { "" } else { &message.text }
}

/// The messages that these ones answer, which may be among them.
fn quoted(
    reader: &mut Reader<'_>,
    messages: &[Message],
) -> Result<HashMap<Id, Message>, StoreError> {
    let wanted: BTreeSet<Id> = messages.iter().filter_map(|message| message.reply_to).collect();
    let here = messages.iter().filter(|message| wanted.contains(&message.id));
    let mut quoted: HashMap<Id, Message> = here.map(|it| (it.id, it.clone())).collect();
    let elsewhere: Vec<Id> = wanted.into_iter().filter(|id| !quoted.contains_key(id)).collect();
    if !elsewhere.is_empty() {
        quoted.extend(reader.messages(&elsewhere)?.into_iter().map(|it| (it.id, it)));
    }
    Ok(quoted)
}

/// Whether flags are shown to those who sit on this side (R11).
pub(crate) fn sees_flags(side: Side) -> bool {
    matches!(side, Side::Vendor | Side::Staff)
}
