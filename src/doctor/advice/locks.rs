//! os-brick's lock `connect_volume` keeps one iSCSI scan, login or logout on a host at a time. It
//! is a file: it does so only where everybody opens the same one, and nobody takes it away.

use super::{Advice, Opt, Service, Severity, opt};

const OSLO: Opt = opt("oslo_concurrency", &["lock_path"]);
const BRICK: Opt = opt("os_brick", &["lock_path"]);

const RACES: &str = "LP 1947370; os-brick 5.0.0 release notes: lock_path has no valid default";
const SHARED: &str = "os-brick's option [os_brick] lock_path; LP 1947370";
const OSLO_DOC: &str = "oslo.concurrency's option lock_path";

/// Open to everybody, and where the distribution says so cleaned by age (tmpfiles.d(5)).
const VOLATILE: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

pub(super) fn check(
    nova: Option<&Service<'_>>,
    cinder: Option<&Service<'_>>,
    all: &mut Vec<Advice>,
) {
    for service in [nova, cinder].into_iter().flatten() {
        unset(service, all);
        for of in [OSLO, BRICK] {
            volatile(service, of, all);
        }
    }
    let (Some(nova), Some(cinder)) = (nova, cinder) else { return };
    let brick = |service: &Service<'_>| service.get(BRICK).or_else(|| service.get(OSLO));
    let (Some(novas), Some(cinders)) = (brick(nova), brick(cinder)) else { return };
    if directory(&novas.text) != directory(&cinders.text) {
        let (novas, cinders) = (novas.text, cinders.text);
        all.push(nova.advice(
            Severity::Note,
            BRICK,
            format!(
                "os-brick's locks of nova are in {novas}, those of cinder in {cinders}: where nova-compute and \
                 cinder-volume (or cinder-backup, or glance on cinder) share a host, one scans while the other \
                 logs out, and a detach can remove a disk that the other is about to use"
            ),
            "on such a host give [os_brick] lock_path the same directory in all of them",
            SHARED,
        ));
    }
    let same = |a: Opt| Some((nova.get(a)?, cinder.get(a)?));
    if let Some((novas, cinders)) = same(OSLO)
        && directory(&novas.text) == directory(&cinders.text)
    {
        all.push(nova.advice(
            Severity::Note,
            OSLO,
            "nova and cinder keep all their locks in one directory, so both users must be able to write to it",
            "a directory of its own for each, and a shared one only as [os_brick] lock_path",
            OSLO_DOC,
        ));
    }
}

fn directory(path: &str) -> &str {
    match path.trim().trim_end_matches('/') {
        "" => "/",
        path => path,
    }
}

fn unset(service: &Service<'_>, all: &mut Vec<Advice>) {
    let set = |of| service.get(of).is_some_and(|v| !v.text.trim().is_empty());
    if !set(OSLO) {
        let what = if set(BRICK) {
            "external locks other than os-brick's have no directory: what takes one fails"
        } else {
            "os-brick's file locks have no directory: every iSCSI connect and disconnect fails, unless the \
             environment has OSLO_LOCK_PATH"
        };
        let path = format!("lock_path = /var/lib/{}/tmp", service.name);
        all.push(service.advice(Severity::Stuck, OSLO, what, path, RACES));
    }
}

fn volatile(service: &Service<'_>, of: Opt, all: &mut Vec<Advice>) {
    let Some(value) = service.get(of) else { return };
    let path = directory(&value.text);
    let inside = |dir: &&str| {
        path.strip_prefix(*dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if let Some(dir) = VOLATILE.into_iter().find(inside) {
        all.push(service.advice(
            Severity::Unsafe,
            of,
            format!(
                "everybody may write to {dir}, and files there may be removed by age (tmpfiles.d(5)): a lock file that \
                 goes while it is held gives the next one a new file, and two commands work on one session at once"
            ),
            format!("a directory that only the service's user may write to, as /var/lib/{}/tmp", service.name),
            OSLO_DOC,
        ));
    }
}
