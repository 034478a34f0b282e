//! E-mail addresses and links, as people write them to get past a filter: look-alike letters, spaces, `(at)` and `dot` in several
//! languages. They are looked for in the folded text, so a look-alike or a full-width letter makes no difference here.

use std::ops::Range;
use std::sync::LazyLock;

use regex::{Captures, Match, Regex};

use crate::fold::{Folded, fold_str};
use crate::{ip, tlds};

/// A place in a text, and how it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contact {
    pub(crate) range: Range<usize>,
    pub(crate) read_as: String,
}

/// Words for `@`. The short ones count in brackets, or where the rest is spelled out, too.
const AT: [&str; 9] =
    ["at", "et", "ät", "arroba", "chiocciola", "малпа", "собака", "собачка", "эт"];
/// What may stand for the dot of a link, or before it.
const DOTS: [char; 9] = ['.', ':', ',', '•', '·', '∙', '⋅', '●', '‧'];
/// Words for the dot.
const DOT: [&str; 7] = ["dot", "punkt", "punto", "point", "ponto", "точка", "тчк"];
/// Those that are no word of a sentence, as `at this point com` is one.
const PLAIN_DOT: [&str; 4] = ["dot", "punkt", "точка", "тчк"];
/// Where host names end after one of these.
const SPOKEN_TLDS: [&str; 22] = [
    "com", "net", "org", "ru", "рф", "su", "ua", "kz", "info", "biz", "fr", "uk", "io", "eu", "de",
    "pl", "xyz", "ру", "ком", "орг", "нет", "инфо",
];
/// Where addresses end after a dot with spaces around it: none that is a word of some language.
const PLAIN_TLDS: [&str; 24] = [
    "com", "net", "org", "ru", "рф", "su", "ua", "kz", "info", "biz", "fr", "uk", "co", "io", "eu",
    "by", "br", "cn", "jp", "pl", "edu", "gov", "online", "shop",
];
/// Mailboxes that are known without their ending.
const PROVIDERS: [&str; 16] = [
    "gmail",
    "googlemail",
    "hotmail",
    "outlook",
    "yahoo",
    "icloud",
    "protonmail",
    "proton",
    "yandex",
    "mail",
    "rambler",
    "gmx",
    "aol",
    "bk",
    "inbox",
    "qq",
];

fn any_of(words: &[&str]) -> String {
    words.iter().map(|word| regex::escape(&fold_str(word))).collect::<Vec<_>>().join("|")
}

/// Builds one of the patterns below; they are constants, so the tests see each of them built.
fn pattern(text: &str) -> Option<Regex> {
    let brackets = |words: &str| format!(r"\s{{0,2}}[\[({{<]\s?(?:{words})\s?[\])}}>]\s{{0,2}}");
    let text = text
        .replace("BRACKETED_AT", &brackets(&format!("{}|@", any_of(&AT))))
        .replace("AT", &any_of(&AT))
        .replace("BRACKETED_DOT", &brackets(&format!(r"{}|\.|,", any_of(&DOT))))
        .replace(
            "SPOKEN_DOT",
            &format!(r"(?:\s{{1,3}}|[_\-])(?:{})(?:\s{{1,3}}|[_\-])", any_of(&PLAIN_DOT)),
        )
        .replace("DOT", &any_of(&DOT))
        .replace("PLAIN_TLDS", &any_of(&PLAIN_TLDS))
        .replace("SPOKEN_TLDS", &any_of(&SPOKEN_TLDS))
        .replace("CYRILLIC", &any_of(&["рф", "ру"]))
        .replace("PROVIDERS", &any_of(&PROVIDERS))
        .replace("LOCAL", r"[\p{L}\p{N}][\p{L}\p{N}._%+\-]*")
        .replace("LABEL", r"[\p{L}\p{N}][\p{L}\p{N}\-]*");
    Regex::new(&text).ok()
}

