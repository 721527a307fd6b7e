//! libvirt's errors as failures: what is an answer, what is the loss of the connection.

use castoff_ports::libvirt::error;
use castoff_ports::{Failure, Refusal};
use virt::error::Error;

/// The system's name in failures, as in `castoff_ports::Call::system`.
pub(crate) const SYSTEM: &str = "libvirt";

/// virErrorDomain of the RPC layer and of the remote driver, virErrorNumber of a system call's
/// error: what a connection that broke reports (nova `virt/libvirt/host.py`, `_test_connection`).
const FROM_RPC: i32 = 7;
const FROM_REMOTE: i32 = 13;
const SYSTEM_ERROR: i32 = 38;

/// libvirt's text for a call on a connection that was already closed: it was never sent.
const CLOSED_BEFORE: &str = "client socket is closed";

/// An error that crate `virt` has read.
pub(crate) fn failure(e: &Error) -> Failure {
    // `to_raw` gives the number back even where the crate has no name for it.
    classify(e.code().to_raw() as i32, e.domain().to_raw() as i32, e.message())
}

/// A refusal is libvirt's answer; an error of the connection itself is no answer.
fn classify(code: i32, domain: i32, message: &str) -> Failure {
    let broke = matches!(domain, FROM_RPC | FROM_REMOTE)
        && matches!(code, SYSTEM_ERROR | error::INTERNAL_ERROR);
    let system = || SYSTEM.to_owned();
    if broke && message.contains(CLOSED_BEFORE) {
        Failure::Unreachable { system: system() }
    } else if broke {
        Failure::NoReply { system: system() }
    } else {
        Refusal::Libvirt { code, domain, message: message.to_owned() }.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_connection_is_no_answer_and_an_answer_is_a_refusal() {
        let system = || SYSTEM.to_owned();
        let eof = "End of file while reading data: Input/output error";
        assert_eq!(classify(38, FROM_RPC, eof), Failure::NoReply { system: system() });
        let closed = "internal error: client socket is closed";
        assert_eq!(classify(1, FROM_RPC, closed), Failure::Unreachable { system: system() });
        let busy = "unable to execute QEMU command 'device_del': already in the process of unplug";
        assert_eq!(classify(1, 10, busy), Refusal::libvirt(1, busy).into());
        assert_eq!(
            classify(99, 10, "device not found"),
            Refusal::libvirt(99, "device not found").into()
        );
    }
}
