//! One detach after another on one target and one guest, timed: by the pipeline, and by the bare
//! commands that a person would type. `benches/real.rs` puts the two beside each other.
//!
//! What is attached is attached by the pipeline, before the clock runs; what is left is taken away
//! after it has stopped.

use std::fs;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use castoff_pipeline::policy::Policy;
use castoff_ports::{DeviceName, Portal};
use castoff_real::Timing;
use castoff_real::fixture::{FixtureError, Ledger, bare, sweep};
use castoff_real::look::{look, map_name};
use tokio::time::Instant;

use super::case::{Case, ONE_PATH, Paths, Step};
use super::multipathd::Multipathd;
use super::play::{Play, PlayError};
use super::stage::Stage;
use super::suite::{ConformError, Options, opened, run_id, set, taken_away};

/// The volume that is detached.
const VOLUME: u8 = 1;

/// nova-compute's pipeline as it is today.
const POLICY: &str = "2026.1";

/// The guest's kernel goes on after libvirt has its disk back, and where it shares a processor with
/// the host (the lab), commands meanwhile take longer. os-brick spends that time on `iscsiadm -m
/// discoverydb`, `node` and `session`; by hand nothing is to be asked, so the guest is waited for,
/// and the wait is not counted. Else the same logout would not be the same.
const GUEST_SETTLES: Duration = Duration::from_secs(2);

/// Why a detach could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The run could not be made, or what it made not be taken away.
    #[error(transparent)]
    Conform(#[from] ConformError),
    /// Something on the host failed.
    #[error(transparent)]
    Host(#[from] FixtureError),
    /// The pipeline's attach or detach did not go as a healthy one does.
    #[error("measure a healthy detach: {0}")]
    Detach(String),
}

impl From<PlayError> for MeasureError {
    fn from(e: PlayError) -> MeasureError {
        MeasureError::Detach(e.to_string())
    }
}

/// A step of a detach, all its calls together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// `system::Operation` of the pipeline, or the bare command's name.
    pub step: String,
    /// How long.
    pub took: Duration,
}

/// One detach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detach {
    /// From the request to the last call's end; by hand, from the first command to the last one's
    /// end, without the wait for the guest.
    pub whole: Duration,
    /// Its steps on the host, in the order of their first calls.
    pub steps: Vec<Measured>,
}

/// A target, a guest and a ledger for any number of measured detaches.
///
/// It must be used inside a tokio `LocalSet` on a `current_thread` runtime.
pub struct Bed {
    options: Options,
    ledger: Rc<Ledger>,
    run: String,
    stage: Rc<Stage>,
}

const ATTACH: Case = Case { id: "measure/attach", steps: &[Step::Attach(&[VOLUME])], ..ONE_PATH };
const DETACH: Case = Case {
    id: "measure/detach",
    steps: &[Step::Attach(&[VOLUME]), Step::Detach(&[VOLUME])],
    ..ONE_PATH
};

impl Bed {
    /// Sweeps what earlier runs left, and makes what all detaches share.
    ///
    /// # Errors
    /// When the host lacks something, or another run is at work.
    pub async fn make(options: Options) -> Result<Bed, MeasureError> {
        let ledger = opened(&options).await?;
        let run = run_id().map_err(ConformError::from)?;
        match set(&options, &[&DETACH], &ledger, &run).await {
            Ok(stage) => Ok(Bed { options, ledger, run, stage: Rc::new(stage) }),
            Err(e) => {
                // What was made before the failure; if that fails too, the next run sweeps.
                let _ = sweep::sweep(&ledger, &run, options.may_kill_guest).await;
                Err(e.into())
            }
        }
    }

    /// Attaches, and detaches by the pipeline; the detach is timed.
    ///
    /// # Errors
    /// When it is not a healthy one.
    pub async fn by_pipeline(&self, paths: Paths) -> Result<Detach, MeasureError> {
        self.with_daemons(&Case { paths, ..DETACH }, async |play| {
            let played = play.run().await?;
            if let Some(bad) = played.checks.iter().find(|c| !c.ok) {
                return Err(MeasureError::Detach(format!("{}: found {}", bad.name, bad.found)));
            }
            // Nothing is left to do when the volume is free: the last event is the end.
            let end = play.events().last().map(|e| e.at);
            let began = played.detach_began;
            let mut timings: Vec<Timing> = played.steps;
            timings.retain(|t| t.started >= began);
            timings.sort_by_key(|t| t.started);
            let whole = end.map(|end| end.since(began)).unwrap_or_default();
            Ok(Detach { whole, steps: by_step(&timings) })
        })
        .await
    }

