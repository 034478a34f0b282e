//! What a conversation from elsewhere becomes here. One batch is one transaction: people, threads, messages and what is
//! unread come in together or not at all. Each message carries the number that it had there as its sender's own id, which
//! counts once, for ever: so a batch that is brought in again changes nothing, whenever the run before it ended.

use std::collections::{HashMap, HashSet};

use crate::chat::{ChatError, settings, starting};
use crate::store::{
    Id, JobError, Message, MessageOriginal, MovedRows, Participant, ParticipantKind, ReadState,
    Side, StoreError, SubjectType, Thread, ThreadStatus, Timestamp, UserFields, VendorFields,
    Writer,
};

/// Why a batch did not come in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MoveError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// The list of forbidden words has changed since the batch was screened.
    #[error("the list of forbidden words keeps changing")]
    StaleWordList,
    /// It would have come in.
    #[error("nothing was written")]
    DryRun(Box<Outcome>),
}

impl JobError for MoveError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            Self::Chat(error) => error.store_error(),
            Self::StaleWordList | Self::DryRun(_) => None,
        }
    }
}

/// What comes in together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The version of the list that its texts were screened with.
    pub(crate) list_version: i64,
    /// The last number that any conversation has there.
    pub(crate) last_thread: Id,
    /// Whether conversations whose number is taken get another one.
    pub(crate) renumber: bool,
    pub(crate) vendors: Vec<(String, VendorFields)>,
    pub(crate) users: Vec<(String, UserFields)>,
    pub(crate) parts: Vec<Part>,
    pub(crate) now: Timestamp,
}

/// A conversation, or a part of a long one.
#[derive(Debug)]
pub(crate) struct Part {
    /// Its number there.
    pub(crate) number: Id,
    /// Where its earlier parts went.
    pub(crate) target: Option<Id>,
    pub(crate) talk: Talk,
    /// At least one, in the order of time.
    pub(crate) lines: Vec<Line>,
    pub(crate) is_last: bool,
}

/// What a conversation is about, and who meets in it.
#[derive(Debug, Clone)]
pub(crate) struct Talk {
    pub(crate) subject_type: SubjectType,
    pub(crate) subject_id: String,
    pub(crate) title: Option<String>,
    pub(crate) storefront: Option<String>,
    /// None where a vendor talks with the marketplace.
    pub(crate) customer: Option<String>,
    pub(crate) vendor: String,
    pub(crate) created_at: Timestamp,
    /// When the last message was seen by the other side, if it was.
    pub(crate) seen_at: Option<Timestamp>,
}

/// One message.
#[derive(Debug)]
pub(crate) struct Line {
    /// Its number there.
    pub(crate) number: i64,
    /// The same, as the sender's own id of it.
    pub(crate) own_id: String,
    pub(crate) author: String,
    pub(crate) side: Side,
    /// As it was written.
    pub(crate) written: String,
    /// As it goes out.
    pub(crate) text: String,
    pub(crate) flagged: bool,
    pub(crate) at: Timestamp,
}

/// What came of a batch.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) users: u64,
    pub(crate) vendors: u64,
    /// Of each part, in their order.
    pub(crate) parts: Vec<PartOutcome>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartOutcome {
    /// Its number here; none when that one is taken.
    pub(crate) target: Option<Id>,
    pub(crate) is_new: bool,
    /// Messages that came in, and those that were there.
    pub(crate) added: u64,
    pub(crate) present: u64,
}

/// A message of a part, once it is here.
struct Written {
    id: Id,
    is_new: bool,
    side: Side,
    author: String,
}

/// Where a thread from elsewhere stands in the lists: below all that has happened here, in the order of time, each in a
/// place of its own (numbers of the same second that are a million apart aside).
fn activity(at: Timestamp, thread: Id) -> i64 {
    let seconds = at.and_utc().timestamp().clamp(0, (1 << 33) - 1);
    (seconds << 20) + (thread & ((1 << 20) - 1)) - (1 << 53)
}

/// Brings a batch in.
pub(crate) fn bring_in(writer: &mut Writer<'_>, batch: &Batch) -> Result<Outcome, MoveError> {
    if writer.list_version() != batch.list_version {
        return Err(MoveError::StaleWordList);
    }
    // Before anything else: nothing that starts here meanwhile may take a number from there.
    writer.reserve_threads(batch.last_thread);
    let mut outcome = mirror(writer, batch)?;
    let mut moving = Moving::new(writer, batch)?;
    for part in &batch.parts {
        outcome.parts.push(moving.part(writer, part)?);
    }
    writer.insert_moved(&moving.rows)?;
    for (user, by) in moving.unread {
        writer.add_unread_total(&[&user], by)?;
    }
    Ok(outcome)
}

