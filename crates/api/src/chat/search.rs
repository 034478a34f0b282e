//! Searching in what the caller may see. The index says which messages are worth a look; each is read, compared with the
//! query, and held against the caller's rights and the filter as they are now, before anything of it is told.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use serde::Serialize;
use utoipa::ToSchema;

use super::rights::{self, Seat};
use super::threads::{self, ThreadPage};
use super::views::{Directory, MessageView, ThreadView};
use super::{Caller, ChatError, Credentials, FieldError, messages};
use crate::search::highlight::{Highlight, highlight};
use crate::search::index::{long_term, participant_token, subject_token};
use crate::search::query::Query;
use crate::store::{
    Id, IdSet, Message, ParticipantKind, Reader, SearchTerm, Side, StoreError, SubjectType, Thread,
    ThreadFilter, ThreadScope, User, epoch_of,
};

/// Messages that are looked at together.
const CHUNK: usize = 128;
/// The most messages that one call looks at. A page may end there before it is full; its cursor leads on.
const LOOKS: usize = 2000;
/// The same for a list of threads, which has another way.
const THREAD_LOOKS: usize = 1000;
/// And the most that this way looks at: in all of its threads, unless a single one has more, and in one thread.
const WALK_LOOKS: usize = 2000;
const LOOKS_IN_ONE: usize = 5000;
/// To read so many ids costs as much as one look.
const IDS_PER_LOOK: usize = 50;
/// The most threads that one call walks over, and how many at a time.
const WALKED: usize = 300;
const WALK: i64 = 50;
/// So few messages are looked at sooner than narrowed down.
const FEW: usize = 32;
/// The most epochs that the index is asked for at once.
const MAX_WIDTH: i64 = 16;
/// Ids of a thread's messages that are compared with the index at once.
const IDS: i64 = 1000;

/// What was found.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SearchPage {
    /// The newest message first.
    pub results: Vec<SearchResult>,
    /// Where the next page begins; null at the end. A page may be shorter than was asked for, and not be the last one.
    #[schema(required = true, example = "42")]
    pub next_cursor: Option<String>,
}

/// A message that says what was looked for.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(
    example = json!({
        "message": {
            "id": 42, "thread_id": 12,
            "author": {"id": "7", "role": "customer", "name": "Anna", "avatar_url": null},
            "text": "Is it dishwasher-safe?", "flagged": false, "attachments": [], "reply_to": null,
            "quote": null, "client_id": null, "created_at": "2026-03-01T09:30:00.000Z", "edited_at": null,
            "deleted_at": null, "read_at": null, "system": null
        },
        "thread": {
            "id": 12,
            "subject": {
                "type": "product", "id": "1042", "title": "Stoneware mug",
                "url": "https://shop.example/p/1042", "image_url": null
            },
            "customer": {"id": "7", "role": "customer", "name": "Anna", "avatar_url": null},
            "vendor": {"id": "3", "name": "Kiln & Clay", "avatar_url": null},
            "storefront_id": null, "status": "open", "last_message": null,
            "support": null, "unread_count": 0, "flagged": false,
            "created_at": "2026-03-01T09:30:00.000Z", "updated_at": "2026-03-01T09:30:00.000Z"
        },
        "highlights": [
            {"text": "Is it ", "hit": false}, {"text": "dishwasher", "hit": true},
            {"text": "-safe?", "hit": false}
        ]
    })
)]
pub struct SearchResult {
    /// The message.
    pub message: MessageView,
    /// The thread that it stands in.
    pub thread: ThreadView,
    /// The text in pieces, those that were looked for marked; of a long text the part around the first of them.
    pub highlights: Vec<Highlight>,
}

/// A message that was found, and how the caller sits in its thread.
struct Found {
    message: Message,
    hits: Vec<Range<usize>>,
    thread: Thread,
    side: Side,
}

