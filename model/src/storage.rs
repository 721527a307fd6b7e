//! The storage backend: targets, who may reach which LUN, and the blocks of every volume.
//!
//! A mapping (export plus ACL) is what cinder's driver makes in `initialize_connection` and takes
//! back in `terminate_connection`. A LUN number says nothing about the volume behind it: with a
//! shared target the number that one unmap frees goes to the next map, and a host that kept its
//! old device writes into another volume. So every read and write asks [`Storage::lun`] again.

use std::collections::BTreeMap;

use castoff_ports::{InstanceId, Iqn, Lun, Portal, VolumeId};

use crate::fact::{Fact, Facts};

/// Name prefix of cinder's own targets (`target_prefix`), one target a volume.
const TARGET_PREFIX: &str = "iqn.2010-10.org.openstack:volume-";

/// The target that all volumes are LUNs of when the backend shares one.
const SHARED_TARGET: &str = "iqn.2010-10.org.openstack:shared";

/// One block that a guest wrote: who, to what it believed to be which volume, and which write.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// The guest that wrote.
    pub instance: InstanceId,
    /// The volume that the guest meant.
    pub volume: VolumeId,
    /// Number of the write, unique in a run.
    pub seq: u32,
}

/// Where an initiator finds a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IscsiAddress {
    /// Portal.
    pub portal: Portal,
    /// Target.
    pub iqn: Iqn,
    /// LUN in that target.
    pub lun: Lun,
}

/// One volume exported to one initiator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The target.
    pub target: Iqn,
    /// Whom the ACL admits.
    pub initiator: Iqn,
    /// The number under which that initiator sees the volume.
    pub lun: Lun,
    /// The volume.
    pub volume: VolumeId,
}

/// Blocks of a volume of which the stamps are kept. A guest writes three at every plug and unplug,
/// and a served cloud plugs for hours.
const KEPT_BLOCKS: usize = 64;

/// The storage backend.
#[derive(Clone, Debug)]
pub struct Storage {
    /// All volumes are LUNs of one target, so that a session outlives a single volume; else each
    /// volume has a target of its own and is always LUN 1.
    pub shared_target: bool,
    /// Whether any portal answers; false while the link is lost.
    pub reachable: bool,
    /// Portals that do not answer although the others do: one path of several is lost.
    pub lost_portals: Vec<Portal>,
    /// Cinder names every portal of a target in connection_info; else a host with multipath has to
    /// ask the target itself.
    pub lists_portals: bool,
    portal: Portal,
    /// The portals besides the first; every target is behind every portal.
    more_portals: Vec<Portal>,
    shared_iqn: Iqn,
    mappings: Vec<Mapping>,
    places: BTreeMap<VolumeId, (Iqn, Lun)>,
    blocks: BTreeMap<VolumeId, Vec<Stamp>>,
}

impl Default for Storage {
    fn default() -> Self {
        Storage::new()
    }
}

impl Storage {
    /// A backend without volumes, one target a volume, at `10.0.0.1:3260`.
    pub fn new() -> Storage {
        Storage {
            shared_target: false,
            reachable: true,
            lost_portals: Vec::new(),
            lists_portals: true,
            portal: Portal::new("10.0.0.1:3260"),
            more_portals: Vec::new(),
            shared_iqn: Iqn::new(SHARED_TARGET),
            mappings: Vec::new(),
            places: BTreeMap::new(),
            blocks: BTreeMap::new(),
        }
    }

    /// Moves the backend to another portal; sessions that stand keep theirs.
    pub fn set_portal(&mut self, portal: Portal) {
        self.portal = portal;
        self.more_portals.clear();
    }

    /// Gives the backend so many portals, at addresses of its own.
    pub fn set_portals(&mut self, count: u8) {
        let mut portals = (1..=count).map(|n| Portal::new(format!("10.0.0.{n}:3260")));
        if let Some(first) = portals.next() {
            self.portal = first;
            self.more_portals = portals.collect();
        }
    }

    /// One more portal, behind which every target is too.
    pub fn add_portal(&mut self, portal: Portal) {
        self.more_portals.push(portal);
    }

