//! Faults: points that exist, strikes that can strike there, and one of them a point.
//!
//! The same checks for a scenario's faults, a plan's, and one that is armed while a cloud is served.

use castoff_ports::call::operation_names;
use castoff_ports::plan::{Fault, FaultKind, Plan};

use super::{Place, Problem, Problems, unknown};
use crate::nearest::nearest;

/// Every problem of a plan that is given on its own; `policies` are the names that its faults may
/// use. A plan without a fault is one: whoever gives it means something to strike.
pub fn check_plan(plan: &Plan, policies: &[&str]) -> Vec<Problem> {
    let mut problems = Problems::default();
    let place = Place::default().then("faults");
    if plan.is_empty() {
        problems.add(place.clone(), "no fault; expected at least one");
    }
    problems.faults(&place, &plan.faults, policies);
    problems.0
}

/// Every problem of one fault; `policies` are the names that it may use.
pub fn check_fault(fault: &Fault, policies: &[&str]) -> Vec<Problem> {
    let mut problems = Problems::default();
    problems.fault(&Place::default(), fault, policies);
    problems.0
}

/// The system that an operation is called on.
fn system_of(operation: &str) -> &str {
    operation.split("::").next().unwrap_or(operation)
}

impl Problems {
    /// The faults that are in the array at `place`.
    pub(super) fn faults(&mut self, place: &Place, faults: &[Fault], policies: &[&str]) {
        for (i, fault) in faults.iter().enumerate() {
            let place = place.then(i);
            self.fault(&place, fault, policies);
            if faults[..i].iter().any(|f| f.at == fault.at) {
                // The fault layer counts calls: the point is passed once, the second never strikes.
                self.add(place.then("at"), "an earlier fault strikes at this point; only one can");
            }
        }
    }

    fn fault(&mut self, place: &Place, fault: &Fault, policies: &[&str]) {
        let operation = fault.at.operation.as_str();
        if operation_names().any(|name| name == operation) {
            if let Some(needed) = refused_by(&fault.strike, operation) {
                self.add(
                    place.then("strike").then("kind"),
                    format!("cannot strike {operation}: expected {needed}"),
                );
            }
        } else {
            self.add_unknown_operation(place.then("at").then("operation"), operation);
        }
        if fault.at.nth == 0 {
            self.add(place.then("at").then("nth"), "calls are counted from 1");
        }
        for (j, policy) in fault.policies.iter().enumerate() {
            if !policies.contains(&policy.as_str()) {
                self.add_unknown(
                    place.then("policies").then(j),
                    "policy",
                    policy,
                    "policies",
                    policies,
                );
            }
        }
        match fault.strike {
            FaultKind::HttpError { status } if !(400..=599).contains(&status) => self.add(
                place.then("strike").then("status"),
                format!("{status} is no error status; expected 400 to 599"),
            ),
            FaultKind::Timeout { status, .. } if !matches!(status, 500 | 504) => self.add(
                place.then("strike").then("status"),
                format!(
                    "{status} is no timeout; expected 500 (inside the service) or 504 (gateway)"
                ),
            ),
            FaultKind::CommandFails { exit: 0 } => self.add(
                place.then("strike").then("exit"),
                "0 is success; expected an exit code that is not 0",
            ),
            FaultKind::Timeout { after_ms, .. } => {
                self.time(place.then("strike").then("after_ms"), after_ms);
            }
            FaultKind::Duplicate { after_ms } => {
                self.time(place.then("strike").then("after_ms"), after_ms);
            }
            FaultKind::Delay { ms } | FaultKind::CutOff { ms } => {
                self.time(place.then("strike").then("ms"), ms)
            }
            FaultKind::CrashBefore { restart_after_ms }
            | FaultKind::CrashAfter { restart_after_ms } => {
                let place = place.then("strike").then("restart_after_ms");
                self.time(place, restart_after_ms.unwrap_or_default());
            }
            FaultKind::HttpError { .. }
            | FaultKind::CommandFails { .. }
            | FaultKind::Hangs
            | FaultKind::Unreachable
            | FaultKind::Lost
            | FaultKind::ReplyLost
            | FaultKind::Environment { .. } => {}
        }
    }

    /// An operation that the ports do not have.
    fn add_unknown_operation(&mut self, place: Place, found: &str) {
        let (system, name) = found.split_once("::").unwrap_or(("", found));
        let of_system: Vec<&str> = operation_names().filter(|n| system_of(n) == system).collect();
        if !of_system.is_empty() {
            let whose = format!("operations of {system}");
            return self.add_unknown(place, "operation", found, &whose, &of_system);
        }
        // The list of all operations would be no help: the systems, and the nearest of all.
        let mut systems: Vec<&str> = operation_names().map(system_of).collect();
        systems.dedup();
        self.0.push(Problem {
            place,
            message: unknown("operation", found, nearest(name, operation_names())),
            help: Some(format!("systems: {}", systems.join(", "))),
        });
    }
}

/// What a fault of this kind needs instead of this operation, when it cannot strike it.
fn refused_by(kind: &FaultKind, operation: &str) -> Option<&'static str> {
    let system = system_of(operation);
    match kind {
        FaultKind::HttpError { .. } | FaultKind::Timeout { .. } => {
            (!matches!(system, "keystone" | "nova" | "cinder"))
                .then_some("an operation of an HTTP service: keystone, nova or cinder")
        }
        FaultKind::CommandFails { .. } | FaultKind::Hangs => (!matches!(system, "iscsi" | "host"))
            .then_some("a command of the compute host: iscsi or host"),
        FaultKind::CutOff { .. } => {
            (!matches!(system, "keystone" | "nova" | "cinder" | "novadb" | "rpc"))
                .then_some("an operation over the network: keystone, nova, cinder, novadb or rpc")
        }
        FaultKind::Lost => (operation != "rpc::Cast")
            .then_some("rpc::Cast, the one message without a reply; others are \"unreachable\""),
        // Time passes for everybody, and everybody can die.
        FaultKind::Unreachable
        | FaultKind::ReplyLost
        | FaultKind::Delay { .. }
        | FaultKind::Duplicate { .. }
        | FaultKind::Environment { .. }
        | FaultKind::CrashBefore { .. }
        | FaultKind::CrashAfter { .. } => None,
    }
}
