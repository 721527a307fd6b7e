//! Where cases are played: the run's target and volumes, the guest that was given, and what is done
//! to them from outside the pipeline.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;

use castoff_model::storage::IscsiAddress;
use castoff_ports::{Iqn, Lun, Portal, VolumeId};
use castoff_real::fixture::target::ADDRESSES;
use castoff_real::fixture::{
    FixtureError, Guest, Ledger, LocalTarget, Made, VOLUME_PREFIX, sh, sweep,
};

use super::case::{Act, Case, Paths};

/// Where what was written to a volume must be found again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// This byte, so often, from here.
    At { offset: u64, len: usize, byte: u8 },
    /// This text, anywhere.
    Somewhere(String),
}

/// The LUNs of a run.
pub(super) enum Luns {
    /// Of a tgtd of the run's own.
    Local(Box<tokio::sync::Mutex<LocalTarget>>),
    /// One that the user named.
    Named {
        /// Its number.
        lun: Lun,
    },
}

/// The run's surroundings; one for all cases.
pub(super) struct Stage {
    pub(super) run: String,
    pub(super) ledger: Rc<Ledger>,
    pub(super) guest: Guest,
    pub(super) iqn: Iqn,
    /// One, or two of a local target.
    pub(super) portals: Vec<Portal>,
    pub(super) luns: Luns,
    pub(super) may_kill_guest: bool,
    written: RefCell<BTreeMap<u8, Vec<Written>>>,
    /// Volumes of the other guest.
    pub(super) others: RefCell<BTreeSet<u8>>,
    /// What this case has made besides.
    made: RefCell<Vec<Made>>,
    /// The guest was paused, reset or killed.
    touched: Cell<bool>,
    /// The target was killed, or its LUNs are others than at first.
    changed: Cell<bool>,
}

const DIRTY: Written = Written::At { offset: 0, len: 4 << 20, byte: 0xd1 };

impl Stage {
    pub(super) fn new(
        run: String,
        ledger: Rc<Ledger>,
        guest: Guest,
        (iqn, portals, luns): (Iqn, Vec<Portal>, Luns),
        may_kill_guest: bool,
    ) -> Stage {
        Stage {
            run,
            ledger,
            guest,
            iqn,
            portals,
            luns,
            may_kill_guest,
            written: RefCell::default(),
            others: RefCell::default(),
            made: RefCell::default(),
            touched: Cell::default(),
            changed: Cell::default(),
        }
    }

    /// The id of a volume: the disk's serial and alias carry it, and a sweep looks for it.
    pub(super) fn volume(&self, n: u8) -> VolumeId {
        VolumeId::new(format!("{VOLUME_PREFIX}-{}-4000-8000-{n:012x}", self.run))
    }

    /// Its LUN.
    pub(super) fn lun(&self, n: u8) -> Lun {
        match &self.luns {
            Luns::Local(_) => Lun(n.into()),
            Luns::Named { lun } => *lun,
        }
    }

    /// The portals that a case with so many paths uses.
    pub(super) fn portals_of(&self, paths: Paths) -> &[Portal] {
        match paths {
            Paths::One => &self.portals[..1],
            Paths::Two => &self.portals,
        }
    }

    /// Where cinder says that the volume is.
    pub(super) fn address(&self, n: u8) -> IscsiAddress {
        IscsiAddress { portal: self.portals[0].clone(), iqn: self.iqn.clone(), lun: self.lun(n) }
    }

    /// The target shows the case's volumes, and no others.
    pub(super) async fn export(&self, case: &Case) -> Result<(), FixtureError> {
        let Luns::Local(target) = &self.luns else { return Ok(()) };
        let luns: Vec<u32> = case.volumes().into_iter().map(|n| self.lun(n).0).collect();
        target.lock().await.export(&luns).await
    }

