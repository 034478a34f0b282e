//! Tests: every query of the hot calls finds its rows by an index, in either database.

use crate::chat::messages::{self, History};
use crate::chat::screening::WordList;
use crate::chat::unread::{self, ReadUpTo};
use crate::chat::{events, export, search, starting, support, threads, users, vendors};
use crate::search::indexer::gather;
use crate::store::testing::{Fresh, complaint, databases};
use crate::store::{
    MailKind, MailState, NewAuditEntry, NewMail, ParticipantKind, Role, SearchBatch, SubjectType,
    Thread, ThreadFilter, ThreadStatus,
};
use crate::testing::{
    about_product, acting, context, draft, file_of, insert_key, person, plain_thread, vendor,
};

const VENDORS: usize = 10;
const CUSTOMERS: usize = 60;
const MESSAGES: usize = 6;
/// People and vendors who only stand there, so that it does not pay to read all of them.
const OTHERS: usize = 600;
/// Threads that only stand there, for the same reason.
const OLD_THREADS: i64 = 6000;

/// A shop in which something has been going on: enough that no database reads a whole table because it is small.
fn fill(fresh: &mut Fresh) {
    fresh
        .write(|writer| {
            insert_key(writer)?;
            for number in 0..VENDORS + OTHERS {
                let input = vendor(&format!("Vendor {number}"));
                vendors::save(writer, &context(), &format!("v{number}"), &input)?;
            }
            users::save(writer, &context(), "staff", &person(Role::Admin, None))?;
            users::save(writer, &context(), "op", &person(Role::Operator, None))?;
            for vendor in 0..VENDORS {
                let input = person(Role::VendorAdmin, Some(&format!("v{vendor}")));
                users::save(writer, &context(), &format!("a{vendor}"), &input)?;
            }
            for age in 0..OLD_THREADS {
                let thread = Thread {
                    id: writer.next_thread_id(),
                    activity: -age,
                    ..plain_thread(0, SubjectType::Product)
                };
                writer.insert_thread(&thread)?;
            }
            for customer in 0..CUSTOMERS + OTHERS {
                let id = format!("c{customer}");
                users::save(writer, &context(), &id, &person(Role::Customer, None))?;
                if customer >= CUSTOMERS {
                    continue;
                }
                let mut input = about_product("help", "v0");
                input.subject.subject_type = SubjectType::Support;
                input.vendor_id = None;
                let list = WordList::empty();
                let (thread, _) =
                    starting::start(writer, &acting(&id), &context(), &list, None, &[], &input)?;
                support::take(writer, &acting("op"), &context(), thread.id)?;
                for vendor in 0..VENDORS {
                    let input = about_product(&format!("p{vendor}"), &format!("v{vendor}"));
                    let (thread, _) = starting::start(
                        writer,
                        &acting(&id),
                        &context(),
                        &WordList::empty(),
                        None,
                        &[],
                        &input,
                    )?;
                    for number in 0..MESSAGES {
                        let mut draft = draft(&format!("{vendor}/{number}"));
                        if number % 3 == 0 {
                            let file = writer.insert_attachment(file_of(&id, "file"))?;
                            draft.attachment_ids.push(file.id);
                        }
                        let caller = acting(&id);
                        messages::post(
                            writer,
                            &caller,
                            &context(),
                            &WordList::empty(),
                            None,
                            thread.id,
                            &draft,
                        )?;
                    }
                }
            }
            Ok::<_, crate::chat::ChatError>(())
        })
        .unwrap();
    // And a large index.
    while let Some(batch) = fresh.read(|reader| gather(reader, 1)).unwrap() {
        fresh.write(|writer| writer.add_to_search(&batch)).unwrap();
    }
    let after = fresh.read(|reader| reader.search_position()).unwrap();
    let tokens = (0..OLD_THREADS).map(|number| (format!("word{number}"), vec![1, 70_000]));
    let batch = SearchBatch { after, up_to: after, messages: Vec::new(), tokens: tokens.collect() };
    fresh.write(|writer| writer.add_to_search(&batch)).unwrap();
    fresh.analyze().unwrap();
}

