//! Why a rule says no. Each refusal has a code that programs test, and stands in one table; `http/error.rs` turns
//! its kind into a status.

use crate::store::{JobError, StoreError};

/// What a rule may end with.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// The caller may not, or the thing is not there.
    #[error("{}", .0.detail())]
    Refused(Refusal),
    /// The caller may not, for these reasons.
    #[error("{}", .0.detail())]
    RefusedFor(Refusal, Vec<FieldError>),
    /// The list of forbidden words has changed since it was compiled: the rule is run again with the new one.
    #[error("the list of forbidden words has changed")]
    StaleWordList,
    /// Fields of the request do not hold together.
    #[error("the request is not valid")]
    Invalid(Vec<FieldError>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Refusal> for ChatError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl JobError for ChatError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

/// One bad field.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[schema(example = json!({"pointer": "/text", "detail": "must not be empty"}))]
pub struct FieldError {
    /// Where in the body it is, as a JSON pointer (RFC 6901); absent for a parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "/text")]
    pub pointer: Option<String>,
    /// Which parameter of the query or which header it is; absent for a field of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub parameter: Option<String>,
    /// What is wrong and what to do.
    #[schema(example = "must not be empty")]
    pub detail: String,
}

impl FieldError {
    /// A bad field of the body.
    pub fn body(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: Some(pointer.into()), parameter: None, detail: detail.into() }
    }

    /// A bad parameter of the query, or a header.
    pub fn parameter(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: None, parameter: Some(name.into()), detail: detail.into() }
    }
}

/// What kind of no it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// Who are you?
    Unauthenticated,
    /// You may not.
    Forbidden,
    /// Not there, or not yours to see.
    NotFound,
    /// It does not fit what is there.
    Conflict,
    /// It was there once.
    Gone,
    /// Understood, but it cannot be meant.
    Unprocessable,
    /// Later.
    TooMany,
}

/// Declares the refusals: variant, kind, code, and a sentence that says what to do.
macro_rules! refusals {
    ($($variant:ident, $kind:ident, $code:literal, $detail:literal;)+) => {
        /// A reason to say no.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Refusal {
            $(#[doc = $detail] $variant,)+
        }

        impl Refusal {
            /// What kind of no it is.
            #[must_use]
            pub fn kind(self) -> RefusalKind {
                match self { $(Self::$variant => RefusalKind::$kind,)+ }
            }

            /// The stable code that programs test.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// A sentence for people.
            #[must_use]
            pub fn detail(self) -> &'static str {
                match self { $(Self::$variant => $detail,)+ }
            }
        }
    };
}

