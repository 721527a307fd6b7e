//! The compute host of the small cloud: commands of open-iscsi and the kernel's files.

use castoff_ports::host::{self, ScsiDevice};
use castoff_ports::iscsi::{self, CommandOutput};
use castoff_ports::{Call, Hctl, Lun, Reply};

use super::Cloud;

impl Cloud {
    /// The reply of a command, which may be made to fail.
    pub(super) fn command(&mut self, call: &Call, fails: bool) -> Option<Reply> {
        macro_rules! reply {
            ($system:ident::$module:ident::$op:ident, $out:expr) => {
                Reply::$system($module::Reply::$op(if fails {
                    CommandOutput::failed(1, "failed")
                } else {
                    $out
                }))
            };
        }
        let none = || CommandOutput::failed(21, "");
        Some(match call {
            Call::Iscsi(iscsi::Call::Discoverydb(_)) => {
                reply!(Iscsi::iscsi::Discoverydb, CommandOutput::ok())
            }
            Call::Iscsi(iscsi::Call::Nodes(_)) => reply!(Iscsi::iscsi::Nodes, none()),
            Call::Iscsi(iscsi::Call::Sessions(_)) => reply!(
                Iscsi::iscsi::Sessions,
                if self.session {
                    CommandOutput::with_stdout("tcp: [1] 10.0.0.1:3260,1 iqn.t (non-flash)\n")
                } else {
                    none()
                }
            ),
            Call::Iscsi(iscsi::Call::Node(_)) => {
                reply!(Iscsi::iscsi::Node, CommandOutput::failed(21, "no records found"))
            }
            Call::Iscsi(iscsi::Call::NodeNew(_)) => {
                reply!(Iscsi::iscsi::NodeNew, CommandOutput::ok())
            }
            Call::Iscsi(iscsi::Call::NodeUpdate(_)) => {
                reply!(Iscsi::iscsi::NodeUpdate, CommandOutput::ok())
            }
            Call::Iscsi(iscsi::Call::Login(_)) => {
                self.session |= !fails;
                reply!(Iscsi::iscsi::Login, CommandOutput::ok())
            }
            Call::Iscsi(iscsi::Call::Rescan(_)) => {
                self.scan(!fails);
                reply!(Iscsi::iscsi::Rescan, CommandOutput::ok())
            }
            Call::Iscsi(iscsi::Call::Logout(_)) => {
                self.session &= fails;
                self.device &= fails;
                reply!(Iscsi::iscsi::Logout, CommandOutput::ok())
            }
            Call::Iscsi(iscsi::Call::NodeDelete(_)) => {
                reply!(Iscsi::iscsi::NodeDelete, CommandOutput::ok())
            }
            Call::Host(host::Call::InitiatorName(_)) => reply!(
                Host::host::InitiatorName,
                CommandOutput::with_stdout("InitiatorName=iqn.1993-08.org.debian:vm\n")
            ),
            Call::Host(host::Call::MultipathdShowStatus(_)) => {
                reply!(Host::host::MultipathdShowStatus, CommandOutput::failed(1, ""))
            }
            Call::Host(host::Call::ScanLun(_)) => {
                self.scan(!fails);
                reply!(Host::host::ScanLun, CommandOutput::ok())
            }
            Call::Host(host::Call::FlushBufs(_)) => {
                reply!(Host::host::FlushBufs, CommandOutput::ok())
            }
            Call::Host(host::Call::DeleteDevice(_)) => {
                self.device &= fails;
                reply!(Host::host::DeleteDevice, CommandOutput::ok())
            }
            Call::Host(host::Call::ScsiId(_)) => {
                reply!(Host::host::ScsiId, CommandOutput::with_stdout("wwid\n"))
            }
            _ => return None,
        })
    }

    fn scan(&mut self, works: bool) {
        if works && self.session {
            self.scans_needed = self.scans_needed.saturating_sub(1);
            self.device = self.scans_needed == 0;
        }
    }

    /// What is no command: sysfs and udev's links.
    pub(super) fn host(&mut self, call: host::Call) -> host::Reply {
        use host::{Call, Reply};
        let hctl = Hctl { host: 3, channel: 0, target: 0, lun: Lun(1) };
        let link = "ip-10.0.0.1:3260-iscsi-iqn.t-lun-1";
        match call {
            Call::SessionDevices(_) => Reply::SessionDevices(
                self.device.then(|| ScsiDevice { name: "sdb".into(), hctl }).into_iter().collect(),
            ),
            Call::SessionHctl(_) => {
                Reply::SessionHctl(self.session.then_some(Hctl { lun: Lun(0), ..hctl }))
            }
            Call::DeviceExists(_) => Reply::DeviceExists(self.device),
            Call::RealPath(c) if self.device && c.by_path == link => {
                Reply::RealPath("/dev/sdb".to_owned())
            }
            Call::RealPath(c) => Reply::RealPath(format!("/dev/disk/by-path/{}", c.by_path)),
            Call::ListByPath(_) => {
                Reply::ListByPath(self.device.then(|| link.to_owned()).into_iter().collect())
            }
            Call::MultipathHolder(_) => Reply::MultipathHolder(None),
            Call::UnlinkByIdLinks(_) => Reply::UnlinkByIdLinks(()),
            other => panic!("nobody answers {}", other.describe()),
        }
    }
}
