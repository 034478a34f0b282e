//! How long a search takes among a million messages: from the call to the whole answer, over HTTP, as staff, a vendor and a
//! customer search, on both databases. The messages are made here, straight into the tables; the API makes the index.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::in_folder;
use crate::http::Http;
use crate::process::to_f64;
use crate::servers::mariadb::Mariadb;
use crate::servers::stack::Stack;
use crate::sheet::{Bar, Sheet, Side, percentile};

/// Unless the environment says `SEARCH_MESSAGES`.
const MESSAGES: u64 = 1_000_000;
const WORDS: usize = 40_000;
const VENDORS: u64 = 200;
const CUSTOMERS: u64 = 20_000;
/// Messages of one insert, and of one transaction.
const ROWS: u64 = 500;
/// Searches of each kind of caller.
const SEARCHES: u64 = 600;
const MOST: f64 = 100.0;
/// The messages that the API looks at without an index.
const LEFT_OUT: u64 = 256;
const INDEXED: Duration = Duration::from_secs(3600);

/// Runs it, once: filling takes longer than measuring.
///
/// # Errors
/// When a server fails.
pub fn run(_: usize) -> Result<Sheet> {
    let messages = match std::env::var("SEARCH_MESSAGES") {
        Ok(text) => text.parse().context("SEARCH_MESSAGES is no number")?,
        Err(_) => MESSAGES,
    };
    let mut sheet = Sheet::new(&format!("search: among {messages} messages"), "");
    in_folder(|folder| {
        let file = folder.join("chaffer.sqlite");
        measure(
            &mut sheet,
            "SQLite",
            folder,
            &format!("sqlite://{}", file.display()),
            messages,
            || {
                let mut client = Command::new("sqlite3");
                client.arg(&file);
                client
            },
        )
    })?;
    in_folder(|folder| {
        let server = Mariadb::start(folder)?;
        measure(&mut sheet, "MariaDB", folder, &server.url(), messages, || server.client())
    })?;
    Ok(sheet)
}

fn measure(
    sheet: &mut Sheet,
    database: &str,
    folder: &Path,
    url: &str,
    messages: u64,
    client: impl Fn() -> Command,
) -> Result<()> {
    let stack = Stack::start(folder, url)?;
    // People, and a thread that sets the counters going.
    let mut post = stack.poster(0)?;
    let talk = Talk::new(messages);
    fill(folder, &client, &talk)?;
    let begun = Instant::now();
    post("Is somebody there?")?;
    let position = "SELECT value FROM counters WHERE name = 'search';\n";
    loop {
        let done: u64 = ask(&client, folder, position)?.trim().parse().context("no position")?;
        // Fewer than that are not worth a commit to it.
        if done + LEFT_OUT > messages {
            break;
        }
        if begun.elapsed() > INDEXED {
            bail!("{done} of {messages} messages are in the index after {INDEXED:?}");
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    let rate = to_f64(messages) / begun.elapsed().as_secs_f64();
    sheet.note(&format!("{database}, indexed a second, behind the posts"), Side::Ours, rate);
    stack.staff()?;
    for (who, id) in [("staff", "staff"), ("a vendor", "s0"), ("a customer", "b0")] {
        let mut times = searches(&talk, stack.person(id)?)?;
        for percent in [50, 95, 99] {
            let row = format!("{database}, {who}: percentile {percent}, ms");
            sheet.note(&row, Side::Ours, percentile(&mut times, percent));
            if percent == 95 {
                sheet.expect(&row, Bar::AtMost(MOST));
            }
        }
    }
    Ok(())
}

/// Searches as people do, one after the other; the nanoseconds of each.
fn searches(talk: &Talk, mut caller: Http) -> Result<Vec<u64>> {
    let mut times = Vec::new();
    let mut dice = Dice(7);
    let mut found: u64 = 0;
    for number in 0..SEARCHES {
        // Words that somebody said; often one that very many say.
        let message = dice.below(talk.messages) + 1;
        let words = talk.words(message);
        let word = |place: usize| words[place % words.len()].as_str();
        let at = usize::try_from(dice.below(20))?;
        let mut query = match number % 8 {
            0 => word(at).to_owned(),
            1 => word(at).chars().take(3).collect(),
            2 => word(at).chars().take(2).collect(),
            3 => format!("{} {}", word(at), word(at + 1)),
            4 => {
                format!("\"{} {}\"", word(at % (words.len() - 1)), word(at % (words.len() - 1) + 1))
            }
            5 => talk.vocabulary[usize::try_from(dice.below(100))?].clone(),
            6 => format!("{} {}", talk.vocabulary[usize::try_from(dice.below(20))?], word(at)),
            _ => "nobodysaysthis".to_owned(),
        };
        query = percent_encoded(&query);
        let filter = match number % 5 {
            0 => "&vendor_id=v0",
            1 => "&status=open",
            2 => "&subject_type=product",
            _ => "",
        };
        let path = if number % 10 == 9 { "threads" } else { "search" };
        let begun = Instant::now();
        let answer = caller.call("GET", &format!("/v1/{path}?q={query}{filter}"), &json!(null))?;
        times.push(u64::try_from(begun.elapsed().as_nanos())?);
        let list = answer["results"].as_array().or_else(|| answer["threads"].as_array());
        found += u64::from(list.is_some_and(|list| !list.is_empty()));
    }
    if found * 10 < SEARCHES {
        bail!("only {found} of {SEARCHES} searches found anything");
    }
    Ok(times)
}

fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        // Writing to a String cannot fail.
        let _ = write!(encoded, "%{byte:02X}");
        encoded
    })
}

