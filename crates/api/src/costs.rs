//! Tests: what the hot calls cost, in numbers that are the same on every machine.

use crate::chat::messages::{self, History};
use crate::chat::threads;
use crate::chat::unread::{self, ReadUpTo};
use crate::store::testing::{Fresh, databases};
use crate::store::{Id, ThreadFilter};
use crate::testing::{about_product, acting, context, say, shop, start};

/// The calls whose cost is kept low, with the most statements that each may take: on SQLite, and on MariaDB, where
/// each is a round trip. Found by counting; to be raised only for a reason.
const CALLS: [(&str, fn(&mut Fresh, Id), usize, usize); 6] = [
    ("post", |fresh, thread| say(fresh, "c", thread, "more"), 20, 16),
    ("answer", |fresh, thread| say(fresh, "a0", thread, "more"), 21, 17),
    ("list", list, 8, 8),
    ("unread", unread, 2, 2),
    ("history", history, 4, 4),
    ("read", read, 18, 14),
];

fn list(fresh: &mut Fresh, _: Id) {
    let filter = ThreadFilter::default();
    fresh.read(|reader| threads::list(reader, &acting("a0"), &filter, None, 20)).unwrap();
}

fn unread(fresh: &mut Fresh, _: Id) {
    fresh.read(|reader| unread::overview(reader, &acting("a0"))).unwrap();
}

fn history(fresh: &mut Fresh, thread: Id) {
    let newest = History::Newest;
    fresh.read(|reader| messages::history(reader, &acting("a0"), thread, newest, 30)).unwrap();
}

fn read(fresh: &mut Fresh, thread: Id) {
    let up_to = ReadUpTo { up_to: 3 };
    fresh.write(|writer| unread::read(writer, &acting("a0"), &context(), thread, &up_to)).unwrap();
}

/// A shop whose vendor has so many admins, with a thread in which both sides have written.
fn thread_with(fresh: &mut Fresh, admins: usize) -> Id {
    shop(fresh, admins);
    let thread = start(fresh, &acting("c"), &about_product("p", "v")).unwrap();
    say(fresh, "c", thread, "first");
    say(fresh, "a0", thread, "answer");
    thread
}

#[test]
fn a_call_makes_few_statements() {
    for mut fresh in databases() {
        let thread = thread_with(&mut fresh, 1);
        for (name, call, on_sqlite, on_mariadb) in CALLS {
            let bound = if fresh.is_sqlite() { on_sqlite } else { on_mariadb };
            let made = fresh.statements(|fresh| call(fresh, thread));
            assert!(made.len() <= bound, "{name} at {}: {made:#?}", fresh.url);
        }
    }
}

#[test]
fn a_message_to_many_makes_no_statement_for_each_of_them() {
    for mut fresh in databases() {
        let thread = thread_with(&mut fresh, 150);
        let mut made = fresh.statements(|fresh| say(fresh, "c", thread, "more"));
        // The rows themselves: SQLite takes them one by one, MariaDB by powers of two (152 topics and 151 events).
        made.retain(|sql| !sql.starts_with("INSERT INTO `event"));
        assert!(made.len() <= 14, "{}: {made:#?}", fresh.url);
    }
}
