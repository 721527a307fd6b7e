//! What a database error means to the caller.

use castoff_ports::{Failure, Refusal};

const SYSTEM: &str = "nova-db";

/// Why an operation was not carried out.
#[derive(Debug)]
pub(super) enum DbError {
    /// The database.
    Sql(sqlx::Error),
    /// Nova's own db api would raise.
    Refused(Refusal),
}

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> Self {
        DbError::Sql(error)
    }
}

impl From<Refusal> for DbError {
    fn from(refusal: Refusal) -> Self {
        DbError::Refused(refusal)
    }
}

/// Whether another transaction was in the way: this one had no effect and may be tried again.
pub(super) fn lost_a_race(error: &sqlx::Error) -> bool {
    let Some(error) = error.as_database_error() else { return false };
    // A deadlock's SQLSTATE; SQLite's SQLITE_BUSY and SQLITE_BUSY_SNAPSHOT. MySQL's error 1205 shares
    // its SQLSTATE with others, and oslo.db takes it for a deadlock too.
    matches!(error.code().as_deref(), Some("40001" | "5" | "517"))
        || error.message().contains("Lock wait timeout exceeded")
}

/// The caller's view: who cannot connect has changed nothing, whose connection broke may have.
pub(super) fn failure(error: sqlx::Error) -> Failure {
    let system = SYSTEM.to_owned();
    match error {
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => Failure::Unreachable { system },
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
            Failure::NoReply { system }
        }
        // A database says which column or key; it does not repeat a connection_info. A URL that
        // cannot be read would be repeated, with its password.
        sqlx::Error::Database(e) => db_error(e.message()).into(),
        sqlx::Error::Configuration(_) => db_error("the URL of the database cannot be used").into(),
        other => db_error(&other.to_string()).into(),
    }
}

fn db_error(message: &str) -> Refusal {
    Refusal::Remote { exception: "DBError".to_owned(), message: message.to_owned() }
}

/// A row that says what castoff has no word for.
pub(super) fn unreadable(what: &str, id: impl ToString, found: &str) -> DbError {
    let message = format!("{what} {}: {found}", id.to_string());
    DbError::Refused(Refusal::Remote { exception: "ValueError".to_owned(), message })
}
