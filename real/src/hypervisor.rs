//! libvirt: one connection, opened again when libvirtd was restarted, and the operations on it.
//!
//! libvirt's calls block (detachDeviceFlags up to 5 s), so they run on tokio's blocking threads;
//! none holds a lock of ours while it runs, as nova's threads do not hold each other up either.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use castoff_ports::libvirt::{Call, PowerState, Reply};
use castoff_ports::{Failure, InstanceId, Refusal};
use tokio::task::spawn_blocking;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::Error;
use virt::sys;

use crate::events::{Subscription, start_loop};
use crate::issued;
use crate::libvirt_error::{SYSTEM, failure};
use crate::waiters::Waiters;
use crate::{RealError, domain_xml};

/// libvirt at one URI.
pub(crate) struct Hypervisor {
    uri: String,
    waiters: Arc<Waiters>,
    link: Mutex<Link>,
}

/// A connection with what hangs on it; dropped in this order.
struct Link {
    /// Handles of domains that were looked up: nova too looks up once and goes on with the handle.
    domains: BTreeMap<InstanceId, Domain>,
    _events: Subscription,
    connect: Connect,
    /// Which connection this is, counted from 0: a handle of an older one is of no use here.
    generation: u32,
}

impl Hypervisor {
    /// Connects, with device events on.
    pub(crate) fn connect(uri: &str) -> Result<Hypervisor, RealError> {
        no_zero_byte("URI", uri)?;
        start_loop()?;
        let waiters = Arc::new(Waiters::default());
        let link = open(uri, &waiters, 0).map_err(|e| unreachable_at(uri, &e))?;
        Ok(Hypervisor { uri: uri.to_owned(), waiters, link: Mutex::new(link) })
    }

    /// Carries out a call that the guard let pass.
    pub(crate) async fn call(self: &Arc<Self>, call: Call) -> Result<Reply, Failure> {
        match call {
            Call::CreateWaiter(c) => {
                let waiter = self.waiters.create(c.instance, c.alias);
                Ok(Reply::CreateWaiter(waiter))
            }
            Call::WaitForEvent(c) => {
                let event = self.waiters.wait(c.waiter, c.timeout).await;
                Ok(Reply::WaitForEvent(event))
            }
            Call::DeleteWaiter(c) => {
                self.waiters.delete(c.waiter);
                Ok(Reply::DeleteWaiter(()))
            }
            call => {
                let this = self.clone();
                match spawn_blocking(move || this.blocking(call)).await {
                    Ok(result) => result,
                    Err(e) => match e.try_into_panic() {
                        Ok(panic) => std::panic::resume_unwind(panic),
                        // The runtime is going down under the call.
                        Err(_) => Err(Failure::NoReply { system: SYSTEM.to_owned() }),
                    },
                }
            }
        }
    }

    fn blocking(&self, call: Call) -> Result<Reply, Failure> {
        Ok(match call {
            Call::LookupByUuid(c) => {
                let (connect, generation) = self.connection()?;
                self.look_up(&connect, generation, &c.instance)?;
                Reply::LookupByUuid(())
            }
            Call::GetInfo(c) => {
                let domain = self.domain(&c.instance)?;
                issued::libvirt("virDomainGetInfo".to_owned());
                let info = domain.info().map_err(|e| failure(&e))?;
                Reply::GetInfo(power_state(info.state.to_raw()))
            }
            Call::IsPersistent(c) => {
                let domain = self.domain(&c.instance)?;
                issued::libvirt("virDomainIsPersistent".to_owned());
                Reply::IsPersistent(domain.is_persistent().map_err(|e| failure(&e))?)
            }
            Call::XmlDesc(c) => {
                let flags = if c.inactive { sys::VIR_DOMAIN_XML_INACTIVE } else { 0 };
                let domain = self.domain(&c.instance)?;
                issued::libvirt(format!("virDomainGetXMLDesc flags={flags:#x}"));
                let xml = domain.xml_desc(flags).map_err(|e| failure(&e))?;
                Reply::XmlDesc(domain_xml::disks(&xml).map_err(|e| Refusal::Os {
                    path: format!("XML of domain {}", c.instance),
                    message: e.to_string(),
                })?)
            }
            Call::BlockStats(c) => {
                let domain = self.domain(&c.instance)?;
                issued::libvirt("virDomainBlockStats".to_owned());
                let stats = domain.block_stats(&c.target_dev);
                Reply::BlockStats(stats.map(drop).map_err(|e| failure(&e))?)
            }
            Call::AttachDeviceFlags(c) => {
                let domain = self.domain(&c.instance)?;
                let flags = impact(c.config, c.live);
                issued::libvirt(format!("virDomainAttachDeviceFlags flags={flags:#x}"));
                let attached = domain.attach_device_flags(&c.disk.to_xml(), flags);
                Reply::AttachDeviceFlags(attached.map(drop).map_err(|e| failure(&e))?)
            }
            Call::DetachDeviceFlags(c) => {
                let domain = self.domain(&c.instance)?;
                let flags = impact(c.config, c.live);
                issued::libvirt(format!("virDomainDetachDeviceFlags flags={flags:#x}"));
                let detached = domain.detach_device_flags(&c.disk.to_xml(), flags);
                Reply::DetachDeviceFlags(detached.map(drop).map_err(|e| failure(&e))?)
            }
            Call::SecretLookupByUsage(c) => {
                let usage = sys::VIR_SECRET_USAGE_TYPE_VOLUME as i32;
                let (connect, _) = self.connection()?;
                issued::libvirt("virSecretLookupByUsage".to_owned());
                let secret = connect.lookup_secret_by_usage(usage, c.volume_id.as_str());
                Reply::SecretLookupByUsage(secret.map(drop).map_err(|e| failure(&e))?)
            }
            // Nobody named a domain that may be stopped, made or forgotten, or a secret.
            Call::Suspend(_)
            | Call::Resume(_)
            | Call::ManagedSave(_)
            | Call::Shutdown(_)
            | Call::Destroy(_)
            | Call::Undefine(_)
            | Call::DefineXml(_)
            | Call::Create(_)
            | Call::SecretDefine(_)
            | Call::SecretUndefine(_)
            | Call::CleanupWaiters(_) => {
                return Err(Refusal::Unsupported { operation: call.name().to_owned() }.into());
            }
            Call::CreateWaiter(_) | Call::WaitForEvent(_) | Call::DeleteWaiter(_) => {
                unreachable!("waiters do not block: `call` has answered")
            }
        })
    }

