//! One line: a row of a table as JSON, and back.

use std::collections::BTreeMap;

use chaffer_shared::topic;
use serde_json::value::RawValue;

use super::VERSION;
use crate::store::copy::{Column, Kind, Row, Table};
use crate::store::messages::SystemEntry;
use crate::store::{
    Audience, MailChoice, MailKind, MailState, ParticipantKind, Role, Side, StoreError,
    SubjectType, ThreadStatus, Timestamp, VendorStatus, WebhookStatus, WordAction, WordKind,
};

/// What is left out without secrets: of a webhook, and of a file the key under which its addresses are signed.
const SECRET_COLUMNS: [(&str, &str); 4] = [
    ("webhooks", "secret"),
    ("webhooks", "previous_secret"),
    ("webhooks", "previous_until"),
    ("attachments", "secret"),
];

/// Texts that are JSON, and stand as such in the line.
pub(super) const JSON_COLUMNS: [(&str, &str); 5] = [
    ("users", "profiles"),
    ("forbidden_words", "exceptions"),
    ("settings", "value"),
    ("webhooks", "events"),
    ("audit_log", "data"),
];

/// Texts of which there are only these.
pub(super) const NAMES: [(&str, &str, &[&str]); 18] = [
    ("vendors", "status", VendorStatus::NAMES),
    ("users", "role", Role::NAMES),
    ("users", "mail_choice", MailChoice::NAMES),
    ("threads", "subject_type", SubjectType::NAMES),
    ("threads", "status", ThreadStatus::NAMES),
    ("participants", "kind", ParticipantKind::NAMES),
    ("participants", "side", Side::NAMES),
    ("messages", "author_kind", ParticipantKind::NAMES),
    ("messages", "side", Side::NAMES),
    ("messages", "system_entry", SystemEntry::NAMES),
    ("read_states", "kind", ParticipantKind::NAMES),
    ("forbidden_words", "kind", WordKind::NAMES),
    ("forbidden_words", "action", WordAction::NAMES),
    ("mail_templates", "audience", Audience::NAMES),
    ("mail_templates", "kind", MailKind::NAMES),
    ("mails", "kind", MailKind::NAMES),
    ("mails", "state", MailState::NAMES),
    ("webhooks", "status", WebhookStatus::NAMES),
];

/// The fields of a line.
pub(super) type Fields = BTreeMap<String, Box<RawValue>>;

/// One row as a line.
pub(super) fn line_of(
    kind: &str,
    table: &Table,
    row: &Row,
    with_secrets: bool,
) -> Result<String, StoreError> {
    let mut line = format!("{{\"type\":\"{kind}\"");
    for (column, value) in table.columns.iter().zip(&row.0) {
        if !with_secrets && is_secret(table, column) {
            continue;
        }
        let broken = || {
            StoreError::Line(format!(
                "{}.{} holds {value:?}, which it cannot",
                table.name, column.name
            ))
        };
        let text = match (value, column.kind) {
            (None, _) => "null".to_owned(),
            (Some(value), Kind::Number) if column.is_flag => (value != "0").to_string(),
            (Some(value), Kind::Number) => value.parse::<i64>().map_err(|_| broken())?.to_string(),
            (Some(value), Kind::Time) => {
                let at = Timestamp::parse_from_str(value, "%Y-%m-%d %H:%M:%S%.f")
                    .map_err(|_| broken())?;
                format!("\"{}\"", chaffer_shared::time::format(&at.and_utc()))
            }
            (Some(value), Kind::Text) if is_json(table, column) => {
                // As it is, whatever order its fields have; but on one line.
                let raw: &RawValue = serde_json::from_str(value).map_err(|_| broken())?;
                raw.get().replace(['\n', '\r'], " ")
            }
            (Some(value), Kind::Text) => {
                serde_json::to_string(value).map_err(|error| StoreError::Line(error.to_string()))?
            }
        };
        line.push_str(&format!(",\"{}\":{text}", column.name));
    }
    line.push('}');
    Ok(line)
}

fn is_json(table: &Table, column: &Column) -> bool {
    JSON_COLUMNS.contains(&(table.name.as_str(), column.name.as_str()))
}

fn is_secret(table: &Table, column: &Column) -> bool {
    SECRET_COLUMNS.contains(&(table.name.as_str(), column.name.as_str()))
}

