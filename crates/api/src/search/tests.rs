//! Tests: what is found is the same with the index and without it, and in both databases; and it is what a reader of all
//! that the caller may see would have found.

use std::collections::BTreeMap;

use super::index::{MAX_TOKENS, message_tokens};
use super::indexer::{TOKENS, follow, gather};
use super::query::Query;
use crate::chat::changes::{self, MessageChange};
use crate::chat::screening::WordList;
use crate::chat::{retention, search, threads};
use crate::store::testing::{Fresh, databases};
use crate::store::{Id, SearchTerm, SubjectType, ThreadFilter, ThreadStatus};
use crate::testing::{about, about_product, acting, context, say, shop, start};

/// Of many languages; each is said once by somebody in each thread.
const TEXTS: [&str; 24] = [
    "Is the blue mug dishwasher-safe?",
    "Mugs, mugs, mugs: 3 of them, order A-1001.",
    "A mug that is blue, please; write to anna@example.com",
    "Do you have two spoons, too?",
    "Кружка синяя, можно мыть в посудомойке?",
    "Ещё одну кружку, пожалуйста. Мой заказ A-1002",
    "Твои ёлки и ели",
    "Щиро дякую! Чи є їжа для їжака?",
    "Grüße aus Köln, die Straße ist schön",
    "Der Geschirrspüler und die Tassen",
    "红色杯子可以放进洗碗机吗？",
    "我要两个红色的杯子，订单A-1001",
    "コーヒーカップはありますか",
    "ｺｰﾋｰが好きです",
    "아이스커피 두 잔 주세요",
    "커피잔이 깨졌어요",
    "أريد قهوة ساخنة من فضلك",
    "هل لديكم أكواب زرقاء؟",
    "ขอแก้วกาแฟสีแดง",
    "Merci 👍👍🏽 à bientôt",
    "ok 🎉",
    "100% sure_thing 3.50 € №7",
    "Ｆｕｌｌ ｗｉｄｔｈ and ﬁne print",
    "donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft",
];

const QUERIES: [&str; 38] = [
    "mug",
    "mu",
    "MUGS",
    "blue mug",
    "\"blue mug\"",
    "\"mug blue\"",
    "a-1001",
    "1001",
    "A-100",
    "anna@example",
    "spoons too",
    "кружк",
    "кружка",
    "еще",
    "ещё",
    "мой",
    "их",
    "дякую",
    "їжа",
    "grusse",
    "strasse",
    "geschirr tassen",
    "杯",
    "红色杯子",
    "杯子 红色",
    "コーヒー",
    "カップ",
    "커피",
    "커피잔",
    "قهوة",
    "أكواب",
    "กาแฟ",
    "👍",
    "🎉",
    "fine full",
    "3",
    "donaudampfschifffahrtselektrizitätenhaupt",
    "nothing of the kind",
];

/// `c` and `d` each ask the vendor `v`, `c` writes to `d`, and `d` asks for support.
fn conversations(fresh: &mut Fresh) -> Vec<(Id, &'static str)> {
    shop(fresh, 2);
    let threads = [
        ("c", start(fresh, &acting("c"), &about_product("p1", "v")).unwrap()),
        ("d", start(fresh, &acting("d"), &about_product("p2", "v")).unwrap()),
        ("c", start(fresh, &acting("c"), &about(SubjectType::User, "d")).unwrap()),
        ("d", start(fresh, &acting("d"), &about(SubjectType::Support, "support")).unwrap()),
    ];
    for (number, text) in TEXTS.iter().enumerate() {
        let (who, thread) = threads[number % threads.len()];
        say(fresh, who, thread, text);
    }
    // Some of them elsewhere as well, by the other side.
    for (number, text) in TEXTS.iter().enumerate().step_by(2) {
        let (who, thread) = [("a0", threads[0].1), ("a1", threads[1].1)][number / 2 % 2];
        say(fresh, who, thread, text);
    }
    threads.into_iter().map(|(who, thread)| (thread, who)).collect()
}

/// Puts all that there is into the index.
fn index(fresh: &mut Fresh) {
    while let Some(batch) = fresh.read(|reader| gather(reader, 1)).unwrap() {
        fresh.write(|writer| writer.add_to_search(&batch)).unwrap();
    }
    while !fresh.read(|reader| reader.changed_since_indexed(Id::MAX)).unwrap().is_empty() {
        fresh.write(follow).unwrap();
    }
}

