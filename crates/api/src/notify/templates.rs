//! What mails say (R12): templates of subject, text and HTML for each audience, kind and language. Those that come with
//! the program stand in `defaults/`; the shop's own take their place.
//!
//! A template is checked before it is saved: it is rendered with sample data that note each name that is asked for and
//! not there. In HTML every value is escaped, whatever the template says.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use minijinja::value::{Enumerator, Object, ObjectRepr, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, HtmlEscape, State};

use super::letter::{self, Letter};
use crate::chat::{ChatError, FieldError};
use crate::store::{Audience, MailKind, MailTemplate, Reader, StoreError};

/// Steps that a template may take: a bound on its time.
const FUEL: u64 = 100_000;
/// The longest text that a template may make, in bytes.
const MAX_OUTPUT: usize = 512 * 1024;
/// The longest subject, in characters, after rendering.
const MAX_SUBJECT_CHARS: usize = 200;
/// The longest template of a subject, a text and an HTML text, in bytes.
const MAX_SOURCE: [usize; 3] = [1000, 32 * 1024, 64 * 1024];
/// The language that is always there.
pub const FALLBACK: &str = "en";

/// The three parts of a mail, as templates or rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// One line.
    pub subject: String,
    /// For programs that show no HTML.
    pub text: String,
    /// For those that do.
    pub html: String,
}

/// A template that comes with the program.
#[derive(Debug)]
pub struct Default {
    pub audience: Audience,
    pub kind: MailKind,
    pub language: &'static str,
    pub parts: Parts,
}

macro_rules! defaults {
    ($($language:literal $audience:ident $kind:ident $file:literal;)+) => {
        [$(Default {
            audience: Audience::$audience,
            kind: MailKind::$kind,
            language: $language,
            parts: split(include_str!(concat!("defaults/", $language, "/", $file, ".txt")), $language),
        }),+]
    };
}

/// All that come with the program.
pub static DEFAULTS: LazyLock<[Default; 12]> = LazyLock::new(|| {
    defaults! {
        "en" Customer NewThread "customer_new_thread";
        "en" Customer NewMessage "customer_new_message";
        "en" Customer Digest "customer_digest";
        "en" Vendor NewThread "vendor_new_thread";
        "en" Vendor NewMessage "vendor_new_message";
        "en" Vendor Digest "vendor_digest";
        "ru" Customer NewThread "customer_new_thread";
        "ru" Customer NewMessage "customer_new_message";
        "ru" Customer Digest "customer_digest";
        "ru" Vendor NewThread "vendor_new_thread";
        "ru" Vendor NewMessage "vendor_new_message";
        "ru" Vendor Digest "vendor_digest";
    }
});

/// Takes a file of `defaults/` apart.
fn split(file: &str, language: &str) -> Parts {
    let (subject, rest) = file.split_once("\n=== text\n").unwrap_or((file, ""));
    let (text, html) = rest.split_once("\n=== html\n").unwrap_or((rest, ""));
    let layout = include_str!("defaults/layout.html");
    Parts {
        subject: subject.to_owned(),
        text: text.to_owned(),
        html: layout.replace("LANGUAGE", language).replace("CONTENT", html.trim()),
    }
}

/// The template that comes with the program, if it does.
#[must_use]
pub fn default(audience: Audience, kind: MailKind, language: &str) -> Option<&'static Default> {
    DEFAULTS.iter().find(|it| it.audience == audience && it.kind == kind && it.language == language)
}

/// The languages in which a person is spoken to, the best one first: the person's, the shop's, English.
#[must_use]
pub fn languages(locale: Option<&str>, shop_language: &str) -> Vec<String> {
    let mut languages = Vec::new();
    for locale in locale.into_iter().chain([shop_language, FALLBACK]) {
        let locale = locale.to_lowercase().replace('_', "-");
        let base = locale.split('-').next().unwrap_or_default().to_owned();
        languages.extend([locale, base]);
    }
    languages
}

/// The template for a person: in the person's language, else in the shop's, else in English. The shop's own come first.
pub(crate) fn choose(
    reader: &mut Reader<'_>,
    audience: Audience,
    kind: MailKind,
    locale: Option<&str>,
    shop_language: &str,
) -> Result<Parts, StoreError> {
    for language in &languages(locale, shop_language) {
        if let Some(MailTemplate { subject, text, html, .. }) =
            reader.mail_template(audience, kind, language)?
        {
            return Ok(Parts { subject, text, html });
        }
        if let Some(default) = default(audience, kind, language) {
            return Ok(default.parts.clone());
        }
    }
    let english = default(audience, kind, FALLBACK);
    let empty = || Parts { subject: String::new(), text: String::new(), html: String::new() };
    Ok(english.map_or_else(empty, |default| default.parts.clone()))
}

