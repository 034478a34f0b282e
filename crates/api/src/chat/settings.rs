//! The settings of the shop (R13, R14): changed through the API while the daemons run, in force from the next call on, on every
//! node, since each call reads them where it reads everything else. A new setting is one entry of the table below: it gets
//! its field, its check, its place in the document, in the history and, if it is public, in what pages fetch.

mod definition;

use std::collections::{BTreeMap, HashMap};

use chaffer_shared::config::Shown;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::openapi::schema::{AdditionalProperties, Object, Schema, SchemaType, Type};
use utoipa::openapi::{ObjectBuilder, RefOr};
use utoipa::{PartialSchema, ToSchema};

pub use definition::Visibility;
use definition::{Definition, Kind};

use super::audit::{self, action};
use super::retention::MAX_DAYS;
use super::validate::Problems;
use super::{Caller, ChatError, Context, Credentials, messages, rights};
use crate::store::{AuditEntry, AuditFilter, Id, Reader, StoreError, Writer};

/// How the button looks.
const BUTTON_TYPES: &[&str] = &["icon", "icon_and_text", "text"];
/// Colours that the shop's own styles name.
const BUTTON_COLOURS: &[&str] = &["primary", "secondary", "tertiary", "text"];

/// What may be attached.
pub(crate) const NO_ATTACHMENTS: &str = "none";
pub(crate) const IMAGES: &str = "images";
const ATTACHMENT_TYPES: &[&str] = &[NO_ATTACHMENTS, IMAGES, "images_and_documents"];

/// Texts by language.
pub(crate) type Labels = BTreeMap<String, String>;

fn labels(texts: &[(&str, &str)]) -> Labels {
    texts.iter().map(|(language, text)| ((*language).to_owned(), (*text).to_owned())).collect()
}

