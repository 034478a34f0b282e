//! The tables' history: embedded in the binary, run at start and by `chaffer-api migrate`, under a lock, so that
//! several nodes may start at once. A database that is newer than the binary is refused.

use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::connection::{Database, Use};
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

impl DatabaseUrl {
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
                use diesel::RunQueryDsl;
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

fn run<C, DB>(
    connection: &mut C,
    migrations: EmbeddedMigrations,
) -> Result<MigrationReport, StoreError>
where
    C: MigrationHarness<DB>,
    DB: diesel::backend::Backend,
    EmbeddedMigrations: diesel::migration::MigrationSource<DB>,
{
    use diesel::migration::MigrationSource;
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
        StoreError::Migration(format!("cannot bring the tables up to date: {error}"))
    };
    let known: Vec<String> = MigrationSource::<DB>::migrations(&migrations)
        .map_err(failed)?
        .iter()
        .map(|migration| migration.name().version().to_string())
        .collect();
    let applied = connection.applied_migrations().map_err(failed)?;
    if let Some(newer) = applied.iter().find(|version| !known.contains(&version.to_string())) {
        return Err(StoreError::Migration(format!(
            "the database is newer than this chaffer-api (it has the migration {newer}): install the version that wrote it, or restore a backup from before"
        )));
    }
    let run = connection.run_pending_migrations(migrations).map_err(failed)?;
    Ok(MigrationReport { run: run.iter().map(ToString::to_string).collect() })
}
