//! Phone numbers. Shops write many numbers to each other: what makes one a phone number is its length, its first digits, how it is
//! grouped, and the words before it; what makes it something else are the words before it (`order`), its grouping as a price, being a date.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use crate::contacts::Contact;
use crate::fold::{Folded, fold_str};

/// The widest gap between two digits of a number, in characters.
const MAX_GAP: usize = 3;
/// The numbers of digits that a phone number can have (E.164), and from where on one without any sign of it is one.
const DIGITS: Range<usize> = 7..16;
/// How far before a number a word about it may stand, in words.
const CONTEXT_WORDS: usize = 4;

/// From how many digits on a number may be written in several ways at once.
const MIN_MIXED: usize = 10;
/// The longest group of letters that look like digits: longer ones are words.
const MAX_LETTERS: usize = 4;

const PHONE_WORDS: &str = "tel tel. telephone telefon telefono phone phones mobile mobil cell call ring whatsapp viber telegram sms fax \
    тел тел. телефон телефона телефону тлф звони звоните позвони позвоните набери моб мобильный вацап ватсап вотсап вайбер ☎ 📞 📱 \
    телефонный 电话 手机 微信";
const OTHER_WORDS: &str = "order orders invoice receipt no no. nr nr. num number # nо article art art. item sku ean upc gtin isbn asin barcode \
    version ver firmware build версия версии прошивка прошивки tracking track parcel shipment ticket id code serial s/n sn model part ref reference iban account card vat tax zip postcode lot \
    заказ заказа заказу заказом номер счет счета счёт чек артикул арт арт. код штрихкод трек трек-номер накладная посылка посылки \
    инн кпп огрн бик снилс карта карты договор договора серийный лот bestellung bestellnummer rechnung artikel sendung commande \
    facture pedido factura ordine fattura zamówienie";
const MONEY: &str = "$ € £ ¥ ₽ ₴ ₸ usd eur gbp rub руб руб. р. р ₹ uah kzt грн тг";
const ZERO_TO_NINE: [&str; 4] = [
    "zero one two three four five six seven eight nine",
    "ноль один два три четыре пять шесть семь восемь девять",
    "null eins zwei drei vier fünf sechs sieben acht neun",
    "oh uno dos tres cuatro cinco seis siete ocho nueve",
];

fn words(list: &str) -> Vec<String> {
    list.split_whitespace().map(fold_str).collect()
}

struct Lists {
    phone: Vec<String>,
    other: Vec<String>,
    money: Vec<String>,
    spoken: Vec<Vec<String>>,
    dates: Option<Regex>,
}

static LISTS: LazyLock<Lists> = LazyLock::new(|| Lists {
    phone: words(PHONE_WORDS),
    other: words(OTHER_WORDS),
    money: words(MONEY),
    spoken: ZERO_TO_NINE.iter().map(|list| words(list)).collect(),
    dates: Regex::new(
        r"(?x)
        (?:^|[^\d.\-/+])
        (?P<date>
            (?:19|20)\d\d([.\-/])(?:0?[1-9]|1[0-2])[.\-/](?:0?[1-9]|[12]\d|3[01])
            | (?:0?[1-9]|[12]\d|3[01])[.\-/](?:0?[1-9]|1[0-2])[.\-/](?:(?:19|20)\d\d|\d\d)
            | (?:0?[1-9]|1[0-2])/(?:0?[1-9]|[12]\d|3[01])/(?:(?:19|20)\d\d|\d\d)
        )
        (?:t?\s?\d{1,2}:\d\d(?::\d\d)?)?
        (?:$|[^\d.\-/]|[.\-/](?:\D|$)|\s)",
    )
    .ok(),
});

/// What a digit is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    Digit,
    /// A word for it.
    Spoken,
    /// A letter that looks like one, in a group that has letters alone: `8 926 OOO 45 67`.
    Letter,
}

/// A digit, or what stands for one.
#[derive(Debug, Clone, Copy)]
struct Digit {
    value: char,
    /// Its bytes in the folded text.
    start: usize,
    end: usize,
    /// The characters between it and the one before.
    gap: usize,
    written: Written,
    /// A letter that only among digits looks like one: `12З4`, `12S4`.
    is_guessed: bool,
}

