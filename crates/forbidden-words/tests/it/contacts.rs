//! E-mail addresses, phone numbers and links, as people write them to get past a filter.

use chaffer_forbidden_words::{Action, Entry, Kind, Matcher};

use crate::{all_become, all_stay, kind};

#[test]
fn e_mail_addresses_are_found() {
    all_become(
        &kind(Kind::Email),
        &[
            ("Write to joe@shop.com.", "Write to ***."),
            ("JOE.DOE+x@Mail.Shop.co.uk, please", "***, please"),
            ("joe＠shop．com", "***"),
            ("jое@gmаil.соm", "***"),
            ("joe\u{200b}@\u{200b}shop.com", "***"),
            ("joe @ shop.com", "***"),
            ("joe @ shop . com", "***"),
            ("joe(at)shop.com", "***"),
            ("joe [at] shop [dot] com", "***"),
            ("joe (at) shop (dot) com", "***"),
            ("joe at shop dot com", "***"),
            ("JOE AT SHOP DOT COM", "***"),
            ("joe at gmail.com", "***"),
            ("joe at gmail com", "***"),
            ("joe@gmail", "***"),
            ("joe@gmail dot com", "***"),
            ("joe собака shop.ru", "***"),
            ("joe собака shop точка ru", "***"),
            ("вася(собака)почта.рф", "***"),
            ("вася@почта.рф", "***"),
            ("j o e @ s h o p . c o m", "***"),
            ("my mail: j o e d o e @ g m a i l . c o m ok", "my mail: *** ok"),
            ("joe{at}shop{dot}org", "***"),
            ("joe@shop,com", "***"),
            ("joe%40shop.com joe&#64;shop.com", "*** ***"),
            ("a@shop.com b@shop.com", "*** ***"),
            ("a@shop.com,b@shop.com;c@shop.com", "***,***;***"),
            ("joe@xn--e1afmkfd.xn--p1ai", "***"),
            ("ｊｏｅ ａｔ ｓｈｏｐ ｄｏｔ ｃｏｍ", "***"),
            ("𝗃𝗈𝖾@𝗌𝗁𝗈𝗉.𝖼𝗈𝗆", "***"),
        ],
    );
}

#[test]
fn phone_numbers_are_found() {
    all_become(
        &kind(Kind::Phone),
        &[
            ("Call +7 926 123-45-67 now", "Call *** now"),
            ("89261234567", "***"),
            ("8(926)123-45-67", "***"),
            ("8 926 123 45 67", "***"),
            ("926 123-45-67", "***"),
            ("+49 171 1234567", "***"),
            ("0171/1234567", "***"),
            ("0049 171 1234567", "***"),
            ("06 12 34 56 78", "***"),
            ("06.12.34.56.78", "***"),
            ("(202) 555-0123", "***"),
            ("202.555.0123", "***"),
            ("2025550123", "***"),
            ("1-800-555-0199", "***"),
            ("+1 (202) 555 0123", "***"),
            ("07911 123456", "***"),
            ("8_9_2_6_1_2_3_4_5_6_7", "***"),
            ("8 9 2 6 1 2 3 4 5 6 7", "***"),
            ("8.9.2.6.1.2.3.4.5.6.7", "***"),
            ("8~926~123~45~67", "***"),
            ("8 - 926 - 123 - 45 - 67", "***"),
            ("８９２６１２３４５６７", "***"),
            ("٨٩٢٦١٢٣٤٥٦٧", "***"),
            ("⑧⑨②⑥①②③④⑤⑥⑦", "***"),
            ("8\u{200b}926\u{200b}123\u{200b}4567", "***"),
            ("8️⃣9️⃣2️⃣6️⃣1️⃣2️⃣3️⃣4️⃣5️⃣6️⃣7️⃣", "***\u{fe0f}\u{20e3}"),
            ("892612З4567", "***"),
            ("89261234S67", "***"),
            ("tel 12З4567", "tel ***"),
            ("8 9l6 l23 45 67, +7 9O5 123 45 67", "***, ***"),
            ("8 9I6 OO5 45 67", "***"),
            ("8 926 OOO 45 67", "***"),
            ("８ ９ ２ ６ １ ２ ３ ４ ５ ６ ７", "***"),
            ("８　９２６　１２３　４５　６７", "***"),
            ("٨ ٩ ٢ ٦ ١ ٢ ٣ ٤ ٥ ٦ ٧", "***"),
            ("۸-۹۲۶-۱۲۳-۴۵-۶۷", "***"),
            ("восемь девять два шесть 123 45 67", "***"),
            ("8 nine 2 six 123 45 67", "***"),
            ("купил два, 8 926 123 45 67", "купил два, ***"),
            ("купил два 8 926 123 45 67", "купил два ***"),
            ("12 lo 8 926 123 45 67 lo 12", "12 lo *** lo 12"),
            ("8926l2345O7", "***"),
            ("tel 1234567", "tel ***"),
            ("тел. 123-45-67", "тел. ***"),
            ("whatsapp: 5551234567", "whatsapp: ***"),
            ("eight nine two six one two three four five six seven", "***"),
            ("восемь девять два шесть один два три четыре пять шесть семь", "***"),
            ("8📞926📞123📞45📞67", "***"),
            ("my order is late, call me on +7 926 123-45-67", "my order is late, call me on ***"),
            ("my number is 07911 123456", "my number is 07911 123456"),
            ("+380501234567, +12025550123", "***, ***"),
        ],
    );
}

