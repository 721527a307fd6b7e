//! The one entry to the real host: the call's way to its adapter, deadlines.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use castoff_ports::{
    Call, CallCx, Failure, InstanceId, Process, Refusal, Reply, SimTime, host, libvirt, runtime,
};

use crate::command::errno_text;
use crate::guard::Guard;
use crate::hypervisor::{Hypervisor, find_domain};
use crate::issued;
use crate::journal::Journal;
use crate::locks::Locks;
use crate::sysfs::Sysfs;
use crate::timing::{Timing, Timings};
use crate::{RealConfig, RealError, initiator, kernel, prerequisites};

/// How often, and how long apart, the host is asked whether a disk that a guest gets is made.
const LOOKS_FOR_A_DISK: u32 = 20;
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// libvirt, open-iscsi and the kernel of this host.
///
/// It belongs to one thread: a tokio `current_thread` runtime with I/O and time enabled.
pub struct RealHost {
    hypervisor: Arc<Hypervisor>,
    pub(crate) guard: Guard,
    pub(crate) sysfs: Sysfs,
    locks: Locks,
    journal: Journal,
    pub(crate) command_timeout: Duration,
    started: Instant,
    timings: RefCell<Timings>,
}

impl RealHost {
    /// Connects to libvirt and checks that the host has the commands that every run needs.
    pub fn connect(config: RealConfig) -> Result<RealHost, RealError> {
        config.check()?;
        prerequisites::commands()?;
        let lock_path = config.lock_path;
        if let Err(e) = std::fs::create_dir_all(&lock_path) {
            return Err(RealError::LockDirectory { path: lock_path, message: errno_text(&e) });
        }
        let journal = Journal::new(lock_path.join("journal"));
        let guard = Guard { domains: config.domains, targets: config.targets };
        let hypervisor = Arc::new(Hypervisor::connect(&config.uri)?);
        let (sysfs, locks) = (Sysfs::of_this_host(), Locks::new(lock_path));
        let (command_timeout, started) = (config.command_timeout, Instant::now());
        let timings = RefCell::default();
        Ok(RealHost { hypervisor, guard, sysfs, locks, journal, command_timeout, started, timings })
    }

    /// The UUID of the domain with this name, or with this UUID, at a libvirt URI: what goes into
    /// [`RealConfig::domains`].
    pub fn domain_by_name(uri: &str, domain: &str) -> Result<InstanceId, RealError> {
        find_domain(uri, domain)
    }

    /// Carries out one operation of libvirt, open-iscsi, the kernel or the runtime; refuses what
    /// was not named before anything runs, and every other system's operations.
    ///
    /// After the caller's deadline (on the clock of [`RealHost::now`]) it answers
    /// [`Failure::NoReply`]. A command is told to end then, as at os-brick's own limit; a call of
    /// libvirt cannot be, and goes on.
    pub async fn call(&self, cx: &CallCx, call: Call) -> Result<Reply, Failure> {
        let (operation, text) = (call.name(), call.describe());
        let started = self.now();
        let result = self.carry_out(cx, call).await;
        let took = self.now() - started;
        self.timings.borrow_mut().record(operation, text, started, took, &result);
        result
    }

    /// The time now, since the host was connected.
    pub fn now(&self) -> SimTime {
        SimTime::ZERO + self.started.elapsed()
    }

    /// The operations so far, in the order in which they ended.
    pub fn timings(&self) -> Vec<Timing> {
        self.timings.borrow().all().to_vec()
    }

    /// The calls of libvirt and the commands that this process has issued since then, in order:
    /// `virDomainGetXMLDesc flags=0x2`, or a command line without passwords.
    pub fn issued(&self, since: SimTime) -> Vec<(SimTime, String)> {
        let at = |instant: Instant| SimTime::ZERO + instant.saturating_duration_since(self.started);
        let begin = self.started + since.since_start();
        issued::since(begin).into_iter().map(|(i, text)| (at(i), text)).collect()
    }

    /// Gives back the locks that a process held when it died: the binding's `crash` calls it.
    pub fn release_locks(&self, process: Process, incarnation: u32) {
        self.locks.release(process, incarnation);
    }