    /// Does something to the host.
    pub(super) async fn act(&self, act: Act) -> Result<(), FixtureError> {
        if matches!(act, Act::PauseGuest | Act::ResetGuest | Act::KillQemu | Act::RestartLibvirtd) {
            self.touched.set(true);
        }
        match act {
            Act::FreezeTarget => self.local()?.lock().await.freeze(),
            Act::ThawTarget => self.local()?.lock().await.thaw(),
            Act::KillTarget => {
                self.changed.set(true);
                self.local()?.lock().await.kill().await;
            }
            Act::StartTarget => self.local()?.lock().await.start().await?,
            Act::DropConnections => self.local()?.lock().await.drop_connections().await?,
            Act::LosePortal(n) => {
                self.note(&Made::Route { address: ADDRESSES[n].to_owned() })?;
                LocalTarget::lose_portal(ADDRESSES[n]).await?;
            }
            Act::PauseGuest => drop(self.guest.virsh("suspend \"$2\"", &[]).await?),
            Act::ResumeGuest => drop(self.guest.virsh("resume \"$2\"", &[]).await?),
            Act::ResetGuest => {
                // Else a guest that is destroyed when it reboots is.
                let was = self.guest.on_reboot().await?;
                let Guest { uri, name, .. } = &self.guest;
                self.note(&Made::OnReboot { uri: uri.clone(), domain: name.clone(), was })?;
                self.guest.set_on_reboot("restart").await?;
                drop(self.guest.virsh("reset \"$2\"", &[]).await?);
            }
            Act::KillQemu => self.guest.kill().await?,
            Act::RestartLibvirtd => restart_libvirtd().await?,
            Act::AwaitLibvirtd => {
                let answers = || async { self.guest.state().await.is_ok() };
                castoff_real::fixture::until("libvirtd to answer", 30, answers).await?;
            }
            Act::StopMultipathd => drop(sh("multipathd shutdown", &[""; 0]).await?),
            Act::DetachLive(n) => self.take_disk(n, "--live").await?,
            Act::DetachPersistent(n) => self.take_disk(n, "--config").await?,
            Act::DetachByAlias(n) => self.take_by_alias(n).await?,
            Act::HoldOpen(n) => self.hold(n, "").await?,
            Act::Dirty(n) => {
                // Through the one open file: closing another would write it back.
                let write = "head -c 4194304 /dev/zero | tr '\\0' '\\321' >&3;";
                self.hold(n, write).await?;
                self.wrote(n, DIRTY);
            }
            Act::Mount(n) => self.mount(n).await?,
            Act::MapOn(n) => self.map_on(n).await?,
            Act::MapOff => sweep::unmap(&self.run).await?,
            Act::GuestWrites(n) => self.guest_writes(n).await?,
            Act::GuestWritesMuch(n) => self.guest_writes_all(n, &[0, 1]).await?,
            Act::GuestWritesHalf(n) => self.guest_writes_all(n, &[0]).await?,
            // What was refused was promised to nobody.
            Act::GuestWritesRest(n) => drop(self.guest_writes_some(n, &[1]).await?),
            Act::Unmap(n) => {
                self.changed.set(true);
                self.local()?.lock().await.unmap(self.lun(n)).await?;
            }
            Act::ReuseLun { of, by } => {
                self.changed.set(true);
                let target = self.local()?.lock().await;
                target.unmap(self.lun(of)).await?;
                target.map(self.lun(of), self.lun(by)).await?;
            }
            Act::StaleRecord => {
                let script = "iscsiadm -m node -T \"$1\" -p \"$2\" --op new && iscsiadm -m node -T \"$1\" -p \"$2\" --op update -n node.startup -v automatic";
                sh(script, &[self.iqn.as_str(), self.portals[0].as_str()]).await?;
            }
            Act::EndOther => drop(self.other().virsh("destroy \"$2\"", &[]).await?),
            // The models' own: the case's player does it.
            Act::RollDetaching(_) => {}
        }
        Ok(())
    }

