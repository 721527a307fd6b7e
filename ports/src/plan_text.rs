//! A fault on one line, for command lines and tables:
//! `nova-compute:cinder::AttachmentDelete#1@1:timeout=504,60000`.
//!
//! Process, operation, `#` and the count, `@` and the request (left away: the first that gets
//! there), the kind, and the kind's figures where it has any.

use std::fmt;
use std::str::FromStr;

use crate::plan::{EnvironmentEvent, Fault, FaultKind, FaultPoint};
use crate::{Process, RequestId};

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}#{}", self.at.process, self.at.operation, self.at.nth)?;
        if let Some(request) = self.at.request {
            write!(f, "@{}", request.0)?;
        }
        write!(f, ":{}", self.strike)
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.as_str();
        match self {
            FaultKind::HttpError { status } => write!(f, "{name}={status}"),
            FaultKind::CommandFails { exit } => write!(f, "{name}={exit}"),
            FaultKind::Timeout { status, after_ms } => write!(f, "{name}={status},{after_ms}"),
            FaultKind::Delay { ms }
            | FaultKind::CutOff { ms }
            | FaultKind::Duplicate { after_ms: ms } => write!(f, "{name}={ms}"),
            FaultKind::CrashBefore { restart_after_ms: Some(ms) }
            | FaultKind::CrashAfter { restart_after_ms: Some(ms) } => write!(f, "{name}={ms}"),
            FaultKind::CrashBefore { restart_after_ms: None }
            | FaultKind::CrashAfter { restart_after_ms: None }
            | FaultKind::Hangs
            | FaultKind::Unreachable
            | FaultKind::Lost
            | FaultKind::ReplyLost
            | FaultKind::Environment { .. } => f.write_str(name),
        }
    }
}

impl FaultKind {
    /// Every kind as it is written, with what it does.
    pub const DESCRIBED: [(&str, &str); 16] = [
        ("http-error=STATUS", "an HTTP service answers with this status at once; no effect"),
        ("command-fails=EXIT", "a command fails with this exit code; no effect"),
        ("hangs", "a command never ends: its caller waits as long as it cares to; no effect"),
        ("unreachable", "the request never arrives; no effect"),
        ("cut-off=MS", "nothing that the caller sends to this system arrives, from here on for MS"),
        ("lost", "a cast is accepted and then lost: the caller sees success, nothing happens"),
        ("reply-lost", "the effect happens, the connection breaks before the reply"),
        ("timeout=STATUS[,MS]", "the effect happens, the caller is told 500 or 504 after MS"),
        ("delay=MS", "the operation starts MS later"),
        ("duplicate[=MS]", "the request arrives twice, MS apart; the caller sees the first answer"),
        ("crash-before[=MS]", "the caller dies before the operation, and is started MS later"),
        ("crash-after[=MS]", "the caller dies after the effect, before it sees the reply"),
        ("guest-deaf", "guests answer no unplug request from here on"),
        ("qemu-killed", "the QEMU processes of the host die"),
        ("portals-down", "no portal of the target answers a login from here on"),
        ("tokens-expired", "every token that was given out has expired"),
    ];
}

/// A text that is no fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultTextError {
    /// A part is missing.
    #[error(
        "{text:?} is no fault: expected PROCESS:SYSTEM::OPERATION#NTH[@REQUEST]:KIND[=FIGURES]"
    )]
    Shape {
        /// The text.
        text: String,
    },
    /// No such process.
    #[error("unknown process {found:?}: expected client, nova-api or nova-compute")]
    Process {
        /// What was found.
        found: String,
    },
    /// No such kind, or not with these figures.
    #[error("unknown kind {found:?}: `castoff list faults` has the kinds and their figures")]
    Kind {
        /// What was found.
        found: String,
    },
}

impl FromStr for Fault {
    type Err = FaultTextError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shape = || FaultTextError::Shape { text: text.to_owned() };
        let (process, rest) = text.split_once(':').ok_or_else(shape)?;
        let (point, kind) = rest.rsplit_once(':').ok_or_else(shape)?;
        let (operation, count) = point.split_once('#').ok_or_else(shape)?;
        let (nth, request) = match count.split_once('@') {
            Some((nth, request)) => (nth, Some(RequestId(request.parse().map_err(|_| shape())?))),
            None => (count, None),
        };
        let process = [Process::Client, Process::NovaApi, Process::NovaCompute]
            .into_iter()
            .find(|p| p.as_str() == process)
            .ok_or_else(|| FaultTextError::Process { found: process.to_owned() })?;
        let nth = nth.parse().map_err(|_| shape())?;
        let at = FaultPoint { process, operation: operation.to_owned(), nth, request };
        Ok(Fault { at, strike: kind.parse()?, policies: Vec::new() })
    }
}

