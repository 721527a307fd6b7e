//! Replays what nova's own code did to a scripted guest: the order of XMLDesc, detach, sleep and
//! wait, the number of requests, the outcome and the end time.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like the tests do")]

#[path = "support/cloud.rs"]
mod cloud;
mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use castoff_pipeline::compute::block_device::convert_volume;
use castoff_pipeline::{Context, NovaError, Policy};
use castoff_ports::cinder;
use castoff_ports::host::{self};
use castoff_ports::iscsi::{self, CommandOutput};
use castoff_ports::libvirt::{self, DeviceEvent, GuestDisk, PowerState, WaiterId, error};
use castoff_ports::runtime;
use castoff_ports::{Call, CallCx, Failure, InstanceId, Process, Refusal, Reply, SimTime};
use cloud::{bdm, disk};
use serde_json::{Value, json};
use support::{Outside, Scripted, golden, port, process, run, seconds};

/// QEMU's answer to a second `device_del`.
#[derive(PartialEq)]
enum Qemu {
    Old,
    Aborts,
    Refuses,
}

enum Pending {
    No,
    Until(SimTime),
    /// Nothing will ever come of it.
    Forever,
}

struct Guest {
    release: Option<Duration>,
    qemu: Qemu,
    refuse: bool,
    event_lost: bool,
    is_persistent: bool,
    running: bool,
    in_config: bool,
    in_live: bool,
    xml_fail: BTreeSet<u64>,
    sync: Value,
    device_missing: bool,
    pending: Pending,
    event: Option<DeviceEvent>,
    xml_calls: u64,
    requests: u64,
    host_disconnects: u32,
    rolled_back: u32,
    trace: Vec<Value>,
}

const NEVER_S: f64 = 1e8;

impl Guest {
    fn new(params: &Value, policy: &Policy) -> Guest {
        let flag = |key: &str, default: bool| params[key].as_bool().unwrap_or(default);
        let release = params["release"].as_f64().filter(|s| *s < NEVER_S);
        let running = flag("live", true);
        Guest {
            release: release.map(Duration::from_secs_f64),
            qemu: match params["qemu"].as_str().unwrap() {
                "old" => Qemu::Old,
                "4.2" => Qemu::Aborts,
                "5" => Qemu::Refuses,
                other => panic!("qemu {other}"),
            },
            refuse: flag("refuse", false),
            event_lost: !flag("event", true),
            is_persistent: flag("persistent", true),
            running,
            in_config: flag("start_p", true),
            in_live: flag("start_l", running),
            xml_fail: params["xml_fail"]
                .as_array()
                .map(|l| l.iter().map(|n| n.as_u64().unwrap()).collect())
                .unwrap_or_default(),
            sync: params["sync"].clone(),
            device_missing: policy.device_missing_error,
            pending: Pending::No,
            event: None,
            xml_calls: 0,
            requests: 0,
            host_disconnects: 0,
            rolled_back: 0,
            trace: vec![],
        }
    }

    /// Lets the guest answer if it is time to.
    fn advance(&mut self, now: SimTime) {
        let Pending::Until(at) = self.pending else { return };
        if at > now {
            return;
        }
        self.pending = Pending::No;
        let (event, name) = if self.refuse {
            (DeviceEvent::RemovalFailed, "DEVICE_REMOVAL_FAILED")
        } else {
            self.in_live = false;
            (DeviceEvent::Removed, "DEVICE_REMOVED")
        };
        self.event = (!self.event_lost).then_some(event);
        self.trace.push(json!([seconds(at), "guest", name]));
    }

    fn xml(&mut self, now: SimTime, inactive: bool) -> Result<Vec<GuestDisk>, Refusal> {
        self.xml_calls += 1;
        let config = if inactive { "inactive" } else { "live" };
        let mut note = |what: &str| self.trace.push(json!([seconds(now), "XMLDesc", config, what]));
        if self.xml_fail.contains(&self.xml_calls) {
            note("ERROR");
            return Err(Refusal::libvirt(error::INTERNAL_ERROR, "connection lost"));
        }
        // Of a domain that is not running, the current XML is the persistent one.
        let present = if inactive || !self.running { self.in_config } else { self.in_live };
        note(if present { "present" } else { "absent" });
        Ok(if present { vec![disk()] } else { vec![] })
    }

