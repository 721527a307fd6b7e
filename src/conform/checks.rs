//! What a check finds: in the models of the control plane, in libvirt, in the kernel, on the target.

use castoff_ports::libvirt::GuestDisk;
use castoff_ports::{Failure, VolumeId};
use castoff_real::look::{Seen, look};

use super::case::Check;
use super::play::Play;
use super::record::CheckRecord;
use super::recorded::{self, Compared, Issued, Recording};

/// Looks at everything once, and says of each check whether it holds.
pub(super) async fn run(play: &Play<'_>, checks: &[Check]) -> Result<Vec<CheckRecord>, Failure> {
    let seen = look_now(play).await?;
    let mut records = Vec::new();
    for check in checks {
        records.push(one(play, &seen, *check).await);
    }
    Ok(records)
}

/// What must hold whenever nothing moves, whatever the case: cinder gives a volume to the next one
/// only when guest and host have let go of it.
pub(super) async fn safe(play: &Play<'_>) -> Result<Vec<CheckRecord>, Failure> {
    let seen = look_now(play).await?;
    let mut records = Vec::new();
    for n in play.volumes() {
        let status = status(play, n);
        let (live, devices) = (live(play, &seen, n), devices(play, &seen, n));
        let ok = status != "available" || (!live && devices.is_empty());
        let found = format!("{status}; in the guest: {live}; on the host: {}", list(&devices));
        records.push(record(format!("volume {n} is not given away while it is in use"), ok, found));
    }
    Ok(records)
}

/// One look serves until the next step that changes something.
async fn look_now(play: &Play<'_>) -> Result<Seen, Failure> {
    let known = play.seen.borrow().clone();
    if let Some(seen) = known {
        return Ok(seen);
    }
    let stage = play.stage;
    let mut guests = vec![play.instance.clone()];
    if play.volumes().iter().any(|n| stage.is_others(*n)) {
        guests.push(stage.other_id());
    }
    let seen = look(&play.hybrid.host, &stage.iqn, &stage.portals, &guests, &stage.run).await?;
    *play.seen.borrow_mut() = Some(seen.clone());
    Ok(seen)
}

fn record(name: String, ok: bool, found: String) -> CheckRecord {
    CheckRecord { name, ok, found }
}

/// `volume 1 is available`: found what.
fn equal(name: String, found: &str, wanted: &str) -> CheckRecord {
    record(format!("{name} {wanted}"), found == wanted, found.to_owned())
}

/// Whether something is there, and whether it ought to be.
fn present(name: &str, wanted: bool, found: &[String]) -> CheckRecord {
    let word = if wanted { "is there" } else { "is gone" };
    record(format!("{name} {word}"), found.is_empty() != wanted, list(found))
}