impl FromStr for FaultKind {
    type Err = FaultTextError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || FaultTextError::Kind { found: text.to_owned() };
        let (name, figures) = text.split_once('=').unwrap_or((text, ""));
        let figures: Vec<i64> = figures
            .split(',')
            .filter(|f| !f.is_empty())
            .map(|f| f.parse().map_err(|_| wrong()))
            .collect::<Result<_, _>>()?;
        let ms = |i: usize| figures.get(i).map(|n| u64::try_from(*n).map_err(|_| wrong()));
        let status = || {
            let first = figures.first().ok_or_else(wrong)?;
            u16::try_from(*first).map_err(|_| wrong())
        };
        let (kind, most) = match name {
            "http-error" => (FaultKind::HttpError { status: status()? }, 1),
            "command-fails" => {
                let exit =
                    figures.first().and_then(|n| i32::try_from(*n).ok()).ok_or_else(wrong)?;
                (FaultKind::CommandFails { exit }, 1)
            }
            "hangs" => (FaultKind::Hangs, 0),
            "unreachable" => (FaultKind::Unreachable, 0),
            "lost" => (FaultKind::Lost, 0),
            "reply-lost" => (FaultKind::ReplyLost, 0),
            "timeout" => {
                let after_ms = ms(1).unwrap_or(Ok(60_000))?;
                (FaultKind::Timeout { status: status()?, after_ms }, 2)
            }
            "delay" => (FaultKind::Delay { ms: ms(0).ok_or_else(wrong)?? }, 1),
            "cut-off" => (FaultKind::CutOff { ms: ms(0).ok_or_else(wrong)?? }, 1),
            "duplicate" => (FaultKind::Duplicate { after_ms: ms(0).unwrap_or(Ok(0))? }, 1),
            "crash-before" => (FaultKind::CrashBefore { restart_after_ms: ms(0).transpose()? }, 1),
            "crash-after" => (FaultKind::CrashAfter { restart_after_ms: ms(0).transpose()? }, 1),
            other => {
                let event = EnvironmentEvent::ALL.into_iter().find(|e| e.as_str() == other);
                (FaultKind::Environment { event: event.ok_or_else(wrong)? }, 0)
            }
        };
        if figures.len() > most { Err(wrong()) } else { Ok(kind) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::call::operation_names;
    use crate::fault::Passed;
    use crate::fault_space::faults_at;

    #[test]
    fn every_fault_of_the_fault_space_reads_back() {
        for operation in operation_names() {
            for process in [Process::NovaApi, Process::NovaCompute] {
                let request = RequestId(1);
                let passed = Passed { process, request, operation, nth: 2 };
                for fault in faults_at(&passed) {
                    assert_eq!(fault.to_string().parse::<Fault>().unwrap(), fault, "{fault}");
                }
            }
        }
    }

    #[test]
    fn every_kind_is_described() {
        for (form, _) in FaultKind::DESCRIBED {
            let written = form.split('[').next().unwrap_or(form);
            let written = written.replace("STATUS", "500").replace("EXIT", "1").replace("MS", "5");
            let kind: FaultKind = written.parse().unwrap();
            assert!(form.starts_with(kind.as_str()), "{form}");
        }
        let events = EnvironmentEvent::ALL.map(EnvironmentEvent::as_str);
        assert!(events.iter().all(|e| FaultKind::DESCRIBED.iter().any(|(n, _)| n == e)));
    }

    #[test]
    fn what_is_no_fault_is_refused_with_what_is_expected() {
        for (text, says) in [
            ("", "expected PROCESS"),
            ("nova-compute:cinder::Detach:lost", "expected PROCESS"),
            ("nova:cinder::Detach#1:lost", "unknown process \"nova\""),
            ("nova-compute:cinder::Detach#1:vanish", "unknown kind \"vanish\""),
            ("nova-compute:cinder::Detach#1:http-error", "unknown kind"),
            ("nova-compute:cinder::Detach#1:timeout=504,-1", "unknown kind"),
            ("nova-compute:cinder::Detach#1:lost=3", "unknown kind"),
        ] {
            let error = text.parse::<Fault>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
