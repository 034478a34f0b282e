//! Starting a conversation, or going on with the open one: who meets, and what a browser may say of them.

use chaffer_shared::event::name;
use chaffer_shared::topic;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::messages::{self, MessageDraft};
use super::screening::WordList;
use super::validate::Problems;
use super::views::ThreadView;
use super::{
    Caller, ChatError, Context, Credentials, IdempotencyKey, Refusal, addressing, attachments,
    object, once, rights, support, threads, visitors,
};
use crate::store::{
    Cause, NewEvent, Participant, ParticipantKind, Reader, Role, Side, SubjectType, Thread,
    ThreadStatus, User, Writer,
};

/// What a thread is to be about.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(
    example = json!({
        "type": "product", "id": "1042", "title": "Stoneware mug",
        "url": "https://shop.example/p/1042"
    })
)]
pub struct SubjectInput {
    /// What kind of thing.
    #[serde(rename = "type")]
    pub subject_type: SubjectType,
    /// The shop's id of it; of a `vendor` or a `user` that one's id.
    #[schema(example = "1042")]
    pub id: String,
    /// What it is called.
    #[schema(example = "Stoneware mug")]
    pub title: Option<String>,
    /// Where it is shown (http or https).
    pub url: Option<String>,
    /// How it looks (http or https).
    pub image_url: Option<String>,
}

/// A conversation to be started, or gone on with.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(
    example = json!({
        "subject": {
            "type": "product", "id": "1042", "title": "Stoneware mug",
            "url": "https://shop.example/p/1042"
        },
        "customer_id": "7", "vendor_id": "3", "message": {"text": "Is it dishwasher-safe?"}
    })
)]
pub struct ThreadStart {
    /// What it is about.
    #[serde(deserialize_with = "object::required")]
    pub subject: SubjectInput,
    /// Who asks; implied for a customer.
    pub customer_id: Option<String>,
    /// Who is asked; implied for a vendor's admin, and by the subject `vendor`.
    #[schema(example = "3")]
    pub vendor_id: Option<String>,
    /// Which of the shop's storefronts.
    pub storefront_id: Option<String>,
    /// What to say first.
    #[serde(default, deserialize_with = "object::optional")]
    pub message: Option<MessageDraft>,
    /// Of a browser: the shop's word that subject, customer and vendor belong together, the HMAC-SHA256 in hex, under
    /// the shop key, of type, id, title, url, image_url, customer_id, vendor_id and storefront_id, joined by newlines (absent
    /// ones are empty).
    pub subject_signature: Option<String>,
}

/// The shop's signature of a subject, as its backend makes it.
#[must_use]
pub fn subject_signature(
    key: &str,
    subject: &SubjectInput,
    customer: &str,
    vendor: Option<&str>,
    storefront: Option<&str>,
) -> Option<String> {
    let mac = signature_mac(key, subject, customer, vendor, storefront)?;
    Some(hex::encode(mac.finalize().into_bytes()))
}

fn signature_mac(
    key: &str,
    subject: &SubjectInput,
    customer: &str,
    vendor: Option<&str>,
    storefront: Option<&str>,
) -> Option<Hmac<Sha256>> {
    let text = [
        subject.subject_type.as_str(),
        &subject.id,
        subject.title.as_deref().unwrap_or_default(),
        subject.url.as_deref().unwrap_or_default(),
        subject.image_url.as_deref().unwrap_or_default(),
        customer,
        vendor.unwrap_or_default(),
        storefront.unwrap_or_default(),
    ]
    .join("\n");
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).ok()?;
    mac.update(text.as_bytes());
    Some(mac)
}

/// Who meets in a thread.
pub(super) struct Parties {
    pub(super) customer: String,
    pub(super) vendor: Option<String>,
    pub(super) peer: Option<String>,
}

