//! One connection to either database, and what each of them has to be told when it is opened.

use std::path::PathBuf;

use diesel::RunQueryDsl;
use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::{Connection, QueryResult};
#[cfg(feature = "sqlite")]
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

use super::StoreError;
#[cfg(feature = "mysql")]
use super::prepared::written;

#[cfg(not(any(feature = "sqlite", feature = "mysql")))]
compile_error!("build chaffer-api with the feature `sqlite`, `mysql`, or both");

/// A connection to one of the databases that this binary was built with. Queries are written once, for the
/// enum; where SQL must differ, a `match` has an arm for each.
#[derive(diesel::MultiConnection)]
pub(super) enum Database {
    /// The embedded database.
    #[cfg(feature = "sqlite")]
    Sqlite(diesel::SqliteConnection),
    /// MariaDB or MySQL.
    #[cfg(feature = "mysql")]
    Mysql(diesel::MysqlConnection),
}

/// Runs one expression on the connection inside the enum: for what the enum cannot express (lists of rows in one insert),
/// and for the look-ups of every message. On the enum, diesel writes a query's text anew each time, twice; on the
/// connection itself the type of the query finds the statement.
macro_rules! on_backend {
    ($database:expr, $connection:ident => $expression:expr) => {
        match $database {
            #[cfg(feature = "sqlite")]
            $crate::store::connection::Database::Sqlite($connection) => $expression,
            #[cfg(feature = "mysql")]
            $crate::store::connection::Database::Mysql($connection) => $expression,
        }
    };
}
pub(super) use on_backend;

/// Where the database is.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A file of the embedded database.
    Sqlite(PathBuf),
    /// `mysql://user:password@host:port/database`.
    Mysql(String),
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::fmt::Display for DatabaseUrl {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            Self::Mysql(url) => match url::Url::parse(url) {
                Ok(mut url) => {
                    let _ = url.set_password(None);
                    write!(f, "{url}")
                }
                Err(_) => f.write_str("mysql://"),
            },
        }
    }
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Reading,
    Writing,
}

impl DatabaseUrl {
    /// Reads `database.url`.
    ///
    /// # Errors
    /// [`StoreError::Url`] for an unknown scheme, or one that this binary was built without.
    pub fn parse(url: &str) -> Result<Self, StoreError> {
        match url.split_once("://") {
            Some(("sqlite", path)) if !path.is_empty() => {
                if cfg!(feature = "sqlite") {
                    Ok(Self::Sqlite(path.into()))
                } else {
                    Err(StoreError::Url("this chaffer-api was built without SQLite".into()))
                }
            }
            Some(("mysql" | "mariadb", rest)) if !rest.is_empty() => {
                if cfg!(feature = "mysql") {
                    Ok(Self::Mysql(format!("mysql://{rest}")))
                } else {
                    Err(StoreError::Url(
                        "this chaffer-api was built without MySQL: build it with `--features mysql`"
                            .into(),
                    ))
                }
            }
            // The value may hold a password, so it is not repeated.
            _ => Err(StoreError::Url(
                "expected sqlite://path/to/file or mysql://user:password@host:port/database".into(),
            )),
        }
    }

    /// Opens a SQLite file that must stay as it is.
    #[cfg(feature = "sqlite")]
    pub(super) fn connect_untouched(path: &std::path::Path) -> Result<Database, StoreError> {
        let whole = path.canonicalize();
        let whole = whole
            .map_err(|error| StoreError::File(format!("cannot read {}", path.display()), error))?;
        // SQLite takes a URI, in which these bytes mean something.
        const SPECIAL: &AsciiSet = &CONTROLS.add(b'%').add(b'?').add(b'#');
        let whole = percent_encode(whole.as_os_str().as_encoded_bytes(), SPECIAL);
        let url = format!("file:{whole}?mode=ro");
        Ok(Database::Sqlite(diesel::SqliteConnection::establish(&url)?))
    }

