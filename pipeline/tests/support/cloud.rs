//! A small healthy cloud: one server with one iSCSI volume, every operation answered, any of them
//! made to fail from its n-th call on.

// Each test file uses a part of it.
#![allow(dead_code)]

use std::collections::BTreeMap;

use castoff_ports::cinder::{
    AttachStatus, Attachment, ConnectionInfo, IscsiData, Volume, VolumeAttachmentRow, VolumeStatus,
};
use castoff_ports::keystone::{IssuedToken, Role, TokenInfo};
use castoff_ports::libvirt::{self, DeviceEvent, GuestDisk, PowerState, WaiterId, error};
use castoff_ports::novadb::{Bdm, Instance, Service, SourceType, VmState};
use castoff_ports::rpc::{Method, Returned};
use castoff_ports::{
    BdmId, Call, CallCx, Failure, Lun, Refusal, Reply, Secret, SimTime, cinder, keystone, novadb,
    rpc, runtime,
};

use crate::support::Outside;

mod cloud_host;

/// Fails one operation from its n-th call on.
pub(crate) struct Fail {
    pub(crate) operation: &'static str,
    pub(crate) from: u32,
    pub(crate) times: u32,
    pub(crate) how: How,
}

/// What a failing operation answers.
#[derive(Clone)]
pub(crate) enum How {
    /// This failure.
    With(Failure),
    /// What fits the operation: exit 1 of a command, 500 of a service, a lost connection else.
    Naturally,
}

pub(crate) struct Cloud {
    pub(crate) roles: Vec<Role>,
    pub(crate) project: &'static str,
    pub(crate) token_lifetime_s: u64,
    pub(crate) instance: Option<Instance>,
    pub(crate) volume: Option<Volume>,
    pub(crate) bdms: Vec<Bdm>,
    pub(crate) service_up: bool,
    /// The guest's disk, in its config and live.
    pub(crate) disk: [Option<GuestDisk>; 2],
    pub(crate) session: bool,
    pub(crate) device: bool,
    /// Scans that the kernel needs before it shows the device.
    pub(crate) scans_needed: u32,
    pub(crate) fails: Vec<Fail>,
    pub(crate) log: Vec<&'static str>,
    /// What went well, by name.
    pub(crate) done: Vec<&'static str>,
    pub(crate) casts: Vec<Method>,
    pub(crate) locks: Vec<String>,
    pub(crate) tokens: Vec<(&'static str, Option<Secret>)>,
    pub(crate) counts: BTreeMap<&'static str, u32>,
    pub(crate) issued: u32,
}

pub(crate) fn instance() -> Instance {
    Instance {
        uuid: "i1".into(),
        project_id: "p1".into(),
        host: Some("vm".into()),
        vm_state: VmState::Active,
        task_state: None,
        launched: true,
        locked: false,
    }
}

/// The volume in the guest, as nova 2026.1 writes it.
pub(crate) fn disk() -> GuestDisk {
    GuestDisk {
        target_dev: "vdb".to_owned(),
        source_dev: "/dev/sdb".to_owned(),
        serial: Some("v1".into()),
        alias: Some("ua-v1".into()),
    }
}

pub(crate) fn bdm(attachment: Option<&str>) -> Bdm {
    Bdm {
        id: BdmId(7),
        instance_uuid: "i1".into(),
        volume_id: "v1".into(),
        source_type: SourceType::Volume,
        device_name: Some("/dev/vdb".to_owned()),
        boot_index: None,
        attachment_id: attachment.map(Into::into),
        connection_info: Some(connection_info()),
        delete_on_termination: false,
        tag: None,
    }
}

pub(crate) fn connection_info() -> ConnectionInfo {
    ConnectionInfo {
        driver_volume_type: "iscsi".to_owned(),
        data: IscsiData {
            target_portal: "10.0.0.1:3260".into(),
            target_iqn: "iqn.t".into(),
            target_lun: Lun(1).into(),
            paths: vec![],
            volume_id: "v1".into(),
            device_path: Some("/dev/sdb".to_owned()),
            encrypted: false,
            auth: None,
        },
        serial: Some("v1".into()),
        connector: None,
        multiattach: false,
    }
}

pub(crate) fn volume(status: VolumeStatus) -> Volume {
    let row = VolumeAttachmentRow {
        server_id: "i1".into(),
        attachment_id: "a1".into(),
        host_name: Some("vm".into()),
        device: Some("/dev/vdb".to_owned()),
    };
    let attached = matches!(status, VolumeStatus::InUse | VolumeStatus::Detaching);
    Volume {
        id: "v1".into(),
        status,
        size: 1,
        multiattach: false,
        attachments: if attached { [row].into_iter().collect() } else { Default::default() },
        shared_targets: Some(false),
        service_uuid: Some("backend-1".to_owned()),
    }
}

impl Cloud {
    /// The volume attached; with the attachments API or without.
    pub(crate) fn attached(attachments_api: bool) -> Cloud {
        Cloud {
            roles: vec![Role::Member, Role::Reader],
            project: "p1",
            token_lifetime_s: 3600,
            instance: Some(instance()),
            volume: Some(volume(VolumeStatus::InUse)),
            bdms: vec![bdm(attachments_api.then_some("a1"))],
            service_up: true,
            disk: [Some(disk()), Some(disk())],
            session: true,
            device: true,
            scans_needed: 1,
            fails: vec![],
            log: vec![],
            done: vec![],
            casts: vec![],
            locks: vec![],
            tokens: vec![],
            counts: BTreeMap::new(),
            issued: 0,
        }
    }

