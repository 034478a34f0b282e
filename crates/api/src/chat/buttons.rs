//! Which button is shown where (R1, R5, R9, R10, R13): for the subjects of a page and whoever looks at it, the button with its
//! text, type and colour, or none, and the thread that is open already. One call for a whole page, a product list among them.
//!
//! Nothing is granted here: a thread is started by `starting.rs`, which asks who may.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::settings::{self, Labels, Settings};
use super::starting::{self, Parties, SubjectInput};
use super::validate::Problems;
use super::{Caller, ChatError, Credentials, object, rights};
use crate::store::{Id, Participant, ReadState, Reader, Role, SubjectType, Thread, User, Vendor};

/// The most subjects of one page.
const MAX_SUBJECTS: usize = 100;

/// The subjects of a page.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "subjects": [
        {"subject": {"type": "product", "id": "1042", "title": "Stoneware mug"}, "vendor_id": "3"},
        {"subject": {"type": "support", "id": "support"}}
    ],
    "language": "en"
}))]
pub struct ButtonsQuery {
    /// At most 100.
    #[serde(deserialize_with = "object::list")]
    #[schema(max_items = 100, example = json!([{"subject": {"type": "support", "id": "support"}}]))]
    pub subjects: Vec<ButtonSubject>,
    /// The language of the page; without it the viewer's, or the shop's.
    #[schema(example = "en", max_length = 64)]
    pub language: Option<String>,
}

/// One subject, named as for `POST /v1/threads`.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "subject": {"type": "product", "id": "1042", "title": "Stoneware mug"}, "vendor_id": "3"
}))]
pub struct ButtonSubject {
    /// What the thread would be about.
    #[serde(deserialize_with = "object::required")]
    pub subject: SubjectInput,
    /// Whose order it is, where the vendor or the staff look at it.
    pub customer_id: Option<String>,
    /// Whose product or order it is; implied by the subject `vendor`.
    #[schema(example = "3")]
    pub vendor_id: Option<String>,
    /// Which of the shop's storefronts.
    pub storefront_id: Option<String>,
}

/// Whom a button leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Contact {
    /// The vendor.
    Vendor,
    /// The customer.
    Customer,
    /// The shop's operators.
    Support,
}

/// A button.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "contact": "vendor", "label": "Contact vendor", "type": "icon_and_text", "colour": "primary"
}))]
pub struct Button {
    /// Whom it leads to.
    pub contact: Contact,
    /// Its text; where it shows an icon alone, what the icon is called.
    #[schema(example = "Contact vendor")]
    pub label: String,
    /// What it shows: `icon`, `icon_and_text` or `text`.
    #[serde(rename = "type")]
    #[schema(example = "icon_and_text")]
    pub button_type: String,
    /// `primary`, `secondary`, `tertiary`, `text` or `#rrggbb`.
    #[schema(example = "primary")]
    pub colour: String,
}

/// The thread that is open for a subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"id": 12, "unread_count": 3}))]
pub struct ButtonThread {
    /// The ticket number.
    #[schema(value_type = i64, example = 12)]
    pub id: Id,
    /// Messages of others that the viewer has not read.
    #[schema(example = 3)]
    pub unread_count: i64,
}

/// What belongs on the page for one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "subject_type": "product", "subject_id": "1042",
    "button": {"contact": "vendor", "label": "Contact vendor", "type": "icon_and_text", "colour": "primary"},
    "thread": {"id": 12, "unread_count": 3}, "subject_signature": null
}))]
pub struct ButtonView {
    /// The subject's type.
    pub subject_type: SubjectType,
    /// The subject's id.
    pub subject_id: String,
    /// The button; null: none.
    #[schema(required = true)]
    pub button: Option<Button>,
    /// The viewer's open thread about it; also where nothing can be written any more.
    #[schema(required = true)]
    pub thread: Option<ButtonThread>,
    /// What the page sends along when it starts the thread; for the shop's backend acting as the viewer, where there is a button.
    #[schema(required = true)]
    pub subject_signature: Option<String>,
}

/// The buttons of a page.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Buttons {
    /// In the order of the subjects.
    pub buttons: Vec<ButtonView>,
}

/// Who would meet, and whom the viewer would write to.
struct Meeting {
    contact: Contact,
    /// `None`: somebody who has not signed in yet.
    customer: Option<String>,
    vendor: Option<String>,
}

