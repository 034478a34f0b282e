//! Addresses of the internet protocol, version 4, that stand in a text by themselves. Four numbers with dots are often something else: a
//! version (`1.0.11.134`), a chapter, a price with its thousands parted.

use crate::fold::fold_str;

/// Words before a number with dots that is none of ours.
const OTHER: &str = "v ver vers version versions версия версии версию версией вер release releases build релиз билд сборка firmware прошивка \
    прошивки прошивку fw sw software driver drivers драйвер драйвера bios update обновление обновления upgrade patch патч app \
    android ios windows chrome kernel sdk api plugin плагин модуль раздел глава section sections chapter clause пункт пункта п п. пп ст ст. \
    статья art article артикул арт арт. sku model модель part no no. nr № # order заказ заказа номер §";
/// And before one that is.
const ADDRESS: &str = "ip айпи ипи адрес адресу address addr server сервер сервере сервера host хост хосте vpn proxy прокси connect ping \
    подключайся подключайтесь заходи заходите сайт site website";
const MONEY: &str = "€ $ £ ¥ ₽ ₴ ₸ eur usd gbp idr vnd rub rp руб грн";

/// Whether four numbers (`address`) are meant as one. `has_rest`: with a port or a path. `is_spelled`: with another thing for its dots.
pub(crate) fn is_address(
    address: &str,
    before: &str,
    after: &str,
    has_rest: bool,
    is_spelled: bool,
) -> bool {
    let Some(octets) = octets(address) else { return false };
    let mut next = after.chars();
    let goes_on = match next.next() {
        Some('.' | '-' | ',') => next.next().is_some_and(|c| c.is_ascii_digit()),
        Some(c) => c.is_alphanumeric() && !has_rest,
        None => false,
    };
    if goes_on {
        return false;
    }
    if has_rest || is_spelled {
        return true;
    }
    let split = |c: char| c.is_whitespace() || matches!(c, ':' | ',' | '(' | ')' | '=' | '"');
    let mut words = before.rsplit(split).filter(|word| !word.is_empty()).take(2);
    let is_any = |list: &str, word: &str| list.split_whitespace().any(|it| fold_str(it) == word);
    let is_money = |text: &str| {
        let is = |sign: String| text.starts_with(&sign) || text.ends_with(&sign);
        MONEY.split_whitespace().map(fold_str).any(is)
    };
    let context: Vec<&str> = words.by_ref().collect();
    if context.iter().any(|word| is_any(ADDRESS, word.trim_matches(['-', '.']))) {
        return true;
    }
    if context.iter().any(|word| is_any(OTHER, word))
        || before.trim_end().ends_with(['№', '#', '§'])
        || is_money(after.trim_start().split(split).next().unwrap_or_default())
        || context.first().is_some_and(|word| is_money(word))
    {
        return false;
    }
    // Versions begin low, and go on so.
    let [first, rest @ ..] = octets;
    let large = octets.iter().filter(|it| **it >= 100).count();
    let are_thousands = first < 10 && rest.iter().all(|it| *it >= 100);
    let middling = octets.iter().filter(|it| **it >= 10).count();
    !are_thousands && middling >= 2 && large >= if first < 10 { 2 } else { 1 }
}

/// The four numbers, if an address may have them.
fn octets(address: &str) -> Option<[u8; 4]> {
    let mut octets = [0; 4];
    let mut numbers = address.split(|c: char| !c.is_ascii_digit()).filter(|it| !it.is_empty());
    for octet in &mut octets {
        let number = numbers.next()?;
        if number.len() > 1 && number.starts_with('0') {
            return None;
        }
        *octet = number.parse().ok()?;
    }
    (numbers.next().is_none() && (1..=223).contains(&octets[0])).then_some(octets)
}
