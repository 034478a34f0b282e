//! Backup and restore while the daemons serve.
//!
//! A backup is one SQLite file, whichever database it is made of: any tool can look into it, and it can be restored
//! into either kind. It holds one moment: SQLite copies itself from a snapshot, MariaDB is read in one consistent
//! snapshot; neither keeps anybody from writing.
//!
//! A restore is one transaction. Event ids that clients have seen must not come again with another meaning, so it
//! goes on far above the last id that is known: every older cursor is then too old, and its owner, browser or push
//! daemon, reads everything anew. The events themselves come back for what was still to be told by mails and webhooks;
//! `told.rs` sees to it that nothing is told twice.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use chaffer_shared::event::EventId;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;

use super::connection::{Database, Use};
use super::copy::{Table, tables};
use super::events::{Counters, NewEvent, StoredEvent};
use super::schema::counters;
use super::told::Told;
use super::{Cause, DatabaseUrl, Reader, StoreError, Timestamp, Writer, search};

/// How far a restore jumps ahead. More than happens between a backup and its restore (a thousand events a second
/// for eleven days), and a number that may be added some millions of times before JavaScript's numbers end.
pub(crate) const JUMP: EventId = 1_000_000_000;

/// By which a client's feed finds events; not restored, since none finds what is older than the restore.
const FEED: &str = "event_topics";

/// What is made of the rest again; neither backed up nor restored.
const DERIVED_TABLES: [&str; 2] = ["search_blocks", "search_changes"];

/// What is in a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupReport {
    /// The rows of each table that has some.
    pub rows: Vec<(String, i64)>,
    /// The last event.
    pub last_event: EventId,
    /// Of a restore: mails that may have been sent since the backup, and are therefore not sent.
    pub mails_given_up: usize,
}

/// A message is "cannot ...: why"; the file's name is in it.
pub(super) fn failed(what: &str, path: &Path) -> impl Fn(std::io::Error) -> StoreError {
    let text = format!("cannot {what} {}", path.display());
    move |error| StoreError::File(text.clone(), error)
}

impl DatabaseUrl {
    /// Whether it holds tables of Chaffer's, of any version. A SQLite file that is not there is not made.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn has_tables(&self) -> Result<bool, StoreError> {
        match self {
            Self::Sqlite(path) if !path.exists() => Ok(false),
            _ => Ok(!self.migrations()?.applied.is_empty()),
        }
    }

    /// Writes all that the database holds at one moment into a new file that its owner alone can read. The name
    /// appears when the file is whole and on the disk.
    ///
    /// # Errors
    /// When the database cannot be read or is newer than this binary, when there is such a file, or no room for it.
    pub fn back_up(&self, path: &Path) -> Result<BackupReport, StoreError> {
        let state = self.migrations()?;
        state.refuse_newer()?;
        if state.applied.is_empty() {
            return Err(StoreError::Backup(format!("{self} holds no tables of Chaffer")));
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        // Removed when dropped, so a failure leaves nothing behind.
        let draft = tempfile::Builder::new()
            .prefix(".chaffer-backup-")
            .tempfile_in(folder)
            .map_err(failed("write to", folder))?;
        match self {
            Self::Sqlite(_) => {
                let mut database = self.connect(Use::Reading)?;
                database.vacuum_into(draft.path())?;
            }
            Self::Mysql(_) => self.copy_into(draft.path(), &state.applied)?,
        }
        let report = finish(draft.path())?;
        draft.as_file().sync_all().map_err(failed("write", path))?;
        draft.persist_noclobber(path).map_err(|error| failed("create", path)(error.error))?;
        let sync = || std::fs::File::open(folder)?.sync_all();
        sync().map_err(failed("write to", folder))?;
        Ok(report)
    }

    /// Makes the tables in a new SQLite file, as they are here, and fills them.
    fn copy_into(&self, path: &Path, applied: &[String]) -> Result<(), StoreError> {
        let target = Self::Sqlite(path.to_owned());
        target.migrate_to(applied)?;
        let mut to = target.connect(Use::Writing)?;
        let tables = to.sqlite_tables()?;
        // Nobody else sees the file before it is whole.
        to.batch("PRAGMA foreign_keys = OFF; PRAGMA synchronous = OFF")?;
        let mut from = self.connect(Use::Reading)?;
        // Without it the snapshot is none, and MariaDB only warns; a shop's server may have another default.
        from.batch("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")?;
        from.batch("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")?;
        to.begin_writing()?;
        for table in &tables {
            table.clear(&mut to)?;
            if !DERIVED_TABLES.contains(&table.name.as_str()) {
                table.copy(&mut from, &mut to)?;
            }
        }
        to.commit()?;
        from.batch("COMMIT")?;
        Ok(())
    }

    /// Puts a backup in the place of all that the database holds. With an API running on it, its calls wait or are
    /// answered with 503 meanwhile.
    ///
    /// # Errors
    /// When the file is damaged, is no backup, or is newer than this binary; when the database is, or holds
    /// something, unless that may be `replace`d.
    pub fn restore(
        &self,
        path: &Path,
        replace: bool,
        now: Timestamp,
    ) -> Result<BackupReport, StoreError> {
        // Never create what is to be read.
        std::fs::metadata(path).map_err(failed("read", path))?;
        let (mut from, _copy) = up_to_date(path)?;
        let tables = from.sqlite_tables()?;
        self.migrate()?;
        let mut to = self.connect(Use::Writing)?;
        if !replace {
            for table in tables.iter().filter(|table| table.name != "counters") {
                if table.has_rows(&mut to)? {
                    return Err(StoreError::Backup(format!(
                        "{self} is not empty (the table {} has rows): restore into an empty database, or add --force to \
                         replace everything in it",
                        table.name
                    )));
                }
            }
        }
        to.check_foreign_keys(false)?;
        to.begin_writing()?;
        let report = replace_all(&mut from, &mut to, &tables, now);
        match report {
            Ok(report) => {
                to.commit()?;
                Ok(report)
            }
            Err(error) => {
                to.rollback()?;
                Err(error)
            }
        }
    }
}

