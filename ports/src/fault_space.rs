//! The fault space: what can go wrong at a point, so that a search can try all of it.
//!
//! A kind belongs to an operation when the real system can do it: a command exits with a code,
//! an HTTP service answers 500, a database does not answer, a cast is lost. The figures are the
//! defaults of the real services (rpc_response_timeout, HAProxy's timeouts).

use crate::Process;
use crate::fault::Passed;
use crate::plan::{EnvironmentEvent, Fault, FaultKind, FaultPoint};

/// When a process that died is started again, in milliseconds: systemd's restart and the time
/// that a nova service takes to come up, longer than an RPC message waits.
pub const RESTART_MS: u64 = 36_000;

/// How late a late message is, in milliseconds: longer than every wait of a healthy detach.
pub const LATE_MS: u64 = 120_000;

/// How long a partition lasts, in milliseconds: longer than a request tries anything.
pub const CUT_OFF_MS: u64 = 600_000;

const CUT_OFF: FaultKind = FaultKind::CutOff { ms: CUT_OFF_MS };

/// The status and wait of a service behind a gateway: HAProxy's 504 after 60 s.
const GATEWAY_TIMEOUT: FaultKind = FaultKind::Timeout { status: 504, after_ms: 60_000 };

/// Whether an operation only reads: then a lost reply differs in nothing from a lost request.
fn only_reads(operation: &str) -> bool {
    const BEGINNINGS: [&str; 11] = [
        "Show",
        "Get",
        "List",
        "Validate",
        "Bdms",
        "BdmBy",
        "Lookup",
        "XmlDesc",
        "IsPersistent",
        "BlockStats",
        "SystemMetadataGet",
    ];
    let name = operation.split("::").nth(1).unwrap_or_default();
    BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
}

/// Looks into sysfs and /dev: they run no command that could fail.
const LOOKS: [&str; 11] = [
    "host::SessionDevices",
    "host::SessionHctl",
    "host::TargetHctl",
    "host::DeviceExists",
    "host::RealPath",
    "host::ListByPath",
    "host::MultipathHolder",
    "host::UnlinkByIdLinks",
    "host::PathExists",
    "host::DmName",
    "host::SysfsWwn",
];

/// The errors, losses and timeouts that an operation can meet: all but crashes and what happens
/// around it.
pub fn kinds_for(operation: &str) -> Vec<FaultKind> {
    let system = operation.split("::").next().unwrap_or_default();
    match system {
        "keystone" | "cinder" if only_reads(operation) => {
            vec![FaultKind::Unreachable, CUT_OFF, FaultKind::HttpError { status: 500 }]
        }
        "keystone" | "cinder" => vec![
            FaultKind::Unreachable,
            CUT_OFF,
            FaultKind::HttpError { status: 500 },
            FaultKind::ReplyLost,
            FaultKind::Timeout { status: 500, after_ms: 60_000 },
            GATEWAY_TIMEOUT,
        ],
        "nova" if only_reads(operation) => vec![FaultKind::Unreachable],
        "nova" => vec![
            FaultKind::Unreachable,
            FaultKind::ReplyLost,
            FaultKind::Duplicate { after_ms: 1_000 },
        ],
        "rpc" if operation == "rpc::Cast" => vec![
            FaultKind::Unreachable,
            CUT_OFF,
            FaultKind::Lost,
            FaultKind::Duplicate { after_ms: 1_000 },
            FaultKind::Delay { ms: LATE_MS },
        ],
        "novadb" if only_reads(operation) => vec![FaultKind::Unreachable, CUT_OFF],
        "rpc" | "novadb" => vec![FaultKind::Unreachable, CUT_OFF, FaultKind::ReplyLost],
        "libvirt" if only_reads(operation) => vec![FaultKind::Unreachable],
        "libvirt" => vec![FaultKind::Unreachable, FaultKind::ReplyLost],
        "iscsi" => vec![FaultKind::CommandFails { exit: 1 }],
        // A file system that is full or read-only (EIO, ENOSPC); a write may have happened.
        "host" if operation == "host::JournalRead" => vec![FaultKind::Unreachable],
        "host" if operation.starts_with("host::Journal") => {
            vec![FaultKind::Unreachable, FaultKind::ReplyLost]
        }
        "host" if LOOKS.contains(&operation) => Vec::new(),
        "host" => vec![FaultKind::CommandFails { exit: 1 }],
        "runtime" if operation == "runtime::Lock" => vec![FaultKind::Unreachable],
        _ => Vec::new(),
    }
}

/// What can happen around an operation of this process just before it starts.
fn events_for(process: Process, operation: &str) -> &'static [EnvironmentEvent] {
    let system = operation.split("::").next().unwrap_or_default();
    match (process, system) {
        (Process::Client, _) | (_, "runtime") => &[],
        (Process::NovaApi, "keystone" | "cinder") => &[EnvironmentEvent::TokensExpired],
        (Process::NovaApi, _) => &[],
        (Process::NovaCompute, "libvirt") => {
            &[EnvironmentEvent::GuestDeaf, EnvironmentEvent::QemuKilled]
        }
        (Process::NovaCompute, "iscsi" | "host") => &[EnvironmentEvent::PortalsDown],
        (Process::NovaCompute, "keystone" | "cinder") => &[EnvironmentEvent::TokensExpired],
        (Process::NovaCompute, _) => &[],
    }
}

/// Every fault that can strike at this point, in a fixed order.
///
/// A client has no crashes here: a user who goes away leaves the request to nova-api, as when the
/// reply is lost.
pub fn faults_at(passed: &Passed) -> Vec<Fault> {
    let mut kinds = kinds_for(passed.operation);
    if passed.process != Process::Client {
        let restart_after_ms = Some(RESTART_MS);
        kinds.push(FaultKind::CrashBefore { restart_after_ms });
        kinds.push(FaultKind::CrashAfter { restart_after_ms });
    }
    let events = events_for(passed.process, passed.operation);
    kinds.extend(events.iter().map(|event| FaultKind::Environment { event: *event }));
    let at = FaultPoint {
        process: passed.process,
        operation: passed.operation.to_owned(),
        nth: passed.nth,
        request: Some(passed.request),
    };
    kinds.into_iter().map(|strike| Fault { at: at.clone(), strike, policies: Vec::new() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::operation_names;

    #[test]
    fn every_operation_but_looks_sleeps_and_unlocks_can_fail() {
        let quiet: Vec<&str> =
            operation_names().filter(|o| kinds_for(o).is_empty() && !LOOKS.contains(o)).collect();
        assert_eq!(quiet, ["runtime::Sleep", "runtime::Unlock"]);
        assert!(LOOKS.iter().all(|look| operation_names().any(|o| o == *look)));
    }

    #[test]
    fn a_read_has_no_effect_that_could_be_lost() {
        assert!(only_reads("cinder::GetVolume") && !only_reads("cinder::BeginDetaching"));
        assert!(!kinds_for("cinder::GetVolume").contains(&FaultKind::ReplyLost));
        assert!(kinds_for("cinder::AttachmentDelete").contains(&FaultKind::ReplyLost));
    }
}
