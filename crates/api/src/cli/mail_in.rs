//! `chaffer-api mail-in`: what the mail server's pipe runs for each answer to a mail. The code it ends with tells the mail
//! server what to do (sysexits.h): keep it and try again, or send it back with what is printed.

use std::io::{Read, Write};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use chaffer_shared::config::{Flags, load};

use crate::chat::screening::WordList;
use crate::chat::{ChatError, Context, Refusal};
use crate::notify::inbound::{self, Envelope, Inbound, InboundView, MAX_MAIL_BYTES};
use crate::notify::settings::MailSettings;
use crate::store::{DatabaseUrl, Store, Writer};
use crate::word_list::WordListCache;

/// The message cannot be used.
const DATA_ERROR: u8 = 65;
/// There is no such address.
const NO_USER: u8 = 67;
/// Try again later.
const TEMPORARY: u8 = 75;
/// Its sender may not.
const NO_PERMISSION: u8 = 77;

/// Takes one mail from standard input.
pub async fn run(flags: &Flags, envelope: &Envelope) -> ExitCode {
    let (code, text) = match receive(flags, envelope).await {
        // What went wrong here is no fault of the mail's.
        Err(error) => (TEMPORARY, format!("{error:#}")),
        Ok(Ok(view)) => {
            let text = format!("{} {}", view.outcome, view.reason.unwrap_or_default());
            let _ = writeln!(std::io::stdout(), "{}", text.trim());
            return ExitCode::SUCCESS;
        }
        Ok(Err(error)) => (code(&error), say(&error)),
    };
    let _ = writeln!(std::io::stderr(), "{text}");
    ExitCode::from(code)
}

async fn receive(flags: &Flags, envelope: &Envelope) -> Result<Result<InboundView, ChatError>> {
    let config = load(flags)?.config;
    let settings = MailSettings::read(&config)?;
    let mut raw = Vec::new();
    let limit = u64::try_from(MAX_MAIL_BYTES)? + 1;
    std::io::stdin().take(limit).read_to_end(&mut raw).context("cannot read the mail")?;
    let store = Store::open(&DatabaseUrl::parse(&config.database.url)?, 1, 16)?;
    let context = Context { now: chaffer_shared::time::now(), request_id: "mail-in".into() };
    let inbound = match Inbound::parse(&raw, envelope, settings.as_ref()) {
        Ok(inbound) => inbound,
        Err(error) => return Ok(Err(error)),
    };
    let (settings, inbound) = (Arc::new(settings), Arc::new(inbound));
    let rule = move |writer: &mut Writer<'_>, list: &WordList| {
        inbound::post(writer, &context, list, settings.as_ref().as_ref(), &inbound)
    };
    Ok(WordListCache::default().write(&store, rule).await)
}

fn code(error: &ChatError) -> u8 {
    match error {
        ChatError::Store(_)
        | ChatError::StaleWordList
        | ChatError::Refused(Refusal::MailRepliesOff | Refusal::TooManyMessages) => TEMPORARY,
        ChatError::Refused(
            Refusal::ReplyAddressInvalid | Refusal::ReplyAddressExpired | Refusal::ThreadNotFound,
        ) => NO_USER,
        ChatError::Refused(Refusal::MailUnreadable) | ChatError::Invalid(_) => DATA_ERROR,
        ChatError::Refused(_) | ChatError::RefusedFor(..) => NO_PERMISSION,
    }
}

/// What the sender of the mail reads when it comes back.
fn say(error: &ChatError) -> String {
    match error {
        ChatError::Invalid(errors) => {
            let details: Vec<&str> = errors.iter().map(|error| error.detail.as_str()).collect();
            format!("The message {}.", details.join("; "))
        }
        ChatError::RefusedFor(_, errors) => {
            let details: Vec<&str> = errors.iter().map(|error| error.detail.as_str()).collect();
            format!("{error} {}.", details.join("; "))
        }
        other => other.to_string(),
    }
}
