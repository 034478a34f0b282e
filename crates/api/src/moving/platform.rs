//! Brings the shop platform's own messages in: reads conversation after conversation, turns each into one of ours, and
//! writes them in batches. Started again, whenever it ended, it goes over everything and brings in what is missing.
//!
//! Memory is bounded by two batches, however much there is. Between two batches it rests for as long as the last one took,
//! so that an API that serves meanwhile has the database for half of the time.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::encoding::repair;
use super::report::{Reason, Renumbered, Report};
use super::rule::{Batch, Line, MoveError, Outcome, Part, Talk, bring_in};
use crate::chat::screening::WordList;
use crate::html::{to_line, to_text};
use crate::store::{
    IMPORTED, Platform, PlatformMessage, PlatformThread, PlatformUser, Role, Side, Store,
    StoreError, SubjectType, Timestamp, UserFields, VendorFields, VendorStatus, WordAction,
};

/// Conversations that are read at a time.
const PAGE: usize = 200;
/// What a message's column holds on MariaDB is a little more.
const MAX_TEXT_BYTES: usize = 60_000;
/// The longest name or title, in characters.
const MAX_LINE_CHARS: usize = 255;
/// How often a batch is tried again when the database is busy, or the list of forbidden words has changed.
const ATTEMPTS: u32 = 5;
/// The longest rest between two batches.
const MAX_REST: Duration = Duration::from_millis(500);

type Users = Vec<(String, UserFields)>;
type Vendors = Vec<(String, VendorFields)>;

/// How it is to be done.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// The language of products' names.
    pub(crate) language: String,
    /// Whether conversations whose number is taken get another one.
    pub(crate) renumber: bool,
    pub(crate) dry_run: bool,
    /// Messages of one transaction, at least 1.
    pub(crate) batch: usize,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) threads: u64,
    pub(crate) all_threads: u64,
    pub(crate) messages: u64,
    pub(crate) all_messages: u64,
}

