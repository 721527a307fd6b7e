//! `iscsiadm`: node records, sessions, login and logout, as open-iscsi 2.1 answers.
//!
//! os-brick decides by exit code and by whether there is anything on standard error, so both are
//! open-iscsi's own (`iscsi_err.h`; texts of `usr/iscsiadm.c`, `usr/session_mgmt.c`, `usr/idbm.c`).
//! Every target has portal group 1; texts are those measured with 2.1.8 where they were.

use std::fmt::Write as _;

use castoff_ports::iscsi::{self, Call, CommandOutput, NodeUpdate, NodeValue, Reply, exit};
use castoff_ports::{Iqn, Portal};

use super::{Discovery, Kernel, Session};
use crate::fact::Fact;
use crate::hypervisor::Hypervisor;
use crate::storage::Storage;
use crate::world::Step;

/// ISCSI_ERR_INVAL: also what an old iscsiadm says to a setting it does not know.
const INVAL: i32 = 7;

/// ISCSI_ERR_FATAL_LOGIN: the target does not exist (RFC 7143 section 11.13.5, 0203).
const FATAL_LOGIN: i32 = 19;

/// ISCSI_ERR_LOGIN_AUTH_FAILED: the target does not admit this initiator (0202).
const LOGIN_AUTH_FAILED: i32 = 24;

impl Kernel {
    /// Runs one `iscsiadm` command.
    pub fn iscsi(
        &mut self,
        step: &mut Step<'_>,
        hypervisor: &Hypervisor,
        storage: &Storage,
        call: Call,
    ) -> Reply {
        match call {
            Call::Discoverydb(_) => Reply::Discoverydb(self.show_discoverydb()),
            Call::Discover(c) => Reply::Discover(self.discover(step, storage, c.portal)),
            Call::NodesAtPortal(c) => Reply::NodesAtPortal(self.nodes_at_portal(&c.portal)),
            Call::Nodes(_) => Reply::Nodes(self.list_nodes()),
            Call::Sessions(_) => Reply::Sessions(self.list_sessions()),
            Call::Node(c) => Reply::Node(self.show_node(&c.portal, &c.iqn)),
            Call::NodeNew(c) => Reply::NodeNew(self.create_node(step, c.portal, c.iqn, false)),
            Call::NodeUpdate(c) => Reply::NodeUpdate(self.update_node(&c)),
            Call::Login(c) => Reply::Login(self.login(step, storage, c)),
            Call::Rescan(c) => Reply::Rescan(self.rescan(step, storage, &c.portal, &c.iqn)),
            Call::Logout(c) => Reply::Logout(self.logout(step, hypervisor, &c.portal, &c.iqn)),
            Call::NodeDelete(c) => Reply::NodeDelete(self.delete_node(step, &c.portal, &c.iqn)),
        }
    }

    /// `-m discoverydb -o show -P 1`: by discovery type; records made with `--op new` are static.
    fn show_discoverydb(&self) -> CommandOutput {
        if self.discoveries.is_empty() && self.nodes.is_empty() {
            let none = "SENDTARGETS:\nNo targets found.\niSNS:\nNo targets found.\nSTATIC:\nNo targets found.\nFIRMWARE:\nNo targets found.\n";
            // As measured with 2.1.8: nothing on stderr.
            return CommandOutput {
                stdout: none.to_owned(),
                ..CommandOutput::failed(exit::NO_OBJS_FOUND, "")
            };
        }
        let mut out = String::from("SENDTARGETS:\n");
        for discovery in &self.discoveries {
            let (ip, port) = split_portal(&discovery.address);
            let _ = writeln!(out, "DiscoveryAddress: {ip},{port}");
            for (iqn, portal) in &discovery.targets {
                write_target(&mut out, iqn, portal, 1);
            }
        }
        if self.discoveries.is_empty() {
            out.push_str("No targets found.\n");
        }
        out.push_str("iSNS:\nNo targets found.\nSTATIC:\n");
        let made: Vec<_> = self.nodes.iter().filter(|n| !n.discovered).collect();
        for node in &made {
            write_target(&mut out, &node.iqn, &node.portal, -1);
        }
        if made.is_empty() {
            out.push_str("No targets found.\n");
        }
        out.push_str("FIRMWARE:\nNo targets found.\n");
        CommandOutput::with_stdout(out)
    }

    /// `-m discovery -t sendtargets`: every target at every portal; each gets a record with default
    /// settings, and the discovery database remembers whom we asked.
    fn discover(
        &mut self,
        step: &mut Step<'_>,
        storage: &Storage,
        address: Portal,
    ) -> CommandOutput {
        if !storage.answers(&address) {
            let text = format!(
                "iscsiadm: cannot make connection to {address}: Connection timed out\niscsiadm: Could not perform SendTargets discovery: encountered connection failure\n"
            );
            return CommandOutput::failed(exit::TRANS, text);
        }
        let mut found = Vec::new();
        let mut out = String::new();
        for iqn in storage.targets(&self.initiator) {
            for portal in storage.portals() {
                let _ = writeln!(out, "{portal},1 {iqn}");
                found.push((iqn.clone(), portal.clone()));
            }
        }
        if found.is_empty() {
            return no_records();
        }
        for (iqn, portal) in &found {
            self.create_node(step, portal.clone(), iqn.clone(), true);
        }
        self.discoveries.retain(|d| d.address != address);
        self.discoveries.push(Discovery { address, targets: found });
        CommandOutput::with_stdout(out)
    }

