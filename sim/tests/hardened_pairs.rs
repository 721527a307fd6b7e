//! `hardened` under two faults: every pair of one scenario, and each pair by name that once broke
//! a property in the others. `castoff explore --depth 2 --policy hardened` tries them all.

// A helper of a test that fails is a failed test.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use castoff_model::Release;
use castoff_pipeline::policy::Policy;
use castoff_ports::plan::{Fault, Plan};
use castoff_sim::exemptions::exempt;
use castoff_sim::explore::{Explore, Ground};
use castoff_sim::prepare::Prepared;
use castoff_sim::run::{self, BindingKind, Keep};

/// Scenario, the two faults, and what they once did.
const BROKE: [(&str, &str, &str); 30] = [
    (
        "healthy",
        "nova-compute:novadb::BdmDestroy#1@1:reply-lost \
         nova-compute:novadb::BdmByVolumeAndInstance#2@1:unreachable",
        "S26: an error was recorded of a detach that had gone through",
    ),
    (
        "cast-lost",
        "nova-compute:novadb::BdmDestroy#1@1:reply-lost \
         nova-compute:novadb::BdmByVolumeAndInstance#2@1:unreachable",
        "S26: the same, by the reconciler",
    ),
    (
        "healthy",
        "nova-compute:host::JournalWrite#4@1:unreachable \
         nova-compute:novadb::BdmDestroy#1@1:unreachable",
        "S26: a second notification, as the journal did not know of the first",
    ),
    (
        "healthy",
        "nova-api:rpc::Cast#1@1:delay=120000 \
         nova-compute:novadb::SystemMetadataDelete#1@1:unreachable",
        "S26: a cast found its intent after the reconciler had done its work",
    ),
    (
        "encrypted-volume",
        "nova-api:rpc::Cast#1@1:delay=120000 nova-compute:novadb::SystemMetadataGet#1@1:unreachable",
        "S26: the same, the intents could not be read",
    ),
    (
        "guest-lets-go-late",
        "nova-compute:libvirt::CreateWaiter#2@1:reply-lost \
         nova-compute:libvirt::DetachDeviceFlags#3@1:unreachable",
        "S15, S16: the guest let go late, and its config kept the disk",
    ),
    (
        "guest-lets-go-late",
        "nova-compute:libvirt::XmlDesc#5@1:unreachable nova-compute:libvirt::GetInfo#2@1:unreachable",
        "S15, S16: the same, at another call",
    ),
    (
        "guest-lets-go-late",
        "nova-compute:libvirt::CreateWaiter#2@1:unreachable \
         nova-compute:libvirt::LookupByUuid#1@0:qemu-killed",
        "L4: a guest that is off has what its config says",
    ),
    (
        "two-detaches-race",
        "nova-api:cinder::BeginDetaching#1@2:reply-lost \
         nova-compute:libvirt::CreateWaiter#1@1:unreachable",
        "S13: one request ended what the other had begun",
    ),
    (
        "two-detaches-race",
        "nova-api:cinder::BeginDetaching#1@2:reply-lost \
         nova-api:cinder::BeginDetaching#1@1:reply-lost",
        "S19: 202 to the one that had not begun",
    ),
    (
        "two-detaches-race",
        "nova-api:cinder::BeginDetaching#1@2:unreachable \
         nova-compute:libvirt::DetachDeviceFlags#2@1:unreachable",
        "S12: the first had rolled back, and was writing that down",
    ),
    (
        "detach-races-soft-reboot",
        "nova-compute:libvirt::CreateWaiter#1@1:guest-deaf \
         nova-compute:iscsi::Logout#1@2:command-fails=1",
        "S08, L5: a reboot disconnected what it was to connect again, half",
    ),
    (
        "detach-races-soft-reboot",
        "nova-compute:libvirt::CreateWaiter#1@1:guest-deaf \
         nova-compute:host::DeleteDevice#1@2:command-fails=1",
        "S07: a reboot logged out by force, with the disk on the session",
    ),
    (
        "detach-races-soft-reboot",
        "nova-compute:runtime::Lock#1@1:crash-before=36000 nova-api:rpc::Cast#1@2:duplicate=1000",
        "S22: two copies of a reboot were taken for one worker that waits for itself",
    ),
    (
        "detach-races-hard-reboot",
        "nova-compute:cinder::GetVolume#2@1:tokens-expired \
         nova-compute:iscsi::Login#1@2:crash-after=36000",
        "S08, L5: a reboot began to connect what cinder had let go of, and died",
    ),
    (
        "detach-races-hard-reboot",
        "client:keystone::CreateToken#1@1:unreachable nova-api:rpc::Cast#1@2:duplicate=1000",
        "S22: two copies of a reboot were taken for one that takes its locks the wrong way round",
    ),
    (
        "detach-races-hard-reboot",
        "nova-api:cinder::GetVolume#1@1:http-error=500 nova-api:rpc::Cast#1@2:lost",
        "L3: a reboot that was lost left its server with a task",
    ),
    (
        "guest-never-lets-go",
        "nova-compute:cinder::RollDetaching#1@1:crash-after=36000 \
         nova-compute:novadb::EventFinish#1@1:unreachable",
        "S26: nobody came back to tell the user of a rollback",
    ),
    (
        "detach-races-server-delete",
        "client:keystone::CreateToken#1@1:http-error=500 \
         nova-compute:novadb::InstanceDestroy#1@2:unreachable",
        "S09, L3, L5: a server that was deleted but for its row was not listed",
    ),
    (
        "detach-from-suspended-server",
        "nova-api:rpc::Cast#1@1:duplicate=1000 nova-compute:libvirt::ManagedSave#1@1:reply-lost",
        "S16: the second copy of a suspend was refused, and took the server for active",
    ),
    (
        "encrypted-volume-after-reboot",
        "nova-compute:iscsi::Sessions#1@1:command-fails=1 \
         nova-compute:host::DeleteDevice#1@1:command-fails=1",
        "S07: a connect that failed was taken back by force, with the disk on the session",
    ),
    (
        "detach-after-attach",
        "nova-api:cinder::AttachmentCreate#1@1:crash-before=36000 \
         nova-compute:cinder::AttachmentList#1@1:tokens-expired",
        "S09, S16, L3, L5: a detach that was refused was taken for the end of the attach",
    ),
    (
        "a-command-hangs",
        "nova-compute:libvirt::CreateWaiter#1@2:reply-lost \
         nova-compute:host::JournalRead#1@3:unreachable",
        "L2: the entry of an earlier request's rollback was taken for this one's",
    ),
    (
        "a-command-hangs",
        "nova-compute:libvirt::CreateWaiter#1@1:guest-deaf \
         nova-compute:novadb::FaultCreate#1@2:cut-off=600000",
        "S26: an intent was cleared of a request that was never told of its rollback",
    ),
    (
        "multiattach-two-servers",
        "nova-compute:novadb::BdmSave#1@2:unreachable \
         client:nova::DeleteVolumeAttachment#1@1:duplicate=1000",
        "S12, S13, S26: a repeated DELETE began as the first one ended",
    ),
    (
        "multiattach-stale-attachment",
        "client:nova::DeleteVolumeAttachment#1@1:duplicate=1000 \
         nova-api:cinder::GetVolume#1@201:unreachable",
        "S12: the same, with an attachment that no BDM names",
    ),
    (
        "multiattach-servers-deleted",
        "nova-compute:cinder::AttachmentUpdate#1@1:crash-after=36000 \
         nova-compute:cinder::AttachmentGet#1@0:tokens-expired",
        "S02, S08: a delete took no lock for a volume whose attach was cut short",
    ),
    (
        "multiattach-detach-races-server-delete",
        "nova-compute:cinder::AttachmentDelete#1@2:crash-before=36000 \
         nova-compute:host::DeleteDevice#1@2:crash-after=36000",
        "S08, L5: a disconnect begun again was resumed as one that had ended",
    ),
    (
        "multiattach-detach-races-server-delete",
        "nova-compute:cinder::AttachmentDelete#1@2:timeout=500,60000 \
         nova-compute:novadb::BdmDestroy#1@2:unreachable",
        "S12: the other server's own disconnect was taken for an intrusion",
    ),
    (
        "detach-after-attach-while-shelved",
        "nova-api:cinder::AttachmentComplete#1@2:reply-lost \
         nova-api:cinder::AttachmentComplete#2@2:cut-off=600000",
        "S01, S02, S03: nova-api took back an attach that a host had settled meanwhile",
    ),
];