    fn detach(&mut self, now: SimTime, config: bool, live: bool) -> Result<(), Refusal> {
        self.requests += 1;
        let result = self.detach_effect(now, config, live);
        let flags: Vec<&str> =
            [(config, "CONFIG"), (live, "LIVE")].iter().filter(|f| f.0).map(|f| f.1).collect();
        let t = seconds(now);
        self.trace.push(match &result {
            Ok(()) => json!([t, "detachDeviceFlags", flags, "ok"]),
            Err(Refusal::Libvirt { code, message, .. }) => {
                json!([t, "detachDeviceFlags", flags, "error", code, message])
            }
            Err(other) => panic!("{other}"),
        });
        result
    }

    fn detach_effect(&mut self, now: SimTime, config: bool, live: bool) -> Result<(), Refusal> {
        let injected = &self.sync[self.requests.to_string()];
        if let (Some(code), Some(message)) = (injected[0].as_i64(), injected[1].as_str()) {
            return Err(Refusal::libvirt(code as i32, message));
        }
        if config && !self.in_config {
            let text = "invalid argument: no target device vdb";
            return Err(Refusal::libvirt(error::INVALID_ARG, text));
        }
        if live && !self.in_live {
            let code =
                if self.device_missing { error::DEVICE_MISSING } else { error::OPERATION_FAILED };
            return Err(Refusal::libvirt(code, "disk vdb not found"));
        }
        if config {
            self.in_config = false;
        }
        if !live {
            return Ok(());
        }
        match (&self.pending, &self.qemu) {
            (Pending::No, _) => {
                self.pending = match self.release {
                    Some(after) => Pending::Until(now + after),
                    None => Pending::Forever,
                };
                Ok(())
            }
            (_, Qemu::Old) => Ok(()),
            (_, Qemu::Aborts) => {
                self.pending = Pending::Forever;
                Ok(())
            }
            (_, Qemu::Refuses) => Err(Refusal::libvirt(
                error::INTERNAL_ERROR,
                "internal error: unable to execute QEMU command 'device_del': Device virtio-disk1 \
                 is already in the process of unplug",
            )),
        }
    }

    fn wait(&mut self, now: &mut SimTime, timeout: Duration) -> Option<DeviceEvent> {
        let end = *now + timeout;
        let until = match self.pending {
            Pending::Until(at) if at <= end && !self.event_lost => at,
            _ => end,
        };
        *now = until;
        self.advance(until);
        let event = self.event.take();
        let what = match event {
            Some(DeviceEvent::Removed) => "DEVICE_REMOVED",
            Some(DeviceEvent::RemovalFailed) => "DEVICE_REMOVAL_FAILED",
            None => "timeout",
        };
        self.trace.push(json!([seconds(until), "wait", timeout.as_secs(), what]));
        event
    }

    fn libvirt(
        &mut self,
        now: &mut SimTime,
        call: libvirt::Call,
    ) -> Result<libvirt::Reply, Refusal> {
        use libvirt::{Call, Reply};
        Ok(match call {
            Call::LookupByUuid(_) => Reply::LookupByUuid(()),
            Call::GetInfo(_) if self.running => Reply::GetInfo(PowerState::Running),
            Call::GetInfo(_) => Reply::GetInfo(PowerState::Shutdown),
            Call::IsPersistent(_) => Reply::IsPersistent(self.is_persistent),
            Call::XmlDesc(c) => Reply::XmlDesc(self.xml(*now, c.inactive)?),
            Call::DetachDeviceFlags(c) => {
                Reply::DetachDeviceFlags(self.detach(*now, c.config, c.live)?)
            }
            Call::CreateWaiter(_) => {
                self.event = None;
                self.trace.push(json!([seconds(*now), "create_waiter"]));
                Reply::CreateWaiter(WaiterId(1))
            }
            Call::WaitForEvent(c) => Reply::WaitForEvent(self.wait(now, c.timeout)),
            Call::DeleteWaiter(_) => Reply::DeleteWaiter(()),
            Call::SecretLookupByUsage(_) => {
                return Err(Refusal::libvirt(error::NO_SECRET, "Secret not found"));
            }
            other => panic!("a detach does not call {}", other.name()),
        })
    }
}