#[test]
fn links_are_found() {
    all_become(
        &kind(Kind::Link),
        &[
            ("See https://shop.com/a?b=c#d.", "See ***."),
            ("http://x.y", "***"),
            ("hxxps://shop.com", "***"),
            ("https : // shop.com", "***"),
            ("www.shop.com/x, www. shop.com", "***, ***"),
            ("Go to shop.com!", "Go to ***!"),
            ("SHOP.COM", "***"),
            ("t.me/joe and wa.me/123", "*** and ***"),
            ("vk.com/id1", "***"),
            ("ѕhор.соm", "***"),
            ("ｓｈｏｐ．ｃｏｍ", "***"),
            ("shop。com", "***"),
            ("sh\u{200b}op.c\u{ad}om", "***"),
            ("shop dot com", "***"),
            ("shop (dot) com", "***"),
            ("shop[.]com/path", "***"),
            ("shop . com", "***"),
            ("shop точка ru", "***"),
            ("мойсайт.рф", "***"),
            ("мойсайт.ру и mysite точка ру", "*** и ***"),
            ("гугл.сом", "***"),
            ("t . me/joe and wa . me / 123", "*** and ***"),
            ("сайт.онлайн/товар", "***"),
            ("s h o p . c o m", "***"),
            ("(shop.com)", "(***)"),
            ("evil,com evil,ru!", "*** ***!"),
            ("evil•com, evil·com", "***, ***"),
            ("evil (dot) com, evil [.] com, evil [,] com", "***, ***, ***"),
            ("evil (dot) shop, evil[.]io/x, evil {точка} онлайн", "***, ***, ***"),
            ("sub.evil (dot) com", "***"),
            ("sub (dot) evil (dot) com (dot) Thanks", "*** (dot) Thanks"),
            ("sub dot evil dot com, evil_dot_com, evil-dot-com", "***, ***, ***"),
            ("evil точка ру, evil точка ком, evil тчк нет", "***, ***, ***"),
            ("evil . com evil. com", "*** ***"),
            ("192.168.0.1:8080/x", "***"),
            ("http://95.213.4.12, 95.213.4.12:8080, 1.2.3.4/x", "***, ***, ***"),
            ("Join 95.213.4.12, or (185.199.108.153).", "Join ***, or (***)."),
            ("IP 10.0.0.1, server: 8.8.8.8", "IP ***, server: ***"),
            ("95[.]213[.]4[.]12, 95 dot 213 dot 4 dot 12, 95 . 213 . 4 . 12", "***, ***, ***"),
            ("bit.ly/3abc", "***"),
            ("shop.example.co.uk", "***"),
            ("xn--e1afmkfd.xn--p1ai", "***"),
            ("a.com b.com", "*** ***"),
            ("a.com,b.com", "***,***"),
        ],
    );
}

fn with_exceptions(kind: Kind, exceptions: &[&str]) -> Matcher {
    let exceptions = exceptions.iter().map(|it| (*it).to_owned()).collect();
    let entry = Entry { id: 1, kind, phrase: String::new(), action: Action::Mask, exceptions };
    entry.check().unwrap();
    Matcher::new(vec![entry]).unwrap().0
}

#[test]
fn the_shops_own_addresses_are_allowed() {
    let links = with_exceptions(Kind::Link, &["shop.example", "Магазин.рф"]);
    all_stay(
        &links,
        &["https://shop.example/p/1", "www.shop.example", "cdn.shop.example", "магазин.рф/x"],
    );
    all_become(
        &links,
        &[
            ("https://myshop.com/shop.example", "***"),
            ("https://shop.example.evil.com", "***"),
            ("evilshop.com", "***"),
        ],
    );
    let emails = with_exceptions(Kind::Email, &["shop.example"]);
    all_stay(&emails, &["help@shop.example"]);
    all_become(&emails, &[("help@shop.example.evil.com", "***")]);
    let phones = with_exceptions(Kind::Phone, &["800 555-35-35"]);
    all_stay(&phones, &["8 800 555-35-35", "+7 800 5553535"]);
    all_become(&phones, &[("8 800 555-35-36", "***")]);
}
