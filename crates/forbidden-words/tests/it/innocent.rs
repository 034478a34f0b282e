//! What a filter that is too keen would mask.

use std::sync::LazyLock;

use chaffer_forbidden_words::{Action, Kind, Matcher};
use proptest::prelude::*;

use crate::{all_stay, kind, list, phrases};

#[test]
fn a_word_inside_an_innocent_longer_word_is_left_alone() {
    let list = phrases(&[
        "ass",
        "cunt",
        "shit",
        "tit",
        "cock",
        "cum",
        "rape",
        "anal",
        "sex",
        "hell",
        "хуй",
        "бля",
        "viber",
        "pushit",
        "isit",
        "therapist",
        "god",
        "sss",
        "email",
        "mall",
    ]);
    all_stay(
        &list,
        &[
            "class assistant bass grass pass assume, Scunthorpe, Penistone, Essex, Sussex, Middlesex",
            "title, constitution, cockpit, peacock, document, cucumber, grapes, drape, analysis, canal, hello, shell",
            "застрахуй, употреблять, рубля, сабля, оскорблять",
            "c l a s s",
            "c.l.a.s.s",
            "s-c-u-n-t-h-o-r-p-e",
            "cla55",
            "gra$$",
            "vibers viberrr1x",
            "his hit, push it, is it, this hit",
            "as so, as soon, was so",
            "as s",
            "good",
            "Samsung A55, A 55, a55",
            "455 pieces, $5, $55, 5.55, 4.5.5",
            "emails",
            "MAIL",
            "smalls",
        ],
    );
}

#[test]
fn neighbours_that_only_spell_a_word_are_left_alone() {
    let list = phrases(&[
        "penis",
        "idiot",
        "идиот",
        "наличные",
        "email",
        "illness",
        "shit",
        "hell",
        "ill",
        "shell",
        "well",
        "cant",
        "forbid",
        "asset",
        "дурак",
        "ass",
        "tits",
        "another",
        "pushit",
        "atone",
        "сука",
        "crap",
    ]);
    all_stay(
        &list,
        &[
            "The pen is new, and so is the cap.",
            "иди от метро прямо",
            "оплата на личные нужды",
            "cinema illnesses",
            "them ail, cinema il y a",
            "It's hit the table, his hit, this hit",
            "he'll come, she’ll come, I'll see, we'll do",
            "you can't",
            "bids are for bidders: for bid one",
            "as set in the order",
            "что эта дура к нам привязалась",
            "size as S or M",
            "size S hit me",
            "price as 5, as $",
            "an other one",
            "Send it to Ema. Il vient.",
            "Ema, il y a",
            "Ema\nil",
            "call Ema (il)",
            "at one place",
            "с ука",
            "vitamin C rap",
            "3 mail boxes, @ mail",
        ],
    );
}

#[test]
fn letters_that_are_doubled_in_another_word_are_left_alone() {
    let list = phrases(&[
        "god", "loser", "later", "super", "diner", "lose", "met", "cop", "hot", "son", "coma",
        "fuc", "ася",
    ]);
    all_stay(
        &list,
        &[
            "good, a bit looser, the latter, supper, dinner, loose, meet, coop, hoot, soon, comma",
            "Ассия",
        ],
    );
    all_stay(&phrases(&["1488", "777"]), &["14488 11488 14888 7777"]);
}

