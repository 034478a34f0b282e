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
    "schrieb:",
    "a écrit :",
    "a écrit:",
    "escribió:",
    "escreveu:",
    "ha scritto:",
    "napisał(a):",
];
/// First and following words of a block of headers, in lower case.
const FROM: &[&str] =
    &["from:", "от:", "от кого:", "von:", "de:", "de :", "da:", "*from:*", "*от:*", "*von:*"];
const HEADERS: &[&str] = &[
    "sent:",
    "date:",
    "to:",
    "subject:",
    "отправлено:",
    "дата:",
    "кому:",
    "тема:",
    "gesendet:",
    "datum:",
    "an:",
    "betreff:",
    "envoyé",
    "objet",
    "enviado",
    "asunto:",
    "inviato:",
    "oggetto:",
    "*sent:*",
    "*date:*",
    "*отправлено:*",
    "*gesendet:*",
];
/// What programs of phones and the like put below a text, in lower case.
const SENT_FROM: &[&str] = &[
    "sent from my ",
    "sent from mail for ",
    "sent from outlook for ",
    "sent from yahoo mail",
    "sent with proton mail",
    "sent from proton mail",
    "get outlook for ",
    "von meinem iphone gesendet",
    "отправлено с ",
    "отправлено из ",
];
/// A longer line is a sentence of its own.
const MAX_SENT_FROM: usize = 80;
/// How a line above a quotation begins, in lower case, if it is none that begins with a date; needed where it is folded.
const ON: &[&str] = &[
    "on ",
    "am ",
    "le ",
    "el ",
    "il ",
    "op ",
    "den ",
    "mon",
    "tue",
    "wed",
    "thu",
    "fri",
    "sat",
    "sun",
    "пн,",
    "вт,",
    "ср,",
    "чт,",
    "пт,",
    "сб,",
    "вс,",
    "понедельник",
    "вторник",
    "среда",
    "четверг",
    "пятница",
    "суббота",
    "воскресенье",
];
/// A line above a quotation may be folded over so many lines.
const MAX_FOLDED: usize = 4;

/// The part of a plain text that is not quoted, wherever it stands: above, below or between.
#[must_use]
pub fn unquoted(text: &str) -> String {
    // A no-break space stands before the colon in French.
    let text = text.replace('\u{a0}', " ");
    let lines: Vec<&str> = text.lines().map(|line| line.trim_end_matches(['\r', ' '])).collect();
    let mut own = Vec::new();
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        if line.trim_start().starts_with('>') {
            at += 1;
        } else if ends_at(&lines, at) {
            break;
        } else if let Some(attribution) = attribution(&lines, at) {
            if !attribution.is_quoted {
                break;
            }
            at += attribution.lines;
        } else {
            own.push(*line);
            at += 1;
        }
    }
    while own.pop_if(|line| line.trim().is_empty() || is_sent_from(line)).is_some() {}
    own.join("\n").trim().to_owned()
}

fn is_sent_from(line: &str) -> bool {
    let lower = line.trim().to_lowercase();
    lower.len() <= MAX_SENT_FROM && SENT_FROM.iter().any(|start| lower.starts_with(start))
}