/// The phone numbers of a text, but for these (digits alone).
pub(crate) fn phones(folded: &Folded, exceptions: &[String]) -> Vec<Contact> {
    let text = folded.text.as_str();
    let mut found = Vec::new();
    let dates: Vec<Range<usize>> = match &LISTS.dates {
        Some(dates) if text.contains(|c: char| c.is_ascii_digit()) => {
            dates.captures_iter(text).filter_map(|it| Some(it.name("date")?.range())).collect()
        }
        _ => Vec::new(),
    };
    for run in runs(text, &dates) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        let number: String = run.iter().map(|digit| digit.value).collect();
        let before = text.get(..first.start).unwrap_or_default();
        let after = text.get(last.end..).unwrap_or_default();
        if !is_phone(&run, &number, before, after)
            || exceptions.iter().any(|it| !it.is_empty() && number.ends_with(it.as_str()))
        {
            continue;
        }
        // With the plus and the bracket that it begins with.
        let lead = before.trim_end_matches(['+', '(', ' ']);
        let lead = before.get(lead.len()..).unwrap_or_default();
        let sign = lead.find(['+', '(']).map_or(0, |at| lead.len() - at);
        found.push(Contact {
            range: folded.original(first.start - sign, last.end),
            read_as: if lead.contains('+') { format!("+{number}") } else { number },
        });
    }
    found
}

/// The rows of digits of a text that could be one number.
fn runs(text: &str, dates: &[Range<usize>]) -> Vec<Vec<Digit>> {
    let mut runs: Vec<Vec<Digit>> = Vec::new();
    let mut current: Vec<Digit> = Vec::new();
    let mut gap = 0;
    let mut rest = text;
    let mut end = |current: &mut Vec<Digit>| {
        let row = std::mem::take(current);
        let is_long = |row: &[Digit], least: usize| row.len() >= least;
        // `two 8926...` may be an amount and a number, or a number that is written half in words.
        let parts = row.chunk_by(|one, other| one.written == other.written);
        let is_letters = |part: &&[Digit]| part.iter().any(|it| it.written == Written::Letter);
        let last = row.iter().rposition(|digit| digit.written != Written::Letter);
        let whole = row.get(..last.map_or(0, |last| last + 1)).unwrap_or_default();
        if parts.clone().count() > 1 {
            let apart = parts.filter(|part| !is_letters(part) && is_long(part, DIGITS.start));
            runs.extend(apart.map(<[Digit]>::to_vec));
            if is_long(whole, MIN_MIXED) {
                runs.push(whole.to_vec());
            }
        } else if is_long(whole, DIGITS.start) {
            runs.push(row);
        }
    };
    while let Some(c) = rest.chars().next() {
        let at = text.len() - rest.len();
        let length = if c.is_alphanumeric() {
            rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len())
        } else {
            c.len_utf8()
        };
        let (token, behind) = rest.split_at_checked(length).unwrap_or((rest, ""));
        rest = behind;
        let is_date = dates.iter().any(|date| date.contains(&at));
        match digits_of(token, at) {
            Some(digits) if !is_date => {
                let is_letters = digits.iter().any(|it| it.written == Written::Letter);
                if !current.is_empty() && gap > MAX_GAP {
                    end(&mut current);
                }
                if is_letters && current.is_empty() {
                    continue;
                }
                for (index, digit) in digits.into_iter().enumerate() {
                    current.push(Digit { gap: if index == 0 { gap } else { 0 }, ..digit });
                }
                gap = 0;
            }
            // These stand between the digits of a number; a colon, a comma and a sign of arithmetic do not.
            None if matches!(
                c,
                ' ' | '\n'
                    | '-'
                    | '.'
                    | '('
                    | ')'
                    | '/'
                    | '_'
                    | '*'
                    | '~'
                    | '|'
                    | '\\'
                    | '['
                    | ']'
                    | '{'
                    | '}'
                    | '‐'
                    ..='―' | '·' | '•' | '\'' | '"' | '`' | '…' | '<' | '>' | ';' | '−'
            ) || (!c.is_alphanumeric()
                && !c.is_ascii()
                && !LISTS.money.iter().any(|it| it.starts_with(c))) =>
            {
                gap += if c == '\n' { 2 } else { 1 };
            }
            // A plus begins a number.
            _ => {
                end(&mut current);
                gap = 0;
            }
        }
    }
    end(&mut current);
    runs
}

