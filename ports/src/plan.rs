//! Plans: which fault strikes which operation. Data, so that a run is named by its plan.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Process, RequestId};

/// How long a connection is tried for: six retransmissions of a SYN (tcp_syn_retries, tcp(7)).
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(127);

/// The place where a fault strikes: the n-th time that a process calls an operation for a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultPoint {
    /// The calling process.
    pub process: Process,
    /// `system::Operation`, one of [`operation_names`](crate::call::operation_names).
    pub operation: String,
    /// Counts from 1; counted per process and request.
    #[serde(default = "one")]
    pub nth: u32,
    /// Only for this request; the first request that gets there when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
}

fn one() -> u32 {
    1
}

/// What strikes. The letters are those of the fault list: E, T, L, C, R.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum FaultKind {
    /// E: an HTTP service answers with this status at once; no effect.
    HttpError {
        /// Status, 400 to 599.
        status: u16,
    },
    /// E: a command fails with this exit code; no effect.
    CommandFails {
        /// Exit code.
        exit: i32,
    },
    /// T: a command of the compute host never ends, and has no effect: its caller waits as long as it
    /// cares to (a flush whose map has lost every path and queues).
    Hangs,
    /// L: the request never arrives; no effect.
    Unreachable,
    /// L: the calling process loses its way to this system for so long, this call included, whatever
    /// it calls it for: what is sent vanishes without a word (a partition). A call that the end of
    /// it finds waiting goes through; one that has waited for [`CONNECT_TIMEOUT`] fails, without
    /// effect.
    CutOff {
        /// For how long.
        ms: u64,
    },
    /// L: the message is accepted and then lost: the caller sees success, nothing happens.
    Lost,
    /// T: the effect happens, the connection breaks before the reply.
    ReplyLost,
    /// T: the effect happens, the caller is told `status` after `after_ms`: an RPC timeout inside
    /// the service (500) or a gateway's (504).
    Timeout {
        /// 500 or 504.
        status: u16,
        /// How long the caller waits; 60000 is rpc_response_timeout's and HAProxy's default.
        #[serde(default = "sixty_seconds")]
        after_ms: u64,
    },
    /// R: the operation starts later.
    Delay {
        /// By how much.
        ms: u64,
    },
    /// D: the request arrives twice, the second time `after_ms` later; the caller sees the first
    /// answer. A client library that tries again after a lost connection, a broker that delivers
    /// again.
    Duplicate {
        /// How much later the second one starts.
        #[serde(default)]
        after_ms: u64,
    },
    /// Something outside happens just before the operation, which then takes its course.
    Environment {
        /// What.
        event: EnvironmentEvent,
    },
    /// C: the calling process dies before the operation starts.
    CrashBefore {
        /// When it is started again; never when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restart_after_ms: Option<u64>,
    },
    /// C: the calling process dies after the effect, before it sees the reply.
    CrashAfter {
        /// When it is started again; never when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restart_after_ms: Option<u64>,
    },
}

/// What happens to the systems around the pipeline, at a point of its own choosing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EnvironmentEvent {
    /// Guests stop answering unplug requests until the faults stop.
    GuestDeaf,
    /// The QEMU processes of the host die; the domains stay defined.
    QemuKilled,
    /// No portal of the target answers a login any more, until the faults stop.
    PortalsDown,
    /// Every token that was ever given out has expired.
    TokensExpired,
}

impl EnvironmentEvent {
    /// All of them.
    pub const ALL: [EnvironmentEvent; 4] = [
        EnvironmentEvent::GuestDeaf,
        EnvironmentEvent::QemuKilled,
        EnvironmentEvent::PortalsDown,
        EnvironmentEvent::TokensExpired,
    ];

    /// Its name in plans and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            EnvironmentEvent::GuestDeaf => "guest-deaf",
            EnvironmentEvent::QemuKilled => "qemu-killed",
            EnvironmentEvent::PortalsDown => "portals-down",
            EnvironmentEvent::TokensExpired => "tokens-expired",
        }
    }
}

fn sixty_seconds() -> u64 {
    60_000
}

impl FaultKind {
    /// Its name in plans and tables, without its figures.
    pub fn as_str(&self) -> &'static str {
        match self {
            FaultKind::HttpError { .. } => "http-error",
            FaultKind::CommandFails { .. } => "command-fails",
            FaultKind::Hangs => "hangs",
            FaultKind::Unreachable => "unreachable",
            FaultKind::CutOff { .. } => "cut-off",
            FaultKind::Lost => "lost",
            FaultKind::ReplyLost => "reply-lost",
            FaultKind::Timeout { .. } => "timeout",
            FaultKind::Delay { .. } => "delay",
            FaultKind::Duplicate { .. } => "duplicate",
            FaultKind::Environment { event } => event.as_str(),
            FaultKind::CrashBefore { .. } => "crash-before",
            FaultKind::CrashAfter { .. } => "crash-after",
        }
    }

    /// The restart of a crash as a duration.
    pub fn restart_after(&self) -> Option<Duration> {
        match self {
            FaultKind::CrashBefore { restart_after_ms }
            | FaultKind::CrashAfter { restart_after_ms } => {
                restart_after_ms.map(Duration::from_millis)
            }
            _ => None,
        }
    }
}

/// One fault at one point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Where.
    pub at: FaultPoint,
    /// What.
    pub strike: FaultKind,
    /// Only under these policies; under all when empty. Policies call different operations, and
    /// a fault that cannot strike is no test.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
}

impl Fault {
    /// Whether it belongs to runs of this policy.
    pub fn applies_to(&self, policy: &str) -> bool {
        self.policies.is_empty() || self.policies.iter().any(|p| p == policy)
    }
}

/// All faults of a run; each strikes at most once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The faults, in no particular order.
    #[serde(default)]
    pub faults: Vec<Fault>,
}

impl Plan {
    /// Whether nothing strikes.
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }
}
