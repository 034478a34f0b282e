//! Tests of rules that need a store, on each database: what went wrong once, or is easier to bring about here than over HTTP.

use std::sync::Arc;

use crate::chat::messages::History;
use crate::chat::screening::WordList;
use crate::chat::starting::ThreadStart;
use crate::chat::threads::ThreadPatch;
use crate::chat::unread::{self, ReadUpTo};
use crate::chat::vendors::VendorInput;
use crate::chat::{ChatError, Context, Refusal, events, messages, threads, vendors};
use crate::store::testing::databases;
use crate::store::{
    ForbiddenWord, Id, Store, SubjectType, ThreadFilter, ThreadStatus, VendorStatus, WordAction,
    WordKind, Writer,
};
use crate::testing::{
    about, about_product, acting, browser, context, draft, plain_thread, say, shop, start, vendor,
};

fn refusal<T: std::fmt::Debug>(result: Result<T, ChatError>) -> Refusal {
    match result {
        Err(ChatError::Refused(refusal)) => refusal,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[tokio::test]
async fn many_events_in_one_commit_do_not_make_it_fail() {
    for mut fresh in databases() {
        shop(&mut fresh, 150);
        let thread = start(&mut fresh, &acting("c"), &about(SubjectType::Vendor, "v")).unwrap();
        let store = Store::open(&fresh.url, 1, 100).unwrap();
        let posts = (0..40).map(|number| {
            let draft = draft(&format!("message {number}"));
            store.write(move |writer| {
                messages::post(
                    writer,
                    &acting("c"),
                    &context(),
                    &WordList::empty(),
                    None,
                    thread,
                    &draft,
                )
            })
        });
        for (number, post) in futures_util::future::join_all(posts).await.into_iter().enumerate() {
            assert!(post.is_ok(), "{}: message {number}: {post:?}", fresh.url);
        }
        let admin = fresh.read(|reader| reader.user("a149")).unwrap().unwrap();
        assert_eq!(admin.unread_total, 40);
    }
}

#[tokio::test]
async fn who_is_refused_leaves_the_others_of_the_commit_alone() {
    for mut fresh in databases() {
        shop(&mut fresh, 1);
        let thread = start(&mut fresh, &acting("c"), &about(SubjectType::Vendor, "v")).unwrap();
        let store = Store::open(&fresh.url, 1, 100).unwrap();
        // What is written while this one holds the writer's thread is one group.
        let (go, held) = std::sync::mpsc::channel::<()>();
        let hold = store.write(move |_| {
            held.recv().ok();
            Ok::<_, ChatError>(())
        });
        let posts = (0..9).map(|number| {
            let draft = draft(&format!("message {number}"));
            store.write(move |writer| {
                let (caller, words) = (acting("c"), WordList::empty());
                let posted =
                    messages::post(writer, &caller, &context(), &words, None, thread, &draft)?;
                // Too late for it to have stored nothing.
                if number % 3 == 1 { Err(Refusal::NotAllowed.into()) } else { Ok(posted) }
            })
        });
        let all = futures_util::future::join_all(posts);
        let (_, posts, ()) = tokio::join!(hold, all, async move { drop(go) });
        for (number, post) in posts.into_iter().enumerate() {
            match number % 3 {
                1 => assert_eq!(refusal(post), Refusal::NotAllowed),
                _ => assert!(post.is_ok(), "{}: message {number}: {post:?}", fresh.url),
            }
        }
        let newest = History::Newest;
        let page = fresh
            .read(|reader| messages::history(reader, &acting("a0"), thread, newest, 30))
            .unwrap();
        let texts: Vec<_> = page.messages.iter().map(|it| it.text.as_str()).collect();
        let kept = [0, 2, 3, 5, 6, 8].map(|number| format!("message {number}"));
        assert_eq!(texts, kept, "{}", fresh.url);
        let ids: Vec<_> = page.messages.iter().map(|it| it.id).collect();
        assert_eq!(ids, Vec::from_iter(1..=6), "{}: a number was lost", fresh.url);
        assert_eq!(fresh.read(|reader| reader.user("a0")).unwrap().unwrap().unread_total, 6);
    }
}

/// What somebody does in one of the threads of [`posts_that_share_a_commit_leave_what_they_leave_one_by_one`].
#[derive(Debug, Clone)]
enum Deed {
    Post { who: &'static str, thread: Id, text: String },
    Read { who: &'static str, thread: Id, up_to: Id },
    Close { thread: Id, status: ThreadStatus },
    Vendor { status: VendorStatus },
}

async fn carry_out(
    store: &Store,
    list: &Arc<WordList>,
    now: chrono::DateTime<chrono::Utc>,
    deed: Deed,
) -> String {
    let list = Arc::clone(list);
    let context = move || Context { now, ..context() };
    match deed {
        Deed::Post { who, thread, text } => {
            let rule = move |writer: &mut Writer<'_>| {
                messages::post(writer, &acting(who), &context(), &list, None, thread, &draft(&text))
            };
            format!("{:?}", store.write_into(Some(thread), rule).await)
        }
        Deed::Read { who, thread, up_to } => {
            let rule = move |writer: &mut Writer<'_>| {
                unread::read(writer, &acting(who), &context(), thread, &ReadUpTo { up_to })
            };
            format!("{:?}", store.write(rule).await)
        }
        Deed::Close { thread, status } => {
            let rule = move |writer: &mut Writer<'_>| {
                let patch = ThreadPatch { status: Some(status) };
                threads::patch(writer, &acting("staff"), &context(), thread, &patch)
            };
            format!("{:?}", store.write(rule).await.map(drop))
        }
        Deed::Vendor { status } => {
            let rule = move |writer: &mut Writer<'_>| {
                vendors::save(writer, &context(), "v", &VendorInput { status, ..vendor("Kiln") })
            };
            format!("{:?}", store.write(rule).await.map(drop))
        }
    }
}

