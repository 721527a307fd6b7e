//! What castoff's jobs need on this machine: whether it is there, and how to get it.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Something that castoff is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Job {
    /// Simulate: `run`, `explore`, `ablate`, `replay`, `shrink`.
    Run,
    /// A cloud on loopback sockets: `serve`.
    Serve,
    /// OpenStack's own clients against it: tests/clients/run.sh.
    Clients,
    /// `conform --lab`: a compute host in User-mode Linux.
    Lab,
    /// `conform` on this host.
    Real,
}

impl Job {
    /// All of them.
    pub const ALL: [Job; 5] = [Job::Run, Job::Serve, Job::Clients, Job::Lab, Job::Real];

    /// The name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Job::Run => "run",
            Job::Serve => "serve",
            Job::Clients => "clients",
            Job::Lab => "lab",
            Job::Real => "real",
        }
    }
}

/// One thing that a job needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Need {
    /// The job.
    pub job: Job,
    /// What.
    pub what: String,
    /// Whether it is there.
    pub found: bool,
    /// Whether the job cannot go without it.
    pub required: bool,
    /// Where it is, or where it was looked for.
    pub place: String,
    /// How to get it.
    pub install: String,
}

/// The machine, as far as it is looked at.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Where absolute paths begin: `/`, or a directory that stands for a machine.
    pub root: PathBuf,
    /// Where commands are looked for.
    pub path: Vec<PathBuf>,
    /// The lab's cache folder (`real/lab/common.sh`), if the environment says where it is.
    pub cache: Option<PathBuf>,
}

const LAB: &str = "real/lab/install.sh (Debian 12)";

/// The lab's programs and files: what `lab_missing` of real/lab/common.sh asks for.
const LAB_COMMANDS: [&str; 4] = ["linux.uml", "bwrap", "taskset", "setsid"];
const LAB_FILES: [&str; 8] = [
    "usr/sbin/libvirtd",
    "usr/bin/virsh",
    "usr/bin/qemu-system-x86_64",
    "usr/sbin/tgtd",
    "usr/sbin/iscsid",
    "usr/sbin/iscsiadm",
    "lib/systemd/systemd-udevd",
    "usr/lib/uml/modules",
];

/// Debian's packages of the commands of the job `real`; the other distributions' where they differ.
const REAL_COMMANDS: [(&str, bool, &str); 5] = [
    ("iscsiadm", true, "apt-get install open-iscsi (Fedora, RHEL: iscsi-initiator-utils)"),
    ("blockdev", true, "apt-get install util-linux"),
    ("tee", true, "apt-get install coreutils"),
    ("virsh", false, "apt-get install libvirt-clients (Fedora, RHEL: libvirt-client)"),
    (
        "multipathd",
        false,
        "apt-get install multipath-tools (Fedora, RHEL: device-mapper-multipath); cases with two paths need it",
    ),
];

impl Machine {
    fn command(&self, name: &str) -> Option<PathBuf> {
        let runs = |p: &PathBuf| {
            fs::metadata(p).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
        };
        self.path.iter().map(|dir| dir.join(name)).find(runs)
    }

    fn needs_command(&self, job: Job, name: &str, required: bool, install: &str) -> Need {
        let found = self.command(name);
        Need {
            job,
            what: name.to_owned(),
            found: found.is_some(),
            required,
            place: found.map_or_else(|| "PATH".to_owned(), |p| p.display().to_string()),
            install: install.to_owned(),
        }
    }

    fn needs_file(&self, job: Job, file: &Path, what: &str, install: &str) -> Need {
        let path = self.root.join(file);
        Need {
            job,
            what: what.to_owned(),
            found: path.exists(),
            required: true,
            place: path.display().to_string(),
            install: install.to_owned(),
        }
    }

    /// What this job needs.
    pub fn needs(&self, job: Job) -> Vec<Need> {
        match job {
            Job::Run => vec![Need {
                job,
                what: "castoff".to_owned(),
                found: true,
                required: true,
                place: "scenarios, policies and models are in the program".to_owned(),
                install: String::new(),
            }],
            Job::Serve => vec![loopback(job)],
            Job::Clients => {
                let advice = "apt-get install python3 python3-venv; pip fetches the clients that \
                              tests/clients/requirements.txt names";
                vec![loopback(job), self.needs_command(job, "python3", true, advice)]
            }
            Job::Lab => self.lab(),
            Job::Real => self.real(),
        }
    }

    fn lab(&self) -> Vec<Need> {
        let job = Job::Lab;
        let mut all = vec![bindings(job)];
        all.extend(LAB_COMMANDS.map(|name| self.needs_command(job, name, true, LAB)));
        all.extend(LAB_FILES.map(|file| self.needs_file(job, Path::new(file), file, LAB)));
        if let Some(cache) = &self.cache {
            all.push(self.needs_file(
                job,
                &cache.join("format"),
                "the guest's kernel and initramfs",
                LAB,
            ));
        }
        all
    }