/// In how many epochs the index has a row of a token.
fn rows(fresh: &mut Fresh, token: &str) -> usize {
    let term = SearchTerm { token: token.into(), prefix: true };
    fresh.read(|reader| reader.search_blocks(&[0], &[term])).unwrap().len()
}

fn change(fresh: &mut Fresh, who: &str, message: Id, text: &str) {
    let change = MessageChange { text: text.into() };
    let list = WordList::empty();
    fresh
        .write(|writer| changes::edit(writer, &acting(who), &context(), &list, message, &change))
        .unwrap();
}

#[test]
fn a_thread_that_is_forgotten_leaves_nothing_in_the_index() {
    for mut fresh in databases() {
        shop(&mut fresh, 1);
        let thread = start(&mut fresh, &acting("c"), &about_product("p", "v")).unwrap();
        for who in ["c", "a0", "staff"] {
            say(&mut fresh, who, thread, "dishwasher");
        }
        index(&mut fresh);
        let now = context().timestamp();
        // Who was there when the messages came into the index.
        fresh.write(|writer| writer.leave_as_staff("staff", None, now)).unwrap();
        assert_eq!(rows(&mut fresh, ":user:staff"), 1);
        let later = now + chrono::TimeDelta::days(1);
        let forget = |writer: &mut crate::store::Writer<'_>| {
            retention::forget_thread(writer, thread, later, later)
        };
        while !fresh.write(forget).unwrap() {}
        assert_eq!(rows(&mut fresh, ""), 0, "{}", fresh.url);
    }
}

/// So many words, each of which nothing else says.
fn words(prefix: &str, count: usize) -> String {
    let words: Vec<String> = (0..count).map(|number| format!("{prefix}{number}")).collect();
    words.join(" ")
}

/// The ids of what is found, by following the cursors.
fn found(fresh: &mut Fresh, who: &str, query: &str, filter: &ThreadFilter, limit: i64) -> Vec<Id> {
    let (mut ids, mut before) = (Vec::new(), None);
    for _ in 0..1000 {
        let page = fresh
            .read(|reader| search::search(reader, &acting(who), query, filter, None, before, limit))
            .unwrap();
        ids.extend(page.results.iter().map(|result| result.message.id));
        assert!(page.results.iter().all(|result| {
            result.thread.id == result.message.thread_id
                && result.highlights.iter().any(|piece| piece.hit)
        }));
        match page.next_cursor {
            Some(cursor) => before = cursor.parse().ok(),
            None => return ids,
        }
    }
    panic!("{query} comes to no end");
}

fn listed(fresh: &mut Fresh, who: &str, query: &str, filter: &ThreadFilter) -> Vec<Id> {
    let (mut ids, mut filter) = (Vec::new(), filter.clone());
    for _ in 0..1000 {
        let page = fresh
            .read(|reader| search::list_threads(reader, &acting(who), query, &filter, None, 3))
            .unwrap();
        ids.extend(page.threads.iter().map(|thread| thread.id));
        match page.next_cursor {
            Some(cursor) => filter.below = cursor.parse().ok(),
            None => return ids,
        }
    }
    panic!("{query} comes to no end");
}

/// All messages that somebody may see, the newest first.
fn all(fresh: &mut Fresh, threads: &[Id]) -> Vec<(Id, Id, String)> {
    let mut messages = fresh.read(|reader| reader.messages_between(0, Id::MAX, 1000)).unwrap();
    messages.retain(|it| threads.contains(&it.thread_id) && it.deleted_at.is_none());
    messages.into_iter().map(|it| (it.id, it.thread_id, it.text)).collect()
}

