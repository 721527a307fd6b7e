//! Which targets a volume has: from connection_info, from sendtargets, or from what an earlier
//! sendtargets left in the discovery database.
//!
//! cinder lists every portal (`target_portals`) where the backend knows them; only without these
//! lists does a multipath host ask the target itself.

use castoff_ports::cinder::{IscsiData, IscsiPath};
use castoff_ports::iscsi::{Discover, Discoverydb, NodesAtPortal};
use castoff_ports::{Iqn, Portal};

use super::execute::{OK, execute};
use super::scsi::{Target, plain};
use super::{BrickError, parse};
use crate::context::Context;
use crate::policy::FailedLook;

/// `_get_all_targets`: the lists, or the one target.
pub(super) fn all_targets(data: &IscsiData) -> Vec<IscsiPath> {
    if data.paths.is_empty() { vec![own(data)] } else { data.paths.clone() }
}

fn own(data: &IscsiData) -> IscsiPath {
    IscsiPath {
        portal: data.target_portal.clone(),
        iqn: data.target_iqn.clone(),
        lun: data.target_lun.clone(),
    }
}

/// `_get_ips_iqns_luns` without discovery: every path of the volume that can be known, or `None`
/// where os-brick gives up in silence.
pub(super) async fn known_paths(
    cx: &Context<'_>,
    data: &IscsiData,
    is_disconnect_call: bool,
) -> Result<Option<Vec<IscsiPath>>, BrickError> {
    if !data.paths.is_empty() {
        return Ok(Some(data.paths.clone()));
    }
    // os-brick bug 1699061.
    if !cx.policy().fixes.discoverydb_read {
        return Ok(is_disconnect_call.then(|| vec![own(data)]));
    }
    let out = match execute(cx, || Discoverydb {}, accepted(cx)).await {
        Ok(out) => out,
        // os-brick turns this into TargetPortalNotFound where nobody catches it but the cleanup,
        // which then skips everything: the volume's device and session stay.
        Err(e) => {
            cx.error(format!("Exception encountered during portal discovery: {e}"));
            return match cx.policy().unreadable_discoverydb {
                FailedLook::NotThere => Ok(None),
                FailedLook::Error => Err(e),
            };
        }
    };
    let read = match cx.policy().fixes.portal_tag_cut {
        true => parse::discoverydb,
        false => parse::tagged_discoverydb,
    };
    let found = read(&out.stdout, data.target_portal.as_str());
    if found.is_empty() {
        // No discovery was ever made at this portal: the attachment was a single path.
        return Ok(is_disconnect_call.then(|| vec![own(data)]));
    }
    Ok(Some(volume_paths(&found, data)))
}

/// An empty database is no failure, where failures count: iscsiadm then exits with 21.
fn accepted(cx: &Context<'_>) -> &'static [i32] {
    match cx.policy().unreadable_discoverydb {
        FailedLook::NotThere => OK,
        FailedLook::Error => &[0, 21],
    }
}

/// `_get_ips_iqns_luns` of a connect: asks the target where cinder gave no lists.
pub(super) async fn discovered_paths(
    cx: &Context<'_>,
    data: &IscsiData,
) -> Result<Vec<IscsiPath>, BrickError> {
    if !data.paths.is_empty() {
        return Ok(data.paths.clone());
    }
    match discover_keeping_startup(cx, data).await {
        Ok(stdout) => Ok(volume_paths(&parse::sendtargets(&stdout), data)),
        Err(e @ BrickError::Failure(_)) => Err(e),
        Err(e) => {
            cx.error(format!("Exception encountered during portal discovery: {e}"));
            Err(BrickError::TargetPortalNotFound { portal: data.target_portal.to_string() })
        }
    }
}

/// `iscsiadm -m discovery`: what it prints.
pub(super) async fn sendtargets(cx: &Context<'_>, portal: &Portal) -> Result<String, BrickError> {
    let out = execute(cx, || Discover { portal: portal.clone() }, &[0, 255]).await?;
    Ok(out.stdout)
}

/// A discovery writes the records of all targets anew, those of other volumes' sessions too:
/// what was logged in at boot stays so.
async fn discover_keeping_startup(
    cx: &Context<'_>,
    data: &IscsiData,
) -> Result<String, BrickError> {
    let portal = &data.target_portal;
    let show = || NodesAtPortal { portal: portal.clone() };
    let before = execute(cx, show, &[0, 21]).await?.stdout;
    let found = sendtargets(cx, portal).await?;
    let after = execute(cx, show, &[0, 21]).await?.stdout;
    let before = parse::node_startups(&before);
    for (iqn, now) in parse::node_startups(&after) {
        let Some((_, old)) = before.iter().find(|(i, _)| *i == iqn) else { continue };
        if *old != now {
            let iqn = Iqn::new(iqn);
            let target = Target { portal, iqn: &iqn };
            execute(cx, || target.update("node.startup", plain(old)), OK).await?;
        }
    }
    Ok(found)
}

/// A target that is behind every portal is the volume's; otherwise all of them may be.
pub(super) fn volume_paths(found: &[(&str, &str)], data: &IscsiData) -> Vec<IscsiPath> {
    let path = |ip: &str, iqn: &str| IscsiPath {
        portal: Portal::new(ip),
        iqn: Iqn::new(iqn),
        lun: data.target_lun.clone(),
    };
    let main_iqn = data.target_iqn.as_str();
    let mut all: Vec<&str> = found.iter().map(|(ip, _)| *ip).collect();
    all.sort_unstable();
    all.dedup();
    let has_main = |ip: &str| found.iter().any(|(i, iqn)| *i == ip && *iqn == main_iqn);
    if all.iter().all(|ip| has_main(ip)) {
        all.into_iter().map(|ip| path(ip, main_iqn)).collect()
    } else {
        found.iter().map(|(ip, iqn)| path(ip, iqn)).collect()
    }
}

#[cfg(test)]
mod tests {
    use castoff_ports::Lun;

    use super::*;

    #[test]
    fn a_target_behind_every_portal_is_the_volumes_own() {
        let data = IscsiData {
            target_portal: "10.0.0.1:3260".into(),
            target_iqn: "iqn.a".into(),
            target_lun: Lun(1).into(),
            paths: vec![],
            volume_id: "v1".into(),
            device_path: None,
            encrypted: false,
            auth: None,
        };
        let found =
            [("10.0.0.1:3260", "iqn.a"), ("10.0.0.2:3260", "iqn.a"), ("10.0.0.1:3260", "iqn.b")];
        let paths = volume_paths(&found, &data);
        assert_eq!(paths.len(), 2);
        assert!(paths.iter().all(|p| p.iqn == data.target_iqn && p.lun == Lun(1).into()));
        let differing = [("10.0.0.1:3260", "iqn.a"), ("10.0.0.2:3260", "iqn.b")];
        assert_eq!(volume_paths(&differing, &data).len(), 2);
        assert_eq!(volume_paths(&differing, &data)[1].iqn, Iqn::new("iqn.b"));
    }
}