/// Messages that the caller may see and that say it, the newest first.
///
/// # Errors
/// What is wrong with the query, or why the caller may not.
pub(crate) fn search(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
    text: &str,
    filter: &ThreadFilter,
    unread: Option<bool>,
    before: Option<Id>,
    limit: i64,
) -> Result<SearchPage, ChatError> {
    let caller = Caller::resolve(reader, credentials)?;
    let user = caller.person()?;
    let (scopes, filter) = threads::scoped(user, filter, unread)?;
    let query = parse(text)?;
    if scopes.is_empty() {
        return Ok(SearchPage { results: Vec::new(), next_cursor: None });
    }
    let sieve = Sieve { user, scopes: &scopes, filter: &filter, query: &query };
    let mut hunt = Hunt::new(reader, &sieve)?;
    let mut found = Vec::new();
    let wanted = usize::try_from(limit).unwrap_or(0);
    let stopped = hunt.newest_first(reader, before.unwrap_or(Id::MAX), LOOKS, |reader, some| {
        found.extend(sieve.keep(reader, some)?);
        Ok(found.len() > wanted)
    })?;
    let more = messages::cut(&mut found, limit);
    let last = found.last().map(|found| found.message.id).filter(|_| more);
    let next_cursor = last.or(stopped).map(|id| id.to_string());
    Ok(SearchPage { results: render(reader, user, found)?, next_cursor })
}

/// The caller's threads in which somebody says it, latest activity first.
///
/// # Errors
/// What is wrong with the query, or why the caller may not.
pub(crate) fn list_threads(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
    text: &str,
    filter: &ThreadFilter,
    unread: Option<bool>,
    limit: i64,
) -> Result<ThreadPage, ChatError> {
    let caller = Caller::resolve(reader, credentials)?;
    let user = caller.person()?;
    let (scopes, filter) = threads::scoped(user, filter, unread)?;
    let query = parse(text)?;
    if scopes.is_empty() {
        return Ok(ThreadPage { threads: Vec::new(), next_cursor: None });
    }
    let sieve = Sieve { user, scopes: &scopes, filter: &filter, query: &query };
    let mut hunt = Hunt::new(reader, &sieve)?;
    let mut known: HashMap<Id, Thread> = HashMap::new();
    let stopped = hunt.newest_first(reader, Id::MAX, THREAD_LOOKS, |reader, some| {
        let found = sieve.keep(reader, some)?;
        known.extend(found.into_iter().map(|found| (found.thread.id, found.thread)));
        Ok(false)
    })?;
    let (found, next) = if stopped.is_none() {
        // Those are all.
        let mut found: Vec<Thread> = known.into_values().collect();
        found.sort_unstable_by_key(|thread| std::cmp::Reverse(thread.activity));
        let more = messages::cut(&mut found, limit);
        let next = found.last().map(|thread| thread.activity).filter(|_| more);
        (found, next)
    } else {
        // What so many say, the threads at the top of the list say, too.
        walk(reader, &mut hunt, &sieve, &known, limit)?
    };
    let next_cursor = next.map(|activity| activity.to_string());
    Ok(ThreadPage { threads: threads::render(reader, user, found)?, next_cursor })
}

fn parse(text: &str) -> Result<Query, ChatError> {
    Query::parse(text)
        .map_err(|error| ChatError::Invalid(vec![FieldError::parameter("q", error.to_string())]))
}

fn render(
    reader: &mut Reader<'_>,
    user: &User,
    found: Vec<Found>,
) -> Result<Vec<SearchResult>, ChatError> {
    let by_id: BTreeMap<Id, Thread> =
        found.iter().map(|found| (found.thread.id, found.thread.clone())).collect();
    let views = threads::render(reader, user, by_id.into_values().collect())?;
    let texts: Vec<Message> = found.iter().map(|found| found.message.clone()).collect();
    let directory = Directory::of(reader, &texts, &[])?;
    let result = |Found { message, hits, side, .. }: Found| {
        let thread = views.iter().find(|view| view.id == message.thread_id)?.clone();
        let highlights = highlight(&message.text, &hits);
        let message = messages::with_flag(directory.message(&message), &message, side);
        Some(SearchResult { message, thread, highlights })
    };
    Ok(found.into_iter().filter_map(result).collect())
}

/// What a message has to pass.
struct Sieve<'a> {
    user: &'a User,
    scopes: &'a [ThreadScope],
    filter: &'a ThreadFilter,
    query: &'a Query,
}

