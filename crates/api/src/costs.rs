//! Tests: what the hot calls cost, in numbers that are the same on every machine: statements, rows that MariaDB reads,
//! and, on SQLite under callgrind, instructions and allocations. And that none of them grows with what is stored.

use std::process::Command;

use crate::chat::messages::{self, History};
use crate::chat::threads;
use crate::chat::unread::{self, ReadUpTo};
use crate::store::testing::{Fresh, LONG_THREAD, THREAD_WITH_FILES, databases};
use crate::store::{DatabaseUrl, Id, ThreadFilter, ThreadStatus};
use crate::testing::{about_product, acting, context, say, shop, start};

/// A call, and the most that it may take. Statements are what was counted (on SQLite, where rows are written one by one with
/// short statements, which costs less than lists of them); the others a fifth more than was measured
/// in November 2026 (instructions and allocations in a debug build with Rust 1.95), since they move a little with
/// every compiler. To be raised only for a reason.
struct Call {
    name: &'static str,
    run: fn(&mut Fresh, Id),
    /// On SQLite and on MariaDB, where each is a round trip.
    statements: (usize, usize),
    /// Rows and entries of indexes that MariaDB reads.
    #[cfg_attr(not(feature = "mysql"), expect(dead_code, reason = "only MariaDB tells"))]
    rows: u64,
    /// On SQLite, with the database's own.
    instructions: u64,
    /// On SQLite, with the database's own.
    allocations: u64,
}

const CALLS: [Call; 8] = [
    Call {
        name: "post",
        run: |fresh, thread| say(fresh, "c", thread, &unheard_of()),
        statements: (22, 14),
        rows: 53,
        instructions: 1_750_000,
        allocations: 4150,
    },
    Call {
        name: "answer",
        run: |fresh, thread| say(fresh, "a0", thread, &unheard_of()),
        statements: (23, 15),
        rows: 58,
        instructions: 1_900_000,
        allocations: 4650,
    },
    Call {
        name: "list",
        run: list,
        statements: (8, 8),
        rows: 335,
        instructions: 14_000_000,
        allocations: 8650,
    },
    Call {
        name: "filtered list",
        run: filtered_list,
        // Five subject types, flagged and not: a walk for each.
        statements: (11, 11),
        rows: 15,
        instructions: 6_100_000,
        allocations: 4500,
    },
    Call {
        name: "unread",
        run: unread,
        statements: (2, 2),
        rows: 5,
        instructions: 720_000,
        allocations: 1250,
    },
    Call {
        name: "history",
        run: history,
        statements: (4, 4),
        rows: 47,
        instructions: 5_700_000,
        allocations: 5600,
    },
    Call {
        name: "history with files",
        run: history_with_files,
        statements: (4, 4),
        rows: 46,
        instructions: 5_000_000,
        allocations: 4850,
    },
    Call {
        name: "post and read",
        run: post_and_read,
        statements: (22 + 17, 14 + 14),
        rows: 85,
        instructions: 4_000_000,
        allocations: 5700,
    },
];

fn unheard_of() -> String {
    hex::encode(rand::random::<[u8; 8]>())
}

fn list(fresh: &mut Fresh, _: Id) {
    let filter = ThreadFilter::default();
    fresh.read(|reader| threads::list(reader, &acting("a0"), &filter, None, 20)).unwrap();
}

/// Of what there is none.
fn filtered_list(fresh: &mut Fresh, _: Id) {
    let filter = ThreadFilter { status: Some(ThreadStatus::Closed), ..ThreadFilter::default() };
    fresh.read(|reader| threads::list(reader, &acting("staff"), &filter, None, 20)).unwrap();
}

fn unread(fresh: &mut Fresh, _: Id) {
    fresh.read(|reader| unread::overview(reader, &acting("a0"))).unwrap();
}

fn history(fresh: &mut Fresh, thread: Id) {
    let newest = History::Newest;
    fresh.read(|reader| messages::history(reader, &acting("a0"), thread, newest, 30)).unwrap();
}

/// Among many files of others, where there are some.
fn history_with_files(fresh: &mut Fresh, thread: Id) {
    let thread = if thread == LONG_THREAD { THREAD_WITH_FILES } else { thread };
    let newest = History::Newest;
    fresh.read(|reader| messages::history(reader, &acting("staff"), thread, newest, 30)).unwrap();
}

fn post_and_read(fresh: &mut Fresh, thread: Id) {
    say(fresh, "c", thread, &unheard_of());
    let up_to = ReadUpTo { up_to: Id::MAX };
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
        for Call { name, run, statements: (on_sqlite, on_mariadb), .. } in CALLS {
            let bound = if fresh.is_sqlite() { on_sqlite } else { on_mariadb };
            let made = fresh.statements(|fresh| run(fresh, thread));
            assert!(made.len() <= bound, "{name} at {}: {}: {made:#?}", fresh.url, made.len());
        }
    }
}

#[test]
fn a_message_to_many_makes_no_statement_for_each_of_them_but_the_rows_themselves() {
    for mut fresh in databases() {
        let thread = thread_with(&mut fresh, 150);
        let mut made = fresh.statements(|fresh| say(fresh, "c", thread, "more"));
        // The rows themselves: SQLite takes them one by one, MariaDB by powers of two (153 topics and 151 events), and all
        // counts at once.
        made.retain(|sql| !sql.starts_with("INSERT INTO `event"));
        if fresh.is_sqlite() {
            for (rows, most) in [("UPDATE `read_states`", 151), ("UPDATE `users`", 150)] {
                let before = made.len();
                made.retain(|sql| !sql.starts_with(rows));
                assert_eq!(before - made.len(), most, "{rows}");
            }
        }
        assert!(made.len() <= 14, "{}: {made:#?}", fresh.url);
    }
}

