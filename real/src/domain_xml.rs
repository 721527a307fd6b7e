//! The disks of a domain, out of virDomainGetXMLDesc's XML.
//!
//! Only direct children of `/domain/devices/disk` count: a `<backingStore>` or `<mirror>` inside
//! a disk has a `<source>` of its own, and `<metadata>` may hold any XML at all.

use castoff_ports::libvirt::GuestDisk;
use castoff_ports::{Alias, VolumeId};
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

/// Depth of `<devices>`, of `<disk>` and of what a disk holds; `<domain>` is at 1.
const DEVICES: usize = 2;
const DISK: usize = 3;
const IN_DISK: usize = 4;

/// The disks of a domain in the order of its XML; those without a target (there are none that
/// libvirt writes) are left out. A disk on a file has the file as its source, a disk on the
/// network or an empty drive has an empty source.
pub(crate) fn disks(xml: &str) -> Result<Vec<GuestDisk>, quick_xml::Error> {
    let mut reader = Reader::from_str(xml);
    reader.config_mut().expand_empty_elements = true;
    let (mut depth, mut in_devices, mut in_serial) = (0, false, false);
    let mut serial = String::new();
    let mut disk: Option<GuestDisk> = None;
    let mut disks = Vec::new();
    loop {
        match reader.read_event()? {
            Event::Start(e) => {
                depth += 1;
                match (depth, e.name().as_ref()) {
                    (DEVICES, name) => in_devices = name == "devices",
                    (DISK, "disk") if in_devices => {
                        serial.clear();
                        disk = Some(GuestDisk {
                            target_dev: String::new(),
                            source_dev: String::new(),
                            serial: None,
                            alias: None,
                        });
                    }
                    (IN_DISK, name) => {
                        if let Some(disk) = &mut disk {
                            in_serial = name == "serial";
                            read_part(disk, name, &e)?;
                        }
                    }
                    _ => {}
                }
            }
            Event::End(_) => {
                match depth {
                    IN_DISK => in_serial = false,
                    DISK => {
                        if let Some(mut disk) = disk.take()
                            && !disk.target_dev.is_empty()
                        {
                            let serial = serial.trim();
                            disk.serial = (!serial.is_empty()).then(|| VolumeId::new(serial));
                            disks.push(disk);
                        }
                    }
                    _ => {}
                }
                // The reader has checked that every end has its start.
                depth -= 1;
            }
            Event::Text(t) if in_serial => serial.push_str(&t.xml_content(XmlVersion::Implicit1_0)),
            // A serial that is no volume id may hold any character; `&amp;` comes as its own event.
            Event::GeneralRef(r) if in_serial => match r.resolve_char_ref()? {
                Some(c) => serial.push(c),
                None => {
                    let name = r.into_inner();
                    serial.push_str(
                        quick_xml::escape::resolve_predefined_entity(&name).unwrap_or(""),
                    );
                }
            },
            Event::Eof => return Ok(disks),
            _ => {}
        }
    }
}

fn read_part(disk: &mut GuestDisk, name: &str, e: &BytesStart<'_>) -> Result<(), quick_xml::Error> {
    match name {
        "target" => disk.target_dev = attribute(e, "dev")?.unwrap_or_default(),
        "source" => {
            disk.source_dev = match attribute(e, "dev")? {
                Some(dev) => dev,
                None => attribute(e, "file")?.unwrap_or_default(),
            };
        }
        "alias" => disk.alias = attribute(e, "name")?.map(Alias::new),
        _ => {}
    }
    Ok(())
}

fn attribute(e: &BytesStart<'_>, name: &str) -> Result<Option<String>, quick_xml::Error> {
    match e.try_get_attribute(name)? {
        Some(a) => Ok(Some(a.normalized_value(XmlVersion::Implicit1_0)?.into_owned())),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shortened from `virsh dumpxml` of libvirt 9.0.
    const DOMAIN: &str = r#"<?xml version='1.0'?>
<domain type='qemu' id='1' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>instance-00000008</name>
  <metadata><disk><target dev='vdz' bus='virtio'/></disk></metadata>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='/var/lib/nova/a&amp;b/disk' index='2'/>
      <backingStore type='block' index='3'><format type='raw'/><source dev='/dev/sdz'/></backingStore>
      <target dev='vda' bus='virtio'/>
      <alias name='virtio-disk0'/>
    </disk>
    <disk type='block' device='disk'>
      <source dev='/dev/sdc' index='1'/>
      <target dev='vdb' bus='virtio'/>
      <serial>751dc159-7641-4aca-b6fb-cb50098d0234</serial>
      <alias name='ua-751dc159-7641-4aca-b6fb-cb50098d0234'/>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x05' function='0x0'/>
    </disk>
    <disk type='network' device='disk'>
      <source protocol='rbd' name='volumes/v'><host name='192.0.2.1'/></source>
      <target dev='vdc' bus='virtio'/>
      <serial>a&amp;b&#33;</serial>
    </disk>
    <disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>
    <interface type='bridge'><source dev='eth0'/><target dev='tap0'/></interface>
  </devices>
</domain>"#;

    #[test]
    fn every_disk_of_the_domain_is_read_with_its_source_serial_and_alias() {
        let disks = disks(DOMAIN).unwrap();
        let targets: Vec<_> = disks.iter().map(|d| d.target_dev.as_str()).collect();
        assert_eq!(targets, ["vda", "vdb", "vdc", "sda"]);
        let id = "751dc159-7641-4aca-b6fb-cb50098d0234";
        assert_eq!(disks[1].source_dev, "/dev/sdc");
        assert_eq!(disks[1].serial, Some(id.into()));
        assert_eq!(disks[1].alias, Some(Alias::new(format!("ua-{id}"))));
    }

    #[test]
    fn a_backing_store_is_not_taken_for_the_disks_own_source() {
        assert_eq!(disks(DOMAIN).unwrap()[0].source_dev, "/var/lib/nova/a&b/disk");
    }

    #[test]
    fn a_disk_on_the_network_has_no_source_device_and_its_serial_is_unescaped() {
        let disks = disks(DOMAIN).unwrap();
        assert_eq!(disks[2].source_dev, "");
        assert_eq!(disks[2].serial, Some("a&b!".into()));
        assert_eq!(disks[3].serial, None);
    }

    #[test]
    fn a_disk_that_castoff_writes_reads_back_as_itself() {
        let disk = GuestDisk {
            target_dev: "vdb".to_owned(),
            source_dev: "/dev/sdb".to_owned(),
            serial: Some("11111111-2222-3333-4444-555555555555".into()),
            alias: Some("ua-11111111-2222-3333-4444-555555555555".into()),
        };
        let xml = format!("<domain><devices>{}</devices></domain>", disk.to_xml());
        assert_eq!(disks(&xml).unwrap(), [disk]);
    }

    #[test]
    fn xml_that_is_cut_short_is_an_error_or_has_no_disk() {
        let cut = &DOMAIN[..DOMAIN.find("</disk>").unwrap()];
        assert!(disks(cut).map_or(true, |d| d.is_empty()));
        assert!(disks("<domain><devices><disk></devices></domain>").is_err());
    }
}
