//! The list of forbidden words as a table (CSV), out and in.
//!
//! Out: the columns `kind,phrase,action,exceptions`, quoted where needed; what a spreadsheet would take for a formula gets an
//! apostrophe in front, which the way in takes off again. In: the same columns in any order, or one column of phrases without a
//! head; comma, semicolon or tab. A row that cannot be used is named with its line, and the others are taken.

use csv::{ReaderBuilder, StringRecord};
use serde::Serialize;
use utoipa::ToSchema;

use super::audit::{self, action};
use super::forbidden_words::{self, ForbiddenWordInput, MAX_ENTRIES};
use super::{Caller, ChatError, Context, Credentials, FieldError, rights};
use crate::store::{ForbiddenWord, Reader, WordAction, WordKind, Writer};

/// Parts of one cell.
const PART: char = ' ';
/// Bad rows that an answer names; there may be as many as a file has lines.
const MAX_NAMED: usize = 100;
/// With which a spreadsheet begins a formula (OWASP, CSV injection).
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// What came of a table.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
#[schema(
    example = json!({
        "added": 120, "changed": 2, "unchanged": 30, "refused": 1,
        "errors": [{"line": 7, "detail": "phrase: must not be empty"}]
    })
)]
pub struct ImportReport {
    /// New entries.
    #[schema(example = 120)]
    pub added: usize,
    /// Entries that were there with another action or other exceptions.
    #[schema(example = 2)]
    pub changed: usize,
    /// Entries that were there as they are.
    #[schema(example = 30)]
    pub unchanged: usize,
    /// Rows that cannot be used.
    #[schema(example = 1)]
    pub refused: usize,
    /// The first 100 of those rows, with what is wrong.
    pub errors: Vec<ImportError>,
}

/// A row that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"line": 7, "detail": "phrase: must not be empty"}))]
pub struct ImportError {
    /// On which line of the file it begins, from 1 on.
    #[schema(example = 7)]
    pub line: u64,
    /// What is wrong and what to do.
    #[schema(example = "phrase: must not be empty")]
    pub detail: String,
}

/// The rows of a table, good and bad.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<(u64, ForbiddenWordInput)>,
    errors: Vec<ImportError>,
}

/// Writes the list.
///
/// # Errors
/// Why the caller may not.
pub(crate) fn export(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
) -> Result<String, ChatError> {
    rights::require_moderator(&Caller::resolve(reader, credentials)?)?;
    Ok(write(&reader.all_forbidden_words()?))
}

fn write(words: &[ForbiddenWord]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Writing into memory does not fail.
    let _ = writer.write_record(["kind", "phrase", "action", "exceptions"]);
    for word in words {
        let exceptions: Vec<String> = serde_json::from_str(&word.exceptions).unwrap_or_default();
        // A number's own spaces would end it.
        let exceptions: Vec<String> =
            exceptions.iter().map(|it| it.replace(char::is_whitespace, "")).collect();
        let exceptions = exceptions.join(&PART.to_string());
        let row = [word.kind.as_str(), &word.phrase, word.action.as_str(), &exceptions];
        let _ = writer.write_record(row.map(no_formula));
    }
    String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default()
}

/// What begins like a formula, or like one that was made harmless, gets an apostrophe.
fn no_formula(cell: &str) -> String {
    let bare = cell.trim_start_matches('\'');
    if bare.starts_with(FORMULA) { format!("'{cell}") } else { cell.to_owned() }
}

fn with_formula(cell: &str) -> &str {
    match cell.strip_prefix('\'') {
        Some(rest) if rest.trim_start_matches('\'').starts_with(FORMULA) => rest,
        _ => cell,
    }
}