/// Starts a thread, or goes on with the open one that this customer has for this subject; tells whether it is new.
///
/// # Errors
/// What is wrong with the fields, or why the caller may not.
pub(crate) fn start(
    writer: &mut Writer<'_>,
    credentials: &Credentials,
    context: &Context,
    list: &WordList,
    key: Option<&IdempotencyKey>,
    shop_keys: &[String],
    input: &ThreadStart,
) -> Result<(ThreadView, bool), ChatError> {
    let caller = Caller::resolve(writer, credentials)?;
    if input.message.is_some() {
        caller.person()?;
    }
    if let Caller::User { user, .. } = &caller {
        rights::require_messages(user)?;
    }
    check(input)?;
    let parties = parties(&caller, input)?;
    if let Caller::User { user, by_backend: false } = &caller {
        // Before anybody is looked up, so that nobody's existence can be guessed.
        require_signature(user, input, &parties, shop_keys)?;
    }
    let page = match &caller {
        Caller::User { user, .. } if user.role == Role::Visitor => {
            visitors::keep(writer, context, user)?;
            visitors::page(credentials)
        }
        _ => None,
    };
    require_known(writer, input, &parties)?;
    let (mut view, created) = once(writer, &caller, context, key, |writer| {
        let open_key = open_key(&input.subject, input.storefront_id.as_deref(), &parties);
        let (thread, created) = match writer.open_thread(&open_key)? {
            Some(thread) => (thread, false),
            None => (create(writer, context, input, page, &parties, open_key)?, true),
        };
        if let (Some(draft), Caller::User { user, .. }) = (&input.message, &caller) {
            let seen = rights::see(writer, user, thread.id)?;
            messages::append(writer, context, list, user, seen, draft)?;
        }
        let view = match &caller {
            Caller::Backend => threads::anyone(writer, thread.id)?,
            Caller::User { user, .. } => threads::one(writer, user, thread.id)?,
        };
        Ok((view, created))
    })?;
    if let Caller::User { user, .. } = &caller {
        // A first answer that is given again may be about what is no longer the caller's to see.
        rights::see(writer, user, view.id)?;
    }
    if let Some(message) = view.last_message.as_mut().filter(|_| key.is_some()) {
        attachments::sign_anew(writer, context, &mut message.attachments)?;
    }
    Ok((view, created))
}

fn check(input: &ThreadStart) -> Result<(), ChatError> {
    let mut problems = Problems::default();
    let ids = [&input.customer_id, &input.vendor_id, &input.storefront_id];
    check_subject(&mut problems, "", &input.subject, ids);
    if let Some(message) = &input.message {
        message.check(&mut problems, "/message");
    }
    problems.finish()
}

/// Checks a subject with its customer, vendor and storefront; `at` is the pointer of what holds them.
pub(super) fn check_subject(
    problems: &mut Problems,
    at: &str,
    subject: &SubjectInput,
    [customer, vendor, storefront]: [&Option<String>; 3],
) {
    problems.id(&format!("{at}/subject/id"), &subject.id);
    problems.optional_line(&format!("{at}/subject/title"), subject.title.as_deref());
    problems.url(&format!("{at}/subject/url"), subject.url.as_deref());
    problems.url(&format!("{at}/subject/image_url"), subject.image_url.as_deref());
    for (name, id) in
        [("customer_id", customer), ("vendor_id", vendor), ("storefront_id", storefront)]
    {
        if let Some(id) = id {
            problems.id(&format!("{at}/{name}"), id);
        }
    }
}

/// Finds out who meets: from the body, and from who calls.
fn parties(caller: &Caller, input: &ThreadStart) -> Result<Parties, ChatError> {
    let subject = &input.subject;
    let mut problems = Problems::default();
    let mut vendor = match subject.subject_type {
        SubjectType::Vendor => {
            if input.vendor_id.as_ref().is_some_and(|id| *id != subject.id) {
                problems.add("/vendor_id", "must be the subject's id, or absent");
            }
            Some(subject.id.clone())
        }
        SubjectType::Product | SubjectType::Order => input.vendor_id.clone(),
        SubjectType::User | SubjectType::Support => {
            if input.vendor_id.is_some() {
                problems.add("/vendor_id", "must be absent: this subject has no vendor");
            }
            None
        }
    };
    let customer = match caller {
        Caller::Backend => input.customer_id.clone(),
        Caller::User { user, .. } => customer_for(user, input, &mut vendor)?,
    };
    if vendor.is_none() && matches!(subject.subject_type, SubjectType::Product | SubjectType::Order)
    {
        problems.add("/vendor_id", "is required: who is asked?");
    }
    let Some(customer) = customer else {
        problems.add("/customer_id", "is required: who asks?");
        problems.finish()?;
        return Err(Refusal::NotAllowed.into());
    };
    let peer = (subject.subject_type == SubjectType::User).then(|| subject.id.clone());
    // Visitors talk with the operators, and with nobody else.
    let is_visitor = |id: &String| topic::is_visitor(id);
    if subject.subject_type != SubjectType::Support && is_visitor(&customer) {
        problems.add("/customer_id", "is a visitor, who talks about support alone");
    }
    if peer.as_ref().is_some_and(is_visitor) {
        problems.add("/subject/id", "is a visitor, who talks about support alone");
    }
    if peer.as_ref() == Some(&customer) {
        problems.add("/subject/id", "must be another user");
    }
    problems.finish()?;
    Ok(Parties { customer, vendor, peer })
}

