//! Copies the rows of all tables from one database into another, of either kind: what `backup` and `restore` are made
//! of. Every value travels as text, which both databases take back for every type that the tables use.

use diesel::deserialize::{self, FromSql};
use diesel::prelude::*;
use diesel::row::NamedRow;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};

use super::StoreError;
use super::connection::{Database, on_backend};

/// Rows of one statement.
pub(super) const ROWS: usize = 500;
/// Bytes of one insert: far below what MariaDB takes in one packet (16 MiB, unless set).
pub(super) const BYTES: usize = 1 << 20;

/// One table, as the embedded database describes it; the other one has the same columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// A number that is 0 or 1.
    pub(super) is_flag: bool,
    pub(super) may_be_null: bool,
    /// What an absent value is, as SQL has it.
    pub(super) default: Option<String>,
    /// The place in the primary key, from 1.
    key: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Number,
    Time,
    Text,
}

/// A row as texts, whatever its columns are.
pub(super) struct Row(pub(super) Vec<Option<String>>);

impl<DB> QueryableByName<DB> for Row
where
    DB: diesel::backend::Backend,
    Option<String>: FromSql<Nullable<Text>, DB>,
{
    fn build<'a>(row: &impl NamedRow<'a, DB>) -> deserialize::Result<Self> {
        (0..row.field_count())
            .map(|place| NamedRow::get::<Nullable<Text>, Option<String>>(row, &format!("c{place}")))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// The tables of a SQLite database, but for the list of migrations.
#[cfg(feature = "sqlite")]
pub(super) fn tables(connection: &mut diesel::SqliteConnection) -> QueryResult<Vec<Table>> {
    #[derive(QueryableByName)]
    struct Named {
        #[diesel(sql_type = Text)]
        name: String,
    }
    #[derive(QueryableByName)]
    struct Described {
        #[diesel(sql_type = Text)]
        name: String,
        #[diesel(sql_type = Text)]
        kind: String,
        #[diesel(sql_type = BigInt)]
        key: i64,
        #[diesel(sql_type = Bool)]
        may_be_null: bool,
        #[diesel(sql_type = Nullable<Text>)]
        default: Option<String>,
    }
    let names: Vec<Named> = diesel::sql_query(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
         AND name <> '__diesel_schema_migrations' ORDER BY name",
    )
    .load(connection)?;
    names
        .into_iter()
        .map(|Named { name }| {
            let columns: Vec<Described> = diesel::sql_query(
                "SELECT name, upper(type) AS kind, pk AS key, \"notnull\" = 0 AS may_be_null, dflt_value AS \"default\" \
                 FROM pragma_table_info(?)",
            )
            .bind::<Text, _>(&name)
            .load(connection)?;
            let column = |it: Described| Column {
                kind: match it.kind.as_str() {
                    "TIMESTAMP" => Kind::Time,
                    "TEXT" => Kind::Text,
                    _ => Kind::Number,
                },
                is_flag: it.kind == "BOOLEAN",
                may_be_null: it.may_be_null,
                default: it.default,
                name: it.name,
                key: (it.key > 0).then_some(it.key),
            };
            Ok(Table { name, columns: columns.into_iter().map(column).collect() })
        })
        .collect()
}

impl Column {
    /// Both databases take backticks, and a name may be a word of one of them.
    fn quoted(&self) -> String {
        format!("`{}`", self.name)
    }
}

impl Table {
    /// The columns of the primary key, in its order, by their places in a row.
    fn key(&self) -> Vec<(usize, &Column)> {
        let mut key: Vec<_> =
            self.columns.iter().enumerate().filter(|(_, column)| column.key.is_some()).collect();
        key.sort_by_key(|(_, column)| column.key);
        key
    }

    /// Whether it has rows.
    pub(super) fn has_rows(&self, database: &mut Database) -> QueryResult<bool> {
        let sql = format!("SELECT 1 AS c0 FROM `{}` LIMIT 1", self.name);
        let rows: Vec<Row> =
            on_backend!(database, connection => diesel::sql_query(sql).load(connection)?);
        Ok(!rows.is_empty())
    }

    /// How many rows it has.
    pub(super) fn count(&self, database: &mut Database) -> QueryResult<i64> {
        #[derive(QueryableByName)]
        struct Count {
            #[diesel(sql_type = BigInt)]
            number: i64,
        }
        let sql = format!("SELECT COUNT(*) AS number FROM `{}`", self.name);
        let rows: Vec<Count> =
            on_backend!(database, connection => diesel::sql_query(sql).load(connection)?);
        Ok(rows.first().map_or(0, |row| row.number))
    }

    /// Removes all rows.
    pub(super) fn clear(&self, database: &mut Database) -> QueryResult<()> {
        let sql = format!("DELETE FROM `{}`", self.name);
        on_backend!(database, connection => diesel::sql_query(sql).execute(connection)?);
        Ok(())
    }

    /// Puts every row of one database into the other, page by page along the primary key.
    pub(super) fn copy(&self, from: &mut Database, to: &mut Database) -> Result<(), StoreError> {
        if self.key().is_empty() {
            return Err(StoreError::Backup(format!("the table {} has no primary key", self.name)));
        }
        let mut last: Option<Row> = None;
        loop {
            let page = self.page(from, last.as_ref())?;
            let is_last = page.len() < ROWS;
            let mut rows: &[Row] = &page;
            while !rows.is_empty() {
                let mut bytes = 0;
                let fit = rows
                    .iter()
                    .take_while(|row| {
                        bytes += row.0.iter().flatten().map(String::len).sum::<usize>();
                        bytes <= BYTES
                    })
                    .count();
                // One that is too long goes alone.
                let (now, later) = rows.split_at(fit.max(1));
                self.insert(to, now)?;
                rows = later;
            }
            if is_last {
                return Ok(());
            }
            last = page.into_iter().next_back();
        }
    }

    /// The next rows after one.
    pub(super) fn page(
        &self,
        database: &mut Database,
        after: Option<&Row>,
    ) -> Result<Vec<Row>, StoreError> {
        let is_sqlite = database.is_sqlite();
        let read = |(place, column): (usize, &Column)| {
            let name = &column.name;
            match (is_sqlite, column.kind) {
                (true, _) => format!("CAST(`{name}` AS TEXT) AS c{place}"),
                // The embedded database keeps no fraction where there is none, and compares times as texts.
                (false, Kind::Time) => {
                    format!(
                        "TRIM(TRAILING '.000' FROM CONVERT(`{name}` USING utf8mb4)) AS c{place}"
                    )
                }
                (false, _) => format!("CONVERT(`{name}` USING utf8mb4) AS c{place}"),
            }
        };
        let columns: Vec<String> = self.columns.iter().enumerate().map(read).collect();
        let key = self.key();
        let order: Vec<String> = key.iter().map(|(_, column)| column.quoted()).collect();
        let mut sql = format!("SELECT {} FROM `{}`", columns.join(", "), self.name);
        let mut binds = Vec::new();
        if let Some(Row(last)) = after {
            let mark = |column: &Column| match (is_sqlite, column.kind) {
                (true, Kind::Number) => "CAST(? AS INTEGER)",
                (false, Kind::Number) => "CAST(? AS SIGNED)",
                _ => "?",
            };
            // (a, b) > (x, y), written so that both databases walk the index: a >= x AND (a > x OR (b > y)).
            let mut condition = String::new();
            for (place, column) in key.iter().rev() {
                let (name, mark) = (&column.name, mark(column));
                let value = last.get(*place).cloned().flatten();
                if condition.is_empty() {
                    condition = format!("`{name}` > {mark}");
                    binds.push(value);
                } else {
                    condition =
                        format!("`{name}` >= {mark} AND (`{name}` > {mark} OR ({condition}))");
                    binds.extend([value.clone(), value]);
                }
            }
            // The innermost was written first.
            binds.reverse();
            sql = format!("{sql} WHERE {condition}");
        }
        let sql = format!("{sql} ORDER BY {} LIMIT {ROWS}", order.join(", "));
        Ok(on_backend!(database, connection => {
            let query = diesel::sql_query(sql).into_boxed();
            binds
                .into_iter()
                .fold(query, |query, value| query.bind::<Nullable<Text>, _>(value))
                .load(connection)?
        }))
    }

    pub(super) fn insert(&self, database: &mut Database, rows: &[Row]) -> Result<(), StoreError> {
        let names: Vec<String> = self.columns.iter().map(Column::quoted).collect();
        let one = format!("({})", vec!["?"; names.len()].join(", "));
        let all = vec![one; rows.len()].join(", ");
        let sql = format!("INSERT INTO `{}` ({}) VALUES {all}", self.name, names.join(", "));
        on_backend!(database, connection => {
            let query = diesel::sql_query(sql).into_boxed();
            let values = rows.iter().flat_map(|row| row.0.iter());
            values
                .fold(query, |query, value| query.bind::<Nullable<Text>, _>(value.as_deref()))
                .execute(connection)?
        });
        Ok(())
    }
}
