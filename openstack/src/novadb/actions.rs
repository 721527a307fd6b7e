//! instance_actions, instance_actions_events and instance_faults.

use castoff_ports::nova::{ActionEvent, InstanceAction};
use castoff_ports::novadb::{ActionStart, EventFinish, EventResult, EventStart, FaultCreate};
use castoff_ports::{InstanceId, Refusal, SimTime};

use super::Work;
use super::column::{moment, needed, number, text};
use super::error::DbError;

/// Characters of instance_faults.message.
const MESSAGE: usize = 255;

impl Work<'_> {
    pub(super) async fn action_start(&mut self, c: ActionStart) -> Result<(), DbError> {
        let info = self.db.requests.info(self.cx.request);
        let (user, project) = info.map(|i| (i.user, i.project)).unwrap_or_default();
        sqlx::query(
            "INSERT INTO instance_actions (created_at, updated_at, start_time, deleted, action, \
             instance_uuid, request_id, user_id, project_id) VALUES (?, ?, ?, 0, ?, ?, ?, ?, ?)",
        )
        .bind(self.date.clone())
        .bind(self.date.clone())
        .bind(self.date.clone())
        .bind(c.action)
        .bind(c.instance.as_str().to_owned())
        .bind(self.request())
        .bind(user.map(|u| u.as_str().to_owned()))
        .bind(project.map(|p| p.as_str().to_owned()))
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    pub(super) async fn event_start(&mut self, c: EventStart) -> Result<(), DbError> {
        let action = self.action_of_request(&c.instance).await?;
        sqlx::query(
            "INSERT INTO instance_actions_events \
             (created_at, deleted, event, action_id, start_time, host) VALUES (?, 0, ?, ?, ?, ?)",
        )
        .bind(self.date.clone())
        .bind(c.event)
        .bind(action)
        .bind(self.date.clone())
        .bind(self.db.host.as_str().to_owned())
        .execute(&mut *self.tx)
        .await?;
        sqlx::query("UPDATE instance_actions SET updated_at = ? WHERE id = ?")
            .bind(self.date.clone())
            .bind(action)
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }

    pub(super) async fn event_finish(&mut self, c: EventFinish) -> Result<(), DbError> {
        let action = self.action_of_request(&c.instance).await?;
        // By action and name, and the first row: a request that starts the same event twice
        // finishes the first one twice.
        let event = sqlx::query(
            "SELECT id + 0 AS id FROM instance_actions_events \
             WHERE action_id = ? AND event = ? AND deleted = 0 ORDER BY instance_actions_events.id",
        )
        .bind(action)
        .bind(c.event.clone())
        .fetch_optional(&mut *self.tx)
        .await?
        .ok_or_else(|| Refusal::not_found("InstanceActionEvent", &c.event))?;
        let result = match c.result {
            EventResult::Success => "Success",
            EventResult::Error => "Error",
        };
        sqlx::query(
            "UPDATE instance_actions_events SET updated_at = ?, finish_time = ?, result = ? \
             WHERE id = ?",
        )
        .bind(self.date.clone())
        .bind(self.date.clone())
        .bind(result)
        .bind(number(&event, "id")?)
        .execute(&mut *self.tx)
        .await?;
        let message = match c.result {
            EventResult::Success => None,
            EventResult::Error => Some("Error"),
        };
        sqlx::query(
            "UPDATE instance_actions SET updated_at = ?, message = COALESCE(?, message) \
             WHERE id = ?",
        )
        .bind(self.date.clone())
        .bind(message)
        .bind(action)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    pub(super) async fn fault_create(&mut self, c: FaultCreate) -> Result<(), DbError> {
        let message: String = c.message.chars().take(MESSAGE).collect();
        sqlx::query(
            "INSERT INTO instance_faults \
             (created_at, deleted, instance_uuid, code, message, details, host) \
             VALUES (?, 0, ?, 500, ?, ?, ?)",
        )
        .bind(self.date.clone())
        .bind(c.instance.as_str().to_owned())
        .bind(message)
        .bind(c.message)
        .bind(self.db.host.as_str().to_owned())
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// The actions of a server with their events, newest first.
    pub(super) async fn actions(
        &mut self,
        instance: &InstanceId,
    ) -> Result<Vec<InstanceAction>, DbError> {
        let rows = sqlx::query(
            "SELECT id + 0 AS id, action, request_id, message, \
             CAST(start_time AS CHAR) AS start_time, CAST(updated_at AS CHAR) AS updated_at \
             FROM instance_actions WHERE instance_uuid = ? AND deleted = 0 \
             ORDER BY created_at DESC, instance_actions.id DESC",
        )
        .bind(instance.as_str().to_owned())
        .fetch_all(&mut *self.tx)
        .await?;
        let clock = self.db.clock;
        let mut actions = Vec::with_capacity(rows.len());
        for row in &rows {
            let start_time = moment(row, "start_time", clock)?.unwrap_or(SimTime::ZERO);
            actions.push(InstanceAction {
                action: needed(row, "action")?,
                request_id: self.db.requests.number_of(&needed(row, "request_id")?),
                message: text(row, "message")?,
                start_time,
                updated_at: moment(row, "updated_at", clock)?.unwrap_or(start_time),
                events: self.events(number(row, "id")?.unwrap_or_default()).await?,
            });
        }
        Ok(actions)
    }

    async fn events(&mut self, action: i64) -> Result<Vec<ActionEvent>, DbError> {
        let rows = sqlx::query(
            "SELECT event, result, CAST(start_time AS CHAR) AS start_time, \
             CAST(finish_time AS CHAR) AS finish_time FROM instance_actions_events \
             WHERE action_id = ? AND deleted = 0 ORDER BY id",
        )
        .bind(action)
        .fetch_all(&mut *self.tx)
        .await?;
        let clock = self.db.clock;
        let mut events = Vec::with_capacity(rows.len());
        for row in &rows {
            events.push(ActionEvent {
                event: needed(row, "event")?,
                start_time: moment(row, "start_time", clock)?.unwrap_or(SimTime::ZERO),
                finish_time: moment(row, "finish_time", clock)?,
                result: text(row, "result")?.map(|result| match result.as_str() {
                    "Success" => EventResult::Success,
                    _ => EventResult::Error,
                }),
            });
        }
        Ok(events)
    }

    /// `_action_get_by_request_id`: the newest of this request on this server.
    async fn action_of_request(&mut self, instance: &InstanceId) -> Result<i64, DbError> {
        let request = self.request();
        let row = sqlx::query(
            "SELECT id + 0 AS id FROM instance_actions \
             WHERE instance_uuid = ? AND request_id = ? AND deleted = 0 \
             ORDER BY created_at DESC, instance_actions.id DESC",
        )
        .bind(instance.as_str().to_owned())
        .bind(request.clone())
        .fetch_optional(&mut *self.tx)
        .await?
        .ok_or_else(|| Refusal::not_found("InstanceAction", request))?;
        Ok(number(&row, "id")?.unwrap_or_default())
    }
}
