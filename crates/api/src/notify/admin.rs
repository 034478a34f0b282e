//! What those who look after the shop see and change: the queue and what became of each mail, and the templates (R12).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::templates::{self, Parts};
use crate::chat::audit::{self, action};
use crate::chat::{Caller, ChatError, Context, Credentials, Refusal, messages, rights};
use crate::store::{
    Audience, Id, Mail, MailFilter, MailKind, MailState, MailTemplate, Reader, Writer,
};

/// What became of a mail. It names the person, never the address or the text.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({
    "id": 5, "user_id": "7", "thread_id": 12, "kind": "new_message", "state": "failed", "attempts": 16,
    "reason": "permanent error (550): no such user", "due_at": "2026-03-01T09:32:00.000Z",
    "created_at": "2026-03-01T09:30:00.000Z", "ended_at": "2026-03-01T09:32:01.000Z"
}))]
pub struct MailView {
    /// Its number.
    #[schema(value_type = i64, example = 5)]
    pub id: Id,
    /// To whom.
    #[schema(example = "7")]
    pub user_id: String,
    /// About which thread; null for a digest.
    #[schema(value_type = Option<i64>, required = true)]
    pub thread_id: Option<Id>,
    /// What it is about.
    pub kind: MailKind,
    /// What became of it.
    pub state: MailState,
    /// How often it was tried.
    pub attempts: i32,
    /// Why it was skipped, or what went wrong last.
    #[schema(required = true)]
    pub reason: Option<String>,
    /// When it is sent, or tried again.
    #[serde(with = "chaffer_shared::time")]
    pub due_at: DateTime<Utc>,
    /// When it was put into the queue.
    #[serde(with = "chaffer_shared::time")]
    pub created_at: DateTime<Utc>,
    /// When it was sent, skipped or given up.
    #[serde(with = "chaffer_shared::time::option")]
    #[schema(required = true)]
    pub ended_at: Option<DateTime<Utc>>,
}

/// A page of mails.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct MailPage {
    /// The newest first.
    pub mails: Vec<MailView>,
    /// Where the next page begins; null at the end.
    #[schema(required = true, example = "5")]
    pub next_cursor: Option<String>,
}

impl From<Mail> for MailView {
    fn from(mail: Mail) -> Self {
        Self {
            id: mail.id,
            user_id: mail.user_id,
            thread_id: mail.thread_id,
            kind: mail.kind,
            state: mail.state,
            attempts: mail.attempts,
            reason: mail.reason,
            due_at: mail.due_at.and_utc(),
            created_at: mail.created_at.and_utc(),
            ended_at: mail.ended_at.map(|at| at.and_utc()),
        }
    }
}

/// The templates of a mail's three parts.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "subject": "{{ author.name }}: {{ thread.subject }}",
    "text": "{% for message in messages %}{{ message.author }}: {{ message.text }}\n{% endfor %}",
    "html": "{% for message in messages %}<p>{{ message.text|linebreaks }}</p>{% endfor %}"
}))]
pub struct MailTemplateInput {
    /// Of the subject: one line, without control characters.
    #[schema(example = "{{ author.name }}: {{ thread.subject }}")]
    pub subject: String,
    /// Of the plain text.
    #[schema(example = "{{ messages[0].text }}")]
    pub text: String,
    /// Of the HTML, in which every value is escaped.
    #[schema(example = "<p>{{ messages[0].text|linebreaks }}</p>")]
    pub html: String,
}

/// What a mail says.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({
    "audience": "customer", "kind": "new_message", "language": "en", "subject": "{{ thread.subject }}",
    "text": "{{ messages[0].text }}", "html": "<p>{{ messages[0].text|linebreaks }}</p>",
    "is_default": false, "updated_at": "2026-03-01T09:30:00.000Z"
}))]
pub struct MailTemplateView {
    /// Whom it speaks to.
    pub audience: Audience,
    /// What it is about.
    pub kind: MailKind,
    /// In which language.
    #[schema(example = "en")]
    pub language: String,
    /// Of the subject.
    pub subject: String,
    /// Of the plain text.
    pub text: String,
    /// Of the HTML.
    pub html: String,
    /// Whether it is the one that comes with the program.
    pub is_default: bool,
    /// When the shop last changed it.
    #[serde(with = "chaffer_shared::time::option")]
    #[schema(required = true)]
    pub updated_at: Option<DateTime<Utc>>,
}

/// All templates.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct MailTemplates {
    /// Those of the shop and, where it has none, those that come with the program.
    pub templates: Vec<MailTemplateView>,
}

