//! Visitors: people without an account who ask the shop's operators. Their ids are Chaffer's own, in a namespace that no id of the
//! shop's is in. What a visitor says of itself travels in its token, and the row is made with the first thread: people who
//! only look, and programs that pretend to, leave nothing behind.

use chaffer_shared::token::{Claims, MAX_TTL_SECONDS, Profile};
use chaffer_shared::topic::VISITOR_PREFIX;
use serde::Deserialize;
use utoipa::ToSchema;

use super::validate::Problems;
use super::{ChatError, Context, Credentials, Refusal, settings, users};
use crate::store::{MailChoice, Reader, Role, User, UserFields, Writer};

/// For how many seconds after its end a token still says who comes back: a month.
pub(crate) const RETURN_SECONDS: i64 = 30 * 24 * 3600;
/// The name of those who gave none.
const NAMELESS: &str = "Visitor";

/// What a visitor says of itself; what is absent stays as it was said before.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(example = json!({
    "name": "Anna", "email": "anna@example.com", "locale": "en",
    "page_url": "https://shop.example/p/1042"
}))]
pub struct VisitorInput {
    /// The name that operators see.
    #[schema(example = "Anna", max_length = 255)]
    pub name: Option<String>,
    /// Where answers go by mail that the visitor has not read; without it no mail is sent.
    pub email: Option<String>,
    /// The language of mails, e.g. `en` or `ru-RU`.
    #[schema(example = "en")]
    pub locale: Option<String>,
    /// The page that the visitor looks at (http or https): operators see where a thread was begun.
    #[schema(example = "https://shop.example/p/1042")]
    pub page_url: Option<String>,
}

impl VisitorInput {
    fn check(&self) -> Result<(), ChatError> {
        let mut problems = Problems::default();
        if let Some(name) = &self.name {
            problems.line("/name", name);
        }
        problems.email("/email", self.email.as_deref());
        problems.optional_line("/locale", self.locale.as_deref());
        problems.url("/page_url", self.page_url.as_deref());
        problems.finish()
    }

    /// Puts it over what was said before.
    fn over(&self, before: Profile) -> Profile {
        Profile {
            name: self.name.clone().or(before.name),
            email: self.email.clone().or(before.email),
            locale: self.locale.clone().or(before.locale),
            page_url: self.page_url.clone().or(before.page_url),
        }
    }
}

/// What the token of a new visitor says; `unique` is random, and the same twice makes two people one.
///
/// # Errors
/// What is wrong with the fields, or that the shop takes no visitors.
pub(crate) fn begin(
    reader: &mut Reader<'_>,
    context: &Context,
    unique: &str,
    jti: &str,
    input: &VisitorInput,
) -> Result<Claims, ChatError> {
    require_visitors(reader)?;
    input.check()?;
    let id = format!("{VISITOR_PREFIX}{unique}");
    let profile = input.over(Profile::default());
    Ok(claims(&person(&id, &profile, context.timestamp()), profile, context, jti))
}

/// What the next token of a visitor who comes back says: the same person, with what it says of itself now.
///
/// # Errors
/// What is wrong with the fields, or why the visitor may not come back.
pub(crate) fn renew(
    writer: &mut Writer<'_>,
    before: &Claims,
    context: &Context,
    jti: &str,
    input: &VisitorInput,
) -> Result<Claims, ChatError> {
    require_visitors(writer)?;
    let known = writer.user(&before.sub)?;
    let revoked = known.as_ref().and_then(|user| user.revoked_before);
    if revoked.is_some_and(|at| before.is_revoked_by(at.and_utc())) {
        return Err(Refusal::RevokedToken.into());
    }
    input.check()?;
    let profile = input.over(before.profile.as_deref().cloned().unwrap_or_default());
    let user = match known {
        None => person(&before.sub, &profile, context.timestamp()),
        Some(user) => {
            let fields = UserFields {
                name: input.name.clone().unwrap_or_else(|| user.name.clone()),
                email: input.email.clone().or_else(|| user.email.clone()),
                locale: input.locale.clone().or_else(|| user.locale.clone()),
                ..fields(&user)
            };
            if fields != self::fields(&user) {
                writer.update_user(&user.id, &fields, context.timestamp())?;
            }
            user
        }
    };
    Ok(claims(&user, profile, context, jti))
}

fn require_visitors(reader: &mut Reader<'_>) -> Result<(), ChatError> {
    if settings::read(reader)?.visitors_may_write {
        Ok(())
    } else {
        Err(Refusal::VisitorsOff.into())
    }
}

fn claims(user: &User, profile: Profile, context: &Context, jti: &str) -> Claims {
    let profile = (profile != Profile::default()).then(|| Box::new(profile));
    Claims { profile, ..users::claims(user, jti, context.now, MAX_TTL_SECONDS) }
}

/// A visitor of whom nothing is stored: what the token says.
pub(crate) fn newcomer(claims: &Claims) -> User {
    let profile = claims.profile.as_deref().cloned().unwrap_or_default();
    let came = claims.expires_at().naive_utc();
    person(&claims.sub, &profile, came)
}

fn person(id: &str, profile: &Profile, now: crate::store::Timestamp) -> User {
    User {
        id: id.to_owned(),
        role: Role::Visitor,
        name: profile.name.clone().unwrap_or_else(|| NAMELESS.to_owned()),
        email: profile.email.clone(),
        avatar_url: None,
        phone: None,
        locale: profile.locale.clone(),
        vendor_id: None,
        root: false,
        manage_messages: false,
        profiles: "[]".to_owned(),
        unread_total: 0,
        mail_choice: MailChoice::All,
        revoked_before: None,
        erased_at: None,
        created_at: now,
        updated_at: now,
    }
}

fn fields(user: &User) -> UserFields {
    UserFields {
        role: user.role,
        name: user.name.clone(),
        email: user.email.clone(),
        avatar_url: user.avatar_url.clone(),
        phone: user.phone.clone(),
        locale: user.locale.clone(),
        vendor_id: user.vendor_id.clone(),
        root: user.root,
        manage_messages: user.manage_messages,
        profiles: user.profiles.clone(),
    }
}

/// Stores a visitor who begins a thread, unless it is stored already.
///
/// # Errors
/// That the shop takes no visitors.
pub(crate) fn keep(
    writer: &mut Writer<'_>,
    context: &Context,
    visitor: &User,
) -> Result<(), ChatError> {
    require_visitors(writer)?;
    if writer.user(&visitor.id)?.is_none() {
        writer.insert_user(&visitor.id, &fields(visitor), context.timestamp())?;
    }
    Ok(())
}

/// The page that a visitor looks at, as its token says.
pub(crate) fn page(credentials: &Credentials) -> Option<&str> {
    match credentials {
        Credentials::Token(claims) => claims.profile.as_ref()?.page_url.as_deref(),
        Credentials::ApiKey { .. } => None,
    }
}
