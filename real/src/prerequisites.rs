//! What the host needs for a real run, and which package brings what it lacks.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::RealError;
use crate::command::search_directories;

/// One thing that a run needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prerequisite {
    /// What.
    pub what: &'static str,
    /// Where it was found, or where it was looked for.
    pub place: String,
    /// Whether it is there.
    pub found: bool,
    /// Whether every run needs it; the rest only serves multipath.
    pub required: bool,
    /// What to do when it is not there.
    pub advice: &'static str,
}

struct Tool {
    command: &'static str,
    required: bool,
    package: &'static str,
}

const TOOLS: [Tool; 5] = [
    Tool {
        command: "iscsiadm",
        required: true,
        package: "open-iscsi (Debian, Ubuntu) or iscsi-initiator-utils (Fedora, RHEL)",
    },
    Tool { command: "blockdev", required: true, package: "util-linux" },
    Tool { command: "tee", required: true, package: "coreutils" },
    Tool { command: "cat", required: true, package: "coreutils" },
    Tool {
        command: "multipathd",
        required: false,
        package: "multipath-tools (Debian, Ubuntu) or device-mapper-multipath (Fedora, RHEL)",
    },
];

/// libvirtd's socket, and virtqemud's where libvirt is modular.
const LIBVIRT_SOCKETS: [&str; 2] = ["run/libvirt/virtqemud-sock", "run/libvirt/libvirt-sock"];

/// iscsid's control socket is in the abstract namespace (open-iscsi `usr/mgmt_ipc.h`); systemd's
/// iscsid.socket listens on it before iscsid runs.
const ISCSID_SOCKET: &str = "@ISCSIADM_ABSTRACT_NAMESPACE";

/// Checks this host, the required things first.
pub fn check() -> Vec<Prerequisite> {
    check_under(Path::new("/"), &search_directories())
}

/// The commands that every run needs.
pub(crate) fn commands() -> Result<(), RealError> {
    let directories = search_directories();
    for tool in TOOLS.iter().filter(|t| t.required) {
        if find(tool.command, &directories).is_none() {
            let searched = listed(&directories);
            let (command, package) = (tool.command, tool.package);
            return Err(RealError::CommandMissing { command, searched, package });
        }
    }
    Ok(())
}

fn check_under(root: &Path, directories: &[PathBuf]) -> Vec<Prerequisite> {
    let required = |what, place: String, found, advice| Prerequisite {
        what,
        place,
        found,
        required: true,
        advice,
    };
    let [modular, monolithic] = LIBVIRT_SOCKETS.map(|s| root.join(s));
    let socket = if modular.exists() { modular } else { monolithic };
    let names = root.join("etc/iscsi/initiatorname.iscsi");
    let sockets = root.join("proc/net/unix");
    let listening = fs::read_to_string(&sockets).unwrap_or_default();
    let listening = listening.lines().any(|l| l.split_whitespace().last() == Some(ISCSID_SOCKET));
    // The owner of /proc/self is the effective user of this process (proc(5)).
    let user = fs::metadata(root.join("proc/self")).map(|m| m.uid()).ok();
    let mut all = vec![
        required(
            "libvirt's socket",
            socket.display().to_string(),
            socket.exists(),
            "install libvirt-daemon-system (Debian, Ubuntu) or libvirt-daemon-kvm (Fedora, RHEL) \
             and start it: systemctl start libvirtd, or virtqemud.socket",
        ),
        required(
            "iscsid",
            ISCSID_SOCKET.to_owned(),
            listening,
            "systemctl start iscsid.socket, or run iscsid",
        ),
        required(
            "the initiator's name",
            names.display().to_string(),
            names.exists(),
            "write InitiatorName=<iqn> into it; `iscsi-iname` makes one",
        ),
        required(
            "root",
            user.map_or_else(|| "no /proc".to_owned(), |u| format!("user {u}")),
            user == Some(0),
            "run castoff as root: it writes to sysfs and asks iscsid, as nova-compute's privsep does",
        ),
    ];
    for tool in &TOOLS {
        let path = find(tool.command, directories);
        all.push(Prerequisite {
            what: tool.command,
            found: path.is_some(),
            place: path.map_or_else(|| listed(directories), |p| p.display().to_string()),
            required: tool.required,
            advice: tool.package,
        });
    }
    // Required ones first; within both groups the order above.
    all.sort_by_key(|p| !p.required);
    all
}

fn find(command: &str, directories: &[PathBuf]) -> Option<PathBuf> {
    directories
        .iter()
        .map(|d| d.join(command))
        .find(|p| fs::metadata(p).is_ok_and(|m| m.is_file() && m.mode() & 0o111 != 0))
}

fn listed(directories: &[PathBuf]) -> String {
    let texts: Vec<_> = directories.iter().map(|d| d.to_string_lossy()).collect();
    texts.join(":")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::sysfs::fake;

    fn found<'a>(all: &'a [Prerequisite], what: &str) -> &'a Prerequisite {
        all.iter().find(|p| p.what == what).unwrap()
    }

    #[test]
    fn an_empty_host_lacks_everything_and_every_lack_has_advice() {
        let host = fake::Host::new();
        let all = check_under(host.root(), &[host.root().join("sbin")]);
        assert!(all.iter().all(|p| !p.found && !p.advice.is_empty() && !p.place.is_empty()));
        assert!(found(&all, "iscsiadm").advice.contains("open-iscsi"));
    }

    #[test]
    fn what_is_there_is_found() {
        let host = fake::Host::new();
        host.write("run/libvirt/libvirt-sock", "");
        host.write("etc/iscsi/initiatorname.iscsi", "InitiatorName=iqn.t\n");
        let header = "Num       RefCount Protocol Flags    Type St Inode Path\n";
        let line = "0000000: 00000002 00000000 00010000 0001 01 1 @ISCSIADM_ABSTRACT_NAMESPACE\n";
        host.write("proc/net/unix", &format!("{header}{line}"));
        host.write("sbin/iscsiadm", "");
        host.write("sbin/blockdev", "");
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(host.root().join("sbin/iscsiadm"), executable).unwrap();
        let all = check_under(host.root(), &[host.root().join("sbin")]);
        for what in ["libvirt's socket", "iscsid", "the initiator's name", "iscsiadm"] {
            assert!(found(&all, what).found, "{what}");
        }
        assert!(!found(&all, "blockdev").found, "a file that cannot be run is no command");
    }

    #[test]
    fn the_required_things_come_first() {
        let all = check();
        let required: Vec<bool> = all.iter().map(|p| p.required).collect();
        assert!(required.is_sorted_by(|a, b| a >= b), "{required:?}");
        assert!(found(&all, "tee").found);
    }
}
