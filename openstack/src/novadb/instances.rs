//! instances.

use castoff_ports::libvirt::PowerState;
use castoff_ports::novadb::{Instance, InstanceSave, LockedBy, ServerDetails, VmState};
use castoff_ports::{InstanceId, ProjectId, Refusal, SimTime};
use sqlx::any::AnyRow;

use super::Work;
use super::column::{flag, moment, needed, number, text};
use super::error::{DbError, unreadable};

const COLUMNS: &str = "uuid, project_id, host, vm_state, task_state, \
     CAST(launched_at AS CHAR) AS launched_at, locked + 0 AS locked";

/// Tables whose rows nova soft-deletes with their server, and the column that names it.
const OWNED: [(&str, &str); 10] = [
    ("security_group_instance_association", "instance_uuid"),
    ("instance_info_caches", "instance_uuid"),
    ("instance_metadata", "instance_uuid"),
    ("instance_faults", "instance_uuid"),
    ("instance_extra", "instance_uuid"),
    ("instance_system_metadata", "instance_uuid"),
    ("block_device_mapping", "instance_uuid"),
    ("migrations", "instance_uuid"),
    ("virtual_interfaces", "instance_uuid"),
    ("instance_id_mappings", "uuid"),
];

impl Work<'_> {
    pub(super) async fn instance(&mut self, uuid: &InstanceId) -> Result<Instance, DbError> {
        let sql = format!("SELECT {COLUMNS} FROM instances WHERE uuid = ? AND deleted = 0");
        let row = sqlx::query(&sql)
            .bind(uuid.as_str().to_owned())
            .fetch_optional(&mut *self.tx)
            .await?
            .ok_or_else(|| Refusal::not_found("Instance", uuid))?;
        instance(&row)
    }

    pub(super) async fn instances_by_project(
        &mut self,
        project: Option<&ProjectId>,
    ) -> Result<Vec<Instance>, DbError> {
        let of_project = if project.is_some() { "AND project_id = ?" } else { "" };
        let sql = format!(
            "SELECT {COLUMNS} FROM instances WHERE deleted = 0 {of_project} ORDER BY instances.id"
        );
        let mut query = sqlx::query(&sql);
        if let Some(project) = project {
            query = query.bind(project.as_str().to_owned());
        }
        let rows = query.fetch_all(&mut *self.tx).await?;
        rows.iter().map(instance).collect()
    }

    pub(super) async fn details(&mut self, uuid: &InstanceId) -> Result<ServerDetails, DbError> {
        let row = sqlx::query(
            "SELECT display_name, user_id, CAST(created_at AS CHAR) AS created_at, \
             CAST(updated_at AS CHAR) AS updated_at, CAST(launched_at AS CHAR) AS launched_at, \
             power_state + 0 AS power_state, locked_by FROM instances \
             WHERE uuid = ? AND deleted = 0",
        )
        .bind(uuid.as_str().to_owned())
        .fetch_optional(&mut *self.tx)
        .await?
        .ok_or_else(|| Refusal::not_found("Instance", uuid))?;
        let clock = self.db.clock;
        let created_at = moment(&row, "created_at", clock)?.unwrap_or(SimTime::ZERO);
        Ok(ServerDetails {
            name: needed(&row, "display_name")?,
            user_id: text(&row, "user_id")?.map(|id| id.as_str().into()),
            created_at,
            updated_at: moment(&row, "updated_at", clock)?.unwrap_or(created_at),
            launched_at: moment(&row, "launched_at", clock)?,
            power_state: number(&row, "power_state")?.and_then(power_state),
            locked_by: text(&row, "locked_by")?.and_then(|by| match by.as_str() {
                "owner" => Some(LockedBy::Owner),
                "admin" => Some(LockedBy::Admin),
                _ => None,
            }),
            // In instance_system_metadata, which no station of a detach reads for it.
            locked_reason: None,
        })
    }

    /// One guarded update: all of it or nothing.
    pub(super) async fn instance_save(&mut self, c: InstanceSave) -> Result<(), DbError> {
        let (mut columns, mut values) = (vec!["updated_at = ?"], vec![Some(self.date.clone())]);
        let update = *c.update;
        let mut set = |column: &'static str, value: Option<String>| {
            columns.push(column);
            values.push(value);
        };
        if let Some(state) = update.vm_state {
            set("vm_state = ?", Some(state.as_str().to_owned()));
        }
        if let Some(task) = update.task_state {
            set("task_state = ?", task);
        }
        if let Some(host) = update.host {
            let host = host.map(|h| h.as_str().to_owned());
            set("host = ?", host.clone());
            set("node = ?", host);
        }
        if let Some(power) = update.power_state {
            set("power_state = ?", Some(power_number(power).to_string()));
        }
        if let Some(locked_by) = update.locked_by {
            set("locked = ?", Some(if locked_by.is_some() { "1" } else { "0" }.to_owned()));
            set(
                "locked_by = ?",
                locked_by.map(|by| match by {
                    LockedBy::Owner => "owner".to_owned(),
                    LockedBy::Admin => "admin".to_owned(),
                }),
            );
        }
        let mut sql =
            format!("UPDATE instances SET {} WHERE uuid = ? AND deleted = 0", columns.join(", "));
        values.push(Some(c.uuid.as_str().to_owned()));
        if !c.expected_task_state.is_empty() {
            let mut allowed = Vec::new();
            for state in &c.expected_task_state {
                match state {
                    None => allowed.push("task_state IS NULL"),
                    Some(state) => {
                        allowed.push("task_state = ?");
                        values.push(Some(state.clone()));
                    }
                }
            }
            sql.push_str(&format!(" AND ({})", allowed.join(" OR ")));
        }
        let mut query = sqlx::query(&sql);
        for value in values {
            query = query.bind(value);
        }
        if query.execute(&mut *self.tx).await?.rows_affected() > 0 {
            return Ok(());
        }
        let found = self.instance(&c.uuid).await?;
        Err(DbError::Refused(Refusal::Remote {
            exception: "UnexpectedTaskStateError".to_owned(),
            message: format!(
                "Conflict updating instance {}. Expected: {:?}. Actual: {:?}",
                c.uuid, c.expected_task_state, found.task_state
            ),
        }))
    }

    /// Soft-deletes the server and what belongs to it; its actions stay.
    pub(super) async fn instance_destroy(&mut self, uuid: &InstanceId) -> Result<(), DbError> {
        let uuid = uuid.as_str().to_owned();
        for (table, column) in [("instances", "uuid")].into_iter().chain(OWNED) {
            let sql = format!(
                "UPDATE {table} SET deleted = id, deleted_at = ? WHERE {column} = ? AND deleted = 0"
            );
            let query = sqlx::query(&sql).bind(self.date.clone()).bind(uuid.clone());
            query.execute(&mut *self.tx).await?;
        }
        for (table, column) in [("tags", "resource_id"), ("console_auth_tokens", "instance_uuid")] {
            let sql = format!("DELETE FROM {table} WHERE {column} = ?");
            sqlx::query(&sql).bind(uuid.clone()).execute(&mut *self.tx).await?;
        }
        Ok(())
    }
}

