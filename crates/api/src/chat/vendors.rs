//! Vendors, mirrored from the shop.

use serde::Deserialize;
use utoipa::ToSchema;

use super::audit::{self, action};
use super::validate::Problems;
use super::views::VendorView;
use super::{Caller, ChatError, Context, Credentials, Refusal};
use crate::store::{Reader, Vendor, VendorFields, VendorStatus, Writer};

/// What the shop says of a vendor; replaces what it said before.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "Kiln & Clay", "status": "active", "plan_includes_messaging": true}))]
pub struct VendorInput {
    /// Its name.
    #[schema(example = "Kiln & Clay")]
    pub name: String,
    /// Whether it may use messaging (R9); `active` when absent.
    #[serde(default = "active")]
    #[schema(default = "active")]
    pub status: VendorStatus,
    /// Whether its plan has messaging (R10); true when absent.
    #[serde(default = "included")]
    #[schema(default = true)]
    pub plan_includes_messaging: bool,
    /// Its logo.
    pub avatar_url: Option<String>,
}

fn active() -> VendorStatus {
    VendorStatus::Active
}

fn included() -> bool {
    true
}

/// Mirrors a vendor; tells whether it is a new one.
///
/// # Errors
/// What is wrong with the fields, or why the caller may not.
pub(crate) fn put(
    writer: &mut Writer<'_>,
    credentials: &Credentials,
    context: &Context,
    id: &str,
    input: &VendorInput,
) -> Result<(VendorView, bool), ChatError> {
    let caller = Caller::resolve(writer, credentials)?;
    caller.require_backend_or_root()?;
    let mut problems = Problems::default();
    problems.path_id("id", id);
    problems.finish()?;
    let messaging = |vendor: &Vendor| {
        serde_json::json!({
            "status": vendor.status,
            "plan_includes_messaging": vendor.plan_includes_messaging,
        })
    };
    let before = writer.vendor(id)?;
    let done = save(writer, context, id, input)?;
    let (from, after) = (before.as_ref().map(messaging), writer.vendor(id)?);
    let to = after.as_ref().map(messaging);
    // A new one is noted only when it may not do what vendors do.
    if from != to && (from.is_some() || !after.is_some_and(|vendor| vendor.may_message())) {
        let (target, data) = (format!("vendor:{id}"), serde_json::json!({"from": from, "to": to}));
        audit::note(writer, &caller, context, action::VENDOR_CHANGED, target, Some(data))?;
    }
    Ok(done)
}

/// Mirrors a vendor on the shop's own word.
pub(crate) fn save(
    writer: &mut Writer<'_>,
    context: &Context,
    id: &str,
    input: &VendorInput,
) -> Result<(VendorView, bool), ChatError> {
    let mut problems = Problems::default();
    problems.line("/name", &input.name);
    problems.url("/avatar_url", input.avatar_url.as_deref());
    problems.finish()?;
    let fields = VendorFields {
        name: input.name.clone(),
        status: input.status,
        plan_includes_messaging: input.plan_includes_messaging,
        avatar_url: input.avatar_url.clone(),
    };
    let created = writer.vendor(id)?.is_none();
    if created {
        writer.insert_vendor(id, &fields, context.timestamp())?;
    } else {
        writer.update_vendor(id, &fields, context.timestamp())?;
    }
    let vendor = writer.vendor(id)?.ok_or(Refusal::VendorNotFound)?;
    Ok((vendor.into(), created))
}

/// One vendor, for the shop's backend.
///
/// # Errors
/// Why the caller may not.
pub(crate) fn get(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
    id: &str,
) -> Result<VendorView, ChatError> {
    Caller::resolve(reader, credentials)?.require_backend_or_root()?;
    Ok(reader.vendor(id)?.ok_or(Refusal::VendorNotFound)?.into())
}
