//! What a person wrote in an answer by mail, without what the mail program quoted below it.
//!
//! No standard says how a quotation looks; these are the ways of Gmail, Outlook, Apple Mail, Thunderbird, Yahoo, Mail.ru and
//! Yandex, in English and Russian and some more languages, and the line that our own templates put on top. Where a text may be either,
//! it is the person's: a quotation too much does little harm, and an answer that is lost, nobody ever sees.

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
/// How a block of headers begins, in lower case.
const FROM: &[&str] = &["from:", "от:", "от кого:", "von:", "de:", "de :", "da:"];
/// Other headers that only mails have, in lower case.
const SENT: &[&str] = &[
    "sent:",
    "subject:",
    "отправлено:",
    "тема:",
    "gesendet:",
    "betreff:",
    "envoyé:",
    "envoyé :",
    "objet:",
    "objet :",
    "enviado:",
    "enviado el:",
    "enviada em:",
    "asunto:",
    "assunto:",
    "inviato:",
    "oggetto:",
];
/// And those that a list of people's may have as well: `From: Riga`, `To: Tallinn`, `Date: 5 May`.
const TO: &[&str] = &[
    "date:",
    "to:",
    "cc:",
    "дата:",
    "кому:",
    "копия:",
    "datum:",
    "an:",
    "para:",
    "à:",
    "à :",
    "a:",
];
/// What programs of phones and the like put below a text, in lower case. No more than that: `Sent from my warehouse today` and
/// `Отправлено с утра курьером` are answers.
const SENT_FROM: &[&str] = &[
    "sent from my iphone",
    "sent from my ipad",
    "sent from my android",
    "sent from my samsung",
    "sent from my galaxy",
    "sent from my huawei",
    "sent from my xiaomi",
    "sent from my pixel",
    "sent from my mobile device",
    "sent from mail for ",
    "sent from mail<",
    "sent from outlook",
    "sent from yahoo mail",
    "sent from samsung",
    "sent with proton mail",
    "sent from proton mail",
    "get outlook for ",
    "von meinem iphone gesendet",
    "von meinem ipad gesendet",
    "envoyé de mon iphone",
    "enviado desde mi iphone",
    "inviato da iphone",
    "отправлено с iphone",
    "отправлено с ipad",
    "отправлено с android",
    "отправлено с samsung",
    "отправлено с моего iphone",
    "отправлено с моего ipad",
    "отправлено с моего android",
    "отправлено с моего samsung",
    "отправлено с мобильного устройства",
    "отправлено с устройства",
    "отправлено из мобильного приложения",
    "отправлено из мобильной почты",
    "отправлено из почты mail",
    "отправлено из mail",
    "отправлено из outlook",
    "отправлено из яндекс",
];
/// A longer line is a sentence of its own; in characters.
const MAX_SENT_FROM: usize = 80;
/// What the line above a quotation begins with, in lower case, if not with a date; needed where it is folded.
const ON: &[&str] = &["on", "am", "le", "el", "il", "op", "den", "em"];
const DAYS: &[&str] = &[
    "mon",
    "tue",
    "wed",
    "thu",
    "fri",
    "sat",
    "sun",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "пн",
    "вт",
    "ср",
    "чт",
    "пт",
    "сб",
    "вс",
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
    let lines: Vec<&str> = text.lines().map(|line| line.trim_end_matches('\r')).collect();
    let mut own = Vec::new();
    let mut at = 0;
    // Ends where something quoted begins: there may be answers between.
    let mut in_signature = false;
    while let Some(line) = lines.get(at) {
        if is_quoted(line) {
            in_signature = false;
            at += 1;
        } else if ends_at(&lines, at) {
            break;
        } else if let Some(attribution) = attribution(&lines, at) {
            if !attribution.is_quoted {
                break;
            }
            at += attribution.lines;
        } else {
            // RFC 3676, section 4.3: with its space. Without, people part their paragraphs so.
            in_signature |= *line == "-- ";
            if !in_signature {
                own.push(line.trim_end());
            }
            at += 1;
        }
    }
    strip_end(&mut own);
    if let [above @ .., "", last] = own.as_slice()
        && is_sent_from(last)
        && above.iter().any(|line| !line.is_empty())
    {
        let kept = above.len();
        own.truncate(kept);
        strip_end(&mut own);
    }
    own.join("\n").trim().to_owned()
}