#[test]
fn both_databases_find_what_a_reader_of_everything_would_find() {
    let mut by_database: Vec<BTreeMap<(&str, &str), Vec<Id>>> = Vec::new();
    for mut fresh in databases() {
        let threads = conversations(&mut fresh);
        let ids: Vec<Id> = threads.iter().map(|(thread, _)| *thread).collect();
        let people = [
            ("c", vec![ids[0], ids[2]]),
            ("d", vec![ids[1], ids[2], ids[3]]),
            ("a0", vec![ids[0], ids[1]]),
            ("staff", ids.clone()),
        ];
        let filter = ThreadFilter::default();
        let mut answers = BTreeMap::new();
        for is_indexed in [false, true] {
            if is_indexed {
                index(&mut fresh);
                // And some that are newer than the index.
                say(&mut fresh, "c", ids[0], "One more blue mug 杯子");
            }
            for (who, theirs) in &people {
                let messages = all(&mut fresh, theirs);
                for query in QUERIES {
                    let wanted = Query::parse(query).unwrap();
                    let says = messages.iter().filter(|(.., text)| wanted.find(text).is_some());
                    let expected: Vec<Id> = says.clone().map(|(id, ..)| *id).collect();
                    let told = format!("{} {who} {query} {is_indexed}", fresh.url);
                    assert_eq!(found(&mut fresh, who, query, &filter, 2), expected, "{told}");
                    let mut threads: Vec<Id> = says.map(|(_, thread, _)| *thread).collect();
                    threads.sort_unstable();
                    threads.dedup();
                    let mut list = listed(&mut fresh, who, query, &filter);
                    list.sort_unstable();
                    assert_eq!(list, threads, "{told}");
                    answers.insert((*who, query), expected);
                }
            }
        }
        let some = answers.iter().filter(|(_, ids)| !ids.is_empty()).count();
        assert!(some > 90, "only {some} found anything");
        by_database.push(answers);
    }
    for other in by_database.iter().skip(1) {
        assert_eq!(other, &by_database[0], "the databases differ");
    }
}

#[test]
fn the_filters_of_the_list_hold_for_the_search() {
    for mut fresh in databases() {
        let threads = conversations(&mut fresh);
        let ids: Vec<Id> = threads.iter().map(|(thread, _)| *thread).collect();
        index(&mut fresh);
        let none = ThreadFilter::default();
        let filters = [
            ThreadFilter { vendor_id: Some("v".into()), ..none.clone() },
            ThreadFilter { customer_id: Some("d".into()), ..none.clone() },
            ThreadFilter { subject_type: Some(SubjectType::Support), ..none.clone() },
            ThreadFilter { status: Some(ThreadStatus::Closed), ..none.clone() },
            ThreadFilter { flagged: Some(false), ..none.clone() },
            ThreadFilter { flagged: Some(true), ..none.clone() },
            ThreadFilter { vendor_id: Some("elsewhere".into()), ..none.clone() },
        ];
        for filter in filters {
            for who in ["c", "d", "a0", "staff"] {
                let page = fresh
                    .read(|reader| threads::list(reader, &acting(who), &filter, None, 100))
                    .unwrap();
                let mut theirs: Vec<Id> = page.threads.iter().map(|it| it.id).collect();
                let messages = all(&mut fresh, &theirs);
                let wanted = Query::parse("a").unwrap();
                let says = messages.iter().filter(|(.., text)| wanted.find(text).is_some());
                let expected: Vec<Id> = says.clone().map(|(id, ..)| *id).collect();
                assert_eq!(found(&mut fresh, who, "a", &filter, 3), expected, "{who} {filter:?}");
                theirs.retain(|id| says.clone().any(|(_, thread, _)| thread == id));
                assert_eq!(listed(&mut fresh, who, "a", &filter), theirs, "{who} {filter:?}");
            }
        }
        assert!(!found(&mut fresh, "staff", "a", &none, 3).is_empty());
        assert!(ids.len() == 4);
    }
}

