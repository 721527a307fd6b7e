//! Nova's database: instances, services, block device mappings, actions, events and faults.
//!
//! Every method is one statement or transaction of nova's db api, so there is nothing half done
//! in here; what is half done lies between two calls. Only live BDM rows are kept (a soft-deleted
//! row is never read again); rows of actions, events and faults grow until somebody archives them.
//!
//! - `archive`: what a long-lived cloud drops of its past.
//! - `metadata`: instance_system_metadata.
//! - `servers`: writes of an instance, and what only the API shows of it.

use castoff_ports::novadb::{
    Bdm, BdmCreate, BdmUpdate, Call, EventFinish, EventResult, Instance, Reply, ServerDetails,
    Service, SourceType, SystemMetadata,
};
use castoff_ports::{BdmId, HostName, InstanceId, Refusal, RequestId, SimTime, VolumeId};

use crate::fact::{Fact, Facts};
use crate::world::Step;

mod archive;
mod metadata;
mod servers;

/// A row of `instance_actions`.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionRow {
    /// The server.
    pub instance: InstanceId,
    /// The request that started it.
    pub request: RequestId,
    /// `detach_volume`, `attach_volume`.
    pub action: String,
    /// `Error` once an event of it has failed.
    pub message: Option<String>,
    /// When it was asked for.
    pub start_time: SimTime,
}

/// A row of `instance_actions_events`.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRow {
    /// The request whose action it belongs to.
    pub request: RequestId,
    /// The server.
    pub instance: InstanceId,
    /// `compute_detach_volume`, …
    pub event: String,
    /// None while it runs, or for ever when its process died.
    pub result: Option<EventResult>,
    /// When it started.
    pub start_time: SimTime,
    /// When it ended.
    pub finish_time: Option<SimTime>,
}

/// A row of `instance_faults`.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultRow {
    /// The request that failed.
    pub request: RequestId,
    /// The server.
    pub instance: InstanceId,
    /// The exception's text.
    pub message: String,
}

/// Nova's database.
#[derive(Clone, Debug, Default)]
pub struct NovaDb {
    instances: Vec<Instance>,
    /// What only the API shows, in the order of the instances.
    details: Vec<ServerDetails>,
    services: Vec<Service>,
    /// Live rows, in the order of their ids.
    bdms: Vec<Bdm>,
    last_bdm: u32,
    actions: Vec<ActionRow>,
    events: Vec<EventRow>,
    faults: Vec<FaultRow>,
    system_metadata: Vec<(InstanceId, SystemMetadata)>,
}

impl NovaDb {
    /// An empty database.
    pub fn new() -> NovaDb {
        NovaDb::default()
    }

    /// Adds a server, or replaces the row of the same uuid.
    pub fn add_instance(&mut self, instance: Instance) {
        match self.instances.iter_mut().find(|i| i.uuid == instance.uuid) {
            Some(row) => *row = instance,
            None => {
                self.instances.push(instance);
                self.details.push(ServerDetails::default());
            }
        }
    }

    /// What the API shows of a server beyond its row.
    pub fn details_mut(&mut self, uuid: &InstanceId) -> Option<&mut ServerDetails> {
        let at = self.instances.iter().position(|i| i.uuid == *uuid)?;
        self.details.get_mut(at)
    }

    /// A server's row, for scenarios that change it behind the pipeline's back.
    pub fn instance_mut(&mut self, uuid: &InstanceId) -> Option<&mut Instance> {
        self.instances.iter_mut().find(|i| i.uuid == *uuid)
    }

    /// Adds the nova-compute service of a host; it is up.
    pub fn add_service(&mut self, host: HostName) {
        if !self.services.iter().any(|s| s.host == host) {
            self.services.push(Service { host, up: true });
        }
    }

    /// What the service group API makes of a host's heartbeat from now on.
    pub fn set_service_up(&mut self, host: &HostName, up: bool) {
        if let Some(service) = self.services.iter_mut().find(|s| s.host == *host) {
            service.up = up;
        }
    }

    /// Adds a BDM row as it stands (a root device, a legacy volume), under an id of its own.
    pub fn add_bdm(&mut self, facts: &mut Facts, bdm: Bdm) -> BdmId {
        self.last_bdm += 1;
        let id = BdmId(self.last_bdm);
        facts.push(Fact::BdmCreated {
            id,
            volume: bdm.volume_id.clone(),
            instance: bdm.instance_uuid.clone(),
        });
        self.bdms.push(Bdm { id, ..bdm });
        id
    }

