//! What this host and this run's options have, and so which cases can be played.

use castoff_real::fixture::sh;

use super::case::{Case, Machine, Need};
use super::suite::{Options, TargetOption};

/// What there is.
pub(super) struct Capabilities {
    machine: Machine,
    has: Vec<Need>,
}

impl Capabilities {
    /// Looks.
    pub(super) async fn of(options: &Options) -> Capabilities {
        let there = async |script: &str| sh(script, &[""; 0]).await.is_ok();
        let daemons = options.may_restart_daemons;
        let mut has = Vec::new();
        if matches!(options.target, TargetOption::Local) {
            has.push(Need::LocalTarget);
        }
        if there("command -v multipath && command -v multipathd").await
            && (daemons || there("pidof multipathd").await)
        {
            has.push(Need::Multipath);
        }
        if options.may_kill_guest {
            has.push(Need::GuestOfOurs);
        }
        if daemons {
            has.push(Need::DaemonsOfOurs);
        }
        if there("command -v mkfs.ext4 && { grep -qw ext4 /proc/filesystems || modprobe ext4; }")
            .await
        {
            has.push(Need::FileSystem);
        }
        Capabilities { machine: options.machine, has }
    }

    /// Why the case cannot be played here, if it cannot.
    pub(super) fn lacks(&self, case: &Case) -> Option<String> {
        if case.machine != self.machine {
            return Some(format!("needs a guest of machine type {}", case.machine.as_str()));
        }
        let lacking = case.needs.iter().find(|n| !self.has.contains(n));
        lacking.map(|n| n.reason().to_owned())
    }
}