/// Brings everything in.
///
/// # Errors
/// When one of the databases fails. What has come in until then stays; the next run goes on.
pub(crate) async fn import(
    store: &Store,
    platform: Platform,
    options: Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, MoveError> {
    let mut import = Import {
        store,
        platform,
        report: Report { dry_run: options.dry_run, ..Report::default() },
        list: fetch_list(store).await?,
        has_storefronts: false,
        people: People::default(),
        gathered: Vec::new(),
        last_thread: 0,
        repeated: HashMap::new(),
        options,
    };
    let repeated = import.platform.repeated_messages()?;
    import.repeated = repeated.into_iter().map(|number| (number, false)).collect();
    let size = import.platform.size()?;
    import.last_thread = size.last_thread;
    import.has_storefronts = import.platform.count_storefronts()? > 1;
    let mut last = 0;
    loop {
        let threads = import.platform.threads_after(last, PAGE)?;
        let Some(end) = threads.last() else { break };
        last = end.thread_id;
        let titles = import.titles(&threads)?;
        for (place, thread) in threads.iter().enumerate() {
            let before = place.checked_sub(1).and_then(|before| threads.get(before));
            if before.is_some_and(|before| before.thread_id == thread.thread_id) {
                import.report.read.threads += 1;
                import.report.skip_thread(Reason::Repeated, thread.thread_id, 0);
                continue;
            }
            import.thread(thread, titles.get(&thread.object_id).map(String::as_str)).await?;
            progress(Progress {
                threads: import.report.read.threads,
                all_threads: u64::try_from(size.threads).unwrap_or(0),
                messages: import.report.read.messages,
                all_messages: u64::try_from(size.messages).unwrap_or(0),
            });
        }
    }
    import.flush().await?;
    let (count, first) = import.platform.orphans(PAGE)?;
    import.report.skip_messages(Reason::Orphan, &first, u64::try_from(count).unwrap_or(0));
    Ok(import.report)
}

/// The list as it counts for what was written long ago: nobody can be asked to write otherwise, so that is masked.
async fn fetch_list(store: &Store) -> Result<WordList, MoveError> {
    let (version, mut words) = store
        .read(|reader| {
            let version = reader.forbidden_words_version()?;
            Ok::<_, StoreError>((version, reader.all_forbidden_words()?))
        })
        .await?;
    for word in &mut words {
        if word.action == WordAction::Refuse {
            word.action = WordAction::Mask;
        }
    }
    WordList::compile(version, &words).map_err(|error| {
        StoreError::Platform(format!("the list of forbidden words: {error}")).into()
    })
}

/// Who has to be here before a batch can come in.
#[derive(Default)]
struct People {
    /// By what a message or a conversation says of them, in case the shop knows them no more.
    users: BTreeMap<i64, Guess>,
    companies: BTreeSet<i64>,
    /// Those who have been seen to in this run.
    done: HashSet<i64>,
    companies_done: HashSet<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Guess {
    Customer,
    Vendor(i64),
    Admin,
}

struct Import<'s> {
    store: &'s Store,
    platform: Platform,
    options: Options,
    report: Report,
    list: WordList,
    has_storefronts: bool,
    people: People,
    gathered: Vec<Part>,
    last_thread: i64,
    /// Numbers that stand at several messages, and whether the first one has been met.
    repeated: HashMap<i64, bool>,
}

impl Import<'_> {
    /// What the products of these conversations are called.
    fn titles(&mut self, threads: &[PlatformThread]) -> Result<HashMap<i64, String>, StoreError> {
        let products = threads.iter().filter(|it| it.object_type == "P" && it.object_id > 0);
        let ids: Vec<i64> =
            products.map(|it| it.object_id).collect::<BTreeSet<_>>().into_iter().collect();
        let named = self.platform.products(&ids, &self.options.language)?;
        Ok(named.into_iter().map(|it| (it.id, it.name)).collect())
    }

    async fn thread(
        &mut self,
        thread: &PlatformThread,
        title: Option<&str>,
    ) -> Result<(), MoveError> {
        self.report.read.threads += 1;
        let number = thread.thread_id;
        let talk = match talk(thread, title, self.has_storefronts) {
            Ok(talk) => talk,
            Err(reason) => {
                let messages = self.platform.count_messages(number)?;
                self.report.skip_thread(reason, number, u64::try_from(messages).unwrap_or(0));
                return Ok(());
            }
        };
        let (mut after, mut target, mut is_first) = ((-1, 0), None, true);
        loop {
            // One more than fits, to see whether it is the last part.
            let mut found = self.platform.messages_after(number, after, self.options.batch + 1)?;
            let is_last = found.len() <= self.options.batch;
            found.truncate(self.options.batch);
            if let Some(last) = found.last() {
                after = (last.timestamp.max(0), last.message_id);
            }
            let lines: Vec<Line> =
                found.into_iter().filter_map(|message| self.line(&talk, message)).collect();
            if lines.is_empty() && is_last {
                if is_first {
                    self.report.skip_thread(Reason::NoMessages, number, 0);
                }
                return Ok(());
            }
            if !lines.is_empty() {
                let waiting: usize = self.gathered.iter().map(|it| it.lines.len()).sum();
                if waiting + lines.len() > self.options.batch {
                    self.flush().await?;
                }
                self.meet(thread, &talk, &lines);
                let talk = talk.clone();
                self.gathered.push(Part { number, target, talk, lines, is_last });
            }
            if is_last {
                return Ok(());
            }
            // The next part has to know where this one went.
            if let Some(outcome) = self.flush().await? {
                target = outcome;
                is_first = false;
                if target.is_none() {
                    let total = self.platform.count_messages(number)?;
                    let seen = i64::try_from(self.options.batch).unwrap_or(0);
                    let rest = u64::try_from(total - seen).unwrap_or(0);
                    self.report.skip_messages(Reason::NumberTaken, &[number], rest);
                    return Ok(());
                }
            }
        }
    }

    /// A message as it goes out, if anything of it does.
    fn line(&mut self, talk: &Talk, message: PlatformMessage) -> Option<Line> {
        let PlatformMessage { message_id: number, user_id, user_type, timestamp, message } =
            message;
        let side = match user_type.as_str() {
            "C" => Ok(Side::Customer),
            "V" => Ok(Side::Vendor),
            "A" => Ok(Side::Staff),
            _ => Err(Reason::UnknownAuthor),
        };
        let side = if user_id > 0 { side } else { Err(Reason::NoAuthor) };
        let (meant, was_repaired) = repair(&message);
        let mut written = to_text(&meant);
        let side = if is_visible(&written) { side } else { side.and(Err(Reason::Empty)) };
        let side = match self.repeated.get_mut(&number) {
            Some(met) if *met => Err(Reason::Repeated),
            Some(met) => {
                *met = side.is_ok();
                side
            }
            None => side,
        };
        let side = match side {
            Ok(side) => side,
            Err(reason) => {
                self.report.skip_messages(reason, &[number], 1);
                return None;
            }
        };
        self.report.read.messages += 1;
        if was_repaired {
            self.report.change(Reason::Repaired, number);
        }
        if written.contains('\u{fffd}') {
            self.report.change(Reason::Damaged, number);
        }
        if shorten(&mut written) {
            self.report.change(Reason::Shortened, number);
        }
        let at = moment(timestamp).unwrap_or(talk.created_at);
        let mut line = Line {
            number,
            own_id: format!("{IMPORTED}{number}"),
            author: user_id.to_string(),
            side,
            text: String::new(),
            flagged: false,
            written,
            at,
        };
        screen(&self.list, &mut line);
        Some(line)
    }

    /// Notes who has to be here for a part.
    fn meet(&mut self, thread: &PlatformThread, talk: &Talk, lines: &[Line]) {
        self.people.companies.insert(thread.company_id);
        let mut meet = |id: &str, guess: Guess| {
            let Ok(id) = id.parse::<i64>() else { return };
            if !self.people.done.contains(&id) {
                let known = self.people.users.entry(id).or_insert(guess);
                *known = (*known).max(guess);
            }
        };
        if let Some(customer) = &talk.customer {
            meet(customer, Guess::Customer);
        }
        for line in lines {
            let guess = match line.side {
                Side::Vendor => Guess::Vendor(thread.company_id),
                Side::Staff => Guess::Admin,
                Side::Customer | Side::Peer => Guess::Customer,
            };
            meet(&line.author, guess);
        }
    }

    /// Writes what was gathered. Tells where the last part went, if there was one.
    async fn flush(&mut self) -> Result<Option<Option<i64>>, MoveError> {
        let parts = std::mem::take(&mut self.gathered);
        if parts.is_empty() {
            return Ok(None);
        }
        let (users, vendors) = self.describe()?;
        let mut batch = Batch {
            list_version: self.list.version(),
            last_thread: self.last_thread,
            renumber: self.options.renumber,
            vendors,
            users,
            parts,
            now: chaffer_shared::time::now().naive_utc(),
        };
        let begun = Instant::now();
        let mut attempt = 1;
        let outcome = loop {
            let (sent, dry_run) = (Arc::new(batch), self.options.dry_run);
            let job = Arc::clone(&sent);
            let written = self.store.write(move |writer| {
                let outcome = bring_in(writer, &job)?;
                // The error takes back what was done.
                if dry_run { Err(MoveError::DryRun(Box::new(outcome))) } else { Ok(outcome) }
            });
            let error = match written.await {
                Ok(outcome) => break (outcome, sent),
                Err(MoveError::DryRun(outcome)) => break (*outcome, sent),
                Err(error) => error,
            };
            let may_pass = match &error {
                // A commit that failed may have happened: the next attempt finds out.
                MoveError::Store(error) => error.is_passing(),
                error => matches!(error, MoveError::StaleWordList),
            };
            if attempt >= ATTEMPTS || !may_pass {
                return Err(error);
            }
            attempt += 1;
            batch = Arc::into_inner(sent).ok_or(StoreError::Closed)?;
            if matches!(error, MoveError::StaleWordList) {
                self.list = fetch_list(self.store).await?;
                batch.list_version = self.list.version();
                batch
                    .parts
                    .iter_mut()
                    .flat_map(|it| &mut it.lines)
                    .for_each(|it| screen(&self.list, it));
            } else {
                tokio::time::sleep(Duration::from_millis(200) * attempt).await;
            }
        };
        let (outcome, sent) = outcome;
        self.note(&outcome, &sent);
        if !self.options.dry_run {
            tokio::time::sleep(begun.elapsed().min(MAX_REST)).await;
        }
        Ok(outcome.parts.last().map(|it| it.target))
    }

    fn note(&mut self, outcome: &Outcome, batch: &Batch) {
        let report = &mut self.report;
        report.imported.users += outcome.users;
        report.imported.vendors += outcome.vendors;
        for (part, done) in batch.parts.iter().zip(&outcome.parts) {
            let number = part.number;
            let Some(target) = done.target else {
                let messages = u64::try_from(part.lines.len()).unwrap_or(0);
                report.read.messages -= messages;
                report.skip_thread(Reason::NumberTaken, number, messages);
                continue;
            };
            let is_first = part.target.is_none();
            report.imported.messages += done.added;
            report.already_there.messages += done.present;
            if is_first && done.is_new {
                report.imported.threads += 1;
                if target != number {
                    report.renumbered.push(Renumbered { from: number, to: target });
                }
            } else if is_first {
                report.already_there.threads += 1;
            }
            if done.added > 0 {
                for line in part.lines.iter().filter(|line| line.flagged) {
                    report.change(Reason::Masked, line.number);
                }
            }
        }
    }

    /// The people of a batch, as the shop knows them.
    fn describe(&mut self) -> Result<(Users, Vendors), StoreError> {
        let guesses = std::mem::take(&mut self.people.users);
        let mut companies = std::mem::take(&mut self.people.companies);
        companies.retain(|id| !self.people.companies_done.contains(id));
        let ids: Vec<i64> = guesses.keys().copied().collect();
        let asked: Vec<i64> = companies.iter().copied().collect();
        let mut known = self.platform.users(&ids, &asked)?;
        known.retain(|it| !self.people.done.contains(&it.user_id));
        let mut users: Vec<(String, UserFields)> = known.iter().map(user).collect();
        let found: HashSet<i64> = known.iter().map(|it| it.user_id).collect();
        for (id, guess) in guesses.into_iter().filter(|(id, _)| !found.contains(id)) {
            users.push((id.to_string(), unknown_user(id, guess)));
        }
        // The vendors of everybody's have to be there first.
        let of_users =
            users.iter().filter_map(|(_, it)| it.vendor_id.as_ref()?.parse::<i64>().ok());
        companies.extend(of_users.filter(|id| !self.people.companies_done.contains(id)));
        let asked: Vec<i64> = companies.iter().copied().collect();
        let named = self.platform.companies(&asked)?;
        let vendors = asked.iter().map(|id| {
            let known = named.as_ref().and_then(|all| all.iter().find(|it| it.id == *id));
            // Gone from the shop, where the shop has a list: its conversations can be read, not written to.
            let is_gone = named.is_some() && known.is_none();
            let is_off = is_gone || known.is_some_and(|it| it.status == "D");
            let name = known.map(|it| to_line(&repair(&it.name).0, MAX_LINE_CHARS));
            let fields = VendorFields {
                name: name.filter(|it| !it.is_empty()).unwrap_or_else(|| format!("Vendor {id}")),
                status: if is_off { VendorStatus::Disabled } else { VendorStatus::Active },
                plan_includes_messaging: true,
                avatar_url: None,
            };
            (id.to_string(), fields)
        });
        let vendors = vendors.collect();
        self.people.companies_done.extend(asked);
        self.people.done.extend(users.iter().filter_map(|(id, _)| id.parse::<i64>().ok()));
        Ok((users, vendors))
    }
}

