//! Any XML, or what is none, gives disks that have a target, or an error.

use crate::domain_xml::disks;

#[path = "../../tests/support/fuzz.rs"]
mod fuzz;

const DOMAINS: [&str; 2] = [
    "<domain type='kvm'><metadata><disk/></metadata><devices>\
     <disk type='block' device='disk'><source dev='/dev/sdb'/><backingStore><source file='b'/>\
     </backingStore><target dev='vdb' bus='virtio'/><serial>30d72547&amp;&#x41;</serial>\
     <alias name='ua-1'/></disk>\
     <disk type='file'><source file='/a.img'/><target dev='vda'/></disk></devices></domain>",
    "<?xml version='1.0'?><!DOCTYPE d [<!ENTITY e 'x'>]><domain><devices><disk><![CDATA[ ]]>\
     <target dev=\"&lt;\"/><serial><![CDATA[s]]></serial></disk></devices><!-- c --></domain>",
];

#[test]
fn any_domain_xml_gives_disks_with_a_target_or_an_error() {
    fuzz::fuzz!(|bytes: &mut fuzz::Bytes<'_>| {
        let xml = bytes.edited_text(&DOMAINS);
        if let Ok(disks) = disks(&xml) {
            assert!(disks.iter().all(|d| !d.target_dev.is_empty()), "{xml:?}");
            assert!(disks.len() <= xml.matches("<disk").count(), "{xml:?}");
        }
    });
}