impl Sieve<'_> {
    fn says(&self, message: &Message) -> Option<Vec<Range<usize>>> {
        // What was taken back is as if it had not been said.
        if message.deleted_at.is_some() { None } else { self.query.find(&message.text) }
    }

    /// Those that say it and that the caller may see, in the same order.
    fn keep(
        &self,
        reader: &mut Reader<'_>,
        messages: Vec<Message>,
    ) -> Result<Vec<Found>, ChatError> {
        let hits: Vec<(Message, Vec<Range<usize>>)> = messages
            .into_iter()
            .filter_map(|message| self.says(&message).map(|hits| (message, hits)))
            .collect();
        let mut ids: Vec<Id> = hits.iter().map(|(message, _)| message.thread_id).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let threads = reader.threads_that_fit(&ids, self.filter)?;
        let participants = reader.participants(&ids)?;
        let seen: HashMap<Id, (Thread, Side)> = threads
            .into_iter()
            .filter(|thread| rights::in_scopes(self.scopes, thread, &participants))
            .filter_map(|thread| {
                let Seat { side, .. } = rights::seat(self.user, &thread, &participants)?;
                Some((thread.id, (thread, side)))
            })
            .collect();
        let found = |(message, hits): (Message, Vec<Range<usize>>)| {
            let (thread, side) = seen.get(&message.thread_id)?.clone();
            Some(Found { message, hits, thread, side })
        };
        Ok(hits.into_iter().filter_map(found).collect())
    }
}

/// Which messages are worth a look: those newer than the index, and those that have all that is wanted in it.
struct Hunt {
    /// One of each of these lists.
    wanted: Vec<Vec<SearchTerm>>,
    /// The last message that is in the index.
    position: Id,
    /// What the index has still to follow, and is looked at, too.
    changed: Vec<Id>,
    /// The epochs that have been asked for.
    sets: BTreeMap<i64, IdSet>,
}

impl Hunt {
    fn new(reader: &mut Reader<'_>, sieve: &Sieve<'_>) -> Result<Self, StoreError> {
        let exact = |token: String| SearchTerm { token, prefix: false };
        let of = |kind: ParticipantKind, id: &str| exact(participant_token(kind, id));
        // Who and about what first: for most callers that leaves little.
        let mut wanted = Vec::new();
        if !sieve.scopes.contains(&ThreadScope::All) {
            let terms = sieve.scopes.iter().flat_map(|scope| match scope {
                ThreadScope::All => Vec::new(),
                ThreadScope::OfType(subject) => vec![exact(subject_token(*subject))],
                ThreadScope::Of(keys) => keys.iter().map(|(kind, id)| of(*kind, id)).collect(),
            });
            wanted.push(terms.collect());
        }
        let ThreadFilter { vendor_id, customer_id, operator_id, subject_type, .. } = sieve.filter;
        wanted.extend(customer_id.iter().map(|id| vec![of(ParticipantKind::User, id)]));
        wanted.extend(vendor_id.iter().map(|id| vec![of(ParticipantKind::Vendor, id)]));
        // Who has taken a thread since is not in the index; that somebody may have is.
        let subject_type = subject_type.or(operator_id.as_ref().map(|_| SubjectType::Support));
        wanted.extend(subject_type.map(|subject| vec![exact(subject_token(subject))]));
        wanted.extend(sieve.query.terms().into_iter().map(|term| vec![term, long_term()]));
        let position = reader.search_position()?;
        let changed = reader.changed_since_indexed(position)?;
        Ok(Self { wanted, position, changed, sets: BTreeMap::new() })
    }

    /// Asks the index for these epochs.
    fn prepare(&mut self, reader: &mut Reader<'_>, epochs: &[i64]) -> Result<(), StoreError> {
        let unknown = epochs.iter().filter(|epoch| !self.sets.contains_key(epoch));
        let mut sets: BTreeMap<i64, IdSet> = unknown.map(|epoch| (*epoch, IdSet::full())).collect();
        for terms in &self.wanted {
            let many = sets.iter().filter(|(_, set)| set.len() > FEW);
            let many: Vec<i64> = many.map(|(epoch, _)| *epoch).collect();
            if many.is_empty() {
                break;
            }
            let mut found = reader.search_blocks(&many, terms)?;
            for epoch in many {
                let here = found.remove(&epoch).unwrap_or_else(IdSet::empty);
                if let Some(set) = sets.get_mut(&epoch) {
                    set.intersect(&here);
                }
            }
        }
        for id in &self.changed {
            let (epoch, place) = epoch_of(*id);
            if let Some(set) = sets.get_mut(&epoch) {
                set.insert(place);
            }
        }
        self.sets.append(&mut sets);
        Ok(())
    }