#[tokio::test]
async fn posts_that_share_a_commit_leave_what_they_leave_one_by_one() {
    const PEOPLE: [&str; 5] = ["c", "d", "a0", "a1", "staff"];
    for (mut alone, mut together) in databases().into_iter().zip(databases()) {
        let mut now = context().now;
        let mut threads = Vec::new();
        for fresh in [&mut alone, &mut together] {
            shop(fresh, 2);
            let of_c = start(fresh, &acting("c"), &about_product("p", "v")).unwrap();
            let of_d = start(fresh, &acting("d"), &about(SubjectType::Vendor, "v")).unwrap();
            let support = start(fresh, &acting("c"), &about(SubjectType::Support, "help")).unwrap();
            threads = vec![of_c, of_d, support];
        }
        // One entry, as if each shop had it on its list already.
        let word = ForbiddenWord {
            id: 1,
            kind: WordKind::Phrase,
            phrase: "forbidden".into(),
            action: WordAction::Mask,
            exceptions: "[]".into(),
            plain: "forbidden".into(),
            plain_hash: String::new(),
            created_at: context().timestamp(),
            updated_at: context().timestamp(),
        };
        let list = Arc::new(WordList::compile(0, &[word]).unwrap());
        let stores = [&alone, &together].map(|fresh| Store::open(&fresh.url, 1, 100).unwrap());
        for round in 0..25 {
            now += chrono::TimeDelta::seconds(1);
            let posters =
                [("c", 0), ("a0", 0), ("a1", 0), ("d", 1), ("a0", 1), ("a1", 1), ("c", 2)];
            let deeds: Vec<Deed> = (0..rand::random_range(2..24))
                .map(|nth| {
                    let (who, thread) = match rand::random_range(0..40) {
                        // Staff join with their first word; `d` is a stranger here, and refused.
                        0 => ("staff", rand::random_range(0..3)),
                        1 => ("d", 0),
                        it => posters[it % posters.len()],
                    };
                    let thread = threads[thread];
                    match rand::random_range(0..40) {
                        // A closed thread, or a vendor that is switched off, refuses until it is opened again.
                        0 => Deed::Close { thread, status: ThreadStatus::Closed },
                        1..3 => Deed::Close { thread, status: ThreadStatus::Open },
                        3 => Deed::Vendor { status: VendorStatus::Disabled },
                        4..6 => Deed::Vendor { status: VendorStatus::Active },
                        6..10 => Deed::Read { who, thread, up_to: rand::random_range(1..60) },
                        // Sent twice, some of them.
                        10..14 => Deed::Post { who, thread, text: format!("{round} for {thread}") },
                        14..17 => {
                            Deed::Post { who, thread, text: format!("forbidden {round}.{nth}") }
                        }
                        _ => Deed::Post { who, thread, text: format!("{round}.{nth}") },
                    }
                })
                .collect();
            let mut expected = Vec::new();
            for deed in &deeds {
                expected.push(carry_out(&stores[0], &list, now, deed.clone()).await);
            }
            let (go, held) = std::sync::mpsc::channel::<()>();
            let hold = stores[1].write(move |_| {
                held.recv().ok();
                Ok::<_, ChatError>(())
            });
            let answers = deeds.iter().map(|deed| carry_out(&stores[1], &list, now, deed.clone()));
            let answers = futures_util::future::join_all(answers);
            let (_, answers, ()) = tokio::join!(hold, answers, async { drop(go) });
            assert_eq!(answers, expected, "{}: {deeds:#?}", alone.url);
            let left = [&mut alone, &mut together].map(|fresh| {
                fresh.read(|reader| {
                    let mut rows: Vec<String> = Vec::new();
                    let mut stored = reader.threads(&threads).unwrap();
                    stored.sort_by_key(|it| it.id);
                    rows.extend(stored.iter().filter(|it| it.last_message_id.is_some()).map(
                        |it| {
                            format!(
                                "{} {:?} {} {}",
                                it.id, it.last_message_id, it.activity, it.updated_at
                            )
                        },
                    ));
                    rows.extend(reader.everybody_in(&threads).unwrap().iter().map(|it| {
                        format!(
                            "{} {} {} {}",
                            it.thread_id, it.participant_id, it.last_read_message_id, it.activity
                        )
                    }));
                    for user in reader.users(&PEOPLE).unwrap() {
                        rows.push(format!("{} {}", user.id, user.unread_total));
                        let states = reader.all_read_states(&user.id).unwrap();
                        rows.extend(states.iter().map(|it| format!("{it:?}")));
                    }
                    for it in reader.events_after(0, 10_000).unwrap() {
                        rows.push(format!("{} {} {:?} {:?}", it.id, it.name, it.topics, it.cause));
                    }
                    rows.sort();
                    rows
                })
            });
            assert_eq!(left[1], left[0], "{}: {deeds:#?}", alone.url);
        }
    }
}

