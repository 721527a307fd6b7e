//! The trace layer: records what each process asked for and what it was told.
//!
//! It lies outermost, so a line is what the pipeline saw, injected faults included. It is laid
//! over a binding only when somebody reads the trace.

use std::rc::Rc;
use std::time::Duration;

use futures::future::LocalBoxFuture;

use crate::iscsi::CommandOutput;
use crate::plan::EnvironmentEvent;
use crate::trace::{Event, Note, Trace, What};
use crate::{
    Binding, Call, CallCx, Failure, Process, Reply, SimTime, cinder, host, iscsi, keystone,
    libvirt, nova, novadb, rpc, runtime,
};

/// A binding whose calls are recorded.
pub struct TraceLayer {
    inner: Rc<dyn Binding>,
    trace: Trace,
}

impl TraceLayer {
    /// Records the calls of `inner` in `trace`.
    pub fn new(inner: Rc<dyn Binding>, trace: Trace) -> Self {
        TraceLayer { inner, trace }
    }

    fn push(&self, cx: &CallCx, what: What) {
        self.trace.push(|| Event {
            at: self.inner.now(),
            who: cx.process.as_str(),
            request: Some(cx.request),
            what,
        });
    }
}

impl Binding for TraceLayer {
    fn call<'a>(
        &'a self,
        cx: &'a CallCx,
        call: Call,
    ) -> LocalBoxFuture<'a, Result<Reply, Failure>> {
        let (to, operation) = (call.system(), call.name());
        self.push(cx, What::Call { to, operation, text: call.describe() });
        Box::pin(async move {
            let result = self.inner.call(cx, call).await;
            let (text, ok) = match &result {
                Ok(reply) => (summary(reply), true),
                Err(failure) => (failure.to_string(), false),
            };
            self.push(cx, What::Reply { from: to, operation, text, ok });
            result
        })
    }
    fn now(&self) -> SimTime {
        self.inner.now()
    }
    fn note(&self, cx: &CallCx, note: Note) {
        self.push(cx, What::Note { note: note.clone() });
        self.inner.note(cx, note);
    }
    fn crash(&self, cx: &CallCx, restart_after: Option<Duration>) {
        self.inner.crash(cx, restart_after);
    }
    fn environment(&self, event: EnvironmentEvent) {
        self.inner.environment(event);
    }
    fn cut_off(&self, process: Process, system: &'static str, until: SimTime) {
        self.inner.cut_off(process, system, until);
    }
    fn lasts_until(&self, at: SimTime) {
        self.inner.lasts_until(at);
    }
}

fn command(out: &CommandOutput) -> String {
    let text = if out.exit == 0 { &out.stdout } else { &out.stderr };
    match text.lines().find(|l| !l.is_empty()) {
        Some(line) => format!("exit {}: {line}", out.exit),
        None => format!("exit {}", out.exit),
    }
}

