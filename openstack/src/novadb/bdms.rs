//! block_device_mapping.

use castoff_model::wire::bdm::{decode_connection_info, encode_connection_info};
use castoff_ports::novadb::{Bdm, BdmCreate, BdmUpdate, SourceType};
use castoff_ports::{BdmId, InstanceId, Refusal, VolumeId};
use sqlx::any::AnyRow;

use super::Work;
use super::column::{flag, needed, number, text};
use super::error::{DbError, unreadable};

const COLUMNS: &str = "CAST(id AS CHAR) AS id, instance_uuid, volume_id, source_type, device_name, \
     boot_index + 0 AS boot_index, attachment_id, CAST(connection_info AS CHAR) AS connection_info, \
     delete_on_termination + 0 AS delete_on_termination, tag";

impl Work<'_> {
    /// Live rows of volumes, oldest first.
    pub(super) async fn bdms(
        &mut self,
        key: &'static str,
        value: &str,
    ) -> Result<Vec<Bdm>, DbError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM block_device_mapping WHERE {key} = ? AND deleted = 0 \
             AND volume_id IS NOT NULL ORDER BY block_device_mapping.id"
        );
        let rows = sqlx::query(&sql).bind(value.to_owned()).fetch_all(&mut *self.tx).await?;
        rows.iter().map(bdm).collect()
    }

    /// The first live row of a volume on a server.
    pub(super) async fn bdm_of(
        &mut self,
        volume: &VolumeId,
        instance: &InstanceId,
    ) -> Result<Bdm, DbError> {
        let rows = self.bdms("volume_id", volume.as_str()).await?;
        let found = rows.into_iter().find(|b| b.instance_uuid == *instance);
        Ok(found.ok_or_else(|| Refusal::not_found("BlockDeviceMapping", volume))?)
    }

    pub(super) async fn bdm_create(&mut self, c: BdmCreate) -> Result<Bdm, DbError> {
        let uuid = uuid().map_err(sqlx::Error::Io)?;
        sqlx::query(
            "INSERT INTO block_device_mapping (created_at, deleted, uuid, instance_uuid, \
             volume_id, source_type, destination_type, device_type, device_name, \
             delete_on_termination, no_device) \
             VALUES (?, 0, ?, ?, ?, 'volume', 'volume', 'disk', ?, 0, 0)",
        )
        .bind(self.date.clone())
        .bind(uuid.clone())
        .bind(c.instance.as_str().to_owned())
        .bind(c.volume_id.as_str().to_owned())
        .bind(c.device_name.clone())
        .execute(&mut *self.tx)
        .await?;
        // sqlx's Any does not tell the id that SQLite gave.
        let row = sqlx::query("SELECT id + 0 AS id FROM block_device_mapping WHERE uuid = ?")
            .bind(uuid)
            .fetch_one(&mut *self.tx)
            .await?;
        let id = number(&row, "id")?.and_then(|id| u32::try_from(id).ok());
        let id = id.ok_or_else(|| unreadable("block_device_mapping", "", "no id was given"))?;
        Ok(Bdm {
            id: BdmId(id),
            instance_uuid: c.instance,
            volume_id: c.volume_id,
            source_type: SourceType::Volume,
            device_name: c.device_name,
            boot_index: None,
            attachment_id: None,
            connection_info: None,
            delete_on_termination: false,
            tag: None,
        })
    }

    pub(super) async fn bdm_save(&mut self, id: BdmId, update: BdmUpdate) -> Result<(), DbError> {
        let before = sqlx::query(
            "SELECT CAST(connection_info AS CHAR) AS connection_info, attachment_id, device_name, \
             delete_on_termination + 0 AS delete_on_termination, tag \
             FROM block_device_mapping WHERE id = ? AND deleted = 0",
        )
        .bind(i64::from(id.0))
        .fetch_optional(&mut *self.tx)
        .await?
        // A soft-deleted row cannot be saved: nova raises BDMNotFound.
        .ok_or_else(|| Refusal::not_found("BlockDeviceMapping", id))?;
        let stored = text(&before, "connection_info")?;
        let info = match &update.connection_info {
            Some(info) => Some(encode_connection_info(info, stored.as_deref()).reveal().to_owned()),
            None => stored,
        };
        let attachment = update.attachment_id.map(|a| a.as_str().to_owned());
        let delete = match update.delete_on_termination {
            Some(delete) => i64::from(delete),
            None => i64::from(flag(&before, "delete_on_termination")?),
        };
        sqlx::query(
            "UPDATE block_device_mapping SET updated_at = ?, connection_info = ?, \
             attachment_id = ?, device_name = ?, delete_on_termination = ?, tag = ? \
             WHERE id = ? AND deleted = 0",
        )
        .bind(self.date.clone())
        .bind(info)
        .bind(attachment.or(text(&before, "attachment_id")?))
        .bind(update.device_name.or(text(&before, "device_name")?))
        .bind(delete)
        .bind(update.tag.or(text(&before, "tag")?))
        .bind(i64::from(id.0))
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Soft delete; of a row that is gone it updates nothing and raises nothing.
    pub(super) async fn bdm_destroy(&mut self, id: BdmId) -> Result<(), DbError> {
        sqlx::query(
            "UPDATE block_device_mapping SET deleted = id, deleted_at = ? \
             WHERE id = ? AND deleted = 0",
        )
        .bind(self.date.clone())
        .bind(i64::from(id.0))
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }
}

fn bdm(row: &AnyRow) -> Result<Bdm, DbError> {
    let id = needed(row, "id")?;
    let unreadable = |found: &str| unreadable("BlockDeviceMapping", &id, found);
    let number_of = id.parse().map_err(|_| unreadable("an id of more than 32 bits"))?;
    let source_type = match needed(row, "source_type")?.as_str() {
        "volume" => SourceType::Volume,
        "image" => SourceType::Image,
        "snapshot" => SourceType::Snapshot,
        "blank" => SourceType::Blank,
        _ => return Err(unreadable("its source_type is none of nova's")),
    };
    let connection_info = match text(row, "connection_info")? {
        None => None,
        Some(info) => decode_connection_info(&info).map_err(|e| unreadable(&e.to_string()))?,
    };
    Ok(Bdm {
        id: BdmId(number_of),
        instance_uuid: needed(row, "instance_uuid")?.as_str().into(),
        volume_id: needed(row, "volume_id")?.as_str().into(),
        source_type,
        device_name: text(row, "device_name")?,
        boot_index: number(row, "boot_index")?.and_then(|n| i32::try_from(n).ok()),
        attachment_id: text(row, "attachment_id")?.map(|id| id.as_str().into()),
        connection_info,
        delete_on_termination: flag(row, "delete_on_termination")?,
        tag: text(row, "tag")?,
    })
}

/// A random UUID, from the kernel.
pub(super) fn uuid() -> std::io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/uuid")?.trim().to_owned())
}
