//! Whose presence a person may see: people the person shares a thread with; and when people were last seen.

use std::collections::{BTreeMap, BTreeSet};

use chaffer_shared::health::UserPresence;
use chrono::SubsecRound;

use super::{Caller, ChatError, Credentials, rights};
use crate::store::{ParticipantKind, Reader, Role, StoreError, Timestamp, Writer};

/// Whose presence a caller may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visible {
    /// Who asks.
    pub asker: String,
    /// Of those asked for, the ones that the caller may know of.
    pub users: Vec<String>,
    /// When those of them were last seen of whom that is kept.
    pub last_seen: BTreeMap<String, Timestamp>,
}

/// Those of the users asked for whose presence the caller may see, and the caller's id. The others are left out, whether
/// they exist or not.
///
/// # Errors
/// Why the caller may not.
pub(crate) fn visible(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
    wanted: &[String],
) -> Result<Visible, ChatError> {
    let caller = Caller::resolve(reader, credentials)?;
    let user = caller.person()?;
    rights::require_messages(user)?;
    let ids: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let mut known = reader.users(&ids)?;
    // Of an erased person nothing is told, whatever the push daemon remembers.
    known.retain(|user| user.erased_at.is_none());
    let users: Vec<String> = if user.role == Role::Admin {
        let is_known = |id: &&String| known.iter().any(|user| user.id == **id);
        wanted.iter().filter(is_known).cloned().collect()
    } else {
        let mut shared: BTreeSet<(ParticipantKind, String)> = BTreeSet::new();
        let keys: Vec<_> = known.iter().flat_map(rights::participant_keys).collect();
        for (kind, id) in rights::participant_keys(user) {
            shared.extend(reader.share_a_thread(kind, &id, &keys)?);
        }
        let is_visible = |id: &&String| {
            **id == user.id
                || known.iter().any(|it| {
                    it.id == **id
                        && rights::participant_keys(it).iter().any(|key| shared.contains(key))
                })
        };
        wanted.iter().filter(is_visible).cloned().collect()
    };
    let last_seen = reader.last_seen(&users)?;
    Ok(Visible { asker: user.id.clone(), users, last_seen })
}

/// Keeps when people were last seen, as the push daemon tells it; who was seen later stays so. In whole seconds, so that those
/// who left in the same one are one statement: when the daemon ends that is everybody.
///
/// # Errors
/// The store's own.
pub(crate) fn keep(writer: &mut Writer<'_>, gone: &[UserPresence]) -> Result<(), StoreError> {
    let mut by_moment: BTreeMap<Timestamp, Vec<&str>> = BTreeMap::new();
    for user in gone {
        if let Some(at) = user.last_seen_at {
            by_moment.entry(at.naive_utc().trunc_subsecs(0)).or_default().push(&user.user_id);
        }
    }
    by_moment.into_iter().try_for_each(|(at, users)| writer.note_last_seen(&users, at))
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta, Utc};

    use super::*;
    use crate::chat::{erasure, export};
    use crate::store::testing::databases;
    use crate::testing::{acting, context, shop};

    fn gone(user_id: &str, at: DateTime<Utc>) -> UserPresence {
        UserPresence { user_id: user_id.into(), online: false, last_seen_at: Some(at) }
    }

    #[test]
    fn the_last_time_that_somebody_was_seen_is_kept_and_erased_with_the_person() {
        for mut fresh in databases() {
            shop(&mut fresh, 1);
            let now = context().now.trunc_subsecs(0);
            let later = now + TimeDelta::milliseconds(10_500);
            let people = [gone("c", later), gone("a0", now), gone("nobody", now)];
            fresh.write(|writer| keep(writer, &people)).unwrap();
            // Told of by another node, later than it happened.
            fresh.write(|writer| keep(writer, &[gone("c", now), gone("a0", later)])).unwrap();
            let all = ["c", "d", "a0", "nobody"].map(str::to_owned);
            let kept = fresh.read(|reader| visible(reader, &acting("staff"), &all)).unwrap();
            assert_eq!(kept.users, ["c", "d", "a0"]);
            let second = (now + TimeDelta::seconds(10)).naive_utc();
            let expected = [("a0".to_owned(), second), ("c".to_owned(), second)];
            assert_eq!(kept.last_seen, BTreeMap::from(expected), "{}", fresh.url);

            // It is the person's own to have.
            let profile = fresh.read(|reader| {
                let user = reader.user("c").unwrap().unwrap();
                export::profile(reader, &user).unwrap()
            });
            let text = chaffer_shared::time::format(&second.and_utc());
            assert_eq!(profile["last_seen_at"], text.as_str());

            let root = acting("staff");
            fresh.write(|writer| erasure::begin(writer, &root, &context(), "c")).unwrap();
            let last_seen = |reader: &mut Reader<'_>| reader.last_seen(&all).unwrap();
            assert!(!fresh.read(last_seen).contains_key("c"));
            // What the push daemon tells after that is of nobody.
            fresh.write(|writer| keep(writer, &[gone("c", later)])).unwrap();
            assert!(!fresh.read(last_seen).contains_key("c"));
            let left = fresh.read(|reader| visible(reader, &acting("staff"), &all)).unwrap();
            assert_eq!(left.users, ["d", "a0"]);
        }
    }

    #[test]
    fn those_who_left_in_the_same_second_are_one_statement() {
        for mut fresh in databases() {
            shop(&mut fresh, 50);
            let now = context().now.trunc_subsecs(0);
            let people: Vec<_> = (0..50)
                .map(|n| gone(&format!("a{n}"), now + TimeDelta::milliseconds(n * 10)))
                .collect();
            let made = fresh.statements(|fresh| {
                fresh.write(|writer| keep(writer, &people)).unwrap();
            });
            let updates = made.iter().filter(|sql| sql.contains("last_seen_at"));
            assert_eq!(updates.count(), 1, "{made:#?}");
        }
    }
}