/// Refuses people and vendors that the shop has not mirrored.
fn require_known(
    reader: &mut Reader<'_>,
    input: &ThreadStart,
    parties: &Parties,
) -> Result<(), ChatError> {
    let mut problems = Problems::default();
    if let Some(wrong) = unknown(reader, &parties.customer)? {
        problems.add("/customer_id", wrong);
    }
    if let Some(vendor) = &parties.vendor
        && reader.vendor(vendor)?.is_none()
    {
        let is_subject = input.subject.subject_type == SubjectType::Vendor;
        let pointer = if is_subject { "/subject/id" } else { "/vendor_id" };
        problems.add(pointer, "there is no such vendor; PUT /v1/vendors/{id} first");
    }
    if let Some(peer) = &parties.peer
        && let Some(wrong) = unknown(reader, peer)?
    {
        problems.add("/subject/id", wrong);
    }
    problems.finish()
}

/// What keeps a user from being talked with.
fn unknown(reader: &mut Reader<'_>, user: &str) -> Result<Option<&'static str>, ChatError> {
    Ok(match reader.user(user)? {
        None => Some("there is no such user; PUT /v1/users/{id} first"),
        Some(user) if user.erased_at.is_some() => Some("this user was erased"),
        Some(_) => None,
    })
}

/// Who the customer of a person's thread is, and, for a vendor's admin, which vendor.
fn customer_for(
    user: &User,
    input: &ThreadStart,
    vendor: &mut Option<String>,
) -> Result<Option<String>, ChatError> {
    let is_own = |id: &String| *id == user.id;
    match user.role {
        Role::Visitor if input.subject.subject_type != SubjectType::Support => {
            Err(Refusal::NotAllowed.into())
        }
        Role::Customer | Role::Visitor => {
            if !input.customer_id.as_ref().is_none_or(is_own) {
                return Err(Refusal::NotAllowed.into());
            }
            Ok(Some(user.id.clone()))
        }
        Role::VendorAdmin => {
            // Without a customer, or as one itself, it asks another vendor like any customer.
            let Some(customer) = input.customer_id.clone().filter(|id| !is_own(id)) else {
                return Ok(Some(user.id.clone()));
            };
            let has_vendor =
                !matches!(input.subject.subject_type, SubjectType::User | SubjectType::Support);
            *vendor = vendor.take().or_else(|| user.vendor_id.clone());
            if !has_vendor || *vendor != user.vendor_id {
                return Err(Refusal::NotAllowed.into());
            }
            Ok(Some(customer))
        }
        Role::Operator if input.subject.subject_type != SubjectType::Support => {
            Err(Refusal::NotAllowed.into())
        }
        Role::Operator | Role::Admin => Ok(input.customer_id.clone()),
    }
}

/// The subject of a browser's unsigned support thread: one at a time for each customer.
const SUPPORT_ID: &str = "support";

/// A browser may say freely that its user wants to talk with a vendor or with support. That an order or a product is the
/// customer's, who somebody is, what things are called and where they are: for that the shop has to stand.
fn require_signature(
    user: &User,
    input: &ThreadStart,
    parties: &Parties,
    keys: &[String],
) -> Result<(), ChatError> {
    let subject = &input.subject;
    let free = match subject.subject_type {
        SubjectType::Vendor => true,
        SubjectType::Support => subject.id == SUPPORT_ID,
        SubjectType::Product | SubjectType::Order | SubjectType::User => false,
    } && parties.customer == user.id
        && input.storefront_id.is_none()
        && subject.title.is_none()
        && subject.url.is_none()
        && subject.image_url.is_none();
    let Some(signature) = &input.subject_signature else {
        return if free { Ok(()) } else { Err(Refusal::SubjectSignatureRequired.into()) };
    };
    let signature = hex::decode(signature).map_err(|_| Refusal::SubjectSignatureWrong)?;
    let signed_with = |key: &String| {
        let (vendor, storefront) = (parties.vendor.as_deref(), input.storefront_id.as_deref());
        signature_mac(key, subject, &parties.customer, vendor, storefront)
            .is_some_and(|mac| mac.verify_slice(&signature).is_ok())
    };
    if keys.iter().any(signed_with) { Ok(()) } else { Err(Refusal::SubjectSignatureWrong.into()) }
}

/// One text for subject, people and vendor; the same from either side of a conversation between two.
pub(super) fn open_key(
    subject: &SubjectInput,
    storefront: Option<&str>,
    parties: &Parties,
) -> String {
    key_of(subject.subject_type, &subject.id, parties, storefront)
}

/// The same text for a thread that is there already, and is to be open again.
pub(crate) fn open_key_of(thread: &Thread, participants: &[Participant]) -> String {
    let member = |side: Side| {
        participants.iter().find(|it| it.side == side).map(|it| it.participant_id.clone())
    };
    let parties = Parties {
        customer: member(Side::Customer).unwrap_or_default(),
        vendor: member(Side::Vendor),
        peer: member(Side::Peer),
    };
    key_of(thread.subject_type, &thread.subject_id, &parties, thread.storefront_id.as_deref())
}

fn key_of(
    subject_type: SubjectType,
    subject_id: &String,
    parties: &Parties,
    storefront: Option<&str>,
) -> String {
    let (subject_id, customer) = match &parties.peer {
        Some(peer) if *peer > parties.customer => (&parties.customer, peer),
        Some(peer) => (peer, &parties.customer),
        None => (subject_id, &parties.customer),
    };
    key_with_vendor(subject_type, subject_id, customer, parties.vendor.as_deref(), storefront)
}

/// The same of a conversation that is not between two users.
pub(crate) fn key_with_vendor(
    subject_type: SubjectType,
    subject_id: &str,
    customer: &str,
    vendor: Option<&str>,
    storefront: Option<&str>,
) -> String {
    let key = serde_json::json!([subject_type.as_str(), subject_id, customer, vendor, storefront]);
    hex::encode(Sha256::digest(key.to_string()))
}

fn create(
    writer: &mut Writer<'_>,
    context: &Context,
    input: &ThreadStart,
    page: Option<&str>,
    parties: &Parties,
    open_key: String,
) -> Result<Thread, ChatError> {
    let now = context.timestamp();
    let id = writer.next_thread_id();
    let member = |kind, participant_id: &str, side, role: &str| Participant {
        thread_id: id,
        kind,
        participant_id: participant_id.to_owned(),
        side,
        role: role.to_owned(),
        joined_at: now,
        left_at: None,
        last_read_message_id: 0,
        activity: 0,
    };
    let mut participants =
        vec![member(ParticipantKind::User, &parties.customer, Side::Customer, "customer")];
    if let Some(vendor) = &parties.vendor {
        participants.push(member(ParticipantKind::Vendor, vendor, Side::Vendor, "vendor"));
    }
    if let Some(peer) = &parties.peer {
        participants.push(member(ParticipantKind::User, peer, Side::Peer, "peer"));
    }
    rights::require_messaging(writer, &participants)?;

    let subject = &input.subject;
    let mut thread = Thread {
        id,
        subject_type: subject.subject_type,
        subject_id: subject.id.clone(),
        subject_title: subject.title.clone(),
        subject_url: subject.url.clone().or_else(|| page.map(str::to_owned)),
        subject_image_url: subject.image_url.clone(),
        storefront_id: input.storefront_id.clone(),
        status: ThreadStatus::Open,
        open_key: Some(open_key),
        flagged: false,
        last_message_id: None,
        activity: 0,
        created_at: now,
        updated_at: now,
    };
    let topics = addressing::of_thread(writer, &thread, &participants)?;
    thread.activity = writer.emit(NewEvent {
        name: name::THREAD_CREATED,
        topics: &topics,
        cause: Cause { thread: Some(id), message: None, data: None },
        shown: None,
        request_id: &context.request_id,
        at: now,
    });
    writer.insert_thread(&thread)?;
    for participant in &mut participants {
        participant.activity = thread.activity;
        writer.insert_participant(participant)?;
    }
    if thread.subject_type == SubjectType::Support {
        support::enqueue(writer, context, id)?;
    }
    Ok(thread)
}