/// What people say: words as frequent as in any language, the second of all half as often as the first, and so on.
struct Talk {
    messages: u64,
    vocabulary: Vec<String>,
    /// The share of all words up to each.
    shares: Vec<f64>,
}

impl Talk {
    fn new(messages: u64) -> Self {
        const SCRIPTS: [&[&str]; 2] = [
            &["ba", "ke", "lo", "ti", "mu", "ra", "sho", "ne", "vi", "cra", "po", "du"],
            &["ка", "ме", "ло", "ти", "ну", "ра", "што", "не", "ви", "ста", "по", "ду"],
        ];
        let vocabulary = (0..WORDS).map(|number| {
            let syllables = SCRIPTS[number % 2];
            let (mut word, mut rest) = (String::new(), number / 2 + syllables.len());
            while rest > 0 {
                word.push_str(syllables[rest % syllables.len()]);
                rest /= syllables.len();
            }
            word
        });
        let vocabulary = vocabulary.collect();
        let mut shares: Vec<f64> = Vec::with_capacity(WORDS);
        for rank in 1..=WORDS {
            let before = shares.last().copied().unwrap_or_default();
            shares.push(before + 1.0 / to_f64(rank as u64));
        }
        Self { messages, vocabulary, shares }
    }

    /// The words of one message, always the same.
    fn words(&self, message: u64) -> Vec<String> {
        let mut dice = Dice(message);
        let count = 4 + dice.below(17);
        if dice.below(10) == 0 {
            // Chinese: any two of some hundred letters that follow each other.
            let letter = |it: u64| u32::try_from(0x4e00 + it * it).ok().and_then(char::from_u32);
            let pair = |dice: &mut Dice| [dice.below(140), dice.below(140)].map(letter);
            return (0..count).map(|_| pair(&mut dice).into_iter().flatten().collect()).collect();
        }
        let total = self.shares.last().copied().unwrap_or_default();
        let word = |dice: &mut Dice| {
            let at = to_f64(dice.below(1 << 40)) / to_f64(1 << 40) * total;
            self.vocabulary[self.shares.partition_point(|share| *share < at).min(WORDS - 1)].clone()
        };
        (0..count).map(|_| word(&mut dice)).collect()
    }
}

/// Numbers that look thrown and are always the same (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.0;
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (it ^ (it >> 31)) % bound
    }
}

/// Puts the messages into the tables, ten in each thread, without a word to the API.
fn fill(folder: &Path, client: impl Fn() -> Command, talk: &Talk) -> Result<()> {
    const NOW: &str = "'2026-01-01 00:00:00.000'";
    let file = folder.join("fill.sql");
    let mut sql = std::io::BufWriter::new(std::fs::File::create(&file)?);
    // The poster's thread is the first one.
    let threads = talk.messages / 10;
    let mut insert = |head: &str, count: u64, row: &mut dyn FnMut(u64) -> String| -> Result<()> {
        for first in (0..count).step_by(usize::try_from(ROWS)?) {
            let rows: Vec<String> = (first..count.min(first + ROWS)).map(&mut *row).collect();
            write!(sql, "BEGIN;\nINSERT INTO {head} VALUES {};\nCOMMIT;\n", rows.join(",\n"))?;
        }
        Ok(())
    };
    insert(
        "threads (id, subject_type, subject_id, status, flagged, last_message_id, activity, created_at, updated_at)",
        threads,
        &mut |n| {
            let subject = if n % 3 == 0 { "order" } else { "product" };
            let status = if n % 4 == 0 { "closed" } else { "open" };
            let last = talk.messages - threads + n + 1;
            format!("({},'{subject}','p{n}','{status}',FALSE,{last},{last},{NOW},{NOW})", n + 2)
        },
    )?;
    let head = "participants (thread_id, kind, participant_id, side, role, joined_at, last_read_message_id, activity)";
    for (kind, side, count) in [("user", "customer", CUSTOMERS), ("vendor", "vendor", VENDORS)] {
        let prefix = if kind == "user" { 'b' } else { 'v' };
        insert(head, threads, &mut |n| {
            let (thread, activity) = (n + 2, talk.messages - threads + n + 1);
            let who = Dice(n).below(count);
            format!("({thread},'{kind}','{prefix}{who}','{side}','{side}',{NOW},0,{activity})")
        })?;
    }
    insert(
        "messages (id, thread_id, author_kind, author_id, side, text, flagged, created_at)",
        talk.messages,
        &mut |n| {
            let thread = n % threads;
            let text = talk.words(n + 1).join(" ");
            let author = Dice(thread).below(CUSTOMERS);
            let thread = thread + 2;
            format!("({},{thread},'user','b{author}','customer','{text}',FALSE,{NOW})", n + 1)
        },
    )?;
    for (name, value) in
        [("message", talk.messages), ("event", talk.messages + 1000), ("thread", threads + 2)]
    {
        writeln!(sql, "UPDATE counters SET value = {value} WHERE name = '{name}';")?;
    }
    sql.into_inner().context("the file")?.sync_all()?;
    run_file(&client, &file)?;
    Ok(())
}

fn ask(client: impl Fn() -> Command, folder: &Path, sql: &str) -> Result<String> {
    let file = folder.join("ask.sql");
    std::fs::write(&file, sql)?;
    let answer = run_file(client, &file)?;
    Ok(answer.lines().last().unwrap_or_default().to_owned())
}

/// Lets the database's client carry out a file.
fn run_file(client: impl Fn() -> Command, file: &Path) -> Result<String> {
    let output = client().stdin(std::fs::File::open(file)?).output()?;
    if !output.status.success() || !output.stderr.is_empty() {
        bail!("the database's client: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}