/// Fills a template in.
///
/// # Errors
/// What is wrong with the template.
pub fn render(parts: &Parts, letter: &Letter) -> Result<Parts, Error> {
    render_with(parts, &Value::from_serialize(letter)).map_err(|(_, error)| error)
}

/// Fills the template of a kind in with sample data, as its preview.
///
/// # Errors
/// One for each part that is wrong; an unknown variable is named.
pub fn check(kind: MailKind, parts: &Parts) -> Result<Parts, ChatError> {
    let sources = [&parts.subject, &parts.text, &parts.html];
    let mut errors = Vec::new();
    for ((name, source), limit) in NAMES.iter().zip(sources).zip(MAX_SOURCE) {
        let pointer = format!("/{name}");
        if source.trim().is_empty() {
            errors.push(FieldError::body(pointer, "must not be empty"));
        } else if source.len() > limit {
            errors
                .push(FieldError::body(pointer, format!("must not be longer than {limit} bytes")));
        } else if source.contains('\0') {
            errors.push(FieldError::body(pointer, "must not contain the character NUL"));
        } else if *name == "subject" && source.contains(breaks_a_line) {
            let detail = "must be one line, without line breaks, tabs and other control characters";
            errors.push(FieldError::body(pointer, detail));
        } else {
            let found = check_part(kind, name, source);
            errors.extend(found.into_iter().map(|text| FieldError::body(pointer.clone(), text)));
        }
    }
    if !errors.is_empty() {
        return Err(ChatError::Invalid(errors));
    }
    let sample = letter::sample(kind, true);
    let preview = render(parts, &sample)
        .map_err(|error| ChatError::Invalid(vec![FieldError::body("/text", say(&error))]))?;
    if preview.subject.is_empty() {
        let detail = "must not be empty once it is filled in";
        return Err(ChatError::Invalid(vec![FieldError::body("/subject", detail)]));
    }
    Ok(preview)
}

const NAMES: [&str; 3] = ["subject", "text", "html"];

/// What is wrong with one part of a template.
fn check_part(kind: MailKind, name: &str, source: &str) -> Vec<String> {
    let environment = environment();
    let file = file_name(name);
    let template = match environment.template_from_named_str(file, source) {
        Ok(template) => template,
        Err(error) => return vec![say(&error)],
    };
    let misses = Misses::default();
    // Whatever a branch hides, this sees; what hides behind other names, the samples see.
    let full = serde_json::to_value(letter::sample(kind, true)).unwrap_or_default();
    let globals: BTreeSet<&str> = environment.globals().map(|(name, _)| name).collect();
    for path in template.undeclared_variables(true) {
        let root = path.split('.').next().unwrap_or_default();
        if !globals.contains(root) && !is_there(&full, &path) {
            misses.note(&path);
        }
    }
    for is_full in [true, false] {
        let sample = serde_json::to_value(letter::sample(kind, is_full)).unwrap_or_default();
        let value = watched(&sample, &full, "", &misses);
        if let Err(error) = run(&environment, file, source, &value) {
            // Where a name is missing, that is the reason.
            if misses.all().is_empty() {
                return vec![say(&error)];
            }
        }
    }
    let known = || {
        let names = full.as_object().map(|it| it.keys().cloned().collect::<Vec<_>>());
        names.unwrap_or_default().join(", ")
    };
    let say = |name: String| format!("there is no variable `{name}`; there are {}", known());
    misses.all().into_iter().map(say).collect()
}

/// Whether sample data have a value at a path.
fn is_there(data: &serde_json::Value, path: &str) -> bool {
    path.split('.').try_fold(data, |value, name| value.get(name)).is_some()
}

fn file_name(part: &str) -> &'static str {
    if part == "html" { "mail.html" } else { "mail.txt" }
}

fn render_with(parts: &Parts, value: &Value) -> Result<Parts, (&'static str, Error)> {
    let environment = environment();
    let run = |name: &'static str, source: &str| {
        run(&environment, file_name(name), source, value).map_err(|error| (name, error))
    };
    Ok(Parts {
        subject: one_line(&run("subject", &parts.subject)?),
        text: run("text", &parts.text)?,
        html: run("html", &parts.html)?,
    })
}

fn run(
    environment: &Environment<'_>,
    file: &str,
    source: &str,
    value: &Value,
) -> Result<String, Error> {
    let template = environment.template_from_named_str(file, source)?;
    let mut output = Bounded(Vec::new());
    template.render_captured_to(value, &mut output)?;
    String::from_utf8(output.0)
        .map_err(|_| Error::new(ErrorKind::InvalidOperation, "the text is not UTF-8"))
}