/// The buttons of a page for whoever looks at it; without credentials, and for the shop's backend as itself, for somebody who
/// has not signed in.
///
/// # Errors
/// What is wrong with the subjects, or with the credentials.
pub(crate) fn show(
    reader: &mut Reader<'_>,
    credentials: Option<&Credentials>,
    shop_keys: &[String],
    query: &ButtonsQuery,
) -> Result<Buttons, ChatError> {
    let caller = credentials.map(|it| Caller::resolve(reader, it)).transpose()?;
    let (viewer, by_backend) = match &caller {
        Some(Caller::User { user, by_backend }) => (Some(user.as_ref()), *by_backend),
        Some(Caller::Backend) | None => (None, false),
    };
    check(query)?;
    let settings = settings::read(reader)?;
    let meetings: Vec<Option<Meeting>> =
        query.subjects.iter().map(|subject| meeting(viewer, subject)).collect();
    let named: Vec<&str> =
        meetings.iter().flatten().filter_map(|it| it.vendor.as_deref()).collect();
    let vendors = reader.vendors(&named)?;
    let known = match viewer {
        Some(user) => Known::fetch(reader, user, query, &meetings)?,
        None => Known::default(),
    };
    let language = query.language.as_deref().or(viewer.and_then(|user| user.locale.as_deref()));
    let key = shop_keys.first().filter(|_| by_backend);
    let view = |(asked, meeting): (&ButtonSubject, &Option<Meeting>)| {
        let button = meeting
            .as_ref()
            .filter(|it| is_offered(it, asked.subject.subject_type, &settings, &vendors))
            .map(|it| button(it.contact, &settings, language));
        let signed = meeting.as_ref().filter(|_| button.is_some()).zip(key);
        ButtonView {
            subject_type: asked.subject.subject_type,
            subject_id: asked.subject.id.clone(),
            thread: meeting.as_ref().and_then(|it| known.thread(viewer?, asked, it)),
            subject_signature: signed.and_then(|(meeting, key)| {
                let (customer, vendor) = (meeting.customer.as_deref()?, meeting.vendor.as_deref());
                let storefront = asked.storefront_id.as_deref();
                starting::subject_signature(key, &asked.subject, customer, vendor, storefront)
            }),
            button,
        }
    };
    Ok(Buttons { buttons: query.subjects.iter().zip(&meetings).map(view).collect() })
}

fn check(query: &ButtonsQuery) -> Result<(), ChatError> {
    let mut problems = Problems::default();
    if query.subjects.len() > MAX_SUBJECTS {
        problems.add("/subjects", format!("must not be more than {MAX_SUBJECTS}"));
    }
    if query.language.as_ref().is_some_and(|it| it.chars().count() > 64) {
        problems.add("/language", "must be a language tag, e.g. en or pt-br");
    }
    for (number, asked) in query.subjects.iter().take(MAX_SUBJECTS).enumerate() {
        let at = format!("/subjects/{number}");
        let ids = [&asked.customer_id, &asked.vendor_id, &asked.storefront_id];
        starting::check_subject(&mut problems, &at, &asked.subject, ids);
    }
    problems.finish()
}

/// Whom the viewer would meet in a thread about the subject; `None` where there is nobody to be asked.
fn meeting(viewer: Option<&User>, asked: &ButtonSubject) -> Option<Meeting> {
    let subject = &asked.subject;
    let vendor = match subject.subject_type {
        SubjectType::Vendor => Some(subject.id.clone()),
        SubjectType::Product | SubjectType::Order => asked.vendor_id.clone(),
        SubjectType::Support => None,
        // Who writes to whom in person is no matter of a shop's page.
        SubjectType::User => return None,
    };
    let is_support = subject.subject_type == SubjectType::Support;
    let asks = |customer: Option<String>| match (is_support, &vendor) {
        (true, _) => Some(Meeting { contact: Contact::Support, customer, vendor: None }),
        (false, Some(_)) => {
            Some(Meeting { contact: Contact::Vendor, customer, vendor: vendor.clone() })
        }
        (false, None) => None,
    };
    let answers = |vendor: Option<String>| {
        let customer = asked.customer_id.clone()?;
        Some(Meeting { contact: Contact::Customer, customer: Some(customer), vendor })
    };
    // A visitor has an account for support alone.
    let Some(user) = viewer.filter(|it| it.role != Role::Visitor || is_support) else {
        // An order has an owner, who has to sign in first.
        return if subject.subject_type == SubjectType::Order { None } else { asks(None) };
    };
    let is_other = |id: &String| *id != user.id;
    match user.role {
        Role::Customer | Role::Visitor if asked.customer_id.as_ref().is_some_and(is_other) => None,
        Role::Customer | Role::Visitor => asks(Some(user.id.clone())),
        Role::VendorAdmin => {
            let of_other = asked.customer_id.as_ref().is_some_and(is_other);
            let is_own = vendor.is_some() && vendor == user.vendor_id;
            match (is_own || (vendor.is_none() && !is_support), of_other) {
                (true, true) => answers(user.vendor_id.clone()),
                (false, false) => asks(Some(user.id.clone())),
                _ => None,
            }
        }
        Role::Admin if rights::manages_messages(user) && (is_support || vendor.is_some()) => {
            answers(vendor)
        }
        Role::Operator if is_support => answers(None),
        // Without the right an administrator sees nothing (R8); operators answer visitors.
        Role::Admin | Role::Operator => None,
    }
}

