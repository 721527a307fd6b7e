//! The host's kernel and udev: sysfs, block devices, multipathd. What os-brick runs as a command
//! is a command here too (`tee -a` into sysfs), so that a recording of either reads the same.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::time::Duration;

use castoff_ports::host::{Call, Reply};
use castoff_ports::iscsi::CommandOutput;
use castoff_ports::{DeviceName, Failure, Refusal};

use crate::command::{self, NoExit};
use crate::guard::Presence;
use crate::sysfs::Sysfs;

const SYSTEM: &str = "host";

/// udev's helper is in no directory of PATH.
const SCSI_ID: &str = "/lib/udev/scsi_id";

/// Carries out a call that the guard let pass. `presence` is the guard's word on the device.
pub(crate) async fn call(
    call: Call,
    presence: Presence,
    sysfs: &Sysfs,
    limit: Duration,
) -> Result<Reply, Failure> {
    let gone = presence == Presence::Gone;
    Ok(match call {
        Call::InitiatorName(_) => {
            let file = Path::new("/etc/iscsi/initiatorname.iscsi");
            Reply::InitiatorName(finished(command::run("cat", [file], None, limit).await)?)
        }
        Call::MultipathdShowStatus(_) => {
            let ran = command::run("multipathd", ["show", "status"], None, limit).await;
            Reply::MultipathdShowStatus(finished(ran)?)
        }
        Call::SessionDevices(c) => Reply::SessionDevices(sysfs.session_devices(c.sid)),
        Call::SessionHctl(c) => Reply::SessionHctl(sysfs.session_hctl(c.sid)),
        Call::ScanLun(c) => {
            let h = c.hctl;
            let text = format!("{} {} {}", h.channel, h.target, h.lun);
            let file = sysfs.scan_file(h.host);
            Reply::ScanLun(if gone {
                no_such_file("tee:", &file)
            } else {
                tee(&file, text, limit).await?
            })
        }
        Call::DeviceExists(c) => Reply::DeviceExists(sysfs.node(&c.device).exists()),
        Call::RealPath(c) => {
            Reply::RealPath(sysfs.real_path(&c.by_path).to_string_lossy().into_owned())
        }
        Call::ListByPath(c) => Reply::ListByPath(sysfs.by_path_links(&c.prefix)),
        Call::FlushBufs(c) => {
            let node = sysfs.node(&c.device);
            Reply::FlushBufs(if gone {
                no_such_file("blockdev: cannot open", &node)
            } else {
                let args = [OsStr::new("--flushbufs"), node.as_os_str()];
                finished(command::run("blockdev", args, None, limit).await)?
            })
        }
        Call::DeleteDevice(c) => {
            let file = sysfs.block(&c.device).join("device/delete");
            Reply::DeleteDevice(if gone {
                no_such_file("tee:", &file)
            } else {
                tee(&file, "1".to_owned(), limit).await?
            })
        }
        Call::ScsiId(c) => {
            let node = sysfs.node(&c.device);
            Reply::ScsiId(if gone {
                CommandOutput::failed(1, "")
            } else {
                let [page, code, listed] = ["--page", "0x83", "--whitelisted"].map(OsStr::new);
                let args = [page, code, listed, node.as_os_str()];
                finished(command::run(SCSI_ID, args, None, limit).await)?
            })
        }
        // The guard lets no LUKS mapping be made or closed on a real host.
        // The journal's calls never come here: the host's entry answers them.
        Call::CryptsetupOpen(_)
        | Call::CryptsetupClose(_)
        | Call::JournalRead(_)
        | Call::JournalWrite(_)
        | Call::JournalRemove(_) => {
            return Err(Refusal::Unsupported { operation: call.name().to_owned() }.into());
        }
        Call::MultipathHolder(c) => Reply::MultipathHolder(sysfs.holder(&c.device)),
        Call::UnlinkByIdLinks(c) => {
            for link in sysfs.by_id_links(&c.devices) {
                match fs::remove_file(&link) {
                    Ok(()) => {}
                    // udev was faster.
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                    Err(e) => {
                        let path = link.display().to_string();
                        return Err(Refusal::Os { path, message: command::errno_text(&e) }.into());
                    }
                }
            }
            Reply::UnlinkByIdLinks(())
        }
        Call::TargetHctl(c) => Reply::TargetHctl(sysfs.target_hctl(&c.iqn)),
        Call::ScsiIdOfLink(c) => {
            let link = sysfs.dev.join("disk/by-path").join(&c.by_path);
            Reply::ScsiIdOfLink(if gone {
                CommandOutput::failed(1, "")
            } else {
                let [page, code, listed] = ["--page", "0x83", "--whitelisted"].map(OsStr::new);
                let args = [page, code, listed, link.as_os_str()];
                finished(command::run(SCSI_ID, args, None, limit).await)?
            })
        }
        Call::PathExists(c) => Reply::PathExists(Path::new(&c.path).exists()),
        Call::DmName(c) => Reply::DmName(sysfs.dm_name(&DeviceName::new(c.dm))),
        Call::SysfsWwn(c) => Reply::SysfsWwn(
            c.dm.and_then(|dm| sysfs.dm_wwid(&DeviceName::new(dm)))
                .or_else(|| c.devices.iter().find_map(|d| sysfs.wwid(d))),
        ),
        Call::Lsblk(_) => {
            let ran = command::run("lsblk", ["-o", "NAME,RO", "-l", "-n"], None, limit).await;
            Reply::Lsblk(finished(ran)?)
        }
        Call::MultipathList(c) => {
            let node = sysfs.node(&c.device);
            let args = [OsStr::new("-l"), node.as_os_str()];
            Reply::MultipathList(finished(command::run("multipath", args, None, limit).await)?)
        }
        Call::MultipathTopology(_) => Reply::MultipathTopology(multipath(["-ll"], limit).await?),
        Call::MultipathFlush(c) => Reply::MultipathFlush(if gone {
            CommandOutput::failed(1, format!("{}: not a multipath map\n", c.map))
        } else {
            multipath(["-f", &c.map], limit).await?
        }),
        Call::MultipathReady(c) => Reply::MultipathReady(multipath(["-C", &c.dm], limit).await?),
        Call::MultipathAddWwid(c) => {
            Reply::MultipathAddWwid(multipath(["-a", &c.wwid], limit).await?)
        }
        Call::MultipathReload(_) => Reply::MultipathReload(multipath(["-r"], limit).await?),
        Call::MultipathdShowPaths(_) => {
            let args = ["show", "paths", "raw", "format", "%d"];
            Reply::MultipathdShowPaths(multipathd(args, limit).await?)
        }
        Call::MultipathdAddPath(c) => {
            let node = sysfs.node(&c.device).display().to_string();
            Reply::MultipathdAddPath(if gone {
                CommandOutput::failed(1, "fail\n")
            } else {
                multipathd(["add", "path", &node], limit).await?
            })
        }
        Call::MultipathdDelPath(c) => {
            // multipathd may watch a disk that the kernel has removed: it is asked all the same.
            let node = sysfs.node(&c.device).display().to_string();
            Reply::MultipathdDelPath(multipathd(["del", "path", &node], limit).await?)
        }
        Call::MultipathdDelMap(c) => Reply::MultipathdDelMap(if gone {
            CommandOutput::failed(1, "fail\n")
        } else {
            multipathd(["del", "map", &c.map], limit).await?
        }),
    })
}

