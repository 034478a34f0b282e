//! For tests that look at the database itself: a fresh one of each kind, the statements that a job makes, and how the
//! database carries them out.

use std::sync::{Arc, Mutex};

use diesel::connection::{Instrumentation, InstrumentationEvent, SimpleConnection};
use diesel::prelude::*;
use diesel::sql_types::Text;

use super::connection::{Database, Use, on_backend};
use super::events::{Counters, StoredEvent};
use super::executor::{Reader, Writer};
use super::{DatabaseUrl, Id, StoreError};

/// The server that `scripts/test` starts, without a database's name.
const SERVER: &str = "TEST_MARIADB_URL";

/// A database with up-to-date tables; its folder lives as long as this.
pub(crate) struct Fresh {
    pub(crate) url: DatabaseUrl,
    pub(super) database: Database,
    _folder: Option<tempfile::TempDir>,
}

/// A thread that [`Fresh::grow`] makes: of `c` with `v`, and a tenth as long as there are messages.
pub(crate) const LONG_THREAD: Id = 1_000_000;

/// Another one, of ten messages with a file each, as in a tenth of all threads.
pub(crate) const THREAD_WITH_FILES: Id = LONG_THREAD + 5;

/// What [`Fresh::grow`] stores, for numbers `n` from 0: each statement with the share of all numbers that it takes. Text
/// that both databases understand.
const GROWTH: [(&str, i64); 14] = [
    (
        "INSERT INTO threads (id, subject_type, subject_id, subject_title, status, flagged,
             last_message_id, activity, created_at, updated_at)
         SELECT 1000000 + n, 'product', concat('p', n % 100), 'Something that was sold long ago',
             'open', FALSE, 1 + n, 1 + n, '2026-01-01 00:00:00.000', '2026-01-01 00:00:00.000'
         FROM numbers WHERE n < {share}",
        10,
    ),
    (
        "INSERT INTO participants (thread_id, kind, participant_id, side, role, joined_at,
             last_read_message_id, activity)
         SELECT 1000000 + n, 'user', CASE WHEN n = 0 THEN 'c' ELSE concat('u', n % {hundredth}) END,
             'customer', 'customer', '2026-01-01 00:00:00.000', 0, 1 + n
         FROM numbers WHERE n < {share}",
        10,
    ),
    (
        "INSERT INTO participants (thread_id, kind, participant_id, side, role, joined_at,
             last_read_message_id, activity)
         SELECT 1000000 + n, 'vendor', CASE WHEN n % 10 = 0 THEN 'v' ELSE concat('w', n % 10) END,
             'vendor', 'owner', '2026-01-01 00:00:00.000', 0, 1 + n
         FROM numbers WHERE n < {share}",
        10,
    ),
    (
        "INSERT INTO users (id, role, name, root, manage_messages, profiles, unread_total,
             created_at, updated_at)
         SELECT concat('u', n), 'customer', 'Somebody', FALSE, FALSE, '[]', 0,
             '2026-01-01 00:00:00.000', '2026-01-01 00:00:00.000'
         FROM numbers WHERE n < {share}",
        100,
    ),
    (
        "INSERT INTO read_states (kind, reader_id, thread_id, last_read_message_id, unread_count)
         SELECT 'user', CASE WHEN n % 10 = 0 THEN 'a0' ELSE concat('b', n % 10) END, 1000000 + n,
             {all} * 2, 0
         FROM numbers WHERE n < {share}",
        10,
    ),
    (
        "INSERT INTO messages (id, thread_id, author_kind, author_id, side, text, client_id,
             request_hash, flagged, created_at, read_at, attachment_count)
         SELECT 1 + n, 1000000 + n % {tenth}, 'user', concat('u', n % {hundredth}),
             'customer', 'Is it dishwasher-safe? I would like to know before I order it.',
             concat('client-', n), 'hash', FALSE, '2026-01-01 00:00:00.000',
             '2026-01-01 00:00:00.000', CASE WHEN n % 10 = 5 THEN 1 ELSE 0 END
         FROM numbers WHERE n < {share}",
        1,
    ),
    (
        "INSERT INTO attachments (id, owner_id, message_id, name, size, mime_type, file, secret,
             created_at)
         SELECT 1 + n, concat('u', n % {hundredth}), 6 + 10 * n, 'mug.jpg', 3, 'image/jpeg',
             'file', 'secret', '2026-01-01 00:00:00.000'
         FROM numbers WHERE n < {share}",
        10,
    ),
    (
        "INSERT INTO messages (id, thread_id, author_kind, author_id, side, text, client_id,
             request_hash, flagged, created_at, read_at)
         SELECT 1 + {all} + n, 1000000, 'user', 'c', 'customer', 'And in which colours?',
             concat('long-', n), 'hash', FALSE, '2026-01-01 00:00:00.000', '2026-01-01 00:00:00.000'
         FROM numbers WHERE n < {share}",
        10,
    ),
    (
        "INSERT INTO events (id, name, topics, thread_id, message_id, at)
         SELECT 1000 + n, 'message.created', '[]', 1000000 + n % {tenth}, 1 + n,
             '2026-01-01 00:00:00.000'
         FROM numbers WHERE n < {share}",
        1,
    ),
    (
        "INSERT INTO event_topics (topic, event_id)
         SELECT concat('user:', CASE WHEN n % 100 = 0 THEN 'a0' ELSE concat('u', n % {hundredth}) END),
             1000 + n
         FROM numbers WHERE n < {share}",
        1,
    ),
    (
        "INSERT INTO event_topics (topic, event_id) SELECT 'staff', 1000 + n
         FROM numbers WHERE n < {share}",
        1,
    ),
    (
        "UPDATE counters SET value = value + 2 * {all} + 1000000
         WHERE name IN ('attachment', 'event', 'message', 'thread')",
        1,
    ),
    (
        "INSERT INTO consumers (name, event_id)
         SELECT 'feed', value FROM counters WHERE name = 'event'",
        1,
    ),
    ("DROP TABLE numbers", 1),
];

