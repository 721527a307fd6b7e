//! What a newcomer reads: the trace of a healthy detach, reviewed line by line.

// Whole-program tests start castoff's own program; a helper that fails is a failed test.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::process::Command;

fn replay(binding: &str, policy: &str) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_castoff"))
        .args(["replay", "--scenario", "healthy", "--policy", policy, "--binding", binding])
        .args(["--seed", "1", "--trace", "text"])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn a_healthy_detach_under_pike_on_network_reads_as_the_seed_document_does() {
    insta::assert_snapshot!("healthy-pike-network", replay("network", "pike"));
}

#[test]
fn a_healthy_detach_under_pike_on_direct_reads_as_the_seed_document_does() {
    insta::assert_snapshot!("healthy-pike-direct", replay("direct", "pike"));
}

#[test]
fn a_healthy_detach_under_2026_1_awaits_the_event_and_deletes_the_attachment() {
    insta::assert_snapshot!("healthy-2026.1-direct", replay("direct", "2026.1"));
}

#[test]
fn the_stations_of_the_seed_document_stand_in_its_order() {
    let stations = [
        "POST /v3/auth/tokens",
        "DELETE /v2.1/servers/",
        "VolumeAttachmentController.delete",
        "GET /v3/volumes/",
        "BlockDeviceMappingList.get_by_instance_uuid",
        "nova.compute.api.API.detach_volume",
        "_check_and_begin_detach",
        "os-begin_detaching",
        "CAST compute.compute-1 detach_volume",
        "ComputeManager.detach_volume",
        "BlockDeviceMapping.get_by_volume_and_instance",
        "convert_volume",
        "DriverVolumeBlockDevice.detach",
        "step 1: get_volume_connector",
        "get_connector_properties",
        "step 2: driver_detach",
        "LibvirtDriver.detach_volume",
        "detach_device_with_retry",
        "virDomainDetachDeviceFlags",
        "_disconnect_volume",
        "_get_volume_driver",
        "LibvirtISCSIVolumeDriver.disconnect_volume",
        "--logout",
        "step 3: terminate_connection",
        "os-terminate_connection",
        "step 4: detach",
        "os-detach",
        "BlockDeviceMapping.destroy",
    ];
    for binding in ["network", "direct"] {
        let trace = replay(binding, "pike");
        let mut rest = trace.as_str();
        for station in stations {
            let Some(at) = rest.find(station) else {
                panic!("{station:?} is missing, or not in its place, on {binding}:\n{trace}");
            };
            rest = &rest[at..];
        }
    }
}