fn ground(scenario: &str) -> Ground {
    let policy = Policy::named("hardened").unwrap();
    let release = Release::named(&policy.default_release).unwrap();
    let scenario = Arc::new(castoff_scenarios::named(scenario).unwrap());
    Ground { scenario, policy, release, seed: 0, depth: 2 }
}

#[test]
fn the_pairs_that_once_broke_a_property_break_none() {
    let mut broken = Vec::new();
    let mut both = 0;
    for (scenario, faults, was) in BROKE {
        let Ground { scenario, policy, release, seed, .. } = ground(scenario);
        let prepared = Prepared::new(&scenario, &policy, &release).unwrap();
        let faults: Vec<Fault> = faults.split(' ').map(|f| f.parse().unwrap()).collect();
        let plan = Plan { faults };
        let keep = Keep { trace: false, points: false };
        let report = run::run_keeping(&prepared, BindingKind::Direct, seed, Some(&plan), keep);
        let name = &scenario.name;
        // The second fault may lie on a way that is no longer gone; the first must strike.
        assert!(!report.not_struck.contains(&plan.faults[0]), "{name}: {was}");
        both += usize::from(report.not_struck.is_empty());
        for violation in &report.violations {
            broken
                .push(format!("{name}: {}: {} ({was})", violation.property.name, violation.facts));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert_eq!(both, 25, "where both strike; in the others the second is passed no more");
}

#[test]
fn no_pair_of_faults_breaks_a_healthy_detach() {
    let explore = Explore {
        ground: ground("healthy"),
        jobs: 2,
        clock: &|| Duration::ZERO,
        progress: &|_| {},
        cancelled: &|| false,
    };
    let found = explore.run().unwrap();
    assert!(found.plans[2] > 90_000, "{:?} are not every pair", found.plans);
    let causes = found.causes.all();
    let worse = causes.iter().filter(|c| exempt("hardened", "healthy", c).is_none());
    let worse: Vec<String> =
        worse.map(|c| format!("{}: {} {:?}", c.property.name, c.facts, c.plan)).collect();
    assert!(worse.is_empty(), "{}", worse.join("\n"));
    assert_eq!(found.exempt, found.broke);
    assert!(found.exempt > 0, "portals that go down cannot be mended by a rollback");
}
