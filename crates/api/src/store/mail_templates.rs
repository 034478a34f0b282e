//! The mail templates that the shop has changed; the others come with the program.

use diesel::prelude::*;

use super::schema::mail_templates;
use super::text_enum::text_enum;
use super::{MailKind, Reader, StoreError, Timestamp, Writer};

text_enum! {
    /// Whom a mail template speaks to.
    Audience {
        /// Those who ask.
        Customer = "customer",
        /// A vendor's administrators.
        Vendor = "vendor",
    }
}

/// What a mail says, as the shop has written it.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = mail_templates)]
pub struct MailTemplate {
    /// Whom it speaks to.
    pub audience: Audience,
    /// What it is about.
    pub kind: MailKind,
    /// In which language, e.g. `en` or `pt-br`.
    pub language: String,
    /// The template of the subject.
    pub subject: String,
    /// The template of the plain text.
    pub text: String,
    /// The template of the HTML.
    pub html: String,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Reader<'_> {
    /// All templates that the shop has changed.
    pub(crate) fn mail_templates(&mut self) -> Result<Vec<MailTemplate>, StoreError> {
        Ok(mail_templates::table
            .order((mail_templates::audience, mail_templates::kind, mail_templates::language))
            .select(MailTemplate::as_select())
            .load(self.database)?)
    }

    /// One of them.
    pub(crate) fn mail_template(
        &mut self,
        audience: Audience,
        kind: MailKind,
        language: &str,
    ) -> Result<Option<MailTemplate>, StoreError> {
        Ok(mail_templates::table
            .find((audience, kind, language))
            .select(MailTemplate::as_select())
            .first(self.database)
            .optional()?)
    }
}

impl Writer<'_> {
    /// Stores a template in the place of what was there.
    pub(crate) fn save_mail_template(&mut self, template: &MailTemplate) -> Result<(), StoreError> {
        self.delete_mail_template(template.audience, template.kind, &template.language)?;
        diesel::insert_into(mail_templates::table).values(template).execute(self.database)?;
        Ok(())
    }

    /// Forgets a template of the shop's; tells whether there was one.
    pub(crate) fn delete_mail_template(
        &mut self,
        audience: Audience,
        kind: MailKind,
        language: &str,
    ) -> Result<bool, StoreError> {
        let row = mail_templates::table.find((audience, kind, language));
        Ok(diesel::delete(row).execute(self.database)? > 0)
    }
}
