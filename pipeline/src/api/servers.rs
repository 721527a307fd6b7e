//! `ServersController` and `ServiceController`, their reading half.

use castoff_ports::Refusal;
use castoff_ports::nova::{ListServers, Server, ServiceRow, ShowServer};
use castoff_ports::novadb::{
    BdmsByInstance, GetServerDetails, Instance, InstancesByProject, ServicesAll,
};

use super::request::{Request, Rule};
use crate::error::NovaError;

impl Request<'_> {
    /// `ServersController.index` and `detail`: the project's servers.
    pub async fn servers(&self, c: ListServers) -> Result<Vec<Server>, Refusal> {
        self.cx.station("ServersController.detail");
        if c.all_tenants {
            self.check(Rule::Admin, "servers:", "detail:get_all_tenants")?;
        } else {
            self.check(Rule::Reader, "servers:", "detail")?;
        }
        let project = (!c.all_tenants).then(|| self.caller.token().project_id.clone());
        let rows = self.cx.call(InstancesByProject { project }).await;
        let rows = rows.map_err(|e| self.unexpected(&e.into()))?;
        let mut servers = Vec::with_capacity(rows.len());
        for row in rows {
            servers.push(self.view(row).await.map_err(|e| self.unexpected(&e))?);
        }
        Ok(servers)
    }

    /// `ServersController.show`.
    pub async fn server(&self, c: ShowServer) -> Result<Server, Refusal> {
        self.cx.station("ServersController.show");
        let instance = self.get_instance(&c.server_id).await?;
        self.check(Rule::Reader, "servers:", "show")?;
        self.view(instance).await.map_err(|e| self.unexpected(&e))
    }

    async fn view(&self, instance: Instance) -> Result<Server, NovaError> {
        let cx = &self.cx;
        let uuid = instance.uuid.clone();
        let details = cx.call(GetServerDetails { uuid: uuid.clone() }).await?;
        let bdms = cx.call(BdmsByInstance { instance: uuid }).await?;
        let for_admin = self.caller.is_admin();
        // host_status is an administrator's.
        let host_up = match instance.host.as_ref().filter(|_| for_admin) {
            None => None,
            Some(host) => {
                let services = cx.call(ServicesAll {}).await?;
                Some(services.iter().any(|s| s.host == *host && s.up))
            }
        };
        let volumes_attached =
            bdms.into_iter().map(|b| (b.volume_id, b.delete_on_termination)).collect();
        Ok(Server { instance, details, volumes_attached, for_admin, host_up })
    }

    /// `ServiceController.index`: nova-compute's rows; conductor and scheduler are nova-api's
    /// neighbours here and always up.
    pub async fn services(&self) -> Result<Vec<ServiceRow>, Refusal> {
        self.cx.station("ServiceController.index");
        self.check(Rule::Admin, "os-services:", "list")?;
        let computes = self.cx.call(ServicesAll {}).await;
        let computes = computes.map_err(|e| self.unexpected(&e.into()))?;
        let mut rows = Vec::with_capacity(computes.len() + 2);
        if let Some(first) = computes.first() {
            for binary in ["nova-conductor", "nova-scheduler"] {
                let host = first.host.clone();
                rows.push(ServiceRow { binary: binary.to_owned(), host, up: true });
            }
        }
        rows.extend(computes.into_iter().map(|s| ServiceRow {
            binary: "nova-compute".to_owned(),
            host: s.host,
            up: s.up,
        }));
        Ok(rows)
    }
}