/// Whether a subject cannot hold this: control characters, and what Unicode calls separators of lines and paragraphs.
fn breaks_a_line(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Keeps a subject on one line, so that nothing in it becomes a header of its own.
fn one_line(text: &str) -> String {
    let plain: String = text.chars().map(|c| if breaks_a_line(c) { ' ' } else { c }).collect();
    let words: Vec<&str> = plain.split_whitespace().collect();
    words.join(" ").chars().take(MAX_SUBJECT_CHARS).collect()
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment.set_trim_blocks(false);
    environment.set_auto_escape_callback(|name| {
        if name.ends_with(".html") { AutoEscape::Html } else { AutoEscape::None }
    });
    // Escapes also where a template says `autoescape false`; and nothing can be called safe.
    environment.set_formatter(|output, state: &State<'_, '_>, value| {
        if value.is_undefined() || value.is_none() {
            return Ok(());
        }
        if state.name().ends_with(".html") && !value.is_safe() {
            write!(output, "{}", HtmlEscape(&value.to_string()))?;
        } else {
            write!(output, "{value}")?;
        }
        Ok(())
    });
    environment.remove_filter("safe");
    environment.remove_global("debug");
    environment.add_filter("linebreaks", |text: &str| {
        Value::from_safe_string(HtmlEscape(text).to_string().replace('\n', "<br>\n"))
    });
    environment
}

/// An error for those who write templates.
fn say(error: &Error) -> String {
    if error.kind() == ErrorKind::WriteFailure {
        return format!("the text must not grow longer than {MAX_OUTPUT} bytes");
    }
    let place = error.line().map(|line| format!("line {line}: ")).unwrap_or_default();
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    format!("{place}{}{detail}", error.kind())
}

/// A text that cannot grow without end.
struct Bounded(Vec<u8>);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT {
            return Err(std::io::Error::other("the text grows too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The names that a template asked for in vain.
#[derive(Debug, Clone, std::default::Default)]
struct Misses(Arc<Mutex<BTreeSet<String>>>);

impl Misses {
    fn note(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// An object of the sample data that notes what is asked of it and not there.
#[derive(Debug)]
struct Watched {
    path: String,
    fields: Vec<(String, Value)>,
    misses: Misses,
}

impl Object for Watched {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        let found = self.fields.iter().find(|(known, _)| known == name);
        // The root is looked through before the globals; the static check has seen it.
        if found.is_none() && !self.path.is_empty() {
            self.misses.note(&format!("{}.{name}", self.path));
        }
        found.map(|(_, value)| value.clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.fields.iter().map(|(name, _)| Value::from(name.clone())).collect())
    }
}

/// Sample data as objects that watch. What the full sample has and this one lacks is no miss.
fn watched(
    data: &serde_json::Value,
    full: &serde_json::Value,
    path: &str,
    misses: &Misses,
) -> Value {
    match data {
        serde_json::Value::Object(object) => {
            let fields = object.iter().map(|(name, value)| {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                let full = full.get(name).unwrap_or(&serde_json::Value::Null);
                (name.clone(), watched(value, full, &path, misses))
            });
            Value::from_object(Watched {
                path: path.to_owned(),
                fields: fields.collect(),
                misses: misses.clone(),
            })
        }
        serde_json::Value::Array(list) => {
            let full = full.get(0).unwrap_or(&serde_json::Value::Null);
            list.iter().map(|entry| watched(entry, full, &format!("{path}[]"), misses)).collect()
        }
        other => Value::from_serialize(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(subject: &str, text: &str, html: &str) -> Parts {
        Parts { subject: subject.into(), text: text.into(), html: html.into() }
    }

    /// What is found wrong with a part.
    fn wrong(kind: MailKind, parts: &Parts) -> Vec<(String, String)> {
        match check(kind, parts) {
            Err(ChatError::Invalid(errors)) => errors
                .into_iter()
                .map(|error| (error.pointer.unwrap_or_default(), error.detail))
                .collect(),
            Ok(_) => Vec::new(),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn what_comes_with_the_program_passes_its_own_check() {
        for default in DEFAULTS.iter() {
            let wrong = wrong(default.kind, &default.parts);
            assert!(wrong.is_empty(), "{default:?}: {wrong:?}");
            for is_full in [true, false] {
                let letter = letter::sample(default.kind, is_full);
                let mail = render(&default.parts, &letter).unwrap();
                for part in [&mail.subject, &mail.text, &mail.html] {
                    assert!(!part.contains("None") && !part.contains("{{"), "{mail:?}");
                }
                assert!(mail.html.contains("</html>"));
            }
        }
    }

    #[test]
    fn r12_an_unknown_variable_is_named_wherever_it_hides() {
        let cases = [
            ("{{ custmer }}", "custmer"),
            ("{% if false %}{{ custmer.name }}{% endif %}", "custmer.name"),
            ("{{ thread.titel }}", "thread.titel"),
            ("{% for it in messages %}{{ it.txt }}{% endfor %}", "messages[].txt"),
            ("{% set it = thread %}{{ it.txt }}", "thread.txt"),
            (
                "{% if not can_reply %}{% for it in messages %}{{ it.txt }}{% endfor %}{% endif %}",
                "messages[].txt",
            ),
            ("{{ threads }}", "threads"),
        ];
        for (source, name) in cases {
            let found = wrong(MailKind::NewMessage, &parts("x", source, "x"));
            assert_eq!(found.len(), 1, "{source}: {found:?}");
            assert_eq!(found[0].0, "/text");
            assert!(found[0].1.contains(&format!("`{name}`")), "{source}: {found:?}");
        }
        let found = wrong(MailKind::Digest, &parts("{{ thread.id }}", "x", "{{ y }}"));
        assert_eq!(found.iter().map(|it| it.0.as_str()).collect::<Vec<_>>(), ["/subject", "/html"]);
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_line() {
        for (source, say) in [
            ("a\n{{ thread", "line 2"),
            ("{% for x %}", "line 1"),
            ("{{ thread.id|safe }}", "safe"),
            ("{% include 'x' %}", "line 1"),
            (
                "{% for a in range(1000) %}{% for b in range(1000) %}x{% endfor %}{% endfor %}",
                "fuel",
            ),
            ("{% for a in range(100) %}{{ 'x' * 100000 }}{% endfor %}", "longer than"),
            ("", "empty"),
        ] {
            let found = wrong(MailKind::NewMessage, &parts("x", source, "x"));
            assert_eq!(found.len(), 1, "{source}");
            assert!(found[0].1.contains(say), "{source}: {found:?}");
        }
    }

    #[test]
    fn user_text_is_escaped_in_html_whatever_the_template_does() {
        let mut letter = letter::sample(MailKind::NewMessage, true);
        let text = "<script>alert('&')</script>\nsecond";
        letter.set_texts(text);
        for html in [
            "{{ messages[0].text }}",
            "{{ messages[0].text|linebreaks }}",
            "{% autoescape false %}{{ messages[0].text }}{% endautoescape %}",
            "{% set x %}{{ messages[0].text }}{% endset %}{{ x }}",
            "{{ messages[0].text|linebreaks|replace('&lt;', '<') }}",
            "{{ [messages[0].text]|join('') }}",
            "{{ author.name ~ messages[0].text }}",
        ] {
            let mail =
                render(&parts("{{ messages[0].text }}", "{{ messages[0].text }}", html), &letter);
            let mail = mail.unwrap();
            assert!(!mail.html.contains("<script"), "{html}: {}", mail.html);
            assert_eq!(mail.text, text);
            assert_eq!(mail.subject, "<script>alert('&')</script> second");
        }
    }

    #[test]
    fn a_subject_stays_on_its_line() {
        let mut letter = letter::sample(MailKind::NewMessage, true);
        letter.set_texts("a\r\nBcc: evil@example.com\u{85}x\u{2028}y\tz\0");
        // As an older version may have saved it, and as no check of the source can see.
        for subject in ["{{ messages[0].text }}\n\n", "{{ '\\r\\n' }}{{ messages[0].text }}"] {
            let mail = render(&parts(subject, "x", "x"), &letter).unwrap();
            assert_eq!(mail.subject, "a Bcc: evil@example.com x y z");
        }
    }

    #[test]
    fn r12_a_subject_of_more_than_one_line_is_not_saved() {
        for subject in [
            "Hello\nBcc: evil@example.com",
            "Hello\r\n",
            "\rHello",
            "a\tb",
            "{{ thread.id }}\u{85}",
            "a\u{2028}b",
            "a\u{1b}[31m",
            "{#\n#}x",
        ] {
            let found = wrong(MailKind::NewMessage, &parts(subject, "two\nlines", "<p>\n</p>"));
            assert_eq!(found.len(), 1, "{subject:?}: {found:?}");
            assert_eq!(found[0].0, "/subject");
            assert!(found[0].1.contains("one line"), "{found:?}");
        }
    }
}
