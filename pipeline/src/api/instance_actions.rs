//! `InstanceActionsController` of os-instance-actions: how a user learns what became of a 202.

use castoff_ports::nova::{InstanceAction, ListInstanceActions, ShowInstanceAction};
use castoff_ports::novadb::ActionsByInstance;
use castoff_ports::{InstanceId, Refusal};

use super::request::{Request, Rule};

impl Request<'_> {
    /// `InstanceActionsController.index`: newest first, without events.
    pub async fn actions(&self, c: ListInstanceActions) -> Result<Vec<InstanceAction>, Refusal> {
        self.cx.station("InstanceActionsController.index");
        self.actions_of(&c.server_id, "list").await
    }

    /// `InstanceActionsController.show`: one with its events.
    pub async fn action(&self, c: ShowInstanceAction) -> Result<InstanceAction, Refusal> {
        self.cx.station("InstanceActionsController.show");
        let actions = self.actions_of(&c.server_id, "show").await?;
        let (id, server) = (c.request_id, c.server_id);
        actions.into_iter().find(|a| a.request_id == id).ok_or_else(|| {
            let text = format!("Action for request_id {id} on instance {server} not found");
            Refusal::http(404, text)
        })
    }

    async fn actions_of(
        &self,
        server: &InstanceId,
        name: &str,
    ) -> Result<Vec<InstanceAction>, Refusal> {
        self.get_instance(server).await?;
        self.check(Rule::Reader, "os-instance-actions:", name)?;
        let list = ActionsByInstance { instance: server.clone() };
        self.cx.call(list).await.map_err(|e| self.unexpected(&e.into()))
    }
}