/// The hot calls, each as a customer, a vendor's admin and staff make it.
fn hot_calls(fresh: &mut Fresh) {
    let last = fresh.read(|reader| reader.last_event()).unwrap();
    for person in ["c1", "a1", "staff"] {
        let caller = acting(person);
        let filters = [
            ThreadFilter::default(),
            ThreadFilter { below: Some(last / 2), ..ThreadFilter::default() },
            ThreadFilter { status: Some(ThreadStatus::Open), ..ThreadFilter::default() },
            ThreadFilter { flagged: Some(true), ..ThreadFilter::default() },
            ThreadFilter { subject_type: Some(SubjectType::Support), ..ThreadFilter::default() },
            ThreadFilter { vendor_id: Some("v1".into()), ..ThreadFilter::default() },
            ThreadFilter { customer_id: Some("c1".into()), ..ThreadFilter::default() },
            ThreadFilter { operator_id: Some("staff".into()), ..ThreadFilter::default() },
            ThreadFilter { operator_id: Some("op".into()), ..ThreadFilter::default() },
        ];
        for filter in filters {
            for unread in [None, Some(true), Some(false)] {
                fresh.read(|reader| threads::list(reader, &caller, &filter, unread, 20)).unwrap();
            }
        }
        for q in ["3", "wo", "3 word1 word20"] {
            for filter in [
                ThreadFilter::default(),
                ThreadFilter { vendor_id: Some("v1".into()), ..ThreadFilter::default() },
                ThreadFilter { operator_id: Some("op".into()), ..ThreadFilter::default() },
            ] {
                for unread in [None, Some(true)] {
                    fresh
                        .read(|reader| {
                            search::list_threads(reader, &caller, q, &filter, unread, 20)?;
                            search::search(reader, &caller, q, &filter, unread, None, 20)
                        })
                        .unwrap();
                }
            }
        }
        // A thread of c1 with v1.
        let filter = ThreadFilter {
            vendor_id: Some("v1".into()),
            customer_id: Some("c1".into()),
            ..ThreadFilter::default()
        };
        let page = fresh.read(|reader| threads::list(reader, &caller, &filter, None, 1)).unwrap();
        let thread = page.threads[0].id;
        let newest = page.threads[0].last_message.as_ref().unwrap().id;
        for wanted in [
            History::Newest,
            History::Before(newest),
            History::After(0),
            History::Around(newest - 2),
        ] {
            fresh.read(|reader| messages::history(reader, &caller, thread, wanted, 20)).unwrap();
        }
        fresh.read(|reader| unread::overview(reader, &caller)).unwrap();
        fresh.read(|reader| events::feed(reader, &caller, Some(last / 2), 30)).unwrap();
        fresh.read(|reader| reader.events_after(last / 2, 100)).unwrap();
        let keys: Vec<String> = (0..100).map(|number| format!("key {number}")).collect();
        fresh.read(|reader| reader.threads_with_keys(&keys)).unwrap();
        for text in ["one more", "one more", "and another"] {
            fresh
                .write(|writer| {
                    let draft = draft(text);
                    messages::post(
                        writer,
                        &caller,
                        &context(),
                        &WordList::empty(),
                        None,
                        thread,
                        &draft,
                    )
                })
                .unwrap();
        }
        for up_to in [newest - 1, newest + 100] {
            let read = ReadUpTo { up_to };
            fresh.write(|writer| unread::read(writer, &caller, &context(), thread, &read)).unwrap();
        }
    }
}

/// What an operator looks for among the support threads.
fn the_operators_own(fresh: &mut Fresh) {
    let filters = [
        ThreadFilter { operator_id: Some("op".into()), ..ThreadFilter::default() },
        ThreadFilter {
            operator_id: Some("op".into()),
            status: Some(ThreadStatus::Open),
            customer_id: Some("c1".into()),
            ..ThreadFilter::default()
        },
    ];
    for person in ["op", "staff"] {
        for filter in &filters {
            for unread in [None, Some(true), Some(false)] {
                let caller = acting(person);
                fresh
                    .read(|reader| {
                        let page = threads::list(reader, &caller, filter, unread, 20)?;
                        assert!(unread == Some(true) || !page.threads.is_empty(), "{filter:?}");
                        search::list_threads(reader, &caller, "3", filter, unread, 20)
                    })
                    .unwrap();
            }
        }
    }
}