/// Declares the settings: what it is, who may see it, its name and type, its default, and what values it takes.
macro_rules! settings {
    ($($(#[doc = $help:literal])+ $visibility:ident $name:ident: $type:ty = $default:expr, $kind:expr;)+) => {
        /// The settings as they are.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize)]
        pub struct Settings {
            $($(#[doc = $help])+ pub $name: $type,)+
        }

        impl Default for Settings {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        impl Settings {
            /// Takes a value over that was found good.
            fn set(&mut self, name: &str, value: &Value) {
                match name {
                    $(stringify!($name) => {
                        if let Ok(value) = Deserialize::deserialize(value) {
                            self.$name = value;
                        }
                    })+
                    _ => {}
                }
            }
        }

        /// Every setting there is.
        static SETTINGS: &[Definition] = &[
            $(Definition {
                name: stringify!($name),
                visibility: Visibility::$visibility,
                kind: $kind,
                help: concat!($($help),+),
            },)+
        ];
    };
}

settings! {
    /// Whether product pages, and lists of products, show the button (R13).
    Public button_on_product_page: bool = true, Kind::Switch;
    /// Whether a vendor's page shows the button (R13).
    Public button_on_vendor_page: bool = true, Kind::Switch;
    /// Whether the page of an order shows the button (R13).
    Public button_on_order_page: bool = true, Kind::Switch;
    /// Whether the button that leads to the shop's operators is shown.
    Public button_for_support: bool = true, Kind::Switch;
    /// Whether people who have not signed in may write to the shop's operators.
    Public visitors_may_write: bool = true, Kind::Switch;
    /// What the button shows (R13).
    Public button_type: String = "icon_and_text".to_owned(), Kind::Choice(BUTTON_TYPES);
    /// The colour of the button: one that the shop's styles name, or one of its own (R13).
    Public button_colour: String = "primary".to_owned(), Kind::Colour(BUTTON_COLOURS);
    /// What the button says where it leads to a vendor, by language (R1).
    Public contact_vendor_label: Labels = labels(&[("en", "Contact vendor"), ("ru", "Написать продавцу")]), Kind::Labels;
    /// What the button says where it leads a vendor to the customer of an order, by language (R5).
    Public contact_customer_label: Labels = labels(&[("en", "Contact customer"), ("ru", "Написать покупателю")]), Kind::Labels;
    /// What the button says where it leads to the shop's operators, by language.
    Public contact_support_label: Labels = labels(&[("en", "Contact us"), ("ru", "Написать нам")]), Kind::Labels;
    /// How many characters of a message lists show before they cut it with an ellipsis (R13).
    Public message_length: i64 = 100, Kind::Number { min: 10, max: 10_000 };
    /// The colour of the bubbles of what the reader wrote (R14).
    Public author_bubble_colour: String = "#dcf0ff".to_owned(), Kind::Colour(&[]);
    /// The colour of the bubbles of what others wrote (R14).
    Public recipient_bubble_colour: String = "#f1f1f1".to_owned(), Kind::Colour(&[]);
    /// Whether the messages page is shown with the shop's header; else it is bare (R14).
    Public messages_page_with_header: bool = true, Kind::Switch;
    /// The shop's name in mails; empty: that of the mails' sender.
    Public shop_name: String = String::new(), Kind::Line(100);
    /// The language of mails and buttons for people of whom none is known, or none that there is a text in.
    Public language: String = "en".to_owned(), Kind::Language;
    /// For how many seconds authors may change or take back a message; 0: never (B2).
    Public edit_seconds: i64 = 900, Kind::Number { min: 0, max: 31_536_000 };
    /// What may be attached to messages.
    Public attachment_types: String = "images_and_documents".to_owned(), Kind::Choice(ATTACHMENT_TYPES);
    /// How large an attached file may be, in MiB.
    Public attachment_max_megabytes: i64 = 20, Kind::Number { min: 1, max: 100 };
    /// How many files one message may have.
    Public attachments_per_message: i64 = 10, Kind::Number { min: 1, max: 50 };
    /// For how many seconds messages are gathered for one mail; 0 sends at once (B11).
    Staff mail_gather_seconds: i64 = 120, Kind::Number { min: 0, max: 86_400 };
    /// How many hours lie between the mails of people who chose the digest.
    Staff mail_digest_hours: i64 = 24, Kind::Number { min: 0, max: 744 };
    /// Whether what was masked (R11) is kept for administrators, from the next message on.
    Staff keep_originals: bool = false, Kind::Switch;
    /// After how many days without a message a thread is deleted, with all that is in it; 0: never (B6).
    Staff retention_thread_days: i64 = 0, Kind::Number { min: 0, max: MAX_DAYS };
    /// For how many days the audit log is kept; 0: for ever (B6).
    Staff retention_audit_days: i64 = 0, Kind::Number { min: 0, max: MAX_DAYS };
}

/// Which settings are to be changed, and to what; null goes back to the default.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct SettingsPatch(Map<String, Value>);

/// What pages need.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct PublicSettings(Map<String, Value>);

impl PartialSchema for Settings {
    fn schema() -> RefOr<Schema> {
        let defaults = values(&Self::default());
        let all = SETTINGS.iter().fold(closed_object(), |object, setting| {
            object.property(setting.name, setting.schema()).required(setting.name)
        });
        with_example(all, Value::Object(defaults))
    }
}

impl ToSchema for Settings {}

impl PartialSchema for SettingsPatch {
    fn schema() -> RefOr<Schema> {
        let all = SETTINGS.iter().fold(closed_object(), |object, setting| {
            let mut schema = setting.schema();
            if let SchemaType::Type(kind) = schema.schema_type {
                schema.schema_type = SchemaType::Array(vec![kind, Type::Null]);
            }
            // Else null would not be among the values.
            if let Some(names) = &mut schema.enum_values {
                names.push(Value::Null);
            }
            object.property(setting.name, schema)
        });
        let example = serde_json::json!({"button_type": "icon", "button_colour": "#0a7d5a"});
        with_example(all, example)
    }
}

impl ToSchema for SettingsPatch {}

impl PartialSchema for PublicSettings {
    fn schema() -> RefOr<Schema> {
        let websocket_url: Object = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("Where pages open their socket; set in the configuration file"))
            .build();
        let all = SETTINGS.iter().filter(|setting| setting.visibility == Visibility::Public).fold(
            closed_object().property(WEBSOCKET_URL, websocket_url).required(WEBSOCKET_URL),
            |object, setting| {
                object.property(setting.name, setting.schema()).required(setting.name)
            },
        );
        let example = Self::of(&Settings::default(), "wss://shop.example/ws");
        with_example(all, Value::Object(example.0))
    }
}

impl ToSchema for PublicSettings {}

const WEBSOCKET_URL: &str = "websocket_url";

fn closed_object() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .additional_properties(Some(AdditionalProperties::FreeForm(false)))
}

#[expect(deprecated, reason = "all other schemas of the document have `example`, too")]
fn with_example(object: ObjectBuilder, example: Value) -> RefOr<Schema> {
    RefOr::T(object.example(Some(example)).build().into())
}

fn values(settings: &Settings) -> Map<String, Value> {
    match serde_json::to_value(settings) {
        Ok(Value::Object(values)) => values,
        _ => Map::new(),
    }
}

impl PublicSettings {
    fn of(settings: &Settings, websocket_url: &str) -> Self {
        let mut public = values(settings);
        let is_public = |name: &str| {
            SETTINGS.iter().any(|it| it.name == name && it.visibility == Visibility::Public)
        };
        public.retain(|name, _| is_public(name));
        public.insert(WEBSOCKET_URL.to_owned(), websocket_url.into());
        Self(public)
    }
}

/// The settings as they are now. One statement; a rule that needs several asks once.
pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Settings, StoreError> {
    let mut settings = Settings::default();
    for row in reader.settings()? {
        let definition = SETTINGS.iter().find(|it| it.name == row.name);
        let value = serde_json::from_str::<Value>(&row.value).ok();
        // One of another version, which took other values, does not count.
        if let (Some(definition), Some(value)) = (definition, value)
            && definition.kind.check(&value).is_ok()
        {
            settings.set(definition.name, &value);
        }
    }
    Ok(settings)
}

/// The settings, for the shop's backend and those who manage messages.
///
/// # Errors
/// Why the caller may not.
pub(crate) fn get(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
) -> Result<Settings, ChatError> {
    rights::require_moderator(&Caller::resolve(reader, credentials)?)?;
    Ok(read(reader)?)
}

/// What pages need, for everybody.
///
/// # Errors
/// The store's own.
pub(crate) fn public(
    reader: &mut Reader<'_>,
    websocket_url: &str,
) -> Result<PublicSettings, ChatError> {
    Ok(PublicSettings::of(&read(reader)?, websocket_url))
}

/// Changes settings, for the shop's backend and those who manage messages: all of them, or none.
///
/// # Errors
/// What is wrong with the values, or why the caller may not.
pub(crate) fn patch(
    writer: &mut Writer<'_>,
    credentials: &Credentials,
    context: &Context,
    patch: &SettingsPatch,
) -> Result<Settings, ChatError> {
    let caller = Caller::resolve(writer, credentials)?;
    rights::require_moderator(&caller)?;
    // To delete everybody's, or the log of one's own deeds, takes as much as to erase one person.
    if patch.0.keys().any(|name| name.starts_with("retention_")) {
        caller.require_root()?;
    }
    check(patch)?;
    let (before, defaults) = (values(&read(writer)?), values(&Settings::default()));
    for (name, value) in &patch.0 {
        let is_reset = value.is_null();
        let to = if is_reset { defaults.get(name) } else { Some(value) };
        let (Some(to), Some(from)) = (to, before.get(name)) else { continue };
        if is_reset {
            writer.delete_setting(name)?;
        }
        if to == from {
            continue;
        }
        if !is_reset {
            writer.save_setting(name, to, caller.user_id(), context.timestamp())?;
        }
        let data = serde_json::json!({"from": from, "to": to});
        audit::note(writer, &caller, context, action::SETTING_CHANGED, target(name), Some(data))?;
    }
    Ok(read(writer)?)
}

fn check(patch: &SettingsPatch) -> Result<(), ChatError> {
    let mut problems = Problems::default();
    for (name, value) in &patch.0 {
        let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        let known = SETTINGS.iter().find(|it| it.name == *name);
        let of_machine = chaffer_shared::config::SETTINGS.iter().any(|it| it.key == *name);
        match known {
            Some(_) if value.is_null() => {}
            Some(definition) => {
                if let Err(wrong) = definition.kind.check(value) {
                    problems.add(&pointer, wrong);
                }
            }
            None if of_machine || name == WEBSOCKET_URL => problems
                .add(&pointer, "is a setting of the machine: change it in the configuration file"),
            None => problems
                .add(&pointer, "there is no such setting; GET /v1/settings/definitions lists them"),
        }
    }
    problems.finish()
}

const TARGET: &str = "setting:";

fn target(name: &str) -> String {
    format!("{TARGET}{name}")
}

/// One setting: what it is, and what it is set to.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({
    "name": "button_type", "description": "What the button shows (R13).", "visibility": "public",
    "schema": {"type": "string", "enum": ["icon", "icon_and_text", "text"], "description": "What the button shows (R13)."},
    "default": "icon_and_text", "value": "icon", "is_default": false, "changed_by": "2",
    "changed_at": "2026-03-01T09:30:00.000Z"
}))]
pub struct SettingView {
    /// Its name.
    #[schema(example = "button_type")]
    pub name: &'static str,
    /// What it does.
    pub description: &'static str,
    /// Who sees its value.
    pub visibility: Visibility,
    /// The JSON Schema of its values.
    #[schema(value_type = Object)]
    pub schema: Value,
    /// What it is unless it is changed.
    #[schema(value_type = Value)]
    pub default: Value,
    /// What it is now.
    #[schema(value_type = Value)]
    pub value: Value,
    /// Whether nobody changed it.
    pub is_default: bool,
    /// Who changed it last; null: nobody, or the shop's backend as itself.
    #[schema(required = true)]
    pub changed_by: Option<String>,
    /// When.
    #[serde(with = "chaffer_shared::time::option")]
    #[schema(required = true)]
    pub changed_at: Option<DateTime<Utc>>,
}