    /// Every server, in the order in which they were added.
    pub fn instances(&self) -> &[Instance] {
        &self.instances
    }

    /// Whether the service group API has every compute service up.
    pub fn services_up(&self) -> bool {
        self.services.iter().all(|s| s.up)
    }

    /// BDM rows that are not soft-deleted, by id.
    pub fn live_bdms(&self) -> &[Bdm] {
        &self.bdms
    }

    /// Every action, oldest first.
    pub fn actions(&self) -> &[ActionRow] {
        &self.actions
    }

    /// Every action event, oldest first.
    pub fn events(&self) -> &[EventRow] {
        &self.events
    }

    /// Every instance fault, oldest first.
    pub fn faults(&self) -> &[FaultRow] {
        &self.faults
    }

    /// The BDM of a server's root disk, which building the server has written.
    pub fn set_root(&mut self, volume: &VolumeId, instance: &InstanceId) {
        let mine = |b: &&mut Bdm| b.volume_id == *volume && b.instance_uuid == *instance;
        if let Some(bdm) = self.bdms.iter_mut().find(mine) {
            bdm.boot_index = Some(0);
        }
    }

    /// The first live row of a volume on a server.
    pub fn bdm(&self, volume: &VolumeId, instance: &InstanceId) -> Option<&Bdm> {
        self.bdms.iter().find(|b| b.volume_id == *volume && b.instance_uuid == *instance)
    }

    /// Answers one operation, on behalf of `request`.
    pub fn call(
        &mut self,
        step: &mut Step,
        request: RequestId,
        call: Call,
    ) -> Result<Reply, Refusal> {
        match call {
            Call::GetInstance(c) => self
                .instances
                .iter()
                .find(|i| i.uuid == c.uuid)
                .cloned()
                .map(Reply::GetInstance)
                .ok_or_else(|| Refusal::not_found("Instance", c.uuid)),
            Call::BdmsByInstance(c) => {
                Ok(Reply::BdmsByInstance(self.matching(|b| b.instance_uuid == c.instance)))
            }
            Call::BdmByVolumeAndInstance(c) => self
                .bdm(&c.volume_id, &c.instance)
                .cloned()
                .map(Reply::BdmByVolumeAndInstance)
                .ok_or_else(|| Refusal::not_found("BlockDeviceMapping", c.volume_id)),
            Call::BdmsByVolume(c) => {
                Ok(Reply::BdmsByVolume(self.matching(|b| b.volume_id == c.volume_id)))
            }
            Call::BdmCreate(c) => Ok(Reply::BdmCreate(self.bdm_create(step.facts, c))),
            Call::BdmSave(c) => self.bdm_save(c.id, c.update).map(Reply::BdmSave),
            Call::BdmDestroy(c) => {
                self.bdm_destroy(step.facts, c.id);
                Ok(Reply::BdmDestroy(()))
            }
            Call::ActionStart(c) => {
                self.actions.push(ActionRow {
                    instance: c.instance,
                    request,
                    action: c.action,
                    message: None,
                    start_time: step.now,
                });
                Ok(Reply::ActionStart(()))
            }
            Call::EventStart(c) => {
                self.event_start(step.now, request, c.instance, c.event).map(Reply::EventStart)
            }
            Call::EventFinish(c) => self.event_finish(step, request, c).map(Reply::EventFinish),
            Call::FaultCreate(c) => {
                step.facts.push(Fact::FaultCreated {
                    request,
                    instance: c.instance.clone(),
                    message: c.message.clone(),
                });
                self.faults.push(FaultRow { request, instance: c.instance, message: c.message });
                Ok(Reply::FaultCreate(()))
            }
            Call::ActionsByInstance(c) => {
                Ok(Reply::ActionsByInstance(self.actions_of(&c.instance)))
            }
            Call::ServiceByHost(c) => self
                .services
                .iter()
                .find(|s| s.host == c.host)
                .cloned()
                .map(Reply::ServiceByHost)
                .ok_or_else(|| Refusal::not_found("Service", c.host)),
            Call::InstanceSave(c) => self.instance_save(step.now, c).map(Reply::InstanceSave),
            Call::InstanceDestroy(c) => {
                self.instance_destroy(step.facts, &c.uuid);
                Ok(Reply::InstanceDestroy(()))
            }
            Call::GetServerDetails(c) => self.details(&c.uuid).map(Reply::GetServerDetails),
            Call::InstancesByProject(c) => {
                Ok(Reply::InstancesByProject(self.by_project(c.project.as_ref())))
            }
            Call::ServicesAll(_) => Ok(Reply::ServicesAll(self.services.clone())),
            Call::SystemMetadataGet(c) => {
                Ok(Reply::SystemMetadataGet(self.system_metadata(&c.instance)))
            }
            Call::SystemMetadataSet(c) => {
                self.system_metadata_set(step, c).map(Reply::SystemMetadataSet)
            }
            Call::SystemMetadataDelete(c) => {
                self.system_metadata_delete(step.facts, &c.instance, &c.key);
                Ok(Reply::SystemMetadataDelete(()))
            }
        }
    }