    /// Whether what was written to the volume is on the target, and how much; what is missing.
    pub(super) async fn data(&self, n: u8) -> Result<String, String> {
        let file = match &self.luns {
            Luns::Local(target) => target.lock().await.file(self.lun(n)),
            Luns::Named { .. } => return Err("the target's files are not ours to read".to_owned()),
        };
        let file = fs::File::open(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let written = self.written.borrow().get(&n).cloned().unwrap_or_default();
        let mut bytes = 0;
        for what in &written {
            match what {
                Written::At { offset, len, byte } => {
                    let mut found = vec![0; *len];
                    file.read_exact_at(&mut found, *offset).map_err(|e| e.to_string())?;
                    let lost = found.iter().filter(|b| *b != byte).count();
                    if lost > 0 {
                        return Err(format!("{lost} of {len} bytes at {offset} are lost"));
                    }
                    bytes += len;
                }
                Written::Somewhere(text) => {
                    let mut all = vec![0; castoff_real::fixture::target::LUN_SIZE as usize];
                    file.read_exact_at(&mut all, 0).map_err(|e| e.to_string())?;
                    if !all.windows(text.len()).any(|w| w == text.as_bytes()) {
                        return Err(format!("{text:?} is nowhere on the target"));
                    }
                    bytes += text.len();
                }
            }
        }
        match bytes {
            0 => Err("nothing was written".to_owned()),
            some if some % (1 << 20) == 0 => Ok(format!("all {} MiB", some >> 20)),
            some => Ok(format!("all {some} bytes")),
        }
    }

    /// How long a lost session of the run's target is waited for.
    pub(super) async fn set_replacement_timeout(&self, seconds: u32) -> Result<(), FixtureError> {
        let script = "for s in /sys/class/iscsi_session/session*; do [ \"$(cat \"$s/targetname\" 2>/dev/null)\" != \"$1\" ] || echo \"$2\" >\"$s/recovery_tmo\"; done";
        sh(script, &[self.iqn.as_str(), &seconds.to_string()]).await.map(drop)
    }

    /// After a case, whatever came of it: the target and the guest are as they were at first.
    pub(super) async fn reset(&self) -> Vec<FixtureError> {
        let mut errors = Vec::new();
        let mut note = |result: Result<(), FixtureError>| errors.extend(result.err());
        let made = self.made.take();
        if made.contains(&Made::Holder {}) {
            note(sweep::holders(&self.run).await);
        }
        if made.contains(&Made::Mount {}) {
            note(sweep::unmount(&self.ledger, &self.run).await);
        }
        if made.contains(&Made::Map {}) {
            note(sweep::unmap(&self.run).await);
        }
        for address in ADDRESSES {
            if made.contains(&Made::Route { address: address.to_owned() }) {
                note(LocalTarget::restore_portal(address).await);
            }
        }
        if let Luns::Local(target) = &self.luns {
            target.lock().await.thaw();
        }
        if self.may_kill_guest && self.touched.replace(false) {
            note(self.guest.revive().await);
        }
        if !std::mem::take(&mut *self.others.borrow_mut()).is_empty() {
            note(sweep::remove_domain(&self.other()).await);
        }
        for entry in made.iter().rev() {
            if let Made::OnReboot { was, .. } = entry {
                note(sweep::restore_on_reboot(&self.guest, was).await);
            }
        }
        note(sweep::empty_guest(&self.guest, &self.run, self.may_kill_guest).await);
        note(sweep::disconnect(self.iqn.as_str(), &self.run).await);
        if let Luns::Local(target) = &self.luns {
            let mut target = target.lock().await;
            if self.changed.replace(false) {
                target.kill().await;
                note(target.start().await);
            }
            if !self.written.take().is_empty() {
                note(target.empty());
            }
        }
        errors
    }

    fn local(&self) -> Result<&tokio::sync::Mutex<LocalTarget>, FixtureError> {
        match &self.luns {
            Luns::Local(target) => Ok(target),
            Luns::Named { .. } => Err(FixtureError::Command {
                what: "touch the target".to_owned(),
                exit: -1,
                message: "it is the user's: --local-target makes one of our own".to_owned(),
            }),
        }
    }

    /// Writes down what is about to be made.
    pub(super) fn note(&self, made: &Made) -> Result<(), FixtureError> {
        self.made.borrow_mut().push(made.clone());
        self.ledger.write(&self.run, made)
    }

    pub(super) fn wrote(&self, n: u8, what: Written) {
        self.written.borrow_mut().entry(n).or_default().push(what);
    }

    /// The target (`vdb`) of a volume in its guest.
    pub(super) async fn target_dev(&self, n: u8, live: bool) -> Result<String, FixtureError> {
        let disks = self.guest_of(n).disks(self.volume(n).as_str(), live).await?;
        disks.into_iter().next().ok_or_else(|| FixtureError::Command {
            what: format!("find volume {n} in the guest"),
            exit: -1,
            message: "it is not there".to_owned(),
        })
    }

    async fn take_disk(&self, n: u8, from: &str) -> Result<(), FixtureError> {
        let live = from == "--live";
        let dev = self.target_dev(n, live).await?;
        self.guest.virsh(&format!("detach-disk \"$2\" \"$3\" {from}"), &[&dev]).await?;
        self.wait_gone(n, live).await
    }

    async fn take_by_alias(&self, n: u8) -> Result<(), FixtureError> {
        let alias = format!("ua-{}", self.volume(n));
        self.guest.virsh("detach-device-alias \"$2\" \"$3\" --live", &[&alias]).await?;
        self.wait_gone(n, true).await
    }

    async fn wait_gone(&self, n: u8, live: bool) -> Result<(), FixtureError> {
        let serial = self.volume(n);
        let gone =
            || async { self.guest.disks(serial.as_str(), live).await.is_ok_and(|d| d.is_empty()) };
        castoff_real::fixture::until("the disk to leave the guest", 30, gone).await
    }
}

/// Kills libvirtd and starts it again: its guests go on, its clients are cut off.
async fn restart_libvirtd() -> Result<(), FixtureError> {
    let script = "p=$(pidof libvirtd) || exit 1; kill -KILL $p; while [ -e /proc/$p ]; do sleep 0.02; done; setsid libvirtd </dev/null >/dev/null 2>&1 &";
    sh(script, &[""; 0]).await.map(drop)
}
