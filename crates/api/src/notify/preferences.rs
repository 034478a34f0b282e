//! Which mails a person wants: chosen over the API, or behind the link in a mail.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::addresses::MailKeys;
use crate::chat::{Caller, ChatError, Credentials, Refusal, users};
use crate::store::{MailChoice, Reader, Writer};

/// Which mails a person wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"mails": "digest"}))]
pub struct MailPreferences {
    /// Which.
    pub mails: MailChoice,
}

/// What a person has chosen.
///
/// # Errors
/// Why the caller may not.
pub(crate) fn get(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
    user: &str,
) -> Result<MailPreferences, ChatError> {
    require_self(reader, credentials, user)?;
    let user = reader.user(user)?.ok_or(Refusal::UserNotFound)?;
    Ok(MailPreferences { mails: user.mail_choice })
}

/// Keeps a person's choice.
///
/// # Errors
/// Why the caller may not.
pub(crate) fn put(
    writer: &mut Writer<'_>,
    credentials: &Credentials,
    user: &str,
    preferences: MailPreferences,
) -> Result<MailPreferences, ChatError> {
    require_self(writer, credentials, user)?;
    users::present(writer, user)?;
    writer.set_mail_choice(user, preferences.mails)?;
    Ok(preferences)
}

/// The person, or the shop's backend.
fn require_self(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
    id: &str,
) -> Result<(), ChatError> {
    match Caller::resolve(reader, credentials)? {
        Caller::User { user, .. } if user.id == id => Ok(()),
        caller => caller.require_backend(),
    }
}

/// Whose link it is, and what that person has chosen.
///
/// # Errors
/// [`Refusal::MailLinkInvalid`] when it is nobody's.
pub(crate) fn by_link(
    reader: &mut Reader<'_>,
    keys: &MailKeys,
    token: &str,
) -> Result<(String, MailPreferences), ChatError> {
    let user = keys.read_unsubscribe_token(token).ok_or(Refusal::MailLinkInvalid)?;
    let user = reader.user(&user)?.filter(|user| user.erased_at.is_none());
    let user = user.ok_or(Refusal::MailLinkInvalid)?;
    Ok((user.id, MailPreferences { mails: user.mail_choice }))
}

/// Keeps a choice made behind a link.
///
/// # Errors
/// [`Refusal::MailLinkInvalid`] when it is nobody's.
pub(crate) fn put_by_link(
    writer: &mut Writer<'_>,
    keys: &MailKeys,
    token: &str,
    preferences: MailPreferences,
) -> Result<MailPreferences, ChatError> {
    let (user, _) = by_link(writer, keys, token)?;
    writer.set_mail_choice(&user, preferences.mails)?;
    Ok(preferences)
}