#[test]
fn numbers_of_other_kinds_are_no_phone_numbers() {
    all_stay(
        &kind(Kind::Phone),
        &[
            "Order 1234567890 has shipped",
            "order no. 89261234567",
            "Order number: 2025550123",
            "Заказ № 89261234567",
            "заказ 4012345678",
            "номер заказа 1234567890",
            "#2025550123",
            "invoice 202-555-0123",
            "SKU 0123456789",
            "EAN 4006381333931",
            "4006381333931",
            "ISBN 978-3-16-148410-0",
            "tracking 0123456789012",
            "It costs 1 234 567 890",
            "$1,234,567.00",
            "1 234 567 руб.",
            "12 500 000 ₽",
            "€ 2025550123",
            "2025550123 USD",
            "2026-11-21 10:30:00",
            "21.11.2026 - 25.11.2026",
            "21.11.2026 25.11.2026",
            "from 11/21/2026 to 11/25/2026",
            "2026-11-21T10:30:00Z",
            "1763712000",
            "1920x1080",
            "120x60x75 cm",
            "120 x 60 x 75",
            "36 37 38 39 40 41 42",
            "sizes 36-38-40-42-44",
            "10:30-18:00",
            "1.2.3.4",
            "192.168.100.200",
            "10/20/30",
            "3.14159265",
            "100 200 300",
            "2026",
            "5000000",
            "4111 1111 1111 1111",
            "1-2-3-4-5",
            "the years 2019 2020 2021 2022",
            "50 100 150 200 250 ml",
            "12.5 x 30.2 x 40.1",
            "width 120, height 200, depth 300",
            "0.5-1.5",
            "1/2 3/4 5/8",
        ],
    );
}

#[test]
fn sentences_are_no_links_and_no_addresses() {
    all_stay(
        &kind(Kind::Link),
        &[
            "Thanks.Is it new?",
            "ok.so what, it.is it, done.me too, yes.no",
            "Спасибо.по почте, Да.со скидкой, Пришло.то что надо",
            "Беру.ее цвет, 2 кг.по 300",
            "Yes.It is",
            "ok.Me too",
            "Hello.World",
            "e.g. this, i.e. that",
            "3.5 kg",
            "version 1.2.3",
            "photo.jpg, manual.pdf, readme.md",
            "Wait...what",
            "a.m. and p.m.",
            "the end. Come",
            "It is dot shaped",
            "St.Petersburg",
            "5.co",
            "No. 5. The",
            "price:100/kg",
            "and/or",
            "10.30.2026",
            "Mr.Smith",
            "U.S.A.",
            "т.е. так, т.к. нет",
            "и т.д.",
        ],
    );
    all_stay(
        &kind(Kind::Email),
        &[
            "Meet me @ home",
            "meet me at home",
            "look at this dot",
            "2 pieces @ 10.50",
            "I bought it @ shop. It was good",
            "@john",
            "see you at 10",
            "look at shop.com",
            "at example dot",
            "a@b",
            "100@200",
        ],
    );
}

static CONTACTS: LazyLock<Matcher> = LazyLock::new(|| {
    list([Kind::Email, Kind::Phone, Kind::Link].map(|kind| (kind, "", Action::Mask)))
});

