//! What a run may touch on the host, and how.

use std::path::PathBuf;
use std::time::Duration;

use castoff_ports::{InstanceId, Iqn, Portal};

use crate::RealError;

/// What a run may touch on the host, and how.
#[derive(Clone, Debug)]
pub struct RealConfig {
    /// libvirt's connection URI, for example `qemu:///system`.
    pub uri: String,
    /// The domains that were named on the command line, by UUID in libvirt's own form; see
    /// [`RealHost::domain_by_name`](crate::RealHost::domain_by_name). No other domain is touched.
    pub domains: Vec<InstanceId>,
    /// The targets that were named. No other session, node record or disk is touched.
    pub targets: Vec<(Portal, Iqn)>,
    /// How long a command may run before it is killed; os-brick's default is 600 s.
    pub command_timeout: Duration,
    /// Directory of the external locks' files: os-brick's `lock_path` to exclude a nova-compute
    /// of the same host, a directory of castoff's own otherwise. Made when it does not exist.
    pub lock_path: PathBuf,
}

impl RealConfig {
    /// Whether everything in it can name something.
    pub(crate) fn check(&self) -> Result<(), RealError> {
        self.targets.iter().try_for_each(|(portal, iqn)| named_well(portal, iqn))
    }
}

/// A target's two names become arguments of iscsiadm: neither may look like an option or be empty.
fn named_well(portal: &Portal, iqn: &Iqn) -> Result<(), RealError> {
    // RFC 7143 section 4.2.7.2: the three forms of an iSCSI name.
    let (name, address) = (iqn.as_str(), portal.as_str());
    if !["iqn.", "eui.", "naa."].iter().any(|form| name.starts_with(form)) {
        let needed = "an iSCSI name begins with iqn., eui. or naa.";
        return Err(RealError::BadName { what: "target", value: name.to_owned(), needed });
    }
    let port = address.rsplit_once(':').and_then(|(ip, port)| {
        (!ip.is_empty() && !ip.starts_with('-')).then(|| port.parse::<u16>().ok())?
    });
    if port.is_none() {
        let needed = "a portal is written ip:port, as iscsiadm shows it";
        return Err(RealError::BadName { what: "portal", value: address.to_owned(), needed });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const IQN: &str = "iqn.2010-10.org.openstack:volume-1";

    #[test]
    fn a_target_is_named_by_an_iscsi_name_and_an_address_with_a_port() {
        let check = |portal: &str, iqn: &str| named_well(&portal.into(), &iqn.into());
        for portal in ["10.0.0.1:3260", "[fd00::1]:3260"] {
            assert_eq!(check(portal, IQN), Ok(()));
        }
        for (portal, iqn) in [
            ("10.0.0.1", IQN),
            ("10.0.0.1:iscsi", IQN),
            ("-s:3260", IQN),
            ("", IQN),
            ("10.0.0.1:3260", "--logout"),
            ("10.0.0.1:3260", ""),
        ] {
            assert!(check(portal, iqn).is_err(), "{portal} {iqn}");
        }
    }
}
