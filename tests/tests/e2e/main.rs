//! Stories played with the real daemons, each on every kind of database. Their names begin with the feature
//! that they show (`r2_`, `b1_`, ...), where there is one.

#![expect(clippy::indexing_slicing, reason = "a missing field of a JSON value reads as null")]

/// Makes each story a test on SQLite and one on MariaDB.
macro_rules! stories {
    ($($name:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() -> anyhow::Result<()> {
                let kind = chaffer_tests::Kind::Sqlite;
                chaffer_tests::play(stringify!($name), kind, super::$name).await
            })+
        }
        mod on_mariadb {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() -> anyhow::Result<()> {
                let kind = chaffer_tests::Kind::Mariadb;
                chaffer_tests::play(stringify!($name), kind, super::$name).await
            })+
        }
    };
}

mod apache;
mod attachments;
mod backup;
mod buttons;
mod callers;
mod cast;
mod changes;
mod chaos;
mod debian;
mod demo;
mod deployment;
mod doctor;
mod document;
mod feed;
mod files;
mod forbidden_words;
mod guide_from_php;
mod guides;
mod handover;
mod history;
mod hostile;
mod installation;
mod keys;
mod limits;
mod load;
mod mail;
mod moving_in;
mod moving_out;
mod observability;
mod operations;
mod people;
mod reading;
mod requests;
mod resume;
mod retries;
mod rights;
mod roles;
mod schemathesis;
mod search;
mod settings;
mod strangers;
mod support;
mod syscalls;
mod threads;
mod vendors;
mod visitors;
mod webhooks;
