//! Statements that a connection prepares once and keeps.
//!
//! By itself diesel keeps no UPDATE, no insert of several rows and no query with a list, since their texts might be
//! different each time. Parsing and planning again cost more than running them: on SQLite up to half of the time of a
//! post, on MariaDB a round trip more for each. The texts of ours are few, if the lengths of lists are: so
//! [`padded`] and [`portions`] make powers of two of them.

use diesel::QueryResult;
use diesel::backend::Backend;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::query_dsl::RunQueryDsl;

use super::Timestamp;
use super::fixed::Value;

/// The longest list, and the most rows of one insert.
pub(super) const LONGEST: usize = 256;

/// A statement that is kept.
pub(super) struct Prepared<Q>(Q);

/// Has a statement kept. Only for one whose text takes few forms.
pub(super) fn prepared<Q>(query: Q) -> Prepared<Q> {
    Prepared(query)
}

impl<DB: Backend, Q: QueryFragment<DB>> QueryFragment<DB> for Prepared<Q> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        self.0.walk_ast(out)
    }

    fn is_safe_to_cache_prepared(&self, _: &DB) -> QueryResult<bool> {
        Ok(true)
    }
}

/// The key in the connection's cache is the text.
impl<Q> QueryId for Prepared<Q> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Q: Query> Query for Prepared<Q> {
    type SqlType = Q::SqlType;
}

impl<Q, Conn> RunQueryDsl<Conn> for Prepared<Q> {}

/// A statement with its text written out: for the changes that every message makes. Diesel marks each of its own UPDATEs and
/// inserts of several rows as one not to be kept, which [`Prepared`] cannot take back where a statement is only executed; and it would build the text
/// anew from its parts, which costs as much as running the statement.
#[derive(Debug)]
pub(super) struct Written<'a>(Vec<Piece<'a>>);

#[derive(Debug)]
enum Piece<'a> {
    Sql(&'static str),
    Value(Value<'a>),
}

/// Begins a statement.
pub(super) fn written<'a>(sql: &'static str) -> Written<'a> {
    Written(vec![Piece::Sql(sql)])
}

impl<'a> Written<'a> {
    /// Goes on with text.
    pub(super) fn sql(self, sql: &'static str) -> Self {
        self.and(Piece::Sql(sql))
    }

    /// A value.
    pub(super) fn number(self, value: i64) -> Self {
        self.and(Piece::Value(value.into()))
    }

    /// A value.
    pub(super) fn text(self, value: &'a str) -> Self {
        self.and(Piece::Value(value.into()))
    }

    /// A value.
    pub(super) fn moment(self, value: Timestamp) -> Self {
        self.and(Piece::Value(value.into()))
    }

    /// A value, or NULL.
    pub(super) fn maybe_number(self, value: Option<i64>) -> Self {
        self.and(Piece::Value(value.into()))
    }

    /// A value, or NULL.
    #[cfg(feature = "mysql")]
    pub(super) fn maybe_text(self, value: Option<&'a str>) -> Self {
        self.and(Piece::Value(value.into()))
    }

    /// A list of values in brackets, [`padded`].
    pub(super) fn texts(mut self, values: &[&'a str]) -> Self {
        for (nth, value) in padded(values).into_iter().enumerate() {
            self = self.sql(if nth == 0 { "(" } else { ", " }).text(value);
        }
        self.sql(")")
    }

    /// The same of numbers.
    pub(super) fn numbers(mut self, values: &[i64]) -> Self {
        for (nth, value) in padded(values).into_iter().enumerate() {
            self = self.sql(if nth == 0 { "(" } else { ", " }).number(value);
        }
        self.sql(")")
    }

    fn and(mut self, piece: Piece<'a>) -> Self {
        self.0.push(piece);
        self
    }
}

impl<'a, DB: Backend> QueryFragment<DB> for Written<'a>
where
    Value<'a>: QueryFragment<DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        for piece in &self.0 {
            match piece {
                Piece::Sql(sql) => out.push_sql(sql),
                Piece::Value(value) => value.walk_ast(out.reborrow())?,
            }
        }
        Ok(())
    }
}

/// The key in the connection's cache is the text.
impl QueryId for Written<'_> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Conn> RunQueryDsl<Conn> for Written<'_> {}

/// A list for `eq_any`, as long as the next power of two: the last entry is repeated, which finds nothing more.
pub(super) fn padded<T: Clone>(list: &[T]) -> Vec<T> {
    let mut padded = list.to_vec();
    if let Some(last) = list.last() {
        padded.resize(list.len().next_power_of_two(), last.clone());
    }
    padded
}

/// Cuts a list into pieces of at most [`LONGEST`], for one query each.
pub(super) fn pieces<T>(list: &[T]) -> impl Iterator<Item = &[T]> {
    list.chunks(LONGEST)
}

/// Cuts rows to be inserted into pieces whose lengths are powers of two, the longest first.
pub(super) fn portions<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let length = 1 << rows.len().min(LONGEST).checked_ilog2()?;
        let (portion, rest) = rows.split_at_checked(length)?;
        rows = rest;
        Some(portion)
    })
}

/// Inserts all rows: SQLite, which is at hand, one after the other; a server with few round trips.
macro_rules! insert_all {
    ($database:expr, $table:expr, $rows:expr) => {
        match &mut *$database {
            #[cfg(feature = "sqlite")]
            $crate::store::connection::Database::Sqlite(connection) => {
                for row in $rows {
                    diesel::insert_into($table).values(row).execute(connection)?;
                }
            }
            #[cfg(feature = "mysql")]
            $crate::store::connection::Database::Mysql(connection) => {
                for rows in $crate::store::prepared::portions($rows) {
                    let insert = diesel::insert_into($table).values(rows);
                    $crate::store::prepared::prepared(insert).execute(connection)?;
                }
            }
        }
    };
}
pub(super) use insert_all;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_take_few_lengths_and_lose_nothing() {
        for length in 0..1000_usize {
            let list: Vec<usize> = (0..length).collect();
            assert_eq!(portions(&list).flatten().copied().collect::<Vec<_>>(), list);
            let is_kept = |it: &[usize]| it.len().is_power_of_two() && it.len() <= LONGEST;
            assert!(portions(&list).all(is_kept));
            let padded = padded(&list);
            assert!(padded.len() < 2 * length.max(1) && padded.starts_with(&list));
            assert!(padded.iter().all(|it| list.contains(it)));
        }
    }
}