/// Takes away empty lines, and those that part a text from what was cut off below it.
fn strip_end(own: &mut Vec<&str>) {
    let is_rule = |line: &str| line.len() > 1 && line.chars().all(|c| matches!(c, '-' | '_'));
    while own.pop_if(|line| line.is_empty() || is_rule(line)).is_some() {}
}

/// Space before it is what a person's own line has (RFC 3676, section 4.4).
fn is_quoted(line: &str) -> bool {
    line.starts_with('>')
}

fn is_sent_from(line: &str) -> bool {
    let lower = line.trim().to_lowercase();
    lower.chars().count() <= MAX_SENT_FROM && begins_with(&lower, SENT_FROM)
}

/// A line in lower case, without the stars that programs put around what was bold: `*From:* Anna`. A star and a space is a list's.
fn not_bold(line: &str) -> String {
    let lower = line.trim().to_lowercase();
    match lower.strip_prefix('*') {
        Some(rest) if !rest.starts_with(' ') => rest.replacen('*', "", 1),
        _ => lower,
    }
}

fn begins_with(lower: &str, words: &[&str]) -> bool {
    words.iter().any(|word| lower.starts_with(word))
}

/// Whether all that follows is somebody else's.
fn ends_at(lines: &[&str], at: usize) -> bool {
    let Some(line) = lines.get(at) else { return false };
    let lower = not_bold(line);
    lower.contains(MARKER) || begins_with(&lower, ORIGINAL) || is_header_block(lines, at, &lower)
}

/// `From: ...` with other headers right below: with an address, or with so many that it is no list of a person's.
fn is_header_block(lines: &[&str], at: usize, lower: &str) -> bool {
    if !begins_with(lower, FROM) {
        return false;
    }
    let below = |count| lines.iter().skip(at + 1).take(count).map(|it| not_bold(it));
    let is_one = |line: &String| begins_with(line, SENT) || begins_with(line, TO);
    if lower.contains('@') {
        return below(2).any(|line| is_one(&line));
    }
    let headers: Vec<String> = below(3).take_while(is_one).collect();
    headers.len() >= 2 && headers.iter().any(|line| begins_with(line, SENT))
}

/// The line above a quotation, perhaps folded.
struct Attribution {
    lines: usize,
    /// Whether lines that begin with `>` follow, which end somewhere; or else all that follows is quoted.
    is_quoted: bool,
}

/// `On Monday, Anna <anna@shop.example> wrote:`. Where nothing follows that is marked as quoted, day, time and address must stand in it.
fn attribution(lines: &[&str], at: usize) -> Option<Attribution> {
    let mut folded = String::new();
    let mut begins = false;
    for (count, line) in lines.iter().skip(at).take(MAX_FOLDED).enumerate() {
        let line = line.trim().to_lowercase();
        // What stands right above it is the author's, and not its first line.
        let is_another = count > 0 && (!begins || begins_attribution(&line));
        if line.is_empty() || is_quoted(&line) || is_another {
            return None;
        }
        begins |= begins_attribution(&line);
        folded.push(' ');
        folded.push_str(&line);
        if WROTE.iter().any(|end| line.ends_with(end)) {
            let below = lines.iter().skip(at + count + 1).find(|line| !line.trim().is_empty());
            let is_quoted = below.is_some_and(|line| is_quoted(line));
            let has_day = begins && folded.contains(|c: char| c.is_ascii_digit());
            let (has_time, has_address) = (has_time(&folded), folded.contains('@'));
            let is_one = if is_quoted {
                has_day || has_time || has_address
            } else {
                has_day && has_time && has_address
            };
            return is_one.then_some(Attribution { lines: count + 1, is_quoted });
        }
    }
    None
}