fn instance(row: &AnyRow) -> Result<Instance, DbError> {
    let uuid = needed(row, "uuid")?;
    let state = needed(row, "vm_state")?;
    let vm_state = vm_state(&state)
        .ok_or_else(|| unreadable("Instance", &uuid, &format!("vm_state {state:?}")))?;
    Ok(Instance {
        uuid: uuid.as_str().into(),
        project_id: needed(row, "project_id")?.as_str().into(),
        host: text(row, "host")?.map(|h| h.as_str().into()),
        vm_state,
        task_state: text(row, "task_state")?,
        launched: text(row, "launched_at")?.is_some(),
        locked: flag(row, "locked")?,
    })
}

fn vm_state(text: &str) -> Option<VmState> {
    use VmState as S;
    let all = [
        S::Active,
        S::Paused,
        S::Stopped,
        S::Suspended,
        S::Rescued,
        S::Resized,
        S::SoftDeleted,
        S::Shelved,
        S::ShelvedOffloaded,
        S::Building,
        S::Error,
        S::Deleted,
    ];
    all.into_iter().find(|state| state.as_str() == text)
}

/// nova/compute/power_state.py.
fn power_number(state: Option<PowerState>) -> i64 {
    match state {
        None => 0,
        Some(PowerState::Running) => 1,
        Some(PowerState::Paused) => 3,
        Some(PowerState::Shutdown) => 4,
        Some(PowerState::Crashed) => 6,
    }
}

fn power_state(number: i64) -> Option<PowerState> {
    match number {
        1 => Some(PowerState::Running),
        3 => Some(PowerState::Paused),
        // Suspended to disk (7), a domain is shut off for libvirt.
        4 | 7 => Some(PowerState::Shutdown),
        6 => Some(PowerState::Crashed),
        _ => None,
    }
}