/// What a conversation becomes, or why it does not come in.
fn talk(
    thread: &PlatformThread,
    product: Option<&str>,
    has_storefronts: bool,
) -> Result<Talk, Reason> {
    let seen = match thread.status.as_str() {
        "N" => false,
        "V" => true,
        "D" => return Err(Reason::Deleted),
        _ => return Err(Reason::UnknownStatus),
    };
    let customer = match thread.communication_type.as_str() {
        "" | "vendor_to_customer" => Some(thread.user_id),
        "vendor_to_admin" => None,
        _ => return Err(Reason::UnknownKind),
    };
    if thread.company_id <= 0 {
        return Err(Reason::NoVendor);
    }
    if customer.is_some_and(|id| id <= 0) {
        return Err(Reason::NoCustomer);
    }
    let vendor = thread.company_id.to_string();
    let (subject_type, subject_id) = match (thread.object_type.as_str(), thread.object_id) {
        ("P", 1..) => (SubjectType::Product, thread.object_id.to_string()),
        ("O", 1..) => (SubjectType::Order, thread.object_id.to_string()),
        // A subject of this kind is the vendor of the conversation; so is none at all.
        ("C" | "P" | "O" | "", _) => (SubjectType::Vendor, vendor.clone()),
        // What vendors ask the marketplace about, e.g. a preset of theirs, is nothing that has a page here.
        _ if customer.is_none() => (SubjectType::Vendor, vendor.clone()),
        _ => return Err(Reason::UnknownSubject),
    };
    let own = to_line(&repair(&thread.subject).0, MAX_LINE_CHARS);
    let named = || product.map(|it| to_line(&repair(it).0, MAX_LINE_CHARS));
    let title = Some(own).filter(|it| !it.is_empty()).or_else(named);
    let created_at = moment(thread.created_at).or_else(|| moment(thread.last_updated));
    let created_at = created_at.unwrap_or_default();
    Ok(Talk {
        subject_type,
        subject_id,
        title: title.filter(|it| !it.is_empty()),
        storefront: (has_storefronts && thread.storefront_id > 0)
            .then(|| thread.storefront_id.to_string()),
        customer: customer.map(|id| id.to_string()),
        vendor,
        created_at,
        seen_at: seen.then(|| moment(thread.last_updated).unwrap_or(created_at)),
    })
}