    fn matching(&self, wanted: impl Fn(&Bdm) -> bool) -> Vec<Bdm> {
        self.bdms.iter().filter(|b| wanted(b)).cloned().collect()
    }

    fn bdm_create(&mut self, facts: &mut Facts, c: BdmCreate) -> Bdm {
        let mut bdm = Bdm {
            id: BdmId(0),
            instance_uuid: c.instance,
            volume_id: c.volume_id,
            source_type: SourceType::Volume,
            device_name: c.device_name,
            boot_index: None,
            attachment_id: None,
            connection_info: None,
            delete_on_termination: false,
            tag: None,
        };
        bdm.id = self.add_bdm(facts, bdm.clone());
        bdm
    }

    fn bdm_save(&mut self, id: BdmId, update: BdmUpdate) -> Result<(), Refusal> {
        // A soft-deleted row cannot be saved: nova raises BDMNotFound.
        let row = self
            .bdms
            .iter_mut()
            .find(|b| b.id == id)
            .ok_or_else(|| Refusal::not_found("BlockDeviceMapping", id))?;
        if let Some(attachment) = update.attachment_id {
            row.attachment_id = Some(attachment);
        }
        if let Some(info) = update.connection_info {
            row.connection_info = Some(*info);
        }
        if let Some(name) = update.device_name {
            row.device_name = Some(name);
        }
        if let Some(delete) = update.delete_on_termination {
            row.delete_on_termination = delete;
        }
        if let Some(tag) = update.tag {
            row.tag = Some(tag);
        }
        Ok(())
    }

    fn bdm_destroy(&mut self, facts: &mut Facts, id: BdmId) {
        // Deleting a row that is gone updates no row and raises nothing: a detach and a server
        // delete that race both succeed here.
        if let Some(at) = self.bdms.iter().position(|b| b.id == id) {
            let row = self.bdms.remove(at);
            facts.push(Fact::BdmDestroyed {
                id,
                volume: row.volume_id,
                instance: row.instance_uuid,
                attachment: row.attachment_id,
            });
        }
    }

    fn event_start(
        &mut self,
        now: SimTime,
        request: RequestId,
        instance: InstanceId,
        event: String,
    ) -> Result<(), Refusal> {
        self.action(request, &instance)?;
        let (result, finish_time) = (None, None);
        self.events.push(EventRow {
            request,
            instance,
            event,
            result,
            start_time: now,
            finish_time,
        });
        Ok(())
    }

    fn event_finish(
        &mut self,
        step: &mut Step,
        request: RequestId,
        c: EventFinish,
    ) -> Result<(), Refusal> {
        self.action(request, &c.instance)?;
        // The query is by action and name, and takes the first row: when a request starts the
        // same event twice, the first row is finished twice.
        let row = self
            .events
            .iter_mut()
            .find(|e| e.request == request && e.instance == c.instance && e.event == c.event)
            .ok_or_else(|| Refusal::not_found("InstanceActionEvent", &c.event))?;
        row.result = Some(c.result);
        row.finish_time = Some(step.now);
        if c.result == EventResult::Error {
            self.action(request, &c.instance)?.message = Some("Error".to_owned());
        }
        step.facts.push(Fact::EventFinished {
            request,
            event: c.event,
            instance: c.instance,
            result: c.result,
        });
        Ok(())
    }

    /// The action row of this request, as `_action_get_by_request_id` finds it.
    fn action(
        &mut self,
        request: RequestId,
        instance: &InstanceId,
    ) -> Result<&mut ActionRow, Refusal> {
        self.actions
            .iter_mut()
            .find(|a| a.request == request && a.instance == *instance)
            .ok_or_else(|| Refusal::not_found("InstanceAction", request))
    }
}

#[cfg(test)]
mod tests;