/// A mail filled in with sample data.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({
    "subject": "Mikkel: Stoneware mug", "text": "Is it dishwasher-safe?",
    "html": "<p>Is it dishwasher-safe?</p>"
}))]
pub struct MailPreview {
    /// The subject.
    #[schema(example = "Mikkel: Stoneware mug")]
    pub subject: String,
    /// The plain text.
    pub text: String,
    /// The HTML.
    pub html: String,
}

/// Audience, kind and language, as they stand in a path.
pub type TemplatePath = (String, String, String);

/// Which template.
#[derive(Debug, Clone)]
struct TemplateKey {
    audience: Audience,
    kind: MailKind,
    language: String,
}

impl TemplateKey {
    /// Reads it from the path of a call.
    fn parse((audience, kind, language): &TemplatePath) -> Result<Self, ChatError> {
        let audience = [Audience::Customer, Audience::Vendor]
            .into_iter()
            .find(|it| it.as_str() == audience.as_str());
        let kinds = [MailKind::NewThread, MailKind::NewMessage, MailKind::Digest];
        let kind = kinds.into_iter().find(|it| it.as_str() == kind.as_str());
        let mut parts = language.split('-');
        let is_tag = parts.next().is_some_and(|it| (2..=3).contains(&it.len()))
            && parts.all(|it| (2..=8).contains(&it.len()))
            && language.len() <= 32
            && language
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        match (audience, kind, is_tag) {
            (Some(audience), Some(kind), true) => {
                Ok(Self { audience, kind, language: language.clone() })
            }
            _ => Err(Refusal::MailTemplateNotFound.into()),
        }
    }

    fn default(&self) -> Option<MailTemplateView> {
        let default = templates::default(self.audience, self.kind, &self.language)?;
        Some(MailTemplateView {
            audience: self.audience,
            kind: self.kind,
            language: self.language.clone(),
            subject: default.parts.subject.clone(),
            text: default.parts.text.clone(),
            html: default.parts.html.clone(),
            is_default: true,
            updated_at: None,
        })
    }
}

impl From<MailTemplate> for MailTemplateView {
    fn from(template: MailTemplate) -> Self {
        Self {
            audience: template.audience,
            kind: template.kind,
            language: template.language,
            subject: template.subject,
            text: template.text,
            html: template.html,
            is_default: false,
            updated_at: Some(template.updated_at.and_utc()),
        }
    }
}

impl MailTemplateInput {
    fn parts(&self) -> Parts {
        Parts { subject: self.subject.clone(), text: self.text.clone(), html: self.html.clone() }
    }
}

/// The shop's backend, or an administrator who may manage messages.
fn require_staff(reader: &mut Reader<'_>, credentials: &Credentials) -> Result<Caller, ChatError> {
    let caller = Caller::resolve(reader, credentials)?;
    rights::require_moderator(&caller)?;
    Ok(caller)
}

/// A template as a target of the audit log.
fn target((audience, kind, language): &TemplatePath) -> String {
    format!("mail_template:{audience}/{kind}/{language}")
}

/// A page of the queue and of what became of earlier mails.
///
/// # Errors
/// Why the caller may not.
pub(crate) fn list(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
    filter: &MailFilter,
    limit: i64,
) -> Result<MailPage, ChatError> {
    require_staff(reader, credentials)?;
    let mut mails = reader.list_mails(filter, limit + 1)?;
    let more = messages::cut(&mut mails, limit);
    let next_cursor = mails.last().filter(|_| more).map(|mail| mail.id.to_string());
    Ok(MailPage { mails: mails.into_iter().map(MailView::from).collect(), next_cursor })
}

/// Tries a mail again that was given up.
///
/// # Errors
/// [`Refusal::MailNotFailed`], or why the caller may not.
pub(crate) fn retry(
    writer: &mut Writer<'_>,
    credentials: &Credentials,
    context: &Context,
    id: &str,
) -> Result<MailView, ChatError> {
    let caller = require_staff(writer, credentials)?;
    // A text that is no number is no mail.
    let id = id.parse().ok().filter(|number: &Id| number.to_string() == id);
    let mail = writer.mail(id.ok_or(Refusal::MailNotFound)?)?.ok_or(Refusal::MailNotFound)?;
    if mail.state != MailState::Failed {
        return Err(Refusal::MailNotFailed.into());
    }
    let mail = Mail {
        state: MailState::Waiting,
        due_at: context.timestamp(),
        attempts: 0,
        ended_at: None,
        ..mail
    };
    writer.save_mail(&mail)?;
    let target = format!("mail:{}", mail.id);
    audit::note(writer, &caller, context, action::MAIL_RETRIED, target, None)?;
    Ok(mail.into())
}