#[test]
fn the_pages_of_unread_threads_come_to_an_end() {
    for mut fresh in databases() {
        shop(&mut fresh, 1);
        let mut started = Vec::new();
        for product in ["p1", "p2", "p3"] {
            let thread = start(&mut fresh, &acting("c"), &about_product(product, "v")).unwrap();
            say(&mut fresh, "c", thread, product);
            started.push(thread);
        }
        // Answers without having read: the thread moves to the top and stays unread.
        say(&mut fresh, "a0", started[1], "an answer");
        let (mut seen, mut below) = (Vec::new(), None);
        for _ in 0..10 {
            let filter = ThreadFilter { below, ..ThreadFilter::default() };
            let page = fresh
                .read(|reader| threads::list(reader, &acting("a0"), &filter, Some(true), 1))
                .unwrap();
            seen.extend(page.threads.iter().map(|thread| thread.id));
            match page.next_cursor {
                Some(cursor) => below = cursor.parse().ok(),
                None => break,
            }
        }
        assert_eq!(seen, [started[1], started[2], started[0]], "{}", fresh.url);
    }
}

#[test]
fn a_browser_brings_nobody_into_a_thread_without_the_shops_word() {
    for mut fresh in databases() {
        shop(&mut fresh, 1);
        let vendor_admin = browser(&mut fresh, "a0");
        let customer = browser(&mut fresh, "c");
        let with = |customer: &str, input: ThreadStart| ThreadStart {
            customer_id: Some(customer.into()),
            ..input
        };
        // Somebody who is there and somebody who is not get the same answer.
        for wanted in ["d", "nobody"] {
            let input = with(wanted, about(SubjectType::Vendor, "v"));
            assert_eq!(
                refusal(start(&mut fresh, &vendor_admin, &input)),
                Refusal::SubjectSignatureRequired
            );
            let input = with(wanted, about(SubjectType::Support, "support"));
            assert_eq!(refusal(start(&mut fresh, &vendor_admin, &input)), Refusal::NotAllowed);
            let input = about(SubjectType::User, wanted);
            assert_eq!(
                refusal(start(&mut fresh, &customer, &input)),
                Refusal::SubjectSignatureRequired
            );
        }
        // As many support threads as one can invent names for: no.
        let input = about(SubjectType::Support, "fake order 1");
        assert_eq!(
            refusal(start(&mut fresh, &customer, &input)),
            Refusal::SubjectSignatureRequired
        );
        assert!(start(&mut fresh, &customer, &about(SubjectType::Support, "support")).is_ok());
        assert!(start(&mut fresh, &customer, &about(SubjectType::Vendor, "v")).is_ok());
    }
}