    /// Waits for a disk that a scan has just found, for a second at most: the guard would refuse one
    /// that is half made. What is there or not after that the guard judges.
    async fn until_made(&self, source: &Path) {
        for _ in 0..LOOKS_FOR_A_DISK {
            if self.sysfs.is_made(source) {
                return;
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }

    /// `call` without a note of its time: for castoff's own looks at the host.
    pub(crate) async fn carry_out(&self, cx: &CallCx, call: Call) -> Result<Reply, Failure> {
        if let Call::Libvirt(libvirt::Call::AttachDeviceFlags(a)) = &call {
            self.until_made(Path::new(&a.disk.source_dev)).await;
        }
        let left = cx.deadline.map(|d| d.since(self.now()));
        let limit = left.map_or(self.command_timeout, |left| left.min(self.command_timeout));
        match call {
            Call::Libvirt(c) => {
                self.guard.libvirt(&c, &self.sysfs)?;
                within(left, "libvirt", self.hypervisor.call(c)).await.map(Reply::Libvirt)
            }
            Call::Iscsi(c) => {
                self.guard.iscsi(&c)?;
                initiator::call(c, limit).await.map(Reply::Iscsi)
            }
            Call::Host(host::Call::JournalRead(_)) => {
                self.journal.read().map(|e| Reply::Host(host::Reply::JournalRead(e)))
            }
            Call::Host(host::Call::JournalWrite(c)) => {
                self.journal.write(&c.entry).map(|()| Reply::Host(host::Reply::JournalWrite(())))
            }
            Call::Host(host::Call::JournalRemove(c)) => {
                let removed = self.journal.remove(&c.volume_id, &c.instance);
                removed.map(|()| Reply::Host(host::Reply::JournalRemove(())))
            }
            Call::Host(c) => {
                let presence = self.guard.host(&c, &self.sysfs)?;
                kernel::call(c, presence, &self.sysfs, limit).await.map(Reply::Host)
            }
            Call::Runtime(c) => {
                within(left, "runtime", self.runtime(cx, c)).await.map(Reply::Runtime)
            }
            Call::Keystone(_)
            | Call::Nova(_)
            | Call::NovaDb(_)
            | Call::Rpc(_)
            | Call::Cinder(_) => {
                Err(Refusal::Unsupported { operation: call.name().to_owned() }.into())
            }
        }
    }

    async fn runtime(&self, cx: &CallCx, call: runtime::Call) -> Result<runtime::Reply, Failure> {
        match call {
            runtime::Call::Sleep(c) => {
                tokio::time::sleep(c.duration).await;
                Ok(runtime::Reply::Sleep(()))
            }
            runtime::Call::Lock(c) => {
                self.locks.lock(cx, &c.name, c.scope).await.map(runtime::Reply::Lock)
            }
            runtime::Call::Unlock(c) => {
                self.locks.unlock(&c.name, c.scope).map(runtime::Reply::Unlock)
            }
        }
    }
}

/// A call's result, or no reply once the time that is left has passed.
async fn within<T>(
    left: Option<Duration>,
    system: &str,
    call: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match left {
        None => call.await,
        Some(left) => match tokio::time::timeout(left, call).await {
            Ok(result) => result,
            Err(_) => Err(Failure::NoReply { system: system.to_owned() }),
        },
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use castoff_ports::cinder::BeginDetaching;
    use castoff_ports::host::DeleteDevice;
    use castoff_ports::iscsi::{NodeUpdate, NodeValue};
    use castoff_ports::libvirt::GetInfo;
    use castoff_ports::runtime::{Lock, LockScope, Sleep};
    use castoff_ports::{Operation as _, RequestId, Secret};

    use super::*;
    use crate::sysfs::fake;

    pub(crate) const IQN: &str = "iqn.2010-10.org.openstack:volume-1";
    const TEST_DOMAIN: &str = "6695eb01-f6a4-8304-79aa-97f2502e193f";

    /// libvirt's mock driver and a directory for a host.
    pub(crate) fn on(machine: &fake::Host) -> RealHost {
        RealHost {
            hypervisor: Arc::new(Hypervisor::connect("test:///default").unwrap()),
            guard: Guard {
                domains: vec![TEST_DOMAIN.into()],
                targets: vec![("10.0.0.1:3260".into(), IQN.into())],
            },
            sysfs: machine.sysfs(),
            locks: Locks::new(machine.root().to_owned()),
            journal: Journal::new(machine.root().join("journal")),
            command_timeout: Duration::from_secs(30),
            started: Instant::now(),
            timings: RefCell::default(),
        }
    }

    pub(crate) fn run<T>(f: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(f)
    }

    fn cx(deadline: Option<SimTime>) -> CallCx {
        CallCx {
            process: Process::NovaCompute,
            incarnation: 0,
            request: RequestId(1),
            auth: castoff_ports::Auth::default(),
            deadline,
        }
    }

    #[test]
    fn a_call_on_something_that_was_not_named_has_no_effect() {
        let machine = fake::Host::new();
        machine.session(1, "10.0.0.9", IQN);
        machine.disk(1, 1, "sdb");
        let host = on(&machine);
        let delete = DeleteDevice { device: "sdb".into() }.into_call();
        let refused = run(host.call(&cx(None), delete)).unwrap_err();
        assert!(matches!(refused, Failure::Refused(Refusal::Os { .. })), "{refused}");
        let attribute = machine.root().join("sys/block/sdb/device/delete");
        assert_eq!(std::fs::read_to_string(attribute).unwrap(), "");
        let info = GetInfo { instance: "another".into() }.into_call();
        assert!(run(host.call(&cx(None), info)).is_err());
    }

    #[test]
    fn a_step_is_timed_with_its_exit_code() {
        let machine = fake::Host::new();
        machine.session(1, "10.0.0.1", IQN);
        machine.disk(1, 1, "sdb");
        let host = on(&machine);
        run(async {
            let delete = DeleteDevice { device: "sdb".into() }.into_call();
            host.call(&cx(None), delete).await.unwrap();
            let nap = Duration::from_millis(20);
            host.call(&cx(None), Sleep { duration: nap }.into_call()).await.unwrap();
        });
        let timings = host.timings();
        assert_eq!(timings.len(), 2);
        assert_eq!(timings[0].operation, "host::DeleteDevice");
        assert_eq!(timings[0].text, "tee -a /sys/block/sdb/device/delete <<< 1");
        assert_eq!((timings[0].ok, timings[0].exit), (true, Some(0)));
        assert!(timings[1].took >= Duration::from_millis(20) && timings[1].exit.is_none());
        assert!(timings[1].started >= timings[0].started);
    }

    #[test]
    fn a_chap_password_is_in_no_timing() {
        let machine = fake::Host::new();
        let host = on(&machine);
        // Another target's record: refused, and timed all the same.
        let update = NodeUpdate {
            iqn: "iqn.other".into(),
            portal: "10.0.0.1:3260".into(),
            name: "node.session.auth.password".to_owned(),
            value: NodeValue::Secret(Secret::new("hush")),
        };
        let refused = run(host.call(&cx(None), update.into_call())).unwrap_err();
        let all = format!("{refused} {:?}", host.timings());
        assert!(all.contains("node.session.auth.password") && !all.contains("hush"), "{all}");
    }

    #[test]
    fn a_call_that_is_not_answered_by_the_callers_deadline_may_have_happened() {
        let machine = fake::Host::new();
        let host = on(&machine);
        let soon = Some(host.now() + Duration::from_millis(30));
        let sleep = Sleep { duration: Duration::from_secs(60) }.into_call();
        let late = run(host.call(&cx(soon), sleep));
        assert_eq!(late, Err(Failure::NoReply { system: "runtime".to_owned() }));
        assert!(!host.timings()[0].ok);
    }

    #[test]
    fn a_command_gets_no_more_time_than_the_caller_has_left() {
        let machine = fake::Host::new();
        machine.session(1, "10.0.0.1", IQN);
        machine.disk(1, 1, "sdb");
        let attribute = machine.root().join("sys/block/sdb/device/delete");
        // A pipe that nobody reads: tee waits in open(2) for ever.
        std::fs::remove_file(&attribute).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&attribute).status().unwrap();
        assert!(made.success());
        let host = on(&machine);
        let soon = Some(host.now() + Duration::from_millis(50));
        let delete = DeleteDevice { device: "sdb".into() }.into_call();
        let late = run(host.call(&cx(soon), delete));
        assert_eq!(late, Err(Failure::NoReply { system: "host".to_owned() }));
        assert!(host.timings()[0].took < host.command_timeout);
    }

    #[test]
    fn a_crashed_processs_lock_is_free_again() {
        let machine = fake::Host::new();
        let host = on(&machine);
        let lock =
            || Lock { name: "connect_volume".to_owned(), scope: LockScope::External }.into_call();
        run(async {
            host.call(&cx(None), lock()).await.unwrap();
            host.release_locks(Process::NovaCompute, 0);
            host.call(&cx(None), lock()).await.unwrap();
        });
    }

    #[test]
    fn other_systems_operations_are_not_supported() {
        let machine = fake::Host::new();
        let call = BeginDetaching { volume_id: "v1".into() }.into_call();
        let refusal = Refusal::Unsupported { operation: "cinder::BeginDetaching".to_owned() };
        assert_eq!(run(on(&machine).call(&cx(None), call)), Err(refusal.into()));
    }
}
