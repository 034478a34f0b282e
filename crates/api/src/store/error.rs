//! What can go wrong in the store. Rules pass it on as it is; `http/` answers 503 for what may pass, else 500.

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Too much is waiting for the database already.
    #[error("the database is busy")]
    Busy,
    /// The store has been shut down.
    #[error("the store is closed")]
    Closed,
    /// `database.url` cannot be used.
    #[error("database.url: {0}")]
    Url(String),
    /// No connection.
    #[error("cannot connect to the database: {0}")]
    Connect(#[from] diesel::ConnectionError),
    /// A statement failed.
    #[error("database: {0}")]
    Query(#[from] diesel::result::Error),
    /// The commit failed, for all jobs that shared it.
    #[error("the commit failed: {0}")]
    Commit(String),
    /// The database's tables cannot be used by this binary.
    #[error("{0}")]
    Migration(String),
    /// A backup cannot be made or restored.
    #[error("{0}")]
    Backup(String),
    /// The shop's own database cannot be read.
    #[cfg(feature = "mysql")]
    #[error("{0}")]
    Platform(String),
    /// A line of an export cannot be written or read.
    #[cfg(feature = "sqlite")]
    #[error("{0}")]
    Line(String),
    /// A file beside the database cannot be used.
    #[error("{0}: {1}")]
    File(String, std::io::Error),
}

impl StoreError {
    /// Whether trying again later may help: answered with 503.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Busy | Self::Closed | Self::Connect(_) | Self::Commit(_))
            || self.is_lost_connection()
            || self.is_conflict()
    }

    /// Whether the transaction lost against another one and can be run again.
    pub(super) fn is_conflict(&self) -> bool {
        use diesel::result::{DatabaseErrorKind, Error};
        match self {
            Self::Query(Error::DatabaseError(DatabaseErrorKind::SerializationFailure, _)) => true,
            Self::Query(Error::DatabaseError(_, info)) => {
                let message = info.message();
                ["Deadlock found", "Lock wait timeout", "database is locked", "Record has changed"]
                    .iter()
                    .any(|text| message.contains(text))
            }
            _ => false,
        }
    }

    /// Whether the connection is gone, so that a new one is needed.
    pub(super) fn is_lost_connection(&self) -> bool {
        use diesel::result::{DatabaseErrorKind, Error};
        match self {
            Self::Query(Error::DatabaseError(DatabaseErrorKind::ClosedConnection, _))
            | Self::Query(Error::BrokenTransactionManager) => true,
            Self::Query(Error::DatabaseError(_, info)) => {
                let message = info.message();
                ["gone away", "Lost connection", "Server shutdown", "Connection was killed"]
                    .iter()
                    .any(|text| message.contains(text))
            }
            _ => false,
        }
    }
}
