//! The text that iscsiadm prints: sessions, node records and the discovery database.
//!
//! Everything borrows from the output; nothing is allocated for a line that does not match.

use castoff_ports::Sid;

use super::BrickError;

/// A line of `iscsiadm -m session`: `tcp: [1] 10.0.0.1:3260,1 iqn.2010-10.org:t (non-flash)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session<'a> {
    /// Its number.
    pub sid: Sid,
    /// Portal without the portal group tag (os-brick bug 1705674).
    pub portal: &'a str,
    /// Target.
    pub iqn: &'a str,
}

/// The TCP and iSER sessions in the output of `iscsiadm -m session`.
///
/// A line that cannot be read is an error, as it is an exception in os-brick.
pub fn sessions(stdout: &str) -> Result<Vec<Session<'_>>, BrickError> {
    let mut sessions = Vec::with_capacity(4);
    for line in stdout.lines().filter(|l| !l.is_empty()) {
        let (transport, session) =
            session(line).ok_or_else(|| BrickError::UnreadableSession { line: line.to_owned() })?;
        if matches!(transport, "tcp:" | "iser:") {
            sessions.push(session);
        }
    }
    Ok(sessions)
}

fn session(line: &str) -> Option<(&str, Session<'_>)> {
    let mut words = line.split_ascii_whitespace();
    let transport = words.next()?;
    let sid = words.next()?.strip_prefix('[')?.strip_suffix(']')?.parse().ok()?;
    let (portal, _tpgt) = words.next()?.split_once(',')?;
    Some((transport, Session { sid: Sid(sid), portal, iqn: words.next()? }))
}

/// Whether `iscsiadm -m node` lists this record; malformed lines are skipped (os-brick bug
/// 1886855).
pub fn has_node(stdout: &str, portal: &str, iqn: &str) -> bool {
    stdout.lines().any(|line| {
        let mut words = line.split_ascii_whitespace();
        words.next().is_some_and(|p| p.split(',').next() == Some(portal))
            && words.next() == Some(iqn)
    })
}

/// What os-brick made of a malformed record before bug 1886855 was fixed: IndexError.
pub fn refuse_corrupt_nodes(stdout: &str) -> Result<(), BrickError> {
    let corrupt = |line: &&str| line.split_ascii_whitespace().nth(1).is_none();
    match stdout.lines().find(corrupt) {
        Some(line) => Err(BrickError::UnreadableSession { line: line.to_owned() }),
        None => Ok(()),
    }
}

/// The (portal, target) pairs that a sendtargets discovery at `portal` has left in the output of
/// `iscsiadm -m discoverydb -o show -P 1`.
pub fn discoverydb<'a>(stdout: &'a str, portal: &str) -> Vec<(&'a str, &'a str)> {
    let mut found = tagged_discoverydb(stdout, portal);
    for (ip, _) in &mut found {
        *ip = ip.split(',').next().unwrap_or_default();
    }
    found
}

/// The same, each portal with the tag of its portal group, as no session has it (os-brick bug
/// 1705674).
pub fn tagged_discoverydb<'a>(stdout: &'a str, portal: &str) -> Vec<(&'a str, &'a str)> {
    let Some((ip, port)) = portal.rsplit_once(':') else { return Vec::new() };
    let ip = ip.trim_start_matches('[').trim_end_matches(']');
    let wanted = |address: &str| {
        address.rsplit_once(',').is_some_and(|(a, p)| {
            // The expression of os-brick only anchors the beginning of the port.
            a.trim_start_matches('[').trim_end_matches(']') == ip && p.starts_with(port)
        })
    };
    let mut found = Vec::new();
    let mut lines = stdout.lines().skip_while(|l| *l != "SENDTARGETS:");
    if !lines.by_ref().any(|l| l.strip_prefix("DiscoveryAddress: ").is_some_and(wanted)) {
        return found;
    }
    let (mut iqn, mut ip) = ("", "");
    for line in lines {
        if line.starts_with("DiscoveryAddress") || line.starts_with("iSNS:") {
            break;
        }
        let line = line.trim();
        if let Some(target) = line.strip_prefix("Target: ") {
            iqn = target;
        } else if let Some(portal) = line.strip_prefix("Portal: ") {
            ip = portal;
        } else if line.starts_with("Iface Name: default") {
            if !iqn.is_empty() && !ip.is_empty() {
                found.push((ip, iqn));
            }
            ip = "";
        }
    }
    found
}

