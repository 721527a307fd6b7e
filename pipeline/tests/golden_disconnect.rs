//! Replays what os-brick's own connectors did to a scripted host: commands and their order,
//! sleeps, locks, outcome, end time and what is left.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like the tests do")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use castoff_pipeline::brick::connector::disconnect_volume;
use castoff_pipeline::{Context, Policy};
use castoff_ports::cinder::IscsiData;
use castoff_ports::host::{self, ScsiDevice};
use castoff_ports::iscsi::{self, CommandOutput};
use castoff_ports::runtime::{self, LockScope};
use castoff_ports::{Call, CallCx, Failure, Hctl, Lun, Process, Reply, Sid, SimTime};
use serde_json::{Value, json};
use support::{Outside, Scripted, golden, kept_divergence, port, process, run, seconds};

struct Device {
    sid: u32,
    lun: u32,
    volume: String,
    /// When it goes, once it has been deleted.
    gone_at: Option<SimTime>,
}

struct Fault {
    pattern: String,
    /// Left outputs; the last one stays for ever when `endless`.
    outputs: Vec<CommandOutput>,
    endless: bool,
}

struct Host {
    sessions: BTreeMap<u32, (String, String)>,
    nodes: BTreeSet<(String, String)>,
    devices: BTreeMap<String, Device>,
    linger: BTreeMap<String, f64>,
    faults: Vec<Fault>,
    trace: Vec<Value>,
    ignored: Vec<String>,
}

fn text(v: &Value) -> String {
    v.as_str().unwrap().to_owned()
}

impl Host {
    fn new(host: &Value, ignored: Vec<String>) -> Host {
        let list = |key: &str| host[key].as_array().cloned().unwrap_or_default();
        let sessions: BTreeMap<u32, (String, String)> = list("sessions")
            .iter()
            .map(|s| (s[0].as_u64().unwrap() as u32, (text(&s[1]), text(&s[2]))))
            .collect();
        let nodes = match host["nodes"].as_array() {
            Some(nodes) => nodes.iter().map(|n| (text(&n[0]), text(&n[1]))).collect(),
            None => sessions.values().cloned().collect(),
        };
        let devices = list("devs")
            .iter()
            .map(|d| {
                let (sid, lun) = (d[1].as_u64().unwrap() as u32, d[2].as_u64().unwrap() as u32);
                (text(&d[0]), Device { sid, lun, volume: text(&d[3]), gone_at: None })
            })
            .collect();
        let object = |key: &str| host[key].as_object().cloned().unwrap_or_default();
        let linger = object("linger").into_iter().map(|(k, v)| (k, v.as_f64().unwrap())).collect();
        let faults = object("faults").iter().map(|(k, v)| fault(k, v)).collect();
        Host { sessions, nodes, devices, linger, faults, trace: vec![], ignored }
    }

    fn settle(&mut self, now: SimTime) {
        self.devices.retain(|_, d| d.gone_at.is_none_or(|at| at > now));
    }

    fn injected(&mut self, command: &str) -> Option<CommandOutput> {
        let fault = self.faults.iter_mut().find(|f| command.contains(&f.pattern))?;
        if fault.endless {
            return fault.outputs.last().cloned();
        }
        (!fault.outputs.is_empty()).then(|| fault.outputs.remove(0))
    }

    fn by_path(&self) -> impl Iterator<Item = (String, &str)> {
        self.devices.iter().filter_map(|(name, d)| {
            let (portal, iqn) = self.sessions.get(&d.sid)?;
            let link =
                host::by_path_name(&portal.as_str().into(), &iqn.as_str().into(), Lun(d.lun));
            Some((link, name.as_str()))
        })
    }

