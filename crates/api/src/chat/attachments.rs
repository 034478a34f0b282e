//! Files of messages (B2): who may upload and send them, how they look to readers, and the signed addresses at which they are for a
//! short time, since a page's image tag sends no token.

use std::sync::OnceLock;

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use utoipa::ToSchema;

use super::screening::{self, Screened, WordList};
use super::validate::Problems;
use super::{Caller, ChatError, Context, Credentials, Refusal, rights, settings};
use crate::store::{Attachment, Id, NewAttachment, Reader, Timestamp, User, Writer};

/// The most files that one person may have uploaded and not sent.
const MAX_UNSENT: i64 = 50;
/// The most that a body may name; the setting says how many may be sent.
pub(crate) const MAX_IDS: usize = 50;
/// Addresses are good until the end of the period after the one in which they were made, so for 30 to 60 minutes; within one they stay
/// the same, and browsers may keep what they have fetched.
const PERIOD_SECONDS: i64 = 1800;
/// Bytes of a signature.
const SIGNATURE_BYTES: usize = 16;

/// Where the API is reached from outside, set once at the start; addresses are paths without it.
static PUBLIC_URL: OnceLock<String> = OnceLock::new();

/// Makes the addresses of files whole ones.
pub fn set_public_url(url: &str) {
    let _ = PUBLIC_URL.set(url.trim_end_matches('/').to_owned());
}

/// A file of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(
    example = json!({
        "id": 5, "name": "mug.jpg", "size": 48213, "mime_type": "image/jpeg", "width": 1200, "height": 900,
        "url": "/v1/attachments/5/file?expires=1772359200&signature=5f0c2d7b9f1e4a6c8d3b2a1908f7e6d5",
        "thumbnail_url": "/v1/attachments/5/thumbnail?expires=1772359200&signature=0a9b8c7d6e5f4a3b2c1d0e9f8a7b6c5d"
    })
)]
pub struct AttachmentView {
    /// Its number, for `attachment_ids`.
    #[schema(value_type = i64, example = 5)]
    pub id: Id,
    /// What it is called.
    #[schema(example = "mug.jpg")]
    pub name: String,
    /// Bytes.
    #[schema(example = 48213)]
    pub size: i64,
    /// What it is, by its content.
    #[schema(example = "image/jpeg")]
    pub mime_type: String,
    /// Of a picture, in pixels.
    #[schema(required = true)]
    pub width: Option<i32>,
    /// Of a picture, in pixels.
    #[schema(required = true)]
    pub height: Option<i32>,
    /// Where it is, for half an hour at least: a path, or a whole address where `mail.public_url` is set.
    pub url: String,
    /// Where a small picture of it is, of at most 480 pixels a side.
    #[schema(required = true)]
    pub thumbnail_url: Option<String>,
}

/// Which bytes of an attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The file itself.
    File,
    /// The small picture.
    Thumbnail,
}

impl Part {
    fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Thumbnail => "thumbnail",
        }
    }
}

/// An attachment as its readers see it.
pub(crate) fn view(attachment: &Attachment, now: DateTime<Utc>) -> AttachmentView {
    let expires = (now.timestamp() / PERIOD_SECONDS + 2) * PERIOD_SECONDS;
    let address = |part: Part| {
        let signature = mac(attachment, part, expires).map(|mac| mac.finalize().into_bytes());
        let signature =
            signature.map(|bytes| hex::encode(bytes.get(..SIGNATURE_BYTES).unwrap_or_default()));
        format!(
            "{}/v1/attachments/{}/{}?expires={expires}&signature={}",
            PUBLIC_URL.get().map_or("", String::as_str),
            attachment.id,
            part.as_str(),
            signature.unwrap_or_default()
        )
    };
    AttachmentView {
        id: attachment.id,
        name: attachment.name.clone(),
        size: attachment.size,
        mime_type: attachment.mime_type.clone(),
        width: attachment.width,
        height: attachment.height,
        url: address(Part::File),
        thumbnail_url: attachment.thumbnail.as_ref().map(|_| address(Part::Thumbnail)),
    }
}

fn mac(attachment: &Attachment, part: Part, expires: i64) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(attachment.secret.as_bytes()).ok()?;
    mac.update(format!("{}:{expires}", part.as_str()).as_bytes());
    Some(mac)
}

/// What an upload may be.
#[derive(Debug, Clone)]
pub struct UploadLimits {
    /// Who uploads.
    pub owner: String,
    pub max_bytes: u64,
    pub images_only: bool,
}

/// Whether the caller may upload a file, before its bytes are taken.
///
/// # Errors
/// Why not.
pub(crate) fn may_upload(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
) -> Result<UploadLimits, ChatError> {
    let caller = Caller::resolve(reader, credentials)?;
    let user = caller.person()?;
    rights::require_messages(user)?;
    rights::require_account(user)?;
    let settings = settings::read(reader)?;
    if settings.attachment_types == settings::NO_ATTACHMENTS {
        return Err(Refusal::AttachmentsOff.into());
    }
    if reader.count_unsent(&user.id)? >= MAX_UNSENT {
        return Err(Refusal::TooManyUploads.into());
    }
    let megabytes = u64::try_from(settings.attachment_max_megabytes).unwrap_or(0);
    Ok(UploadLimits {
        owner: user.id.clone(),
        max_bytes: megabytes << 20,
        images_only: settings.attachment_types == settings::IMAGES,
    })
}