/// The type and the other fields of a line.
pub(super) fn read_line(line: &[u8]) -> Result<(String, Fields), String> {
    let text = std::str::from_utf8(line).map_err(|error| format!("it is not UTF-8: {error}"))?;
    let mut fields: Fields =
        serde_json::from_str(text).map_err(|error| format!("it is no JSON object: {error}"))?;
    let kind = fields.remove("type").and_then(|raw| serde_json::from_str(raw.get()).ok());
    Ok((kind.ok_or("it has no `type`, which is a text")?, fields))
}

pub(super) fn field<T: serde::de::DeserializeOwned>(fields: &Fields, name: &str) -> Option<T> {
    serde_json::from_str(fields.get(name)?.get()).ok()
}

pub(super) fn check_head(kind: &str, fields: &Fields) -> Result<(), String> {
    if kind != "chaffer_export" {
        return Err(
            "it is no export of Chaffer, whose first line has the type `chaffer_export`".into()
        );
    }
    match field::<i64>(fields, "version") {
        Some(1..=VERSION) => Ok(()),
        Some(newer) => Err(format!(
            "its version is {newer}, and this program knows those up to {VERSION}: install the version of Chaffer that wrote it ({}), or a newer one",
            field::<String>(fields, "made_by").unwrap_or_default()
        )),
        None => Err("it has no `version`".into()),
    }
}

/// Older versions did not note how far they had come with an erased person: it is gone through once more.
pub(super) fn add_erasing_since(table: &Table, fields: &mut Fields) {
    if table.name == "users"
        && !fields.contains_key("erasing_since")
        && let Some(erased_at) = fields.get("erased_at").cloned()
    {
        fields.insert("erasing_since".to_owned(), erased_at);
    }
}

/// Takes the row of a table out of a line's fields.
pub(super) fn row_of(table: &Table, fields: &mut Fields) -> Result<Row, String> {
    if table.name == "users" {
        // The two namespaces stay apart, whoever wrote the file.
        let of = |name: &str| field::<String>(fields, name).unwrap_or_default();
        if topic::is_visitor(&of("id")) != (of("role") == Role::Visitor.as_str()) {
            return Err("ids that begin with visitor: are those of the role visitor".into());
        }
    }
    let values = table.columns.iter().map(|column| {
        let Some(raw) = fields.remove(&column.name) else {
            // Written by a version that did not have it yet.
            return match &column.default {
                Some(default) => Ok(Some(default.trim_matches('\'').to_owned())),
                None if column.may_be_null => Ok(None),
                None => Err(format!("the field `{}` is missing", column.name)),
            };
        };
        value_of(table, column, &raw).map_err(|what| format!("`{}` {what}", column.name))
    });
    values.collect::<Result<_, _>>().map(Row)
}