/// The (portal, target) pairs that `iscsiadm -m discovery` prints, other lines left out.
///
/// 1.12 kept the tag of the portal group (`10.0.0.1:3260,1`), which iscsiadm takes for the same
/// portal.
pub fn sendtargets(stdout: &str) -> Vec<(&str, &str)> {
    stdout.lines().filter_map(discovered).collect()
}

fn discovered(line: &str) -> Option<(&str, &str)> {
    let mut words = line.split_ascii_whitespace();
    let (portal, iqn) = (words.next()?, words.next()?);
    let portal = portal.split(',').next()?;
    (words.next().is_none() && iqn.starts_with("iqn.")).then_some((portal, iqn))
}

/// (target, `node.startup`) of every record in the output of `iscsiadm -m node --op show`.
pub fn node_startups(stdout: &str) -> Vec<(&str, &str)> {
    let value = |line: &str, key: &str| line.trim().starts_with(key);
    let mut found = Vec::new();
    let (mut iqn, mut startup) = (None, None);
    for line in stdout.lines() {
        let last = line.split_ascii_whitespace().nth(2);
        if value(line, "node.name ") {
            iqn = last;
        } else if value(line, "node.startup ") {
            startup = last;
        }
        if let (Some(i), Some(s)) = (iqn, startup) {
            found.push((i, s));
            (iqn, startup) = (None, None);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_read_without_the_portal_group_tag_and_other_transports_are_left_out() {
        let out = "tcp: [1] 10.0.0.1:3260,1 iqn.a (non-flash)\nqla4xxx: [2] 10.0.0.2:3260,1 iqn.b (flash)\n";
        let expected = vec![Session { sid: Sid(1), portal: "10.0.0.1:3260", iqn: "iqn.a" }];
        assert_eq!(sessions(out), Ok(expected));
        assert_eq!(sessions(""), Ok(vec![]));
    }

    #[test]
    fn a_line_of_noise_among_the_sessions_is_an_error() {
        let e = sessions("iscsiadm: warning\n").unwrap_err();
        assert_eq!(e.class_name(), "ValueError");
    }

    #[test]
    fn a_corrupt_node_record_does_not_hide_the_others() {
        let out = "[]:3260,-1\n10.0.0.1:3260,1 iqn.a\n";
        assert!(has_node(out, "10.0.0.1:3260", "iqn.a"));
        assert!(!has_node(out, "10.0.0.1:3260", "iqn.b"));
        assert!(!has_node(out, "[]:3260", "iqn.a"));
    }

    #[test]
    fn a_discovery_gives_portals_without_their_tag_and_leaves_noise_out() {
        let out =
            "iscsiadm: a warning of five words\n10.0.0.1:3260,1 iqn.a\n10.0.0.2:3260,1 eui.b\n";
        assert_eq!(sendtargets(out), [("10.0.0.1:3260", "iqn.a")]);
    }

    #[test]
    fn every_record_of_a_portal_gives_its_startup() {
        let out = "# BEGIN RECORD 2.1.8\nnode.name = iqn.a\nnode.tpgt = 1\nnode.startup = automatic\n\
                   # END RECORD\n# BEGIN RECORD 2.1.8\nnode.name = iqn.b\nnode.startup = manual\n";
        assert_eq!(node_startups(out), [("iqn.a", "automatic"), ("iqn.b", "manual")]);
    }

    const DISCOVERYDB: &str = "\
SENDTARGETS:
DiscoveryAddress: 10.0.0.9,3260
DiscoveryAddress: 10.0.0.1,3260
Target: iqn.a
\tPortal: 10.0.0.1:3260,1
\t\tIface Name: default
\tPortal: 10.0.0.2:3260,1
\t\tIface Name: default
Target: iqn.b
\tPortal: 10.0.0.1:3260,1
\t\tIface Name: iser
DiscoveryAddress: 10.0.0.3,3260
Target: iqn.c
\tPortal: 10.0.0.3:3260,1
\t\tIface Name: default
iSNS:
No targets found.
";

    #[test]
    fn the_discovery_database_gives_the_portals_found_at_one_address() {
        assert_eq!(
            discoverydb(DISCOVERYDB, "10.0.0.1:3260"),
            [("10.0.0.1:3260", "iqn.a"), ("10.0.0.2:3260", "iqn.a")]
        );
        assert_eq!(discoverydb(DISCOVERYDB, "10.0.0.3:3260"), [("10.0.0.3:3260", "iqn.c")]);
        assert_eq!(discoverydb(DISCOVERYDB, "10.0.0.8:3260"), []);
        assert_eq!(discoverydb("SENDTARGETS:\nNo targets found.\n", "10.0.0.1:3260"), []);
    }
}