/// A reply in a few words: status codes of HTTP services, exit codes of commands.
pub fn summary(reply: &Reply) -> String {
    match reply {
        Reply::Keystone(r) => match r {
            keystone::Reply::CreateToken(t) => {
                format!("201 token *** expires {}", t.info.expires_at)
            }
            keystone::Reply::ValidateToken(t) => format!("200 user {}", t.user_id),
        },
        Reply::Nova(r) => match r {
            nova::Reply::DeleteVolumeAttachment(()) => "202".to_owned(),
            nova::Reply::CreateVolumeAttachment(Some(a)) => {
                format!("200 device {}", a.device.as_deref().unwrap_or("-"))
            }
            nova::Reply::CreateVolumeAttachment(None) => "202".to_owned(),
            nova::Reply::ListVolumeAttachments(l) => format!("200 {} attached", l.len()),
            nova::Reply::ListInstanceActions(l) => format!("200 {} actions", l.len()),
            nova::Reply::ShowInstanceAction(a) => format!("200 {} events", a.events.len()),
            nova::Reply::ShowVolumeAttachment(a) => {
                format!("200 device {}", a.device.as_deref().unwrap_or("-"))
            }
            nova::Reply::ListServers(l) => format!("200 {} servers", l.len()),
            nova::Reply::ShowServer(s) => format!("200 {}", s.instance.vm_state.as_str()),
            nova::Reply::ListServices(l) => format!("200 {} services", l.len()),
            nova::Reply::UpdateVolumeAttachment(()) | nova::Reply::PostServerAction(()) => {
                "202".to_owned()
            }
            nova::Reply::DeleteServer(()) => "204".to_owned(),
            nova::Reply::GetVersions(()) | nova::Reply::GetFlavors(()) => "200".to_owned(),
            nova::Reply::RefuseRequest(()) => "refused".to_owned(),
        },
        Reply::NovaDb(r) => match r {
            novadb::Reply::GetInstance(i) => {
                format!(
                    "{} on {}",
                    i.vm_state.as_str(),
                    i.host.as_ref().map_or("-", |h| h.as_str())
                )
            }
            novadb::Reply::BdmsByInstance(l) | novadb::Reply::BdmsByVolume(l) => {
                format!("{} rows", l.len())
            }
            novadb::Reply::BdmByVolumeAndInstance(b) | novadb::Reply::BdmCreate(b) => {
                format!("BDM {} {}", b.id, b.device_name.as_deref().unwrap_or("-"))
            }
            novadb::Reply::ActionsByInstance(l) => format!("{} actions", l.len()),
            novadb::Reply::InstancesByProject(l) => format!("{} rows", l.len()),
            novadb::Reply::ServicesAll(l) => format!("{} rows", l.len()),
            novadb::Reply::GetServerDetails(d) => d.name.clone(),
            novadb::Reply::InstanceSave(()) => "ok".to_owned(),
            novadb::Reply::ServiceByHost(s) => if s.up { "up" } else { "down" }.to_owned(),
            novadb::Reply::SystemMetadataGet(l) => format!("{} rows", l.len()),
            novadb::Reply::SystemMetadataSet(())
            | novadb::Reply::SystemMetadataDelete(())
            | novadb::Reply::BdmSave(())
            | novadb::Reply::BdmDestroy(())
            | novadb::Reply::InstanceDestroy(())
            | novadb::Reply::ActionStart(())
            | novadb::Reply::EventStart(())
            | novadb::Reply::EventFinish(())
            | novadb::Reply::FaultCreate(()) => "ok".to_owned(),
        },
        Reply::Rpc(r) => match r {
            rpc::Reply::Cast(()) => "ok".to_owned(),
            rpc::Reply::CallMethod(rpc::Returned::None) => "returned".to_owned(),
            rpc::Reply::CallMethod(rpc::Returned::Bdm(b)) => format!("returned BDM {}", b.id),
        },
        Reply::Cinder(r) => match r {
            cinder::Reply::GetVolume(v) => format!("200 {}", v.status.as_str()),
            cinder::Reply::InitializeConnection(_) => "200 connection_info".to_owned(),
            cinder::Reply::AttachmentCreate(a) | cinder::Reply::AttachmentUpdate(a) => {
                format!("200 attachment {} {}", a.id, a.status.as_str())
            }
            cinder::Reply::AttachmentComplete(()) => "204".to_owned(),
            cinder::Reply::AttachmentDelete(()) => "200".to_owned(),
            cinder::Reply::AttachmentGet(a) => {
                format!("200 attachment {} {}", a.id, a.status.as_str())
            }
            cinder::Reply::AttachmentList(rows) => format!("200 {} attachments", rows.len()),
            cinder::Reply::GetEncryption(e) => {
                format!("200 {}", e.provider.as_deref().unwrap_or("not encrypted"))
            }
            cinder::Reply::BeginDetaching(())
            | cinder::Reply::RollDetaching(())
            | cinder::Reply::Reserve(())
            | cinder::Reply::Unreserve(())
            | cinder::Reply::TerminateConnection(())
            | cinder::Reply::Attach(())
            | cinder::Reply::DeleteVolume(())
            | cinder::Reply::ResetStatus(())
            | cinder::Reply::ForceDetach(())
            | cinder::Reply::Detach(()) => "202".to_owned(),
        },
        Reply::Libvirt(r) => match r {
            libvirt::Reply::GetInfo(s) => format!("{s:?}").to_lowercase(),
            libvirt::Reply::IsPersistent(p) => p.to_string(),
            libvirt::Reply::XmlDesc(disks) if disks.is_empty() => "no disks".to_owned(),
            libvirt::Reply::XmlDesc(disks) => {
                let names: Vec<&str> = disks.iter().map(|d| d.target_dev.as_str()).collect();
                format!("disks {}", names.join(" "))
            }
            libvirt::Reply::CreateWaiter(w) => format!("waiter {}", w.0),
            libvirt::Reply::WaitForEvent(None) => "no event".to_owned(),
            libvirt::Reply::WaitForEvent(Some(libvirt::DeviceEvent::Removed)) => {
                "DEVICE_REMOVED".to_owned()
            }
            libvirt::Reply::WaitForEvent(Some(libvirt::DeviceEvent::RemovalFailed)) => {
                "DEVICE_REMOVAL_FAILED".to_owned()
            }
            libvirt::Reply::LookupByUuid(())
            | libvirt::Reply::BlockStats(())
            | libvirt::Reply::AttachDeviceFlags(())
            | libvirt::Reply::DetachDeviceFlags(())
            | libvirt::Reply::DeleteWaiter(())
            | libvirt::Reply::CleanupWaiters(())
            | libvirt::Reply::Suspend(())
            | libvirt::Reply::Resume(())
            | libvirt::Reply::ManagedSave(())
            | libvirt::Reply::Shutdown(())
            | libvirt::Reply::Destroy(())
            | libvirt::Reply::Undefine(())
            | libvirt::Reply::DefineXml(())
            | libvirt::Reply::Create(())
            | libvirt::Reply::SecretDefine(())
            | libvirt::Reply::SecretUndefine(())
            | libvirt::Reply::SecretLookupByUsage(()) => "0".to_owned(),
        },
        Reply::Iscsi(r) => match r {
            iscsi::Reply::Discoverydb(o)
            | iscsi::Reply::Discover(o)
            | iscsi::Reply::NodesAtPortal(o)
            | iscsi::Reply::Nodes(o)
            | iscsi::Reply::Sessions(o)
            | iscsi::Reply::Node(o)
            | iscsi::Reply::NodeNew(o)
            | iscsi::Reply::NodeUpdate(o)
            | iscsi::Reply::Login(o)
            | iscsi::Reply::Rescan(o)
            | iscsi::Reply::Logout(o)
            | iscsi::Reply::NodeDelete(o) => command(o),
        },
        Reply::Host(r) => match r {
            host::Reply::InitiatorName(o)
            | host::Reply::MultipathdShowStatus(o)
            | host::Reply::ScanLun(o)
            | host::Reply::FlushBufs(o)
            | host::Reply::DeleteDevice(o)
            | host::Reply::ScsiId(o)
            | host::Reply::CryptsetupOpen(o)
            | host::Reply::CryptsetupClose(o)
            | host::Reply::ScsiIdOfLink(o)
            | host::Reply::Lsblk(o)
            | host::Reply::MultipathList(o)
            | host::Reply::MultipathTopology(o)
            | host::Reply::MultipathFlush(o)
            | host::Reply::MultipathReady(o)
            | host::Reply::MultipathAddWwid(o)
            | host::Reply::MultipathReload(o)
            | host::Reply::MultipathdShowPaths(o)
            | host::Reply::MultipathdAddPath(o)
            | host::Reply::MultipathdDelPath(o)
            | host::Reply::MultipathdDelMap(o) => command(o),
            host::Reply::SessionDevices(devices) => {
                let names: Vec<String> =
                    devices.iter().map(|d| format!("{} {}", d.hctl, d.name)).collect();
                if names.is_empty() { "none".to_owned() } else { names.join(", ") }
            }
            host::Reply::SessionHctl(h) | host::Reply::TargetHctl(h) => {
                h.map_or("none".to_owned(), |h| h.to_string())
            }
            host::Reply::DeviceExists(e) | host::Reply::PathExists(e) => e.to_string(),
            host::Reply::RealPath(p) => p.clone(),
            host::Reply::ListByPath(l) => format!("{} links", l.len()),
            host::Reply::MultipathHolder(h) | host::Reply::DmName(h) | host::Reply::SysfsWwn(h) => {
                h.clone().unwrap_or_else(|| "none".to_owned())
            }
            host::Reply::JournalRead(l) => format!("{} entries", l.len()),
            host::Reply::UnlinkByIdLinks(())
            | host::Reply::JournalWrite(())
            | host::Reply::JournalRemove(()) => "ok".to_owned(),
        },
        Reply::Runtime(r) => match r {
            runtime::Reply::Sleep(()) => "slept".to_owned(),
            runtime::Reply::Lock(()) => "held".to_owned(),
            runtime::Reply::Unlock(()) => "released".to_owned(),
        },
    }
}
