//! A directory that stands for a host, for the tests of this crate: sessions and disks as the
//! software initiator shows them in sysfs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::Sysfs;

/// A directory with a `sys` and a `dev`.
pub(crate) struct Host(tempfile::TempDir);

impl Host {
    pub(crate) fn new() -> Host {
        Host(tempfile::tempdir().unwrap())
    }

    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn sysfs(&self) -> Sysfs {
        Sysfs::under(&fs::canonicalize(self.root()).unwrap())
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn link(&self, path: &str, to: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(to, path).unwrap();
    }

    /// A session as the software initiator makes it: a SCSI host of its own, of one number.
    pub(crate) fn session(&self, sid: u32, address: &str, iqn: &str) {
        let session = format!("sys/devices/platform/host{sid}/session{sid}");
        fs::create_dir_all(self.root().join(&session)).unwrap();
        self.write(
            &format!("sys/class/iscsi_session/session{sid}/targetname"),
            &format!("{iqn}\n"),
        );
        let connection = format!("sys/class/iscsi_connection/connection{sid}:0");
        self.write(&format!("{connection}/persistent_address"), &format!("{address}\n"));
        self.write(&format!("{connection}/persistent_port"), "3260\n");
        self.write(&format!("sys/class/scsi_host/host{sid}/scan"), "");
        let device = format!("../../../devices/platform/host{sid}");
        self.link(&format!("sys/class/scsi_host/host{sid}/device"), &device);
    }

    /// A disk of a session, with its node in `/dev`.
    pub(crate) fn disk(&self, sid: u32, lun: u32, name: &str) {
        let address = format!("{sid}:0:0:{lun}");
        let path = format!("platform/host{sid}/session{sid}/target{sid}:0:0/{address}");
        self.write(&format!("sys/devices/{path}/delete"), "");
        fs::create_dir_all(self.root().join(format!("sys/devices/{path}/block/{name}"))).unwrap();
        self.link(&format!("sys/block/{name}/device"), &format!("../../devices/{path}"));
        self.write(&format!("dev/{name}"), "");
    }
}
