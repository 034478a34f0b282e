//! The tables' history: embedded in the binary, run at start and by `chaffer-api migrate`, under a lock, so that
//! several nodes may start at once. A database that is newer than the binary is refused.

use diesel::migration::MigrationSource;
use diesel::sql_types::BigInt;
use diesel::{QueryResult, QueryableByName, RunQueryDsl};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::connection::{Database, Use, on_backend};
use super::{DatabaseUrl, StoreError};

#[cfg(feature = "sqlite")]
const SQLITE: EmbeddedMigrations = embed_migrations!("../../migrations/sqlite");
#[cfg(feature = "mysql")]
const MYSQL: EmbeddedMigrations = embed_migrations!("../../migrations/mysql");
/// How long another node may take for its migrations, in seconds.
#[cfg(feature = "mysql")]
const LOCK_SECONDS: i32 = 300;

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationReport {
    /// The migrations that were run now.
    pub run: Vec<String>,
}

/// How the tables stand, by the versions of migrations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationState {
    /// Those that the database has had.
    pub applied: Vec<String>,
    /// Those that this binary would run.
    pub pending: Vec<String>,
    /// One that this binary does not know.
    pub newer: Option<String>,
}

impl MigrationState {
    /// # Errors
    /// When the database has had a migration that this binary does not know.
    pub(super) fn refuse_newer(&self) -> Result<(), StoreError> {
        match &self.newer {
            None => Ok(()),
            Some(newer) => Err(StoreError::Migration(format!(
                "the database is newer than this chaffer-api (it has the migration {newer}): install the version that wrote it, or restore a backup from before"
            ))),
        }
    }
}

impl DatabaseUrl {
    /// How the tables stand; changes none of them.
    ///
    /// # Errors
    /// When the database is not there or does not answer.
    pub fn migrations(&self) -> Result<MigrationState, StoreError> {
        #[cfg(feature = "sqlite")]
        if let Self::Sqlite(path) = self {
            // Connecting would create it.
            std::fs::metadata(path).map_err(|error| {
                StoreError::File(format!("cannot open the database {}", path.display()), error)
            })?;
        }
        self.connect(Use::Reading)?.migrations()
    }

    /// Makes the tables of an empty SQLite database as they were after these migrations.
    #[cfg(feature = "sqlite")]
    pub(super) fn migrate_to(&self, versions: &[String]) -> Result<(), StoreError> {
        match &mut self.connect(Use::Writing)? {
            Database::Sqlite(connection) => {
                // Asking makes the table that they are noted in.
                state(connection, &SQLITE, true)?;
                for migration in MigrationSource::<diesel::sqlite::Sqlite>::migrations(&SQLITE)
                    .map_err(failed)?
                {
                    if versions.contains(&migration.name().version().to_string()) {
                        connection.run_migration(&migration).map_err(failed)?;
                    }
                }
                Ok(())
            }
            #[cfg(feature = "mysql")]
            Database::Mysql(_) => Ok(()),
        }
    }

    /// Brings the tables up to this binary's version.
    ///
    /// # Errors
    /// When the database cannot be reached, is newer than this binary, or a migration fails.
    pub fn migrate(&self) -> Result<MigrationReport, StoreError> {
        let mut database = self.connect(Use::Writing)?;
        match &mut database {
            #[cfg(feature = "sqlite")]
            Database::Sqlite(connection) => {
                // One transaction around all: it is the lock, and a half-way failure leaves nothing behind.
                connection.immediate_transaction(|connection| run(connection, SQLITE))
            }
            #[cfg(feature = "mysql")]
            Database::Mysql(connection) => {
                use diesel::sql_types::{Integer, Nullable};
                // MySQL commits at every change of a table: a named lock has to do.
                let locked: Option<i32> = diesel::select(diesel::dsl::sql::<Nullable<Integer>>(
                    &format!("GET_LOCK('chaffer_migrate', {LOCK_SECONDS})"),
                ))
                .get_result(connection)?;
                if locked != Some(1) {
                    return Err(StoreError::Migration(
                        "another chaffer-api is still changing the tables; try again".into(),
                    ));
                }
                let report = run(connection, MYSQL);
                diesel::sql_query("DO RELEASE_LOCK('chaffer_migrate')").execute(connection)?;
                report
            }
        }
    }
}

impl Database {
    /// How the tables stand; writes nothing.
    pub(super) fn migrations(&mut self) -> Result<MigrationState, StoreError> {
        let is_set_up = self.has_history()?;
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(connection) => state(connection, &SQLITE, is_set_up),
            #[cfg(feature = "mysql")]
            Self::Mysql(connection) => state(connection, &MYSQL, is_set_up),
        }
    }

    /// Whether there is the table in which migrations are noted: diesel would make it to look into it.
    fn has_history(&mut self) -> QueryResult<bool> {
        #[derive(QueryableByName)]
        struct Found {
            #[diesel(sql_type = BigInt)]
            number: i64,
        }
        let tables = match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => "sqlite_master WHERE name",
            #[cfg(feature = "mysql")]
            Self::Mysql(_) => {
                "information_schema.tables WHERE table_schema = DATABASE() AND table_name"
            }
        };
        let sql = format!("SELECT COUNT(*) AS number FROM {tables} = '__diesel_schema_migrations'");
        let found: Found =
            on_backend!(self, connection => diesel::sql_query(sql).get_result(connection)?);
        Ok(found.number > 0)
    }
}

fn failed(error: Box<dyn std::error::Error + Send + Sync>) -> StoreError {
    StoreError::Migration(format!("cannot bring the tables up to date: {error}"))
}

fn state<C, DB>(
    connection: &mut C,
    migrations: &EmbeddedMigrations,
    is_set_up: bool,
) -> Result<MigrationState, StoreError>
where
    C: MigrationHarness<DB>,
    DB: diesel::backend::Backend,
    EmbeddedMigrations: MigrationSource<DB>,
{
    let known: Vec<String> = MigrationSource::<DB>::migrations(migrations)
        .map_err(failed)?
        .iter()
        .map(|migration| migration.name().version().to_string())
        .collect();
    let applied = if is_set_up { connection.applied_migrations().map_err(failed)? } else { vec![] };
    let applied: Vec<String> = applied.iter().map(ToString::to_string).collect();
    let newer = applied.iter().find(|version| !known.contains(version)).cloned();
    let pending = known.into_iter().filter(|version| !applied.contains(version)).collect();
    Ok(MigrationState { applied, pending, newer })
}

fn run<C, DB>(
    connection: &mut C,
    migrations: EmbeddedMigrations,
) -> Result<MigrationReport, StoreError>
where
    C: MigrationHarness<DB>,
    DB: diesel::backend::Backend,
    EmbeddedMigrations: MigrationSource<DB>,
{
    state(connection, &migrations, true)?.refuse_newer()?;
    let run = connection.run_pending_migrations(migrations).map_err(failed)?;
    Ok(MigrationReport { run: run.iter().map(ToString::to_string).collect() })
}
