//! How long everybody waits for everybody else.

use super::{Advice, Opt, Service, Severity, opt};

const ATTEMPTS: Opt = opt("libvirt", &["device_detach_attempts"]);
const TIMEOUT: Opt = opt("libvirt", &["device_detach_timeout"]);
const SCANS: Opt = opt("libvirt", &["num_volume_scan_tries", "num_iscsi_scan_tries"]);
const RPC: Opt = opt("DEFAULT", &["rpc_response_timeout"]);
const REPORT: Opt = opt("DEFAULT", &["report_interval"]);
const DOWN: Opt = opt("DEFAULT", &["service_down_time"]);
const RETRIES: Opt = opt("cinder", &["http_retries"]);
const HTTP: Opt = opt("cinder", &["timeout"]);

const UNPLUG: &str =
    "Nova's options [libvirt] device_detach_attempts, device_detach_timeout; LP 1882521";
const K8S: &str = "Kubernetes' attach-detach controller: ReconcilerMaxWaitForUnmountDuration, 6 min; Nova's option \
                   [libvirt] device_detach_attempts";
const OSLO: &str = "oslo.messaging's option rpc_response_timeout; LP 1834659";
const GROUP: &str = "Nova's and Cinder's options report_interval, service_down_time; LP 1909120";
const CLIENT: &str = "Nova's options [cinder] http_retries, timeout (keystoneauth)";

/// libvirt waits so long, seconds, for the guest before it answers (as measured with 9.0).
const LIBVIRT_WAITS: i64 = 5;
/// A guest of q35 with native PCIe hotplug lets go after 6.2 s: its attention button takes 5 s.
const SLOWEST_HEALTHY_GUEST: i64 = 7;
/// Kubernetes detaches by force after this.
const PATIENCE: i64 = 360;

pub(super) fn check(
    nova: Option<&Service<'_>>,
    cinder: Option<&Service<'_>>,
    all: &mut Vec<Advice>,
) {
    if let Some(nova) = nova {
        unplug(nova, all);
        scans(nova, all);
        http(nova, cinder, all);
    }
    for service in [nova, cinder].into_iter().flatten() {
        rpc(service, all);
        heartbeat(service, all);
    }
}

fn unplug(nova: &Service<'_>, all: &mut Vec<Advice>) {
    let (attempts, timeout) = (nova.number(ATTEMPTS, 8), nova.number(TIMEOUT, 20));
    let whole = attempts.saturating_mul(timeout.saturating_add(LIBVIRT_WAITS));
    if attempts == 1 {
        all.push(nova.advice(
            Severity::Stuck,
            ATTEMPTS,
            "one request to let go, and none after it: a guest that was booting or busy just then keeps its disk, \
             and the volume goes back to in-use",
            "leave it at 8",
            UNPLUG,
        ));
    }
    if timeout < SLOWEST_HEALTHY_GUEST {
        all.push(nova.advice(
            Severity::Stuck,
            TIMEOUT,
            format!(
                "a healthy guest of machine type q35 with native PCIe hotplug lets go after 6.2 s (its attention \
                 button takes 5 s): after {timeout} s nova asks again while the first request is pending, and QEMU \
                 answers with an error"
            ),
            "leave it at 20",
            UNPLUG,
        ));
    }
    if whole > PATIENCE {
        all.push(nova.advice(
            Severity::Stuck,
            ATTEMPTS,
            format!(
                "a guest that does not let go keeps the volume detaching for {whole} s ({attempts} x ({timeout} s + \
                 the {LIBVIRT_WAITS} s that libvirt waits itself); clients give up or use force before (Kubernetes \
                 after {PATIENCE} s)"
            ),
            format!("attempts x (timeout + {LIBVIRT_WAITS}) below {PATIENCE} s: the defaults, 8 and 20, give 200 s"),
            K8S,
        ));
    }
}

fn scans(nova: &Service<'_>, all: &mut Vec<Advice>) {
    if nova.number(SCANS, 5) < 3 {
        all.push(nova.advice(
            Severity::Note,
            SCANS,
            "an attach gives up after few scans and logs out of a target that other volumes may use; what it leaves \
             is there at the next detach",
            "leave it at 5",
            "Nova's option [libvirt] num_volume_scan_tries",
        ));
    }
}

fn rpc(service: &Service<'_>, all: &mut Vec<Advice>) {
    let timeout = service.number(RPC, 60);
    if timeout < 60 {
        let what = match service.name {
            "cinder" => {
                "cinder-api gives up on cinder-volume while it unmaps: the delete of the attachment answers 500, the \
                 LUN goes all the same, and the volume stays detaching"
            }
            _ => {
                "nova-api gives up on nova-compute while it reserves a device name behind another volume's detach: \
                 the BDM that comes later belongs to nobody"
            }
        };
        all.push(service.advice(Severity::Stuck, RPC, what, "60 or more", OSLO));
    }
}

fn heartbeat(service: &Service<'_>, all: &mut Vec<Advice>) {
    let (report, down) = (service.number(REPORT, 10), service.number(DOWN, 60));
    if down < report.saturating_mul(3) {
        all.push(service.advice(
            Severity::Stuck,
            DOWN,
            format!(
                "a service counts as down after {down} s and reports every {report} s: one or two late reports, and \
                 a detach is refused with 409"
            ),
            "service_down_time at least three times report_interval",
            GROUP,
        ));
    }
    if service.name == "nova" && down > 300 {
        all.push(service.advice(
            Severity::Stuck,
            DOWN,
            format!(
                "a nova-compute that has died is taken for up for {down} s: DELETE answers 202, and the volume is \
                 detaching until it is back"
            ),
            "leave it at 60",
            GROUP,
        ));
    }
}

fn http(nova: &Service<'_>, cinder: Option<&Service<'_>>, all: &mut Vec<Advice>) {
    if nova.number(RETRIES, 3) == 0 {
        all.push(nova.advice(
            Severity::Stuck,
            RETRIES,
            "one lost connection to cinder ends a detach in the middle: the guest has no disk any more, and the \
             attachment stays",
            "leave it at 3",
            CLIENT,
        ));
    }
    let Some(timeout) = nova.get(HTTP).and_then(|v| v.text.trim().parse::<i64>().ok()) else {
        all.push(nova.advice(
            Severity::Note,
            HTTP,
            "nova waits for an answer of cinder without end; meanwhile it holds the server's lock",
            "timeout = 120: more than cinder's rpc_response_timeout",
            CLIENT,
        ));
        return;
    };
    let rpc = cinder.map_or(60, |c| c.number(RPC, 60));
    if timeout <= rpc {
        all.push(nova.advice(
            Severity::Stuck,
            HTTP,
            format!(
                "nova gives up on cinder after {timeout} s, cinder-api on cinder-volume after {rpc} s: the unmapping \
                 goes on and nova does not hear of it"
            ),
            format!("timeout above {rpc} s"),
            CLIENT,
        ));
    }
}
