//! What a setting is: its kind of value, the check of a new value, and both as the JSON Schema that pages and the OpenAPI document show.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::schema::{AdditionalProperties, Object, Schema, SchemaType, Type};
use utoipa::openapi::{ObjectBuilder, RefOr};

/// The longest text of a button, in characters.
const MAX_LABEL_CHARS: usize = 60;
/// The most languages that one text may be given in.
const MAX_LANGUAGES: usize = 100;
/// Letters and digits of a language tag, in parts joined by a dash.
const LANGUAGE: &str = "^[a-z]{2,3}(-[a-z0-9]{2,8})*$";
/// A colour of six digits.
const HEX_COLOUR: &str = "#[0-9A-Fa-f]{6}";

/// Who may see a setting's value without asking as somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Everybody: pages need it.
    Public,
    /// The shop's backend and those who manage messages.
    Staff,
}

/// What values a setting takes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// On or off.
    Switch,
    /// A whole number within bounds.
    Number { min: i64, max: i64 },
    /// One of these.
    Choice(&'static [&'static str]),
    /// One of these names, or `#rrggbb`.
    Colour(&'static [&'static str]),
    /// A text of one line with at most so many characters; may be empty.
    Line(usize),
    /// A language tag.
    Language,
    /// A short text for each language.
    Labels,
}

/// One setting.
#[derive(Debug)]
pub(crate) struct Definition {
    /// Its name in the API.
    pub(crate) name: &'static str,
    pub(crate) visibility: Visibility,
    pub(crate) kind: Kind,
    /// What it does.
    pub(crate) help: &'static str,
}

impl Definition {
    /// The schema of its values.
    pub(crate) fn schema(&self) -> Object {
        let mut schema = self.kind.schema();
        schema.description = Some(self.help.trim().to_owned());
        schema
    }
}

impl Kind {
    /// Says what is wrong with a value.
    pub(crate) fn check(self, value: &Value) -> Result<(), String> {
        let text = value.as_str();
        let ok = match self {
            Self::Switch => value.is_boolean(),
            Self::Number { min, max } => value.as_i64().is_some_and(|it| (min..=max).contains(&it)),
            Self::Choice(names) => text.is_some_and(|it| names.contains(&it)),
            Self::Colour(names) => text.is_some_and(|it| names.contains(&it) || is_hex_colour(it)),
            Self::Line(max) => text.is_some_and(|it| is_line(it, max)),
            Self::Language => text.is_some_and(is_language),
            Self::Labels => value.as_object().is_some_and(|labels| {
                let is_label = |text: &Value| {
                    text.as_str()
                        .is_some_and(|it| !it.trim().is_empty() && is_line(it, MAX_LABEL_CHARS))
                };
                (1..=MAX_LANGUAGES).contains(&labels.len())
                    && labels.iter().all(|(language, text)| is_language(language) && is_label(text))
            }),
        };
        if ok { Ok(()) } else { Err(self.expectation()) }
    }

    fn expectation(self) -> String {
        let one_of = |names: &[&str]| names.join(", ");
        match self {
            Self::Switch => "must be true or false".to_owned(),
            Self::Number { min, max } => format!("must be a whole number from {min} to {max}"),
            Self::Choice(names) => format!("must be one of {}", one_of(names)),
            Self::Colour([]) => "must be a colour as #rrggbb".to_owned(),
            Self::Colour(names) => format!("must be one of {}, or #rrggbb", one_of(names)),
            Self::Line(max) => {
                format!("must be a text of one line, not longer than {max} characters")
            }
            Self::Language => {
                "must be a language tag in small letters, e.g. en or pt-br".to_owned()
            }
            Self::Labels => format!(
                "must be an object of language tags in small letters, each with a text of 1 to {MAX_LABEL_CHARS} characters, e.g. {{\"en\": \"Contact vendor\"}}"
            ),
        }
    }

    fn schema(self) -> Object {
        let of = |kind| ObjectBuilder::new().schema_type(SchemaType::Type(kind));
        match self {
            Self::Switch => of(Type::Boolean),
            Self::Number { min, max } => of(Type::Integer).minimum(Some(min)).maximum(Some(max)),
            Self::Choice(names) => of(Type::String).enum_values(Some(names.iter().copied())),
            Self::Colour(names) => {
                let names: String = names.iter().map(|name| format!("{name}|")).collect();
                of(Type::String).pattern(Some(format!("^({names}{HEX_COLOUR})$")))
            }
            Self::Line(max) => of(Type::String).max_length(Some(max)),
            Self::Language => of(Type::String).pattern(Some(LANGUAGE)).max_length(Some(32)),
            Self::Labels => {
                let label = of(Type::String).min_length(Some(1)).max_length(Some(MAX_LABEL_CHARS));
                let names = of(Type::String).pattern(Some(LANGUAGE)).max_length(Some(32));
                of(Type::Object)
                    .property_names(Some(Schema::from(names)))
                    .additional_properties(Some(AdditionalProperties::RefOr(RefOr::T(
                        label.into(),
                    ))))
                    .min_properties(Some(1))
                    .max_properties(Some(MAX_LANGUAGES))
            }
        }
        .build()
    }
}

fn is_hex_colour(text: &str) -> bool {
    text.strip_prefix('#')
        .is_some_and(|it| it.len() == 6 && it.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn is_line(text: &str, max: usize) -> bool {
    text.chars().count() <= max && !text.chars().any(char::is_control)
}

fn is_language(text: &str) -> bool {
    let mut parts = text.split('-');
    let is_part = |part: &str| {
        (2..=8).contains(&part.len())
            && part.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit())
    };
    text.len() <= 32
        && parts.next().is_some_and(|it| {
            (2..=3).contains(&it.len()) && it.bytes().all(|byte| byte.is_ascii_lowercase())
        })
        && parts.all(is_part)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_kind_takes_what_its_schema_takes() {
        let long = "x".repeat(61);
        let values = [
            json!(true),
            json!("true"),
            json!(null),
            json!(0),
            json!(1),
            json!(5),
            json!(6),
            json!(2.5),
            json!("#aB12f0"),
            json!("#ab12f"),
            json!("#ab12fg"),
            json!("primary"),
            json!("Primary"),
            json!(""),
            json!("en"),
            json!("pt-br"),
            json!("EN"),
            json!("english"),
            json!("e1"),
            json!({}),
            json!([]),
            json!({"en": "Ask"}),
            json!({"en": ""}),
            json!({"en": long}),
            json!({"EN": "Ask"}),
            json!({"en": 1}),
        ];
        let kinds = [
            Kind::Switch,
            Kind::Number { min: 1, max: 5 },
            Kind::Choice(&["primary"]),
            Kind::Colour(&["primary"]),
            Kind::Colour(&[]),
            Kind::Line(10),
            Kind::Language,
            Kind::Labels,
        ];
        for kind in kinds {
            let schema = serde_json::to_value(kind.schema()).unwrap();
            let validator = jsonschema::draft202012::new(&schema).unwrap();
            for value in &values {
                assert_eq!(
                    kind.check(value).is_ok(),
                    validator.is_valid(value),
                    "{kind:?} {value}"
                );
            }
        }
        assert!(Kind::Line(10).check(&json!("two\nlines")).is_err());
        assert!(Kind::Labels.check(&json!({"en": " "})).is_err());
    }
}
