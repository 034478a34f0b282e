//! What a message costs. Run with `cargo bench -p chaffer-forbidden-words`; the bar is 1 ms for 1,000 characters and 10,000 entries.

use chaffer_forbidden_words::{Action, Entry, Kind, Matcher};
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

fn entry(id: usize, kind: Kind, phrase: String) -> Entry {
    let id = i64::try_from(id).unwrap_or_default();
    Entry { id, kind, phrase, action: Action::Mask, exceptions: Vec::new() }
}

/// So many words, and each of the other kinds with 20 regular expressions.
fn list(words: usize) -> Vec<Entry> {
    const SYLLABLES: [&str; 12] =
        ["ba", "ter", "mi", "ко", "lu", "sha", "вер", "ni", "po", "dra", "ke", "ris"];
    let word = |number: usize| -> String {
        let digits = (0..4_u32).map(|place| number / SYLLABLES.len().pow(place) % SYLLABLES.len());
        digits.filter_map(|digit| SYLLABLES.get(digit)).copied().collect()
    };
    let words = (1..=words).map(|id| entry(id, Kind::Phrase, word(id)));
    let kinds = [Kind::Email, Kind::Phone, Kind::Link].map(|kind| entry(0, kind, String::new()));
    let regexes = (0..20).map(|id| entry(id, Kind::Regex, format!(r"\bpromo-{id}\d{{3}}\b")));
    words.chain(kinds).chain(regexes).collect()
}

/// A message of 1,000 characters.
fn message(text: &str) -> String {
    text.chars().cycle().take(1000).collect()
}

const PLAIN: &str = "Guten Tag, is the stoneware mug dishwasher-safe, and could it arrive before Friday? I ordered 3 of them (order 1234567890). ";
const CYRILLIC: &str = "Добрый день! Подскажите, можно ли мыть эту кружку в посудомоечной машине, и успеет ли заказ № 1234567890 к пятнице? ";
const LEAKS: &str = "Write me at j o e @ s h o p . c o m or +7 926 123-45-67, w.h.a.t.s.a.p.p, or see shop dot com; terbamiko b@t3rmiko! ";

#[divan::bench(args = [100, 1_000, 10_000, 20_000])]
fn plain_message(bencher: Bencher<'_, '_>, words: usize) {
    scan(bencher, words, PLAIN);
}

#[divan::bench(args = [10_000])]
fn cyrillic_message(bencher: Bencher<'_, '_>, words: usize) {
    scan(bencher, words, CYRILLIC);
}

#[divan::bench(args = [10_000])]
fn message_full_of_leaks(bencher: Bencher<'_, '_>, words: usize) {
    scan(bencher, words, LEAKS);
}

fn scan(bencher: Bencher<'_, '_>, words: usize, text: &str) {
    let Ok((matcher, _)) = Matcher::new(list(words)) else { return };
    let text = message(text);
    bencher.bench(|| matcher.scan(black_box(&text)));
}

/// What a changed list costs, once for each node.
#[divan::bench(args = [1_000, 10_000], sample_count = 10)]
fn compile(bencher: Bencher<'_, '_>, words: usize) {
    bencher.with_inputs(|| list(words)).bench_values(Matcher::new);
}