    /// The volume available, nothing on the host.
    pub(crate) fn detached() -> Cloud {
        Cloud {
            volume: Some(volume(VolumeStatus::Available)),
            bdms: vec![],
            disk: [None, None],
            session: false,
            device: false,
            ..Cloud::attached(false)
        }
    }

    fn failure(&mut self, call: &Call) -> Option<How> {
        let n = self.counts.entry(call.name()).or_default();
        *n += 1;
        self.fails
            .iter()
            .find(|f| f.operation == call.name() && *n >= f.from && *n - f.from < f.times)
            .map(|f| f.how.clone())
    }

    fn answer(&mut self, now: &mut SimTime, cx: &CallCx, call: Call) -> Result<Reply, Failure> {
        Ok(match call {
            Call::Keystone(c) => Reply::Keystone(self.keystone(*now, c)),
            Call::NovaDb(c) => Reply::NovaDb(self.novadb(c)?),
            Call::Cinder(c) => {
                self.tokens.push((c.name(), cx.auth.service_token.clone()));
                Reply::Cinder(self.cinder(c)?)
            }
            Call::Rpc(rpc::Call::Cast(c)) => {
                self.casts.push(c.method);
                Reply::Rpc(rpc::Reply::Cast(()))
            }
            Call::Rpc(rpc::Call::CallMethod(_)) => {
                let reserved = Bdm { connection_info: None, ..bdm(None) };
                Reply::Rpc(rpc::Reply::CallMethod(Returned::Bdm(Box::new(reserved))))
            }
            Call::Libvirt(c) => Reply::Libvirt(self.libvirt(c)?),
            Call::Host(c) => Reply::Host(self.host(c)),
            Call::Runtime(runtime::Call::Sleep(c)) => {
                *now = *now + c.duration;
                Reply::Runtime(runtime::Reply::Sleep(()))
            }
            Call::Runtime(runtime::Call::Lock(c)) => {
                self.locks.push(c.name);
                Reply::Runtime(runtime::Reply::Lock(()))
            }
            Call::Runtime(runtime::Call::Unlock(_)) => Reply::Runtime(runtime::Reply::Unlock(())),
            other => panic!("nobody answers {}", other.name()),
        })
    }

    fn keystone(&mut self, now: SimTime, call: keystone::Call) -> keystone::Reply {
        let info = TokenInfo {
            user_id: "u1".into(),
            project_id: self.project.into(),
            roles: self.roles.iter().copied().collect(),
            expires_at: SimTime(now.0 + self.token_lifetime_s * 1_000_000),
        };
        match call {
            keystone::Call::ValidateToken(_) => keystone::Reply::ValidateToken(info),
            keystone::Call::CreateToken(_) => {
                self.issued += 1;
                let token = Secret::new(format!("service-{}", self.issued));
                keystone::Reply::CreateToken(IssuedToken { token, info })
            }
        }
    }

    fn novadb(&mut self, call: novadb::Call) -> Result<novadb::Reply, Refusal> {
        use novadb::{Call, Reply};
        Ok(match call {
            Call::GetInstance(c) => Reply::GetInstance(
                self.instance.clone().ok_or_else(|| Refusal::not_found("Instance", c.uuid))?,
            ),
            Call::BdmsByInstance(_) => Reply::BdmsByInstance(self.bdms.clone()),
            Call::BdmsByVolume(_) => Reply::BdmsByVolume(self.bdms.clone()),
            Call::BdmByVolumeAndInstance(c) => Reply::BdmByVolumeAndInstance(
                self.bdms
                    .iter()
                    .find(|b| b.volume_id == c.volume_id)
                    .cloned()
                    .ok_or_else(|| Refusal::not_found("BlockDeviceMapping", c.volume_id))?,
            ),
            Call::BdmCreate(c) => Reply::BdmCreate(Bdm {
                device_name: c.device_name,
                connection_info: None,
                ..bdm(None)
            }),
            Call::BdmSave(_) => Reply::BdmSave(()),
            Call::BdmDestroy(_) => Reply::BdmDestroy(()),
            Call::ActionStart(_) => Reply::ActionStart(()),
            Call::EventStart(_) => Reply::EventStart(()),
            Call::EventFinish(_) => Reply::EventFinish(()),
            Call::SystemMetadataGet(_) => Reply::SystemMetadataGet(vec![]),
            Call::SystemMetadataSet(_) => Reply::SystemMetadataSet(()),
            Call::SystemMetadataDelete(_) => Reply::SystemMetadataDelete(()),
            Call::FaultCreate(_) => Reply::FaultCreate(()),
            Call::ActionsByInstance(_) => Reply::ActionsByInstance(vec![]),
            Call::ServiceByHost(c) => {
                Reply::ServiceByHost(Service { host: c.host, up: self.service_up })
            }
            Call::InstanceSave(_) => Reply::InstanceSave(()),
            Call::GetServerDetails(_) => Reply::GetServerDetails(Default::default()),
            Call::InstancesByProject(_) => {
                Reply::InstancesByProject(self.instance.iter().cloned().collect())
            }
            Call::ServicesAll(_) => Reply::ServicesAll(vec![]),
            other @ Call::InstanceDestroy(_) => panic!("no script for {}", other.name()),
        })
    }

