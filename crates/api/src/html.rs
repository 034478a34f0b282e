//! From HTML back to what a person wrote: the messages of a shop that moves in, and answers by mail.
//!
//! A shop keeps the line ends of its text boxes as they are and shows them with `nl2br`, so a line end in its source is
//! one here, other than in HTML at large; a `<br>` right before one is the same line end written twice.

/// Elements that stand on lines of their own.
const BLOCKS: [&str; 22] = [
    "address",
    "article",
    "blockquote",
    "dd",
    "div",
    "dl",
    "dt",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "li",
    "ol",
    "p",
    "section",
    "ul",
];

/// The same of tables.
const ROWS: [&str; 5] = ["table", "tbody", "thead", "tr", "pre"];

/// Elements whose content is no text of anybody's.
const HIDDEN: [&str; 4] = ["script", "style", "head", "template"];

/// Elements in which mail programs put what they quote, the line above it, and signatures, by their class.
const QUOTING: [&str; 4] = ["gmail_attr", "moz-cite-prefix", "yahoo_quoted", "gmail_signature"];

/// Where what Outlook quotes begins, which goes on to the end: an `id`, or a part of a `style`.
const QUOTED_BELOW: [&str; 4] =
    ["appendonsend", "divrplyfwdmsg", "border-top:solid #e1e1e1", "border-top:solid #b5c4df"];

/// How long `<!...>` and `<?...>` may be, in bytes.
const MAX_DECLARATION: usize = 1000;

/// What a browser would show of a shop's piece of HTML, as text: entities resolved, `<br>` and paragraphs as line ends, links with
/// their address, without what cannot be seen. Text without `<` and `&` stays as it is, but for white space around it.
#[cfg(any(test, feature = "mysql"))]
pub(crate) fn to_text(html: &str) -> String {
    read(Page::default(), html)
}

/// The same of a mail, where white space is only white space; a line `>` stands for each quotation.
pub(crate) fn mail_to_text(html: &str) -> String {
    read(Page { is_mail: true, ..Page::default() }, html)
}

fn read(mut page: Page, html: &str) -> String {
    let mut rest = html;
    while let Some((text, markup)) = rest.find('<').map(|place| rest.split_at(place)) {
        page.text(text);
        rest = match Markup::read(markup) {
            Some((Markup::Comment, after)) => after,
            Some((Markup::Tag(tag), after)) => page.tag(&tag, after),
            None => {
                page.text("<");
                markup.strip_prefix('<').unwrap_or_default()
            }
        };
    }
    page.text(rest);
    page.close_link();
    clean(&page.out).trim().to_owned()
}

/// A text for one line: a name, a title.
#[cfg(any(test, feature = "mysql"))]
pub(crate) fn to_line(html: &str, max_chars: usize) -> String {
    let text = to_text(html);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !c.is_control()).take(max_chars).collect::<String>().trim().to_owned()
}

/// Without characters that no text has, and with one kind of line end.
fn clean(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    text.chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .map(|c| if c == '\u{a0}' { ' ' } else { c })
        .collect()
}

enum Markup<'h> {
    Comment,
    Tag(Tag<'h>),
}

struct Tag<'h> {
    name: String,
    is_end: bool,
    attributes: &'h str,
}

impl<'h> Markup<'h> {
    /// What begins here, with `<`, and what follows it; `None` when it is no markup.
    fn read(html: &'h str) -> Option<(Self, &'h str)> {
        if let Some(comment) = html.strip_prefix("<!--") {
            // One without an end hides the rest, as in a browser.
            return Some((Self::Comment, comment.split_once("-->").map_or("", |(_, after)| after)));
        }
        if html.starts_with("<!") || html.starts_with("<?") {
            // Not far: where there is none, each of many such would look through all that follows.
            let end = html.bytes().take(MAX_DECLARATION).position(|byte| byte == b'>')?;
            return html.split_at_checked(end + 1).map(|(_, after)| (Self::Comment, after));
        }
        let inside = html.strip_prefix('<')?;
        let (is_end, inside) = match inside.strip_prefix('/') {
            Some(inside) => (true, inside),
            None => (false, inside),
        };
        if !inside.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return None;
        }
        let (tag, after) = inside.split_at_checked(end_of_tag(inside)?)?;
        let end = tag.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(tag.len());
        let (name, attributes) = tag.split_at_checked(end)?;
        let tag = Tag { name: name.to_ascii_lowercase(), is_end, attributes };
        Some((Self::Tag(tag), after.strip_prefix('>')?))
    }
}