/// Reads a table; what is wrong with single rows stands in it.
///
/// # Errors
/// When it is no table at all.
pub fn read(bytes: &[u8]) -> Result<Table, FieldError> {
    let text = std::str::from_utf8(bytes).map_err(|_| {
        FieldError::body("", "the table must be UTF-8: save it as “CSV UTF-8” in the spreadsheet")
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let first = text.lines().next().unwrap_or_default();
    let delimiter = [b',', b';', b'\t']
        .into_iter()
        .max_by_key(|it| (first.bytes().filter(|byte| byte == it).count(), *it == b','))
        .unwrap_or(b',');
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .from_reader(text.as_bytes());
    let mut table = Table::default();
    let mut columns: Option<Columns> = None;
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                table.errors.push(ImportError { line, detail: error.to_string() });
                continue;
            }
        };
        let line = record.position().map_or(0, csv::Position::line);
        if record.iter().all(|cell| cell.trim().is_empty()) {
            continue;
        }
        let known = match &columns {
            Some(known) => known,
            None => match Columns::of(&record) {
                Ok(Some(head)) => {
                    columns = Some(head);
                    continue;
                }
                Ok(None) => columns.insert(Columns::bare()),
                Err(detail) => return Err(FieldError::body("", detail)),
            },
        };
        match known.input(&record) {
            Ok(input) => table.rows.push((line, input)),
            Err(detail) => table.errors.push(ImportError { line, detail }),
        }
    }
    Ok(table)
}

/// Which column holds what.
struct Columns {
    count: usize,
    phrase: Option<usize>,
    kind: Option<usize>,
    action: Option<usize>,
    exceptions: Option<usize>,
}

impl Columns {
    /// Of a table without a head: phrases.
    fn bare() -> Self {
        Self { count: 1, phrase: Some(0), kind: None, action: None, exceptions: None }
    }

    /// Of a head; `None` when it is no head.
    fn of(record: &StringRecord) -> Result<Option<Self>, String> {
        let names: Vec<String> = record.iter().map(|it| it.trim().to_lowercase()).collect();
        if !names.iter().any(|name| name == "phrase") {
            return Ok(None);
        }
        let at = |wanted: &str| names.iter().position(|name| name == wanted);
        let known = ["phrase", "kind", "action", "exceptions"];
        if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
            return Err(format!(
                "line 1: there is no column “{unknown}”; the columns are kind, phrase, action, exceptions"
            ));
        }
        Ok(Some(Self {
            count: names.len(),
            phrase: at("phrase"),
            kind: at("kind"),
            action: at("action"),
            exceptions: at("exceptions"),
        }))
    }

    fn input(&self, record: &StringRecord) -> Result<ForbiddenWordInput, String> {
        if record.len() > self.count {
            return Err(format!(
                "has {} cells where the table has {} columns; quote a phrase that holds the separator",
                record.len(),
                self.count
            ));
        }
        let cell = |at: Option<usize>| {
            at.and_then(|at| record.get(at))
                .map(|cell| with_formula(cell.trim()))
                .filter(|it| !it.is_empty())
        };
        let name = |column: &str, text: &str| format!("{column}: there is no “{text}”");
        let kind = match cell(self.kind) {
            None => WordKind::Phrase,
            Some(text) => parse(text).ok_or_else(|| name("kind", text))?,
        };
        let action = match cell(self.action) {
            None => WordAction::Mask,
            Some(text) => parse(text).ok_or_else(|| name("action", text))?,
        };
        let exceptions = cell(self.exceptions).unwrap_or_default();
        Ok(ForbiddenWordInput {
            kind,
            phrase: cell(self.phrase).map(str::to_owned),
            action,
            exceptions: exceptions.split_whitespace().map(str::to_owned).collect(),
        })
    }
}

fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(text.to_lowercase())).ok()
}