#[test]
fn every_query_of_the_hot_calls_uses_an_index() {
    for mut fresh in databases() {
        fill(&mut fresh);
        let mut plans = fresh.plans(hot_calls);
        assert!(plans.len() > 100, "only {} statements were seen", plans.len());
        plans.extend(fresh.plans(the_operators_own));
        plans.extend(fresh.plans(rare_writes));
        plans.extend(fresh.plans(what_is_kept_of_people));
        let complaints: std::collections::BTreeSet<String> = plans
            .iter()
            .flat_map(|(sql, lines)| {
                lines.iter().filter_map(move |line| {
                    complaint(line).map(|complaint| format!("{complaint}: {line}\n  {sql}"))
                })
            })
            .collect();
        let text: Vec<String> = complaints.into_iter().collect();
        assert!(text.is_empty(), "{}\n{}", fresh.url, text.join("\n"));
    }
}

/// What concerns one person, of all that is stored, and the files that were given up.
fn what_is_kept_of_people(fresh: &mut Fresh) {
    for id in ["c1", "a1", "staff"] {
        fresh
            .read(|reader| {
                let user = reader.user(id)?.unwrap();
                export::read_states(reader, &user)?;
                export::deeds(reader, &user, None)?;
                let threads = export::threads(reader, &user)?;
                reader.written_in(&threads, id)?;
                let files = export::files(reader, &user)?;
                export::some_files(reader, &files)?;
                reader.count_unsent(id)?;
                reader.being_erased()?;
                reader.last_seen(&["c1".to_owned(), "a1".to_owned()])?;
                let start = (chrono::DateTime::UNIX_EPOCH.naive_utc(), 0);
                reader.removed_attachments(start, 100)?;
                Ok::<_, crate::chat::ChatError>(())
            })
            .unwrap();
    }
    let now = context().timestamp();
    fresh
        .write(|writer| {
            writer.remove_unsent(now - chrono::TimeDelta::days(1), now)?;
            let thread = writer.threads_joined("c1")?[0];
            let message = writer.messages_after(thread, 0, 1)?[0].id;
            writer.erase_written(&[message, message + 1])?;
            writer.detach_attachments(&[message, message + 1], now)?;
            writer.remove_attachments_of(message + 3, now)?;
            writer.remove_attachments_by("c1", now)
        })
        .unwrap();
}

/// What happens now and then on the writer, where posts wait for it.
fn rare_writes(fresh: &mut Fresh) {
    let now = context().timestamp();
    let long_ago = now - chrono::TimeDelta::days(1000);
    fresh
        .write(|writer| {
            for number in 0..300 {
                writer.note(NewAuditEntry {
                    actor_id: Some("staff".into()),
                    action: "thread.closed",
                    target: format!("thread:{number}"),
                    data: None,
                    request_id: String::new(),
                    at: now,
                })?;
                writer.insert_mail(&NewMail {
                    user_id: format!("c{number}"),
                    thread_id: Some(number),
                    kind: MailKind::NewMessage,
                    state: MailState::Sent,
                    first_message_id: 1,
                    due_at: now,
                    attempts: 1,
                    created_at: now,
                })?;
            }
            Ok::<_, crate::store::StoreError>(())
        })
        .unwrap();
    fresh
        .write(|writer| {
            for kept in [None, Some(SubjectType::Support)] {
                writer.leave_as_staff("c1", kept, now)?;
            }
            // One of the old threads.
            writer.forget_thread(1)?;
            writer.prune_audit_log(long_ago, 10)?;
            writer.mail_queue(now)?;
            writer.note_last_seen(&["c1", "a1"], now)?;
            writer.prune_mails(long_ago, 10)?;
            writer.prune_deliveries(long_ago, 10)?;
            writer.prune_first_answers(long_ago, 10)?;
            writer.give_up_deliveries("none", 10)?;
            writer.delete_deliveries("none", 10)?;
            writer.revive_deliveries("none", long_ago, 0, 10, now)?;
            let vendor = (ParticipantKind::Vendor, "v1".to_owned());
            writer.share_a_thread(ParticipantKind::User, "c1", &[vendor])?;
            let customer = (ParticipantKind::User, "c1".to_owned());
            writer.share_a_thread(ParticipantKind::Vendor, "v1", &[customer])
        })
        .unwrap();
}

#[test]
fn a_bad_plan_is_noticed() {
    for line in [
        "SCAN messages",
        "USE TEMP B-TREE FOR ORDER BY",
        "table messages by ALL over -; Using where",
        "table messages by index over PRIMARY; Using index",
        "table t by ref over x; Using where; Using filesort",
    ] {
        assert!(complaint(line).is_some(), "{line}");
    }
    assert!(complaint("SEARCH messages USING INDEX messages_thread (thread_id=?)").is_none());
    assert!(complaint("table messages by range over messages_thread; Using where").is_none());
}