/// Where the tag's `>` stands: not the one inside a quoted value, unless the quote has no end.
fn end_of_tag(inside: &str) -> Option<usize> {
    let mut quote: Option<char> = None;
    for (place, c) in inside.char_indices() {
        match (quote, c) {
            (None, '>') => return Some(place),
            // A tag inside a tag: the first one was none.
            (None, '<') => return None,
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            _ => {}
        }
    }
    inside.find('>').filter(|end| !inside.get(..*end).unwrap_or_default().contains('<'))
}

/// What has been written so far.
#[derive(Default)]
struct Page {
    out: String,
    is_mail: bool,
    /// The address of the open link, and where its text begins.
    link: Option<(String, usize)>,
}

impl Page {
    fn text(&mut self, text: &str) {
        if !self.is_mail {
            self.out.push_str(&html_escape::decode_html_entities(text));
            return;
        }
        let is_space = |c: char| c.is_ascii_whitespace();
        for (place, word) in text.split(is_space).enumerate() {
            if place > 0 && !self.out.is_empty() && !self.out.ends_with(['\n', ' ']) {
                self.out.push(' ');
            }
            self.out.push_str(&html_escape::decode_html_entities(word));
        }
    }

    fn new_line(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with('\n') {
            self.out.push('\n');
        }
    }

    /// Takes a tag, and returns what is to be read next.
    fn tag<'h>(&mut self, tag: &Tag<'_>, after: &'h str) -> &'h str {
        let name = tag.name.as_str();
        if self.is_mail
            && !tag.is_end
            && let Some(after) = self.quotation(tag, after)
        {
            return after;
        }
        match name {
            "br" | "hr" => {
                self.out.push('\n');
                without_line_end(after)
            }
            "a" => {
                self.close_link();
                if !tag.is_end {
                    let address = attribute(tag.attributes, "href").map(|it| clean(&it));
                    self.link = address.map(|it| (it.trim().to_owned(), self.out.len()));
                }
                after
            }
            "img" => {
                let shown = attribute(tag.attributes, "alt").unwrap_or_default();
                self.out.push_str(&shown);
                after
            }
            "td" | "th" if tag.is_end => {
                self.out.push(' ');
                after
            }
            _ if HIDDEN.contains(&name) && !tag.is_end => after_end(after, name),
            _ if BLOCKS.contains(&name) || ROWS.contains(&name) => {
                self.new_line();
                if name == "li" && !tag.is_end {
                    self.out.push_str("- ");
                }
                if tag.is_end { without_line_end(after) } else { after }
            }
            _ => after,
        }
    }

    /// What follows an element that holds what somebody else wrote.
    fn quotation<'h>(&mut self, tag: &Tag<'_>, after: &'h str) -> Option<&'h str> {
        let has = |name: &str, wanted: &[&str]| {
            let value = attribute(tag.attributes, name).unwrap_or_default().to_ascii_lowercase();
            wanted.iter().any(|it| value.contains(it))
        };
        if has("id", &QUOTED_BELOW) || has("style", &QUOTED_BELOW) {
            return Some("");
        }
        let is_quoted = tag.name == "blockquote";
        if !is_quoted && !has("class", &QUOTING) {
            return None;
        }
        self.new_line();
        if is_quoted {
            self.out.push_str(">\n");
        }
        Some(after_element(after, &tag.name))
    }

