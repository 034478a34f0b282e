//! Tests of rules that need a store, on each database: what went wrong once, or is easier to bring about here than over HTTP.

use crate::chat::messages::History;
use crate::chat::screening::WordList;
use crate::chat::starting::ThreadStart;
use crate::chat::{ChatError, Refusal, events, messages, threads};
use crate::store::testing::databases;
use crate::store::{Store, SubjectType, ThreadFilter};
use crate::testing::{
    about, about_product, acting, browser, context, draft, plain_thread, say, shop, start,
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