    fn effect(&mut self, now: SimTime, call: &Call) -> CommandOutput {
        let none = CommandOutput::failed(21, "");
        match call {
            Call::Iscsi(iscsi::Call::Discoverydb(_)) => {
                CommandOutput::with_stdout("SENDTARGETS:\nNo targets found.\niSNS:\n")
            }
            Call::Iscsi(iscsi::Call::Nodes(_)) if self.nodes.is_empty() => none,
            Call::Iscsi(iscsi::Call::Nodes(_)) => CommandOutput::with_stdout(
                self.nodes.iter().map(|(p, i)| format!("{p},1 {i}\n")).collect::<String>(),
            ),
            Call::Iscsi(iscsi::Call::Sessions(_)) if self.sessions.is_empty() => none,
            Call::Iscsi(iscsi::Call::Sessions(_)) => CommandOutput::with_stdout(
                self.sessions
                    .iter()
                    .map(|(sid, (p, i))| format!("tcp: [{sid}] {p},1 {i} (non-flash)\n"))
                    .collect::<String>(),
            ),
            Call::Iscsi(iscsi::Call::NodeUpdate(c)) => self.node(&c.portal.0, &c.iqn.0),
            Call::Iscsi(iscsi::Call::Logout(c)) => {
                let target = (c.portal.to_string(), c.iqn.to_string());
                let before = self.sessions.len();
                self.sessions.retain(|_, s| *s != target);
                let sessions = &self.sessions;
                self.devices.retain(|_, d| sessions.contains_key(&d.sid));
                if self.sessions.len() < before { CommandOutput::ok() } else { none }
            }
            Call::Iscsi(iscsi::Call::NodeDelete(c)) => {
                let out = self.node(&c.portal.0, &c.iqn.0);
                self.nodes.remove(&(c.portal.to_string(), c.iqn.to_string()));
                out
            }
            Call::Host(host::Call::FlushBufs(_)) => CommandOutput::ok(),
            Call::Host(host::Call::DeleteDevice(c)) => {
                let linger = self.linger.get(c.device.as_str()).copied().unwrap_or_default();
                let device = self.devices.get_mut(c.device.as_str()).unwrap();
                device.gone_at = Some(now + Duration::from_secs_f64(linger));
                self.settle(now);
                CommandOutput::ok()
            }
            Call::Host(host::Call::MultipathdShowStatus(_)) => CommandOutput::failed(1, "down"),
            other => panic!("no such command on this host: {}", other.describe()),
        }
    }

    fn node(&self, portal: &str, iqn: &str) -> CommandOutput {
        if self.nodes.contains(&(portal.to_owned(), iqn.to_owned())) {
            CommandOutput::ok()
        } else {
            CommandOutput::failed(21, "")
        }
    }

    fn exec(&mut self, now: SimTime, cx: &CallCx, call: &Call) -> CommandOutput {
        let command = call.describe();
        let out = match self.injected(&command) {
            Some(out) => out,
            None => self.effect(now, call),
        };
        let limit = cx.deadline.map(|d| d.since(now).as_secs());
        if !self.ignored.contains(&command) {
            self.trace.push(json!([seconds(now), "exec", command, out.exit, limit]));
        }
        out
    }
}

fn fault(pattern: &str, outputs: &Value) -> Fault {
    let mut endless = false;
    let outputs = outputs.as_array().unwrap().iter().map(|o| {
        let mut fields = o.as_array().unwrap().as_slice();
        if fields[0] == "inf" {
            endless = true;
            fields = &fields[1..];
        }
        let text = |n: usize| fields.get(n).map(text).unwrap_or_default();
        CommandOutput { exit: fields[0].as_i64().unwrap() as i32, stdout: text(1), stderr: text(2) }
    });
    let outputs = outputs.collect();
    Fault { pattern: pattern.to_owned(), outputs, endless }
}

