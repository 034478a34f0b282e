//! Erasing a person (B6). What the person told others stays with them, under no name; everything else goes, and the id never
//! gets a name again. The order of the pieces is that of `crate::erasure`.

use serde_json::Value;

use super::audit::{self, action};
use super::rights::{self, Seen};
use super::{Caller, ChatError, Context, Credentials, Refusal, support, threads, users};
use crate::store::{Id, Reader, Role, Side, ThreadStatus, Writer};

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

/// Erases who a person was, for the shop's backend and root administrators; from now on nothing is done as that person. Again is
/// the same as once.
///
/// # Errors
/// Why the caller may not, or that there is no such user.
pub(crate) fn begin(
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
    users::revoke(writer, context, &user)?;
    writer.erase_user(id, DELETED_USER, context.timestamp())?;
    let person = Caller::User { user: Box::new(user), by_backend: false };
    writer.delete_first_answers(&person.key())?;
    audit::note(writer, &caller, context, action::USER_ERASED, audit::user(id), None)
}

/// Ends the person's part in some threads: conversations are closed, since nobody is there to read what would be written; what
/// an operator has waits for another.
///
/// # Errors
/// The store's own.
pub(crate) fn leave(
    writer: &mut Writer<'_>,
    context: &Context,
    id: &str,
    threads: &[Id],
) -> Result<(), ChatError> {
    let Some(user) = writer.user(id)? else { return Ok(()) };
    for thread in threads {
        let Some((thread, participants)) = writer.thread_with_participants(*thread)? else {
            continue;
        };
        let Some(own) = participants.iter().find(|it| it.participant_id == user.id) else {
            continue;
        };
        if own.side == Side::Staff {
            if support::has_taken(own) {
                support::release_from(writer, context, &user, thread.id)?;
            }
            writer.leave_thread(own, context.timestamp())?;
        } else if thread.status == ThreadStatus::Open {
            let seat = rights::Seat { side: own.side, participant: Some(own.clone()) };
            let seen = Seen { thread, participants, seat };
            threads::set_status(writer, context, &user, &seen, ThreadStatus::Closed)?;
        }
    }
    writer.erase_subject(id, threads)?;
    if user.role == Role::Visitor {
        // A page that somebody looked at may name the person; all threads of a visitor are its own.
        writer.erase_pages(threads)?;
    }
    Ok(())
}

/// The first answers to others in which the person is named, by their keys. First answers are kept as they were given.
///
/// # Errors
/// The store's own.
pub(crate) fn answers_that_name(
    reader: &mut Reader<'_>,
    id: &str,
) -> Result<Vec<(String, String)>, ChatError> {
    Ok(reader.first_answers_with(&format!("\"id\":{}", Value::from(id)))?)
}

/// Takes the person's name from a first answer.
///
/// # Errors
/// The store's own.
pub(crate) fn unname_answer(
    writer: &mut Writer<'_>,
    id: &str,
    (caller, key): &(String, String),
) -> Result<(), ChatError> {
    let Some(mut first) = writer.first_answer(caller, key)? else { return Ok(()) };
    let Ok(mut answer) = serde_json::from_str(&first.answer) else { return Ok(()) };
    unname(&mut answer, id);
    first.answer = answer.to_string();
    Ok(writer.change_first_answer(&first)?)
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