/// Each with a group `mail`: what is the address.
static EMAILS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    [
        // joe@shop.com, joe @ shop.com
        r"(?P<mail>LOCAL\s{0,2}@\s{0,2}(?:LABEL\.)+(?:xn--[a-z0-9\-]+|\p{L}{2,24}))(?:[^\p{L}\p{N}]|$)",
        // joe@gmail
        r"(?P<mail>LOCAL\s{0,2}(?:@|BRACKETED_AT)\s{0,2}(?:PROVIDERS))(?:[^\p{L}\p{N}]|$)",
        // joe(at)shop.com, joe@shop dot com, joe @ shop . com
        r"(?P<mail>LOCAL(?:\s{0,2}@\s{0,2}|BRACKETED_AT|\s?%40\s?|\s?&#64;\s?)LABEL(?:(?:BRACKETED_DOT|\s{1,3}(?:DOT)\s{1,3}|\s{0,2}\.\s{0,2}|,)LABEL){0,3}?(?:BRACKETED_DOT|\s{1,3}(?:DOT)\s{1,3}|\s{0,2}\.\s{0,2}|,)(?:PLAIN_TLDS))(?:[^\p{L}\p{N}]|$)",
        // joe(at)shop.anything
        r"(?P<mail>LOCALBRACKETED_AT(?:LABEL\.)+\p{L}{2,24})(?:[^\p{L}\p{N}]|$)",
        // joe at shop dot com, joe at gmail.com, joe at gmail com
        r"(?P<mail>LOCAL\s{1,3}(?:AT)\s{1,3}LABEL(?:(?:BRACKETED_DOT|SPOKEN_DOT)(?:PLAIN_TLDS)|\s{1,3}(?:DOT)\s{1,3}com))(?:[^\p{L}\p{N}]|$)",
        r"(?P<mail>LOCAL\s{1,3}(?:AT)\s{1,3}(?:PROVIDERS)(?:BRACKETED_DOT|\s{1,3}(?:DOT)\s{1,3}|\s{0,2}[., ]\s{0,2})(?:PLAIN_TLDS))(?:[^\p{L}\p{N}]|$)",
        // joe собака shop.ru: a word that is no preposition needs less beside it.
        r"(?P<mail>LOCAL\s{1,3}(?:cобaкa|SOBAKA)\s{1,3}(?:LABEL\.)+\p{L}{2,24})(?:[^\p{L}\p{N}]|$)",
    ]
    .iter()
    .filter_map(|text| pattern(&text.replace("SOBAKA", &any_of(&["собака", "собачка", "arroba"]))))
    .collect()
});

/// Each with a group `link`, and a group `host` where the host's end has to be a known one.
static LINKS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    [
        r"(?P<link>(?:h[tx]{2}ps?|ftp)\s?:\s?/\s?/\s?(?P<named>[^\s/?#]+)\S*)",
        r"(?:^|[^\p{L}\p{N}])(?P<link>www\d?\s?(?:\.|BRACKETED_DOT|\s(?:DOT)\s)\s?(?P<named>LABEL[^\s/?#]*)\S*)",
        r"(?:^|[^\p{L}\p{N}@._\-])(?P<link>(?P<host>(?:LABEL\.)+(?:xn--[a-z0-9\-]+|\p{L}{2,24}))(?P<rest>(?::\d{2,5})?(?:[/?#]\S*)?))",
        // shop (dot) anything
        r"(?:^|[^\p{L}\p{N}@._\-])(?P<link>(?P<named>(?:LABEL(?:\.|BRACKETED_DOT)){0,3}LABELBRACKETED_DOT(?P<tld>xn--[a-z0-9\-]+|\p{L}{2,24}))(?:[/:]\S*)?)(?:[^\p{L}\p{N}]|$)",
        // shop dot com, shop точка ру, shop_dot_com
        r"(?:^|[^\p{L}\p{N}@._])(?P<link>(?P<named>(?:LABEL(?:\.|BRACKETED_DOT|SPOKEN_DOT)){0,3}LABELSPOKEN_DOT(?:SPOKEN_TLDS))(?:/\S*)?)(?:[^\p{L}\p{N}]|$)",
        r"(?:^|[^\p{L}\p{N}@._\-])(?P<link>(?P<named>LABEL\s{1,3}(?:DOT)\s{1,3}(?:com|org|ru|fr|br|eu))(?:/\S*)?)(?:[^\p{L}\p{N}]|$)",
        // shop . com, shop. com
        r"(?:^|[^\p{L}\p{N}@._\-])(?P<link>(?P<named>(?:LABEL\.)*LABEL(?:\s{1,2}\.\s{0,2}(?P<soft>com|net|org|ru|info|biz)|\.\s{1,2}(?P<softer>com|org|ru|biz)))(?:/\S*)?)(?:[^\p{L}\p{N}]|$)",
        // shop,com and shop•com
        r"(?:^|[^\p{L}\p{N}@._\-])(?P<link>(?P<named>(?:LABEL\.)*LABEL[,•·∙⋅●‧](?P<soft>com|ru|CYRILLIC|org))(?:/\S*)?)(?:[^\p{L}\p{N}]|$)",
        // t . me/joe
        r"(?:^|[^\p{L}\p{N}@._\-])(?P<link>(?P<named>(?:t|wa|m|fb|vk|ig)\s{0,2}(?:\.|DOT)\s{0,2}(?:me|com|cc))\s{0,2}/\s{0,2}[\p{L}\p{N}+]\S*)",
        r"(?:^|[^\p{L}\p{N}.])(?P<link>(?P<named>(?P<ip>\d{1,3}(?:(?:\.|\s{1,2}\.\s{1,2}|BRACKETED_DOT|SPOKEN_DOT)\d{1,3}){3}))(?P<rest>(?::\d{2,5})?(?:/\S*)?))",
    ]
    .iter()
    .filter_map(|text| pattern(text))
    .collect()
});