async fn multipath<const N: usize>(
    args: [&str; N],
    limit: Duration,
) -> Result<CommandOutput, Failure> {
    finished(command::run("multipath", args, None, limit).await)
}

async fn multipathd<const N: usize>(
    args: [&str; N],
    limit: Duration,
) -> Result<CommandOutput, Failure> {
    finished(command::run("multipathd", args, None, limit).await)
}

async fn tee(file: &Path, text: String, limit: Duration) -> Result<CommandOutput, Failure> {
    finished(command::run("tee", [OsStr::new("-a"), file.as_os_str()], Some(text), limit).await)
}

fn finished(ran: Result<CommandOutput, NoExit>) -> Result<CommandOutput, Failure> {
    ran.map_err(|_| Failure::NoReply { system: SYSTEM.to_owned() })
}

/// What the tool would answer about a device that is gone. It is not run: another device may take
/// the name in between, and it would be the wrong one.
fn no_such_file(what: &str, path: &Path) -> CommandOutput {
    CommandOutput::failed(1, format!("{what} {}: No such file or directory\n", path.display()))
}

#[cfg(test)]
mod tests {
    use castoff_ports::host::{DeleteDevice, FlushBufs, RealPath, ScanLun, UnlinkByIdLinks};
    use castoff_ports::{Hctl, Lun};