/// Notes an upload, before its bytes are kept: what is noted and was not kept is given up like what was never sent.
///
/// # Errors
/// That the owner was erased while the bytes came.
pub(crate) fn note(
    writer: &mut Writer<'_>,
    context: &Context,
    new: &NewAttachment,
) -> Result<(Attachment, AttachmentView), ChatError> {
    let owner = writer.user(&new.owner_id)?.ok_or(Refusal::UserNotFound)?;
    if owner.erased_at.is_some() {
        return Err(Refusal::UserErased.into());
    }
    let attachment = writer.insert_attachment(new.clone())?;
    let view = view(&attachment, context.now);
    Ok((attachment, view))
}

/// Whether an upload that was noted is still to be kept: not if its owner was erased since.
///
/// # Errors
/// The store's own.
pub(crate) fn is_wanted(reader: &mut Reader<'_>, upload: Id) -> Result<bool, ChatError> {
    Ok(!reader.attachments(&[upload])?.is_empty())
}

/// Gives an upload up whose bytes may have come after its row was: it is noted once more, so that they go now.
///
/// # Errors
/// The store's own.
pub(crate) fn give_up(
    writer: &mut Writer<'_>,
    upload: Id,
    new: &NewAttachment,
    now: Timestamp,
) -> Result<(), ChatError> {
    writer.remove_attachment(upload, now)?;
    let again = writer.insert_attachment(NewAttachment { name: String::new(), ..new.clone() })?;
    Ok(writer.remove_attachment(again.id, now)?)
}

/// The addresses in an answer that was given before have expired, maybe: they are made anew. Files that are gone are left out.
///
/// # Errors
/// The store's own.
pub(crate) fn sign_anew(
    reader: &mut Reader<'_>,
    context: &Context,
    views: &mut Vec<AttachmentView>,
) -> Result<(), ChatError> {
    let ids: Vec<Id> = views.iter().map(|it| it.id).collect();
    let found = if ids.is_empty() { Vec::new() } else { reader.attachments(&ids)? };
    views.retain_mut(|it| {
        let Some(attachment) = found.iter().find(|found| found.id == it.id) else { return false };
        *it = view(attachment, context.now);
        true
    });
    Ok(())
}

/// A file by its signed address.
///
/// # Errors
/// [`Refusal::AttachmentNotFound`] when it is gone, or the signature is none of ours; [`Refusal::AddressExpired`].
pub(crate) fn at_address(
    reader: &mut Reader<'_>,
    context: &Context,
    id: Id,
    part: Part,
    expires: i64,
    signature: &str,
) -> Result<Attachment, ChatError> {
    let attachment = reader.attachments(&[id])?.pop().ok_or(Refusal::AttachmentNotFound)?;
    let signature = hex::decode(signature).map_err(|_| Refusal::AttachmentNotFound)?;
    let is_ours = signature.len() == SIGNATURE_BYTES
        && mac(&attachment, part, expires)
            .is_some_and(|mac| mac.verify_truncated_left(&signature).is_ok());
    if !is_ours {
        return Err(Refusal::AttachmentNotFound.into());
    }
    if context.now.timestamp() >= expires {
        return Err(Refusal::AddressExpired.into());
    }
    Ok(attachment)
}

/// The files that are to be sent with a message: the author's own, each once, and none that was sent before. Their names go through the
/// list of forbidden words like the text.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn to_send(
    writer: &mut Writer<'_>,
    list: &WordList,
    author: &User,
    ids: &[Id],
    screened: &mut Screened,
) -> Result<Vec<Attachment>, ChatError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut problems = Problems::default();
    let most = settings::read(writer)?.attachments_per_message;
    if i64::try_from(ids.len()).map_or(true, |count| count > most) {
        problems.add("/attachment_ids", format!("must not be more than {most}"));
    }
    problems.finish()?;
    let found = writer.attachments(ids)?;
    let mut problems = Problems::default();
    let mut sent: Vec<Attachment> = Vec::new();
    for (place, id) in ids.iter().enumerate() {
        let is_free =
            |it: &&Attachment| it.id == *id && it.owner_id == author.id && it.message_id.is_none();
        match found.iter().find(is_free) {
            Some(it) if sent.iter().all(|sent| sent.id != *id) => sent.push(it.clone()),
            _ => problems.add(
                &format!("/attachment_ids/{place}"),
                "there is no such attachment of yours, or it was sent already",
            ),
        }
    }
    problems.finish()?;
    for attachment in &mut sent {
        // Without the extension, which may look like the end of a domain.
        let (stem, extension) = attachment.name.rsplit_once('.').unwrap_or((&attachment.name, ""));
        let name = screening::screen(writer, list, stem)?;
        screened.flagged |= name.flagged;
        let dot = if extension.is_empty() { "" } else { "." };
        attachment.name = format!("{}{dot}{extension}", name.text);
    }
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::erasure;
    use crate::store::testing::databases;
    use crate::testing::{acting, context, file_of, shop};

    #[test]
    fn a_file_whose_owner_was_erased_while_it_came_is_refused() {
        for mut fresh in databases() {
            shop(&mut fresh, 0);
            let new = file_of("c", "abc");
            fresh.write(|writer| note(writer, &context(), &new)).unwrap();
            fresh
                .write(|writer| erasure::begin(writer, &acting("staff"), &context(), "c"))
                .unwrap();
            let refused = fresh.write(|writer| note(writer, &context(), &new));
            assert!(matches!(refused, Err(ChatError::Refused(Refusal::UserErased))));
        }
    }
}
