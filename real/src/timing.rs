//! How long each step took: what a conformance run prints, and compares with a recorded one.

use std::time::Duration;

use castoff_ports::iscsi::CommandOutput;
use castoff_ports::{Failure, Reply, SimTime, host, iscsi};

/// How long one operation took.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// The operation's name, `system::Operation`.
    pub operation: &'static str,
    /// The call in its owner's words, secrets masked.
    pub text: String,
    /// When it was called, since the host was connected.
    pub started: SimTime,
    /// Until its reply.
    pub took: Duration,
    /// Whether a reply came; a command that ended with an error is a reply.
    pub ok: bool,
    /// The exit code, for a command.
    pub exit: Option<i32>,
}

/// The steps of a run, in the order in which they ended.
#[derive(Debug, Default)]
pub(crate) struct Timings(Vec<Timing>);

/// No conformance run comes near it: a detach has some hundred steps.
const MAX_TIMINGS: usize = 100_000;

impl Timings {
    /// Takes note of a step; of the first ones when there are too many.
    pub(crate) fn record(
        &mut self,
        operation: &'static str,
        text: String,
        started: SimTime,
        took: Duration,
        result: &Result<Reply, Failure>,
    ) {
        let (ok, exit) = (result.is_ok(), result.as_ref().ok().and_then(output).map(|o| o.exit));
        if self.0.len() < MAX_TIMINGS {
            self.0.push(Timing { operation, text, started, took, ok, exit });
        }
    }

    /// All that were noted.
    pub(crate) fn all(&self) -> &[Timing] {
        &self.0
    }
}

/// The output in a reply that has one.
fn output(reply: &Reply) -> Option<&CommandOutput> {
    use host::Reply as H;
    use iscsi::Reply as I;
    match reply {
        Reply::Iscsi(
            I::Discoverydb(o)
            | I::Nodes(o)
            | I::Sessions(o)
            | I::Node(o)
            | I::NodeNew(o)
            | I::NodeUpdate(o)
            | I::Login(o)
            | I::Rescan(o)
            | I::Logout(o)
            | I::NodeDelete(o),
        )
        | Reply::Host(
            H::InitiatorName(o)
            | H::MultipathdShowStatus(o)
            | H::ScanLun(o)
            | H::FlushBufs(o)
            | H::DeleteDevice(o)
            | H::ScsiId(o),
        ) => Some(o),
        _ => None,
    }
}