/// Mirrors the people who are not here yet. Those who are stay as the shop's backend has described them.
fn mirror(writer: &mut Writer<'_>, batch: &Batch) -> Result<Outcome, MoveError> {
    let mut outcome = Outcome::default();
    let ids: Vec<&str> = batch.vendors.iter().map(|(id, _)| id.as_str()).collect();
    let known: HashSet<String> = writer.vendors(&ids)?.into_iter().map(|it| it.id).collect();
    for (id, fields) in batch.vendors.iter().filter(|(id, _)| !known.contains(id)) {
        writer.insert_vendor(id, fields, batch.now)?;
        outcome.vendors += 1;
    }
    let ids: Vec<&str> = batch.users.iter().map(|(id, _)| id.as_str()).collect();
    let known: HashSet<String> = writer.users(&ids)?.into_iter().map(|it| it.id).collect();
    for (id, fields) in batch.users.iter().filter(|(id, _)| !known.contains(id)) {
        writer.insert_user(id, fields, batch.now)?;
        outcome.users += 1;
    }
    Ok(outcome)
}

/// A batch on its way in.
struct Moving {
    renumber: bool,
    keep_originals: bool,
    /// The threads that have the numbers of this batch.
    there: HashMap<Id, Thread>,
    /// The messages of the batch that came in before.
    known: HashMap<(Id, String), Id>,
    /// Who goes on with which thread: key to number, activity, and its place among the new rows.
    open: HashMap<String, (Id, i64, Option<usize>)>,
    /// Who acts for a vendor.
    admins: HashMap<String, Vec<String>>,
    rows: MovedRows,
    unread: HashMap<String, i64>,
}

impl Moving {
    fn new(writer: &mut Writer<'_>, batch: &Batch) -> Result<Self, MoveError> {
        let numbers: Vec<Id> =
            batch.parts.iter().map(|it| it.target.unwrap_or(it.number)).collect();
        let there: HashMap<Id, Thread> =
            writer.threads(&numbers)?.into_iter().map(|it| (it.id, it)).collect();
        let own_ids =
            batch.parts.iter().filter(|it| there.contains_key(&it.target.unwrap_or(it.number)));
        let own_ids: Vec<String> =
            own_ids.flat_map(|it| &it.lines).map(|line| line.own_id.clone()).collect();
        let numbers: Vec<Id> = there.keys().copied().collect();
        let known = writer.messages_by_client_ids(&numbers, &own_ids)?;
        let keys: Vec<String> = batch.parts.iter().filter_map(|it| it.talk.open_key()).collect();
        let open = writer.open_threads(&keys)?.into_iter();
        Ok(Self {
            renumber: batch.renumber,
            keep_originals: settings::read(writer)?.keep_originals,
            known: known.into_iter().map(|(thread, id, own)| ((thread, own), id)).collect(),
            open: open.map(|(key, id, activity)| (key, (id, activity, None))).collect(),
            there,
            admins: HashMap::new(),
            rows: MovedRows::default(),
            unread: HashMap::new(),
        })
    }

    /// The number that a part's conversation has here, if it can have one.
    fn place(&mut self, writer: &mut Writer<'_>, part: &Part) -> Result<Option<Id>, MoveError> {
        if part.target.is_some() {
            return Ok(part.target);
        }
        let is_here = |line: &Line| self.known.contains_key(&(part.number, line.own_id.clone()));
        if !self.there.contains_key(&part.number) || part.lines.iter().any(is_here) {
            return Ok(Some(part.number));
        }
        // The number is another conversation's. It may have got one of its own in an earlier run.
        for line in &part.lines {
            let user = ParticipantKind::User;
            let Some(moved) = writer.message_by_client_id(user, &line.author, &line.own_id)? else {
                continue;
            };
            let own_ids: Vec<String> = part.lines.iter().map(|it| it.own_id.clone()).collect();
            let known = writer.messages_by_client_ids(&[moved.thread_id], &own_ids)?;
            self.known.extend(known.into_iter().map(|(thread, id, own)| ((thread, own), id)));
            self.there
                .extend(writer.threads(&[moved.thread_id])?.into_iter().map(|it| (it.id, it)));
            return Ok(Some(moved.thread_id));
        }
        Ok(self.renumber.then(|| writer.next_thread_id()))
    }

