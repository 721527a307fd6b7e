//! Values of columns, whatever the database makes of their types.
//!
//! sqlx's `Any` has no dates and no booleans of MySQL: statements ask for `CAST(x AS CHAR)` and
//! `x + 0`, which every database understands.

use castoff_ports::SimTime;
use sqlx::Row as _;
use sqlx::any::AnyRow;

use crate::Clock;

/// A text; MySQL gives its long ones as bytes.
pub(super) fn text(row: &AnyRow, column: &str) -> Result<Option<String>, sqlx::Error> {
    if let Ok(text) = row.try_get::<Option<String>, _>(column) {
        return Ok(text);
    }
    let bytes: Option<Vec<u8>> = row.try_get(column)?;
    Ok(bytes.map(|b| String::from_utf8_lossy(&b).into_owned()))
}

/// A text that the schema wants to be there.
pub(super) fn needed(row: &AnyRow, column: &str) -> Result<String, sqlx::Error> {
    Ok(text(row, column)?.unwrap_or_default())
}

/// A number.
pub(super) fn number(row: &AnyRow, column: &str) -> Result<Option<i64>, sqlx::Error> {
    row.try_get(column)
}

/// A boolean: false where the column is NULL, as nova's objects have it.
pub(super) fn flag(row: &AnyRow, column: &str) -> Result<bool, sqlx::Error> {
    Ok(number(row, column)?.is_some_and(|n| n != 0))
}

/// A date.
pub(super) fn moment(
    row: &AnyRow,
    column: &str,
    clock: Clock,
) -> Result<Option<SimTime>, sqlx::Error> {
    Ok(text(row, column)?.and_then(|date| clock.moment(&date)))
}