    /// The domain's handle, looked up if it has not been.
    fn domain(&self, instance: &InstanceId) -> Result<Domain, Failure> {
        let (connect, generation) = self.connection()?;
        let known = self.lock().domains.get(instance).cloned();
        match known {
            Some(domain) => Ok(domain),
            None => self.look_up(&connect, generation, instance),
        }
    }

    fn look_up(
        &self,
        connect: &Connect,
        generation: u32,
        instance: &InstanceId,
    ) -> Result<Domain, Failure> {
        issued::libvirt("virDomainLookupByUUIDString".to_owned());
        let found = connect.lookup_domain_by_uuid_string(instance.as_str());
        let domain = found.map_err(|e| failure(&e))?;
        let mut link = self.lock();
        if link.generation == generation {
            link.domains.insert(instance.clone(), domain.clone());
        }
        Ok(domain)
    }

    /// The connection; a new one with its events when the old one broke (libvirtd restarted).
    fn connection(&self) -> Result<(Connect, u32), Failure> {
        let mut link = self.lock();
        // For the remote driver this looks at the socket's state and sends nothing.
        if !link.connect.is_alive().unwrap_or(false) {
            // The old one stays until there is a new one: it fails at once, and is asked again.
            *link = open(&self.uri, &self.waiters, link.generation + 1)
                .map_err(|_| Failure::Unreachable { system: SYSTEM.to_owned() })?;
        }
        Ok((link.connect.clone(), link.generation))
    }

    fn lock(&self) -> MutexGuard<'_, Link> {
        // A link is replaced whole.
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The UUID of the domain that has this name, or this UUID.
pub(crate) fn find_domain(uri: &str, domain: &str) -> Result<InstanceId, RealError> {
    no_zero_byte("URI", uri)?;
    no_zero_byte("domain", domain)?;
    start_loop()?;
    let connect = Connect::open(Some(uri)).map_err(|e| unreachable_at(uri, &e))?;
    let by_name = connect.lookup_domain_by_name(domain);
    let found = match by_name {
        Ok(found) => Ok(found),
        Err(e) => connect.lookup_domain_by_uuid_string(domain).map_err(|_| e),
    };
    match found.and_then(|d| d.uuid_string()) {
        Ok(uuid) => Ok(InstanceId::new(uuid)),
        Err(e) => {
            let (domain, uri) = (domain.to_owned(), uri.to_owned());
            Err(RealError::NoDomain { domain, uri, message: e.message().to_owned() })
        }
    }
}

/// The C library would not see what comes after it, and crate `virt` panics on it.
fn no_zero_byte(what: &'static str, value: &str) -> Result<(), RealError> {
    if value.contains('\0') {
        let needed = "no zero byte in it";
        return Err(RealError::BadName { what, value: value.to_owned(), needed });
    }
    Ok(())
}

fn open(uri: &str, waiters: &Arc<Waiters>, generation: u32) -> Result<Link, Error> {
    let connect = Connect::open(Some(uri))?;
    let events = Subscription::new(&connect, waiters)?;
    Ok(Link { domains: BTreeMap::new(), _events: events, connect, generation })
}

fn unreachable_at(uri: &str, e: &Error) -> RealError {
    RealError::LibvirtUnreachable { uri: uri.to_owned(), message: e.message().to_owned() }
}

/// VIR_DOMAIN_AFFECT_*; neither is the domain's current state.
fn impact(config: bool, live: bool) -> u32 {
    let config = if config { sys::VIR_DOMAIN_AFFECT_CONFIG } else { 0 };
    let live = if live { sys::VIR_DOMAIN_AFFECT_LIVE } else { 0 };
    config | live
}

/// virDomainState as nova maps it (`LIBVIRT_POWER_STATE`). Being shut down counts as shut down
/// there. NOSTATE and PMSUSPENDED are states of their own in nova; detach only asks whether the
/// guest is running or paused, and neither is, so they are given as shut down.
fn power_state(state: sys::virDomainState) -> PowerState {
    match state {
        sys::VIR_DOMAIN_RUNNING | sys::VIR_DOMAIN_BLOCKED => PowerState::Running,
        sys::VIR_DOMAIN_PAUSED => PowerState::Paused,
        sys::VIR_DOMAIN_CRASHED => PowerState::Crashed,
        _ => PowerState::Shutdown,
    }
}

#[cfg(test)]
mod tests {
    use castoff_ports::libvirt::{
        DetachDeviceFlags, GetInfo, GuestDisk, IsPersistent, LookupByUuid, XmlDesc, error,
    };