    fn real(&self) -> Vec<Need> {
        let job = Job::Real;
        let mut all = vec![bindings(job)];
        let daemon = "apt-get install libvirt-daemon-system qemu-system-x86 (Fedora, RHEL: libvirt-daemon-kvm), then \
                      systemctl start libvirtd, or virtqemud.socket";
        let sockets = ["run/libvirt/virtqemud-sock", "run/libvirt/libvirt-sock"];
        let socket = sockets.into_iter().find(|s| self.root.join(s).exists());
        let socket = socket.unwrap_or("run/libvirt/libvirt-sock");
        all.push(self.needs_file(job, Path::new(socket), "libvirt's socket", daemon));
        let name = "write InitiatorName=<iqn> into it; `iscsi-iname` makes one";
        let file = Path::new("etc/iscsi/initiatorname.iscsi");
        all.push(self.needs_file(job, file, "the initiator's name", name));
        // iscsid listens in the abstract namespace; systemd's iscsid.socket does before it runs.
        let listening = fs::read_to_string(self.root.join("proc/net/unix")).unwrap_or_default();
        let listens = |line: &str| line.ends_with("@ISCSIADM_ABSTRACT_NAMESPACE");
        all.push(Need {
            job,
            what: "iscsid".to_owned(),
            found: listening.lines().any(listens),
            required: true,
            place: "@ISCSIADM_ABSTRACT_NAMESPACE".to_owned(),
            install: "systemctl start iscsid.socket".to_owned(),
        });
        // The owner of /proc/self is the effective user of this process (proc(5)).
        let user = fs::metadata(self.root.join("proc/self")).map(|m| m.uid()).ok();
        all.push(Need {
            job,
            what: "root".to_owned(),
            found: user == Some(0),
            required: true,
            place: user.map_or_else(|| "no /proc".to_owned(), |u| format!("user {u}")),
            install: "run castoff as root: it writes to sysfs, as nova-compute's privsep does"
                .to_owned(),
        });
        all.extend(
            REAL_COMMANDS.map(|(c, required, how)| self.needs_command(job, c, required, how)),
        );
        all
    }
}

fn loopback(job: Job) -> Need {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    Need {
        job,
        what: "a port on 127.0.0.1".to_owned(),
        found: bound.is_ok(),
        required: true,
        place: bound.err().map_or_else(|| "127.0.0.1".to_owned(), |e| e.to_string()),
        install: "ip link set lo up".to_owned(),
    }
}

fn bindings(job: Job) -> Need {
    Need {
        job,
        what: "castoff with real bindings".to_owned(),
        found: cfg!(feature = "real"),
        required: true,
        place: "this program".to_owned(),
        install: "apt-get install libvirt-dev pkg-config (Fedora, RHEL: libvirt-devel pkgconf), then cargo build \
                  --release --features real"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a helper of a test that fails is a failed test")]

    use super::*;

    fn machine(root: &Path) -> Machine {
        let cache = Some(PathBuf::from("root/.cache/castoff/lab"));
        Machine { root: root.to_owned(), path: vec![root.join("usr/bin")], cache }
    }

    fn write(root: &Path, file: &str, mode: u32) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "1\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn missing(needs: &[Need]) -> Vec<&str> {
        needs.iter().filter(|n| !n.found).map(|n| n.what.as_str()).collect()
    }

    #[test]
    fn an_empty_machine_lacks_what_a_host_has_and_says_how_to_get_it() {
        let dir = tempfile::tempdir().unwrap();
        for job in [Job::Clients, Job::Lab, Job::Real] {
            let needs = machine(dir.path()).needs(job);
            let lacks: Vec<_> = needs.iter().filter(|n| !n.found).collect();
            assert!(!lacks.is_empty(), "{job:?}");
            assert!(lacks.iter().all(|n| !n.install.is_empty() && !n.place.is_empty()));
        }
        assert_eq!(missing(&machine(dir.path()).needs(Job::Run)), [""; 0]);
    }

    #[test]
    fn what_is_there_is_found_and_a_file_that_cannot_be_run_is_no_command() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "usr/bin/iscsiadm", 0o755);
        write(dir.path(), "usr/bin/blockdev", 0o644);
        write(dir.path(), "run/libvirt/virtqemud-sock", 0o600);
        let needs = machine(dir.path()).needs(Job::Real);
        let lacks = missing(&needs);
        assert!(!lacks.contains(&"iscsiadm") && !lacks.contains(&"libvirt's socket"), "{lacks:?}");
        assert!(lacks.contains(&"blockdev") && lacks.contains(&"iscsid"), "{lacks:?}");
    }

    #[test]
    fn the_lab_needs_what_its_own_scripts_ask_for() {
        let script = include_str!("../../real/lab/common.sh");
        for name in LAB_COMMANDS {
            assert!(script.contains(&format!(" {name}")), "{name}");
        }
        for file in LAB_FILES {
            assert!(script.contains(&format!("/{file}")), "{file}");
        }
    }
}
