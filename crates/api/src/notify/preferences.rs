//! Which mails a person wants: chosen over the API, or behind the link in a mail.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::addresses::{MailKeys, UnsubscribeLink};
use super::templates;
use crate::chat::{Caller, ChatError, Context, Credentials, Refusal, settings, users};
use crate::store::{MailChoice, Reader, Role, StoreError, User, Writer};

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

/// What stands behind the link in a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Which mails come.
    pub mails: MailChoice,
    /// The languages in which the person is spoken to, the best one first.
    pub languages: Vec<String>,
}

/// Which mails a person gets: what the person has chosen, unless it is a visitor whose address wants none.
///
/// # Errors
/// The store's own.
pub(super) fn wanted(reader: &mut Reader<'_>, user: &User) -> Result<MailChoice, StoreError> {
    match address_of_visitor(user) {
        Some(address) if reader.refuses_mail(&address)? => Ok(MailChoice::None),
        _ => Ok(user.mail_choice),
    }
}

/// What an address is known by that stands for whoever comes with it. Others have an account for their choice.
fn address_of_visitor(user: &User) -> Option<String> {
    let address = user.email.as_ref().filter(|_| user.role == Role::Visitor)?;
    Some(hex::encode(Sha256::digest(address.to_lowercase())))
}

/// The unsubscribe link in a mail that goes to this person now.
pub(super) fn link_of(user: &User) -> UnsubscribeLink {
    UnsubscribeLink { user: user.id.clone(), address: address_of_visitor(user) }
}

/// What was chosen behind this link: for the address, if it is one, else by the person.
///
/// # Errors
/// [`Refusal::MailLinkInvalid`] when it is nobody's.
pub(crate) fn by_link(
    reader: &mut Reader<'_>,
    keys: &MailKeys,
    token: &str,
) -> Result<Choice, ChatError> {
    let (link, user) = read_link(reader, keys, token)?;
    let mails = match &link.address {
        Some(address) if reader.refuses_mail(address)? => MailChoice::None,
        _ => user.mail_choice,
    };
    choice(reader, &user, mails)
}

/// Keeps a choice made behind a link; in a mail to a visitor it counts for the address that got the mail, which may not be the visitor's
/// any more.
///
/// # Errors
/// [`Refusal::MailLinkInvalid`] when it is nobody's.
pub(crate) fn put_by_link(
    writer: &mut Writer<'_>,
    context: &Context,
    keys: &MailKeys,
    token: &str,
    mails: MailChoice,
) -> Result<Choice, ChatError> {
    let (link, user) = read_link(writer, keys, token)?;
    writer.set_mail_choice(&user.id, mails)?;
    match &link.address {
        Some(address) if mails == MailChoice::None => {
            writer.refuse_mail(address, context.timestamp())?;
        }
        Some(address) => writer.allow_mail(address)?,
        None => {}
    }
    choice(writer, &user, mails)
}

fn read_link(
    reader: &mut Reader<'_>,
    keys: &MailKeys,
    token: &str,
) -> Result<(UnsubscribeLink, User), ChatError> {
    let link = keys.read_unsubscribe_token(token).ok_or(Refusal::MailLinkInvalid)?;
    let user = reader.user(&link.user)?.filter(|user| user.erased_at.is_none());
    Ok((link, user.ok_or(Refusal::MailLinkInvalid)?))
}

fn choice(reader: &mut Reader<'_>, user: &User, mails: MailChoice) -> Result<Choice, ChatError> {
    let shop = settings::read(reader)?;
    Ok(Choice { mails, languages: templates::languages(user.locale.as_deref(), &shop.language) })
}