    /// Says where a link leads, where its text does not.
    fn close_link(&mut self) {
        let Some((address, start)) = self.link.take() else { return };
        let bare = |text: &str| {
            let text = text.trim().trim_end_matches('/').to_lowercase();
            let known = ["https://", "http://", "mailto:"];
            known.iter().find_map(|it| text.strip_prefix(it)).unwrap_or(&text).to_owned()
        };
        let leads = ["https://", "http://", "mailto:"].iter().any(|it| address.starts_with(it));
        let shown = self.out.get(start..).unwrap_or_default();
        if !leads || bare(shown).contains(&bare(&address)) {
            return;
        }
        if shown.trim().is_empty() {
            self.out.push_str(&address);
        } else {
            let address = format!(" ({address})");
            self.out.push_str(&address);
        }
    }
}

/// What follows, without the line end that it begins with.
fn without_line_end(text: &str) -> &str {
    let text = text.strip_prefix('\r').unwrap_or(text);
    text.strip_prefix('\n').unwrap_or(text)
}

/// What follows an element that may hold others of its name; nothing, when it has no end.
fn after_element<'h>(html: &'h str, name: &str) -> &'h str {
    let mut depth = 1_usize;
    let mut rest = html;
    while let Some((_, markup)) = rest.find('<').map(|place| rest.split_at(place)) {
        rest = match Markup::read(markup) {
            Some((Markup::Comment, after)) => after,
            Some((Markup::Tag(tag), after)) => {
                if tag.name == name {
                    depth = if tag.is_end { depth - 1 } else { depth + 1 };
                }
                if depth == 0 {
                    return after;
                }
                after
            }
            None => markup.strip_prefix('<').unwrap_or_default(),
        };
    }
    ""
}

/// What follows the end tag of an element; nothing, when there is none.
fn after_end<'h>(html: &'h str, name: &str) -> &'h str {
    let mut rest = html;
    while let Some((_, from)) = rest.split_once("</") {
        let found = from.get(..name.len()).is_some_and(|it| it.eq_ignore_ascii_case(name));
        if found {
            return from.split_once('>').map_or("", |(_, after)| after);
        }
        rest = from;
    }
    ""
}

