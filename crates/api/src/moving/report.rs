//! What came of moving in: each conversation and each message that was read is imported, was there already, or is skipped
//! for a reason.

use std::collections::BTreeMap;

use serde::Serialize;

/// How many numbers are kept as examples of each reason.
const EXAMPLES: usize = 100;

/// What came of it.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Nothing was written.
    pub(crate) dry_run: bool,
    /// What stood in the shop's tables.
    pub(crate) read: Count,
    /// What came in now.
    pub(crate) imported: Imported,
    /// What had come in before.
    pub(crate) already_there: Count,
    /// What did not come in, by reason.
    pub(crate) skipped: BTreeMap<&'static str, Tally>,
    /// What came in otherwise than it was, by kind.
    pub(crate) changed: BTreeMap<&'static str, Tally>,
    /// Conversations that have another number here.
    pub(crate) renumbered: Vec<Renumbered>,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Count {
    pub(crate) threads: u64,
    pub(crate) messages: u64,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Imported {
    pub(crate) threads: u64,
    pub(crate) messages: u64,
    pub(crate) users: u64,
    pub(crate) vendors: u64,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Tally {
    /// Why, or what.
    about: &'static str,
    threads: u64,
    messages: u64,
    /// Numbers of the first ones in the shop's tables: of conversations, or else of messages.
    examples: Vec<i64>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Renumbered {
    pub(crate) from: i64,
    pub(crate) to: i64,
}

/// Why something did not come in, or how it came in otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Deleted,
    UnknownStatus,
    UnknownSubject,
    UnknownKind,
    NoCustomer,
    NoVendor,
    NoMessages,
    NumberTaken,
    Orphan,
    Empty,
    NoAuthor,
    UnknownAuthor,
    Repeated,
    Repaired,
    Damaged,
    Masked,
    Shortened,
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::UnknownStatus => "unknown_status",
            Self::UnknownSubject => "unknown_object_type",
            Self::UnknownKind => "unknown_communication_type",
            Self::NoCustomer => "no_customer",
            Self::NoVendor => "no_vendor",
            Self::NoMessages => "no_messages",
            Self::NumberTaken => "number_taken",
            Self::Orphan => "orphan",
            Self::Empty => "empty_text",
            Self::NoAuthor => "no_author",
            Self::UnknownAuthor => "unknown_user_type",
            Self::Repeated => "repeated_number",
            Self::Repaired => "encoding_repaired",
            Self::Damaged => "encoding_broken",
            Self::Masked => "forbidden_words",
            Self::Shortened => "shortened",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Deleted => "deleted in the shop (status D)",
            Self::UnknownStatus => "the status is none of N, V and D",
            Self::UnknownSubject => "the object type is none of P, C and O",
            Self::UnknownKind => {
                "the communication type is neither vendor_to_customer nor vendor_to_admin"
            }
            Self::NoCustomer => "no customer: the user id is 0",
            Self::NoVendor => "no vendor: the company id is 0",
            Self::NoMessages => "no message that could be imported",
            Self::NumberTaken => "another conversation has this number here: add --renumber",
            Self::Orphan => "the conversation of the message is not there",
            Self::Empty => "nothing to be read in it",
            Self::NoAuthor => "no author: the user id is 0",
            Self::UnknownAuthor => "the user type is none of C, V and A",
            Self::Repeated => "the number stands at an earlier message or conversation, too",
            Self::Repaired => "UTF-8 or windows-1251 that was stored as latin1, put right",
            Self::Damaged => "some characters cannot be read and are shown as \u{fffd}",
            Self::Masked => "forbidden words found: masked or flagged as in any other message",
            Self::Shortened => "too long, cut at 60,000 bytes",
        }
    }
}

impl Report {
    /// Notes a conversation that did not come in, with so many messages.
    pub(crate) fn skip_thread(&mut self, reason: Reason, number: i64, messages: u64) {
        let tally = note(&mut self.skipped, reason, number);
        tally.threads += 1;
        tally.messages += messages;
        self.read.messages += messages;
    }

    /// Notes messages that did not come in, with the numbers of the first ones.
    pub(crate) fn skip_messages(&mut self, reason: Reason, first: &[i64], count: u64) {
        self.read.messages += count;
        for (place, number) in first.iter().enumerate() {
            let tally = note(&mut self.skipped, reason, *number);
            tally.messages += if place == 0 { count } else { 0 };
        }
    }

    /// Notes a message that came in otherwise than it was.
    pub(crate) fn change(&mut self, reason: Reason, number: i64) {
        note(&mut self.changed, reason, number).messages += 1;
    }

    /// Whether something is left that a second run with another option would bring in.
    pub(crate) fn taken(&self) -> u64 {
        self.skipped.get(Reason::NumberTaken.name()).map_or(0, |it| it.threads)
    }

    /// For people, a line each.
    pub(crate) fn lines(&self) -> Vec<String> {
        let Imported { threads, messages, users, vendors } = &self.imported;
        let verb = if self.dry_run { "would import" } else { "imported" };
        let mut lines = vec![format!(
            "{verb} {threads} conversations, {messages} messages, {users} users, {vendors} vendors"
        )];
        let Count { threads, messages } = &self.already_there;
        if *messages > 0 {
            lines.push(format!("already there: {threads} conversations, {messages} messages"));
        }
        for (what, tallies) in [("skipped", &self.skipped), ("changed", &self.changed)] {
            for (name, Tally { about, threads, messages, examples }) in tallies {
                let few: Vec<String> = examples.iter().take(5).map(ToString::to_string).collect();
                let more = if threads.max(messages) > &5 { ", ..." } else { "" };
                let threads =
                    if *threads > 0 { format!("{threads} conversations, ") } else { String::new() };
                lines.push(format!(
                    "{what}: {threads}{messages} messages: {about} ({name}: {}{more})",
                    few.join(", ")
                ));
            }
        }
        for Renumbered { from, to } in self.renumbered.iter().take(5) {
            lines.push(format!("conversation {from} is number {to} here"));
        }
        if self.renumbered.len() > 5 {
            lines.push(format!(
                "... {} have other numbers: --json lists them",
                self.renumbered.len()
            ));
        }
        lines
    }
}

fn note<'t>(
    tallies: &'t mut BTreeMap<&'static str, Tally>,
    reason: Reason,
    number: i64,
) -> &'t mut Tally {
    let tally = tallies.entry(reason.name()).or_default();
    tally.about = reason.about();
    if tally.examples.len() < EXAMPLES {
        tally.examples.push(number);
    }
    tally
}