#[test]
fn what_is_changed_or_taken_back_is_found_no_more() {
    for mut fresh in databases() {
        shop(&mut fresh, 1);
        let thread = start(&mut fresh, &acting("c"), &about_product("p1", "v")).unwrap();
        let filter = ThreadFilter::default();
        for is_indexed in [false, true] {
            say(&mut fresh, "c", thread, &format!("an apple {is_indexed}"));
            say(&mut fresh, "c", thread, &format!("an apricot {is_indexed}"));
            if is_indexed {
                index(&mut fresh);
            }
            let id = found(&mut fresh, "a0", "apple", &filter, 9)[0];
            let made = fresh.statements(|fresh| {
                change(fresh, "c", id, "a pear");
                let apricot = id + 1;
                let caller = acting("c");
                fresh
                    .write(|writer| changes::delete(writer, &caller, &context(), apricot))
                    .unwrap();
            });
            let is_index = |sql: &&String| sql.contains("search_blocks");
            assert_eq!(made.iter().find(is_index), None, "the index follows behind the posts");
            assert_eq!(found(&mut fresh, "a0", "apple", &filter, 9), [0; 0]);
            assert_eq!(found(&mut fresh, "a0", "apricot", &filter, 9), [0; 0]);
            assert_eq!(found(&mut fresh, "a0", "pear", &filter, 9)[0], id);
        }
        assert_eq!((rows(&mut fresh, "apple"), rows(&mut fresh, "apricot")), (1, 1));
        index(&mut fresh);
        assert_eq!(found(&mut fresh, "a0", "pear", &filter, 9).len(), 2);
        assert_eq!(found(&mut fresh, "a0", "apple", &filter, 9), [0; 0]);
        // Nor does the index keep what is said no longer, not even as a word that nobody says.
        assert_eq!((rows(&mut fresh, "apple"), rows(&mut fresh, "apricot")), (0, 0));
        assert_eq!(rows(&mut fresh, "pear"), 1);
    }
}

#[test]
fn what_is_changed_while_it_comes_into_the_index_is_found_as_it_is() {
    for mut fresh in databases() {
        shop(&mut fresh, 1);
        let thread = start(&mut fresh, &acting("c"), &about_product("p1", "v")).unwrap();
        say(&mut fresh, "c", thread, "an apple");
        let batch = fresh.read(|reader| gather(reader, 1)).unwrap().unwrap();
        let id = batch.up_to;
        change(&mut fresh, "c", id, "a quince");
        change(&mut fresh, "c", id, "a pear");
        fresh.write(|writer| writer.add_to_search(&batch)).unwrap();
        let filter = ThreadFilter::default();
        for _ in 0..2 {
            assert_eq!(found(&mut fresh, "a0", "pear", &filter, 9), [id]);
            assert_eq!(found(&mut fresh, "a0", "apple", &filter, 9), [0; 0]);
            index(&mut fresh);
        }
        assert_eq!((rows(&mut fresh, "pear"), rows(&mut fresh, "apple")), (1, 0));
    }
}

#[test]
fn a_message_of_very_many_words_is_found_by_all_of_them_and_costs_little() {
    for mut fresh in databases() {
        shop(&mut fresh, 1);
        let thread = start(&mut fresh, &acting("c"), &about_product("p1", "v")).unwrap();
        // 10,000 letters, each with another one behind it than before.
        let chinese: String =
            (0..10_000).filter_map(|n| char::from_u32(0x4e00 + n * 7 % 20_000)).collect();
        say(&mut fresh, "c", thread, &chinese);
        say(&mut fresh, "a0", thread, "A short answer");
        index(&mut fresh);
        let pair: String = chinese.chars().skip(5000).take(2).collect();
        assert_eq!((rows(&mut fresh, &pair), rows(&mut fresh, "short")), (0, 1));
        assert_eq!(message_tokens(&chinese).len(), 1);
        let filter = ThreadFilter::default();
        let letters: Vec<char> = chinese.chars().collect();
        for from in [0, 5000, 9990] {
            let part: String = letters[from..from + 8].iter().collect();
            assert_eq!(found(&mut fresh, "a0", &part, &filter, 9).len(), 1, "{part}");
            assert_eq!(listed(&mut fresh, "c", &format!("\"{part}\""), &filter), [thread]);
        }
        assert_eq!(found(&mut fresh, "a0", "杯子杯子", &filter, 9), [0; 0]);
        assert_eq!(found(&mut fresh, "a0", "short", &filter, 9).len(), 1);
    }
}