/// The e-mail addresses of a text, but for those of these domains (folded).
pub(crate) fn emails(folded: &Folded, exceptions: &[String]) -> Vec<Contact> {
    // The cheapest test that says no for most texts.
    let hints = ["@", "%40", "&#64;"];
    let has_hint = |folded: &Folded| {
        hints.iter().any(|hint| folded.text.contains(hint)) || WORD_FOR_AT.is_match(&folded.text)
    };
    in_both(folded, |folded, found| {
        if !has_hint(folded) {
            return;
        }
        for regex in EMAILS.iter() {
            each(
                regex,
                &folded.text,
                "mail",
                |_, hit| {
                    let domain = hit.rsplit('@').next().unwrap_or_default();
                    (!is_exception(domain, exceptions)).then_some(hit.len())
                },
                folded,
                found,
            );
        }
    })
}

static WORD_FOR_AT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?:^|[^\p{L}\p{N}])(?:AT)(?:[^\p{L}\p{N}]|$)").unwrap_or_else(|| NOTHING.clone())
});
static NOTHING: LazyLock<Regex> = LazyLock::new(never);

#[expect(clippy::expect_used, reason = "a constant pattern, built by every test")]
fn never() -> Regex {
    Regex::new("$.").expect("a constant")
}

/// The links of a text, but for those to these domains (folded) and below.
pub(crate) fn links(text: &str, folded: &Folded, exceptions: &[String]) -> Vec<Contact> {
    in_both(folded, |folded, found| {
        if !folded.text.contains(DOTS) && !WORD_FOR_DOT.is_match(&folded.text) {
            return;
        }
        for regex in LINKS.iter() {
            each(
                regex,
                &folded.text,
                "link",
                |captures, hit| {
                    let host = captures.name("host");
                    let named =
                        host.or_else(|| captures.name("named")).map_or("", |it| it.as_str());
                    if is_exception(named.split(':').next().unwrap_or_default(), exceptions) {
                        return None;
                    }
                    let has_rest = captures.name("rest").is_some_and(|it| !it.is_empty());
                    if !is_one(text, folded, captures, has_rest) {
                        return None;
                    }
                    if let Some(host) = host
                        && !is_host(text, folded, host.start(), host.as_str(), has_rest)
                    {
                        return None;
                    }
                    if let Some(tld) = captures.name("tld")
                        && !is_known(text, folded, tld.start(), tld.as_str())
                    {
                        return up_to_known(text, folded, captures.name("named")?);
                    }
                    // What ends the sentence does not belong to the link.
                    let end = |c: char| ".,;:!?)]}'\"»”…".contains(c);
                    Some(hit.trim_end_matches(end).len())
                },
                folded,
                found,
            );
        }
    })
}

static WORD_FOR_DOT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?:^|[^\p{L}\p{N}])(?:DOT)(?:[^\p{L}\p{N}]|$)").unwrap_or_else(|| NOTHING.clone())
});

/// Looks through a text, and through the same with what is written letter by letter closed up.
fn in_both(folded: &Folded, look: impl Fn(&Folded, &mut Vec<Contact>)) -> Vec<Contact> {
    let mut found = Vec::new();
    look(folded, &mut found);
    if let Some(closed) = folded.closed_up() {
        look(&closed, &mut found);
    }
    found
}

