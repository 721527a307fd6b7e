//! What os-brick raises.

use castoff_ports::Failure;

/// An exception of os-brick, or of the command that it ran.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BrickError {
    /// The volume's device never appeared on the host.
    #[error("find a device of the volume: none at {device}")]
    VolumeDeviceNotFound {
        /// Where it was looked for.
        device: String,
    },
    /// The device was still there when the wait ended.
    #[error("see volume path {path} removed: it is still there")]
    VolumePathNotRemoved {
        /// The device or link.
        path: String,
    },
    /// No portal let us log in.
    #[error("log in to any iSCSI portal of target {iqn}")]
    FailedIscsiTargetPortalLogin {
        /// The target.
        iqn: String,
    },
    /// BrickException with this message.
    #[error("use iSCSI portal {portal}: {message}")]
    BrickException {
        /// The portal.
        portal: String,
        /// os-brick's words.
        message: &'static str,
    },
    /// A command ended with an exit code that was not accepted.
    #[error("run `{cmd}`: exit {exit}, needs one of {accepted:?}; stderr {stderr:?}")]
    ProcessExecutionError {
        /// The command line, secrets masked.
        cmd: String,
        /// Its exit code.
        exit: i32,
        /// The accepted ones.
        accepted: &'static [i32],
        /// What it printed.
        stderr: String,
    },
    /// iscsiadm printed what os-brick cannot read (IndexError or ValueError there).
    #[error("read a session in {line:?}: needs `transport: [sid] portal,tpgt iqn`")]
    UnreadableSession {
        /// The line.
        line: String,
    },
    /// os-brick 1.12 compares the LUN with a number, which Python 3 refuses to do with a text.
    #[error("find the link of LUN {text:?}: a text, needs to be a number")]
    LunIsText {
        /// The LUN.
        text: String,
    },
    /// With force every step ran, and these failed.
    #[error("disconnect cleanly; {} errors, first: {first}", .others.len() + 1)]
    ExceptionChainer {
        /// The first error.
        first: Box<BrickError>,
        /// The errors after it.
        others: Vec<BrickError>,
    },
    /// No target answers at the portal that cinder named.
    #[error("find target portal {portal}")]
    TargetPortalNotFound {
        /// The portal.
        portal: String,
    },
    /// `multipath -l` failed.
    #[error("run `multipath -l /dev/{device}`")]
    CommandExecutionFailed {
        /// The disk that it was asked about.
        device: String,
    },
    /// multipathd removed the map and it is still there.
    #[error("remove map {map}: it does not go away")]
    MultipathStays {
        /// The map.
        map: String,
    },
    /// The command or file access itself failed, or ran out of time.
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl BrickError {
    /// The exception's class.
    pub fn class_name(&self) -> &'static str {
        match self {
            BrickError::VolumeDeviceNotFound { .. } => "VolumeDeviceNotFound",
            BrickError::VolumePathNotRemoved { .. } => "VolumePathNotRemoved",
            BrickError::FailedIscsiTargetPortalLogin { .. } => "FailedISCSITargetPortalLogin",
            BrickError::BrickException { .. } | BrickError::MultipathStays { .. } => {
                "BrickException"
            }
            BrickError::TargetPortalNotFound { .. } => "TargetPortalNotFound",
            BrickError::CommandExecutionFailed { .. } => "CommandExecutionFailed",
            BrickError::ProcessExecutionError { .. } => "ProcessExecutionError",
            BrickError::UnreadableSession { .. } => "ValueError",
            BrickError::LunIsText { .. } => "TypeError",
            BrickError::ExceptionChainer { .. } => "ExceptionChainer",
            BrickError::Failure(_) => "ExecutionTimeout",
        }
    }
}

/// os-brick's ExceptionChainer: with force a step's error is kept for the end, else it ends all.
pub(crate) struct Chainer {
    force: bool,
    errors: Vec<BrickError>,
}

impl Chainer {
    pub(crate) fn new(force: bool) -> Chainer {
        Chainer { force, errors: Vec::new() }
    }

    /// One step's result: an error is passed on, or kept when forcing.
    pub(crate) fn step(&mut self, result: Result<(), BrickError>) -> Result<(), BrickError> {
        match result {
            Err(e) if self.force => {
                self.errors.push(e);
                Ok(())
            }
            other => other,
        }
    }

    /// What was kept, as one error.
    pub(crate) fn into_result(self) -> Result<(), BrickError> {
        let mut errors = self.errors.into_iter();
        match errors.next() {
            None => Ok(()),
            Some(first) => Err(BrickError::ExceptionChainer {
                first: Box::new(first),
                others: errors.collect(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error() -> BrickError {
        BrickError::VolumePathNotRemoved { path: "/dev/sdb".to_owned() }
    }

    #[test]
    fn without_force_the_first_error_ends_all_and_with_force_it_is_kept() {
        assert_eq!(Chainer::new(false).step(Err(error())), Err(error()));
        let mut forced = Chainer::new(true);
        assert_eq!(forced.step(Err(error())), Ok(()));
        assert_eq!(
            forced.into_result(),
            Err(BrickError::ExceptionChainer { first: Box::new(error()), others: vec![] })
        );
        assert_eq!(Chainer::new(true).into_result(), Ok(()));
    }
}