    /// Opens a SQLite file of our own making, a draft of a backup for instance.
    #[cfg(feature = "sqlite")]
    pub(super) fn connect_plainly(&self) -> Result<Database, StoreError> {
        match self {
            Self::Sqlite(path) => {
                let path = path
                    .to_str()
                    .ok_or_else(|| StoreError::Url("the path is not valid UTF-8".into()))?;
                Ok(Database::Sqlite(diesel::SqliteConnection::establish(path)?))
            }
            Self::Mysql(_) => Err(StoreError::Url("a backup is a SQLite file".into())),
        }
    }

    pub(super) fn connect(&self, r#use: Use) -> Result<Database, StoreError> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(path) => {
                create_private(path)?;
                let path = path
                    .to_str()
                    .ok_or_else(|| StoreError::Url("the path is not valid UTF-8".into()))?;
                let mut connection = diesel::SqliteConnection::establish(path)?;
                // The time-out first: switching to WAL needs a lock that another process may hold.
                // FULL: an acknowledged message is on the disk, whatever happens to the machine.
                connection.batch_execute(
                    "PRAGMA busy_timeout = 10000;
                     PRAGMA journal_mode = WAL;
                     PRAGMA synchronous = FULL;
                     PRAGMA foreign_keys = ON;",
                )?;
                connection.batch_execute(match r#use {
                    Use::Reading => "PRAGMA query_only = ON;",
                    // The writer's thread does it when nobody waits; this is for when somebody always does.
                    Use::Writing => "PRAGMA wal_autocheckpoint = 4000;",
                })?;
                Ok(Database::Sqlite(connection))
            }
            #[cfg(feature = "mysql")]
            Self::Mysql(url) => {
                let mut connection = diesel::MysqlConnection::establish(url)?;
                connection.batch_execute("SET SESSION sql_mode = 'TRADITIONAL'")?;
                // The counters' lock already orders the writers; gap locks would only add deadlocks. What is read belongs
                // together, whatever the server's default is.
                let isolation = match r#use {
                    Use::Writing => "READ COMMITTED",
                    Use::Reading => "REPEATABLE READ",
                };
                connection.batch_execute(&format!(
                    "SET SESSION TRANSACTION ISOLATION LEVEL {isolation}"
                ))?;
                Ok(Database::Mysql(connection))
            }
            #[cfg(not(all(feature = "sqlite", feature = "mysql")))]
            other => Err(StoreError::Url(format!("this chaffer-api cannot use {other}"))),
        }
    }
}

/// Creates the database file for its owner alone: it holds what people write to each other.
#[cfg(feature = "sqlite")]
fn create_private(path: &std::path::Path) -> Result<(), StoreError> {
    use std::os::unix::fs::OpenOptionsExt;
    match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => {
            Err(StoreError::File(format!("cannot create the database {}", path.display()), error))
        }
    }
}

