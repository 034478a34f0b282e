//! Users, mirrored from the shop, and their tokens.

use chaffer_shared::event::{Revocation, name};
use chaffer_shared::token::{Bearer, Claims, MAX_TTL_SECONDS};
use chaffer_shared::topic::{self, Topic};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use utoipa::ToSchema;

use super::audit::{self, action};
use super::validate::Problems;
use super::views::UserView;
use super::{
    Caller, ChatError, Context, Credentials, Refusal, addressing, object, rights, support,
};
use crate::store::{Cause, Id, NewEvent, Reader, Role, SubjectType, User, UserFields, Writer};

/// The most profiles of one user.
const MAX_PROFILES: usize = 50;

/// What the shop says of a user; replaces what it said before.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(
    example = json!({
        "role": "customer", "name": "Anna", "email": "anna@example.com", "locale": "en"
    })
)]
pub struct UserInput {
    /// What the user is to the shop; never `visitor`, whom the shop does not know.
    pub role: Role,
    /// The name others see.
    #[schema(example = "Anna")]
    pub name: String,
    /// For mails.
    pub email: Option<String>,
    /// The picture others see (http or https).
    pub avatar_url: Option<String>,
    /// For linking contacts of messengers.
    pub phone: Option<String>,
    /// The language of mails and pages, e.g. `en` or `ru-RU`.
    #[schema(example = "en")]
    pub locale: Option<String>,
    /// Of a vendor admin: the vendor.
    pub vendor_id: Option<String>,
    /// Of an admin: may grant rights to others (R8).
    #[serde(default)]
    pub root: bool,
    /// Of an admin: may see and write messages (R8).
    #[serde(default)]
    pub manage_messages: bool,
    /// The shop's user profiles (W2).
    #[serde(default)]
    pub profiles: Vec<String>,
}

/// What changes of a user; absent fields stay as they are, null empties one.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(example = json!({"name": "Anna B.", "phone": null}))]
#[expect(clippy::option_option, reason = "absent and null differ")]
pub struct UserPatch {
    #[serde(deserialize_with = "object::not_null")]
    #[schema(nullable = false)]
    pub role: Option<Role>,
    #[serde(deserialize_with = "object::not_null")]
    #[schema(nullable = false)]
    pub name: Option<String>,
    #[serde(deserialize_with = "object::nullable")]
    #[schema(value_type = Option<String>)]
    pub email: Option<Option<String>>,
    #[serde(deserialize_with = "object::nullable")]
    #[schema(value_type = Option<String>)]
    pub avatar_url: Option<Option<String>>,
    #[serde(deserialize_with = "object::nullable")]
    #[schema(value_type = Option<String>)]
    pub phone: Option<Option<String>>,
    #[serde(deserialize_with = "object::nullable")]
    #[schema(value_type = Option<String>)]
    pub locale: Option<Option<String>>,
    #[serde(deserialize_with = "object::nullable")]
    #[schema(value_type = Option<String>)]
    pub vendor_id: Option<Option<String>>,
    #[serde(deserialize_with = "object::not_null")]
    #[schema(nullable = false)]
    pub root: Option<bool>,
    #[serde(deserialize_with = "object::not_null")]
    #[schema(nullable = false)]
    pub manage_messages: Option<bool>,
    #[serde(deserialize_with = "object::not_null")]
    #[schema(nullable = false)]
    pub profiles: Option<Vec<String>>,
}

/// How long a token is to live.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(example = json!({"ttl_seconds": 3600}))]
pub struct TokenRequest {
    /// Seconds, at most 3600.
    #[schema(default = 3600, minimum = 1, maximum = 3600)]
    pub ttl_seconds: i64,
}

impl Default for TokenRequest {
    fn default() -> Self {
        Self { ttl_seconds: MAX_TTL_SECONDS }
    }
}

/// Mirrors a user; tells whether it is a new one.
///
/// # Errors
/// What is wrong with the fields, or why the caller may not.
pub(crate) fn put(
    writer: &mut Writer<'_>,
    credentials: &Credentials,
    context: &Context,
    id: &str,
    input: &UserInput,
) -> Result<(UserView, bool), ChatError> {
    let caller = Caller::resolve(writer, credentials)?;
    caller.require_backend_or_root()?;
    check_id(id)?;
    let before = writer.user(id)?;
    let done = save(writer, context, id, input)?;
    note_rights(writer, &caller, context, before.as_ref(), id)?;
    Ok(done)
}

