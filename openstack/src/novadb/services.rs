//! services, as the service group API's database driver reads them.

use castoff_model::wire::parse_date;
use castoff_ports::novadb::Service;
use castoff_ports::{HostName, Refusal};
use sqlx::any::AnyRow;

use super::column::{flag, needed, text};
use super::error::DbError;
use super::{SERVICE_DOWN_TIME, Work};

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
