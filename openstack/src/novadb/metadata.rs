//! instance_system_metadata.

use castoff_ports::novadb::{SystemMetadata, SystemMetadataDelete, SystemMetadataSet};
use castoff_ports::{InstanceId, SimTime};

use super::Work;
use super::column::{moment, needed};
use super::error::DbError;

impl Work<'_> {
    pub(super) async fn system_metadata(
        &mut self,
        instance: &InstanceId,
    ) -> Result<Vec<SystemMetadata>, DbError> {
        let rows = sqlx::query(
            "SELECT `key` AS name, value, CAST(created_at AS CHAR) AS created_at \
             FROM instance_system_metadata WHERE instance_uuid = ? AND deleted = 0 ORDER BY id",
        )
        .bind(instance.as_str().to_owned())
        .fetch_all(&mut *self.tx)
        .await?;
        let clock = self.db.clock;
        let mut all = Vec::with_capacity(rows.len());
        for row in &rows {
            all.push(SystemMetadata {
                key: needed(row, "name")?,
                value: needed(row, "value")?,
                created_at: moment(row, "created_at", clock)?.unwrap_or(SimTime::ZERO),
            });
        }
        Ok(all)
    }

    /// Updates the row of this key, or makes one. A value that is too long is the database's to
    /// refuse: MySQL does, SQLite keeps it.
    pub(super) async fn system_metadata_set(
        &mut self,
        c: SystemMetadataSet,
    ) -> Result<(), DbError> {
        self.instance(&c.instance).await?;
        let (instance, key) = (c.instance.as_str().to_owned(), c.key);
        let updated = sqlx::query(
            "UPDATE instance_system_metadata SET value = ?, updated_at = ? \
             WHERE instance_uuid = ? AND `key` = ? AND deleted = 0",
        )
        .bind(c.value.clone())
        .bind(self.date.clone())
        .bind(instance.clone())
        .bind(key.clone())
        .execute(&mut *self.tx)
        .await?;
        if updated.rows_affected() > 0 {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO instance_system_metadata \
             (created_at, deleted, instance_uuid, `key`, value) VALUES (?, 0, ?, ?, ?)",
        )
        .bind(self.date.clone())
        .bind(instance)
        .bind(key)
        .bind(c.value)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Gone for good: nova deletes these rows hard, or it would read two of one key.
    pub(super) async fn system_metadata_delete(
        &mut self,
        c: SystemMetadataDelete,
    ) -> Result<(), DbError> {
        sqlx::query(
            "DELETE FROM instance_system_metadata \
             WHERE instance_uuid = ? AND `key` = ? AND deleted = 0",
        )
        .bind(c.instance.as_str().to_owned())
        .bind(c.key)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }
}