impl Outside for Host {
    fn call(&mut self, now: &mut SimTime, cx: &CallCx, call: Call) -> Result<Reply, Failure> {
        self.settle(*now);
        let at = seconds(*now);
        Ok(match &call {
            Call::Runtime(runtime::Call::Sleep(c)) => {
                self.trace.push(json!([at, "sleep", c.duration.as_secs_f64()]));
                *now = *now + c.duration;
                self.settle(*now);
                Reply::Runtime(runtime::Reply::Sleep(()))
            }
            Call::Runtime(runtime::Call::Lock(c)) => {
                let kind = match c.scope {
                    LockScope::InProcess => "in-process",
                    LockScope::External => "external",
                };
                // The recorder shows the name before os-brick's prefix is put to it.
                let name = c.name.trim_start_matches("os-brick-");
                self.trace.push(json!([at, "lock", name, kind]));
                Reply::Runtime(runtime::Reply::Lock(()))
            }
            Call::Runtime(runtime::Call::Unlock(c)) => {
                let name = c.name.trim_start_matches("os-brick-");
                self.trace.push(json!([at, "unlock", name]));
                Reply::Runtime(runtime::Reply::Unlock(()))
            }
            Call::Host(host::Call::SessionDevices(c)) => {
                let Sid(sid) = c.sid;
                let devices = self.devices.iter().filter(|(_, d)| d.sid == sid).map(|(name, d)| {
                    let hctl = Hctl { host: sid, channel: 0, target: 0, lun: Lun(d.lun) };
                    ScsiDevice { name: name.as_str().into(), hctl }
                });
                Reply::Host(host::Reply::SessionDevices(devices.collect()))
            }
            Call::Host(host::Call::DeviceExists(c)) => {
                let exists = self.devices.contains_key(c.device.as_str());
                Reply::Host(host::Reply::DeviceExists(exists))
            }
            Call::Host(host::Call::RealPath(c)) => {
                let device = self.by_path().find(|(link, _)| *link == c.by_path);
                let path = match device {
                    Some((_, name)) => format!("/dev/{name}"),
                    None => format!("/dev/disk/by-path/{}", c.by_path),
                };
                Reply::Host(host::Reply::RealPath(path))
            }
            Call::Host(host::Call::ListByPath(c)) => {
                let links = self.by_path().map(|(l, _)| l).filter(|l| l.starts_with(&c.prefix));
                Reply::Host(host::Reply::ListByPath(links.collect()))
            }
            Call::Host(host::Call::MultipathHolder(_)) => {
                Reply::Host(host::Reply::MultipathHolder(None))
            }
            Call::Host(host::Call::UnlinkByIdLinks(_)) => {
                Reply::Host(host::Reply::UnlinkByIdLinks(()))
            }
            Call::Iscsi(c) => {
                let out = self.exec(*now, cx, &call);
                Reply::Iscsi(match c {
                    iscsi::Call::Discoverydb(_) => iscsi::Reply::Discoverydb(out),
                    iscsi::Call::Nodes(_) => iscsi::Reply::Nodes(out),
                    iscsi::Call::Sessions(_) => iscsi::Reply::Sessions(out),
                    iscsi::Call::NodeUpdate(_) => iscsi::Reply::NodeUpdate(out),
                    iscsi::Call::Logout(_) => iscsi::Reply::Logout(out),
                    iscsi::Call::NodeDelete(_) => iscsi::Reply::NodeDelete(out),
                    other => panic!("a disconnect does not {}", other.describe()),
                })
            }
            Call::Host(c) => {
                let out = self.exec(*now, cx, &call);
                Reply::Host(match c {
                    host::Call::FlushBufs(_) => host::Reply::FlushBufs(out),
                    host::Call::DeleteDevice(_) => host::Reply::DeleteDevice(out),
                    host::Call::MultipathdShowStatus(_) => host::Reply::MultipathdShowStatus(out),
                    other => panic!("a disconnect does not {}", other.describe()),
                })
            }
            other => panic!("os-brick does not call {}", other.name()),
        })
    }
}

