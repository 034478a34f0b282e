//! Settings that are changed while the daemon runs. Each change is noted in the audit log, with what it was before.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::audit::{self, action};
use super::{Caller, ChatError, Context, Credentials, rights};
use crate::store::{Reader, StoreError, Writer};

const KEEP_ORIGINALS: &str = "keep_originals";

/// The settings as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"keep_originals": false}))]
pub struct Settings {
    /// Whether what was masked (R11) is kept for administrators, from the next message on; false unless changed.
    pub keep_originals: bool,
}

/// Those to be changed.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"keep_originals": true}))]
pub struct SettingsPatch {
    /// Whether what was masked is kept for administrators.
    #[serde(default, deserialize_with = "super::object::not_null")]
    #[schema(nullable = false)]
    pub keep_originals: Option<bool>,
}

pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Settings, StoreError> {
    let keep_originals = reader.setting(KEEP_ORIGINALS)?.is_some_and(|value| value == "true");
    Ok(Settings { keep_originals })
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

/// Changes settings, for the shop's backend and those who manage messages.
///
/// # Errors
/// Why the caller may not.
pub(crate) fn patch(
    writer: &mut Writer<'_>,
    credentials: &Credentials,
    context: &Context,
    patch: &SettingsPatch,
) -> Result<Settings, ChatError> {
    let caller = Caller::resolve(writer, credentials)?;
    rights::require_moderator(&caller)?;
    let before = read(writer)?;
    if let Some(keep) = patch.keep_originals.filter(|keep| *keep != before.keep_originals) {
        let value = serde_json::json!(keep);
        writer.save_setting(KEEP_ORIGINALS, &value, caller.user_id(), context.timestamp())?;
        let data = serde_json::json!({"from": before.keep_originals, "to": keep});
        let target = format!("setting:{KEEP_ORIGINALS}");
        audit::note(writer, &caller, context, action::SETTING_CHANGED, target, Some(data))?;
    }
    Ok(read(writer)?)
}
