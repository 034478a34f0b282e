//! Who hears what: from the people of a thread to topics, and to the users whose unread count rises.

use chaffer_shared::topic::Topic;

use super::rights;
use crate::store::{
    Badge, Participant, ParticipantKind, Reader, Role, StoreError, SubjectType, Thread, User,
};

/// What a person hears: the topics of the person's tokens and feed.
pub(crate) fn heard_by(user: &User) -> Vec<Topic> {
    let mut topics = vec![Topic::of_person(&user.id)];
    match user.role {
        Role::VendorAdmin => topics.extend(user.vendor_id.clone().map(Topic::Vendor)),
        Role::Admin if rights::manages_messages(user) => topics.push(Topic::Staff),
        // Without the right an administrator hears nothing (R8).
        Role::Admin => topics.clear(),
        Role::Customer | Role::Operator | Role::Visitor => {}
    }
    topics
}

/// Those who take part in a thread.
pub(crate) fn of_participants(participants: &[Participant]) -> Vec<Topic> {
    let topic = |participant: &Participant| match participant.kind {
        ParticipantKind::User => Topic::of_person(&participant.participant_id),
        ParticipantKind::Vendor => Topic::Vendor(participant.participant_id.clone()),
    };
    participants.iter().map(topic).collect()
}

/// All who may see a thread. Operators see support threads alone, so they are named one by one: a topic of
/// theirs would be one more thing that a token has to carry, and they are few.
pub(crate) fn of_thread(
    reader: &mut Reader<'_>,
    thread: &Thread,
    participants: &[Participant],
) -> Result<Vec<Topic>, StoreError> {
    let mut topics = of_participants(participants);
    topics.push(Topic::Staff);
    if thread.subject_type == SubjectType::Support {
        for operator in reader.operator_ids()? {
            let topic = Topic::User(operator);
            if !topics.contains(&topic) {
                topics.push(topic);
            }
        }
    }
    Ok(topics)
}

/// The users whose unread count rises with a message, and what it is before: those who take part, and all admins of a
/// vendor that does, but for its author.
/// Staff count only where they have joined.
pub(crate) fn readers(
    reader: &mut Reader<'_>,
    thread: &Thread,
    participants: &[Participant],
    author: &str,
) -> Result<Vec<Badge>, StoreError> {
    let mut readers = Vec::new();
    for Participant { kind, participant_id, .. } in participants {
        match kind {
            ParticipantKind::User if participant_id == author => {}
            ParticipantKind::User => {
                readers.extend(reader.badge_of_user(participant_id, thread.id)?);
            }
            ParticipantKind::Vendor => {
                readers.extend(reader.badges_of_vendor(participant_id, thread.id)?);
            }
        }
    }
    readers.retain(|reader| reader.user != author);
    readers.sort_unstable_by(|a, b| a.user.cmp(&b.user));
    readers.dedup_by(|a, b| a.user == b.user);
    Ok(readers)
}