    fn part(&mut self, writer: &mut Writer<'_>, part: &Part) -> Result<PartOutcome, MoveError> {
        let total = u64::try_from(part.lines.len()).unwrap_or(u64::MAX);
        let Some(target) = self.place(writer, part)? else {
            return Ok(PartOutcome { target: None, is_new: false, added: 0, present: 0 });
        };
        let before = self.there.get(&target).cloned();
        let (written, first_new) = self.lines(writer, part, target);
        let Some(first_new) = first_new else {
            return Ok(PartOutcome {
                target: Some(target),
                is_new: false,
                added: 0,
                present: total,
            });
        };
        let is_known = |line: &&Line| self.known.contains_key(&(target, line.own_id.clone()));
        let present = part.lines.iter().filter(is_known).count() as u64;
        let (Some(last), Some(last_line)) =
            (written.iter().max_by_key(|it| it.id), part.lines.last())
        else {
            return Ok(PartOutcome { target: Some(target), is_new: false, added: 0, present });
        };
        let last = last.id;
        let flagged = part.lines.iter().any(|line| line.flagged);
        let mut read = Reading::of(part, &written);
        if read.before == 0 && before.is_some() {
            // What is unread may have begun in an earlier part.
            read.before = writer.last_message_of_other_sides(target, read.run)?;
        }
        // People have written there since: their read states are worth more than what the shop knew.
        let went_on = before.as_ref().is_some_and(|it| it.activity > 0);
        let place = match &before {
            Some(before) if went_on => before.activity,
            _ => activity(last_line.at, target),
        };
        let participants = match &before {
            None => {
                let members = members(part, target, &read, place);
                self.insert(writer, part, target, last, last_line.at, place, flagged)?;
                self.rows.participants.extend(members.iter().cloned());
                members
            }
            Some(before) => {
                let thread = Thread { flagged: before.flagged || flagged, ..before.clone() };
                let updated = if went_on { before.updated_at } else { last_line.at };
                writer.extend_thread(&thread, last, place, updated)?;
                mark_read(writer, part, target, first_new)?;
                let members = self.join(writer, part, target, &read, place)?;
                if !went_on {
                    for member in &members {
                        let up_to = read.up_to(member.side);
                        if up_to > member.last_read_message_id {
                            writer.advance_participant(member, up_to)?;
                        }
                    }
                }
                members
            }
        };
        if part.is_last && !went_on && (before.is_some() || read.unread_by_someone()) {
            self.read_states(
                writer,
                target,
                before.is_some(),
                &written,
                &read,
                &participants,
                place,
            )?;
        }
        Ok(PartOutcome {
            target: Some(target),
            is_new: before.is_none(),
            added: total - present,
            present,
        })
    }

