//! Statements whose text never changes: those that every message makes.
//!
//! A statement that diesel builds from its parts is walked over three times for each run: for its text or the key it is kept
//! under, for whether it may be kept at all, and for its values; that costs as much as running it. Here the text stands
//! there, its type is the key, and only the values are walked over.

use std::marker::PhantomData;

use diesel::backend::Backend;
use diesel::query_builder::{AstPass, Query, QueryBuilder, QueryFragment, QueryId};
use diesel::query_dsl::RunQueryDsl;
use diesel::serialize::ToSql;
use diesel::sql_types::{self, HasSqlType};
use diesel::{QueryResult, Selectable};

use super::Timestamp;
use super::moment::Moment;

#[cfg(not(feature = "sqlite"))]
pub(super) use diesel::mysql::Mysql as AnyBackend;
/// Queries like ours have the same text on both databases.
#[cfg(feature = "sqlite")]
pub(super) use diesel::sqlite::Sqlite as AnyBackend;

/// Where a text stands; the type is the key under which a connection keeps the statement.
pub(super) trait Text: 'static {
    /// What stands before, between and after the values.
    fn pieces() -> &'static [&'static str];
}

/// A statement that changes something: its text, with a `?` for each value and no other, and its values.
macro_rules! fixed {
    ($sql:literal $(, $value:expr)* $(,)?) => {{
        struct Here;
        impl $crate::store::fixed::Text for Here {
            fn pieces() -> &'static [&'static str] {
                static PIECES: std::sync::OnceLock<Vec<&str>> = std::sync::OnceLock::new();
                PIECES.get_or_init(|| $sql.split('?').collect())
            }
        }
        $crate::store::fixed::Fixed::<Here, (), _>::new([
            $($crate::store::fixed::Value::from($value)),*
        ])
    }};
}
pub(super) use fixed;

/// A look-up with its values: diesel's query, with anything where the values belong, is built once, for its text and its types.
macro_rules! fixed_query {
    ($query:expr $(, $value:expr)* $(,)?) => {{
        struct Here;
        impl $crate::store::fixed::Text for Here {
            fn pieces() -> &'static [&'static str] {
                static TEXT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
                static PIECES: std::sync::OnceLock<Vec<&str>> = std::sync::OnceLock::new();
                PIECES.get_or_init(|| {
                    TEXT.get_or_init(|| $crate::store::fixed::text_of(&$query)).split('?').collect()
                })
            }
        }
        $crate::store::fixed::like::<Here, _, _>(|| $query, [
            $($crate::store::fixed::Value::from($value)),*
        ])
    }};
}
pub(super) use fixed_query;

/// A query's text. What cannot be built is refused by the database.
pub(super) fn text_of(query: &impl QueryFragment<AnyBackend>) -> String {
    let mut text = <AnyBackend as Backend>::QueryBuilder::default();
    let _ = query.to_sql(&mut text, &AnyBackend);
    text.finish()
}

/// With the rows of that query, which is not built for it.
pub(super) fn like<T: Text, Q: Query, const N: usize>(
    _: impl FnOnce() -> Q,
    values: [Value<'_>; N],
) -> Fixed<'_, T, Q::SqlType, N> {
    Fixed::new(values)
}

/// The columns of a row, for [`fixed_query`].
pub(super) fn columns<R: Selectable<AnyBackend>>() -> R::SelectExpression {
    R::construct_selection()
}

/// One run of such a statement; `S` is what its rows are made of.
pub(super) struct Fixed<'a, T, S, const N: usize> {
    values: [Value<'a>; N],
    text: PhantomData<(T, S)>,
}

/// A value of a statement.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Number(i64),
    Text(&'a str),
    Moment(Moment),
    MaybeNumber(Option<i64>),
    MaybeText(Option<&'a str>),
}

macro_rules! values_from {
    ($($type:ty => |$value:ident| $made:expr;)*) => {
        $(impl<'a> From<$type> for Value<'a> {
            fn from($value: $type) -> Self {
                $made
            }
        })*
    };
}

values_from! {
    i64 => |it| Self::Number(it);
    i16 => |it| Self::Number(it.into());
    bool => |it| Self::Number(it.into());
    &'a str => |it| Self::Text(it);
    &'a String => |it| Self::Text(it);
    Timestamp => |it| Self::Moment(Moment(it));
    Option<i64> => |it| Self::MaybeNumber(it);
    Option<&'a str> => |it| Self::MaybeText(it);
    &'a Option<String> => |it| Self::MaybeText(it.as_deref());
}

impl<'a, T, S, const N: usize> Fixed<'a, T, S, N> {
    pub(super) fn new(values: [Value<'a>; N]) -> Self
    where
        T: Text,
    {
        debug_assert_eq!(T::pieces().len(), N + 1, "{:?}", T::pieces());
        Self { values, text: PhantomData }
    }
}

/// A value is the `?` that it is bound to.
impl<DB> QueryFragment<DB> for Value<'_>
where
    DB: Backend + HasSqlType<sql_types::Timestamp>,
    i64: ToSql<sql_types::BigInt, DB>,
    str: ToSql<sql_types::Text, DB>,
    Moment: ToSql<sql_types::Timestamp, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        match self {
            Self::Number(value) => out.push_bind_param::<sql_types::BigInt, _>(value),
            Self::Text(value) => out.push_bind_param::<sql_types::Text, str>(value),
            Self::Moment(value) => out.push_bind_param::<sql_types::Timestamp, _>(value),
            Self::MaybeNumber(value) => {
                out.push_bind_param::<sql_types::Nullable<sql_types::BigInt>, _>(value)
            }
            Self::MaybeText(value) => {
                out.push_bind_param::<sql_types::Nullable<sql_types::Text>, _>(value)
            }
        }
    }
}

impl<'a, DB: Backend, T: Text, S, const N: usize> QueryFragment<DB> for Fixed<'a, T, S, N>
where
    Value<'a>: QueryFragment<DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        let mut pieces = T::pieces().iter();
        for value in &self.values {
            out.push_sql(pieces.next().copied().unwrap_or_default());
            value.walk_ast(out.reborrow())?;
        }
        out.push_sql(pieces.next().copied().unwrap_or_default());
        Ok(())
    }

    fn is_safe_to_cache_prepared(&self, _: &DB) -> QueryResult<bool> {
        Ok(true)
    }
}

impl<T: Text, S, const N: usize> QueryId for Fixed<'_, T, S, N> {
    type QueryId = T;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<T, S, const N: usize> Query for Fixed<'_, T, S, N> {
    type SqlType = S;
}

impl<T, S, Conn, const N: usize> RunQueryDsl<Conn> for Fixed<'_, T, S, N> {}