/// How many messages are stored in the shops, the smallest first. `make bench` sets the variable to 1000000.
fn sizes() -> Vec<i64> {
    let largest = std::env::var("COSTS_MESSAGES").ok().and_then(|text| text.parse().ok());
    [10_000, 100_000].into_iter().chain(largest).collect()
}

/// Tells the numbers of the shops; none may be above its bound, or larger than in the smallest by more than a fifth.
fn flat(what: &str, bound: fn(&Call) -> u64, numbers: &[Vec<u64>]) {
    let mut too_many = Vec::new();
    let smallest = &numbers[0];
    for (size, counts) in sizes().into_iter().zip(numbers) {
        assert_eq!(counts.len(), CALLS.len());
        for (call, (count, in_smallest)) in CALLS.iter().zip(counts.iter().zip(smallest)) {
            let line = format!("{}: {count} {what} among {size} messages", call.name);
            eprintln!("{line}");
            if count * 5 > in_smallest * 6 || *count > bound(call) {
                too_many.push(line);
            }
        }
    }
    assert!(too_many.is_empty(), "{too_many:#?}");
}

#[cfg(feature = "mysql")]
#[test]
fn no_call_reads_more_rows_in_a_larger_shop() {
    if databases().iter().all(Fresh::is_sqlite) {
        return;
    }
    let rows_read = |messages| {
        let mut fresh = databases().into_iter().find(|it| !it.is_sqlite()).unwrap();
        shop(&mut fresh, 1);
        fresh.grow(messages);
        let rows_of = |call: &Call| {
            (call.run)(&mut fresh, LONG_THREAD);
            fresh.rows_read(|fresh| (call.run)(fresh, LONG_THREAD))
        };
        CALLS.iter().map(rows_of).collect::<Vec<u64>>()
    };
    flat("rows read", |call| call.rows, &sizes().into_iter().map(rows_read).collect::<Vec<_>>());
}

/// Tell the process under callgrind where the database is, and which call is meant.
const DATABASE: &str = "COSTS_DATABASE";
const CALL: &str = "COSTS_CALL";

#[test]
fn no_call_takes_more_instructions_or_allocations_in_a_larger_shop() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        assert!(std::env::var("CI").is_err(), "valgrind is not installed");
        eprintln!("valgrind is not installed: not measured; `make test` installs it");
        return;
    }
    let costs = sizes().into_iter().map(|messages| {
        let mut fresh = databases().into_iter().find(Fresh::is_sqlite).unwrap();
        shop(&mut fresh, 1);
        fresh.grow(messages);
        CALLS.iter().map(|call| under_callgrind(&fresh, call)).collect::<Vec<_>>()
    });
    let costs: Vec<Vec<[u64; 2]>> = costs.collect();
    assert!(
        costs.iter().flatten().all(|[instructions, _]| *instructions > 0),
        "this program is stripped of its functions' names, so callgrind does not find `measured`: build it with \
         CARGO_PROFILE_DEV_STRIP=none"
    );
    let numbers = |number: usize| -> Vec<Vec<u64>> {
        costs.iter().map(|costs| costs.iter().map(|cost| cost[number]).collect()).collect()
    };
    flat("instructions", |call| call.instructions, &numbers(0));
    flat("allocations", |call| call.allocations, &numbers(1));
}

/// The instructions and the allocations of a call, as callgrind counts them in a process of its own.
fn under_callgrind(fresh: &Fresh, call: &Call) -> [u64; 2] {
    let DatabaseUrl::Sqlite(path) = &fresh.url else { panic!("not on {}", fresh.url) };
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--compress-strings=no", "--compress-pos=no"])
        .arg("--toggle-collect=*costs*measured*")
        .arg(format!("--callgrind-out-file={}", report.display()))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "costs::the_call_for_callgrind", "--ignored", "--test-threads=1"])
        .env(DATABASE, path)
        .env(CALL, call.name)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report = std::fs::read_to_string(&report).unwrap();
    let total = report.lines().find_map(|line| line.strip_prefix("totals: ")).unwrap();
    [total.parse().unwrap(), allocations(&report)]
}

/// Adds up the calls of the functions that allocate.
fn allocations(report: &str) -> u64 {
    let mut total = 0;
    let mut allocates = false;
    for line in report.lines() {
        if let Some(callee) = line.strip_prefix("cfn=") {
            allocates = ["malloc", "calloc", "realloc", "posix_memalign"].contains(&callee);
        } else if let Some(calls) = line.strip_prefix("calls=").filter(|_| allocates) {
            let count = calls.split(' ').next().unwrap();
            total += count.parse::<u64>().unwrap();
        }
    }
    total
}

#[test]
#[ignore = "is run under callgrind by the test before it"]
fn the_call_for_callgrind() {
    let (Ok(path), Ok(name)) = (std::env::var(DATABASE), std::env::var(CALL)) else { return };
    let mut fresh = Fresh::there(DatabaseUrl::Sqlite(path.into()));
    let call = CALLS.iter().find(|call| call.name == name).unwrap();
    // What is only done the first time is not what a call costs, nor is moving what was stored before out of the log.
    (call.run)(&mut fresh, LONG_THREAD);
    fresh.empty_log();
    measured(call, &mut fresh);
}

/// Callgrind counts while this runs, by its name.
#[inline(never)]
fn measured(call: &Call, fresh: &mut Fresh) {
    (call.run)(fresh, LONG_THREAD);
}