    /// Gives every line its message; tells the place of the first that is new.
    fn lines(
        &mut self,
        writer: &mut Writer<'_>,
        part: &Part,
        target: Id,
    ) -> (Vec<Written>, Option<(usize, Id)>) {
        let read_at = read_at(part);
        let mut first_new = None;
        let mut written = Vec::new();
        for (place, (line, read_at)) in part.lines.iter().zip(read_at).enumerate() {
            let known = self.known.get(&(target, line.own_id.clone())).copied();
            let id = known.unwrap_or_else(|| writer.next_message_id());
            let is_new = known.is_none();
            written.push(Written { id, is_new, side: line.side, author: line.author.clone() });
            if known.is_some() {
                continue;
            }
            first_new = first_new.or(Some((place, id)));
            if self.keep_originals && line.text != line.written {
                self.rows.originals.push(MessageOriginal {
                    message_id: id,
                    text: line.written.clone(),
                    created_at: line.at,
                });
            }
            self.rows.messages.push(Message {
                id,
                thread_id: target,
                author_kind: ParticipantKind::User,
                author_id: line.author.clone(),
                side: line.side,
                text: line.text.clone(),
                reply_to: None,
                client_id: Some(line.own_id.clone()),
                request_hash: None,
                flagged: line.flagged,
                created_at: line.at,
                edited_at: None,
                deleted_at: None,
                read_at,
                system_entry: None,
                attachment_count: 0,
            });
        }
        (written, first_new)
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a row")]
    fn insert(
        &mut self,
        writer: &mut Writer<'_>,
        part: &Part,
        target: Id,
        last: Id,
        updated_at: Timestamp,
        activity: i64,
        flagged: bool,
    ) -> Result<(), MoveError> {
        let talk = &part.talk;
        // Of several about the same, the one that was written to last is gone on with.
        let mut open_key = talk.open_key();
        if let Some(key) = &open_key {
            match self.open.get(key).copied() {
                Some((_, at, _)) if at > activity => open_key = None,
                before => {
                    match before {
                        Some((_, _, Some(place))) => {
                            if let Some(row) = self.rows.threads.get_mut(place) {
                                row.open_key = None;
                            }
                        }
                        Some((thread, _, None)) => writer.clear_open_key(thread)?,
                        None => {}
                    }
                    let place = self.rows.threads.len();
                    self.open.insert(key.clone(), (target, activity, Some(place)));
                }
            }
        }
        self.rows.threads.push(Thread {
            id: target,
            subject_type: talk.subject_type,
            subject_id: talk.subject_id.clone(),
            subject_title: talk.title.clone(),
            subject_url: None,
            subject_image_url: None,
            storefront_id: talk.storefront.clone(),
            status: ThreadStatus::Open,
            open_key,
            flagged,
            last_message_id: Some(last),
            activity,
            created_at: talk.created_at,
            updated_at,
        });
        Ok(())
    }

    /// Adds who wrote and is not in the thread yet; tells who is in it.
    fn join(
        &mut self,
        writer: &mut Writer<'_>,
        part: &Part,
        target: Id,
        read: &Reading,
        activity: i64,
    ) -> Result<Vec<Participant>, MoveError> {
        let mut all = writer.participants(&[target])?;
        for member in members(part, target, read, activity) {
            let same = |it: &Participant| {
                it.kind == member.kind && it.participant_id == member.participant_id
            };
            if !all.iter().any(same) {
                writer.join_thread(&member)?;
                all.push(member);
            }
        }
        Ok(all)
    }

    #[expect(clippy::too_many_arguments, reason = "what a part has become, each thing once")]
    fn read_states(
        &mut self,
        writer: &mut Writer<'_>,
        target: Id,
        is_old: bool,
        written: &[Written],
        read: &Reading,
        participants: &[Participant],
        activity: i64,
    ) -> Result<(), MoveError> {
        let mut readers: Vec<(String, Side)> = Vec::new();
        for it in participants {
            match it.kind {
                ParticipantKind::User => readers.push((it.participant_id.clone(), it.side)),
                ParticipantKind::Vendor => {
                    let vendor = &it.participant_id;
                    if !self.admins.contains_key(vendor) {
                        let users = writer.users_of_vendor(vendor)?.into_iter().map(|it| it.id);
                        self.admins.insert(vendor.clone(), users.collect());
                    }
                    let admins = self.admins.get(vendor).into_iter().flatten();
                    readers.extend(admins.map(|id| (id.clone(), it.side)));
                }
            }
        }
        readers.sort();
        readers.dedup_by(|a, b| a.0 == b.0);
        let ids: Vec<String> = readers.iter().map(|(id, _)| id.clone()).collect();
        let before = if is_old { writer.read_states_in(target, &ids)? } else { Vec::new() };
        for (reader, side) in readers {
            let old = before.iter().find(|it| it.reader_id == reader);
            let state = old.cloned().unwrap_or_else(|| ReadState::new(&reader, target));
            let up_to = read.up_to(side).max(state.last_read_message_id);
            // What is in this part and new has not been stored yet.
            let is_left = |it: &&Written| it.is_new && it.id > up_to && it.author != reader;
            let mut left =
                i64::try_from(written.iter().filter(is_left).count()).unwrap_or(i64::MAX);
            if is_old {
                left += writer.count_unread(target, up_to, &reader)?;
            }
            if left == 0 && old.is_none() {
                continue;
            }
            *self.unread.entry(reader).or_default() += left - state.unread_count;
            let state = ReadState {
                last_read_message_id: up_to,
                unread_count: left,
                unread_activity: (left > 0).then_some(activity),
                ..state
            };
            match (is_old, old.is_some()) {
                (false, _) => self.rows.read_states.push(state),
                (true, exists) => writer.save_read_state(&state, exists)?,
            }
        }
        Ok(())
    }
}

impl Talk {
    /// Which one conversation with this vendor about this the customer goes on with.
    pub(crate) fn open_key(&self) -> Option<String> {
        let customer = self.customer.as_deref()?;
        let storefront = self.storefront.as_deref();
        let (kind, id) = (self.subject_type, &self.subject_id);
        Some(starting::key_with_vendor(kind, id, customer, Some(&self.vendor), storefront))
    }