/// The digits that a word stands for: `926`, `9O5`, `nine`, `三`.
fn digits_of(token: &str, at: usize) -> Option<Vec<Digit>> {
    const CHINESE: &str = "〇一二三四五六七八九";
    if let Some(value) =
        LISTS.spoken.iter().find_map(|words| words.iter().position(|it| it == token))
    {
        let value = u32::try_from(value).ok().and_then(|value| char::from_digit(value, 10))?;
        let (start, end, written) = (at, at + token.len(), Written::Spoken);
        return Some(vec![Digit { value, start, end, gap: 0, written, is_guessed: false }]);
    }
    let digits = token.chars().filter(char::is_ascii_digit).count();
    let length = token.chars().count();
    let chinese = token.chars().all(|c| CHINESE.contains(c)) && length >= DIGITS.start;
    let are_like = token.chars().all(|c| c.is_ascii_digit() || matches!(c, 'o' | 'l' | 'i'));
    if !chinese && digits * 2 < length.max(1) && !(are_like && length <= MAX_LETTERS) {
        return None;
    }
    let written = if digits == 0 && !chinese { Written::Letter } else { Written::Digit };
    let chars: Vec<(usize, char)> = token.char_indices().collect();
    let is_among = |index: usize| {
        let is_digit = |it: Option<&(usize, char)>| it.is_some_and(|(_, c)| c.is_ascii_digit());
        is_digit(index.checked_sub(1).and_then(|before| chars.get(before)))
            && is_digit(chars.get(index + 1))
    };
    let digit = |(index, (offset, c)): (usize, &(usize, char))| {
        let value = match *c {
            '0'..='9' => *c,
            'o' => '0',
            'l' | 'i' => '1',
            'з' if is_among(index) => '3',
            's' if is_among(index) => '5',
            'b' if is_among(index) => '8',
            c if chinese => {
                let value = CHINESE.chars().position(|it| it == c)?;
                u32::try_from(value).ok().and_then(|value| char::from_digit(value, 10))?
            }
            _ => return None,
        };
        let (start, is_guessed) = (at + offset, matches!(c, 'з' | 's' | 'b'));
        Some(Digit { value, start, end: start + c.len_utf8(), gap: 0, written, is_guessed })
    };
    chars.iter().enumerate().map(digit).collect()
}