/// Whether all that follows is somebody else's, or a signature.
fn ends_at(lines: &[&str], at: usize) -> bool {
    let Some(line) = lines.get(at) else { return false };
    let plain = line.trim();
    let lower = plain.to_lowercase();
    // RFC 3676, section 4.3; the space at its end is gone already.
    plain == "--"
        || plain.contains(MARKER)
        || ORIGINAL.iter().any(|start| lower.starts_with(start))
        || is_header_block(lines, at, &lower)
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

/// The line above a quotation, perhaps folded.
struct Attribution {
    lines: usize,
    /// Whether lines that begin with `>` follow, which end somewhere; or else all that follows is quoted.
    is_quoted: bool,
}

/// `On Monday, Anna <anna@shop.example> wrote:`, with something quoted or nothing at all below.
fn attribution(lines: &[&str], at: usize) -> Option<Attribution> {
    let names_somebody =
        |text: &str| text.contains('@') || text.chars().any(|c| c.is_ascii_digit());
    let mut folded = String::new();
    let mut begins = false;
    for (count, line) in lines.iter().skip(at).take(MAX_FOLDED).enumerate() {
        let line = line.trim().to_lowercase();
        // What stands right above it is the author's, and not its first line.
        let is_another = count > 0 && (!begins || begins_attribution(&line));
        if line.is_empty() || line.starts_with('>') || is_another {
            return None;
        }
        begins |= begins_attribution(&line);
        folded.push(' ');
        folded.push_str(&line);
        if WROTE.iter().any(|end| line.ends_with(end)) {
            let below = lines.iter().skip(at + count + 1).find(|line| !line.trim().is_empty());
            let is_quoted = below.is_some_and(|line| line.trim_start().starts_with('>'));
            let is_one =
                names_somebody(&folded) && (below.is_none() || is_quoted || folded.contains('@'));
            return is_one.then_some(Attribution { lines: count + 1, is_quoted });
        }
    }
    None
}

/// Whether a line begins with a day or a date, such as `02.03.2026` or `2026-03-02`.
fn begins_attribution(lower: &str) -> bool {
    let date = lower.split([' ', ',']).next().unwrap_or_default();
    let numbers: Vec<&str> = date.split(['.', '/', '-']).collect();
    let is_date = numbers.len() == 3
        && numbers.iter().all(|it| !it.is_empty() && it.bytes().all(|b| b.is_ascii_digit()));
    is_date || ON.iter().any(|start| lower.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::html::mail_to_text;
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
            "Yes, it is.\n\nVon: Anna\nGesendet: Montag\nAn: mich\nBetreff: blau\n\nBlau?",
            "Yes, it is.\n\nLe lun. 2 mars 2026 à 10:00, Anna <a@shop.example> a écrit\u{a0}:\n\n> Bleu ?",
            "Yes, it is.\n\nSent from my iPhone\n\nOn Mon, 2 Mar 2026, Anna <a@shop.example> wrote:\n\n> Is it blue?",
            "Yes, it is.\n\nОтправлено с iPhone\n",
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
            "Sent from my house to yours\nby post.",
        ] {
            assert_eq!(unquoted(text), text);
        }
    }

    #[test]
    fn answers_below_and_between_are_kept() {
        for (answer, own) in [
            ("On Mon, Anna <a@shop.example> wrote:\n> Is it blue?\n\nYes, it is.", "Yes, it is."),
            (
                "> ##- Write your answer above this line -##\n> Is it blue?\nYes, it is.",
                "Yes, it is.",
            ),
            (
                "Hello,\n\n02.03.2026 10:00, Анна пишет:\n> Синяя?\nYes.\n> And green?\nNo.\n-- \nBob",
                "Hello,\n\nYes.\nNo.",
            ),
            (
                "5 mugs\nOn Monday\nOn Mon, 2 Mar, Anna <a@shop.example> wrote:\n> how many?",
                "5 mugs\nOn Monday",
            ),
            // The line end that folds the first line is not the author's.
            (
                "Yes.\n\nOn Mon, Anna\n<a@shop.example> wrote:\n> blue?\n\nReally.",
                "Yes.\n\n\nReally.",
            ),
        ] {
            assert_eq!(unquoted(answer), own, "{answer:?}");
        }
    }

    #[test]
    fn html_becomes_text_without_the_quotation() {
        for html in [
            "<div>Yes &amp; no<br>really</div><div class=\"gmail_quote\"><div>On Mon 2 Anna wrote:</div><blockquote>Is it?</blockquote></div>",
            "<div>Yes &amp; no<br>really</div><div class=\"gmail_quote\"><div class=\"gmail_attr\">El lun, Anna escribió:<br></div><blockquote>Is it?</blockquote></div>",
            "<html><body><p>Yes &amp; no<br>really</p><div id=\"divRplyFwdMsg\">From: Anna</div></body></html>",
            "<p>Yes &amp; no<br>really</p><blockquote type=cite>Is it?</blockquote>",
            "<div class=\"moz-cite-prefix\">Anna:</div><blockquote>Is it?</blockquote><p>Yes &amp; no<br>really</p>",
            "<p>Yes &amp; no<br>really</p><p>##- Write above -##</p>",
            "<div>Yes &amp; no</div><div>really</div><div> </div><div>21.11.2026, 17:00, \"Kiln\" &lt;reply@shop.example&gt;:</div><blockquote><div>Is it?</div></blockquote>",
        ] {
            assert_eq!(unquoted(&mail_to_text(html)), "Yes & no\nreally", "{html}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "(\\PC{0,40}|wrote:|@1|\n|> |##-|-- |From:){0,20}") {
            let own = unquoted(&text);
            prop_assert!(own.len() <= text.len());
        }
    }
}
