//! The people and the product of the demo page.

use crate::chat::users::{self, UserInput};
use crate::chat::vendors::{self, VendorInput};
use crate::chat::{ChatError, Context};
use crate::store::{Role, Store, VendorStatus};

/// Who buys.
pub const CUSTOMER_ID: &str = "demo-customer";
/// Who sells.
pub const VENDOR_ID: &str = "demo-vendor";
/// Who answers for the one who sells.
pub const VENDOR_ADMIN_ID: &str = "demo-vendor-admin";
/// What is sold.
pub const PRODUCT_ID: &str = "demo-product";
/// What it is called.
pub const PRODUCT_TITLE: &str = "Tideline stoneware teapot, 0.9 l";

/// Puts the demo's people into the database, or makes them again what they were.
///
/// # Errors
/// The store's.
pub async fn seed(store: &Store, context: Context) -> Result<(), ChatError> {
    let person = |role, name: &str, vendor: Option<&str>| UserInput {
        role,
        name: name.into(),
        email: None,
        avatar_url: None,
        phone: None,
        locale: Some("en".into()),
        vendor_id: vendor.map(str::to_owned),
        root: false,
        manage_messages: false,
        profiles: Vec::new(),
    };
    let vendor = VendorInput {
        name: "Tideline Pottery".into(),
        status: VendorStatus::Active,
        plan_includes_messaging: true,
        avatar_url: None,
    };
    let customer = person(Role::Customer, "Anna", None);
    let vendor_admin = person(Role::VendorAdmin, "Mikkel", Some(VENDOR_ID));
    store
        .write(move |writer| {
            vendors::save(writer, &context, VENDOR_ID, &vendor)?;
            users::save(writer, &context, CUSTOMER_ID, &customer)?;
            users::save(writer, &context, VENDOR_ADMIN_ID, &vendor_admin)?;
            Ok(())
        })
        .await
}