    fn nodes_at_portal(&self, portal: &Portal) -> CommandOutput {
        let mut out = String::new();
        for node in self.nodes.iter().filter(|n| n.portal == *portal) {
            out.push_str(&self.show_node(portal, &node.iqn).stdout);
        }
        if out.is_empty() { no_records() } else { CommandOutput::with_stdout(out) }
    }

    fn list_nodes(&self) -> CommandOutput {
        if self.nodes.is_empty() && !self.quirks.corrupt_record {
            return no_records();
        }
        let mut out = String::with_capacity(96 * self.nodes.len());
        for n in &self.nodes {
            // An unknown tag is -1, and this list prints it without its sign.
            let tag = if n.discovered { 1 } else { u32::MAX };
            let _ = writeln!(out, "{},{tag} {}", n.portal, n.iqn);
        }
        if self.quirks.corrupt_record {
            out.push_str("[]:3260,-1\n");
        }
        CommandOutput::with_stdout(out)
    }

    fn list_sessions(&self) -> CommandOutput {
        if self.sessions.is_empty() {
            return CommandOutput::failed(exit::NO_OBJS_FOUND, "iscsiadm: No active sessions.\n");
        }
        let mut out = String::with_capacity(112 * self.sessions.len());
        for s in &self.sessions {
            let _ = writeln!(out, "tcp: [{}] {},1 {} (non-flash)", s.sid, s.portal, s.iqn);
        }
        let stderr = match self.quirks.iscsiadm_warns {
            true => {
                "iscsiadm: Could not read data from db. Using default and currently negotiated values\n"
            }
            false => "",
        };
        CommandOutput { stderr: stderr.to_owned(), ..CommandOutput::with_stdout(out) }
    }

    fn show_node(&self, portal: &Portal, iqn: &Iqn) -> CommandOutput {
        let Some(node) = self.node(portal, iqn) else {
            return no_records();
        };
        let (ip, port) = split_portal(portal);
        let startup = if node.automatic { "automatic" } else { "manual" };
        let scan = if node.manual_scan { "manual" } else { "auto" };
        let tag = if node.discovered { 1 } else { -1 };
        CommandOutput::with_stdout(format!(
            "# BEGIN RECORD 2.1.8\nnode.name = {iqn}\nnode.tpgt = {tag}\nnode.startup = {startup}\nnode.session.scan = {scan}\nnode.conn[0].address = {ip}\nnode.conn[0].port = {port}\n# END RECORD\n"
        ))
    }

    /// `--op new`: a record that exists is written again, with default settings.
    fn create_node(
        &mut self,
        step: &mut Step<'_>,
        portal: Portal,
        iqn: Iqn,
        discovered: bool,
    ) -> CommandOutput {
        let (ip, port) = split_portal(&portal);
        let said = format!(
            "New iSCSI node [tcp:[hw=,ip=,net_if=,iscsi_if=default] {ip},{port},-1 {iqn}] added\n"
        );
        match self.nodes.iter_mut().find(|n| n.portal == portal && n.iqn == iqn) {
            Some(node) => {
                (node.automatic, node.manual_scan) = (false, false);
                // As measured: a discovery takes over a record made with `--op new`. The other way
                // round there are two, which is not modelled.
                node.discovered |= discovered;
            }
            None => self.new_node(step.facts, portal, iqn, discovered),
        }
        CommandOutput::with_stdout(said)
    }

    fn update_node(&mut self, update: &NodeUpdate) -> CommandOutput {
        let knows_manual_scan = self.knows_manual_scan;
        let node = self.nodes.iter_mut().find(|n| n.portal == update.portal && n.iqn == update.iqn);
        let Some(node) = node else {
            return no_records();
        };
        match (update.name.as_str(), &update.value) {
            ("node.startup", NodeValue::Plain(v)) => node.automatic = v == "automatic",
            ("node.session.scan", NodeValue::Plain(v)) if knows_manual_scan => {
                node.manual_scan = v == "manual";
            }
            // An old iscsiadm has no manual scan; the text on standard error is os-brick's answer
            // to its question (f67d46c).
            ("node.session.scan", _) => {
                return CommandOutput::failed(
                    INVAL,
                    "iscsiadm: Cannot modify node.session.scan. Invalid param name.\niscsiadm: Could not execute operation on all records: invalid parameter\n",
                );
            }
            // CHAP settings change nothing here: the modelled backend asks for none.
            _ => {}
        }
        CommandOutput::ok()
    }