/// One of each kind that this binary knows.
pub(crate) fn databases() -> Vec<Fresh> {
    let mut urls = Vec::new();
    let folder = || tempfile::tempdir().unwrap();
    if cfg!(feature = "sqlite") {
        let folder = folder();
        let path = folder.path().join("chaffer.db");
        urls.push((DatabaseUrl::parse(&format!("sqlite://{}", path.display())).unwrap(), folder));
    }
    if cfg!(feature = "mysql") {
        match std::env::var(SERVER) {
            Ok(server) => urls.push((create_on(&server), folder())),
            Err(_) if std::env::var("CI").is_ok() => panic!("{SERVER} is not set"),
            Err(_) => {
                eprintln!("{SERVER} is not set: not tried on MariaDB; `make test` starts one")
            }
        }
    }
    let fresh = |(url, folder): (DatabaseUrl, tempfile::TempDir)| {
        url.migrate().unwrap();
        let database = url.connect(Use::Writing).unwrap();
        Fresh { url, database, _folder: Some(folder) }
    };
    urls.into_iter().map(fresh).collect()
}

fn create_on(server: &str) -> DatabaseUrl {
    let name = format!("unit_{}", hex::encode(rand::random::<[u8; 6]>()));
    let server = server.trim_end_matches('/');
    let root = DatabaseUrl::parse(&format!("{server}/mysql")).unwrap();
    root.connect(Use::Writing).unwrap().batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
    DatabaseUrl::parse(&format!("{server}/{name}")).unwrap()
}

/// Notes every statement of a connection.
struct Notes(Arc<Mutex<Vec<String>>>);

impl Instrumentation for Notes {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        if let InstrumentationEvent::StartQuery { query, .. } = event {
            let text = query.to_string();
            let sql = text.split(" -- binds:").next().unwrap_or_default();
            self.0.lock().unwrap().push(sql.to_owned());
        }
    }
}

impl Fresh {
    /// A database that another one made.
    pub(crate) fn there(url: DatabaseUrl) -> Self {
        let database = url.connect(Use::Writing).unwrap();
        Self { url, database, _folder: None }
    }

    /// Stores so many messages (a multiple of 1,000), and what goes with them, in no time. A tenth of the threads, and
    /// [`LONG_THREAD`], are with the vendor `v`.
    pub(crate) fn grow(&mut self, messages: i64) {
        let mut run = |sql: &str| self.database.batch_execute(sql).unwrap();
        run("CREATE TABLE numbers (n BIGINT NOT NULL PRIMARY KEY)");
        run("INSERT INTO numbers VALUES (0)");
        let mut count = 1;
        while count < messages {
            run(&format!(
                "INSERT INTO numbers SELECT n + {count} FROM numbers WHERE n + {count} < {messages}"
            ));
            count *= 2;
        }
        for (sql, share) in GROWTH {
            // Divided here: MariaDB would make fractions of them, and of names.
            let filled = [
                ("{share}", messages / share),
                ("{tenth}", messages / 10),
                ("{hundredth}", messages / 100),
                ("{all}", messages),
            ];
            let fill =
                |sql: String, (name, value): (&str, i64)| sql.replace(name, &value.to_string());
            run(&filled.into_iter().fold(sql.to_owned(), fill));
        }
        self.analyze().unwrap();
    }