    /// Whether a side of it counts as reader of the others. Administrators who look into a conversation of others do not.
    fn reads(&self, side: Side) -> bool {
        side != Side::Staff || self.customer.is_none()
    }
}

/// How far each side has read a part.
struct Reading {
    /// Who wrote the last messages.
    run: Side,
    /// The message before them.
    before: Id,
    last: Id,
    is_seen: bool,
    is_between_vendor_and_staff: bool,
}

impl Reading {
    fn of(part: &Part, written: &[Written]) -> Self {
        let run = written.last().map_or(Side::Customer, |it| it.side);
        let before = written.iter().rev().find(|it| it.side != run).map_or(0, |it| it.id);
        Self {
            run,
            before,
            last: written.iter().map(|it| it.id).max().unwrap_or(0),
            is_seen: part.talk.seen_at.is_some() || !part.is_last,
            is_between_vendor_and_staff: part.talk.customer.is_none(),
        }
    }

    fn up_to(&self, side: Side) -> Id {
        let looks_in = side == Side::Staff && !self.is_between_vendor_and_staff;
        if self.is_seen || side == self.run || looks_in { self.last } else { self.before }
    }

    fn unread_by_someone(&self) -> bool {
        !self.is_seen
    }
}

/// When the other side read each line: when it wrote the next time, at the latest.
fn read_at(part: &Part) -> Vec<Option<Timestamp>> {
    let seen = part.talk.seen_at.filter(|_| part.is_last);
    let mut next: HashMap<Side, Timestamp> = HashMap::new();
    let mut found: Vec<Option<Timestamp>> = Vec::new();
    for line in part.lines.iter().rev() {
        let answers = next.iter().filter(|(side, _)| **side != line.side).map(|(_, at)| *at);
        found.push(answers.min().or(seen).map(|at| at.max(line.at)));
        if part.talk.reads(line.side) {
            next.insert(line.side, line.at);
        }
    }
    found.reverse();
    found
}

/// Marks what came in before and is answered now.
fn mark_read(
    writer: &mut Writer<'_>,
    part: &Part,
    target: Id,
    (place, first_new): (usize, Id),
) -> Result<(), MoveError> {
    let mut answers = part.lines.iter().skip(place);
    if let Some(answer) = answers.find(|line| part.talk.reads(line.side)) {
        writer.mark_read(target, answer.side, 0, first_new - 1, answer.at)?;
    }
    if let Some(seen_at) = part.talk.seen_at.filter(|_| part.is_last) {
        for side in [Side::Customer, Side::Vendor] {
            writer.mark_read(target, side, 0, first_new - 1, seen_at)?;
        }
    }
    Ok(())
}

/// Who is in a conversation: customer and vendor, and whoever else wrote for itself.
fn members(part: &Part, target: Id, read: &Reading, activity: i64) -> Vec<Participant> {
    let talk = &part.talk;
    let member = |kind, id: &str, side: Side, role: &str, joined_at| Participant {
        thread_id: target,
        kind,
        participant_id: id.to_owned(),
        side,
        role: role.to_owned(),
        joined_at,
        left_at: None,
        last_read_message_id: read.up_to(side),
        activity,
    };
    let user = ParticipantKind::User;
    let mut all: Vec<Participant> = Vec::new();
    if let Some(customer) = &talk.customer {
        all.push(member(user, customer, Side::Customer, "customer", talk.created_at));
    }
    all.push(member(
        ParticipantKind::Vendor,
        &talk.vendor,
        Side::Vendor,
        "vendor",
        talk.created_at,
    ));
    for line in part.lines.iter().filter(|line| line.side != Side::Vendor) {
        if !all.iter().any(|it| it.kind == user && it.participant_id == line.author) {
            let role = if line.side == Side::Staff { "admin" } else { "customer" };
            all.push(member(user, &line.author, line.side, role, line.at));
        }
    }
    all
}