    /// Says where a volume is, instead of letting [`Storage::map`] choose: a real target has its
    /// own portal, name and numbers.
    pub fn place(&mut self, volume: &VolumeId, address: IscsiAddress) {
        self.set_portal(address.portal);
        self.places.insert(volume.clone(), (address.iqn, address.lun));
    }

    /// Where the backend listens.
    pub fn portal(&self) -> &Portal {
        &self.portal
    }

    /// Every portal, the first one first.
    pub fn portals(&self) -> impl Iterator<Item = &Portal> {
        std::iter::once(&self.portal).chain(&self.more_portals)
    }

    /// Whether there is such a portal and it answers now.
    pub fn answers(&self, portal: &Portal) -> bool {
        self.reachable && !self.lost_portals.contains(portal) && self.portals().any(|p| p == portal)
    }

    /// Makes an empty volume; one that exists keeps its blocks.
    pub fn add_volume(&mut self, volume: VolumeId) {
        self.blocks.entry(volume).or_default();
    }

    /// Exports a volume and admits the initiator; a mapping that exists is given again.
    pub fn map(&mut self, facts: &mut Facts, volume: &VolumeId, initiator: &Iqn) -> IscsiAddress {
        if let Some(m) = self.mapping(volume, initiator) {
            return IscsiAddress { portal: self.portal.clone(), iqn: m.target.clone(), lun: m.lun };
        }
        let (target, lun) = if let Some(place) = self.places.get(volume) {
            place.clone()
        } else if self.shared_target {
            (self.shared_iqn.clone(), self.lowest_free_lun(initiator))
        } else {
            (Iqn::new(format!("{TARGET_PREFIX}{volume}")), Lun(1))
        };
        self.mappings.push(Mapping {
            target: target.clone(),
            initiator: initiator.clone(),
            lun,
            volume: volume.clone(),
        });
        facts.push(Fact::Mapped {
            volume: volume.clone(),
            initiator: initiator.clone(),
            target: target.clone(),
            lun,
        });
        IscsiAddress { portal: self.portal.clone(), iqn: target, lun }
    }

    /// Takes the mapping back; false when there was none.
    ///
    /// The backend does not care whether the initiator still uses the LUN (no driver asks).
    pub fn unmap(&mut self, facts: &mut Facts, volume: &VolumeId, initiator: &Iqn) -> bool {
        let Some(at) =
            self.mappings.iter().position(|m| m.volume == *volume && m.initiator == *initiator)
        else {
            return false;
        };
        let m = self.mappings.remove(at);
        facts.push(Fact::Unmapped {
            volume: m.volume,
            initiator: m.initiator,
            target: m.target,
            lun: m.lun,
        });
        true
    }

    /// The volume that this initiator reaches under this LUN now.
    pub fn lun(&self, target: &Iqn, initiator: &Iqn, lun: Lun) -> Option<&VolumeId> {
        self.luns(target, initiator).find(|(n, _)| *n == lun).map(|(_, volume)| volume)
    }

    /// What REPORT LUNS gives this initiator, in the order in which the LUNs were mapped.
    pub fn luns(&self, target: &Iqn, initiator: &Iqn) -> impl Iterator<Item = (Lun, &VolumeId)> {
        self.mappings
            .iter()
            .filter(move |m| m.target == *target && m.initiator == *initiator)
            .map(|m| (m.lun, &m.volume))
    }

    /// The targets with a LUN for this initiator: what sendtargets gives it.
    pub fn targets(&self, initiator: &Iqn) -> Vec<&Iqn> {
        let mut targets: Vec<&Iqn> = Vec::new();
        for m in self.mappings.iter().filter(|m| m.initiator == *initiator) {
            if !targets.contains(&&m.target) {
                targets.push(&m.target);
            }
        }
        targets
    }

    /// Every mapping, oldest first.
    pub fn mappings(&self) -> &[Mapping] {
        &self.mappings
    }

    /// The mapping of a volume to an initiator.
    pub fn mapping(&self, volume: &VolumeId, initiator: &Iqn) -> Option<&Mapping> {
        self.mappings.iter().find(|m| m.volume == *volume && m.initiator == *initiator)
    }

    /// Whether the target exists: a volume's own target lives as long as its last mapping.
    pub fn has_target(&self, target: &Iqn) -> bool {
        (self.shared_target && *target == self.shared_iqn)
            || self.mappings.iter().any(|m| m.target == *target)
    }

