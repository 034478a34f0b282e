//! Erasing a person (B6). What the person told others stays with them, under no name; everything else goes, and the id never
//! gets a name again.

use serde_json::Value;

use super::audit::{self, action};
use super::rights::{self, Seen};
use super::{Caller, ChatError, Context, Credentials, Refusal, support, threads, users};
use crate::store::{Id, Role, Side, ThreadStatus, User, Writer};

/// The name under which others see what an erased person wrote; with the mark `erased`, by which pages say it in any language.
pub const DELETED_USER: &str = "Deleted user";

/// The same in the language of a mail, as a tag such as `ru-RU`.
#[must_use]
pub fn deleted_user(language: &str) -> &'static str {
    match language.split(['-', '_']).next() {
        Some(russian) if russian.eq_ignore_ascii_case("ru") => "Удалённый пользователь",
        _ => DELETED_USER,
    }
}

/// Erases a person, for the shop's backend and root administrators. Again is the same as once.
///
/// # Errors
/// Why the caller may not, or that there is no such user.
pub(crate) fn erase(
    writer: &mut Writer<'_>,
    credentials: &Credentials,
    context: &Context,
    id: &str,
) -> Result<(), ChatError> {
    let caller = Caller::resolve(writer, credentials)?;
    caller.require_root()?;
    let user = writer.user(id)?.ok_or(Refusal::UserNotFound)?;
    if user.erased_at.is_some() {
        return Ok(());
    }
    let threads = writer.threads_joined(id)?;
    close(writer, context, &user, &threads)?;
    users::revoke(writer, context, &user)?;
    support::release_all(writer, context, &user)?;
    writer.leave_as_staff(id, None, context.timestamp())?;
    writer.erase_subject(id, &threads)?;
    if user.role == Role::Visitor {
        // A page that somebody looked at may name the person; all threads of a visitor are its own.
        writer.erase_pages(&threads)?;
    }
    writer.erase_user(id, DELETED_USER, context.timestamp())?;
    forget_answers(writer, &user)?;
    audit::note(writer, &caller, context, action::USER_ERASED, audit::user(id), None)
}

/// Ends the conversations that the person had: nobody is there to read what would be written.
fn close(
    writer: &mut Writer<'_>,
    context: &Context,
    user: &User,
    threads: &[Id],
) -> Result<(), ChatError> {
    for id in threads {
        let Some((thread, participants)) = writer.thread_with_participants(*id)? else { continue };
        let Some(own) = participants.iter().find(|it| it.participant_id == user.id) else {
            continue;
        };
        if thread.status == ThreadStatus::Closed || own.side == Side::Staff {
            continue;
        }
        let seat = rights::Seat { side: own.side, participant: Some(own.clone()) };
        let seen = Seen { thread, participants, seat };
        threads::set_status(writer, context, user, &seen, ThreadStatus::Closed)?;
    }
    Ok(())
}

/// First answers are kept as they were given: the person's own go, in those to others the name does.
fn forget_answers(writer: &mut Writer<'_>, user: &User) -> Result<(), ChatError> {
    let person = Caller::User { user: Box::new(user.clone()), by_backend: false };
    writer.delete_first_answers(&person.key())?;
    let named = format!("\"id\":{}", Value::from(user.id.as_str()));
    for mut first in writer.first_answers_with(&named)? {
        let Ok(mut answer) = serde_json::from_str(&first.answer) else { continue };
        unname(&mut answer, &user.id);
        first.answer = answer.to_string();
        writer.change_first_answer(&first)?;
    }
    Ok(())
}

/// Takes name and picture from every mention of a person.
fn unname(value: &mut Value, id: &str) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(|it| unname(it, id)),
        Value::Object(fields) => {
            let is_person = fields.get("id").is_some_and(|it| it == id);
            if is_person {
                for (field, gone) in [
                    ("name", Value::from(DELETED_USER)),
                    ("avatar_url", Value::Null),
                    ("title", Value::Null),
                    ("url", Value::Null),
                    ("image_url", Value::Null),
                ] {
                    // A vendor or a product of the same id loses no more than the look of a first answer.
                    if let Some(value) = fields.get_mut(field) {
                        *value = gone;
                    }
                }
                if fields.contains_key("role") {
                    fields.insert("erased".into(), true.into());
                }
            }
            fields.values_mut().for_each(|it| unname(it, id));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_person_is_unnamed_wherever_an_answer_mentions_it() {
        let mut answer = json!({
            "id": 12, "customer": {"id": "7", "role": "customer", "name": "Anna", "avatar_url": "https://a"},
            "participants": [{"id": "7", "name": "Anna"}, {"id": "8", "name": "Ben"}],
            "subject": {"type": "user", "id": "7", "title": "Anna", "url": "https://anna"}
        });
        unname(&mut answer, "7");
        let text = answer.to_string();
        assert!(!text.contains("Anna") && !text.contains("https"), "{text}");
        assert!(text.contains("Ben"));
        assert_eq!(answer["customer"]["name"], DELETED_USER);
        assert_eq!(answer["customer"]["erased"], true);
        assert_eq!(deleted_user("ru_RU"), "Удалённый пользователь");
        assert_eq!(deleted_user("run"), DELETED_USER);
    }
}
