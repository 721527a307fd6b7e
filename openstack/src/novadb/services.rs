//! services, as the service group API's database driver reads them.

use castoff_model::wire::parse_date;
use castoff_ports::novadb::Service;
use castoff_ports::{Failure, HostName, Refusal, SimTime};
use sqlx::any::AnyRow;

use super::bdms::uuid;
use super::column::{flag, needed, text};
use super::error::{DbError, failure};
use super::{SERVICE_DOWN_TIME, Work};

/// services.version of nova 33.
const SERVICE_VERSION: i64 = 72;

const SELECT: &str = "SELECT host, forced_down + 0 AS forced_down, \
     CAST(COALESCE(last_seen_up, created_at) AS CHAR) AS seen FROM services \
     WHERE deleted = 0 AND services.binary = 'nova-compute'";

impl Work<'_> {
    /// Every nova-compute.
    pub(super) async fn services(&mut self) -> Result<Vec<Service>, DbError> {
        let sql = format!("{SELECT} ORDER BY id");
        let rows = sqlx::query(&sql).fetch_all(&mut *self.tx).await?;
        rows.iter().map(|row| self.read(row)).collect()
    }

    /// The nova-compute of a host.
    pub(super) async fn service(&mut self, host: &HostName) -> Result<Service, DbError> {
        let sql = format!("{SELECT} AND host = ? ORDER BY id");
        let row = sqlx::query(&sql)
            .bind(host.as_str().to_owned())
            .fetch_optional(&mut *self.tx)
            .await?
            .ok_or_else(|| Refusal::not_found("Service", host))?;
        self.read(&row)
    }

    fn read(&self, row: &AnyRow) -> Result<Service, DbError> {
        // On the calendar: a heartbeat from before the run is older than its beginning.
        let seen = text(row, "seen")?.and_then(|date| parse_date(&date));
        let now = parse_date(&self.date).unwrap_or_default();
        // The difference counts in both directions: a clock that is ahead is no proof of life.
        let fresh =
            seen.is_some_and(|seen| now.since(seen).max(seen.since(now)) <= SERVICE_DOWN_TIME);
        let up = fresh && !flag(row, "forced_down")?;
        Ok(Service { host: needed(row, "host")?.as_str().into(), up })
    }
}

impl super::NovaDb {
    /// A nova-compute's heartbeat in its services row, which is made when there is none.
    ///
    /// # Errors
    /// The database is gone.
    pub async fn report_state(&self, now: SimTime) -> Result<(), Failure> {
        let date = self.clock.date(now);
        self.beat(date).await.map_err(failure)
    }

    async fn beat(&self, date: String) -> Result<(), sqlx::Error> {
        let updated = sqlx::query(
            "UPDATE services SET report_count = report_count + 1, last_seen_up = ?, \
             updated_at = ? WHERE host = ? AND services.binary = 'nova-compute' AND deleted = 0",
        )
        .bind(date.clone())
        .bind(date.clone())
        .bind(self.host.as_str().to_owned())
        .execute(&self.pool)
        .await?;
        if updated.rows_affected() > 0 {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO services (created_at, deleted, uuid, host, `binary`, topic, report_count, \
             disabled, forced_down, version, last_seen_up) \
             VALUES (?, 0, ?, ?, 'nova-compute', 'compute', 0, 0, 0, ?, ?)",
        )
        .bind(date.clone())
        .bind(uuid().map_err(sqlx::Error::Io)?)
        .bind(self.host.as_str().to_owned())
        .bind(SERVICE_VERSION)
        .bind(date)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
