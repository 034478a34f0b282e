//! What a person wrote in an answer by mail, without what the mail program quoted below it.
//!
//! No standard says how a quotation looks; these are the ways of Gmail, Outlook, Apple Mail, Thunderbird, Yahoo, Mail.ru and
//! Yandex, in English and Russian, and the line that our own templates put on top.

/// What stands on top of our own mails.
const MARKER: &str = "##-";
/// Lines that begin a quotation of Outlook and the like, in lower case.
const ORIGINAL: &[&str] = &[
    "-----original message",
    "-----исходное сообщение",
    "-------- original message",
    "-------- исходное сообщение",
    "-------- forwarded message",
    "-------- пересылаемое сообщение",
    "----- forwarded message",
    "begin forwarded message:",
    "________________________________",
];
/// How the line above a quotation ends, in lower case.
const WROTE: &[&str] = &[
    ">:",
    "wrote:",
    "writes:",
    "пишет:",
    "писал:",
    "писала:",
    "написал:",
    "написала:",
    "написал(а):",
    "писал(а):",
];
/// First and following words of a block of headers, in lower case.
const FROM: &[&str] = &["from:", "от:", "от кого:", "*from:*", "*от:*"];
const HEADERS: &[&str] = &[
    "sent:",
    "date:",
    "to:",
    "subject:",
    "отправлено:",
    "дата:",
    "кому:",
    "тема:",
    "*sent:*",
    "*date:*",
    "*отправлено:*",
];
/// Where quotations begin in HTML.
const HTML_QUOTES: &[&str] = &[
    MARKER,
    "<blockquote",
    "class=\"gmail_quote",
    "class=gmail_quote",
    "id=\"appendonsend\"",
    "id=\"divrplyfwdmsg\"",
    "class=\"moz-cite-prefix",
    "class=\"yahoo_quoted",
    "border-top:solid #e1e1e1",
    "border-top:solid #b5c4df",
];
/// A line above a quotation may be folded over so many lines.
const MAX_FOLDED: usize = 4;

/// The part of a plain text that is not quoted.
#[must_use]
pub fn unquoted(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(|line| line.trim_end_matches(['\r', ' '])).collect();
    let end = (0..lines.len()).find(|&at| ends_at(&lines, at)).unwrap_or(lines.len());
    let own = lines.iter().take(end).filter(|line| !line.trim_start().starts_with('>'));
    own.copied().collect::<Vec<_>>().join("\n").trim().to_owned()
}

/// The part of an HTML text that is not quoted, as plain text.
#[must_use]
pub fn unquoted_html(html: &str) -> String {
    // Lower case of ASCII alone, so that the places stay the same.
    let lower = html.to_ascii_lowercase();
    let end = HTML_QUOTES.iter().filter_map(|quote| lower.find(quote)).min().unwrap_or(html.len());
    let own = html.get(..end).unwrap_or(html);
    // A mark that stands inside a tag leaves half of the tag behind.
    let own = match (own.rfind('<'), own.rfind('>')) {
        (Some(open), close) if close.is_none_or(|close| close < open) => {
            own.get(..open).unwrap_or(own)
        }
        _ => own,
    };
    unquoted(&mail_parser::decoders::html::html_to_text(own))
}

/// Whether a quotation, or a signature, begins at a line.
fn ends_at(lines: &[&str], at: usize) -> bool {
    let Some(line) = lines.get(at) else { return false };
    let plain = line.trim().trim_start_matches('>').trim();
    let lower = plain.to_lowercase();
    // RFC 3676, section 4.3; the space at its end is gone already.
    plain == "--"
        || plain.contains(MARKER)
        || ORIGINAL.iter().any(|start| lower.starts_with(start))
        || is_header_block(lines, at, &lower)
        || is_attribution(lines, at, &lower)
}

/// `From: ...` with other headers right below.
fn is_header_block(lines: &[&str], at: usize, lower: &str) -> bool {
    let starts = |line: &str, words: &[&str]| words.iter().any(|word| line.starts_with(word));
    starts(lower, FROM)
        && lines
            .iter()
            .skip(at + 1)
            .take(2)
            .any(|line| starts(&line.trim().to_lowercase(), HEADERS))
}

