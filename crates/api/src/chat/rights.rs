//! Who may see and write what. The one place that decides; the rules ask here first.
//!
//! Customers and visitors see the threads they are in, a vendor's admins those of their vendor, operators support threads,
//! administrators all of them, if a root administrator has granted `manage_messages` (R8) — else nothing.

use super::{Caller, ChatError, Refusal};
use crate::store::{
    Id, Participant, ParticipantKind, Reader, Role, Side, SubjectType, Thread, ThreadScope, User,
};

/// How a person sits in a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seat {
    /// For which side the person speaks.
    pub(crate) side: Side,
    /// The participant whose place it is; `None` for staff who have not joined.
    pub(crate) participant: Option<Participant>,
}

/// A thread together with who is in it, and how the caller sits there.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) thread: Thread,
    pub(crate) participants: Vec<Participant>,
    pub(crate) seat: Seat,
}

/// Whether an administrator may see messages at all.
pub(crate) fn manages_messages(user: &User) -> bool {
    user.role == Role::Admin && (user.manage_messages || user.root)
}

/// Refuses administrators who lack the right (R8).
pub(crate) fn require_messages(user: &User) -> Result<(), ChatError> {
    if user.role == Role::Admin && !manages_messages(user) {
        return Err(Refusal::ManageMessagesRequired.into());
    }
    Ok(())
}

/// Refuses visitors what takes room on the shop's disks: anybody can be as many of them as it likes.
pub(crate) fn require_account(user: &User) -> Result<(), ChatError> {
    if user.role == Role::Visitor { Err(Refusal::NotAllowed.into()) } else { Ok(()) }
}

/// Refuses all but the shop's backend and those who manage messages: who keeps the list of forbidden words and the settings.
pub(crate) fn require_moderator(caller: &Caller) -> Result<(), ChatError> {
    match caller {
        Caller::Backend => Ok(()),
        Caller::User { user, .. } => {
            require_messages(user)?;
            if user.role == Role::Admin { Ok(()) } else { Err(Refusal::NotAllowed.into()) }
        }
    }
}

/// Under which keys a person takes part in threads.
pub(crate) fn participant_keys(user: &User) -> Vec<(ParticipantKind, String)> {
    let mut keys = vec![(ParticipantKind::User, user.id.clone())];
    if let (Role::VendorAdmin, Some(vendor)) = (user.role, &user.vendor_id) {
        keys.push((ParticipantKind::Vendor, vendor.clone()));
    }
    keys
}

/// Whose threads a person sees.
pub(crate) fn scopes(user: &User) -> Result<Vec<ThreadScope>, ChatError> {
    require_messages(user)?;
    let own = ThreadScope::Of(participant_keys(user));
    Ok(match user.role {
        Role::Admin => vec![ThreadScope::All],
        Role::Operator => vec![ThreadScope::OfType(SubjectType::Support), own],
        Role::Customer | Role::VendorAdmin | Role::Visitor => vec![own],
    })
}

/// Whether one of the scopes has the thread.
pub(crate) fn in_scopes(
    scopes: &[ThreadScope],
    thread: &Thread,
    participants: &[Participant],
) -> bool {
    scopes.iter().any(|scope| match scope {
        ThreadScope::All => true,
        ThreadScope::OfType(subject_type) => thread.subject_type == *subject_type,
        ThreadScope::Of(keys) => participants.iter().any(|it| {
            it.thread_id == thread.id
                && keys.iter().any(|(kind, id)| *kind == it.kind && *id == it.participant_id)
        }),
    })
}

/// How a person sits in a thread; `None` when it is not the person's to see.
pub(crate) fn seat(user: &User, thread: &Thread, participants: &[Participant]) -> Option<Seat> {
    let is_staff = match user.role {
        Role::Admin if !manages_messages(user) => return None,
        Role::Admin => true,
        Role::Operator => thread.subject_type == SubjectType::Support,
        Role::Customer | Role::VendorAdmin | Role::Visitor => false,
    };
    let keys = participant_keys(user);
    let own = participants.iter().find(|participant| {
        participant.thread_id == thread.id
            // Who joined as staff and is staff no more has lost the seat.
            && (is_staff || participant.side != Side::Staff)
            && keys.iter().any(|(kind, id)| {
                *kind == participant.kind && *id == participant.participant_id
            })
    });
    match own {
        Some(own) => Some(Seat { side: own.side, participant: Some(own.clone()) }),
        None => is_staff.then_some(Seat { side: Side::Staff, participant: None }),
    }
}

/// The thread, if the person may see it. One that is not there and one that is not the person's get the same
/// answer, so that nothing can be guessed.
pub(crate) fn see(reader: &mut Reader<'_>, user: &User, thread: Id) -> Result<Seen, ChatError> {
    require_messages(user)?;
    let (thread, participants) =
        reader.thread_with_participants(thread)?.ok_or(Refusal::ThreadNotFound)?;
    let seat = seat(user, &thread, &participants).ok_or(Refusal::ThreadNotFound)?;
    Ok(Seen { thread, participants, seat })
}

/// Refuses to begin again with a person who was erased.
pub(crate) fn require_people(
    reader: &mut Reader<'_>,
    participants: &[Participant],
) -> Result<(), ChatError> {
    let people = participants.iter().filter(|it| {
        it.kind == ParticipantKind::User && matches!(it.side, Side::Customer | Side::Peer)
    });
    let ids: Vec<&str> = people.map(|it| it.participant_id.as_str()).collect();
    match reader.users(&ids)?.iter().any(|user| user.erased_at.is_some()) {
        true => Err(Refusal::UserErased.into()),
        false => Ok(()),
    }
}

/// Refuses to write where messaging is switched off (R9) or not part of the vendor's plan (R10).
pub(crate) fn require_messaging(
    reader: &mut Reader<'_>,
    participants: &[Participant],
) -> Result<(), ChatError> {
    for participant in participants.iter().filter(|it| it.kind == ParticipantKind::Vendor) {
        let vendor = reader.vendor(&participant.participant_id)?;
        if !vendor.is_some_and(|vendor| vendor.may_message()) {
            return Err(Refusal::MessagingDisabled.into());
        }
    }
    Ok(())
}