/// All settings of the shop.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SettingViews {
    /// In the order in which a page shows them.
    pub settings: Vec<SettingView>,
}

/// All settings of the shop, with what a form needs to show and change them.
///
/// # Errors
/// Why the caller may not.
pub(crate) fn definitions(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
) -> Result<SettingViews, ChatError> {
    rights::require_moderator(&Caller::resolve(reader, credentials)?)?;
    let (now, defaults) = (values(&read(reader)?), values(&Settings::default()));
    let rows: HashMap<String, _> =
        reader.settings()?.into_iter().map(|row| (row.name.clone(), row)).collect();
    let view = |it: &Definition| {
        let row = rows.get(it.name);
        SettingView {
            name: it.name,
            description: it.help.trim(),
            visibility: it.visibility,
            schema: serde_json::to_value(it.schema()).unwrap_or_default(),
            default: defaults.get(it.name).cloned().unwrap_or_default(),
            value: now.get(it.name).cloned().unwrap_or_default(),
            is_default: row.is_none(),
            changed_by: row.and_then(|row| row.changed_by.clone()),
            changed_at: row.map(|row| row.changed_at.and_utc()),
        }
    };
    Ok(SettingViews { settings: SETTINGS.iter().map(view).collect() })
}

/// One setting of the machine: shown here, changed in the configuration file.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({
    "key": "push.websocket_listen", "description": "Address and port of the WebSocket server",
    "value": "127.0.0.1:8091", "source": "default", "is_default": true, "is_secret": false
}))]
pub struct MachineSetting {
    /// Its name in the configuration file.
    #[schema(example = "push.websocket_listen")]
    pub key: &'static str,
    /// What it does.
    pub description: &'static str,
    /// What this process was started with; of a secret no more than a fingerprint.
    #[schema(value_type = Value)]
    pub value: Value,
    /// Where that came from.
    pub source: String,
    /// Whether nobody set it.
    pub is_default: bool,
    /// Whether the value is hidden.
    pub is_secret: bool,
}

