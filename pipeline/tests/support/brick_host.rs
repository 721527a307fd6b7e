//! The scripted host of the recorded disconnects: it keeps the trace as the recorder did.

// Its helpers fail like the tests do.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use castoff_ports::host::{self, ScsiDevice};
use castoff_ports::iscsi::{self, CommandOutput};
use castoff_ports::runtime::{self, LockScope};
use castoff_ports::{Call, CallCx, Failure, Hctl, Lun, Reply, Sid, SimTime};
use serde_json::{Value, json};

use crate::support::{Outside, seconds};

pub(crate) struct Device {
    sid: u32,
    lun: u32,
    pub(crate) volume: String,
    /// When it goes, once it has been deleted.
    gone_at: Option<SimTime>,
}

struct Fault {
    pattern: String,
    /// Left outputs; the last one stays for ever when `endless`.
    outputs: Vec<CommandOutput>,
    endless: bool,
}

/// A map of device-mapper and the disks under it.
struct Map {
    dm: String,
    name: String,
    paths: Vec<String>,
}

pub(crate) struct Host {
    pub(crate) sessions: BTreeMap<u32, (String, String)>,
    pub(crate) nodes: BTreeSet<(String, String)>,
    pub(crate) devices: BTreeMap<String, Device>,
    maps: Vec<Map>,
    /// The disks that multipathd watched at the start.
    watched: Vec<String>,
    linger: BTreeMap<String, f64>,
    faults: Vec<Fault>,
    pub(crate) trace: Vec<Value>,
}

pub(crate) fn text(v: &Value) -> String {
    v.as_str().unwrap().to_owned()
}

impl Host {
    pub(crate) fn new(host: &Value) -> Host {
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
        let maps: Vec<Map> = list("dms")
            .iter()
            .map(|m| Map {
                dm: text(&m[0]),
                name: text(&m[1]),
                paths: m[2].as_array().unwrap().iter().map(text).collect(),
            })
            .collect();
        let watched = maps.iter().flat_map(|m| m.paths.clone()).collect();
        let object = |key: &str| host[key].as_object().cloned().unwrap_or_default();
        let linger = object("linger").into_iter().map(|(k, v)| (k, v.as_f64().unwrap())).collect();
        let faults = object("faults").iter().map(|(k, v)| fault(k, v)).collect();
        Host { sessions, nodes, devices, maps, watched, linger, faults, trace: vec![] }
    }

    /// The maps that are left: name by device.
    pub(crate) fn maps(&self) -> BTreeMap<&str, &str> {
        self.maps.iter().map(|m| (m.dm.as_str(), m.name.as_str())).collect()
    }

    /// The disks that multipathd still watches.
    pub(crate) fn watched(&self) -> Vec<&String> {
        self.watched.iter().filter(|d| self.devices.contains_key(*d)).collect()
    }

    fn map_over(&self, device: &str) -> Option<&Map> {
        self.maps.iter().find(|m| m.paths.iter().any(|p| p == device))
    }

    /// udev's link by WWID, or the node of device-mapper.
    fn path_exists(&self, path: &str) -> bool {
        let by_id = |m: &Map| {
            let first = m.paths.first().and_then(|p| self.devices.get(p));
            first.is_some_and(|d| path.ends_with(&format!("/dm-uuid-mpath-wwid-{}", d.volume)))
        };
        let is_at = |m: &Map| path == format!("/dev/mapper/{}", m.name) || by_id(m);
        self.maps.iter().any(is_at)
    }

    fn list(&self, map: &Map) -> String {
        let mut out = format!("{} (wwid) {} LIO-ORG,v\nsize=1.0G\n", map.name, map.dm);
        for path in &map.paths {
            let d = &self.devices[path];
            out += "`-+- policy='round-robin 0' prio=0 status=active\n";
            out += &format!("  `- {}:0:0:{} {path} 8:16 active undef running\n", d.sid, d.lun);
        }
        out
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
            Call::Host(host::Call::ScsiIdOfLink(c)) => {
                let (_, name) = self.by_path().find(|(link, _)| *link == c.by_path).unwrap();
                CommandOutput::with_stdout(format!("wwid-{}\n", self.devices[name].volume))
            }
            Call::Host(host::Call::MultipathList(c)) => CommandOutput::with_stdout(
                self.map_over(c.device.as_str()).map_or_else(String::new, |m| self.list(m)),
            ),
            Call::Host(host::Call::MultipathTopology(_)) => CommandOutput::with_stdout(
                self.maps
                    .iter()
                    .filter(|m| m.paths.iter().all(|p| self.devices.contains_key(p)))
                    .map(|m| self.list(m))
                    .collect::<String>(),
            ),
            Call::Host(host::Call::MultipathFlush(c)) => {
                self.maps.retain(|m| m.name != c.map);
                CommandOutput::ok()
            }
            Call::Host(host::Call::MultipathdShowPaths(_)) => CommandOutput::with_stdout(
                self.watched().iter().map(|d| format!("{d}\n")).collect::<String>(),
            ),
            Call::Host(host::Call::Lsblk(_)) => CommandOutput::ok(),
            // Nothing answers at the portals of the recordings.
            Call::Iscsi(iscsi::Call::Discover(_)) => CommandOutput::ok(),
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
        self.trace.push(json!([seconds(now), "exec", command, out.exit, limit]));
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
            Call::Host(host::Call::MultipathHolder(c)) => {
                let dm = self.map_over(c.device.as_str()).map(|m| m.dm.clone());
                Reply::Host(host::Reply::MultipathHolder(dm))
            }
            Call::Host(host::Call::DmName(c)) => {
                let map = self.maps.iter().find(|m| m.dm == c.dm);
                Reply::Host(host::Reply::DmName(map.map(|m| m.name.clone())))
            }
            Call::Host(host::Call::PathExists(c)) => {
                Reply::Host(host::Reply::PathExists(self.path_exists(&c.path)))
            }
            Call::Host(host::Call::UnlinkByIdLinks(_)) => {
                Reply::Host(host::Reply::UnlinkByIdLinks(()))
            }
            Call::Iscsi(c) => {
                let out = self.exec(*now, cx, &call);
                Reply::Iscsi(match c {
                    iscsi::Call::Discoverydb(_) => iscsi::Reply::Discoverydb(out),
                    iscsi::Call::Discover(_) => iscsi::Reply::Discover(out),
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
                    host::Call::ScsiIdOfLink(_) => host::Reply::ScsiIdOfLink(out),
                    host::Call::MultipathList(_) => host::Reply::MultipathList(out),
                    host::Call::MultipathTopology(_) => host::Reply::MultipathTopology(out),
                    host::Call::MultipathFlush(_) => host::Reply::MultipathFlush(out),
                    host::Call::MultipathdShowPaths(_) => host::Reply::MultipathdShowPaths(out),
                    host::Call::Lsblk(_) => host::Reply::Lsblk(out),
                    host::Call::MultipathdShowStatus(_) => host::Reply::MultipathdShowStatus(out),
                    other => panic!("a disconnect does not {}", other.describe()),
                })
            }
            other => panic!("os-brick does not call {}", other.name()),
        })
    }
}