#[test]
fn a_cursor_from_the_end_of_time_has_expired() {
    for mut fresh in databases() {
        shop(&mut fresh, 0);
        let feed = fresh.read(|reader| events::feed(reader, &acting("c"), Some(i64::MAX), 10));
        assert_eq!(refusal(feed), Refusal::CursorExpired);
    }
}

#[test]
fn staff_find_what_they_filter_by() {
    use crate::store::{SubjectType as Type, Thread, ThreadStatus as Status};
    let types = [Type::Product, Type::Order, Type::Vendor, Type::User, Type::Support];
    for mut fresh in databases() {
        shop(&mut fresh, 0);
        let mut all: Vec<Thread> = Vec::new();
        for (subject_type, status, flagged) in types.into_iter().flat_map(|subject_type| {
            [Status::Open, Status::Closed].into_iter().flat_map(move |status| {
                [false, true].into_iter().map(move |flagged| (subject_type, status, flagged))
            })
        }) {
            let thread = Thread { status, flagged, ..plain_thread(all.len(), subject_type) };
            all.insert(0, thread);
        }
        fresh
            .write(|writer| all.iter().try_for_each(|thread| writer.insert_thread(thread)))
            .unwrap();
        let wanted_types = types.map(Some).into_iter().chain([None]);
        for subject_type in wanted_types {
            for status in [None, Some(Status::Open), Some(Status::Closed)] {
                for flagged in [None, Some(false), Some(true)] {
                    let filter =
                        ThreadFilter { subject_type, status, flagged, ..ThreadFilter::default() };
                    let found = fresh
                        .read(|reader| threads::list(reader, &acting("staff"), &filter, None, 50))
                        .unwrap();
                    let found: Vec<i64> = found.threads.iter().map(|thread| thread.id).collect();
                    let expected: Vec<i64> = all
                        .iter()
                        .filter(|it| subject_type.is_none_or(|wanted| wanted == it.subject_type))
                        .filter(|it| status.is_none_or(|wanted| wanted == it.status))
                        .filter(|it| flagged.is_none_or(|wanted| wanted == it.flagged))
                        .map(|thread| thread.id)
                        .collect();
                    assert_eq!(found, expected, "{}: {filter:?}", fresh.url);
                }
            }
        }
    }
}
