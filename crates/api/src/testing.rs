//! Shared by the tests of rules over a store: who calls, what they say, and a small shop to do it in.

use crate::chat::messages::{self, MessageDraft};
use crate::chat::screening::WordList;
use crate::chat::starting::{self, SubjectInput, ThreadStart};
use crate::chat::users::{self, UserInput};
use crate::chat::vendors::{self, VendorInput};
use crate::chat::{ChatError, Context, Credentials, api_keys};
use crate::store::testing::Fresh;
use crate::store::{
    ApiKey, Id, NewAttachment, Role, SubjectType, Thread, ThreadStatus, VendorStatus, Writer,
};

const KEY: &str = "key";

pub(crate) fn context() -> Context {
    Context { now: chaffer_shared::time::now(), request_id: "test".into() }
}

/// The shop's backend, speaking for a user.
pub(crate) fn acting(user: &str) -> Credentials {
    Credentials::ApiKey {
        hash: api_keys::hash(KEY),
        trusted_address: true,
        acting_user: Some(user.to_owned()),
    }
}

/// A user's browser.
pub(crate) fn browser(fresh: &mut Fresh, user: &str) -> Credentials {
    let user = fresh.read(|reader| reader.user(user)).unwrap().unwrap();
    Credentials::Token(Box::new(users::claims(&user, "jti", context().now, 60)))
}

pub(crate) fn about(subject_type: SubjectType, id: &str) -> ThreadStart {
    ThreadStart {
        subject: SubjectInput {
            subject_type,
            id: id.into(),
            title: None,
            url: None,
            image_url: None,
        },
        customer_id: None,
        vendor_id: None,
        storefront_id: None,
        message: None,
        subject_signature: None,
    }
}

/// A question about a vendor's product.
pub(crate) fn about_product(product: &str, vendor: &str) -> ThreadStart {
    ThreadStart { vendor_id: Some(vendor.into()), ..about(SubjectType::Product, product) }
}

pub(crate) fn draft(text: &str) -> MessageDraft {
    MessageDraft {
        text: text.into(),
        attachment_ids: vec![],
        reply_to: None,
        client_id: Some(text.chars().take(60).collect()),
    }
}

/// A person; an administrator is a root one.
pub(crate) fn person(role: Role, vendor: Option<&str>) -> UserInput {
    UserInput {
        role,
        name: "Somebody".into(),
        email: None,
        avatar_url: None,
        phone: None,
        locale: None,
        vendor_id: vendor.map(str::to_owned),
        root: role == Role::Admin,
        manage_messages: false,
        profiles: vec![],
    }
}

pub(crate) fn vendor(name: &str) -> VendorInput {
    VendorInput {
        name: name.into(),
        status: VendorStatus::Active,
        plan_includes_messaging: true,
        avatar_url: None,
    }
}

/// The key that [`acting`] shows.
pub(crate) fn insert_key(writer: &mut Writer<'_>) -> Result<(), ChatError> {
    writer.insert_api_key(&ApiKey {
        hash: api_keys::hash(KEY),
        name: "test".into(),
        created_at: context().timestamp(),
        revoked_at: None,
    })?;
    Ok(())
}

/// The customers `c` and `d`, the administrator `staff`, and the vendor `v` with the admins `a0`, `a1` and so on.
pub(crate) fn shop(fresh: &mut Fresh, admins: usize) {
    fresh
        .write(|writer| {
            insert_key(writer)?;
            vendors::save(writer, &context(), "v", &vendor("Kiln & Clay"))?;
            for customer in ["c", "d"] {
                users::save(writer, &context(), customer, &person(Role::Customer, None))?;
            }
            users::save(writer, &context(), "staff", &person(Role::Admin, None))?;
            for admin in 0..admins {
                let input = person(Role::VendorAdmin, Some("v"));
                users::save(writer, &context(), &format!("a{admin}"), &input)?;
            }
            Ok::<_, ChatError>(())
        })
        .unwrap();
}

pub(crate) fn start(
    fresh: &mut Fresh,
    caller: &Credentials,
    input: &ThreadStart,
) -> Result<Id, ChatError> {
    fresh
        .write(|writer| {
            starting::start(writer, caller, &context(), &WordList::empty(), None, &[], input)
        })
        .map(|(thread, _)| thread.id)
}

pub(crate) fn say(fresh: &mut Fresh, who: &str, thread: Id, text: &str) {
    fresh
        .write(|writer| {
            messages::post(
                writer,
                &acting(who),
                &context(),
                &WordList::empty(),
                None,
                thread,
                &draft(text),
            )
        })
        .unwrap();
}

/// A file that somebody uploads.
pub(crate) fn file_of(owner: &str, key: &str) -> NewAttachment {
    NewAttachment {
        owner_id: owner.into(),
        name: "mug.jpg".into(),
        size: 3,
        mime_type: "image/jpeg".into(),
        width: None,
        height: None,
        file: key.into(),
        thumbnail: None,
        secret: "secret".into(),
        created_at: context().timestamp(),
    }
}

/// A thread that nobody takes part in; the higher its number, the more recent.
pub(crate) fn plain_thread(number: usize, subject_type: SubjectType) -> Thread {
    let number = Id::try_from(number).unwrap() + 1;
    Thread {
        id: number,
        subject_type,
        subject_id: "old".into(),
        subject_title: Some("Something that was sold long ago".into()),
        subject_url: None,
        subject_image_url: None,
        storefront_id: None,
        status: ThreadStatus::Open,
        open_key: None,
        flagged: false,
        last_message_id: None,
        activity: number,
        created_at: context().timestamp(),
        updated_at: context().timestamp(),
    }
}