/// The rows of the one for those of the other, in the transaction that has begun.
fn replace_all(
    from: &mut Database,
    to: &mut Database,
    tables: &[Table],
    now: Timestamp,
) -> Result<BackupReport, StoreError> {
    // Locks out the other writers. What was given out here already must not be given out again.
    let before = Counters::lock(to)?;
    let told = Told::find(from, to)?;
    let mut rows = Vec::new();
    for table in tables {
        table.clear(to)?;
        if table.name == FEED || DERIVED_TABLES.contains(&table.name.as_str()) {
            continue;
        }
        table.copy(from, to)?;
        let count = table.count(to)?;
        if count != table.count(from)? {
            return Err(StoreError::Backup(format!("not all rows of {} arrived", table.name)));
        }
        if count > 0 {
            rows.push((table.name.clone(), count));
        }
    }
    to.find_orphans()?;
    let mails_given_up = told.note(to, now)?;
    let last_event = go_on(to, before, now)?;
    Ok(BackupReport { rows, last_event, mails_given_up })
}

/// Has all numbers go on above those of both databases, in the transaction that has put the counters of the other one into
/// `counters`: `before` are those that were there. Returns the number of the last event.
pub(super) fn go_on(
    to: &mut Database,
    before: Counters,
    now: Timestamp,
) -> Result<EventId, StoreError> {
    let mut restored = Counters::lock(to)?;
    let backed_up = restored;
    restored.event = before.event.max(restored.event) + JUMP;
    restored.message = before.message.max(restored.message);
    restored.thread = before.thread.max(restored.thread);
    restored.attachment = before.attachment.max(restored.attachment);
    // A list that a node has compiled already must not pass for the restored one.
    restored.forbidden_words = before.forbidden_words.max(restored.forbidden_words) + 1;
    diesel::update(counters::table.find("event_pruned"))
        .set(counters::value.eq(restored.event))
        .execute(to)?;
    // The index is made again.
    diesel::update(counters::table.find(search::POSITION))
        .set(counters::value.eq(0))
        .execute(to)?;
    // Nobody hears this one; it takes a running publisher, and by it the push daemons, to the new place.
    let mut pending = Vec::new();
    Writer::new(to, &mut restored, &mut pending).emit(NewEvent {
        name: "database.restored",
        topics: &[],
        cause: Cause::default(),
        shown: None,
        request_id: "cli",
        at: now,
    });
    StoredEvent::insert_all(to, &pending)?;
    restored.save(to, &backed_up)?;
    Ok(restored.event)
}

/// A backup that has this binary's tables: the file itself, or a copy that was brought up to date.
fn up_to_date(path: &Path) -> Result<(Database, Option<tempfile::NamedTempFile>), StoreError> {
    let damaged = |error: &dyn std::fmt::Display| {
        StoreError::Backup(format!("{} is no whole backup of Chaffer: {error}", path.display()))
    };
    let mut database = DatabaseUrl::connect_untouched(path)?;
    let found = database.integrity().map_err(|error| damaged(&error))?;
    if found != "ok" {
        return Err(damaged(&found));
    }
    let tables = database.sqlite_tables().map_err(|error| damaged(&error))?;
    if !tables.iter().any(|table| table.name == "counters") {
        return Err(damaged(&"it has other tables"));
    }
    let state = database.migrations()?;
    state.refuse_newer()?;
    if state.pending.is_empty() {
        return Ok((database, None));
    }
    let copy = tempfile::NamedTempFile::new().map_err(failed("copy", path))?;
    std::fs::copy(path, copy.path()).map_err(failed("copy", path))?;
    // The copy takes the permissions, too.
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(copy.path(), private).map_err(failed("copy", path))?;
    let url = DatabaseUrl::Sqlite(copy.path().to_owned());
    url.migrate()?;
    Ok((url.connect_plainly()?, Some(copy)))
}

