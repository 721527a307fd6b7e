//! Why the real host cannot be used at all; each error says what to do about it.
//!
//! What goes wrong within one operation is a [`castoff_ports::Failure`] instead.

use std::path::PathBuf;

/// Why a [`RealHost`](crate::RealHost) could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RealError {
    /// libvirt did not answer at the URI.
    #[error(
        "reach libvirt at {uri}: {message}; start it (systemctl start libvirtd, or virtqemud.socket \
         where libvirt is modular) and run castoff as root"
    )]
    LibvirtUnreachable {
        /// The connection URI.
        uri: String,
        /// libvirt's own message.
        message: String,
    },
    /// libvirt has no such domain.
    #[error(
        "find domain {domain} at {uri}: {message}; `virsh -c {uri} list --all` shows those there are"
    )]
    NoDomain {
        /// The name or UUID that was looked up.
        domain: String,
        /// The connection URI.
        uri: String,
        /// libvirt's own message.
        message: String,
    },
    /// libvirt's event loop could not be started.
    #[error("start libvirt's event loop: {message}")]
    EventLoop {
        /// libvirt's or the operating system's message.
        message: String,
    },
    /// A command that every run needs is not installed.
    #[error("find the command {command}: not in {searched}; install {package}")]
    CommandMissing {
        /// The command.
        command: &'static str,
        /// Directories that were searched.
        searched: String,
        /// Packages that hold it.
        package: &'static str,
    },
    /// The directory of the lock files cannot be made.
    #[error("make the lock directory {path:?}: {message}")]
    LockDirectory {
        /// The directory.
        path: PathBuf,
        /// errno's text.
        message: String,
    },
    /// What was named on the command line can name nothing.
    #[error("use {what} {value:?}: {needed}")]
    BadName {
        /// Kind of name.
        what: &'static str,
        /// The name as given.
        value: String,
        /// What it must look like.
        needed: &'static str,
    },
}