/// Whether the shop shows a button there, and the vendor can be written to (R9, R10).
fn is_offered(
    meeting: &Meeting,
    subject_type: SubjectType,
    settings: &Settings,
    vendors: &[Vendor],
) -> bool {
    let is_shown = match (meeting.contact, subject_type) {
        // The pages of the vendors and of the staff are not the storefront's.
        (Contact::Customer, _) => true,
        (_, SubjectType::Product) => settings.button_on_product_page,
        (_, SubjectType::Vendor) => settings.button_on_vendor_page,
        (_, SubjectType::Order) => settings.button_on_order_page,
        (_, SubjectType::Support) => settings.button_for_support,
        (_, SubjectType::User) => false,
    };
    let may_message = |id: &String| vendors.iter().any(|it| it.id == *id && it.may_message());
    is_shown && meeting.vendor.as_ref().is_none_or(may_message)
}

fn button(contact: Contact, settings: &Settings, language: Option<&str>) -> Button {
    let labels = match contact {
        Contact::Vendor => &settings.contact_vendor_label,
        Contact::Customer => &settings.contact_customer_label,
        Contact::Support => &settings.contact_support_label,
    };
    Button {
        contact,
        label: label(labels, language, &settings.language),
        button_type: settings.button_type.clone(),
        colour: settings.button_colour.clone(),
    }
}

/// The text in the language asked for, or a wider one; else in the shop's, else in English, else in any.
fn label(labels: &Labels, language: Option<&str>, of_shop: &str) -> String {
    let tags = language.into_iter().chain([of_shop, "en"]).flat_map(|tag| {
        let tag = tag.to_lowercase().replace('_', "-");
        let base = tag.split('-').next().unwrap_or_default().to_owned();
        [tag, base]
    });
    let found = tags.filter_map(|tag| labels.get(&tag)).next();
    found.or_else(|| labels.values().next()).cloned().unwrap_or_default()
}

/// The open threads of a page's subjects.
#[derive(Default)]
struct Known {
    threads: Vec<Thread>,
    participants: Vec<Participant>,
    states: Vec<ReadState>,
}

impl Known {
    fn fetch(
        reader: &mut Reader<'_>,
        viewer: &User,
        query: &ButtonsQuery,
        meetings: &[Option<Meeting>],
    ) -> Result<Self, ChatError> {
        let pairs = query.subjects.iter().zip(meetings);
        let keys: Vec<String> =
            pairs.filter_map(|(asked, meeting)| open_key(asked, meeting.as_ref()?)).collect();
        let threads = reader.threads_with_keys(&keys)?;
        let ids: Vec<Id> = threads.iter().map(|thread| thread.id).collect();
        let participants = reader.participants(&ids)?;
        let states = reader.read_states(&viewer.id, &ids)?;
        Ok(Self { threads, participants, states })
    }

    /// The open thread about a subject, if the viewer may see it.
    fn thread(
        &self,
        viewer: &User,
        asked: &ButtonSubject,
        meeting: &Meeting,
    ) -> Option<ButtonThread> {
        let key = open_key(asked, meeting)?;
        let thread = self.threads.iter().find(|it| it.open_key.as_ref() == Some(&key))?;
        rights::seat(viewer, thread, &self.participants)?;
        let state = self.states.iter().find(|it| it.thread_id == thread.id);
        Some(ButtonThread { id: thread.id, unread_count: state.map_or(0, |it| it.unread_count) })
    }
}

fn open_key(asked: &ButtonSubject, meeting: &Meeting) -> Option<String> {
    let parties =
        Parties { customer: meeting.customer.clone()?, vendor: meeting.vendor.clone(), peer: None };
    Some(starting::open_key(&asked.subject, asked.storefront_id.as_deref(), &parties))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_in_the_nearest_language_there_is() {
        let of = |languages: &[&str]| -> Labels {
            languages.iter().map(|it| ((*it).to_owned(), format!("in {it}"))).collect()
        };
        let both = of(&["en", "ru", "pt-br"]);
        for (asked, of_shop, expected) in [
            (Some("ru"), "en", "in ru"),
            (Some("ru-RU"), "en", "in ru"),
            (Some("pt_BR"), "en", "in pt-br"),
            (Some("pt-PT"), "ru", "in ru"),
            (None, "ru", "in ru"),
            (Some("de"), "fr", "in en"),
            (Some(""), "en", "in en"),
        ] {
            assert_eq!(label(&both, asked, of_shop), expected, "{asked:?} {of_shop}");
        }
        assert_eq!(label(&of(&["fi"]), Some("de"), "sv"), "in fi");
    }
}
