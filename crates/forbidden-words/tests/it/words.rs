//! Words and phrases in every disguise.

use chaffer_forbidden_words::{Action, Entry, EntryError, Kind, Matcher};

use crate::{all_become, all_stay, list, phrases};

#[test]
fn a_word_is_found_however_it_is_disguised() {
    let list =
        phrases(&["whatsapp", "email", "ass", "shit", "телеграм", "viber", "скайп", "идиот"]);
    all_become(
        &list,
        &[
            ("Write me on WhatsApp, please.", "Write me on ***, please."),
            ("WHATSAPP", "***"),
            ("ｗｈａｔｓａｐｐ!", "***!"),
            ("wһаtѕарр me", "*** me"),
            ("ẇḧåṫšāƿp or whátsàpp", "*** or ***"),
            ("what\u{200b}sapp", "***"),
            ("wh\u{ad}ats\u{2060}app\u{feff}.", "***\u{feff}."),
            ("w h a t s a p p", "***"),
            ("(w.h.a.t.s.a.p.p)", "(***)"),
            ("w-h-a-t-s-a-p-p", "***"),
            ("w_h_a_t_s_a_p_p", "***"),
            ("w . h . a . t . s . a . p . p", "***"),
            ("w*h*a*t*s*a*p*p", "***"),
            ("w🔥h🔥a🔥t🔥s🔥a🔥p🔥p", "***"),
            ("w\nh\na\nt\ns\na\np\np", "***"),
            ("what.sapp, whats-app, wh_at_sapp", "***, ***, ***"),
            ("wh at sa pp", "***"),
            ("whаts арр", "***"),
            ("wh4t54pp", "***"),
            ("wh@ts@pp", "***"),
            ("what$app", "***"),
            ("whatsapppp", "***"),
            ("whaaaatsapp", "***"),
            ("WhatsApp89261234567", "***89261234567"),
            ("whatsapp!", "***!"),
            ("e.m.a.i.l", "***"),
            ("e-mail me", "*** me"),
            ("3m4il", "***"),
            ("ema1l, ema!l, emaiI, ema|l", "***, ***, ***, ***"),
            ("an ass", "an ***"),
            ("a$$", "***"),
            ("@ss", "***"),
            ("a s s", "***"),
            ("asssss", "***"),
            ("sh1t sh!t 5hit s.h.i.t 5h17", "*** *** *** *** ***"),
            ("bad-ass", "bad-***"),
            ("Телеграм, ТЕЛЕГРАМ, т е л е г р а м, т3л3грам", "***, ***, ***, ***"),
            ("тeлeгpaм", "***"),
            ("ид1от, иди0т, 1диот", "***, ***, ***"),
            ("vіber ѵiber 𝕧𝕚𝕓𝕖𝕣 ⓥⓘⓑⓔⓡ v̶i̶b̶e̶r̶", "*** *** *** *** ***"),
            ("скaйп, скайп, СКАЙП", "***, ***, ***"),
        ],
    );
}

#[test]
fn a_word_is_found_with_a_space_somewhere_in_it() {
    let list = phrases(&[
        "whatsapp",
        "email",
        "fuck",
        "instagram",
        "телеграм",
        "скайп",
        "call me",
        "наличные",
    ]);
    all_become(
        &list,
        &[
            ("my ema il is", "my *** is"),
            ("em ail, e mail, emai l, e ma il", "***, ***, ***, ***"),
            ("Write to my EMA IL!", "Write to my ***!"),
            ("what sapp, whats app, w hatsapp, whatsap p", "***, ***, ***, ***"),
            ("wh 4t s4pp", "***"),
            ("what  sapp, what - sapp, what _ sapp, what 🔥 sapp", "***, ***, ***, ***"),
            ("whats\u{200b} \u{a0}app", "***"),
            ("in stagram, insta gram, instagra m", "***, ***, ***"),
            ("f uck, fu ck, fuc k", "***, ***, ***"),
            ("теле грам, тел еграм, т елеграм", "***, ***, ***"),
            ("ск айп", "***"),
            ("ca ll me", "***"),
            ("нал ичные, налич ные", "***, ***"),
        ],
    );
}

#[test]
fn a_word_is_found_with_doubled_letters() {
    let list = phrases(&["email", "whatsapp", "fuck", "sex", "телеграм", "pussy"]);
    all_become(
        &list,
        &[
            ("eemmaaiill emmaill emmaiil EeMmAaIiLl", "*** *** *** ***"),
            ("eemail emaill", "*** ***"),
            ("ee mm aa ii ll", "***"),
            ("e.mm.a.ill", "***"),
            ("wwhhaattssaapppp whattsapp", "*** ***"),
            ("ffuucckk ffuck fuckk fuuuck", "*** *** *** ***"),
            ("sseexx", "***"),
            ("Телеграмм ттеелеграм", "*** ***"),
            ("ppuussyy", "***"),
        ],
    );
}

#[test]
fn phrases_are_found_whatever_stands_between_their_words() {
    let list = phrases(&["call me", "пиши в личку", "what's app"]);
    all_become(
        &list,
        &[
            ("Call me tomorrow", "*** tomorrow"),
            ("call   me, call\nme, call-me, callme, CALL ... ME", "***, ***, ***, ***, ***"),
            ("c a l l  m e", "***"),
            ("ca11 me", "***"),
            ("Пиши в личку!", "***!"),
            ("whats app what's app whatsapp what s app", "*** *** *** ***"),
        ],
    );
    all_stay(&list, &["call mean people", "recall me", "I call. You and me", "call for me"]);
}

