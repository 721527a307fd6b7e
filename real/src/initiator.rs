//! open-iscsi: every operation is one `iscsiadm`, whose exit code and output are the reply.

use std::time::Duration;

use castoff_ports::Failure;
use castoff_ports::iscsi::{Call, CommandOutput, Reply};

use crate::command;

/// The system's name in failures, as in `castoff_ports::Call::system`.
const SYSTEM: &str = "iscsi";

/// Runs the call's command. The caller has checked that the target is a named one.
pub(crate) async fn call(call: Call, limit: Duration) -> Result<Reply, Failure> {
    // A command without an exit code (killed) may have done its work: os-brick sees neither.
    let output = command::run("iscsiadm", call.argv(), None, limit)
        .await
        .map_err(|_| Failure::NoReply { system: SYSTEM.to_owned() })?;
    Ok(reply(&call, output))
}

fn reply(call: &Call, output: CommandOutput) -> Reply {
    match call {
        Call::Discoverydb(_) => Reply::Discoverydb(output),
        Call::Discover(_) => Reply::Discover(output),
        Call::NodesAtPortal(_) => Reply::NodesAtPortal(output),
        Call::Nodes(_) => Reply::Nodes(output),
        Call::Sessions(_) => Reply::Sessions(output),
        Call::Node(_) => Reply::Node(output),
        Call::NodeNew(_) => Reply::NodeNew(output),
        Call::NodeUpdate(_) => Reply::NodeUpdate(output),
        Call::Login(_) => Reply::Login(output),
        Call::Rescan(_) => Reply::Rescan(output),
        Call::Logout(_) => Reply::Logout(output),
        Call::NodeDelete(_) => Reply::NodeDelete(output),
    }
}