/// The platform's seconds; 0 is no time.
fn moment(seconds: i64) -> Option<Timestamp> {
    // Both databases end with the year 9999.
    let known = (1..253_402_300_800).contains(&seconds);
    known.then(|| chrono::DateTime::from_timestamp(seconds, 0)).flatten().map(|it| it.naive_utc())
}

fn is_visible(text: &str) -> bool {
    let unseen = |c: char| {
        c.is_whitespace()
            || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
    };
    !text.chars().all(unseen)
}

/// Cuts what no column holds; tells whether it did.
fn shorten(text: &mut String) -> bool {
    if text.len() <= MAX_TEXT_BYTES {
        return false;
    }
    text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
    text.push('…');
    true
}

fn screen(list: &WordList, line: &mut Line) {
    let scan = list.scan(&line.written);
    line.flagged = scan.as_ref().is_some_and(|it| !it.findings.is_empty());
    line.text = scan.map_or_else(|| line.written.clone(), |it| it.masked);
    shorten(&mut line.text);
}

fn user(known: &PlatformUser) -> (String, UserFields) {
    let guess = match known.user_type.as_str() {
        "A" => Guess::Admin,
        "V" if known.company_id > 0 => Guess::Vendor(known.company_id),
        _ => Guess::Customer,
    };
    let name = format!("{} {}", repair(&known.firstname).0, repair(&known.lastname).0);
    let name = to_line(&name, MAX_LINE_CHARS);
    let mut fields = unknown_user(known.user_id, guess);
    if !name.is_empty() {
        fields.name = name;
    }
    let email = known.email.trim();
    let is_address = email
        .split_once('@')
        .is_some_and(|(name, host)| !name.is_empty() && host.contains('.') && !host.contains('@'))
        && email.len() <= 254
        && !email.chars().any(|c| c.is_control() || c.is_whitespace());
    fields.email = is_address.then(|| email.to_owned());
    let language = known.lang_code.trim().to_ascii_lowercase();
    let is_code =
        (2..=3).contains(&language.len()) && language.chars().all(|c| c.is_ascii_alphabetic());
    fields.locale = is_code.then_some(language);
    (known.user_id.to_string(), fields)
}

/// Somebody of whom no more is known, until the shop's backend says it. Nobody gets a right by being imported.
fn unknown_user(id: i64, guess: Guess) -> UserFields {
    let (role, name, vendor) = match guess {
        Guess::Customer => (Role::Customer, "Customer", None),
        Guess::Vendor(company) => (Role::VendorAdmin, "Vendor administrator", Some(company)),
        Guess::Admin => (Role::Admin, "Administrator", None),
    };
    UserFields {
        role,
        name: format!("{name} {id}"),
        email: None,
        avatar_url: None,
        phone: None,
        locale: None,
        vendor_id: vendor.map(|id| id.to_string()),
        root: false,
        manage_messages: false,
        profiles: "[]".into(),
    }
}