/// Makes one file of a fresh backup, and reads it once.
fn finish(path: &Path) -> Result<BackupReport, StoreError> {
    let mut database = DatabaseUrl::Sqlite(path.to_owned()).connect_plainly()?;
    // Without the files that a write-ahead log would put beside it.
    database.batch("PRAGMA journal_mode = DELETE")?;
    database.drop_derived()?;
    let found = database.integrity()?;
    if found != "ok" {
        return Err(StoreError::Backup(format!("the backup cannot be read back: {found}")));
    }
    let mut rows = Vec::new();
    for table in database.sqlite_tables()? {
        let count = table.count(&mut database)?;
        if count > 0 {
            rows.push((table.name, count));
        }
    }
    let last_event = Reader { database: &mut database, shared: None }.last_event()?;
    Ok(BackupReport { rows, last_event, mails_given_up: 0 })
}

impl BackupReport {
    /// The rows of one table.
    #[must_use]
    pub fn rows_of(&self, table: &str) -> i64 {
        self.rows.iter().find(|(name, _)| name == table).map_or(0, |(_, rows)| *rows)
    }
}

#[derive(QueryableByName)]
struct Finding {
    #[diesel(sql_type = Text)]
    finding: String,
}

impl Database {
    pub(super) fn batch(&mut self, sql: &str) -> QueryResult<()> {
        self.batch_execute(sql)
    }

    fn sqlite(&mut self) -> Result<&mut diesel::SqliteConnection, StoreError> {
        match self {
            Self::Sqlite(connection) => Ok(connection),
            #[cfg(feature = "mysql")]
            Self::Mysql(_) => Err(StoreError::Backup("a backup is a SQLite file".into())),
        }
    }

    pub(super) fn sqlite_tables(&mut self) -> Result<Vec<Table>, StoreError> {
        Ok(tables(self.sqlite()?)?)
    }

    /// Empties what is made of the rest, and gives its room back.
    fn drop_derived(&mut self) -> Result<(), StoreError> {
        let mut has_dropped = false;
        for table in self.sqlite_tables()? {
            if DERIVED_TABLES.contains(&table.name.as_str()) && table.has_rows(self)? {
                table.clear(self)?;
                has_dropped = true;
            }
        }
        if has_dropped {
            self.batch("VACUUM")?;
        }
        Ok(())
    }

    /// Copies the database as it is at this moment into an empty file.
    fn vacuum_into(&mut self, path: &Path) -> Result<(), StoreError> {
        let path: PathBuf = path.into();
        let path = path.to_str().ok_or_else(|| StoreError::Backup("no UTF-8 path".into()))?;
        // `query_only` takes it for a write, though it writes to the other file alone.
        self.batch("PRAGMA query_only = OFF")?;
        diesel::sql_query("VACUUM INTO ?").bind::<Text, _>(path).execute(self.sqlite()?)?;
        Ok(())
    }

    /// `ok`, or what is wrong with the file.
    fn integrity(&mut self) -> Result<String, StoreError> {
        let sql = "SELECT integrity_check AS finding FROM pragma_integrity_check LIMIT 1";
        let found: Vec<Finding> = diesel::sql_query(sql).load(self.sqlite()?)?;
        Ok(found.into_iter().next().map(|it| it.finding).unwrap_or_default())
    }

    /// The tables are filled in the order of their names, so references are checked at the end.
    fn check_foreign_keys(&mut self, on: bool) -> QueryResult<()> {
        match self {
            Self::Sqlite(connection) => {
                connection.batch_execute(&format!("PRAGMA foreign_keys = {on}"))
            }
            #[cfg(feature = "mysql")]
            Self::Mysql(connection) => {
                connection.batch_execute(&format!("SET SESSION foreign_key_checks = {on}"))
            }
        }
    }

    /// Refuses rows that refer to nothing. Of MariaDB the rows were checked when they were first written.
    fn find_orphans(&mut self) -> Result<(), StoreError> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(connection) => {
                let sql = "SELECT \"table\" AS finding FROM pragma_foreign_key_check LIMIT 1";
                let found: Vec<Finding> = diesel::sql_query(sql).load(connection)?;
                match found.first() {
                    Some(Finding { finding }) => Err(StoreError::Backup(format!(
                        "the backup is damaged: rows of {finding} refer to what is not there"
                    ))),
                    None => Ok(()),
                }
            }
            #[cfg(feature = "mysql")]
            Self::Mysql(_) => Ok(()),
        }
    }
}
