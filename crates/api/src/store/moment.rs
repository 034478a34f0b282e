//! Moments as SQLite keeps them, read and written without chrono's formats.
//!
//! Diesel tries up to eighteen formats on every moment it reads, each parsed anew, and walks one for each it writes: a post
//! reads and writes some twenty. The texts are the same.

#[cfg(feature = "sqlite")]
use chrono::{Datelike, NaiveDate, Timelike};
use diesel::Connection;
use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
#[cfg(feature = "mysql")]
use diesel::mysql::{Mysql, MysqlValue};
#[cfg(feature = "sqlite")]
use diesel::serialize::IsNull;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types;
#[cfg(feature = "sqlite")]
use diesel::sqlite::Sqlite;

use super::Timestamp;
use super::connection::Database;

/// A moment on its way to the database or from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromSqlRow, AsExpression)]
#[diesel(sql_type = sql_types::Timestamp)]
pub struct Moment(pub(super) Timestamp);

impl From<Moment> for Timestamp {
    fn from(moment: Moment) -> Self {
        moment.0
    }
}

#[cfg(feature = "sqlite")]
impl FromSql<sql_types::Timestamp, Sqlite> for Moment {
    fn from_sql(mut value: <Sqlite as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        match read(value.read_text().as_bytes()) {
            Some(moment) => Ok(Self(moment)),
            // Not written by us: by somebody's own hand.
            None => FromSql::<sql_types::Timestamp, Sqlite>::from_sql(value).map(Self),
        }
    }
}

#[cfg(feature = "sqlite")]
impl ToSql<sql_types::Timestamp, Sqlite> for Moment {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(write(self.0));
        Ok(IsNull::No)
    }
}

/// On the enum of both, as diesel reads them.
type Either = <Database as Connection>::Backend;

#[expect(
    private_interfaces,
    reason = "a moment is public where rows are, and no more than they are"
)]
impl FromSql<sql_types::Timestamp, Either> for Moment {
    fn from_sql(value: <Either as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        FromSql::<sql_types::Timestamp, Either>::from_sql(value).map(Self)
    }
}

#[expect(private_interfaces, reason = "as above")]
impl ToSql<sql_types::Timestamp, Either> for Moment {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Either>) -> serialize::Result {
        ToSql::<sql_types::Timestamp, Either>::to_sql(&self.0, out)
    }
}

#[cfg(feature = "mysql")]
impl FromSql<sql_types::Timestamp, Mysql> for Moment {
    fn from_sql(value: MysqlValue<'_>) -> deserialize::Result<Self> {
        FromSql::<sql_types::Timestamp, Mysql>::from_sql(value).map(Self)
    }
}

#[cfg(feature = "mysql")]
impl ToSql<sql_types::Timestamp, Mysql> for Moment {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Mysql>) -> serialize::Result {
        ToSql::<sql_types::Timestamp, Mysql>::to_sql(&self.0, out)
    }
}

/// Reads `2026-11-21 08:05:09` with a fraction of three, six or nine digits, or none; nothing else.
#[cfg(feature = "sqlite")]
fn read(text: &[u8]) -> Option<Timestamp> {
    let number = |from: usize, to: usize| {
        text.get(from..to)?.iter().try_fold(0_u32, |number, byte| {
            byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0'))
        })
    };
    let is = |at: usize, byte: u8| text.get(at) == Some(&byte);
    if !(is(4, b'-') && is(7, b'-') && is(10, b' ') && is(13, b':') && is(16, b':')) {
        return None;
    }
    let nanos = match text.len() {
        19 => 0,
        23 if is(19, b'.') => number(20, 23)? * 1_000_000,
        26 if is(19, b'.') => number(20, 26)? * 1_000,
        29 if is(19, b'.') => number(20, 29)?,
        _ => return None,
    };
    NaiveDate::from_ymd_opt(i32::try_from(number(0, 4)?).ok()?, number(5, 7)?, number(8, 10)?)?
        .and_hms_nano_opt(number(11, 13)?, number(14, 16)?, number(17, 19)?, nanos)
}

/// The same back: as diesel writes it (`%F %T%.f`), so that texts go on being in the order of time.
#[cfg(feature = "sqlite")]
fn write(moment: Timestamp) -> String {
    let (date, time) = (moment.date(), moment.time());
    let nanos = time.nanosecond();
    if !(0..=9999).contains(&date.year()) || nanos >= 1_000_000_000 {
        return moment.format("%F %T%.f").to_string();
    }
    let mut text = String::with_capacity(29);
    let mut digits = |mut number: u32, mut unit: u32, after: char| {
        while unit > 0 {
            text.extend(char::from_digit(number / unit, 10));
            number %= unit;
            unit /= 10;
        }
        text.push(after);
    };
    digits(date.year().unsigned_abs(), 1000, '-');
    digits(date.month(), 10, '-');
    digits(date.day(), 10, ' ');
    digits(time.hour(), 10, ':');
    digits(time.minute(), 10, ':');
    digits(time.second(), 10, '.');
    match nanos {
        0 => {}
        _ if nanos.is_multiple_of(1_000_000) => digits(nanos / 1_000_000, 100, '.'),
        _ if nanos.is_multiple_of(1_000) => digits(nanos / 1_000, 100_000, '.'),
        _ => digits(nanos, 100_000_000, '.'),
    }
    text.pop();
    text
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use chrono::{DateTime, NaiveDateTime};
    use proptest::prelude::*;

    use super::*;

    const FORMAT: &str = "%F %T%.f";

    /// Whole seconds, milliseconds and microseconds as often as others, and years of any length.
    fn moments() -> impl Strategy<Value = Timestamp> {
        let nanos = prop_oneof![
            Just(0_u32),
            (0..1000_u32).prop_map(|it| it * 1_000_000),
            (0..1_000_000_u32).prop_map(|it| it * 1_000),
            0..1_999_999_999_u32,
        ];
        let seconds = prop_oneof![
            0..4_102_444_800_i64,
            -62_167_219_200..253_402_300_800_i64,
            -8_000_000_000_000..8_000_000_000_000_i64,
        ];
        (seconds, nanos)
            .prop_filter_map("chrono knows it", |(s, n)| DateTime::from_timestamp(s, n))
            .prop_map(|it| it.naive_utc())
    }

    proptest! {
        #[test]
        fn moments_are_written_as_diesel_writes_them(moment in moments()) {
            prop_assert_eq!(write(moment), moment.format(FORMAT).to_string());
        }

        #[test]
        fn what_is_read_is_what_diesel_reads(text in "\\PC{0,30}|[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,10})?") {
            let theirs = NaiveDateTime::parse_from_str(&text, FORMAT);
            if let Some(ours) = read(text.as_bytes()) {
                prop_assert_eq!(Ok(ours), theirs);
            }
        }

        #[test]
        fn every_moment_of_ours_is_read_without_diesel(moment in moments()) {
            let is_usual = (0..=9999).contains(&moment.year()) && moment.nanosecond() < 1_000_000_000;
            prop_assert_eq!(read(write(moment).as_bytes()), is_usual.then_some(moment));
        }
    }
}