fn is_phone(run: &[Digit], number: &str, before: &str, after: &str) -> bool {
    let count = number.len();
    if !DIGITS.contains(&count) {
        return false;
    }
    let lead = before.trim_end_matches(['(', ' ']);
    if lead.ends_with('+') && !lead.trim_end_matches('+').ends_with(|c: char| c.is_ascii_digit()) {
        return count >= 8;
    }
    let is_any = |word: &str, list: &[String]| list.iter().any(|it| it == word);
    let split =
        |c: char| c.is_whitespace() || matches!(c, ':' | ',' | ';' | '!' | '?' | '(' | ')' | '=');
    let context: Vec<&str> =
        lead.rsplit(split).filter(|word| !word.is_empty()).take(CONTEXT_WORDS).collect();
    let near = |list: &[String], words: usize| {
        context.iter().take(words).any(|word| {
            is_any(word, list) || is_any(word.trim_matches(['.', '-', '"', '\'']), list)
        })
    };
    let ends_with_any = |text: &str, list: &[String]| {
        let text = text.trim_end();
        list.iter().any(|it| !it.chars().any(char::is_alphanumeric) && text.ends_with(it.as_str()))
    };
    let behind = after.trim_start();
    let money = &LISTS.money;
    let is_price = ends_with_any(lead, money)
        || context.first().is_some_and(|word| is_any(word, money))
        || behind.split(split).next().is_some_and(|word| {
            is_any(word, money)
                || money.iter().any(|it| {
                    !it.chars().any(char::is_alphanumeric) && word.starts_with(it.as_str())
                })
        });
    // More digits follow behind what is no gap: `12,50`, `10:30`, `x 200`.
    let goes_on = |text: &str| {
        let mut chars = text.chars();
        matches!(chars.next(), Some(',' | ':' | '%'))
            && chars.next().is_some_and(|c| c.is_ascii_digit())
    };
    if is_price || goes_on(behind) {
        return false;
    }
    let is_spoken = |digit: &Digit| digit.written == Written::Spoken;
    if run.iter().all(is_spoken) {
        return true;
    }
    let says_other = near(&LISTS.other, 3) || lead.ends_with('#') || lead.ends_with('№');
    if near(&LISTS.phone, CONTEXT_WORDS)
        && !(says_other && near(&LISTS.other, 1) && !near(&LISTS.phone, 2))
    {
        return true;
    }
    if says_other || count < 9 {
        return false;
    }
    let groups = groups(run);
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| number.starts_with(prefix));
    let is_russian = count == 11 && starts(&["79", "89", "74", "84", "78", "88", "73", "83"]);
    let is_north_american =
        is_nanp(number) || (count == 11 && number.strip_prefix('1').is_some_and(is_nanp));
    // Model and article numbers hold letters, too; litres, and amounts in words, stand between others.
    let has = |written: Written| run.iter().any(|it| it.written == written);
    if has(Written::Letter) || (groups.len() < 2 && run.iter().any(|it| it.is_guessed)) {
        return is_russian;
    }
    if has(Written::Spoken) {
        return is_russian || is_north_american;
    }
    let all = |length: usize| groups.len() > 1 && groups.iter().skip(1).all(|it| *it == length);
    let singles = groups.iter().filter(|it| **it == 1).count();
    if count >= 10 && singles * 3 >= groups.len() * 2 && groups.len() > 4 {
        // 8 9 2 6 1 2 3 4 5 6 7
        return true;
    }
    // 1 234 567 890, 36 37 38 39 40 41
    if all(3)
        && groups.first().is_some_and(|it| *it <= 3)
        && !starts(&["0"])
        && count < 12
        && groups.first() != Some(&1)
    {
        return false;
    }
    if all(3) && groups.first() == Some(&1) {
        return false;
    }
    if (all(2) || all(4)) && !starts(&["0"]) {
        return false;
    }
    let is_international = (11..=15).contains(&count)
        && number.starts_with("00")
        && !number.starts_with("000")
        || count == 12
            && starts(&[
                "375", "380", "998", "996", "994", "992", "371", "370", "372", "44", "49", "91",
                "351", "353", "358", "420", "90", "52", "55", "62", "86", "34",
            ])
        || count == 13 && starts(&["49", "86", "55"]) && groups.len() > 1
        || count == 11
            && starts(&[
                "33", "34", "48", "31", "32", "41", "43", "45", "46", "47", "61", "65", "66", "84",
            ]);
    let is_trunk = (9..=12).contains(&count) && starts(&["0"]) && !starts(&["000"]);
    let is_local = count == 10 && groups.len() > 1 && starts(&["9"]);
    is_russian || is_north_american || is_international || is_trunk || is_local
}

/// Ten digits that the North American plan gives out.
fn is_nanp(number: &str) -> bool {
    let bytes = number.as_bytes();
    let from_two = |at: usize| bytes.get(at).is_some_and(|it| (b'2'..=b'9').contains(it));
    bytes.len() == 10 && from_two(0) && from_two(3)
}

/// How many digits stand together, group by group.
fn groups(run: &[Digit]) -> Vec<usize> {
    let mut groups = Vec::new();
    for digit in run {
        match groups.last_mut() {
            Some(last) if digit.gap == 0 => *last += 1,
            _ => groups.push(1),
        }
    }
    groups
}