    use super::*;

    /// libvirt's own mock driver: real library, real errors, no daemon.
    const URI: &str = "test:///default";
    const TEST_DOMAIN: &str = "6695eb01-f6a4-8304-79aa-97f2502e193f";
    const NO_DOMAIN: &str = "00000000-0000-0000-0000-000000000001";

    fn run(call: Call) -> Result<Reply, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let hypervisor = Arc::new(Hypervisor::connect(URI).unwrap());
        runtime.block_on(hypervisor.call(call))
    }

    #[test]
    fn a_domain_is_looked_up_by_uuid_and_tells_its_state() {
        let instance = InstanceId::new(TEST_DOMAIN);
        let lookup = Call::LookupByUuid(LookupByUuid { instance: instance.clone() });
        assert_eq!(run(lookup), Ok(Reply::LookupByUuid(())));
        let info = Call::GetInfo(GetInfo { instance: instance.clone() });
        assert_eq!(run(info), Ok(Reply::GetInfo(PowerState::Running)));
        let persistent = Call::IsPersistent(IsPersistent { instance: instance.clone() });
        assert_eq!(run(persistent), Ok(Reply::IsPersistent(true)));
        let xml = Call::XmlDesc(XmlDesc { instance, inactive: true });
        let Ok(Reply::XmlDesc(disks)) = run(xml) else {
            panic!("no disks");
        };
        assert!(disks.iter().all(|d| d.target_dev.starts_with("vd")), "{disks:?}");
    }

    #[test]
    fn a_domain_that_is_not_there_is_refused_with_libvirts_own_number() {
        let instance = InstanceId::new(NO_DOMAIN);
        for call in [
            Call::LookupByUuid(LookupByUuid { instance: instance.clone() }),
            Call::GetInfo(GetInfo { instance }),
        ] {
            let failure = run(call).unwrap_err();
            assert_eq!(failure.libvirt().map(|(code, _)| code), Some(error::NO_DOMAIN));
        }
    }

    #[test]
    fn a_disk_that_cannot_be_detached_is_refused_with_libvirts_message() {
        let disk = GuestDisk {
            target_dev: "vdb".to_owned(),
            source_dev: "/dev/sdb".to_owned(),
            serial: None,
            alias: None,
        };
        let instance = InstanceId::new(TEST_DOMAIN);
        let call = DetachDeviceFlags { instance, disk, config: true, live: true };
        let failure = run(Call::DetachDeviceFlags(call)).unwrap_err();
        let (code, message) = failure.libvirt().expect("libvirt has answered");
        assert!(code > 0 && !message.is_empty(), "{failure}");
    }

    #[test]
    fn a_domain_is_found_by_name_and_by_uuid() {
        assert_eq!(find_domain(URI, "test"), Ok(TEST_DOMAIN.into()));
        assert_eq!(find_domain(URI, &TEST_DOMAIN.to_uppercase()), Ok(TEST_DOMAIN.into()));
        let error = find_domain(URI, "nobody").unwrap_err();
        assert!(matches!(error, RealError::NoDomain { .. }), "{error}");
        assert!(find_domain(URI, "a\0b").is_err());
    }

    #[test]
    fn a_libvirt_that_is_not_there_is_an_error_that_says_what_to_do() {
        let error = Hypervisor::connect("qemu+unix:///system?socket=/no/such/socket").err();
        let text = error.expect("no such socket").to_string();
        assert!(
            text.contains("systemctl start libvirtd") && text.contains("/no/such/socket"),
            "{text}"
        );
    }

    #[test]
    fn the_flags_are_libvirts() {
        assert_eq!([impact(false, false), impact(false, true), impact(true, false)], [0, 1, 2]);
        assert_eq!(impact(true, true), 3);
    }

    #[test]
    fn only_running_and_paused_guests_are_live() {
        use PowerState::{Crashed, Paused, Running, Shutdown};
        let states: Vec<_> = (0..8).map(power_state).collect();
        assert_eq!(
            states,
            [Shutdown, Running, Running, Paused, Shutdown, Shutdown, Crashed, Shutdown]
        );
    }
}
