//! Whether the database can be written, without writing anything.

use diesel::prelude::*;
use diesel::sql_types::Text;

use super::connection::{Use, on_backend};
use super::events::Counters;
use super::{DatabaseUrl, StoreError, Timestamp};

#[derive(QueryableByName)]
struct Clock {
    #[diesel(sql_type = Text)]
    clock: String,
}

impl DatabaseUrl {
    /// Begins to write as every write does, takes it back, and tells what time the database has.
    ///
    /// # Errors
    /// When it could not.
    pub fn probe(&self) -> Result<Timestamp, StoreError> {
        let mut database = self.connect(Use::Writing)?;
        database.begin_writing()?;
        let mut counters = Counters::lock(&mut database)?;
        let before = counters;
        counters.event += 1;
        let written = counters.save(&mut database, &before);
        database.rollback()?;
        written?;
        let sql = match self {
            Self::Sqlite(_) => "SELECT datetime('now') AS clock",
            Self::Mysql(_) => "SELECT CAST(UTC_TIMESTAMP() AS CHAR) AS clock",
        };
        let rows: Vec<Clock> = on_backend!(&mut database, connection => {
            diesel::sql_query(sql).load(connection)?
        });
        let text = rows.first().map_or("", |row| row.clock.as_str());
        chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S")
            .map_err(|_| StoreError::Commit(format!("the database tells no time: {text}")))
    }
}