fn data(props: &Value) -> IscsiData {
    IscsiData {
        target_portal: text(&props["target_portal"]).as_str().into(),
        target_iqn: text(&props["target_iqn"]).as_str().into(),
        target_lun: Lun(props["target_lun"].as_u64().unwrap() as u32),
        volume_id: text(&props["volume_id"]).as_str().into(),
        device_path: props["device_path"].as_str().map(str::to_owned),
        encrypted: false,
        auth: None,
    }
}

/// A recorded line in the form that our trace has: the limit of a command instead of its details.
fn recorded(line: &Value, ours: &Value) -> Value {
    let mut line = line.clone();
    if line[1] == "exec" {
        // Where nothing was recorded os-brick's own default holds, which is not in the trace.
        line[4] = match line[4]["timeout"].as_u64() {
            Some(limit) => json!(limit),
            None => ours[4].clone(),
        };
    }
    line
}

fn check(case: &Value) {
    let (name, policy) = (text(&case["name"]), text(&case["policy"]));
    let label = format!("{name} ({policy})");
    let ignored = ["multipathd show status"]
        .into_iter()
        .filter(|c| kept_divergence("disconnect", &name, &policy, c).is_some())
        .map(str::to_owned)
        .collect();
    let binding = Scripted::new(Host::new(&case["host"], ignored));
    let port = port(&binding, Process::NovaCompute);
    let process = process(Policy::named(&policy).unwrap());
    let cx = Context::new(&process, &port);
    let force = case["kw"]["force"] == true;
    let result = run(disconnect_volume(&cx, &data(&case["props"]), force));

    let outcome = match &result {
        Ok(()) => "ok",
        Err(e) => e.class_name(),
    };
    let expected = text(&case["outcome"]);
    assert_eq!(outcome, expected.split(':').next().unwrap(), "{label}: {result:?}");
    assert_eq!(json!(seconds(port.now())), case["t_end"], "{label}: end time");

    let host = binding.outside.borrow();
    let mut ours = host.trace.clone();
    let mut theirs = case["trace"].as_array().unwrap().clone();
    theirs.retain(|line| line[1] != "kernel");
    if result.is_err() {
        assert!(kept_divergence("disconnect", &name, &policy, "unlock after an error").is_some());
        assert_eq!(ours.pop().unwrap()[1], "unlock", "{label}: the lock is given back");
    }
    assert_eq!(ours.len(), theirs.len(), "{label}:\n{ours:#?}\n{theirs:#?}");
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(*ours, recorded(theirs, ours), "{label}");
    }

    let left = &case["final"];
    let sessions: Vec<Value> =
        host.sessions.iter().map(|(s, (p, i))| json!([s.to_string(), p, i])).collect();
    assert_eq!(json!(sessions), left["sessions"], "{label}: sessions");
    assert_eq!(json!(host.nodes), left["nodes"], "{label}: nodes");
    let devices: BTreeMap<_, _> = host.devices.iter().map(|(n, d)| (n, &d.volume)).collect();
    assert_eq!(json!(devices), left["devices"], "{label}: devices");
}

#[test]
fn every_recorded_disconnect_is_repeated_command_by_command() {
    let mut replayed = 0;
    for case in golden("disconnect") {
        let (name, policy) = (text(&case["name"]), text(&case["policy"]));
        if kept_divergence("disconnect", &name, &policy, "skip").is_none() {
            check(&case);
            replayed += 1;
        }
    }
    assert!(replayed >= 18, "only {replayed} cases");
}

#[test]
fn every_kept_divergence_belongs_to_a_recorded_case() {
    let cases = golden("disconnect");
    for kept in golden("kept_divergences") {
        assert_eq!(kept["file"], "disconnect");
        let found = cases.iter().any(|c| {
            (kept["case"] == "*" || c["name"] == kept["case"])
                && (kept["policy"] == "*" || c["policy"] == kept["policy"])
        });
        assert!(found, "{kept}");
        assert!(kept["reason"].as_str().unwrap().len() > 20);
    }
}
