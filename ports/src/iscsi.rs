//! open-iscsi: `iscsiadm` commands. A non-zero exit is a reply, not a failure: os-brick decides.

use serde::{Deserialize, Serialize};

use crate::{Iqn, Portal, Secret};

/// Exit code and output of a command.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CommandOutput {
    /// Exit code; a command killed by a signal or a timeout is a failure instead.
    pub exit: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl CommandOutput {
    /// Success without output.
    pub fn ok() -> Self {
        Self::default()
    }
    /// Success with this standard output.
    pub fn with_stdout(stdout: impl Into<String>) -> Self {
        Self { stdout: stdout.into(), ..Self::default() }
    }
    /// A failure with this exit code and standard error.
    pub fn failed(exit: i32, stderr: impl Into<String>) -> Self {
        Self { exit, stderr: stderr.into(), ..Self::default() }
    }
}

/// Exit codes of iscsiadm (open-iscsi `iscsi_err.h`, iscsiadm(8)).
pub mod exit {
    /// Session could not be found.
    pub const SESS_NOT_FOUND: i32 = 2;
    /// Encountered an iSCSI transport connect error.
    pub const TRANS: i32 = 4;
    /// Database record error.
    pub const IDBM: i32 = 6;
    /// Connection timer expired while trying to connect.
    pub const TRANS_TIMEOUT: i32 = 8;
    /// Session exists.
    pub const SESS_EXISTS: i32 = 15;
    /// No records, targets, sessions or portals found to execute operation on.
    pub const NO_OBJS_FOUND: i32 = 21;
}

/// A value that a node record is updated to; CHAP passwords are secrets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum NodeValue {
    /// A plain setting.
    Plain(String),
    /// A secret setting.
    Secret(Secret),
}

crate::operations!(Iscsi, "iscsi", {
    /// `iscsiadm -m discoverydb -o show -P 1`.
    Discoverydb {} -> CommandOutput;
    /// `iscsiadm -m discovery -t sendtargets -I default -p portal`: `portal,tpgt iqn` a line; makes
    /// node records of what it finds.
    Discover {
        /// Whom to ask.
        portal: Portal,
    } -> CommandOutput;
    /// `iscsiadm -m node --op show -p portal`: the records of one portal in full.
    NodesAtPortal {
        /// Portal.
        portal: Portal,
    } -> CommandOutput;
    /// `iscsiadm -m node`: every node record.
    Nodes {} -> CommandOutput;
    /// `iscsiadm -m session`: `tcp: [sid] portal,tpgt iqn (non-flash)` a line; exit 21 when none.
    Sessions {} -> CommandOutput;
    /// `iscsiadm -m node -T iqn -p portal`: shows one record; exit 21 when there is none.
    Node {
        /// Target.
        iqn: Iqn,
        /// Portal.
        portal: Portal,
    } -> CommandOutput;
    /// `… --interface default --op new`.
    NodeNew {
        /// Target.
        iqn: Iqn,
        /// Portal.
        portal: Portal,
    } -> CommandOutput;
    /// `… --op update -n name -v value`.
    NodeUpdate {
        /// Target.
        iqn: Iqn,
        /// Portal.
        portal: Portal,
        /// Setting, for example `node.startup`.
        name: String,
        /// New value.
        value: NodeValue,
    } -> CommandOutput;
    /// `… --login`.
    Login {
        /// Target.
        iqn: Iqn,
        /// Portal.
        portal: Portal,
    } -> CommandOutput;
    /// `… --rescan`: the whole session.
    Rescan {
        /// Target.
        iqn: Iqn,
        /// Portal.
        portal: Portal,
    } -> CommandOutput;
    /// `… --logout`: the kernel removes the session's devices, used or not.
    Logout {
        /// Target.
        iqn: Iqn,
        /// Portal.
        portal: Portal,
    } -> CommandOutput;
    /// `… --op delete`: exit 15 while a session uses the record.
    NodeDelete {
        /// Target.
        iqn: Iqn,
        /// Portal.
        portal: Portal,
    } -> CommandOutput;
});

impl Call {
    /// The arguments of `iscsiadm`. Holds secrets in clear: for running it, never for showing it.
    pub fn argv(&self) -> Vec<String> {
        let words = |s: &str| s.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let node = |iqn: &Iqn, portal: &Portal, rest: &[&str]| {
            let mut v = words("-m node -T");
            v.extend([iqn.to_string(), "-p".to_owned(), portal.to_string()]);
            v.extend(rest.iter().map(|s| (*s).to_owned()));
            v
        };
        match self {
            Call::Discoverydb(_) => words("-m discoverydb -o show -P 1"),
            Call::Discover(c) => {
                let mut v = words("-m discovery -t sendtargets -I default -p");
                v.push(c.portal.to_string());
                v
            }
            Call::NodesAtPortal(c) => {
                let mut v = words("-m node --op show -p");
                v.push(c.portal.to_string());
                v
            }
            Call::Nodes(_) => words("-m node"),
            Call::Sessions(_) => words("-m session"),
            Call::Node(c) => node(&c.iqn, &c.portal, &[]),
            Call::NodeNew(c) => node(&c.iqn, &c.portal, &["--interface", "default", "--op", "new"]),
            Call::NodeUpdate(c) => {
                let value = match &c.value {
                    NodeValue::Plain(v) => v,
                    NodeValue::Secret(v) => v.reveal(),
                };
                node(&c.iqn, &c.portal, &["--op", "update", "-n", &c.name, "-v", value])
            }
            Call::Login(c) => node(&c.iqn, &c.portal, &["--login"]),
            Call::Rescan(c) => node(&c.iqn, &c.portal, &["--rescan"]),
            Call::Logout(c) => node(&c.iqn, &c.portal, &["--logout"]),
            Call::NodeDelete(c) => node(&c.iqn, &c.portal, &["--op", "delete"]),
        }
    }

    /// The command line, secrets masked.
    pub fn describe(&self) -> String {
        let mut argv = self.argv();
        if let Call::NodeUpdate(NodeUpdate { value: NodeValue::Secret(_), .. }) = self
            && let Some(last) = argv.last_mut()
        {
            "***".clone_into(last);
        }
        format!("iscsiadm {}", argv.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chap_password_is_masked_in_the_description_and_clear_in_the_arguments() {
        let call = Call::NodeUpdate(NodeUpdate {
            iqn: "iqn.t".into(),
            portal: "10.0.0.1:3260".into(),
            name: "node.session.auth.password".into(),
            value: NodeValue::Secret(Secret::new("hush")),
        });
        assert!(!call.describe().contains("hush"), "{}", call.describe());
        assert_eq!(call.argv().last().map(String::as_str), Some("hush"));
    }
}
