//! Whatever iscsiadm, multipath and lsblk print, reading it ends, and invents nothing.

use castoff_pipeline::brick::{parse, parse_multipath};

#[path = "../../tests/support/fuzz.rs"]
mod fuzz;

const SESSIONS: [&str; 2] = [
    "tcp: [1] 10.0.0.1:3260,1 iqn.2010-10.org:a (non-flash)\niser: [2] [fd00::1]:3260,1 iqn.b\n",
    "iscsiadm: No active sessions.\n",
];

const NODES: [&str; 2] = [
    "10.0.0.1:3260,1 iqn.a\n[]:3260,-1\n[fd00::1]:3260,4294967295 iqn.b\n",
    "# BEGIN RECORD 2.1.8\nnode.name = iqn.a\nnode.startup = automatic\n# END RECORD\n",
];

const DISCOVERYDB: [&str; 1] = ["SENDTARGETS:\nDiscoveryAddress: 10.0.0.1,3260\nTarget: iqn.a\n\
     \tPortal: 10.0.0.1:3260,1\n\t\tIface Name: default\n\tPortal: 10.0.0.2:3260,1\n\
     \t\tIface Name: default\nDiscoveryAddress: 10.0.0.3,3260\niSNS:\nNo targets found.\n"];

const PORTALS: [&str; 3] = ["10.0.0.1:3260", "[fd00::1]:3260", "10.0.0.3:3260"];

const MAPS: [&str; 2] = [
    "mpatha (360014050001) dm-0 LIO-ORG,volume\n\
     size=1.0G features='1 queue_if_no_path' hwhandler='1 alua' wp=rw\n\
     |-+- policy='service-time 0' prio=0 status=active\n\
     | `- 2:0:0:1 sdb 8:16 active undef running\n",
    "Jun 30 12:00:00 | sdd: no path\nreload: 360014050001 dm-1 LIO-ORG,volume\nsize=1.0G\n",
];

#[test]
fn any_list_of_sessions_is_read_or_the_unreadable_line_is_named() {
    fuzz::fuzz!(|bytes: &mut fuzz::Bytes<'_>| {
        let text = bytes.edited_text(&SESSIONS);
        match parse::sessions(&text) {
            Ok(sessions) => {
                assert!(sessions.len() <= text.lines().count(), "{text:?}");
                let in_text = |s: &parse::Session<'_>| text.contains(s.portal);
                assert!(sessions.iter().all(in_text), "{text:?}");
            }
            Err(e) => assert_eq!(e.class_name(), "ValueError", "{text:?}"),
        }
    });
}

#[test]
fn any_node_records_and_discoveries_are_read_and_every_pair_is_in_the_text() {
    fuzz::fuzz!(|bytes: &mut fuzz::Bytes<'_>| {
        let (nodes, db) = (bytes.edited_text(&NODES), bytes.edited_text(&DISCOVERYDB));
        let portal = bytes.edited_text(&PORTALS);
        let startups = parse::node_startups(&nodes);
        let sent = parse::sendtargets(&nodes);
        for (a, b) in startups.into_iter().chain(sent) {
            assert!(nodes.contains(a) && nodes.contains(b), "{nodes:?}");
        }
        if parse::has_node(&nodes, &portal, "iqn.a") {
            assert!(nodes.contains(portal.as_str()), "{nodes:?} {portal:?}");
        }
        for (portal, iqn) in parse::discoverydb(&db, &portal) {
            assert!(!portal.is_empty() && !iqn.is_empty(), "{db:?}");
        }
    });
}

#[test]
fn any_multipath_map_is_read_and_its_name_and_paths_are_in_the_text() {
    fuzz::fuzz!(|bytes: &mut fuzz::Bytes<'_>| {
        let text = bytes.edited_text(&MAPS);
        if let Some(map) = parse_multipath::map(&text) {
            assert!(text.contains(&map.name), "{text:?}");
            let in_text = |d: &castoff_ports::DeviceName| text.contains(d.as_str());
            assert!(map.devices.iter().all(in_text), "{text:?}");
        }
        let wwn = bytes.edited_text(&["360014050001"]);
        if parse_multipath::is_read_only(&text, &wwn) {
            assert!(text.contains(&wwn), "{text:?}");
        }
    });
}
