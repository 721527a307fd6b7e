//! One path or many: nova decides it for every connect and disconnect anew, from its own option.

use super::{Advice, Opt, Service, Severity, opt};

const USE: Opt = opt("libvirt", &["volume_use_multipath", "iscsi_use_multipath"]);
const ENFORCE: Opt = opt("libvirt", &["volume_enforce_multipath"]);
const BACKENDS: Opt = opt("DEFAULT", &["enabled_backends"]);
const SECONDARY: [&str; 2] = ["target_secondary_ip_addresses", "iscsi_secondary_ip_addresses"];
const USE_XFER: &str = "use_multipath_for_image_xfer";
const ENFORCE_XFER: &str = "enforce_multipath_for_image_xfer";

const NOVA: &str = "Nova's options [libvirt] volume_use_multipath, volume_enforce_multipath";
const CINDER: &str = "Cinder's options use_multipath_for_image_xfer, enforce_multipath_for_image_xfer, \
                      target_secondary_ip_addresses";

pub(super) fn check(
    nova: Option<&Service<'_>>,
    cinder: Option<&Service<'_>>,
    all: &mut Vec<Advice>,
) {
    if let Some(nova) = nova {
        enforced(nova, all);
    }
    let Some(cinder) = cinder else { return };
    let (known, unknown): (Vec<_>, Vec<_>) =
        backends(cinder).into_iter().partition(|backend| is_defined(cinder, backend));
    unknown.iter().for_each(|backend| undefined(cinder, backend, all));
    known.iter().for_each(|backend| transfers(cinder, backend, all));
    if let Some(nova) = nova {
        both(nova, cinder, &known, all);
    }
}

fn enforced(nova: &Service<'_>, all: &mut Vec<Advice>) {
    let (uses, enforces) = (nova.flag(USE, false), nova.flag(ENFORCE, false));
    if uses && !enforces {
        all.push(nova.advice(
            Severity::Stuck,
            ENFORCE,
            "a volume that is attached while multipathd is down gets one path and nobody is told; its detach goes \
             by a map that was never made, or leaves the paths that came later",
            "volume_enforce_multipath = true: the attach fails instead",
            NOVA,
        ));
    }
    if enforces && !uses {
        all.push(nova.advice(
            Severity::Note,
            ENFORCE,
            "it does nothing: volume_use_multipath is not true",
            "volume_use_multipath = true, or leave both",
            NOVA,
        ));
    }
}

fn backends(cinder: &Service<'_>) -> Vec<String> {
    let value = cinder.get(BACKENDS).map(|v| v.text).unwrap_or_default();
    let names = value.split([',', '\n']).map(|n| n.trim().to_owned());
    names.filter(|n| !n.is_empty()).collect()
}

/// An option of a backend: its own, else that of all backends.
fn of_backend(cinder: &Service<'_>, backend: &str, names: &[&str]) -> Option<String> {
    let own = cinder.conf.get(backend, names);
    own.or_else(|| cinder.conf.get("backend_defaults", names)).map(|v| v.text)
}

fn flag(cinder: &Service<'_>, backend: &str, name: &str) -> bool {
    of_backend(cinder, backend, &[name]).and_then(|v| super::truth(&v)).unwrap_or(false)
}

fn is_defined(cinder: &Service<'_>, backend: &str) -> bool {
    let section = backend.to_lowercase();
    cinder.conf.options().any(|(name, _, _)| name == section)
}

fn undefined(cinder: &Service<'_>, backend: &str, all: &mut Vec<Advice>) {
    all.push(cinder.advice(
        Severity::Stuck,
        BACKENDS,
        format!(
            "the backend {backend} has no section: cinder-volume does not start it, and a detach of \
             its volumes waits for nobody"
        ),
        format!("write [{backend}], or take it from enabled_backends"),
        "Cinder: admin/multi-backend",
    ));
}

fn transfers(cinder: &Service<'_>, backend: &str, all: &mut Vec<Advice>) {
    let (uses, enforces) = (flag(cinder, backend, USE_XFER), flag(cinder, backend, ENFORCE_XFER));
    let told = |what: String, fix: &str| Advice {
        option: format!("[{backend}] {ENFORCE_XFER}"),
        found: if enforces { "true" } else { "not true" }.to_owned(),
        place: None,
        ..cinder.advice(Severity::Note, BACKENDS, what, fix, CINDER)
    };
    if enforces && !uses {
        all.push(told(
            format!("it does nothing: {USE_XFER} is not true for {backend}"),
            "set both, or neither",
        ));
    }
    if uses && !enforces {
        all.push(told(
            format!("cinder's own attachments of {backend} fall back to one path when multipathd is down"),
            "enforce_multipath_for_image_xfer = true",
        ));
    }
}

fn both(nova: &Service<'_>, cinder: &Service<'_>, backends: &[String], all: &mut Vec<Advice>) {
    let uses = nova.flag(USE, false);
    let many: Vec<&str> = backends
        .iter()
        .filter(|b| of_backend(cinder, b, &SECONDARY).is_some_and(|v| !v.trim().is_empty()))
        .map(String::as_str)
        .collect();
    if !uses && !many.is_empty() {
        all.push(nova.advice(
            Severity::Stuck,
            USE,
            format!(
                "{} offers more than one portal and nova uses one path: when that one is down, a detach waits for \
                 flushes that time out (three of 300 s) and gives up",
                many.join(" and ")
            ),
            "volume_use_multipath = true with multipathd on every compute host, when no volume is attached: a \
             detach goes by the option of the moment, not by that of the attach",
            NOVA,
        ));
    }
    let transfers: Vec<&str> =
        backends.iter().filter(|b| flag(cinder, b, USE_XFER) != uses).map(String::as_str).collect();
    if uses && !transfers.is_empty() {
        all.push(nova.advice(
            Severity::Note,
            USE,
            format!(
                "nova uses multipath and cinder, for its own attachments of {}, does not: on a host that runs both, \
                 multipathd takes cinder's disks for paths and holds them",
                transfers.join(" and ")
            ),
            "use_multipath_for_image_xfer = true in these backends, or in [backend_defaults]",
            CINDER,
        ));
    }
}