#[test]
fn a_star_stands_for_the_rest_of_a_word() {
    let list = phrases(&["телеграм*", "*coin", "*spam*"]);
    all_become(
        &list,
        &[
            ("телеграме телеграммой телеграм", "*** *** ***"),
            ("bitcoin coin coins", "*** *** coins"),
            ("antispamfilter", "***"),
            ("т.е.л.е.г.р.а.м.е", "***.е"),
        ],
    );
}

#[test]
fn languages_without_spaces_and_phrases_without_letters() {
    let list = phrases(&["微信", "카톡", "ライン", "🍆", "c++", "1488", "h8", "ж", "x", "12$a"]);
    all_become(
        &list,
        &[
            ("加我微信吧", "加我***吧"),
            ("카톡으로", "***으로"),
            ("私のラインです", "私の***です"),
            ("look 🍆🍆!", "look ***!"),
            ("C++ or abc++", "*** or abc++"),
            ("1488 14 88 214889 №1488", "*** 14 88 214889 №***"),
            ("h8 H8 h88", "*** *** h88"),
            ("ж, дж", "***, дж"),
            ("x xx", "*** xx"),
            ("12$a 12sa 12a", "*** *** 12a"),
        ],
    );
}

#[test]
fn regular_expressions_are_looked_for_behind_invisible_letters_as_well() {
    let list = list([
        (Kind::Regex, r"\bpromo-\d{3}\b", Action::Mask),
        (Kind::Regex, r"@[a-z_]{5,}", Action::Flag),
        (Kind::Regex, "купон", Action::Refuse),
    ]);
    all_become(
        &list,
        &[
            ("use PROMO-123 now", "use *** now"),
            ("use pro\u{200b}mo-12\u{ad}3 now", "use *** now"),
            ("ｐｒｏｍｏ-１２３", "***"),
            ("ask @john_doe", "ask @john_doe"),
        ],
    );
    assert_eq!(list.scan("ask @john_doe").action(), Some(Action::Flag));
    assert_eq!(list.scan("КУПОН @john_doe").action(), Some(Action::Refuse));
    assert_eq!(list.scan("nothing").action(), None);
}

#[test]
fn a_finding_says_which_entry_read_what_where() {
    let list = list([(Kind::Phrase, "viber", Action::Mask), (Kind::Email, "", Action::Refuse)]);
    let text = "é V1b€r or joe (at) shop.com";
    let scan = list.scan(text);
    let seen: Vec<_> = scan
        .findings
        .iter()
        .map(|it| (it.entry, it.kind, it.action, &text[it.range.clone()], it.read_as.as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            (0, Kind::Phrase, Action::Mask, "V1b€r", "viber"),
            (1, Kind::Email, Action::Refuse, "joe (at) shop.com", "joe (at) shop.com"),
        ]
    );
}

#[test]
fn what_stood_around_a_mask_is_looked_at_again() {
    let list = phrases(&["微信", "fuck"]);
    all_become(&list, &[("f微信uck", "***"), ("微信 f微信uck 微信", "*** *** ***")]);
}

fn check(kind: Kind, phrase: &str, exceptions: &[&str]) -> Result<String, EntryError> {
    let exceptions = exceptions.iter().map(|it| (*it).to_owned()).collect();
    Entry { id: 1, kind, phrase: phrase.into(), action: Action::Mask, exceptions }.check()
}

#[test]
fn entries_that_cannot_be_meant_are_refused() {
    use EntryError::*;
    assert_eq!(check(Kind::Phrase, " ", &[]), Err(Empty));
    assert_eq!(check(Kind::Phrase, "*", &[]), Err(TooShort));
    assert_eq!(check(Kind::Phrase, "a*", &[]), Err(TooShort));
    assert_eq!(check(Kind::Phrase, &"a".repeat(501), &[]), Err(TooLong));
    assert_eq!(check(Kind::Phrase, "a\0b", &[]), Err(Control));
    assert_eq!(check(Kind::Email, "x", &[]), Err(NoPhrase));
    assert_eq!(check(Kind::Regex, "a*", &[]), Err(MatchesNothing));
    assert!(matches!(check(Kind::Regex, "(", &[]), Err(Regex(_))));
    assert!(matches!(check(Kind::Regex, "(?:a{1000}){1000}", &[]), Err(Regex(_))));
    assert!(matches!(check(Kind::Regex, &"(".repeat(200), &[]), Err(Regex(_))));
    assert_eq!(check(Kind::Phrase, "x y", &["shop.example"]), Err(NoExceptions));
    assert_eq!(check(Kind::Link, "", &["shop"]), Err(NoDomain("shop".into())));
    assert_eq!(check(Kind::Phone, "", &["12"]), Err(NoNumber("12".into())));
    assert_eq!(check(Kind::Link, "", &["shop.example"]), Ok("link".into()));
    // The same in another spelling is the same entry.
    assert_eq!(check(Kind::Phrase, "Whats-App", &[]), check(Kind::Phrase, "whatsарр", &[]));
}

#[test]
fn an_entry_that_has_become_unusable_does_not_stop_the_others() {
    let entry = |id, kind, phrase: &str| Entry {
        id,
        kind,
        phrase: phrase.into(),
        action: Action::Mask,
        exceptions: vec![],
    };
    let (matcher, unusable) =
        Matcher::new(vec![entry(1, Kind::Regex, "("), entry(2, Kind::Phrase, "viber")]).unwrap();
    assert_eq!(unusable.iter().map(|it| it.0).collect::<Vec<_>>(), [1]);
    assert_eq!(matcher.scan("viber").masked, "***");
}