fn list(all: &[String]) -> String {
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

async fn one(play: &Play<'_>, seen: &Seen, check: Check) -> CheckRecord {
    match check {
        Check::Answered(status) => {
            equal("DELETE is answered".to_owned(), &play.answer().to_string(), &status.to_string())
        }
        Check::SecondAnswered(status) => equal(
            "the second DELETE is answered".to_owned(),
            &play.second_answer().to_string(),
            &status.to_string(),
        ),
        Check::Volume(n, wanted) => equal(format!("volume {n} is"), &status(play, n), wanted),
        Check::Bdm(n, wanted) => {
            let world = play.hybrid.world.borrow();
            let rows = world.novadb.live_bdms().iter().filter(|b| b.volume_id == play.volume(n));
            let rows: Vec<String> = rows.map(|b| format!("BDM {}", b.id)).collect();
            present(&format!("nova's BDM of volume {n}"), wanted, &rows)
        }
        Check::Attachment(n, wanted) => {
            let world = play.hybrid.world.borrow();
            let rows = world.cinder.live_attachments().filter(|a| a.volume_id == play.volume(n));
            let rows: Vec<String> = rows.map(|a| format!("attachment {}", a.id)).collect();
            present(&format!("cinder's attachment of volume {n}"), wanted, &rows)
        }
        Check::AllOrNone(n) => {
            let (world, volume) = (play.hybrid.world.borrow(), play.volume(n));
            let status = status(play, n);
            let all = [
                ("in-use", status == "in-use"),
                ("BDM", world.novadb.live_bdms().iter().any(|b| b.volume_id == volume)),
                ("attachment", world.cinder.live_attachments().any(|a| a.volume_id == volume)),
                ("SCSI device", !devices(play, seen, n).is_empty()),
            ];
            let there: Vec<String> =
                all.iter().filter(|(_, is)| *is).map(|(name, _)| (*name).to_owned()).collect();
            let ok = there.len() == all.len() || (there.is_empty() && status == "available");
            let found = format!("{status}; {}", list(&there));
            record(
                format!("nova, cinder and the host all have volume {n}, or none of them"),
                ok,
                found,
            )
        }
        Check::ConfigAgrees(n) => {
            let (status, disks) = (status(play, n), names(&seen.persistent, &play.volume(n)));
            let ok = (status == "in-use") != disks.is_empty();
            let found = format!("{status}; {}", list(&disks));
            record(format!("the persistent config has volume {n} if it is in-use"), ok, found)
        }
        Check::Live(n, wanted) => {
            let disks = names(&seen.live, &play.volume(n));
            present(&format!("volume {n}'s disk in the running guest"), wanted, &disks)
        }
        Check::Persistent(n, wanted) => {
            let disks = names(&seen.persistent, &play.volume(n));
            present(&format!("volume {n}'s disk in the persistent config"), wanted, &disks)
        }
        Check::Device(n, wanted) => {
            let devices = devices(play, seen, n);
            present(&format!("volume {n}'s SCSI device"), wanted, &devices)
        }
        Check::Session(wanted) => {
            let sids: Vec<String> = seen.sessions.iter().map(|s| format!("session {s}")).collect();
            present("a session to the target", wanted, &sids)
        }
        Check::Records(wanted) => {
            present("a node record of the target", wanted, &seen.node_records)
        }
        Check::Maps(wanted) => {
            let maps: Vec<String> = seen.maps.iter().map(ToString::to_string).collect();
            present("a multipath map", wanted, &maps)
        }
        Check::ActionSucceeded(wanted) => {
            let (word, found) = (if wanted { "Success" } else { "Error" }, play.action_result());
            equal("the detach's action event says".to_owned(), &found, word)
        }
        Check::DataIntact(n) => {
            let found = play.stage.data(n).await;
            let ok = found.is_ok();
            let name = format!("what was written to volume {n} and told durable is on the target");
            record(name, ok, found.unwrap_or_else(|lost| lost))
        }
        Check::GuestReads(n) => {
            let found = play.stage.guest_reads(n).await;
            let text = found.as_ref().err().map_or_else(|| "yes".to_owned(), ToString::to_string);
            record(format!("the guest reads and writes volume {n}"), found.is_ok(), text)
        }
        Check::AsRecorded(recording) => as_recorded(recording, &play.issued()),
        Check::Took(least, most) => {
            let took = play.took_ms();
            let ok = (least..=most).contains(&took);
            record(format!("the detach takes {least} to {most} ms"), ok, format!("{took} ms"))
        }
        Check::Called(operation, wanted) => {
            let found = play.acts.count(operation);
            record(
                format!("{operation} is called {wanted} times"),
                found == wanted,
                found.to_string(),
            )
        }
    }
}

fn as_recorded(recording: Recording, issued: &[Issued]) -> CheckRecord {
    let Compared { calls, commands, differences } = recorded::compare(recording, issued);
    let mut found = match differences.is_empty() {
        true => format!("{calls} calls of libvirt, {commands} commands"),
        false => differences.join("; "),
    };
    for d in recorded::DELIBERATE.iter().filter(|d| d.recording == recording) {
        found.push_str(&format!("; on purpose: {} ({})", d.what, d.why));
    }
    let name = format!("{}{}", recorded::ISSUES, recording.as_str());
    record(name, differences.is_empty(), found)
}

fn status(play: &Play<'_>, n: u8) -> String {
    let world = play.hybrid.world.borrow();
    world.cinder.volume(&play.volume(n)).map_or("missing", |v| v.status.as_str()).to_owned()
}

fn live(play: &Play<'_>, seen: &Seen, n: u8) -> bool {
    !names(&seen.live, &play.volume(n)).is_empty()
}

fn devices(play: &Play<'_>, seen: &Seen, n: u8) -> Vec<String> {
    let lun = play.stage.lun(n);
    seen.devices.iter().filter(|(l, _)| *l == lun).map(|(_, d)| d.to_string()).collect()
}

/// The disks of a volume: nova writes its id into serial and alias.
fn names(disks: &[GuestDisk], volume: &VolumeId) -> Vec<String> {
    let alias = |d: &GuestDisk| {
        d.alias.as_ref().and_then(|a| a.as_str().strip_prefix("ua-")) == Some(volume.as_str())
    };
    let ours = disks.iter().filter(|d| d.serial.as_ref() == Some(volume) || alias(d));
    ours.map(|d| d.target_dev.clone()).collect()
}