    fn login(
        &mut self,
        step: &mut Step<'_>,
        storage: &Storage,
        iscsi::Login { iqn, portal }: iscsi::Login,
    ) -> CommandOutput {
        let Some(node) = self.node(&portal, &iqn) else {
            return no_records();
        };
        let manual_scan = node.manual_scan;
        if self.session(&portal, &iqn).is_some() {
            return CommandOutput::failed(
                exit::SESS_EXISTS,
                "iscsiadm: default: 1 session requested, but 1 already present.\niscsiadm: Could not log into all portals\n",
            );
        }
        let refused = if !storage.answers(&portal) {
            Some((exit::TRANS_TIMEOUT, "connection timed out"))
        } else if !storage.has_target(&iqn) {
            Some((FATAL_LOGIN, "encountered non-retryable iSCSI login failure"))
        } else if storage.luns(&iqn, &self.initiator).next().is_none() {
            Some((LOGIN_AUTH_FAILED, "iSCSI login failed due to authorization failure"))
        } else {
            None
        };
        if let Some((code, text)) = refused {
            return failed_session("login to", &portal, &iqn, code, text);
        }
        let to = bracketed(&portal, &iqn);
        let said = format!("Logging in to {to}\nLogin to {to} successful.\n");
        let session = self.new_session(step.facts, portal, iqn);
        if !manual_scan {
            self.scan(step.facts, storage, &session, None);
        }
        CommandOutput::with_stdout(said)
    }

    fn rescan(
        &mut self,
        step: &mut Step<'_>,
        storage: &Storage,
        portal: &Portal,
        iqn: &Iqn,
    ) -> CommandOutput {
        let Some(session) = self.session(portal, iqn).cloned() else {
            return CommandOutput::failed(exit::NO_OBJS_FOUND, "iscsiadm: No session found.\n");
        };
        self.scan(step.facts, storage, &session, None);
        let Session { sid, portal, iqn, .. } = &session;
        let (ip, port) = split_portal(portal);
        CommandOutput::with_stdout(format!(
            "Rescanning session [sid: {sid}, target: {iqn}, portal: {ip},{port}]\n"
        ))
    }

    /// `--logout`: asks nobody. Measured with a guest on the disk: exit 0, the disk vanishes.
    fn logout(
        &mut self,
        step: &mut Step<'_>,
        hypervisor: &Hypervisor,
        portal: &Portal,
        iqn: &Iqn,
    ) -> CommandOutput {
        let at = self.sessions.iter().position(|s| s.portal == *portal && s.iqn == *iqn);
        let Some(at) = at else {
            return CommandOutput::failed(
                exit::NO_OBJS_FOUND,
                "iscsiadm: No matching sessions found\n",
            );
        };
        let session = self.sessions.remove(at);
        self.remove_disks(step.facts, hypervisor, false, |d| d.sid == session.sid);
        let (ip, port) = split_portal(portal);
        let of = format!("[sid: {}, target: {iqn}, portal: {ip},{port}]", session.sid);
        let said = format!("Logging out of session {of}\nLogout of {of} successful.\n");
        step.facts.push(Fact::SessionDown { sid: session.sid, target: session.iqn });
        CommandOutput::with_stdout(said)
    }

    fn delete_node(&mut self, step: &mut Step<'_>, portal: &Portal, iqn: &Iqn) -> CommandOutput {
        let Some(at) = self.nodes.iter().position(|n| n.portal == *portal && n.iqn == *iqn) else {
            return no_records();
        };
        if self.session(portal, iqn).is_some() {
            let what = bracketed(portal, iqn);
            return CommandOutput::failed(
                exit::SESS_EXISTS,
                format!(
                    "iscsiadm: This command will remove the record {what}, but a session is using it. Logout session then rerun command to remove record.\niscsiadm: Could not execute operation on all records: session exists\n"
                ),
            );
        }
        let node = self.nodes.remove(at);
        step.facts.push(Fact::NodeDeleted { portal: node.portal, target: node.iqn });
        CommandOutput::ok()
    }
}

fn no_records() -> CommandOutput {
    CommandOutput::failed(exit::NO_OBJS_FOUND, "iscsiadm: No records found\n")
}

/// `10.0.0.1:3260` in the two parts in which iscsiadm often prints it.
fn split_portal(portal: &Portal) -> (&str, &str) {
    portal.as_str().rsplit_once(':').unwrap_or((portal.as_str(), "3260"))
}

fn bracketed(portal: &Portal, iqn: &Iqn) -> String {
    let (ip, port) = split_portal(portal);
    format!("[iface: default, target: {iqn}, portal: {ip},{port}]")
}

fn failed_session(what: &str, portal: &Portal, iqn: &Iqn, code: i32, text: &str) -> CommandOutput {
    let place = bracketed(portal, iqn);
    CommandOutput::failed(
        code,
        format!(
            "iscsiadm: Could not {what} {place}.\niscsiadm: initiator reported error ({code} - {text})\niscsiadm: Could not log into all portals\n"
        ),
    )
}

fn write_target(out: &mut String, iqn: &Iqn, portal: &Portal, tag: i32) {
    let _ = write!(out, "Target: {iqn}\n\tPortal: {portal},{tag}\n\t\tIface Name: default\n");
}