/// Changes some fields of a user.
///
/// # Errors
/// What is wrong with the fields, or why the caller may not.
pub(crate) fn patch(
    writer: &mut Writer<'_>,
    credentials: &Credentials,
    context: &Context,
    id: &str,
    patch: UserPatch,
) -> Result<UserView, ChatError> {
    let caller = Caller::resolve(writer, credentials)?;
    caller.require_backend_or_root()?;
    check_id(id)?;
    let before = present(writer, id)?;
    let now = UserView::from(before.clone());
    let input = UserInput {
        role: patch.role.unwrap_or(now.role),
        name: patch.name.unwrap_or(now.name),
        email: patch.email.unwrap_or(now.email),
        avatar_url: patch.avatar_url.unwrap_or(now.avatar_url),
        phone: patch.phone.unwrap_or(now.phone),
        locale: patch.locale.unwrap_or(now.locale),
        vendor_id: patch.vendor_id.unwrap_or(now.vendor_id),
        root: patch.root.unwrap_or(now.root),
        manage_messages: patch.manage_messages.unwrap_or(now.manage_messages),
        profiles: patch.profiles.unwrap_or(now.profiles),
    };
    let (view, _) = save(writer, context, id, &input)?;
    note_rights(writer, &caller, context, Some(&before), id)?;
    Ok(view)
}

/// Notes who may do more, or less, than before: staff by their role and rights, and who acts for which vendor.
fn note_rights(
    writer: &mut Writer<'_>,
    caller: &Caller,
    context: &Context,
    before: Option<&User>,
    id: &str,
) -> Result<(), ChatError> {
    let rights = |user: &User| {
        serde_json::json!({
            "role": user.role,
            "vendor_id": user.vendor_id,
            "root": user.root,
            "manage_messages": user.manage_messages,
        })
    };
    let after = writer.user(id)?.ok_or(Refusal::UserNotFound)?;
    let (from, to) = (before.map(rights), rights(&after));
    let is_news = match &from {
        Some(from) => *from != to,
        None => after.role != Role::Customer,
    };
    if !is_news {
        return Ok(());
    }
    let data = Some(serde_json::json!({"from": from, "to": to}));
    audit::note(writer, caller, context, action::RIGHTS_CHANGED, audit::user(id), data)
}

/// One user, for the shop's backend or the user itself.
///
/// # Errors
/// Why the caller may not.
pub(crate) fn get(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
    id: &str,
) -> Result<UserView, ChatError> {
    let caller = Caller::resolve(reader, credentials)?;
    match &caller {
        Caller::User { user, .. } if user.id == id => {}
        _ => caller.require_backend_or_root()?,
    }
    Ok(reader.user(id)?.ok_or(Refusal::UserNotFound)?.into())
}

/// What a new token of a user says.
///
/// # Errors
/// When it is not the shop's backend that asks, or there is no such user.
pub(crate) fn token(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
    context: &Context,
    id: &str,
    jti: &str,
    request: &TokenRequest,
) -> Result<Claims, ChatError> {
    Caller::resolve(reader, credentials)?.require_backend()?;
    check_id(id)?;
    let mut problems = Problems::default();
    if !(1..=MAX_TTL_SECONDS).contains(&request.ttl_seconds) {
        problems.add("/ttl_seconds", format!("must be from 1 to {MAX_TTL_SECONDS}"));
    }
    problems.finish()?;
    let user = present(reader, id)?;
    Ok(claims(&user, jti, context.now, request.ttl_seconds))
}

/// A user who was not erased.
///
/// # Errors
/// [`Refusal::UserNotFound`], [`Refusal::UserErased`].
pub(crate) fn present(reader: &mut Reader<'_>, id: &str) -> Result<User, ChatError> {
    let user = reader.user(id)?.ok_or(Refusal::UserNotFound)?;
    match user.erased_at {
        Some(_) => Err(Refusal::UserErased.into()),
        None => Ok(user),
    }
}

/// What a token of this user says.
pub(crate) fn claims(user: &User, jti: &str, now: DateTime<Utc>, ttl_seconds: i64) -> Claims {
    // A token that is asked for in the very moment of a revocation belongs to the time after it.
    let issued = match user.revoked_before {
        Some(before) => now.max(before.and_utc() + TimeDelta::milliseconds(1)),
        None => now,
    };
    let kind = if topic::is_visitor(&user.id) { Bearer::Visitor } else { Bearer::User };
    Claims::new(kind, &user.id, addressing::heard_by(user), jti, issued, ttl_seconds)
}

/// Refuses what is no id, or none that the shop may give.
fn check_id(id: &str) -> Result<(), ChatError> {
    let mut problems = Problems::default();
    problems.shop_id("id", id);
    problems.finish()
}