fn value_of(table: &Table, column: &Column, raw: &RawValue) -> Result<Option<String>, String> {
    let raw = raw.get();
    if raw == "null" && column.may_be_null {
        return Ok(None);
    }
    if is_json(table, column) {
        return Ok(Some(raw.to_owned()));
    }
    if raw == "null" {
        return Err("must not be null".into());
    }
    let value = match column.kind {
        Kind::Number if column.is_flag => {
            let flag: bool = serde_json::from_str(raw).map_err(|_| "must be true or false")?;
            u8::from(flag).to_string()
        }
        Kind::Number => {
            let number: i64 = serde_json::from_str(raw).map_err(|_| "must be a whole number")?;
            number.to_string()
        }
        Kind::Time => {
            let text: String = serde_json::from_str(raw).map_err(|_| "must be a time, as text")?;
            let at = chrono::DateTime::parse_from_rfc3339(&text);
            let at = at.map_err(|_| "must be a time like 2026-11-21T10:00:00.000Z")?.naive_utc();
            if !(0..=9999).contains(&chrono::Datelike::year(&at)) {
                return Err("must be a time before the year 10000".into());
            }
            at.format("%Y-%m-%d %H:%M:%S%.3f").to_string().trim_end_matches(".000").to_owned()
        }
        Kind::Text => serde_json::from_str(raw).map_err(|_| "must be a text")?,
    };
    let names = NAMES.iter().find(|(of, name, _)| *of == table.name && *name == column.name);
    if let Some((.., names)) = names
        && !names.contains(&value.as_str())
    {
        return Err(format!("is {value:?}, and must be one of {}", names.join(", ")));
    }
    let is_id = matches!((table.name.as_str(), column.name.as_str()), ("users" | "vendors", "id"));
    if is_id && !chaffer_shared::topic::is_valid_id(&value) {
        return Err("must be 1 to 128 bytes long, without control characters".into());
    }
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::ndjson::described;

    #[test]
    fn a_file_gives_no_visitors_id_to_somebody_else() {
        let users = described().unwrap().into_iter().find(|(_, it)| it.name == "users").unwrap().1;
        let take = |id: &str, role: &str| {
            let line = serde_json::json!({
                "type": "user", "id": id, "role": role, "name": "V", "root": false,
                "manage_messages": false, "profiles": [], "mail_choice": "all",
                "created_at": "2026-03-01T09:30:00.000Z", "updated_at": "2026-03-01T09:30:00.000Z"
            });
            row_of(&users, &mut read_line(line.to_string().as_bytes()).unwrap().1).map(drop)
        };
        assert_eq!(take("visitor:1", "visitor"), Ok(()));
        assert_eq!(take("1", "customer"), Ok(()));
        assert!(take("visitor:1", "customer").is_err());
        assert!(take("1", "visitor").is_err());
    }

    #[test]
    fn an_erasure_that_an_older_version_may_not_have_ended_is_gone_on_with() {
        let users = described().unwrap().into_iter().find(|(_, it)| it.name == "users").unwrap().1;
        let since = |more: serde_json::Value| {
            let mut line = serde_json::json!({
                "type": "user", "id": "1", "role": "customer", "name": "", "root": false,
                "manage_messages": false, "profiles": [], "mail_choice": "none",
                "created_at": "2026-03-01T09:30:00.000Z", "updated_at": "2026-03-01T09:30:00.000Z"
            });
            line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let mut fields = read_line(line.to_string().as_bytes()).unwrap().1;
            add_erasing_since(&users, &mut fields);
            let row = row_of(&users, &mut fields).unwrap();
            let at = users.columns.iter().position(|it| it.name == "erasing_since").unwrap();
            row.0[at].clone()
        };
        let erased = "2026-03-02T10:00:00.000Z";
        let older = since(serde_json::json!({"erased_at": erased}));
        assert_eq!(older.as_deref(), Some("2026-03-02 10:00:00"));
        for not in [
            serde_json::json!({}),
            serde_json::json!({"erased_at": null}),
            serde_json::json!({"erased_at": erased, "erasing_since": null}),
        ] {
            assert_eq!(since(not.clone()), None, "{not}");
        }
    }

    static MESSAGES: std::sync::LazyLock<Table> = std::sync::LazyLock::new(|| {
        described().unwrap().into_iter().find(|(_, it)| it.name == "messages").unwrap().1
    });

    proptest! {
        #[test]
        fn any_message_comes_back(
            text in "\\PC{0,40}|[\\x00-\\x1f\u{2028}\"\\\\]{0,10}",
            millis in 0_i64..253_402_300_799_999,
            flagged: bool,
            reply_to in prop::option::of(any::<i64>()),
        ) {
            let table: &Table = &MESSAGES;
            let at = chrono::DateTime::from_timestamp_millis(millis).unwrap().naive_utc();
            let at = at.format("%Y-%m-%d %H:%M:%S%.3f").to_string();
            let at = at.trim_end_matches(".000");
            let row: Vec<Option<String>> = table.columns.iter().map(|column| match column.name.as_str() {
                "id" | "thread_id" => Some("7".into()),
                "author_kind" => Some("user".into()),
                "side" => Some("customer".into()),
                "author_id" | "text" => Some(text.clone()),
                "flagged" => Some(u8::from(flagged).to_string()),
                "attachment_count" => Some("0".into()),
                "created_at" => Some(at.to_owned()),
                "reply_to" => reply_to.map(|it| it.to_string()),
                _ => None,
            }).collect();
            let line = line_of("message", table, &Row(row.clone()), true).unwrap();
            prop_assert!(!line.contains('\n'));
            let (kind, mut fields) = read_line(line.as_bytes()).unwrap();
            prop_assert_eq!(kind, "message");
            prop_assert_eq!(row_of(table, &mut fields).unwrap().0, row);
            prop_assert!(fields.is_empty());
        }

        #[test]
        fn no_line_makes_it_panic(
            line in "\\PC{0,60}|\\{(\"(type|id|text|flagged|created_at)\":(null|true|-?[0-9]{1,25}|\"[a-z0-9:TZ.-]{0,30}\"|\\[\\]),?){0,6}\\}?",
            bytes in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let _ = read_line(&bytes);
            if let Ok((_, mut fields)) = read_line(line.as_bytes()) {
                let _ = check_head("chaffer_export", &fields);
                let _ = row_of(&MESSAGES, &mut fields);
            }
        }
    }
}
