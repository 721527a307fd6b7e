//! What is written wrongly: oslo.config ignores an option that it does not know, and says nothing.

use super::{Advice, Opt, Service, Severity, truth};

/// The options that a detach hangs on: service, section, name, what it takes.
const KNOWN: [(&str, &str, &str, Takes); 22] = [
    ("nova", "service_user", "send_service_user_token", Takes::Flag),
    ("cinder", "service_user", "send_service_user_token", Takes::Flag),
    ("cinder", "keystone_authtoken", "service_token_roles_required", Takes::Flag),
    ("nova", "keystone_authtoken", "service_token_roles_required", Takes::Flag),
    ("cinder", "keystone_authtoken", "service_token_roles", Takes::Text),
    ("nova", "keystone_authtoken", "service_token_roles", Takes::Text),
    ("nova", "libvirt", "device_detach_attempts", Takes::AtLeast(1)),
    ("nova", "libvirt", "device_detach_timeout", Takes::AtLeast(1)),
    ("nova", "libvirt", "volume_use_multipath", Takes::Flag),
    ("nova", "libvirt", "volume_enforce_multipath", Takes::Flag),
    ("nova", "libvirt", "num_volume_scan_tries", Takes::AtLeast(i64::MIN)),
    ("nova", "cinder", "http_retries", Takes::AtLeast(0)),
    ("nova", "DEFAULT", "rpc_response_timeout", Takes::AtLeast(i64::MIN)),
    ("cinder", "DEFAULT", "rpc_response_timeout", Takes::AtLeast(i64::MIN)),
    ("nova", "DEFAULT", "report_interval", Takes::AtLeast(i64::MIN)),
    ("nova", "DEFAULT", "service_down_time", Takes::AtLeast(i64::MIN)),
    ("cinder", "DEFAULT", "report_interval", Takes::AtLeast(i64::MIN)),
    ("cinder", "DEFAULT", "service_down_time", Takes::AtLeast(i64::MIN)),
    ("nova", "DEFAULT", "debug", Takes::Flag),
    ("cinder", "DEFAULT", "debug", Takes::Flag),
    ("nova", "cinder", "debug", Takes::Flag),
    ("cinder", "DEFAULT", "enabled_backends", Takes::Text),
];

#[derive(Clone, Copy)]
enum Takes {
    Flag,
    AtLeast(i64),
    Text,
}

impl Takes {
    /// What is wrong with a value.
    fn wrong(self, text: &str) -> Option<String> {
        match self {
            Takes::Flag => truth(text).is_none().then(|| "it is neither true nor false".to_owned()),
            Takes::Text => None,
            Takes::AtLeast(least) => match text.trim().parse::<i64>() {
                Err(_) => Some("it is no whole number".to_owned()),
                Ok(n) if n < least => Some(format!("it is below {least}")),
                Ok(_) => None,
            },
        }
    }
}

/// Old names, in [libvirt] of nova.
const RENAMED: [(&str, &str); 2] = [
    ("iscsi_use_multipath", "volume_use_multipath"),
    ("num_iscsi_scan_tries", "num_volume_scan_tries"),
];

const OSLO: &str = "oslo.config: types, and options that are not registered";
const LOGS: &str = "oslo.log's option debug; oslo.utils strutils.mask_password";

pub(super) fn check(service: &Service<'_>, all: &mut Vec<Advice>) {
    let mine = || KNOWN.iter().filter(|(name, ..)| *name == service.name);
    for (section, name, value) in service.conf.options() {
        let mut told = |severity, what: String, fix: String, reference| {
            all.push(Advice {
                severity,
                service: service.name,
                option: format!("[{section}] {name}"),
                found: value.text.clone(),
                place: Some(value.place.clone()),
                what,
                fix,
                reference,
            });
        };
        if let Some((_, _, _, takes)) = mine().find(|(_, s, n, _)| *s == section && *n == name) {
            // A value that stands for another option is judged where it is used.
            let seen = service.conf.get(section, &[name]).map(|v| v.text).unwrap_or_default();
            if let Some(why) = takes.wrong(&seen) {
                let fix = "write a value of its kind: the service does not start with this one";
                told(Severity::Stuck, why, fix.to_owned(), OSLO);
            }
        } else if let Some((_, wanted, _, _)) = mine().find(|(_, _, n, _)| *n == name)
            && !others_have_it(name)
        {
            let what = format!("{} does not look for it there and says nothing", service.name);
            told(Severity::Stuck, what, format!("move it to [{wanted}]"), OSLO);
        } else if service.name == "nova"
            && section == "libvirt"
            && let Some((_, new)) = RENAMED.iter().find(|(old, _)| *old == name)
        {
            let what = "an old name, which a later release will not read".to_owned();
            told(
                Severity::Note,
                what,
                format!("call it {new}"),
                "Nova's options, deprecated names",
            );
        }
    }
    debug(service, all);
}

/// Names that other sections have as well, of other systems: `[neutron] http_retries`, castellan's
/// `[barbican] send_service_user_token`.
fn others_have_it(name: &str) -> bool {
    matches!(name, "debug" | "http_retries" | "send_service_user_token")
}

fn debug(service: &Service<'_>, all: &mut Vec<Advice>) {
    let mut of = vec![Opt { section: "DEFAULT", names: &["debug"] }];
    if service.name == "nova" {
        of.push(Opt { section: "cinder", names: &["debug"] });
    }
    for of in of.into_iter().filter(|of| service.flag(*of, false)) {
        all.push(service.advice(
            Severity::Note,
            of,
            "connection_info and commands are logged: CHAP passwords in them are masked by their key's name alone",
            "debug = false but while you look for something; then mind who reads the logs",
            LOGS,
        ));
    }
}