/// Mirrors a user on the shop's own word.
pub(crate) fn save(
    writer: &mut Writer<'_>,
    context: &Context,
    id: &str,
    input: &UserInput,
) -> Result<(UserView, bool), ChatError> {
    check(writer, input)?;
    let fields = UserFields {
        role: input.role,
        name: input.name.clone(),
        email: input.email.clone(),
        avatar_url: input.avatar_url.clone(),
        phone: input.phone.clone(),
        locale: input.locale.clone(),
        vendor_id: input.vendor_id.clone(),
        root: input.root,
        manage_messages: input.manage_messages,
        profiles: serde_json::json!(input.profiles).to_string(),
    };
    let before = writer.user(id)?;
    if before.as_ref().is_some_and(|user| user.erased_at.is_some()) {
        return Err(Refusal::UserErased.into());
    }
    match &before {
        None => writer.insert_user(id, &fields, context.timestamp())?,
        Some(_) => writer.update_user(id, &fields, context.timestamp())?,
    }
    let after = writer.user(id)?.ok_or(Refusal::UserNotFound)?;
    if let Some(before) = &before
        && has_lost_something(before, &after)
    {
        withdraw(writer, context, &after)?;
    }
    Ok((after.into(), before.is_none()))
}

fn check(reader: &mut Reader<'_>, input: &UserInput) -> Result<(), ChatError> {
    let mut problems = Problems::default();
    problems.line("/name", &input.name);
    problems.email("/email", input.email.as_deref());
    problems.url("/avatar_url", input.avatar_url.as_deref());
    problems.optional_line("/phone", input.phone.as_deref());
    problems.optional_line("/locale", input.locale.as_deref());
    if input.profiles.len() > MAX_PROFILES {
        problems.add("/profiles", format!("must not be more than {MAX_PROFILES}"));
    }
    for (index, profile) in input.profiles.iter().enumerate() {
        problems.line(&format!("/profiles/{index}"), profile);
    }
    match (&input.vendor_id, input.role) {
        (None, Role::VendorAdmin) => problems.add("/vendor_id", "is required for a vendor_admin"),
        (Some(vendor), Role::VendorAdmin) => {
            if reader.vendor(vendor)?.is_none() {
                problems.add("/vendor_id", "there is no such vendor; PUT /v1/vendors/{id} first");
            }
        }
        (Some(_), _) => problems.add("/vendor_id", "is for a vendor_admin only"),
        (None, _) => {}
    }
    if input.role == Role::Visitor {
        problems.add("/role", "visitors have no account; they come by POST /v1/widget/sessions");
    }
    if input.role != Role::Admin {
        for (pointer, set) in [("/root", input.root), ("/manage_messages", input.manage_messages)] {
            if set {
                problems.add(pointer, "is for an admin only");
            }
        }
    }
    problems.finish()
}

fn has_lost_something(before: &User, after: &User) -> bool {
    let heard = addressing::heard_by(after);
    addressing::heard_by(before).iter().any(|topic| !heard.contains(topic))
        || (before.role == Role::Operator && after.role != Role::Operator)
}

/// Takes back what came with a right that has ended: the part in threads joined as staff, the counts of threads that
/// are no longer the user's to see, the tokens, the open sockets.
fn withdraw(writer: &mut Writer<'_>, context: &Context, user: &User) -> Result<(), ChatError> {
    if !rights::manages_messages(user) {
        let kept = (user.role == Role::Operator).then_some(SubjectType::Support);
        if kept.is_none() {
            support::release_all(writer, context, user)?;
        }
        writer.leave_as_staff(&user.id, kept, context.timestamp())?;
    }
    let states = writer.all_read_states(&user.id)?;
    let ids: Vec<Id> = states.iter().map(|state| state.thread_id).collect();
    let threads = writer.threads(&ids)?;
    let participants = writer.participants(&ids)?;
    let visible = |thread: Id| {
        threads.iter().any(|it| it.id == thread && rights::seat(user, it, &participants).is_some())
    };
    let hidden: Vec<_> = states.iter().filter(|state| !visible(state.thread_id)).collect();
    let hidden_ids: Vec<Id> = hidden.iter().map(|state| state.thread_id).collect();
    writer.delete_read_states(&user.id, &hidden_ids)?;
    writer.add_unread_total(
        &[&user.id],
        -hidden.iter().map(|state| state.unread_count).sum::<i64>(),
    )?;

    revoke(writer, context, user)
}

/// Ends a user's tokens and open sockets.
pub(crate) fn revoke(
    writer: &mut Writer<'_>,
    context: &Context,
    user: &User,
) -> Result<(), ChatError> {
    // Later than any revocation before, whatever the clock of this node says.
    let before = match user.revoked_before {
        Some(last) => context.now.max(last.and_utc() + TimeDelta::milliseconds(1)),
        None => context.now,
    };
    writer.revoke_tokens(&user.id, before.naive_utc())?;
    writer.emit(NewEvent {
        name: name::SESSION_REVOKED,
        topics: &[Topic::of_person(&user.id)],
        cause: Cause {
            thread: None,
            message: None,
            data: serde_json::to_value(Revocation { before }).ok(),
        },
        shown: None,
        request_id: &context.request_id,
        at: context.timestamp(),
    });
    Ok(())
}