/// The settings of the machine.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct MachineSettings {
    /// In the order of the documentation.
    pub settings: Vec<MachineSetting>,
}

/// The settings of the machine, for the shop's backend and those who manage messages.
///
/// # Errors
/// Why the caller may not.
pub(crate) fn machine(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
    shown: &[Shown],
) -> Result<MachineSettings, ChatError> {
    rights::require_moderator(&Caller::resolve(reader, credentials)?)?;
    let help = |key: &str| chaffer_shared::config::SETTINGS.iter().find(|it| it.key == key);
    let view = |shown: &Shown| MachineSetting {
        key: shown.key,
        description: help(shown.key).map_or("", |it| it.help),
        value: shown.value.clone(),
        source: shown.source.clone(),
        is_default: shown.is_default,
        is_secret: shown.is_secret,
    };
    Ok(MachineSettings { settings: shown.iter().map(view).collect() })
}

/// One change of a setting.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({
    "id": 8, "name": "button_type", "from": "icon_and_text", "to": "icon", "actor_id": "2",
    "request_id": "9f2c61d0a4b8e7f35c1d2e3f4a5b6c7d", "at": "2026-03-01T09:30:00.000Z"
}))]
pub struct SettingChange {
    /// The number of its entry in the audit log.
    #[schema(value_type = i64, example = 8)]
    pub id: Id,
    /// Which setting.
    #[schema(example = "button_type")]
    pub name: String,
    /// What it was.
    #[schema(value_type = Value)]
    pub from: Value,
    /// What it became.
    #[schema(value_type = Value)]
    pub to: Value,
    /// The user who changed it; null: the shop's backend as itself.
    #[schema(required = true)]
    pub actor_id: Option<String>,
    /// The id under which the logs know the call.
    pub request_id: String,
    /// When.
    #[serde(with = "chaffer_shared::time")]
    pub at: DateTime<Utc>,
}