    /// Attaches by the pipeline, and detaches by bare commands, which are timed.
    ///
    /// # Errors
    /// When one of them fails, or the disk stays in the guest.
    pub async fn by_hand(&self, paths: Paths) -> Result<Detach, MeasureError> {
        self.with_daemons(&Case { paths, ..ATTACH }, async |play| {
            play.run().await?;
            self.commands(play, self.stage.portals_of(paths)).await
        })
        .await
    }

    /// Takes away all that was made.
    ///
    /// # Errors
    /// When something stays; the next run tries again.
    pub async fn take_away(self) -> Result<(), MeasureError> {
        let errors = sweep::sweep(&self.ledger, &self.run, self.options.may_kill_guest).await;
        Ok(taken_away(errors)?)
    }

    async fn with_daemons(
        &self,
        case: &Case,
        detach: impl AsyncFnOnce(&Play<'_>) -> Result<Detach, MeasureError>,
    ) -> Result<Detach, MeasureError> {
        let policy = Policy::named(POLICY);
        let policy = policy.unwrap_or_else(|| unreachable!("{POLICY} is a policy"));
        let daemon = Multipathd::up(&self.options, case, &self.stage).await?;
        self.stage.export(case).await?;
        let play = Play::new(case, &policy, &self.stage, &self.options.settings)?;
        let result = detach(&play).await;
        play.hybrid.end();
        let mut errors = self.stage.reset().await;
        errors.extend(daemon.down().await);
        // Why the detach failed says more than what it has left.
        let detached = result?;
        taken_away(errors)?;
        Ok(detached)
    }

    /// What os-brick and nova have done, by hand.
    async fn commands(&self, play: &Play<'_>, portals: &[Portal]) -> Result<Detach, MeasureError> {
        let guest = &self.stage.guest;
        let (uri, domain) = (guest.uri.as_str(), guest.name.as_str());
        let (map, disks) = self.devices(play).await?;
        let xml = self.disk_xml().await?;
        let xml = xml.display().to_string();
        let iqn = self.stage.iqn.as_str();
        let mut hand = Hand { began: Instant::now(), steps: Vec::new() };
        for (step, how) in [(UNPLUG_CONFIG, "--config"), (UNPLUG_LIVE, "--live")] {
            let args = ["-q", "-c", uri, "detach-device", domain, &xml, how];
            hand.does(step, bare("virsh", &args)).await?;
        }
        let settles = Instant::now();
        tokio::time::sleep(GUEST_SETTLES).await;
        let settled = settles.elapsed();
        if let Some(map) = &map {
            hand.does(MAP, bare("multipath", &["-f", map])).await?;
        }
        for disk in &disks {
            let node = format!("/dev/{disk}");
            hand.does(FLUSH, bare("blockdev", &["--flushbufs", &node])).await?;
            hand.does(DELETE, delete(disk)).await?;
        }
        for (step, how) in [(LOGOUT, &["--logout"][..]), (RECORD, &["--op", "delete"])] {
            for portal in portals {
                let mut args = vec!["-m", "node", "-T", iqn, "-p", portal.as_str()];
                args.extend(how);
                hand.does(step, bare("iscsiadm", &args)).await?;
            }
        }
        let whole = hand.began.elapsed().saturating_sub(settled);
        if !guest.disks(self.stage.volume(VOLUME).as_str(), true).await?.is_empty() {
            return Err(MeasureError::Detach("virsh returned, and the guest has the disk".into()));
        }
        Ok(Detach { whole, steps: hand.steps })
    }

    /// The map of the volume, if it has one, and its SCSI disks.
    async fn devices(
        &self,
        play: &Play<'_>,
    ) -> Result<(Option<String>, Vec<DeviceName>), MeasureError> {
        let (host, stage) = (&play.hybrid.host, &self.stage);
        let guests = [play.instance.clone()];
        let seen = look(host, &stage.iqn, &stage.portals, &guests, &stage.run).await;
        let seen = seen.map_err(|e| MeasureError::Detach(e.to_string()))?;
        let map = seen.maps.first().and_then(|dm| map_name(host, dm));
        Ok((map, seen.devices.into_iter().map(|(_, disk)| disk).collect()))
    }

    /// The disk as the guest has it, for `virsh detach-device`.
    async fn disk_xml(&self) -> Result<PathBuf, MeasureError> {
        let volume = self.stage.volume(VOLUME);
        let target = self.stage.guest.disks(volume.as_str(), true).await?;
        let Some(target) = target.first() else {
            return Err(MeasureError::Detach("the guest has no disk to give back".to_owned()));
        };
        let source = self.stage.disk(VOLUME).await?;
        let xml = format!(
            "<disk type='block' device='disk'><source dev='{source}'/><target dev='{target}' bus='virtio'/><serial>{volume}</serial></disk>"
        );
        let path = self.ledger.files(&self.run).join("bare.xml");
        fs::write(&path, xml).map_err(|e| FixtureError::File {
            path: path.display().to_string(),
            message: e.to_string(),
        })?;
        Ok(path)
    }
}

/// `virsh detach-device --config`.
pub const UNPLUG_CONFIG: &str = "virsh detach-device --config";
/// `virsh detach-device --live`: libvirt waits for the guest.
pub const UNPLUG_LIVE: &str = "virsh detach-device --live";
/// `multipath -f`.
pub const MAP: &str = "multipath -f";
/// `blockdev --flushbufs`, of every path.
pub const FLUSH: &str = "blockdev --flushbufs";
/// A write to the SCSI device's attribute `delete`, of every path.
pub const DELETE: &str = "echo 1 > …/device/delete";
/// `iscsiadm --logout`, at every portal.
pub const LOGOUT: &str = "iscsiadm --logout";
/// `iscsiadm --op delete`, of every portal's record.
pub const RECORD: &str = "iscsiadm --op delete";

struct Hand {
    began: Instant,
    steps: Vec<Measured>,
}

impl Hand {
    async fn does<T>(
        &mut self,
        step: &str,
        act: impl Future<Output = Result<T, FixtureError>>,
    ) -> Result<(), FixtureError> {
        let began = Instant::now();
        act.await?;
        add(&mut self.steps, step, began.elapsed());
        Ok(())
    }
}

fn add(steps: &mut Vec<Measured>, step: &str, took: Duration) {
    match steps.iter_mut().find(|s| s.step == step) {
        Some(known) => known.took += took,
        None => steps.push(Measured { step: step.to_owned(), took }),
    }
}

/// The write itself, by no process of its own.
async fn delete(disk: &DeviceName) -> Result<(), FixtureError> {
    let path = format!("/sys/block/{disk}/device/delete");
    fs::write(&path, "1").map_err(|e| FixtureError::File { path, message: e.to_string() })
}

fn by_step(timings: &[Timing]) -> Vec<Measured> {
    let mut steps = Vec::new();
    for timing in timings {
        // The two unplugs are steps of their own: the text ends with CONFIG or LIVE.
        let flags = match timing.operation {
            "libvirt::DetachDeviceFlags" => timing.text.rsplit(' ').next(),
            _ => None,
        };
        let step =
            flags.map_or(timing.operation.to_owned(), |f| format!("{} {f}", timing.operation));
        add(&mut steps, &step, timing.took);
    }
    steps
}

#[cfg(test)]
mod tests {
    use castoff_ports::SimTime;

    use super::*;

    #[test]
    fn calls_of_one_operation_are_one_step_and_the_two_unplugs_are_two() {
        let timing = |operation, text: &str, ms| Timing {
            operation,
            text: text.to_owned(),
            started: SimTime::ZERO,
            took: Duration::from_millis(ms),
            ok: true,
            exit: None,
        };
        let steps = by_step(&[
            timing("libvirt::DetachDeviceFlags", "virDomainDetachDeviceFlags vdb CONFIG", 1),
            timing("iscsi::Logout", "iscsiadm --logout", 10),
            timing("libvirt::DetachDeviceFlags", "virDomainDetachDeviceFlags vdb LIVE", 100),
            timing("iscsi::Logout", "iscsiadm --logout", 20),
        ]);
        let found: Vec<_> = steps.iter().map(|s| (s.step.as_str(), s.took.as_millis())).collect();
        assert_eq!(
            found,
            [
                ("libvirt::DetachDeviceFlags CONFIG", 1),
                ("iscsi::Logout", 30),
                ("libvirt::DetachDeviceFlags LIVE", 100)
            ]
        );
    }
}