impl Outside for Guest {
    fn call(&mut self, now: &mut SimTime, _cx: &CallCx, call: Call) -> Result<Reply, Failure> {
        self.advance(*now);
        Ok(match call {
            Call::Libvirt(c) => Reply::Libvirt(self.libvirt(now, c)?),
            Call::Runtime(runtime::Call::Sleep(c)) => {
                self.trace.push(json!([seconds(*now), "sleep", c.duration.as_secs()]));
                *now = *now + c.duration;
                self.advance(*now);
                Reply::Runtime(runtime::Reply::Sleep(()))
            }
            Call::Runtime(runtime::Call::Lock(_)) => {
                self.host_disconnects += 1;
                Reply::Runtime(runtime::Reply::Lock(()))
            }
            Call::Runtime(runtime::Call::Unlock(_)) => Reply::Runtime(runtime::Reply::Unlock(())),
            Call::Cinder(cinder::Call::RollDetaching(_)) => {
                self.rolled_back += 1;
                Reply::Cinder(cinder::Reply::RollDetaching(()))
            }
            // The host has nothing of the volume.
            Call::Iscsi(c) => Reply::Iscsi(match c {
                iscsi::Call::Discoverydb(_) => iscsi::Reply::Discoverydb(CommandOutput::ok()),
                iscsi::Call::Nodes(_) => iscsi::Reply::Nodes(CommandOutput::failed(21, "")),
                iscsi::Call::Sessions(_) => iscsi::Reply::Sessions(CommandOutput::failed(21, "")),
                iscsi::Call::NodeUpdate(_) => iscsi::Reply::NodeUpdate(CommandOutput::ok()),
                iscsi::Call::Logout(_) => iscsi::Reply::Logout(CommandOutput::ok()),
                iscsi::Call::NodeDelete(_) => iscsi::Reply::NodeDelete(CommandOutput::ok()),
                other => panic!("{}", other.describe()),
            }),
            Call::Host(host::Call::RealPath(c)) => {
                Reply::Host(host::Reply::RealPath(format!("/dev/disk/by-path/{}", c.by_path)))
            }
            Call::Host(host::Call::ListByPath(_)) => Reply::Host(host::Reply::ListByPath(vec![])),
            other => panic!("driver_detach does not call {}", other.name()),
        })
    }
}

/// What happened, in the recorder's words.
fn outcome(guest: &Guest, result: &Result<(), NovaError>) -> String {
    match (result, guest.host_disconnects, guest.rolled_back) {
        (Ok(()), 0, 0) => {
            "DiskNotFound -> host disconnect SKIPPED, cinder terminate+detach run, BDM destroyed"
                .to_owned()
        }
        (Ok(()), 1, 0) if guest.requests == 0 => {
            "DeviceNotFound -> host disconnect runs".to_owned()
        }
        (Ok(()), 1, 0) => "unplugged -> host disconnect".to_owned(),
        (Err(NovaError::Libvirt(Refusal::Libvirt { message, .. })), 0, 1) => {
            format!("libvirtError({message}) -> roll_detaching")
        }
        (Err(e), 0, 1) => format!("{} -> roll_detaching", e.class_name()),
        other => panic!("unforeseen end: {other:?}"),
    }
}

#[test]
fn every_recorded_unplug_is_repeated_call_by_call() {
    let cases = golden("unplug");
    assert!(cases.len() >= 30, "only {} cases", cases.len());
    for case in cases {
        let name = case["policy"].as_str().unwrap();
        let label = format!("{} ({name})", case["name"].as_str().unwrap());
        let policy = Policy::named(name).unwrap();
        let binding = Scripted::new(Guest::new(&case["params"], &policy));
        let port = port(&binding, Process::NovaCompute);
        let process = process(policy);
        let cx = Context::new(&process, &port);
        let instance = InstanceId::new("i1");
        let result = run(convert_volume(bdm(None)).driver_detach(
            &cx,
            &instance,
            castoff_ports::journal::JournalStep::Unplugging,
        ));

        let guest = binding.outside.borrow();
        assert_eq!(json!(guest.trace), case["trace"], "{label}");
        assert_eq!(outcome(&guest, &result), case["outcome"].as_str().unwrap(), "{label}");
        assert_eq!(json!(seconds(port.now())), case["t_end"], "{label}");
        assert_eq!(json!(guest.requests), case["requests"], "{label}");
        assert_eq!(json!(guest.in_live), case["live_after"], "{label}");
        assert_eq!(json!(guest.in_config), case["persistent_after"], "{label}");
    }
}