/// What people write to each other in shops.
const SENTENCES: [&str; 76] = [
    "Is the mug dishwasher-safe?",
    "It costs 19.99 EUR, or $1,299.00 for all",
    "Цена 1 234 руб. 50 коп., скидка 10%",
    "Стоит 12 500,00 ₽ за 3 шт.",
    "Price: 3.5, 2,75 or 100.000,00 €",
    "It arrived on 21.11.2026 at 10:30",
    "Доставка 01.12.2026 с 10:00 до 18:00",
    "Open Mon-Fri 9:00-17:30, Sat 10-14",
    "Order #100234567 of 2026-11-21",
    "заказ № 1002345678 от 21.11.26",
    "Article 904.133.12, size 10x20x30 cm",
    "размер 10х20, толщина 3.5 мм",
    "Артикул AB-1234.56.78, цвет синий",
    "IBAN DE89 3704 0044 0532 0130 00",
    "IBAN GB29NWBK60161331926819",
    "счет 40702810500000012345, БИК 044525225",
    "ИНН 7707083893, КПП 770701001",
    "Serial SN-0O1l-23B4-S567",
    "Model B2S5-1234O",
    "tracking RA123456785CN",
    "трек-номер 80110912345678",
    "version 1.2.3.4 and v2.10.200.150",
    "Firmware 1.0.11.134, версия 95.213.4.12",
    "router 1.0.11.134",
    "раздел 1.10.100.12, п. 12.100.10.5",
    "1.250.100.200 in all, 10.250.100.200 руб, € 10.250.100.200",
    "e.g. a mug, i.e. a cup, etc.",
    "и т.д., и т.п., т.е. как обычно, т.к. нет",
    "г. Москва, ул. Ленина, д. 5, кв. 12",
    "St. Petersburg, No. 5, Mr. Smith, p.m.",
    "Please send photos. Info is missing",
    "Bought a rod. Net is missing",
    "Obrigado. Com certeza",
    "at this point net income and at this point info",
    "rod,net,line and red,blue,green",
    "щука,сом,карп",
    "Ловлю рыбу: щука. Сом. Карп",
    "10,com, 5 . com",
    "A polka dot dress, dot by dot",
    "это точка зрения, точка отсчета, и точка",
    "Red • blue • green",
    "Thanks!Is it new?Yes,it is.",
    "Да,спасибо,не надо",
    "Спасибо.Жду ответа",
    "5-10 pieces, 2/3 of them, 1:100",
    "3 x 250 ml, 12 V, 5 A, 60 W, 220-240 V",
    "36, 37, 38, 39, 40, 41 and 42",
    "36/37/38/39/40/41",
    "sizes S, M, L, XL, 2XL",
    "5 l 10 l 20 l and 1 o 2 o 3",
    "10 or 20 or 30 or 40",
    "one two three four five six",
    "раз два три четыре пять",
    "один или два, три или четыре",
    "купил два 1234567890 в заказе",
    "1 000 000, 2 000 000 and 3 000 000",
    "25 000 000 сум",
    "the years 1999, 2000 and 2026",
    "2 @ 10.50, 3 @ 20",
    "see you @ home",
    "room 1234, floor 5, entrance 2",
    "100 g, 0.5 kg, 1.75 l",
    "temperature 36.6, +20, -5.5",
    "score 3:2, ratio 16:9, scale 1:43",
    "50/50, 24/7, 3/4, 1920x1080, 4K",
    "Chapter 3.2.1 (page 45)",
    "ГОСТ 12.1.004-91, ТУ 9693-001-12345678-2015",
    "ISO 9001:2015, EN 60335-1",
    "M6x20, 1/2\", 3/4-16",
    "A4, B5, 80 g/m2",
    "photo.jpg, IMG_20261121_103000.png, bill.pdf",
    "C#, C++, Q&A, R&D",
    "10% off, 2+1, 5*3=15",
    "ok...so what",
    "мая 5,6 и 7",
    "zip 10115 Berlin, 190000 СПб",
];

#[test]
fn what_people_write_in_shops_holds_no_contacts() {
    all_stay(&CONTACTS, &SENTENCES);
}

proptest! {
    #[test]
    fn sentences_next_to_each_other_hold_none_either(
        sentences in proptest::collection::vec(proptest::sample::select(SENTENCES.to_vec()), 1..5),
        joint in proptest::sample::select(vec!["! ", "\n\n", ", ", "? "]),
    ) {
        let text = sentences.join(joint);
        let scan = CONTACTS.scan(&text);
        prop_assert!(scan.findings.is_empty(), "{text:?}: {:?}", scan.findings);
    }

    #[test]
    fn numbers_that_count_are_no_contacts(
        amount in 0_u32..100_000_000, cents in 0_u32..100, day in 1_u32..29, month in 1_u32..13, year in 2000_u32..2040,
        (wide, high) in (1_u32..5000, 1_u32..5000), (major, minor, patch, build) in (0_u8..30, 0_u8..100, any::<u8>(), any::<u8>()),
    ) {
        for text in [
            format!("{amount}.{cents:02} EUR"),
            format!("${amount}"),
            format!("{amount} руб."),
            format!("заказ {amount}, order no. {amount}{cents:02}{day:02}"),
            format!("{day:02}.{month:02}.{year} {day:02}:{cents:02}"),
            format!("{year}-{month:02}-{day:02}"),
            format!("{wide}x{high} mm, {wide} x {high}"),
            format!("version {major}.{minor}.{patch}.{build}, v{major}.{minor}.{patch}.{build}"),
            format!("версия {major}.{minor}.{patch}.{build}"),
            format!("{major}.{minor}"),
        ] {
            let scan = CONTACTS.scan(&text);
            prop_assert!(scan.findings.is_empty(), "{text:?}: {:?}", scan.findings);
        }
    }
}
