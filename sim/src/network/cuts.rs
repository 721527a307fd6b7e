//! Links between hosts that are cut, by turmoil's own means.
//!
//! A cut way *holds*: what is sent over it arrives when the way is mended, as TCP sends again what
//! was not acknowledged (RFC 9293 section 3.8). So requests under way take as long as the cut, and
//! what the other side sends (the broker's messages for nova-compute) is kept back too; new calls
//! wait in the fault layer, as on every binding. The storage network *partitions*: every segment
//! is dropped, and a login is refused.

use std::cell::{Cell, RefCell};

use castoff_ports::{Process, SimTime};

use super::hosts::{BROKER, CONDUCTOR};

/// The two hosts of the storage network.
const STORAGE_LINK: (&str, &str) = ("compute-kernel", "storage");

/// A way between two hosts.
type Way = (&'static str, &'static str);

/// What is cut, and what is to be cut with the next tick.
#[derive(Default)]
pub(super) struct Cuts {
    asked: RefCell<Vec<(Way, SimTime)>>,
    held: RefCell<Vec<(Way, SimTime)>>,
    storage_asked: Cell<bool>,
    partitioned: Cell<bool>,
}

/// The way that a process takes to a system, as calls name it; none where it needs no network.
fn way(process: Process, system: &str) -> Option<Way> {
    let to = match (process, system) {
        (_, "keystone") => "keystone",
        (_, "cinder") => "cinder",
        (_, "nova-api") => "nova-api",
        (_, "broker") => BROKER.0,
        (Process::NovaCompute, "nova-db") => CONDUCTOR.0,
        _ => return None,
    };
    (process.as_str() != to).then_some((process.as_str(), to))
}

impl Cuts {
    /// The way of this process to this system is cut until then.
    pub(super) fn cut(&self, process: Process, system: &str, until: SimTime) {
        self.asked.borrow_mut().extend(way(process, system).map(|way| (way, until)));
    }

    /// No portal can be reached.
    pub(super) fn storage_down(&self) {
        self.storage_asked.set(true);
    }

    /// Cuts what was asked for, mends what is due: between two ticks.
    pub(super) fn carry_out(&self, sim: &turmoil::Sim<'static>, now: SimTime) {
        for (way, until) in self.asked.borrow_mut().drain(..) {
            sim.hold(way.0, way.1);
            self.held.borrow_mut().push((way, until));
        }
        if self.storage_asked.take() && !self.partitioned.replace(true) {
            sim.partition(STORAGE_LINK.0, STORAGE_LINK.1);
        }
        let mut held = self.held.borrow_mut();
        let due: Vec<Way> =
            held.iter().filter(|(_, until)| *until <= now).map(|(way, _)| *way).collect();
        held.retain(|(_, until)| *until > now);
        for way in due {
            // A way that was cut twice is mended when the later cut ends.
            if !held.iter().any(|(other, _)| *other == way) {
                sim.release(way.0, way.1);
            }
        }
    }

    /// Everything is mended.
    pub(super) fn heal(&self, sim: &turmoil::Sim<'static>) {
        self.asked.borrow_mut().clear();
        for (way, _) in self.held.borrow_mut().drain(..) {
            sim.release(way.0, way.1);
        }
        self.storage_asked.set(false);
        if self.partitioned.take() {
            sim.repair(STORAGE_LINK.0, STORAGE_LINK.1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_between_hosts_and_nova_api_needs_none_to_its_database() {
        assert_eq!(way(Process::NovaCompute, "nova-db"), Some(("nova-compute", "nova-conductor")));
        assert_eq!(way(Process::NovaApi, "broker"), Some(("nova-api", "broker")));
        assert_eq!(way(Process::NovaApi, "nova-db"), None);
        assert_eq!(way(Process::NovaCompute, "libvirt"), None);
    }
}
