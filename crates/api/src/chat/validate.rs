//! Checks of single fields, gathered so that one answer names all that is wrong.

use chaffer_shared::topic;

use super::{ChatError, FieldError};

/// The longest message, in characters.
pub(crate) const MAX_TEXT_CHARS: usize = 10_000;
/// The longest id that a sender may give a message or a request, in bytes.
pub(crate) const MAX_CLIENT_ID_BYTES: usize = 200;
/// The longest name, title or the like, in characters.
const MAX_LINE_CHARS: usize = 255;
/// The longest URL, in bytes.
const MAX_URL_BYTES: usize = 2048;

/// What was found wrong so far.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<FieldError>);

impl Problems {
    pub(crate) fn add(&mut self, pointer: &str, detail: impl Into<String>) {
        self.0.push(FieldError::body(pointer, detail));
    }

    /// Ends the checks.
    pub(crate) fn finish(self) -> Result<(), ChatError> {
        if self.0.is_empty() { Ok(()) } else { Err(ChatError::Invalid(self.0)) }
    }

    /// An id of the shop's.
    pub(crate) fn id(&mut self, pointer: &str, id: &str) {
        if !topic::is_valid_id(id) {
            self.add(pointer, "must be 1 to 128 bytes long, without control characters");
        }
    }

    /// An id in the path that the shop may give a user.
    pub(crate) fn shop_id(&mut self, name: &str, id: &str) {
        self.path_id(name, id);
        if topic::is_visitor(id) {
            let detail =
                "must not begin with visitor: such ids are given to visitors without an account";
            self.0.push(FieldError::parameter(name, detail));
        }
    }

    /// An id of the shop's in the path.
    pub(crate) fn path_id(&mut self, name: &str, id: &str) {
        if !topic::is_valid_id(id) {
            self.0.push(FieldError::parameter(
                name,
                "must be 1 to 128 bytes long, without control characters",
            ));
        }
    }

    /// A name or another text of one line.
    pub(crate) fn line(&mut self, pointer: &str, text: &str) {
        if text.trim().is_empty() {
            self.add(pointer, "must not be empty");
        }
        self.optional_line(pointer, Some(text));
    }

    /// A text of one line that may be absent.
    pub(crate) fn optional_line(&mut self, pointer: &str, text: Option<&str>) {
        let Some(text) = text else { return };
        if text.chars().count() > MAX_LINE_CHARS {
            self.add(pointer, format!("must not be longer than {MAX_LINE_CHARS} characters"));
        }
        if text.chars().any(char::is_control) {
            self.add(pointer, "must not contain control characters");
        }
    }

    /// An address that pages link to or show: `http` or `https`, never `javascript:` and the like.
    pub(crate) fn url(&mut self, pointer: &str, text: Option<&str>) {
        let Some(text) = text else { return };
        let known = url::Url::parse(text)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !known || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            self.add(pointer, "must be a full http or https URL");
        }
        if text.len() > MAX_URL_BYTES {
            self.add(pointer, format!("must not be longer than {MAX_URL_BYTES} bytes"));
        }
    }

    /// The text of a message.
    pub(crate) fn text(&mut self, pointer: &str, text: &str) {
        // What cannot be seen is nothing that could be read.
        let unseen = |c: char| {
            c.is_whitespace()
                || c.is_control()
                || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
        };
        if text.chars().all(unseen) {
            self.add(pointer, "must not be empty");
        }
        if text.contains('\0') {
            self.add(pointer, "must not contain the character NUL");
        }
        let chars = text.chars().count();
        if chars > MAX_TEXT_CHARS {
            self.add(
                pointer,
                format!("must not be longer than {MAX_TEXT_CHARS} characters; it has {chars}"),
            );
        }
    }

    /// A sender's own id of a message.
    pub(crate) fn client_id(&mut self, pointer: &str, id: Option<&str>) {
        let Some(id) = id else { return };
        if !(1..=MAX_CLIENT_ID_BYTES).contains(&id.len()) || id.chars().any(char::is_control) {
            self.add(
                pointer,
                format!(
                    "must be 1 to {MAX_CLIENT_ID_BYTES} bytes long, without control characters"
                ),
            );
        }
    }

    /// An e-mail address, as far as it can be judged without sending to it.
    pub(crate) fn email(&mut self, pointer: &str, text: Option<&str>) {
        let Some(text) = text else { return };
        let ok = text.split_once('@').is_some_and(|(name, host)| {
            !name.is_empty() && !host.is_empty() && !host.contains('@')
        });
        if !ok || text.len() > 254 || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            self.add(pointer, "must be an e-mail address");
        }
    }
}