impl Database {
    /// Whether it is the embedded one.
    pub(super) fn is_sqlite(&self) -> bool {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => true,
            #[cfg(feature = "mysql")]
            Self::Mysql(_) => false,
        }
    }

    /// Has SQLite fail at once where it would wait for another process that writes.
    pub(super) fn never_wait(&mut self) -> QueryResult<()> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(connection) => connection.batch_execute("PRAGMA busy_timeout = 0"),
            #[cfg(feature = "mysql")]
            Self::Mysql(_) => Ok(()),
        }
    }

    /// Begins a transaction that writes. SQLite has to be told at once: one that reads first fails when
    /// another one has written meanwhile.
    pub(super) fn begin_writing(&mut self) -> QueryResult<()> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(connection) => {
                AnsiTransactionManager::begin_transaction_sql(connection, "BEGIN IMMEDIATE")
            }
            #[cfg(feature = "mysql")]
            Self::Mysql(connection) => set_autocommit(connection, false),
        }
    }

    /// Begins a transaction that only reads: one snapshot.
    pub(super) fn begin_reading(&mut self) -> QueryResult<()> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(connection) => AnsiTransactionManager::begin_transaction(connection),
            #[cfg(feature = "mysql")]
            Self::Mysql(connection) => set_autocommit(connection, false),
        }
    }

    /// Brings SQLite's log into the file, as far as no reader needs it as it was; the log is then written from its
    /// beginning again, which costs less than to make it longer. Tells whether that was all of it
    /// (<https://www.sqlite.org/pragma.html#pragma_wal_checkpoint>).
    pub(super) fn checkpoint(&mut self) -> QueryResult<bool> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(connection) => {
                #[derive(diesel::QueryableByName)]
                struct Report {
                    #[diesel(sql_type = diesel::sql_types::BigInt)]
                    log: i64,
                    #[diesel(sql_type = diesel::sql_types::BigInt)]
                    checkpointed: i64,
                }
                let report: Report =
                    diesel::sql_query("PRAGMA wal_checkpoint(PASSIVE)").get_result(connection)?;
                Ok(report.log == report.checkpointed)
            }
            #[cfg(feature = "mysql")]
            Self::Mysql(_) => Ok(true),
        }
    }

    /// Commits the transaction.
    pub(super) fn commit(&mut self) -> QueryResult<()> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(connection) => AnsiTransactionManager::commit_transaction(connection),
            #[cfg(feature = "mysql")]
            Self::Mysql(connection) => set_autocommit(connection, true),
        }
    }

    /// Takes the transaction back.
    pub(super) fn rollback(&mut self) -> QueryResult<()> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(connection) => AnsiTransactionManager::rollback_transaction(connection),
            #[cfg(feature = "mysql")]
            Self::Mysql(connection) => {
                connection.batch_execute("ROLLBACK")?;
                set_autocommit(connection, true)
            }
        }
    }

    /// Marks where one job of a transaction begins, so that it alone can be taken back.
    pub(super) fn savepoint(&mut self) -> QueryResult<()> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(connection) => AnsiTransactionManager::begin_transaction(connection),
            #[cfg(feature = "mysql")]
            Self::Mysql(connection) => connection.batch_execute("SAVEPOINT job"),
        }
    }

    /// Keeps what was done since the savepoint.
    pub(super) fn release_savepoint(&mut self) -> QueryResult<()> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(connection) => AnsiTransactionManager::commit_transaction(connection),
            #[cfg(feature = "mysql")]
            Self::Mysql(connection) => connection.batch_execute("RELEASE SAVEPOINT job"),
        }
    }

    /// Takes back what was done since the savepoint.
    pub(super) fn rollback_to_savepoint(&mut self) -> QueryResult<()> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(connection) => AnsiTransactionManager::rollback_transaction(connection),
            #[cfg(feature = "mysql")]
            Self::Mysql(connection) => connection.batch_execute("ROLLBACK TO SAVEPOINT job"),
        }
    }
}

/// Begins a transaction, or commits it
/// (<https://dev.mysql.com/doc/refman/8.4/en/server-system-variables.html#sysvar_autocommit>). By itself diesel sends
/// BEGIN and COMMIT in three round trips each, since it has to allow several statements in one text for them and forbid
/// them again; of what begins a transaction, MySQL keeps this alone as a prepared statement.
#[cfg(feature = "mysql")]
fn set_autocommit(connection: &mut diesel::MysqlConnection, on: bool) -> QueryResult<()> {
    let sql = if on { "SET autocommit = 1" } else { "SET autocommit = 0" };
    written(sql).execute(connection).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_schemes_are_accepted() {
        for url in ["", "data/chaffer.db", "sqlite:", "sqlite://", "postgres://x/y", "file://x"] {
            assert!(DatabaseUrl::parse(url).is_err(), "{url:?}");
        }
        assert_eq!(
            DatabaseUrl::parse("sqlite:///srv/chaffer.db").unwrap(),
            DatabaseUrl::Sqlite("/srv/chaffer.db".into())
        );
    }

    #[test]
    fn passwords_are_not_shown() {
        let url = DatabaseUrl::Mysql("mysql://chaffer:hunter2@127.0.0.1/chaffer".into());
        assert_eq!(url.to_string(), "mysql://chaffer@127.0.0.1/chaffer");
    }
}