    use super::*;
    use crate::sysfs::fake;

    const LIMIT: Duration = Duration::from_secs(30);

    fn run(c: Call, presence: Presence, sysfs: &Sysfs) -> Result<Reply, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(call(c, presence, sysfs, LIMIT))
    }

    fn machine() -> fake::Host {
        let host = fake::Host::new();
        host.session(1, "10.0.0.1", "iqn.t");
        host.disk(1, 1, "sdb");
        host
    }

    #[test]
    fn deleting_a_device_writes_a_one_to_its_delete_attribute() {
        let machine = machine();
        let call = Call::DeleteDevice(DeleteDevice { device: "sdb".into() });
        let reply = run(call, Presence::Named, &machine.sysfs());
        assert_eq!(reply, Ok(Reply::DeleteDevice(CommandOutput::with_stdout("1"))));
        let written = fs::read_to_string(machine.root().join("sys/block/sdb/device/delete"));
        assert_eq!(written.unwrap(), "1");
    }

    #[test]
    fn scanning_a_lun_writes_channel_target_and_lun_to_its_host() {
        let machine = machine();
        let hctl = Hctl { host: 1, channel: 0, target: 0, lun: Lun(5) };
        let reply = run(Call::ScanLun(ScanLun { hctl }), Presence::Named, &machine.sysfs());
        assert_eq!(reply, Ok(Reply::ScanLun(CommandOutput::with_stdout("0 0 5"))));
        let written = fs::read_to_string(machine.sysfs().scan_file(1)).unwrap();
        assert_eq!(written, "0 0 5");
    }

    #[test]
    fn a_device_that_is_gone_is_answered_without_running_anything() {
        let machine = machine();
        // The device is there by now: had the command run, the attribute would show it.
        let call = Call::DeleteDevice(DeleteDevice { device: "sdb".into() });
        let Ok(Reply::DeleteDevice(output)) = run(call, Presence::Gone, &machine.sysfs()) else {
            panic!("no output");
        };
        assert_eq!(output.exit, 1);
        assert!(output.stderr.contains("No such file or directory"), "{}", output.stderr);
        let written = fs::read_to_string(machine.root().join("sys/block/sdb/device/delete"));
        assert_eq!(written.unwrap(), "");
    }

    #[test]
    fn a_flush_that_fails_is_a_reply_with_the_commands_own_exit_code() {
        let machine = machine();
        let call = Call::FlushBufs(FlushBufs { device: "sdb".into() });
        // A regular file has no buffers of a block device: blockdev says so.
        let Ok(Reply::FlushBufs(output)) = run(call, Presence::Named, &machine.sysfs()) else {
            panic!("no output");
        };
        assert_ne!(output.exit, 0);
        assert!(!output.stderr.is_empty());
    }

    #[test]
    fn only_the_removed_devices_by_id_links_are_unlinked() {
        let machine = machine();
        machine.link("dev/disk/by-id/scsi-3600a", "../../sdx");
        machine.link("dev/disk/by-id/scsi-3600b", "../../sdb");
        let call = Call::UnlinkByIdLinks(UnlinkByIdLinks { devices: vec!["sdx".into()] });
        assert_eq!(run(call, Presence::Named, &machine.sysfs()), Ok(Reply::UnlinkByIdLinks(())));
        let by_id = machine.root().join("dev/disk/by-id");
        assert!(by_id.join("scsi-3600a").symlink_metadata().is_err());
        assert!(by_id.join("scsi-3600b").symlink_metadata().is_ok());
    }

    #[test]
    fn a_by_path_link_that_does_not_exist_is_its_own_real_path() {
        let machine = machine();
        let call = Call::RealPath(RealPath { by_path: "ip-10.0.0.1:3260-iscsi-t-lun-1".into() });
        let Ok(Reply::RealPath(path)) = run(call, Presence::Named, &machine.sysfs()) else {
            panic!("no path");
        };
        assert!(path.ends_with("/dev/disk/by-path/ip-10.0.0.1:3260-iscsi-t-lun-1"), "{path}");
    }
}