    /// How many rows, and entries of indexes, MariaDB reads for a job. The counters' own query reads some, too.
    #[cfg(feature = "mysql")]
    pub(crate) fn rows_read(&mut self, job: impl FnOnce(&mut Self)) -> u64 {
        let before = self.rows_read_so_far();
        let own = self.rows_read_so_far() - before;
        let before = self.rows_read_so_far();
        job(self);
        self.rows_read_so_far() - before - own
    }

    #[cfg(feature = "mysql")]
    fn rows_read_so_far(&mut self) -> u64 {
        #[derive(QueryableByName)]
        struct Status {
            #[diesel(sql_type = diesel::sql_types::BigInt)]
            rows: i64,
        }
        let Database::Mysql(connection) = &mut self.database else { panic!("not on {}", self.url) };
        let status: Status = diesel::sql_query(
            "SELECT CAST(SUM(variable_value) AS SIGNED) AS `rows`
             FROM information_schema.session_status WHERE variable_name LIKE 'HANDLER_READ_%'",
        )
        .get_result(connection)
        .unwrap();
        u64::try_from(status.rows).unwrap()
    }

    /// Runs a job that reads.
    pub(crate) fn read<T>(&mut self, job: impl FnOnce(&mut Reader<'_>) -> T) -> T {
        job(&mut Reader { database: &mut self.database, shared: None })
    }

    /// Runs a job that writes, in a transaction of its own.
    pub(crate) fn write<T, E: std::fmt::Debug>(
        &mut self,
        job: impl FnOnce(&mut Writer<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.database.begin_writing().unwrap();
        let mut counters = Counters::lock(&mut self.database).unwrap();
        let before = counters;
        let mut pending = Vec::new();
        let result = job(&mut Writer::new(&mut self.database, &mut counters, &mut pending));
        if result.is_ok() {
            StoredEvent::insert_all(&mut self.database, &pending).unwrap();
            counters.save(&mut self.database, &before).unwrap();
            self.database.commit().unwrap();
        } else {
            self.database.rollback().unwrap();
        }
        result
    }

    /// Brings SQLite's log into the file, so that no commit that follows has to.
    pub(crate) fn empty_log(&mut self) {
        self.database.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    }

    /// Has MariaDB look at its tables, as it does by itself in time. SQLite does not, so its plans are those of an empty
    /// database; the same in shops, which never ask it to.
    pub(crate) fn analyze(&mut self) -> Result<(), StoreError> {
        match &mut self.database {
            #[cfg(feature = "sqlite")]
            Database::Sqlite(_) => {}
            #[cfg(feature = "mysql")]
            Database::Mysql(connection) => {
                for table in [
                    "counters",
                    "users",
                    "vendors",
                    "threads",
                    "participants",
                    "messages",
                    "attachments",
                    "read_states",
                    "events",
                    "event_topics",
                    "search_blocks",
                ] {
                    connection
                        .batch_execute(&format!("ANALYZE TABLE {table} PERSISTENT FOR ALL"))?;
                }
            }
        }
        Ok(())
    }

    /// Whether it is the embedded one.
    pub(crate) fn is_sqlite(&self) -> bool {
        matches!(self.url, DatabaseUrl::Sqlite(_))
    }

    /// The statements that a job makes.
    pub(crate) fn statements(&mut self, job: impl FnOnce(&mut Self)) -> Vec<String> {
        let notes = Arc::new(Mutex::new(Vec::new()));
        on_backend!(&mut self.database, it => it.set_instrumentation(Notes(Arc::clone(&notes))));
        job(self);
        on_backend!(&mut self.database, it => it.set_instrumentation(None::<Box<dyn Instrumentation>>));
        notes.lock().unwrap().clone()
    }

    /// The statements that a job makes, each with what the database says of how it finds the rows.
    pub(crate) fn plans(&mut self, job: impl FnOnce(&mut Self)) -> Vec<(String, Vec<String>)> {
        match &self.database {
            #[cfg(feature = "sqlite")]
            Database::Sqlite(_) => self.plans_of_sqlite(job),
            #[cfg(feature = "mysql")]
            Database::Mysql(_) => self.plans_of_mariadb(job),
        }
    }

    #[cfg(feature = "sqlite")]
    fn plans_of_sqlite(&mut self, job: impl FnOnce(&mut Self)) -> Vec<(String, Vec<String>)> {
        #[derive(QueryableByName)]
        struct Step {
            #[diesel(sql_type = Text)]
            detail: String,
        }
        let mut statements = self.statements(job);
        statements.retain(|sql| is_looking(sql));
        // SQLite's plan does not depend on the values, so the places for them may stay empty.
        let plan = |sql: String, database: &mut Database| {
            let steps: Vec<Step> = on_backend!(database, connection =>
                diesel::sql_query(format!("EXPLAIN QUERY PLAN {sql}")).load(connection).unwrap());
            (sql, steps.into_iter().map(|step| step.detail).collect())
        };
        statements.into_iter().map(|sql| plan(sql, &mut self.database)).collect()
    }

    /// MariaDB's plan depends on the values, so the statements are taken from the server's own log, where they stand
    /// with their values.
    #[cfg(feature = "mysql")]
    fn plans_of_mariadb(&mut self, job: impl FnOnce(&mut Self)) -> Vec<(String, Vec<String>)> {
        #[derive(QueryableByName)]
        struct Logged {
            #[diesel(sql_type = Text)]
            argument: String,
        }
        #[derive(QueryableByName)]
        #[diesel(check_for_backend(diesel::mysql::Mysql))]
        struct Step {
            #[diesel(sql_type = diesel::sql_types::Nullable<Text>)]
            table: Option<String>,
            #[diesel(sql_type = diesel::sql_types::Nullable<Text>, column_name = "type")]
            access: Option<String>,
            #[diesel(sql_type = diesel::sql_types::Nullable<Text>)]
            key: Option<String>,
            #[diesel(sql_type = diesel::sql_types::Nullable<Text>, column_name = "Extra")]
            extra: Option<String>,
        }
        self.database
            .batch_execute("SET GLOBAL log_output = 'TABLE'; SET GLOBAL general_log = ON")
            .unwrap();
        // Whether values are written into the log is decided when a statement is prepared, and this connection has
        // prepared some.
        self.database = self.url.connect(Use::Writing).unwrap();
        job(self);
        self.database.batch_execute("SET GLOBAL general_log = OFF").unwrap();
        let Database::Mysql(connection) = &mut self.database else { return Vec::new() };
        let logged: Vec<Logged> = diesel::sql_query(
            "SELECT CONVERT(argument USING utf8mb4) AS argument FROM mysql.general_log \
             WHERE thread_id = CONNECTION_ID() AND command_type = 'Execute' ORDER BY event_time",
        )
        .load(connection)
        .unwrap();
        connection.batch_execute("TRUNCATE TABLE mysql.general_log").unwrap();
        let mut plans = Vec::new();
        for Logged { argument } in logged {
            if !is_looking(&argument) {
                continue;
            }
            let steps: Vec<Step> =
                diesel::sql_query(format!("EXPLAIN {argument}")).load(connection).unwrap();
            let line = |step: &Step| {
                let text = |part: &Option<String>| part.clone().unwrap_or_else(|| "-".into());
                format!(
                    "table {} by {} over {}; {}",
                    text(&step.table),
                    text(&step.access),
                    text(&step.key),
                    text(&step.extra)
                )
            };
            plans.push((argument, steps.iter().map(line).collect()));
        }
        plans
    }
}

/// Whether a statement has to find rows. The few rows of `counters` are always all read.
fn is_looking(sql: &str) -> bool {
    let looks = ["SELECT", "UPDATE", "DELETE"].iter().any(|verb| sql.starts_with(verb));
    looks && !sql.contains("FROM `counters`") && !sql.contains("UPDATE `counters`")
}

/// What is wrong with one line of a plan: rows that are walked over without an index, or sorted.
pub(crate) fn complaint(line: &str) -> Option<&'static str> {
    let whole_table = line.starts_with("SCAN ") && !line.starts_with("SCAN CONSTANT ROW");
    if whole_table || line.contains(" by ALL ") || line.contains(" by index ") {
        Some("walks over a whole table or index")
    } else if line.contains("TEMP B-TREE")
        || line.contains("Using filesort")
        || line.contains("Using temporary")
    {
        Some("sorts, instead of walking an index in order")
    } else {
        None
    }
}