/// A page of changes.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SettingHistory {
    /// The newest first.
    pub changes: Vec<SettingChange>,
    /// Where the next page begins; null at the end.
    #[schema(required = true, example = "8")]
    pub next_cursor: Option<String>,
}

impl From<AuditEntry> for SettingChange {
    fn from(entry: AuditEntry) -> Self {
        let data: Value =
            entry.data.and_then(|it| serde_json::from_str(&it).ok()).unwrap_or_default();
        let name = entry.target.strip_prefix(TARGET).unwrap_or(&entry.target);
        Self {
            id: entry.id,
            name: name.to_owned(),
            from: data.get("from").cloned().unwrap_or_default(),
            to: data.get("to").cloned().unwrap_or_default(),
            actor_id: entry.actor_id,
            request_id: entry.request_id,
            at: entry.at.and_utc(),
        }
    }
}

/// Who changed what, the newest first; of one setting or of all.
///
/// # Errors
/// Why the caller may not.
pub(crate) fn history(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
    name: Option<&str>,
    below: Option<Id>,
    limit: i64,
) -> Result<SettingHistory, ChatError> {
    rights::require_moderator(&Caller::resolve(reader, credentials)?)?;
    let filter = AuditFilter {
        action: Some(action::SETTING_CHANGED.to_owned()),
        target: name.map(target),
        below,
        ..AuditFilter::default()
    };
    let mut entries = reader.audit_entries(&filter, limit + 1)?;
    let more = messages::cut(&mut entries, limit);
    let next_cursor = entries.last().filter(|_| more).map(|entry| entry.id.to_string());
    Ok(SettingHistory { changes: entries.into_iter().map(Into::into).collect(), next_cursor })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_value_that_may_be_set_and_every_setting_is_described() {
        let defaults = values(&Settings::default());
        assert_eq!(defaults.len(), SETTINGS.len());
        for definition in SETTINGS {
            let value = defaults.get(definition.name).unwrap();
            assert_eq!(definition.kind.check(value), Ok(()), "{}", definition.name);
            let mut settings = Settings::default();
            settings.set(definition.name, value);
            assert_eq!(settings, Settings::default());
        }
        let described = include_str!("../../../../docs/settings.md");
        for definition in SETTINGS {
            let row = format!("| `{}` |", definition.name);
            assert!(described.contains(&row), "docs/settings.md has no row {row}");
        }
    }
}