/// An attribute's value.
fn attribute(attributes: &str, wanted: &str) -> Option<String> {
    let mut rest = attributes;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '/');
        let end = rest.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(rest.len());
        let (name, after) = rest.split_at_checked(end)?;
        if name.is_empty() && after.is_empty() {
            return None;
        }
        let (value, next) = match after.trim_start().strip_prefix('=').map(str::trim_start) {
            None => ("", after),
            Some(value) => match value.chars().next() {
                Some(quote @ ('"' | '\'')) => {
                    let value = value.get(1..)?;
                    value.split_once(quote).unwrap_or((value, ""))
                }
                _ => value.split_at(value.find(char::is_whitespace).unwrap_or(value.len())),
            },
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(html_escape::decode_html_entities(value).into_owned());
        }
        rest = next;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_people_wrote_comes_out_as_they_wrote_it() {
        for (html, text) in [
            ("Hello", "Hello"),
            (
                "Anna &amp; Ben &lt;3 &quot;mugs&quot; &#039;n&#x27; more",
                "Anna & Ben <3 \"mugs\" 'n' more",
            ),
            ("one<br />\ntwo<br>three\nfour\r\nfive", "one\ntwo\nthree\nfour\nfive"),
            ("one<br><br>two", "one\n\ntwo"),
            ("<p>Привет,</p>\n<p>мир</p>", "Привет,\nмир"),
            ("<div>a<div>b</div></div>c", "a\nb\nc"),
            ("<ul><li>one</li><li>two</li></ul>", "- one\n- two"),
            ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b \nc"),
            ("<b>bold</b> and <i class=\"x>y\">slanted</i>", "bold and slanted"),
            (
                "see <a href=\"https://shop.example/p?a=1&amp;b=2\">this mug</a>!",
                "see this mug (https://shop.example/p?a=1&b=2)!",
            ),
            ("<a href=\"https://shop.example/\">shop.example</a>", "shop.example"),
            (
                "<a href='https://shop.example/x'>https://shop.example/x</a>",
                "https://shop.example/x",
            ),
            ("<a href=https://shop.example/x></a>", "https://shop.example/x"),
            ("<a href=\"javascript:alert(1)\">press</a>", "press"),
            ("<a href=\"mailto:a@b.example\">write</a>", "write (mailto:a@b.example)"),
            ("<a href=\"https://a.example\">never closed", "never closed (https://a.example)"),
            ("1 < 2 and 3 > 2, x<y, <3", "1 < 2 and 3 > 2, x<y, <3"),
            ("<script>alert(1)</SCRIPT>after<style>p {}</style>", "after"),
            ("<script>no end", ""),
            ("a<!-- <b>hidden</b> -->b<!doctype html>c", "abc"),
            ("a<!-- no end", "a"),
            ("a <!b", "a <!b"),
            ("a <unfinished", "a <unfinished"),
            ("<img src=x alt=\"a mug\"> nice", "a mug nice"),
            ("&nbsp; padded &nbsp;", "padded"),
            ("&unknown; &amp &#xFFFFFFFF; 5 & 6", "&unknown; &amp &#xFFFFFFFF; 5 & 6"),
            ("a\u{0}b\u{7}c\td", "abc\td"),
            ("   ", ""),
            ("<p>&nbsp;</p>", ""),
        ] {
            assert_eq!(to_text(html), text, "{html:?}");
        }
    }

    #[test]
    fn a_mail_is_what_its_program_would_show_without_what_it_quotes() {
        for (html, text) in [
            ("<div>one</div>\n<div>two\n words</div>", "one\ntwo words"),
            ("<ul><li>a</li>\n<li>b</li></ul>", "- a\n- b"),
            ("a<blockquote>q<blockquote>older</blockquote>q</blockquote>b", "a\n>\nb"),
            ("a<blockquote>no end", "a\n>"),
            ("<div class=\"x gmail_attr\"><div>On</div> wrote:</div>own", "own"),
            ("own<hr><div id=\"divRplyFwdMsg\">From: Anna</div>not own", "own"),
        ] {
            assert_eq!(mail_to_text(html), text, "{html:?}");
        }
    }

    #[test]
    fn a_line_is_one_line() {
        assert_eq!(to_line(" Kiln &amp;\n <b>Clay</b>\u{7} ", 255), "Kiln & Clay");
        assert_eq!(to_line("абвгд", 3), "абв");
    }

    proptest! {
        #[test]
        fn escaped_text_comes_back(text in "[^\\p{Cc}\u{a0}]{0,200}|([a-z&<>;\"' \n#]){0,60}") {
            let escaped = html_escape::encode_text(&text).into_owned();
            prop_assert_eq!(to_text(&escaped), text.trim());
        }

        #[test]
        fn line_ends_survive_nl2br(lines in prop::collection::vec("[a-zа-я ]{1,20}", 1..8)) {
            let text = lines.join("\n");
            let shown = text.replace('\n', "<br />\r\n");
            prop_assert_eq!(to_text(&shown), text.trim());
        }

        #[test]
        fn hostile_html_is_only_text(html in "([<>/!a-z\"'= &;#\n-]|<a href=|<br>|</|<!--|-->|&#x|script){0,80}") {
            let text = to_text(&html);
            prop_assert!(!text.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
            // Links may say their address twice; nothing else adds anything.
            prop_assert!(text.len() <= 2 * html.len() + 16);
            prop_assert!(mail_to_text(&html).len() <= 2 * html.len() + 16);
        }
    }
}