refusals! {
    NoCredentials, Unauthenticated, "unauthenticated", "Send an API key or a user token in the Authorization header.";
    InvalidApiKey, Unauthenticated, "invalid_api_key", "This API key is not known, or was revoked.";
    InvalidToken, Unauthenticated, "invalid_token", "This token is not valid; fetch another one from the shop.";
    ExpiredToken, Unauthenticated, "token_expired", "This token has expired; fetch another one from the shop.";
    RevokedToken, Unauthenticated, "token_revoked", "This token was revoked; fetch another one from the shop.";
    UntrustedAddress, Forbidden, "untrusted_address", "API keys are accepted from the addresses in api.trusted_ips only, and this one is not among them.";
    BackendOnly, Forbidden, "backend_only", "Only the shop's backend may make this call, with an API key.";
    RootRequired, Forbidden, "root_required", "Only the shop and root administrators may do that.";
    ManageMessagesRequired, Forbidden, "manage_messages_required", "This administrator lacks the right to manage messages; a root administrator can grant it.";
    MessagingDisabled, Forbidden, "messaging_disabled", "This vendor cannot be written to: its messaging is switched off or not part of its plan.";
    SubjectSignatureRequired, Forbidden, "subject_signature_required", "A browser can start this thread only with the shop's subject_signature.";
    SubjectSignatureWrong, Forbidden, "subject_signature_wrong", "The subject_signature does not belong to this subject, customer and vendor.";
    VisitorsOff, Forbidden, "visitors_off", "Only people with an account can write here: the setting visitors_may_write is off.";
    NotAVisitor, Forbidden, "not_a_visitor", "This call is for visitors: send the token of the visitor who comes back, or none for a new one.";
    NotAllowed, Forbidden, "not_allowed", "This user may not do this.";
    ActingUserRequired, Unprocessable, "acting_user_required", "This call is made as a person: name the user in the header Chaffer-User.";
    ActingUserUnknown, Unprocessable, "acting_user_unknown", "The user in the header Chaffer-User is not known; PUT /v1/users/{id} first.";
    ActingUserErased, Unprocessable, "acting_user_erased", "The user in the header Chaffer-User was erased: nothing can be done as that person any more.";
    UserNotFound, NotFound, "user_not_found", "There is no such user.";
    UserErased, Conflict, "user_erased", "This user was erased and does not come back; take another id.";
    VendorNotFound, NotFound, "vendor_not_found", "There is no such vendor.";
    ThreadNotFound, NotFound, "thread_not_found", "There is no such thread.";
    WebhookNotFound, NotFound, "webhook_not_found", "There is no such webhook.";
    DeliveryNotFound, NotFound, "delivery_not_found", "There is no such delivery.";
    WebhookDisabled, Conflict, "webhook_disabled", "This webhook is switched off; set its status to active first.";
    TooManyWebhooks, Conflict, "too_many_webhooks", "There are 20 webhooks already; delete one first.";
    ClientIdReused, Conflict, "client_id_reused", "This client_id was used for another message; take a new one for each message.";
    IdempotencyKeyReused, Conflict, "idempotency_key_reused", "This Idempotency-Key was used for another request; take a new one for each request.";
    ThreadClosed, Conflict, "thread_closed", "This thread is closed.";
    OtherThreadOpen, Conflict, "other_thread_open", "There is another open thread about the same already; go on in that one.";
    NotSupport, Conflict, "not_support", "This thread is not for the operators: only support threads are taken and put back.";
    ThreadTaken, Conflict, "thread_taken", "Somebody else has taken this thread.";
    ThreadNotTaken, Conflict, "thread_not_taken", "Nobody has taken this thread; it waits in the queue.";
    TooManyApiKeys, Conflict, "too_many_api_keys", "Two API keys are live already; revoke one first.";
    ApiKeyNameTaken, Conflict, "api_key_name_taken", "An API key of this name is live already; take another name.";
    ApiKeyNameInvalid, Unprocessable, "api_key_name_invalid", "The name of an API key is 1 to 64 bytes long.";
    ApiKeyNotFound, NotFound, "api_key_not_found", "There is no live API key of that name.";
    MailNotFound, NotFound, "mail_not_found", "There is no such mail.";
    MailNotFailed, Conflict, "mail_not_failed", "Only a mail that was given up can be tried again.";
    MailTemplateNotFound, NotFound, "mail_template_not_found", "There is no such template: it is /v1/mail/templates/{customer or vendor}/{new_thread, new_message or digest}/{language}.";
    MailLinkInvalid, NotFound, "mail_link_invalid", "This link is not one of ours, or its person is gone.";
    MailUnreadable, Unprocessable, "mail_unreadable", "This is no mail: send the raw message as the mail server has it (RFC 5322).";
    MailRepliesOff, Conflict, "mail_replies_off", "Mails cannot be answered here: set mail.smtp_host, mail.reply_address and keys.mail.";
    ReplyAddressInvalid, NotFound, "reply_address_invalid", "This reply address is not one of ours; write in the shop instead.";
    ReplyAddressExpired, Gone, "reply_address_expired", "This mail is too old to be answered; write in the shop instead.";
    TooManyMessages, TooMany, "too_many_messages", "You have written too many messages in this thread in a short time; try again in a minute.";
    ReplySenderMismatch, Forbidden, "reply_sender_mismatch", "An answer must come from the address that the mail went to.";
    ForbiddenWords, Unprocessable, "forbidden_words", "This text holds something that must not be sent here; `errors` says what. Change it and send it again.";
    ForbiddenWordExists, Conflict, "forbidden_word_exists", "The list has an entry that finds the same already; change that one.";
    ForbiddenWordNotFound, NotFound, "forbidden_word_not_found", "There is no such entry on the list.";
    TooManyForbiddenWords, Conflict, "too_many_forbidden_words", "The list is full: it has at most 20,000 entries, and 100 regular expressions among them.";
    MessageNotFound, NotFound, "message_not_found", "There is no such message.";
    MessageDeleted, Gone, "message_deleted", "This message was taken back.";
    EditWindowOver, Forbidden, "edit_window_over", "This message is too old to be changed or taken back; write another one.";
    TooManyChanges, Conflict, "too_many_changes", "This message was changed 100 times already; write another one.";
    AttachmentNotFound, NotFound, "attachment_not_found", "There is no such file, or its address is not one of ours.";
    AddressExpired, Gone, "address_expired", "This address has expired; read the message again for another one.";
    AttachmentsOff, Forbidden, "attachments_off", "Nothing can be attached here: the setting attachment_types is none.";
    TooManyUploads, Conflict, "too_many_uploads", "50 uploads wait to be sent already; send some of them, or wait a day.";
    FileEmpty, Unprocessable, "file_empty", "This file is empty.";
    FileTypeNotAllowed, Unprocessable, "file_type_not_allowed", "Files of this type cannot be attached. Pictures can (JPEG, PNG, WebP, GIF), and, where the shop allows it, PDF, plain text, DOCX, XLSX, PPTX, ODT and ODS.";
    FileTypeMismatch, Unprocessable, "file_type_mismatch", "This file is not what the end of its name says; give it its right name and send it again.";
    FileAmbiguous, Unprocessable, "file_ambiguous", "This file is several things at once, or holds a script; save it anew as one thing.";
    FileUnreadable, Unprocessable, "file_unreadable", "This picture is damaged and cannot be read.";
    ImageTooLarge, Unprocessable, "image_too_large", "This picture has too many pixels: 40 million at most, of all frames of an animation 100 million. Make it smaller and send it again.";
    OriginalNotFound, NotFound, "original_not_found", "No original of such a message is kept: it was not masked, or the setting keep_originals was off.";
    CursorExpired, Gone, "cursor_expired", "Events from so long ago are no longer kept: load the threads anew and go on from a call without `after`.";
}