    fn cinder(&mut self, call: cinder::Call) -> Result<cinder::Reply, Refusal> {
        use cinder::{Call, Reply};
        let attachment = |id, connection_info| Attachment {
            id,
            volume_id: "v1".into(),
            instance: "i1".into(),
            status: AttachStatus::Reserved,
            connection_info,
        };
        let mut info = connection_info();
        info.data.device_path = None;
        Ok(match call {
            Call::GetVolume(_) => Reply::GetVolume(
                self.volume
                    .clone()
                    .ok_or_else(|| Refusal::http(404, "Volume v1 could not be found."))?,
            ),
            Call::BeginDetaching(_) => Reply::BeginDetaching(()),
            Call::RollDetaching(_) => Reply::RollDetaching(()),
            Call::Reserve(_) => Reply::Reserve(()),
            Call::Unreserve(_) => Reply::Unreserve(()),
            Call::InitializeConnection(_) => Reply::InitializeConnection(info),
            Call::TerminateConnection(_) => Reply::TerminateConnection(()),
            Call::Attach(_) => Reply::Attach(()),
            Call::Detach(_) => Reply::Detach(()),
            Call::DeleteVolume(_) => Reply::DeleteVolume(()),
            Call::ResetStatus(_) => Reply::ResetStatus(()),
            Call::ForceDetach(_) => Reply::ForceDetach(()),
            Call::AttachmentCreate(_) => Reply::AttachmentCreate(attachment("a1".into(), None)),
            Call::AttachmentUpdate(c) => {
                Reply::AttachmentUpdate(attachment(c.attachment_id, Some(info)))
            }
            Call::AttachmentComplete(_) => Reply::AttachmentComplete(()),
            Call::AttachmentDelete(_) => Reply::AttachmentDelete(()),
            Call::AttachmentGet(c) => Reply::AttachmentGet(attachment(c.attachment_id, Some(info))),
            Call::AttachmentList(_) => Reply::AttachmentList(vec![]),
            Call::GetEncryption(_) => Reply::GetEncryption(Default::default()),
        })
    }

    fn libvirt(&mut self, call: libvirt::Call) -> Result<libvirt::Reply, Refusal> {
        use libvirt::{Call, Reply};
        Ok(match call {
            Call::LookupByUuid(_) => Reply::LookupByUuid(()),
            Call::GetInfo(_) => Reply::GetInfo(PowerState::Running),
            Call::IsPersistent(_) => Reply::IsPersistent(true),
            Call::XmlDesc(c) => {
                Reply::XmlDesc(self.disk[usize::from(!c.inactive)].iter().cloned().collect())
            }
            Call::AttachDeviceFlags(c) => {
                self.disk = [Some(c.disk.clone()), Some(c.disk)];
                Reply::AttachDeviceFlags(())
            }
            Call::DetachDeviceFlags(c) => {
                if c.config {
                    self.disk[0] = None;
                }
                if c.live {
                    self.disk[1] = None;
                }
                Reply::DetachDeviceFlags(())
            }
            Call::CreateWaiter(_) => Reply::CreateWaiter(WaiterId(1)),
            Call::WaitForEvent(_) => Reply::WaitForEvent(Some(DeviceEvent::Removed)),
            Call::DeleteWaiter(_) => Reply::DeleteWaiter(()),
            Call::SecretLookupByUsage(_) => {
                return Err(Refusal::libvirt(error::NO_SECRET, "Secret not found"));
            }
            other => panic!("no script for {}", other.name()),
        })
    }
}

impl Outside for Cloud {
    fn call(&mut self, now: &mut SimTime, cx: &CallCx, call: Call) -> Result<Reply, Failure> {
        let name = call.name();
        self.log.push(name);
        let failure = self.failure(&call);
        if let Some(How::With(failure)) = failure {
            return Err(failure);
        }
        if let Some(reply) = self.command(&call, failure.is_some()) {
            if failure.is_none() {
                self.done.push(name);
            }
            return Ok(reply);
        }
        if failure.is_some() {
            return Err(match call {
                Call::Cinder(_) | Call::Keystone(_) => Refusal::http(500, "broken").into(),
                Call::Libvirt(_) => Refusal::libvirt(error::INTERNAL_ERROR, "broken").into(),
                other => Failure::Unreachable { system: other.system().to_owned() },
            });
        }
        let result = self.answer(now, cx, call);
        if result.is_ok() {
            self.done.push(name);
        }
        result
    }
}
