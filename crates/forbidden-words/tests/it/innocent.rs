//! What a filter that is too keen would mask.

use chaffer_forbidden_words::Kind;

use crate::{all_stay, kind, phrases};

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