/// `On Monday, Anna <anna@shop.example> wrote:`, perhaps folded, with something quoted or nothing at all below.
fn is_attribution(lines: &[&str], at: usize, lower: &str) -> bool {
    let names_somebody =
        |text: &str| text.contains('@') || text.chars().any(|c| c.is_ascii_digit());
    if lower.is_empty() {
        return false;
    }
    let mut folded = String::new();
    for (count, line) in lines.iter().skip(at).take(MAX_FOLDED).enumerate() {
        let line = line.trim();
        if line.is_empty() {
            return false;
        }
        folded.push(' ');
        folded.push_str(&line.to_lowercase());
        if WROTE.iter().any(|end| line.to_lowercase().ends_with(end)) {
            let below = lines.iter().skip(at + count + 1).find(|line| !line.trim().is_empty());
            let quoted = below.is_none_or(|line| line.trim_start().starts_with('>'));
            return names_somebody(&folded) && (quoted || folded.contains('@'));
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_mail_programs_quote_is_cut_off() {
        let answers = [
            "Yes, it is.\n\nOn Mon, 2 Mar 2026 at 10:00, Anna <reply+1@shop.example> wrote:\n> Is it blue?\n",
            "Yes, it is.\r\n\r\nOn Mon, 2 Mar 2026 at 10:00, A very long name of somebody\r\n<reply+1@shop.example> wrote:\r\n\r\n> Is it blue?",
            "Yes, it is.\n\nпн, 2 мар. 2026 г. в 10:00, Анна <reply+1@shop.example>:\n> Синяя?\n",
            "Yes, it is.\n\n02.03.2026 10:00, Анна пишет:\n> Синяя?",
            "Yes, it is.\n\n-----Original Message-----\nFrom: Anna\nSent: Monday\n\nIs it blue?",
            "Yes, it is.\n\nFrom: Anna <a@shop.example>\nSent: Monday\nTo: me\nSubject: blue\n\nIs it blue?",
            "Yes, it is.\n\nОт: Анна\nОтправлено: понедельник\nКому: мне\n\nСиняя?",
            "Yes, it is.\n\n##- Write your answer above this line -##\nAnna wrote something",
            "Yes, it is.\n\n> ##- Write your answer above this line -##\n> more",
            "Yes, it is.\n-- \nSent by somebody",
            "> Is it blue?\nYes, it is.\n> And green?\n",
        ];
        for answer in answers {
            assert_eq!(unquoted(answer), "Yes, it is.", "{answer:?}");
        }
    }

    #[test]
    fn what_only_looks_like_a_quotation_stays() {
        for text in [
            "My friend wrote:\nit is blue, and I believe her.",
            "From: here to there it takes an hour.",
            "Price -- as agreed -- is 10.",
            "I am from: Vienna\nand you?",
        ] {
            assert_eq!(unquoted(text), text);
        }
    }

    #[test]
    fn html_is_cut_before_the_quotation_and_becomes_text() {
        for html in [
            "<div>Yes &amp; no<br>really</div><div class=\"gmail_quote\"><div>On Mon Anna wrote:</div><blockquote>Is it?</blockquote></div>",
            "<html><body><p>Yes &amp; no<br>really</p><div id=\"divRplyFwdMsg\">From: Anna</div></body></html>",
            "<p>Yes &amp; no<br>really</p><blockquote type=cite>Is it?</blockquote>",
            "<p>Yes &amp; no<br>really</p><p>##- Write above -##</p>",
        ] {
            let text = unquoted_html(html);
            assert_eq!(
                text.split_whitespace().collect::<Vec<_>>(),
                ["Yes", "&", "no", "really"],
                "{html}"
            );
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "\\PC*", html in "[<>a-zа-я=\"# \\-\n]*") {
            let own = unquoted(&text);
            prop_assert!(own.len() <= text.len());
            let _ = unquoted_html(&html);
        }
    }
}