    /// Writes a block of a volume; when as many are kept as ever are, over the oldest.
    pub fn write(&mut self, volume: &VolumeId, stamp: Stamp) {
        match self.blocks.get_mut(volume) {
            Some(blocks) => {
                if blocks.len() == KEPT_BLOCKS {
                    blocks.remove(0);
                }
                blocks.push(stamp);
            }
            None => {
                self.blocks.insert(volume.clone(), vec![stamp]);
            }
        }
    }

    /// What was written to a volume and not written over, oldest first.
    pub fn blocks(&self, volume: &VolumeId) -> &[Stamp] {
        self.blocks.get(volume).map_or(&[], Vec::as_slice)
    }

    fn lowest_free_lun(&self, initiator: &Iqn) -> Lun {
        // LUN 0 stays the backend's own (tgt's controller), as on cinder's shared targets. There
        // are as many candidates as LUNs in use plus one, so one of them is free.
        let taken = |n: u32| self.lun(&self.shared_iqn, initiator, Lun(n)).is_some();
        Lun((1u32..).find(|n| !taken(*n)).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_volume_is_written_over_from_its_oldest_block() {
        let (mut storage, volume) = (Storage::new(), VolumeId::new("v1"));
        storage.add_volume(volume.clone());
        for seq in 0..1000 {
            let instance = InstanceId::new("i");
            storage.write(&volume, Stamp { instance, volume: volume.clone(), seq });
        }
        let seqs: Vec<u32> = storage.blocks(&volume).iter().map(|stamp| stamp.seq).collect();
        assert_eq!(seqs, Vec::from_iter(1000 - KEPT_BLOCKS as u32..1000));
    }

    fn iqn() -> Iqn {
        Iqn::new("iqn.1993-08.org.debian:01:castoff")
    }

    #[test]
    fn mapping_twice_gives_the_same_address_and_one_fact() {
        let (mut s, mut facts) = (Storage::new(), Facts::new());
        let first = s.map(&mut facts, &"v1".into(), &iqn());
        assert_eq!(s.map(&mut facts, &"v1".into(), &iqn()), first);
        assert_eq!(first.iqn.as_str(), "iqn.2010-10.org.openstack:volume-v1");
        assert_eq!((first.lun, facts.len()), (Lun(1), 1));
    }

    #[test]
    fn a_shared_target_gives_a_freed_lun_to_the_next_volume() {
        let (mut s, mut facts) = (Storage { shared_target: true, ..Storage::new() }, Facts::new());
        let one = s.map(&mut facts, &"v1".into(), &iqn());
        let two = s.map(&mut facts, &"v2".into(), &iqn());
        assert_eq!((one.lun, two.lun), (Lun(1), Lun(2)));
        assert!(s.unmap(&mut facts, &"v1".into(), &iqn()));
        assert_eq!(s.lun(&one.iqn, &iqn(), Lun(1)), None);
        s.map(&mut facts, &"v3".into(), &iqn());
        assert_eq!(s.lun(&one.iqn, &iqn(), Lun(1)), Some(&"v3".into()));
    }

    #[test]
    fn unmapping_what_is_not_mapped_changes_nothing_and_says_so() {
        let (mut s, mut facts) = (Storage::new(), Facts::new());
        assert!(!s.unmap(&mut facts, &"v1".into(), &iqn()));
        s.map(&mut facts, &"v1".into(), &iqn());
        assert!(!s.unmap(&mut facts, &"v1".into(), &Iqn::new("iqn.another")));
        assert_eq!((facts.len(), s.mappings().len()), (1, 1));
    }

    #[test]
    fn a_volumes_own_target_lives_as_long_as_its_last_mapping() {
        let (mut s, mut facts) = (Storage::new(), Facts::new());
        let target = s.map(&mut facts, &"v1".into(), &iqn()).iqn;
        s.map(&mut facts, &"v1".into(), &Iqn::new("iqn.another"));
        s.unmap(&mut facts, &"v1".into(), &iqn());
        assert!(s.has_target(&target));
        s.unmap(&mut facts, &"v1".into(), &Iqn::new("iqn.another"));
        assert!(!s.has_target(&target));
    }
}
