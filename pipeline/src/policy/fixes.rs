//! Decisions that one fix each has brought, and that have stayed: with `false` the bug is back.
//!
//! They are fields of a policy like all others (`2026.1+root-refused=false`). What a generation did
//! before is in [`super::pike`] where it matters there.

use serde::{Deserialize, Serialize};

/// Whether each fix is in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Fixes {
    /// nova-api knows cinder's 400 to os-begin_detaching; else it answers 500 (nova bug 1515637,
    /// 8217a94aa2).
    pub begin_refusal_known: bool,
    /// A suspended server detaches nothing: its saved memory has the disk (nova bug 1240922,
    /// d0948a1fb0).
    pub suspended_refused: bool,
    /// The root device is not detached (nova bug 1279300, 7fbb422969).
    pub root_refused: bool,
    /// An attach saves connection_info before the volume shows `in-use`, and not only at its end
    /// (nova bug 1327218, 6fb2ef96d6).
    pub info_saved_before_in_use: bool,
    /// Of two servers of one host that lose a multiattach volume at once the second one counts when
    /// the first has gone (nova bug 2048837, 22012360c4).
    pub multiattach_lock: bool,
    /// A paused guest's live config counts too (nova bug 1242366, ead9cfca93).
    pub paused_is_live: bool,
    /// QEMU's "Device X not found", which libvirt passes on as INTERNAL_ERROR, means a missing disk
    /// (nova bug 1815949, 2a8ee40fcc).
    pub qemu_not_found_known: bool,
    /// What handles libvirt's errors of a detach does not fail itself (nova bug 1891547,
    /// bc96af5659).
    pub libvirt_errors_handled: bool,
    /// A lookup by alias in the persistent config reads that, and not the live one (nova bug
    /// 2140347, 17b6b12365).
    pub inactive_alias_lookup: bool,
    /// A hard reboot keeps the secret of an encrypted volume (nova bug 1905701, 26d65fc882).
    pub reboot_keeps_secret: bool,

    /// `multipath -f` is given the map's name and not its WWID, which it takes for done where maps
    /// have friendly names (os-brick bug 1663925, c0640ce).
    pub map_flushed_by_name: bool,
    /// The map is flushed before its paths go (os-brick bug 1502999, 53173f7).
    pub map_flushed_first: bool,
    /// A map over the disks is looked for whatever nova.conf says of multipath now (os-brick bug
    /// 1921381, d4205bd).
    pub map_found_without_conf: bool,
    /// A disconnect without portals in connection_info reads the discovery database (os-brick bug
    /// 1699061, 1905398).
    pub discoverydb_read: bool,
    /// A session with a disk of another LUN is kept (os-brick bug 1587256, 54d4525).
    pub other_luns_keep_session: bool,
    /// Sessions are read although iscsiadm has warned of something (os-brick bug 1732199, d398fa8).
    pub warnings_passed_over: bool,
    /// A node record that cannot be read is passed over (os-brick bug 1886855, 4fabe1b).
    pub corrupt_records_passed_over: bool,
    /// A LUKS mapping that is not there counts as closed (os-brick bug 1724573, 657ba45).
    pub missing_mapping_closed: bool,
    /// A discovered portal loses the tag of its portal group (os-brick bug 1705674, b291c2b).
    pub portal_tag_cut: bool,
}

impl Fixes {
    /// All of them: today's code.
    pub const ALL: Fixes = Fixes {
        begin_refusal_known: true,
        suspended_refused: true,
        root_refused: true,
        info_saved_before_in_use: true,
        multiattach_lock: true,
        paused_is_live: true,
        qemu_not_found_known: true,
        libvirt_errors_handled: true,
        inactive_alias_lookup: true,
        reboot_keeps_secret: true,
        map_flushed_by_name: true,
        map_flushed_first: true,
        map_found_without_conf: true,
        discoverydb_read: true,
        other_luns_keep_session: true,
        warnings_passed_over: true,
        corrupt_records_passed_over: true,
        missing_mapping_closed: true,
        portal_tag_cut: true,
    };
}
