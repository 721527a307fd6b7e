//! What can come back instead of a reply.

use serde::{Deserialize, Serialize};

/// Why an operation gave no reply of its own type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum Failure {
    /// The system answered, and the answer is no. Nothing else is known to have changed, except
    /// where the system's documentation says so (a 500 or 504 may hide an effect).
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The request never arrived: connection refused, no route, broker down. No effect.
    #[error("{system} is unreachable")]
    Unreachable {
        /// The system that was called.
        system: String,
    },
    /// The connection was lost before the reply: the effect may have happened.
    #[error("{system} did not reply; the effect may have happened")]
    NoReply {
        /// The system that was called.
        system: String,
    },
}

/// A refusal, in the words of the system that refuses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// An HTTP service answered with an error status.
    #[error("HTTP {status}: {message}")]
    Http {
        /// HTTP status code, 400 and above.
        status: u16,
        /// The `message` of the error body.
        message: String,
    },
    /// libvirt raised a libvirtError.
    #[error("libvirt error {code} (domain {domain}): {message}")]
    Libvirt {
        /// `virErrorNumber`, see [`crate::libvirt::error`].
        code: i32,
        /// `virErrorDomain`.
        domain: i32,
        /// libvirt's message.
        message: String,
    },
    /// A database row that was named does not exist (or is soft-deleted).
    #[error("{what} {id} not found")]
    NotFound {
        /// The table's object, for example `BlockDeviceMapping`.
        what: String,
        /// The key that was looked up.
        id: String,
    },
    /// The remote side of an RPC call raised.
    #[error("remote error {exception}: {message}")]
    Remote {
        /// The exception's class name.
        exception: String,
        /// Its text.
        message: String,
    },
    /// An RPC call was not answered in time.
    #[error("MessagingTimeout: timed out waiting for a reply from {server}")]
    MessagingTimeout {
        /// The server that was called.
        server: String,
    },
    /// The host lacks what the operation needs (a file, a device): the text is errno's.
    #[error("{path}: {message}")]
    Os {
        /// The path that was touched.
        path: String,
        /// errno's text, for example `No such file or directory`.
        message: String,
    },
    /// This binding cannot carry out the operation.
    #[error("operation {operation} is not supported by this binding")]
    Unsupported {
        /// The operation's name.
        operation: String,
    },
}

impl Refusal {
    /// An HTTP refusal.
    pub fn http(status: u16, message: impl Into<String>) -> Self {
        Refusal::Http { status, message: message.into() }
    }
    /// A libvirt refusal of the QEMU driver (domain 10).
    pub fn libvirt(code: i32, message: impl Into<String>) -> Self {
        Refusal::Libvirt { code, domain: crate::libvirt::error::FROM_QEMU, message: message.into() }
    }
    /// A row that was not found.
    pub fn not_found(what: &str, id: impl ToString) -> Self {
        Refusal::NotFound { what: what.to_owned(), id: id.to_string() }
    }
}

impl Failure {
    /// The HTTP status of the refusal, if an HTTP service refused.
    pub fn http_status(&self) -> Option<u16> {
        match self {
            Failure::Refused(Refusal::Http { status, .. }) => Some(*status),
            _ => None,
        }
    }
    /// The libvirt error code and message, if libvirt refused.
    pub fn libvirt(&self) -> Option<(i32, &str)> {
        match self {
            Failure::Refused(Refusal::Libvirt { code, message, .. }) => Some((*code, message)),
            _ => None,
        }
    }
}