/// Every match of a group; `judge` says how many of its bytes count. The next one is looked for right behind it, since what
/// follows an address may begin the next.
fn each(
    regex: &Regex,
    text: &str,
    group: &str,
    judge: impl Fn(&Captures<'_>, &str) -> Option<usize>,
    folded: &Folded,
    found: &mut Vec<Contact>,
) {
    let mut from = 0;
    while let Some(captures) = regex.captures_at(text, from) {
        let Some(hit) = captures.name(group) else { break };
        if let Some(length) = judge(&captures, hit.as_str()).filter(|length| *length > 0) {
            let end = hit.start() + length;
            found.push(Contact {
                range: folded.original(hit.start(), end),
                read_as: text.get(hit.start()..end).unwrap_or_default().to_owned(),
            });
        }
        from = hit.end().max(from + 1);
        while !text.is_char_boundary(from) {
            from += 1;
        }
        if from >= text.len() {
            break;
        }
    }
}

/// Whether host names end so.
fn is_known(text: &str, folded: &Folded, at: usize, tld: &str) -> bool {
    let original = text.get(folded.original(at, at + tld.len())).unwrap_or_default();
    tlds::is_known_cyrillic(original).unwrap_or_else(|| tlds::is_known(tld))
}

/// How much of `evil (dot) com (dot) Thanks` is a host name.
fn up_to_known(text: &str, folded: &Folded, named: Match<'_>) -> Option<usize> {
    let is_label = |c: char| c.is_alphanumeric() || c == '-';
    let labels = named.as_str().split(|c| !is_label(c)).filter(|it| !it.is_empty());
    let mut at = 0;
    let ends = labels.filter_map(|label| {
        let start = named.as_str().get(at..)?.find(label)? + at;
        at = start + label.len();
        (start > 0 && is_known(text, folded, named.start() + start, label)).then_some(at)
    });
    ends.last()
}

/// Whether what a pattern found without knowing host names is one.
fn is_one(text: &str, folded: &Folded, captures: &Captures<'_>, has_rest: bool) -> bool {
    let original =
        |range: Range<usize>| text.get(folded.original(range.start, range.end)).unwrap_or_default();
    if let Some(tld) = captures.name("soft").or_else(|| captures.name("softer")) {
        let named = captures.name("named").map_or("", |it| it.as_str());
        let written = original(tld.range());
        let mut letters = written.chars();
        // "Send photos. Info is missing", "щука,сом"
        let begins_sentence = letters.next().is_some_and(char::is_uppercase)
            && letters.next().is_some_and(char::is_lowercase);
        let is_latin = written.chars().all(|c| !matches!(c, '\u{400}'..='\u{52f}'));
        return named.contains(char::is_alphabetic)
            && named.chars().filter(|c| c.is_alphabetic()).count() > tld.as_str().chars().count()
            && !begins_sentence
            && (is_latin || ["рф", "ру"].contains(&written.to_lowercase().as_str()));
    }
    let Some(ip) = captures.name("ip") else { return true };
    let end = captures.get(0).map_or(ip.end(), |it| it.end());
    let before = folded.text.get(..ip.start()).unwrap_or_default();
    let after = folded.text.get(end..).unwrap_or_default();
    let is_spelled = !ip.as_str().chars().all(|c| c.is_ascii_digit() || c == '.');
    ip::is_address(ip.as_str(), before, after, has_rest, is_spelled)
}

fn is_exception(host: &str, exceptions: &[String]) -> bool {
    let host = host.trim().trim_start_matches("www.").trim_end_matches('.');
    exceptions.iter().any(|domain| {
        host == domain || host.strip_suffix(domain.as_str()).is_some_and(|it| it.ends_with('.'))
    })
}

/// Whether `name.end` is an address, and not the end of a sentence without a space behind it, or a file.
fn is_host(text: &str, folded: &Folded, at: usize, host: &str, has_rest: bool) -> bool {
    let Some((name, tld)) = host.rsplit_once('.') else { return false };
    let start = at + name.len() + 1;
    let original = text.get(folded.original(start, start + tld.len())).unwrap_or_default();
    // "Спасибо.по почте": its last letters only look like `.no`.
    if !tlds::is_known_cyrillic(original).unwrap_or_else(|| tlds::is_known(tld)) {
        return false;
    }
    // `3.5 kg.co`, `e.g`, but `t.me`.
    if !name.chars().any(char::is_alphabetic) && !has_rest {
        return false;
    }
    if has_rest || !tlds::is_word(tld) {
        return true;
    }
    // "Thanks.Is it new?", "ok.so what"
    !original.starts_with(char::is_uppercase) && !tlds::ends_a_sentence(name)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_pattern_can_be_built() {
        assert_eq!((super::EMAILS.len(), super::LINKS.len()), (7, 10));
        assert!(
            super::WORD_FOR_AT.is_match("joe at home") && super::WORD_FOR_DOT.is_match("a dot b")
        );
    }
}
