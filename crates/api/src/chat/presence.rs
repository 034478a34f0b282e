//! Whose presence a person may see: people the person shares a thread with.

use std::collections::BTreeSet;

use super::{Caller, ChatError, Credentials, rights};
use crate::store::{ParticipantKind, Reader, Role};

/// Those of the users asked for whose presence the caller may see, and the caller's id. The others are left out, whether
/// they exist or not.
///
/// # Errors
/// Why the caller may not.
pub(crate) fn visible(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
    wanted: &[String],
) -> Result<(String, Vec<String>), ChatError> {
    let caller = Caller::resolve(reader, credentials)?;
    let user = caller.person()?;
    rights::require_messages(user)?;
    let ids: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let known = reader.users(&ids)?;
    if user.role == Role::Admin {
        let visible = wanted.iter().filter(|id| known.iter().any(|user| user.id == **id));
        return Ok((user.id.clone(), visible.cloned().collect()));
    }
    let mut shared: BTreeSet<(ParticipantKind, String)> = BTreeSet::new();
    let keys: Vec<_> = known.iter().flat_map(rights::participant_keys).collect();
    for (kind, id) in rights::participant_keys(user) {
        shared.extend(reader.share_a_thread(kind, &id, &keys)?);
    }
    let is_visible = |id: &&String| {
        **id == user.id
            || known.iter().any(|it| {
                it.id == **id && rights::participant_keys(it).iter().any(|key| shared.contains(key))
            })
    };
    let visible = wanted.iter().filter(is_visible).cloned().collect();
    Ok((user.id.clone(), visible))
}