/// All templates.
///
/// # Errors
/// Why the caller may not.
pub(crate) fn templates(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
) -> Result<MailTemplates, ChatError> {
    require_staff(reader, credentials)?;
    let mut all: Vec<MailTemplateView> =
        reader.mail_templates()?.into_iter().map(MailTemplateView::from).collect();
    let key = |it: &MailTemplateView| (it.audience, it.kind, it.language.clone());
    for default in templates::DEFAULTS.iter() {
        let default = TemplateKey {
            audience: default.audience,
            kind: default.kind,
            language: default.language.to_owned(),
        };
        all.extend(default.default().filter(|new| all.iter().all(|it| key(it) != key(new))));
    }
    all.sort_by_key(key);
    Ok(MailTemplates { templates: all })
}

/// One template.
///
/// # Errors
/// Why the caller may not.
pub(crate) fn template(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
    path: &TemplatePath,
) -> Result<MailTemplateView, ChatError> {
    require_staff(reader, credentials)?;
    let key = TemplateKey::parse(path)?;
    let own = reader.mail_template(key.audience, key.kind, &key.language)?;
    own.map(MailTemplateView::from)
        .or_else(|| key.default())
        .ok_or_else(|| Refusal::MailTemplateNotFound.into())
}

/// Checks a template and keeps it in the place of the one that was there.
///
/// # Errors
/// What is wrong with it, or why the caller may not.
pub(crate) fn put_template(
    writer: &mut Writer<'_>,
    credentials: &Credentials,
    context: &Context,
    path: &TemplatePath,
    input: &MailTemplateInput,
) -> Result<MailTemplateView, ChatError> {
    let caller = require_staff(writer, credentials)?;
    let key = TemplateKey::parse(path)?;
    templates::check(key.kind, &input.parts())?;
    let template = MailTemplate {
        audience: key.audience,
        kind: key.kind,
        language: key.language,
        subject: input.subject.clone(),
        text: input.text.clone(),
        html: input.html.clone(),
        updated_at: context.timestamp(),
    };
    writer.save_mail_template(&template)?;
    audit::note(writer, &caller, context, action::TEMPLATE_CHANGED, target(path), None)?;
    Ok(template.into())
}

/// Goes back to the template that comes with the program; one in another language is gone then.
///
/// # Errors
/// [`Refusal::MailTemplateNotFound`], or why the caller may not.
pub(crate) fn reset_template(
    writer: &mut Writer<'_>,
    credentials: &Credentials,
    context: &Context,
    path: &TemplatePath,
) -> Result<Option<MailTemplateView>, ChatError> {
    let caller = require_staff(writer, credentials)?;
    let key = TemplateKey::parse(path)?;
    let was_there = writer.delete_mail_template(key.audience, key.kind, &key.language)?;
    if was_there {
        audit::note(writer, &caller, context, action::TEMPLATE_RESET, target(path), None)?;
    }
    match key.default() {
        None if !was_there => Err(Refusal::MailTemplateNotFound.into()),
        default => Ok(default),
    }
}

/// Fills a template in with sample data; without a draft the one that is in use.
///
/// # Errors
/// What is wrong with it, or why the caller may not.
pub(crate) fn preview(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
    path: &TemplatePath,
    draft: &MailTemplateDraft,
) -> Result<MailPreview, ChatError> {
    require_staff(reader, credentials)?;
    let key = TemplateKey::parse(path)?;
    let own = reader.mail_template(key.audience, key.kind, &key.language)?;
    let in_use = own.map(MailTemplateView::from).or_else(|| key.default());
    let or_in_use = |draft: &Option<String>, part: fn(&MailTemplateView) -> &String| {
        let part = draft.clone().or_else(|| in_use.as_ref().map(|it| part(it).clone()));
        part.ok_or(ChatError::Refused(Refusal::MailTemplateNotFound))
    };
    let parts = Parts {
        subject: or_in_use(&draft.subject, |it| &it.subject)?,
        text: or_in_use(&draft.text, |it| &it.text)?,
        html: or_in_use(&draft.html, |it| &it.html)?,
    };
    let Parts { subject, text, html } = templates::check(key.kind, &parts)?;
    Ok(MailPreview { subject, text, html })
}

/// A template that is being written; what is left out is as it is in use.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(example = json!({"subject": "{{ author.name }}: {{ thread.subject }}"}))]
pub struct MailTemplateDraft {
    /// Of the subject.
    pub subject: Option<String>,
    /// Of the plain text.
    pub text: Option<String>,
    /// Of the HTML.
    pub html: Option<String>,
}