#[test]
fn no_commit_of_the_index_has_more_words_than_its_share() {
    for mut fresh in databases() {
        shop(&mut fresh, 1);
        let thread = start(&mut fresh, &acting("c"), &about_product("p1", "v")).unwrap();
        for number in 0..9 {
            say(&mut fresh, "c", thread, &words(&format!("a{number}x"), MAX_TOKENS));
        }
        let mut batches = 0;
        while let Some(batch) = fresh.read(|reader| gather(reader, 1)).unwrap() {
            // Who may see it comes to the words.
            assert!(batch.tokens.len() < TOKENS + MAX_TOKENS + 10, "{}", batch.tokens.len());
            fresh.write(|writer| writer.add_to_search(&batch)).unwrap();
            batches += 1;
        }
        assert_eq!(batches, 3);
        // Nor has one that follows changes: of each of these, as many words go as come.
        let last = fresh.read(|reader| reader.search_position()).unwrap();
        for number in 0..9 {
            change(&mut fresh, "c", last - number, &words("b", MAX_TOKENS));
        }
        let left = |fresh: &mut Fresh| {
            fresh.read(|reader| reader.changed_since_indexed(Id::MAX)).unwrap().len()
        };
        let mut before = left(&mut fresh);
        assert_eq!(before, 9);
        while before > 0 {
            fresh.write(follow).unwrap();
            let now = left(&mut fresh);
            assert!(now < before && before - now <= 4, "{before} {now}");
            before = now;
        }
        assert_eq!((rows(&mut fresh, "a8x999"), rows(&mut fresh, "b999")), (0, 1));
    }
}

#[test]
fn what_very_many_say_is_found_page_by_page() {
    for mut fresh in databases() {
        shop(&mut fresh, 1);
        // Ten messages in each of a thousand threads, and a long thread that says something else.
        fresh.grow(10_000);
        index(&mut fresh);
        let filter = ThreadFilter::default();
        for who in ["staff", "a0"] {
            let scope = if who == "staff" { "everybody's" } else { "the vendor's" };
            let mut expected = Vec::new();
            let mut below = None;
            loop {
                let filter = ThreadFilter { below, ..ThreadFilter::default() };
                let page = fresh
                    .read(|reader| threads::list(reader, &acting(who), &filter, None, 100))
                    .unwrap();
                let says = page.threads.iter().filter(|thread| {
                    let last = thread.last_message.as_ref();
                    last.is_some_and(|it| it.text.contains("dishwasher"))
                });
                expected.extend(says.map(|thread| thread.id));
                match page.next_cursor {
                    Some(cursor) => below = cursor.parse().ok(),
                    None => break,
                }
            }
            let mut all = Vec::new();
            let mut listing = filter.clone();
            loop {
                let page = fresh
                    .read(|reader| {
                        let q = "dishwash order";
                        search::list_threads(reader, &acting(who), q, &listing, None, 100)
                    })
                    .unwrap();
                all.extend(page.threads.iter().map(|thread| thread.id));
                match page.next_cursor {
                    Some(cursor) => listing.below = cursor.parse().ok(),
                    None => break,
                }
            }
            assert!(expected.len() >= 100, "{scope}: {}", expected.len());
            assert_eq!(all, expected, "{scope}");
        }
        // Whose words everybody says, but nobody in this order: no call goes through all of them.
        let mut listing = filter.clone();
        let mut calls = 0;
        loop {
            let mut page = None;
            let made = fresh.statements(|fresh| {
                let q = "\"order dishwasher\"";
                let list = |reader: &mut crate::store::Reader<'_>| {
                    search::list_threads(reader, &acting("staff"), q, &listing, None, 100)
                };
                page = Some(fresh.read(list).unwrap());
            });
            let looked = made.iter().filter(|sql| sql.contains("`messages`.`id` IN")).count();
            // Ten messages in a thread: 1,000 at first, and 2,000 on the way.
            assert!(looked <= 1000 / 128 + 1 + 2000 / 10 + 1, "{looked}");
            calls += 1;
            let page = page.unwrap();
            assert!(page.threads.is_empty() && calls < 20);
            match page.next_cursor {
                Some(cursor) => listing.below = cursor.parse().ok(),
                None => break,
            }
        }
        assert!(calls >= 5, "{calls}");
        let newest = found(&mut fresh, "a0", "\"order dishwasher\"", &filter, 100);
        assert_eq!(newest, [0; 0], "words in another order");
        let page = fresh
            .read(|reader| {
                search::search(reader, &acting("staff"), "dishwasher", &filter, None, None, 10)
            })
            .unwrap();
        let ids: Vec<Id> = page.results.iter().map(|result| result.message.id).collect();
        assert!(ids.len() == 10 && ids.is_sorted_by(|a, b| a > b), "{ids:?}");
    }
}
