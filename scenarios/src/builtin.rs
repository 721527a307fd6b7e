//! The standard scenarios, embedded in the program: what every campaign runs.
//!
//! They are ordinary files (`scenarios/files/`), so each can be copied and changed. Their order is
//! that of tables: first what must work, then one thing that goes wrong at a time, from the guest
//! through the host to the control plane, then what several volumes or users do to each other.

use std::path::Path;

use crate::check::POLICIES;
use crate::load::{LoadError, load};
use crate::nearest::nearest;
use crate::scenario::Scenario;

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        /// Name and text of every built-in scenario.
        pub const FILES: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../files/", $name, ".toml")))),*];
    };
}

files![
    "healthy",
    "healthy-multipath",
    "multipath-one-portal",
    "guest-lets-go-late",
    "guest-never-lets-go",
    "device-busy-on-the-host",
    "cinder-times-out",
    "cinder-fails-for-good",
    "cinder-unreachable-at-begin",
    "token-expires",
    "cast-lost",
    "compute-dies-before-disconnect",
    "stale-attachment",
    "stale-scsi-device",
    "compute-restarts-while-detaching",
    "two-detaches-race",
    "detach-races-server-delete",
    "detach-races-hard-reboot",
    "detach-races-soft-reboot",
    "detach-races-volume-delete",
    "detach-races-reset-status",
    "force-detached-while-detaching",
    "compute-updated-while-detaching",
    "detach-from-shelved-server",
    "detach-after-unshelve",
    "encrypted-volume",
    "other-volume-of-the-target",
    "detach-races-attach",
    "two-volumes-detached-at-once",
    "freed-lun-given-away",
    "multipath-one-path-lost",
    "guest-is-paused",
    "qemu-aborts-a-repeated-unplug",
    "libvirtd-lags-behind-qemu",
    "detach-from-suspended-server",
    "detach-of-root-disk",
    "detach-after-attach",
    "encrypted-volume-after-reboot",
    "cached-writes",
    "multipath-cached-writes",
    "device-goes-late",
    "multipath-switched-off",
    "multipath-by-discovery",
    "iscsiadm-complains",
    "a-command-hangs",
    "multipath-two-volumes",
    "user-deletes-attachment",
    "attach-of-error-volume",
    "detach-of-volume-attached-while-shelved",
    "detach-races-shelve",
    "server-deleted-while-compute-is-down",
    "detach-from-locked-server",
    "detach-by-reader",
    "detach-by-stranger",
    "multiattach-two-servers",
    "multiattach-stale-attachment",
    "iscsid-scans-by-itself",
    "open-iscsi-downgraded",
    "cinder-forbids",
    "attach-fails-late",
    "detach-from-stopped-server",
    "detach-after-failed-start",
    "detach-after-failed-reboot",
    "encrypted-volume-after-unshelve",
    "server-deleted-while-shelved",
    "detach-from-shelved-server-by-old-client",
    "qemu-refuses-a-repeated-unplug",
    "multiattach-servers-deleted",
    "multiattach-detach-races-server-delete",
    "detach-after-attach-while-shelved",
    "attach-races-unshelve",
    "detach-races-unshelve",
    "shelved-while-detaching",
    "detach-races-suspend",
    "attach-races-suspend",
];

/// Every built-in scenario, in the order of tables.
pub fn all() -> Vec<Scenario> {
    FILES.iter().map(|(name, text)| read(name, text)).collect()
}

/// The names of all built-in scenarios, in the same order.
pub fn names() -> impl Iterator<Item = &'static str> + Clone {
    FILES.iter().map(|(name, _)| *name)
}

/// The built-in scenario of this name.
pub fn named(name: &str) -> Option<Scenario> {
    FILES.iter().find(|(known, _)| *known == name).map(|(name, text)| read(name, text))
}

/// The scenario that an argument of a command line means: a built-in name, or a path.
///
/// Names win; `./healthy` is a path. `expect` of a file may name [`POLICIES`]; use
/// [`load()`](crate::load()) for others.
///
/// # Errors
/// [`LoadError::Unknown`] for what is neither, with the names that there are.
pub fn resolve(arg: &str) -> Result<Scenario, LoadError> {
    if let Some(scenario) = named(arg) {
        return Ok(scenario);
    }
    let path = Path::new(arg);
    // What looks like a path fails as one: "no such file" says more than a list of names.
    if arg.contains('/') || path.extension().is_some_and(|e| e == "toml") || path.is_file() {
        let scenario = load(path, POLICIES)?;
        return Ok(Scenario { source: Some(arg.to_owned()), ..scenario });
    }
    let list: Vec<&str> = names().collect();
    let list = format!("expected the path of a TOML file, or one of:\n  {}", list.join("\n  "));
    Err(LoadError::Unknown {
        name: arg.to_owned(),
        help: match nearest(arg, names()) {
            Some(near) => format!("did you mean {near:?}?\n{list}"),
            None => list,
        },
    })
}

fn read(name: &str, text: &str) -> Scenario {
    // Proven by tests/builtin.rs, which reads and checks every embedded file.
    toml::from_str(text).unwrap_or_else(|e| panic!("built-in scenario {name} is broken: {e}"))
}