/// Whether a line begins with a day or a date, such as `02.03.2026`, `2026-03-02`, `2 mar 2026` or `on mon`.
fn begins_attribution(lower: &str) -> bool {
    let is_number = |it: &str| !it.is_empty() && it.bytes().all(|b| b.is_ascii_digit());
    let mut words = lower.split_whitespace().map(|word| word.trim_matches([',', '.']));
    let Some(first) = words.next() else { return false };
    let next: Vec<&str> = words.take(3).collect();
    let numbers: Vec<&str> = first.split(['.', '/', '-']).collect();
    let is_date = numbers.len() == 3 && numbers.iter().all(|it| is_number(it));
    let has_year = || next.get(1).is_some_and(|year| year.len() == 4 && is_number(year));
    let names_day = || {
        next.first().is_some_and(|day| DAYS.contains(day))
            || next.iter().any(|it| it.starts_with(|c: char| c.is_ascii_digit()))
    };
    is_date
        || DAYS.contains(&first)
        || (is_number(first) && has_year())
        || (ON.contains(&first) && names_day())
}

/// Whether a time of day stands in it, such as `9:30`.
fn has_time(text: &str) -> bool {
    let is_time = |it: &[u8]| match it {
        [hour, b':', minutes @ ..] => {
            hour.is_ascii_digit() && minutes.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    };
    text.as_bytes().windows(4).any(is_time)
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
            "Yes, it is.\n\n*From:* Anna\n*Subject:* blue\n*To:* me\n\nIs it blue?",
            "Yes, it is.\n\n*From: *Anna <a@shop.example>\n*Subject: *blue\n\nIs it blue?",
            "Yes, it is.\n\n*От:* Анна\n*Кому:* мне\n*Тема:* синяя\n*Дата:* сегодня\n\nСиняя?",
            "Yes, it is.\n\n*Von:* Anna\n*An:* mich\n*Betreff:* blau\n\nBlau?",
            "Yes, it is.\n\nSent from my iPhone\n\nOn Mon, 2 Mar 2026, Anna <a@shop.example> wrote:\n\n> Is it blue?",
            "Yes, it is.\n\nОтправлено с iPhone\n",
            "Yes, it is.\n\nОтправлено из мобильного приложения Яндекс Почты\n",
            "Yes, it is.\n\nGet Outlook for iOS\n________________________________\nFrom: Anna <a@shop.example>\nSent: Monday\n\nBlue?",
            "Yes, it is.\n\nOn Mon, March 2, 2026 at 10:00 AM, Anna <a@shop.example> wrote:\n\n  Is it blue?",
            "Yes, it is.\n\n2 марта 2026 г., 10:00, Анна\nпишет:\n> Синяя?",
            "Yes, it is.\n-- \nSent by somebody",
            "Yes, it is.\n--\n> Is it blue?",
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
            // What vendors answer every day is no signature of a phone.
            "Отправлено с трек-номером 12345",
            "Отправлено из Москвы сегодня утром",
            "Sent from my warehouse today",
            "Sent from my iPhone",
            "Yes:\nSent from my iPhone",
            "Здравствуйте!\nОтправлено с утра курьером",
            "Здравствуйте!\n\nОтправлено из почты на Ленина",
            // Nor is every list a mail's headers.
            "Please quote delivery:\n* From: Riga\n* Subject: cups\n* To: Tallinn\nhow much?",
            "*Sent:* all of them\n*Subject:* to change",
            "Please quote delivery:\nFrom: Riga\nTo: Tallinn\nWeight 12 kg, how much?",
            "From: Riga\nTo: Tallinn\nDate: 5 May\nHow much?",
            "bob@x.example wrote:\nthe mug is chipped",
            "Ask Bob <bob@x.example>:\nhe knows",
            "On Monday I asked what\nbob@x.example wrote:\nthe mug is chipped",
            "Money is no matter, see what\nbob@x.example wrote:\nyes",
            "One mug is 10\n--\nTwo are 18",
            "Mine:\n________________________________\nand yours",
            "Less or more?\n >5 kg",
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
            (
                "See below.\n-- \nBob\n\nOn Mon, Anna <a@shop.example> wrote:\n> Is it blue?\nYes.\n-- \nBob",
                "See below.\nYes.",
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