/// Puts the rows of a table on the list.
///
/// # Errors
/// Why the caller may not.
pub(crate) fn import(
    writer: &mut Writer<'_>,
    credentials: &Credentials,
    context: &Context,
    table: &Table,
) -> Result<ImportReport, ChatError> {
    let caller = Caller::resolve(writer, credentials)?;
    rights::require_moderator(&caller)?;
    let mut report = ImportReport::default();
    let mut errors = table.errors.clone();
    let mut room = MAX_ENTRIES - writer.count_forbidden_words(None)?;
    for (line, input) in &table.rows {
        let mut refuse = |detail: String| errors.push(ImportError { line: *line, detail });
        let mut word = match forbidden_words::row(0, input, context) {
            Ok(word) => word,
            Err(error) => {
                refuse(format!("phrase: {error}"));
                continue;
            }
        };
        match writer.forbidden_word_by_hash(&word.plain_hash)? {
            Some(known) if known.action == word.action && known.exceptions == word.exceptions => {
                report.unchanged += 1;
            }
            Some(known) => {
                writer.next_list_version();
                let (action, exceptions) = (word.action, word.exceptions);
                let updated_at = context.timestamp();
                let changed = ForbiddenWord { action, exceptions, updated_at, ..known };
                writer.update_forbidden_word(&changed)?;
                report.changed += 1;
            }
            None if room <= 0 => refuse(format!("the list is full: {MAX_ENTRIES} entries")),
            None => {
                // Few tables have any, so they may cost a query each.
                if word.kind == WordKind::Regex
                    && let Err(ChatError::Refused(full)) =
                        forbidden_words::require_room(writer, word.kind)
                {
                    refuse(full.detail().to_owned());
                    continue;
                }
                word.id = writer.next_list_version();
                writer.insert_forbidden_word(&word)?;
                room -= 1;
                report.added += 1;
            }
        }
    }
    errors.sort_by_key(|error| error.line);
    report.refused = errors.len();
    errors.truncate(MAX_NAMED);
    report.errors = errors;
    let data = serde_json::json!({
        "added": report.added, "changed": report.changed, "refused": report.refused
    });
    let target = "forbidden_words".to_owned();
    audit::note(writer, &caller, context, action::WORDS_IMPORTED, target, Some(data))?;
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn word(phrase: &str) -> ForbiddenWord {
        let input = ForbiddenWordInput {
            kind: WordKind::Phrase,
            phrase: Some(phrase.to_owned()),
            action: WordAction::Refuse,
            exceptions: vec![],
        };
        let now = chaffer_shared::time::now();
        forbidden_words::row(1, &input, &Context { now, request_id: String::new() }).unwrap()
    }

    fn phrases(table: &Table) -> Vec<&str> {
        table.rows.iter().map(|(_, input)| input.phrase.as_deref().unwrap_or_default()).collect()
    }

    #[test]
    fn what_a_spreadsheet_would_run_is_made_harmless_and_comes_back() {
        let phrases_out =
            ["=HYPERLINK(\"http://x\")", "+7 926", "-word", "@joe", "'=x", "a,b", "plain"];
        let words: Vec<ForbiddenWord> = phrases_out.iter().map(|phrase| word(phrase)).collect();
        let text = write(&words);
        for line in text.lines().skip(1) {
            let phrase = line.trim_start_matches("phrase,").trim_start_matches('"');
            assert!(!phrase.starts_with(FORMULA), "{line}");
        }
        assert_eq!(phrases(&read(text.as_bytes()).unwrap()), phrases_out);
    }

    #[test]
    fn tables_of_every_make_are_read() {
        for text in [
            "phrase\nviber\nskype\n",
            "viber\nskype\n",
            "\u{feff}phrase;action\r\nviber;mask\r\nskype;\r\n",
            "action\tphrase\nmask\tviber\nMASK\tskype",
            "kind,phrase,action,exceptions\n,\"viber\",,\n\nphrase,skype,mask,",
        ] {
            let table = read(text.as_bytes()).unwrap();
            assert_eq!(phrases(&table), ["viber", "skype"], "{text:?}: {:?}", table.errors);
        }
        let table = read(b"kind,exceptions,phrase\nlink,shop.example a.example,").unwrap();
        assert_eq!(table.rows[0].1.exceptions, ["shop.example", "a.example"]);
    }

    #[test]
    fn bad_rows_are_named_with_their_line() {
        let text =
            "phrase,action\nviber,mask\nskype,burn\na,mask,more\n\"two\nlines\",mask\nlast,mask\n";
        let table = read(text.as_bytes()).unwrap();
        assert_eq!(table.errors.iter().map(|it| it.line).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(table.rows.iter().map(|it| it.0).collect::<Vec<_>>(), [2, 5, 7]);
        assert!(read(b"\xff\xfe").is_err());
        assert!(read(b"phrase,colour\nviber,red").is_err());
    }

    proptest! {
        #[test]
        fn no_file_makes_it_fail(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[a,;\"\n\r=' phrase]{0,60}") {
            let _ = read(&bytes);
            let _ = read(text.as_bytes());
        }

        #[test]
        fn every_phrase_comes_back(phrase in "[^\\p{C}]{1,30}") {
            prop_assume!(!phrase.trim().is_empty() && phrase.trim() == phrase);
            let input = ForbiddenWord { phrase: phrase.clone(), ..word("x") };
            let text = write(&[input]);
            let table = read(text.as_bytes()).unwrap();
            prop_assert_eq!(phrases(&table), [phrase.as_str()], "{}", text);
        }
    }
}
