//! The page behind the unsubscribe link of a mail, on which a person chooses which mails come; in the person's language, as far
//! as the mails that come with the program speak it.

use actix_web::HttpResponse;
use actix_web::http::header;

use crate::notify::preferences::Choice;
use crate::store::MailChoice;

/// What the page says in one language. None of it needs escaping, and nothing of anybody's stands beside it.
struct Texts {
    language: &'static str,
    title: &'static str,
    kept: &'static str,
    question: &'static str,
    all: &'static str,
    digest: &'static str,
    none: &'static str,
    save: &'static str,
}

const ENGLISH: Texts = Texts {
    language: "en",
    title: "E-mails about messages",
    kept: "Your choice is kept.",
    question: "Which e-mails do you want?",
    all: "One for each conversation with something new",
    digest: "One with everything unread, once a day",
    none: "None",
    save: "Save",
};

const RUSSIAN: Texts = Texts {
    language: "ru",
    title: "Письма о сообщениях",
    kept: "Ваш выбор сохранён.",
    question: "Какие письма вы хотите получать?",
    all: "По одному на каждую переписку, в которой есть новое",
    digest: "Одно со всем непрочитанным, раз в день",
    none: "Никаких",
    save: "Сохранить",
};

/// The page, with what is chosen now.
pub(super) fn page(choice: &Choice, is_kept: bool) -> HttpResponse {
    let of =
        |language: &String| [&ENGLISH, &RUSSIAN].into_iter().find(|it| it.language == language);
    let texts = choice.languages.iter().find_map(of).unwrap_or(&ENGLISH);
    let options: String = [
        (MailChoice::All, texts.all),
        (MailChoice::Digest, texts.digest),
        (MailChoice::None, texts.none),
    ]
    .iter()
    .map(|(option, text)| {
        let checked = if *option == choice.mails { " checked" } else { "" };
        let value = option.as_str();
        format!(
            "<p><label><input type=radio name=mails value={value}{checked}> {text}</label></p>\n"
        )
    })
    .collect();
    let Texts { language, title, question, save, .. } = texts;
    let kept =
        if is_kept { format!("<p role=status><b>{}</b></p>\n", texts.kept) } else { String::new() };
    let html = format!(
        "<!DOCTYPE html>\n<html lang={language}><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\n\
         <meta name=robots content=noindex><title>{title}</title>\n\
         <h1>{title}</h1>\n{kept}<p>{question}</p>\n\
         <form method=post>\n{options}<p><button>{save}</button></p>\n</form>\n</html>\n"
    );
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_LANGUAGE, *language))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
        ))
        .body(html)
}