    /// Shows what is worth a look, the newest first, until somebody has seen enough or so many have been looked at; tells the
    /// last one then.
    fn newest_first(
        &mut self,
        reader: &mut Reader<'_>,
        mut below: Id,
        looks: usize,
        mut has_enough: impl FnMut(&mut Reader<'_>, Vec<Message>) -> Result<bool, ChatError>,
    ) -> Result<Option<Id>, ChatError> {
        let mut left = looks;
        let at_once = i64::try_from(CHUNK).unwrap_or(1);
        loop {
            let some = reader.messages_between(self.position, below, at_once)?;
            let Some(last) = some.last() else { break };
            below = last.id;
            left = left.saturating_sub(some.len());
            if has_enough(reader, some)? || left == 0 {
                return Ok(Some(below));
            }
        }
        below = below.min(self.position.saturating_add(1));
        let (mut newest, _) = epoch_of(below.saturating_sub(1));
        let mut width = 1;
        // Two epochs, four, eight: what is rare is found with few questions, and of what is not few rows are read.
        while newest >= 0 {
            let oldest = (newest - width + 1).max(0);
            let epochs: Vec<i64> = (oldest..=newest).collect();
            self.prepare(reader, &epochs)?;
            for epoch in epochs.into_iter().rev() {
                let Some(set) = self.sets.get(&epoch) else { continue };
                let ids = set.descending().map(|place| (epoch << 16) + Id::from(place));
                let mut ids = ids.skip_while(|id| *id >= below);
                loop {
                    let chunk: Vec<Id> = ids.by_ref().take(CHUNK).collect();
                    let Some(last) = chunk.last() else { break };
                    let mut some = reader.messages(&chunk)?;
                    some.sort_unstable_by_key(|message| std::cmp::Reverse(message.id));
                    left = left.saturating_sub(chunk.len());
                    if has_enough(reader, some)? || left == 0 {
                        return Ok(Some(*last));
                    }
                }
            }
            newest = oldest - 1;
            width = (width * 2).min(MAX_WIDTH);
        }
        Ok(None)
    }

    /// Whether somebody says it in a thread, and after how many looks that was known. Of a thread in which very many might say
    /// it, the newest are looked at.
    fn is_said_in(
        &mut self,
        reader: &mut Reader<'_>,
        sieve: &Sieve<'_>,
        thread: Id,
    ) -> Result<(bool, usize), StoreError> {
        let mut below = Id::MAX;
        let mut looks = 0;
        while looks < LOOKS_IN_ONE {
            let ids = reader.message_ids_before(thread, below, IDS)?;
            let Some(last) = ids.last() else { break };
            looks += ids.len() / IDS_PER_LOOK;
            below = *last;
            let mut epochs: Vec<i64> = ids.iter().map(|id| epoch_of(*id).0).collect();
            epochs.dedup();
            self.prepare(reader, &epochs)?;
            let worth_it = |id: &Id| {
                let (epoch, place) = epoch_of(*id);
                *id > self.position || self.sets.get(&epoch).is_some_and(|set| set.contains(place))
            };
            let worth_it: Vec<Id> = ids.into_iter().filter(worth_it).collect();
            for chunk in worth_it.chunks(CHUNK) {
                looks += chunk.len();
                if reader.messages(chunk)?.iter().any(|message| sieve.says(message).is_some()) {
                    return Ok((true, looks));
                }
            }
        }
        Ok((false, looks))
    }
}

/// Goes down the list of threads and keeps those in which somebody says it. Tells the activity that the next page begins
/// below.
fn walk(
    reader: &mut Reader<'_>,
    hunt: &mut Hunt,
    sieve: &Sieve<'_>,
    known: &HashMap<Id, Thread>,
    limit: i64,
) -> Result<(Vec<Thread>, Option<i64>), ChatError> {
    let mut found: Vec<Thread> = Vec::new();
    let mut filter = sieve.filter.clone();
    let (mut walked, mut looks) = (0, 0);
    loop {
        let page = reader.list_threads(sieve.scopes, &filter, WALK)?;
        if page.is_empty() {
            return Ok((found, None));
        }
        for thread in page {
            if looks >= WALK_LOOKS {
                break;
            }
            filter.below = Some(thread.activity);
            walked += 1;
            let is_said = known.contains_key(&thread.id) || {
                let (is_said, looks_here) = hunt.is_said_in(reader, sieve, thread.id)?;
                looks += looks_here;
                is_said
            };
            if is_said {
                found.push(thread);
            }
        }
        if messages::cut(&mut found, limit) {
            let next = found.last().map(|thread| thread.activity);
            return Ok((found, next));
        }
        if walked >= WALKED || looks >= WALK_LOOKS {
            return Ok((found, filter.below));
        }
    }
}
